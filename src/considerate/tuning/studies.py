"""A study in its SQLite file: opened on the same terms or not at all, and taken up where it was left."""

import fcntl
import json
import logging
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import optuna
from optuna.storages import RDBStorage
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Connection, NullPool, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import SQLAlchemyError

from considerate.errors import ConfigError
from considerate.recommenders.fitting import components_of
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.settings.model import ModelConfig
from considerate.tuning.aims import Aim
from considerate.tuning.space import as_chosen, as_suggested, defaults, said
from considerate.tuning.tried import Terms, Tried

optuna.logging.set_verbosity(logging.CRITICAL)  # what a study has to say is said by whoever runs it

_STARTING_TRIALS, _UNPRUNED_TRIALS = 10, 5
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_SECONDS_FOR_A_LOCK = 60


@dataclass(frozen=True, slots=True)
class Plan:
    """What a study is about: all that another process needs to take part in it.

    Attributes
    ----------
    name
        Of the study.
    model, path
        What is tuned, and where its TOML lies.
    data, protocol
        On what, and by which of its protocols.
    aims
        What for; the first is what a pruned trial falls behind in.
    environment
        Where data lie and where the study is kept.
    at
        Moment at which consent is asked.
    threads
        Of each process, to fit and judge with; None for all cores.
    """

    name: str
    model: ModelConfig
    path: Path
    data: DataConfig
    protocol: str
    aims: tuple[Aim, ...]
    environment: Environment
    at: datetime
    threads: int | None = None

    @property
    def storage_path(self) -> Path:
        """The SQLite file of all studies."""
        return self.environment.home / "optuna.db"

    def terms(self, data_digest: str) -> Terms:
        """Give what must not change between two sessions of the study."""
        model = self.model
        values = {
            "algorithm": model.algorithm,
            "seed": str(model.seed),
            "params": json.dumps(model.params, sort_keys=True),
            **{f"search.{key}": said(space) for key, space in model.search.items()},
            **{
                f"components.{name}": part.model_dump_json(exclude={"search"})
                for name, (part, _) in components_of(model, self.path).items()
            },
            "data": self.data.name,
            "data_digest": data_digest,
            "protocol": f"{self.protocol} {self.data.protocol[self.protocol].model_dump_json()}",
            "consent": f"k_item = {self.data.consent.k_item}, k_pair = {self.data.consent.k_pair}",
            "metric": ", ".join(aim.name for aim in self.aims),
        }
        return Terms(values)


@contextmanager
def open_study(plan: Plan, data_digest: str) -> Iterator[optuna.Study]:
    """Begin a study, or take up the one of that name; its first trial is the model TOML as it stands.

    Trials that a killed session left behind are marked as failed and put back in the queue.

    Raises
    ------
    ConfigError
        The name is none; another process works on the study; or it was begun on other terms.
    """
    if not _NAME.fullmatch(plan.name):
        raise ConfigError(f"--study {plan.name!r}: must be letters, digits, dots, dashes and underscores")
    begun, terms = defaults(plan.model, plan.path), plan.terms(data_digest)
    plan.environment.home.mkdir(parents=True, exist_ok=True)
    with _alone(plan), storage_of(plan) as storage:
        names = {summary.study_name for summary in optuna.get_all_study_summaries(storage)}
        if plan.name in names:
            _refuse_other_terms(plan, optuna.load_study(study_name=plan.name, storage=storage), terms)
        else:
            optuna.create_study(storage=storage, study_name=plan.name, directions=[aim.direction for aim in plan.aims])
        study = _load(plan, storage, 0)
        if "terms" not in study.user_attrs:
            study.set_user_attr("begun", plan.at.isoformat())
            study.set_user_attr("terms", dict(terms.values))
        if not study.get_trials(deepcopy=False):
            study.enqueue_trial(as_suggested(begun, plan.model.search), user_attrs={"begun_with": True})
        _take_up(study)
        yield study


@contextmanager
def join_study(plan: Plan, worker: int) -> Iterator[optuna.Study]:
    """Take part in a study that another process holds open."""
    with storage_of(plan) as storage:
        yield _load(plan, storage, worker)


@contextmanager
def storage_of(plan: Plan) -> Iterator[RDBStorage]:
    """Open the file of all studies.

    Raises
    ------
    ConfigError
        It is no such file, or of another version of Optuna.
    """
    try:
        # No pool: what Optuna opens before it refuses a file could be closed by nobody.
        engine = {"connect_args": {"timeout": _SECONDS_FOR_A_LOCK}, "poolclass": NullPool}
        storage = RDBStorage(f"sqlite:///{plan.storage_path}", engine_kwargs=engine)
    except (SQLAlchemyError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{plan.storage_path}: {reason}; check that the file is writable and was made by this Optuna, "
            "or choose another folder with CONSIDERATE_HOME"
        ) from error
    _begin_alone(storage)
    try:
        yield storage
    finally:
        storage.remove_session()
        storage.engine.dispose()


def _begin_alone(storage: RDBStorage) -> None:
    """Let one process at a time read and write: of two that read a waiting trial at once, both would take it."""

    @event.listens_for(storage.engine, "connect")
    def _no_begin_of_the_driver(connection: DBAPIConnection, _: object) -> None:
        connection.isolation_level = None

    @event.listens_for(storage.engine, "begin")
    def _begin(conn: Connection) -> None:
        conn.exec_driver_sql("BEGIN IMMEDIATE")


def _load(plan: Plan, storage: RDBStorage, worker: int) -> optuna.Study:
    study = optuna.load_study(study_name=plan.name, storage=storage)
    # A resumed session or a second worker must not draw the first one's numbers again.
    numbers = [plan.model.seed, len(study.get_trials(deepcopy=False)), worker]
    seed = int(np.random.SeedSequence(numbers).generate_state(1)[0])
    study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=_STARTING_TRIALS)
    study.pruner = optuna.pruners.MedianPruner(n_startup_trials=_UNPRUNED_TRIALS)
    return study


@contextmanager
def _alone(plan: Plan) -> Iterator[None]:
    """Let one command at a time work on a study: then a trial that seems to run was left behind by a dead one.

    The kernel ends the lock with the process that holds it.
    """
    with (plan.environment.home / f"optuna.{plan.name}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                f"study {plan.name}: another command works on it; wait for its end, or name another with --study "
                "(--workers gives one command several processes)"
            ) from error
        yield


def _refuse_other_terms(plan: Plan, study: optuna.Study, terms: Terms) -> None:
    others = study.user_attrs.get("terms")
    found = [] if others is None else terms.differences(others)
    if found:
        raise ConfigError(
            f"study {plan.name} in {plan.storage_path} was begun on other terms, and its trials do not compare:\n  "
            + "\n  ".join(found)
            + "\nput them back to go on with it, or begin another: --study NAME"
        )


def _take_up(study: optuna.Study) -> None:
    for left in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        known = {**left.system_attrs.get("fixed_params", {}), **left.params}
        kept = {name: value for name, value in left.user_attrs.items() if name == "begun_with"}
        study.enqueue_trial(known, user_attrs=kept)
        study.tell(left.number, state=TrialState.FAIL)


def tried_of(trial: FrozenTrial, plan: Plan) -> Tried | None:
    """Give what a trial came to; None for one that waits, runs, or was left behind."""
    failure = str(trial.user_attrs.get("failure", ""))
    duration = trial.duration
    if not trial.state.is_finished() or duration is None or (trial.state == TrialState.FAIL and not failure):
        return None
    state = {TrialState.COMPLETE: "complete", TrialState.PRUNED: "pruned"}.get(trial.state, "failed")
    return Tried(
        number=trial.number,
        state=state,  # type: ignore[arg-type]  # the three are the literals of State
        chosen=as_chosen(trial.params, plan.model.search),
        values=tuple(trial.values) if trial.state == TrialState.COMPLETE else (),
        figures=trial.user_attrs.get("figures", {}),
        seconds=duration.total_seconds(),
        begun_with="begun_with" in trial.user_attrs,
        failure=failure,
    )


def tried_in(study: optuna.Study, plan: Plan) -> tuple[Tried, ...]:
    """Give every finished trial, in their order."""
    found = (tried_of(trial, plan) for trial in study.get_trials(deepcopy=False))
    return tuple(tried for tried in found if tried is not None)


def best_of(tried: Sequence[Tried], aims: Sequence[Aim]) -> Tried | None:
    """Give the best complete trial by the first aim, the earliest of several; None where none is complete."""
    best: Tried | None = None
    for one in tried:
        if one.values and (best is None or aims[0].better(one.values[0], best.values[0])):
            best = one
    return best


def front_of(tried: Sequence[Tried], aims: Sequence[Aim]) -> tuple[Tried, ...]:
    """Give the complete trials that no other beats in one aim without losing in another."""

    def beats(a: Tried, b: Tried) -> bool:
        pairs = list(zip(aims, a.values, b.values, strict=True))
        return any(aim.better(x, y) for aim, x, y in pairs) and not any(aim.better(y, x) for aim, x, y in pairs)

    complete = [one for one in tried if one.values]
    return tuple(one for one in complete if not any(beats(other, one) for other in complete))
