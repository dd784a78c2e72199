"""Working through a study: in this process, or in several that share its file."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.context import SpawnProcess
from multiprocessing.synchronize import Semaphore

import optuna
from optuna.trial import TrialState

from considerate.errors import ConfigError, ConsiderateError
from considerate.evaluation.preparation import Prepared, prepare_fold
from considerate.tuning.aims import values_of
from considerate.tuning.studies import Plan, join_study, tried_in
from considerate.tuning.tried import Keep, Tried
from considerate.tuning.trying import Bench, try_one

_POLL_SECONDS = 0.2

Take = Callable[[], bool]
"""Takes one trial out of the budget, or says that there is none left."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a study goes.

    Attributes
    ----------
    trials
        Finished trials of the study, those of earlier sessions among them.
    seconds
        No trial of this session begins later than this, None for as late as it takes.
    workers
        Processes at work at once.
    """

    trials: int
    seconds: float | None
    workers: int


def run_study(study: optuna.Study, plan: Plan, prepared: Prepared, budget: Budget, keep: Keep) -> tuple[Tried, ...]:
    """Try until the budget is used up; `keep` hears of every finished trial, of earlier sessions too.

    Returns
    -------
        All finished trials of the study, in their order.

    Raises
    ------
    ConfigError
        Not one trial could be fitted and judged to its end.
    """
    told: set[int] = set()

    def tell() -> None:
        for tried in tried_in(study, plan):
            if tried.number not in told:
                told.add(tried.number)
                keep(tried)

    tell()
    left = max(0, budget.trials - len(told))
    deadline = None if budget.seconds is None else time.time() + budget.seconds
    if budget.workers == 1:
        taken = iter(range(left))
        _work(study, Bench(plan, prepared, {}), lambda: next(taken, None) is not None, deadline, tell)
    elif left:
        workers = min(budget.workers, left)
        _in_processes(plan, prepared.data_digest, left, workers=workers, deadline=deadline, tell=tell)
    tell()
    tried = tried_in(study, plan)
    if not any(one.values for one in tried):
        reason = next((one.failure for one in tried if one.failure), "no trial was begun in the time given")
        raise ConfigError(f"study {plan.name}: none of {len(tried)} trials came to its end; the first: {reason}")
    return tried


def _work(study: optuna.Study, bench: Bench, take: Take, deadline: float | None, after: Callable[[], None]) -> None:
    while (deadline is None or time.time() < deadline) and take():
        trial = study.ask()
        try:
            figures = try_one(trial, bench)
        except optuna.TrialPruned:
            study.tell(trial, state=TrialState.PRUNED)
        except ConsiderateError as error:
            trial.set_user_attr("failure", str(error))
            study.tell(trial, state=TrialState.FAIL)
        else:
            trial.set_user_attr("figures", figures)
            study.tell(trial, values_of(bench.plan.aims, figures))
        after()


def _in_processes(
    plan: Plan, data_digest: str, left: int, *, workers: int, deadline: float | None, tell: Callable[[], None]
) -> None:
    # Spawned, not forked: a fork would inherit threads' locks, and an open database.
    context = multiprocessing.get_context("spawn")
    budget = context.Semaphore(left)
    processes: list[SpawnProcess] = [
        context.Process(target=_worker, args=(plan, data_digest, number, budget, deadline), daemon=True)
        for number in range(1, workers + 1)
    ]
    try:
        for process in processes:
            process.start()
        while any(process.is_alive() for process in processes):
            multiprocessing.connection.wait([process.sentinel for process in processes], timeout=_POLL_SECONDS)
            tell()
            time.sleep(_POLL_SECONDS)
    finally:
        for process in processes:
            if process.is_alive():
                process.terminate()
            if process.pid is not None:
                process.join()
    failed = sum(process.exitcode != 0 for process in processes)
    if failed:
        raise ConfigError(
            f"study {plan.name}: {failed} of {workers} workers ended with an error, said above; what was "
            "tried is kept: mend it and run the same command again"
        )


def _worker(plan: Plan, data_digest: str, number: int, budget: Semaphore, deadline: float | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's: it ends its workers
    _end_with_parent()
    data, protocol = plan.data, (plan.protocol, plan.data.protocol[plan.protocol])
    prepared = prepare_fold(data, plan.environment, protocol, final=False, at=plan.at, threads=plan.threads)
    if prepared.data_digest != data_digest:
        raise ConfigError(f"{data.name}: the data changed while the study began; begin it again")
    with join_study(plan, number) as study:
        _work(study, Bench(plan, prepared, {}), lambda: budget.acquire(block=False), deadline, lambda: None)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is None:
        return
    sentinel = parent.sentinel

    def watch() -> None:
        multiprocessing.connection.wait([sentinel])
        os._exit(1)  # killed parents leave no workers behind; the next session takes their trials up

    threading.Thread(target=watch, daemon=True).start()
