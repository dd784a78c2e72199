"""From `[search]` to the params of a trial: the first is the model as it stands, and no trial leaves its space."""

import tomllib
from pathlib import Path
from typing import Any

import optuna
import pytest
from hypothesis import given
from hypothesis import strategies as st

from considerate.errors import ConfigError
from considerate.settings.model import Between, ModelConfig, OneOf
from considerate.settings.toml import read_toml
from considerate.tuning.space import as_chosen, as_suggested, defaults, said, suggested, with_params

PATH = Path("models/als.toml")
SEARCH: dict[str, Between | OneOf] = {
    "factors": Between(low=8, high=64, log=True),
    "alpha": Between(low=0.5, high=2.0, step=0.5),
    "weighting.half_life_days": Between(low=7, high=365.0, log=True, optional=True),
    "weighting.repeats": OneOf(choices=("sum", "log")),
    "weighting.max_items": OneOf(choices=(100, 1000), optional=True),
}


def als(text: str) -> ModelConfig:
    return ModelConfig.model_validate(tomllib.loads(f'algorithm = "als"\n{text}'))


@pytest.fixture(scope="module")
def study() -> optuna.Study:
    return optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))


def test_a_trial_stays_inside_its_space_and_reads_back(study: optuna.Study) -> None:
    seen: dict[str, set[Any]] = {key: set() for key in SEARCH}
    for _ in range(60):
        trial = study.ask()
        chosen = suggested(trial, SEARCH)
        assert as_chosen(trial.params, SEARCH) == chosen
        assert as_chosen(as_suggested(chosen, SEARCH), SEARCH) == chosen
        for key, value in chosen.items():
            seen[key].add(value)
    assert seen["factors"] <= set(range(8, 65))
    assert seen["alpha"] == {0.5, 1.0, 1.5, 2.0}
    assert seen["weighting.repeats"] == {"sum", "log"}
    assert seen["weighting.max_items"] == {100, 1000, None}
    assert None in seen["weighting.half_life_days"]
    assert all(7 <= days <= 365 for days in seen["weighting.half_life_days"] - {None})


def test_what_a_pruned_trial_was_not_asked_is_missing() -> None:
    assert as_chosen({"factors": 8}, SEARCH) == {"factors": 8}
    assert as_chosen({"weighting.half_life_days is set": False}, SEARCH) == {"weighting.half_life_days": None}


@given(st.dictionaries(st.sampled_from(["a", "b.c", "b.d", "e.f.g"]), st.none() | st.integers(), max_size=4))
def test_chosen_values_stand_in_the_params_and_all_else_stays(chosen: dict[str, int | None]) -> None:
    model = ModelConfig(algorithm="als", params={"a": 1, "b": {"c": 2, "kept": 3}}, seed=5)
    before = model.model_copy(deep=True)
    tuned = with_params(model, chosen)
    assert model == before
    assert (tuned.seed, tuned.params["b"]["kept"]) == (5, 3)
    for key, value in chosen.items():
        table: Any = tuned.params
        *parents, last = key.split(".")
        for parent in parents:
            table = table[parent]
        assert table.get(last) == value
        assert (last in table) is (value is not None)


def test_a_study_begins_with_the_model_as_it_stands_and_with_its_defaults() -> None:
    model = als(
        "[params]\nfactors = 32\n[search]\nfactors = { low = 8, high = 64 }\nalpha = { low = 0.5, high = 2.0 }\n"
        "weighting.half_life_days = { low = 7, high = 90, optional = true }\n"
        'weighting.repeats = { choices = ["sum", "log"] }\n'
    )
    begun = {"factors": 32, "alpha": 1.0, "weighting.half_life_days": None, "weighting.repeats": "sum"}
    assert defaults(model, PATH) == begun


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"als.toml: \[search\] is empty; name what to try, such as factors = \{ low = 16"),
        ("[search]\nfactor = { low = 8, high = 64 }", "search -> factor: no such parameter of als"),
        ("[search]\nweighting = { low = 8, high = 64 }", "search -> weighting: no such parameter of als"),
        ("[search]\nweighting.half_life_days = { low = 8, high = 64 }", "say optional = true"),
        (
            "[params]\nfactors = 128\n[search]\nfactors = { low = 8, high = 64 }",
            r"begins with its value 128, which is not among \{ low = 8, high = 64 \}; widen the space",
        ),
        ("[search]\nfactors = { low = 8, high = 96, step = 10 }", "begins with its value 64"),
        ('[search]\nweighting.repeats = { choices = ["max", "log"] }', "begins with its value 'sum'"),
        ("[search]\nalpha = { low = -1.0, high = 2.0 }", "params: alpha = -1.0"),
        ('[search]\nweighting.repeats = { choices = ["sum", "mean"] }', "weighting -> repeats = 'mean'"),
        ("[search]\nfactor = { low = 8, high = 64, optional = true }", "factor is not a known key"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_before_the_first_trial(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        defaults(als(text), PATH)


def test_a_space_is_said_as_in_its_file() -> None:
    assert said(OneOf(choices=("sum", 2, True), optional=True)) == '{ choices = ["sum", 2, true], optional = true }'


MODELS = sorted((Path(__file__).parents[2] / "models").glob("*.toml"))


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_what_a_committed_model_may_search_holds_what_it_says(path: Path) -> None:
    model = read_toml(path, ModelConfig)
    if model.search:
        assert defaults(model, path).keys() == model.search.keys()


def test_some_committed_models_can_be_tuned() -> None:
    assert any(read_toml(path, ModelConfig).search for path in MODELS)
