"""One trial: fit what the sampler suggests, judge it on ever more customers or cuts, give up where it falls behind."""

import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import optuna
from threadpoolctl import threadpool_limits

from considerate.evaluation.comparison import artefact_mb, ms_per_request, totals
from considerate.evaluation.evaluate import Judged, available_threads, evaluate
from considerate.evaluation.folds import Fold
from considerate.evaluation.preparation import Prepared
from considerate.ranking.scores import Artefact
from considerate.recommenders.fitting import Kept, fit_model
from considerate.tuning.aims import MEASURED, Aim
from considerate.tuning.space import suggested, with_params
from considerate.tuning.studies import Plan

SAMPLES = (1 / 8, 1 / 4)
"""Shares of the customers of a single fold that a trial is judged on first; with several folds, each is a step."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every trial of a process shares.

    Attributes
    ----------
    plan, prepared
        What the study is about, and its data, read and cut.
    kept
        Components that were fitted already.
    """

    plan: Plan
    prepared: Prepared
    kept: Kept


def try_one(trial: optuna.Trial, bench: Bench) -> dict[str, float]:
    """Give every figure of the trial's model, without the part in their names.

    Raises
    ------
    optuna.TrialPruned
        It fell behind the median of the earlier trials at the same step.
    ConsiderateError
        The model cannot be fitted with these params.
    """
    plan, folds = bench.plan, bench.prepared.folds
    model = with_params(plan.model, suggested(trial, plan.model.search))
    judged: list[Judged] = []
    seconds: list[float] = []
    measured: dict[str, list[float]] = {name: [] for name in MEASURED}
    wanted = {aim.name for aim in plan.aims}
    for place, fold in enumerate(folds):
        started = time.perf_counter()
        rng = np.random.default_rng(model.seed)
        with threadpool_limits(limits=available_threads() if plan.threads is None else plan.threads):
            artefact = fit_model(model, plan.path, fold.train, plan.data.consent, rng, kept=bench.kept)
        seconds.append(time.perf_counter() - started)
        if len(folds) == 1:
            _step_by_step(trial, artefact, fold, plan)
        judged += evaluate(artefact, fold, threads=plan.threads)
        if len(folds) > 1:
            _report(trial, judged, plan.aims, place)
        if "ms_per_request" in wanted:
            measured["ms_per_request"].append(ms_per_request(artefact, fold))
        if "artefact_mb" in wanted:
            measured["artefact_mb"].append(artefact_mb(artefact))
    measured["fit_seconds"] = seconds
    return {**totals(judged), **{name: statistics.fmean(found) for name, found in measured.items() if found}}


def _step_by_step(trial: optuna.Trial, artefact: Artefact, fold: Fold, plan: Plan) -> None:
    if _prunable(plan.aims):
        goal = plan.aims[0].name.partition("/")[0]
        asked = replace(fold, targets=tuple(one for one in fold.targets if one.goal == goal))
        for step, part in enumerate(samples_of(asked)):
            _report(trial, evaluate(artefact, part, threads=plan.threads), plan.aims, step)


def samples_of(fold: Fold) -> Iterator[Fold]:
    """Give folds of growing samples of the customers, the same for every trial."""
    place = np.random.default_rng(0).permutation(len(fold.asked)) / max(1, len(fold.asked))
    for share in SAMPLES:
        chosen = place < share
        targets = []
        for target in fold.targets:
            rows = np.flatnonzero(chosen[target.customers])
            targets.append(
                replace(
                    target,
                    customers=target.customers[rows],
                    relevant=target.relevant.take(rows),
                    excluded=target.excluded.take(rows),
                )
            )
        yield replace(fold, targets=tuple(targets))


def _prunable(aims: Sequence[Aim]) -> bool:
    # Optuna prunes by one figure, and only a mean over customers is comparable on a part of them.
    return len(aims) == 1 and aims[0].name not in MEASURED and not any(w in aims[0].name for w in ("coverage", "gini"))


def _report(trial: optuna.Trial, judged: Sequence[Judged], aims: Sequence[Aim], step: int) -> None:
    if not _prunable(aims):
        return
    so_far = totals(judged).get(aims[0].name)
    if so_far is not None:
        trial.report(so_far, step)
        if trial.should_prune():
            raise optuna.TrialPruned
