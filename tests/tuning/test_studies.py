"""Studies: begun with the model as it stands, taken up where they were left, and closed to other terms."""

import gc
import tomllib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from optuna.trial import TrialState

from considerate.errors import ConfigError
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.settings.model import Between, ModelConfig
from considerate.tuning.aims import Aim, read_aims
from considerate.tuning.studies import Plan, best_of, front_of, join_study, open_study, tried_in
from considerate.tuning.tried import Tried

NDCG, COST = Aim("new/ndcg_at_5", True), Aim("ms_per_request", False)
DATA = """
name = "corner_shop"
source = { format = "csv", path = "rows.csv", columns = { customer_id = "who", item_id = "what" } }
consent = { source = "assumed", k_item = 2 }
protocol.weekly = { kind = "temporal", test_days = 7 }
protocol.monthly = { kind = "temporal", test_days = 28 }
"""
MODEL = """
algorithm = "popularity"
params = { half_life_days = 28 }
search.half_life_days = { low = 7, high = 90, log = true }
"""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    return Plan(
        name="popularity.corner_shop",
        model=ModelConfig.model_validate(tomllib.loads(MODEL)),
        path=tmp_path / "popularity.toml",
        data=DataConfig.model_validate(tomllib.loads(DATA)),
        protocol="weekly",
        aims=(NDCG,),
        environment=Environment(home=tmp_path / "home", data=None),
        at=datetime(2026, 4, 1, tzinfo=UTC),
    )


def try_and_leave(plan: Plan, left: int, done: int) -> list[int]:
    """Finish `done` trials, begin `left` more, and leave as a killed process does; give what the latter tried."""
    begun = []
    with open_study(plan, "digest") as study:
        for _ in range(done):
            trial = study.ask()
            trial.suggest_int("half_life_days", 7, 90, log=True)
            study.tell(trial, 0.5)
        for _ in range(left):
            begun.append(study.ask().suggest_int("half_life_days", 7, 90, log=True))
    return begun


def test_the_first_trial_is_the_model_as_it_stands(plan: Plan) -> None:
    assert try_and_leave(plan, left=1, done=0) == [28]


def test_what_a_killed_session_left_is_failed_and_tried_again_first(plan: Plan) -> None:
    (left,) = try_and_leave(plan, left=1, done=2)
    with open_study(plan, "digest") as study:
        states = [trial.state for trial in study.get_trials()]
        assert states == [TrialState.COMPLETE, TrialState.COMPLETE, TrialState.FAIL, TrialState.WAITING]
        assert [tried.number for tried in tried_in(study, plan)] == [0, 1]
        assert study.ask().suggest_int("half_life_days", 7, 90, log=True) == left


def test_the_model_as_it_stands_is_known_again_after_it_was_left(plan: Plan) -> None:
    try_and_leave(plan, left=1, done=0)
    try_and_leave(plan, left=0, done=1)
    with open_study(plan, "digest") as study:
        (only,) = tried_in(study, plan)
    assert (only.number, only.begun_with, only.chosen) == (1, True, {"half_life_days": 28})


def test_a_trial_that_was_left_before_it_chose_begins_as_it_was_meant_to(plan: Plan) -> None:
    with open_study(plan, "digest") as study:
        study.ask()
    assert try_and_leave(plan, left=1, done=0) == [28]


def test_a_resumed_session_and_a_second_worker_draw_other_numbers(plan: Plan) -> None:
    def drawn(worker: int) -> list[int]:
        with join_study(plan, worker) as study:
            trials = [study.ask() for _ in range(3)]
            return [trial.suggest_int("half_life_days", 7, 90, log=True) for trial in trials]

    first = try_and_leave(plan, left=4, done=0)[1:]
    assert len({tuple(first), tuple(drawn(1)), tuple(drawn(2))}) == 3


def test_no_two_workers_take_the_same_trial(plan: Plan) -> None:
    def take(worker: int) -> list[int]:
        with join_study(plan, worker) as study:
            return [study.ask().number for _ in range(10)]

    with open_study(plan, "digest") as study:
        for days in range(40):
            study.enqueue_trial({"half_life_days": 7 + days})
        with ThreadPoolExecutor(4) as workers:
            taken = [number for numbers in workers.map(take, range(1, 5)) for number in numbers]
    assert sorted(taken) == list(range(40))


def test_one_seed_gives_one_study(plan: Plan, tmp_path: Path) -> None:
    other = replace(plan, environment=Environment(home=tmp_path / "elsewhere", data=None))
    seeded = replace(other, name="seeded", model=plan.model.model_copy(update={"seed": 1}))
    first, again, third = (try_and_leave(one, left=6, done=0) for one in (plan, other, seeded))
    assert first == again
    assert first != third


CHANGES: dict[str, tuple[Callable[[Plan], Plan], str, str]] = {
    "space": (
        lambda plan: replace(
            plan, model=plan.model.model_copy(update={"search": {"half_life_days": Between(low=7, high=60)}})
        ),
        "digest",
        "search.half_life_days: was { low = 7, high = 90, log = true }, is { low = 7, high = 60 }",
    ),
    "begun with": (
        lambda plan: replace(plan, model=plan.model.model_copy(update={"params": {"half_life_days": 30}})),
        "digest",
        'params: was {"half_life_days": 28}, is {"half_life_days": 30}',
    ),
    "data": (lambda plan: plan, "another", "data_digest: was digest, is another"),
    "protocol": (lambda plan: replace(plan, protocol="monthly"), "digest", "protocol: was weekly"),
    "metric": (lambda plan: replace(plan, aims=(COST,)), "digest", "metric: was new/ndcg_at_5, is ms_per_request"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_study_is_closed_to_other_terms_and_says_which(plan: Plan, change: str) -> None:
    try_and_leave(plan, left=0, done=1)
    changed, digest, message = CHANGES[change]
    with pytest.raises(ConfigError) as error, open_study(changed(plan), digest):
        pass
    assert f"study {plan.name}" in str(error.value)
    assert message in str(error.value)
    assert "put them back to go on with it, or begin another: --study NAME" in str(error.value)
    with open_study(plan, "digest") as study:
        assert len(study.trials) == 1


def test_another_study_beside_it_is_free(plan: Plan) -> None:
    try_and_leave(plan, left=0, done=1)
    assert try_and_leave(replace(plan, name="other", protocol="monthly"), left=1, done=0) == [28]


def test_one_command_at_a_time_works_on_a_study(plan: Plan) -> None:
    with (
        open_study(plan, "digest"),
        pytest.raises(ConfigError, match="another command works on it; wait for its end, or name another with --study"),
        open_study(plan, "digest"),
    ):
        pass


def test_a_name_that_is_no_file_name_is_refused(plan: Plan) -> None:
    with (
        pytest.raises(ConfigError, match=r"--study '\.\./x': must be letters, digits"),
        open_study(replace(plan, name="../x"), "digest"),
    ):
        pass
    assert not plan.environment.home.exists()


def test_a_file_that_is_no_database_is_one_clear_error(plan: Plan) -> None:
    plan.environment.home.mkdir()
    plan.storage_path.write_bytes(b"this is no database, whatever its name says" * 40)
    with (
        pytest.raises(
            ConfigError, match=r"optuna\.db: .*; check that the file is writable and was made by this Optuna"
        ),
        open_study(plan, "digest"),
    ):
        pass
    # From Python 3.13 on it says here what was left open, and not in whichever test comes next.
    gc.collect()


def tried(number: int, *values: float) -> Tried:
    state = "complete" if values else "pruned"
    return Tried(number, state, {}, values, {}, 1.0)  # type: ignore[arg-type]  # a literal, chosen


def test_the_best_is_the_first_of_the_best_that_came_to_their_end() -> None:
    trials = [tried(0, 0.1), tried(1), tried(2, 0.3), tried(3, 0.3), tried(4, 0.2)]
    assert best_of(trials, [NDCG]) == trials[2]
    assert best_of(trials, [COST]) == trials[0]
    assert best_of([tried(0)], [NDCG]) is None


def test_the_front_holds_what_nothing_beats_in_every_aim() -> None:
    trials = [
        tried(0, 0.5, 9.0),
        tried(1, 0.4, 1.0),
        tried(2, 0.4, 2.0),
        tried(3),
        tried(4, 0.5, 9.0),
        tried(5, 0.1, 5.0),
    ]
    assert [one.number for one in front_of(trials, [NDCG, COST])] == [0, 1, 4]


def test_aims_are_figures_of_the_protocol_and_know_their_direction() -> None:
    known = ["new/ndcg_at_5", "new/gini_at_5"]
    aims = read_aims(["new/ndcg_at_5", "new/gini_at_5", "fit_seconds"], known)
    assert [aim.larger for aim in aims] == [True, False, False]
    with pytest.raises(
        ConfigError, match="--metric new/ndcg: not a figure of this protocol; name one of: new/ndcg_at_5"
    ):
        read_aims(["new/ndcg"], known)
    with pytest.raises(ConfigError, match="the same twice; name each figure once"):
        read_aims(["fit_seconds", "fit_seconds"], known)
