"""Fitting a model on folds and judging it there: what training, tuning and comparing have in common."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from threadpoolctl import threadpool_limits

from considerate.dataset.dataset import Dataset
from considerate.evaluation.evaluate import BUDGET_MB, Judged, evaluate
from considerate.evaluation.folds import Fold
from considerate.ranking.history import Float32, Histories
from considerate.ranking.scores import Artefact, Goal
from considerate.recommenders.fitting import fit_model
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model fitted on each of several folds and judged there.

    Attributes
    ----------
    artefact
        Of the last fold, the newest.
    judged
        One entry per fold and goal; none where nothing was judged.
    fit_seconds
        Wall time of the longest fit: what one fit takes.
    evaluation_seconds
        Wall time of judging all folds.
    """

    artefact: Artefact
    judged: tuple[Judged, ...]
    fit_seconds: float
    evaluation_seconds: float


def fit_and_judge(
    model: ModelConfig,
    path: Path,
    folds: Sequence[Fold],
    consent: ConsentConfig,
    *,
    budget_mb: int = BUDGET_MB,
    threads: int | None = None,
    say: Callable[[str], None] = lambda step: None,
) -> Fitted:
    """Fit `model` on each fold as if the others did not exist, and judge it there.

    Parameters
    ----------
    model, path
        A model TOML and where it was read (see `fit_model`).
    folds
        Of one protocol; at least one.
    consent
        Thresholds `k_item` and `k_pair`.
    budget_mb, threads
        As in `evaluate`; `threads` also bounds those of a fit's libraries, which None leaves as they are set.
    say
        Announces each step.
    """
    judged: list[Judged] = []
    fit_seconds, evaluation_seconds = 0.0, 0.0
    for fold in folds:
        name = f"{path.stem} {fold.label}".strip()
        say(f"fitting {name}")
        started = time.perf_counter()
        with threadpool_limits(limits=threads):
            artefact = fit_model(model, path, fold.train, consent, np.random.default_rng(model.seed))
        fitted = time.perf_counter()
        say(f"judging {name}")
        judged += evaluate(artefact, fold, budget_mb=budget_mb, threads=threads)
        fit_seconds = max(fit_seconds, fitted - started)
        evaluation_seconds += time.perf_counter() - fitted
    return Fitted(artefact, tuple(judged), fit_seconds, evaluation_seconds)


def fit_unjudged(
    model: ModelConfig,
    path: Path,
    dataset: Dataset,
    consent: ConsentConfig,
    *,
    threads: int | None = None,
    say: Callable[[str], None] = lambda step: None,
) -> Fitted:
    """Fit `model` on everything there is, which leaves nothing to judge it on; parameters as in `fit_and_judge`."""
    say(f"fitting {path.stem}")
    started = time.perf_counter()
    with threadpool_limits(limits=threads):
        artefact = fit_model(model, path, dataset, consent, np.random.default_rng(model.seed))
    return Fitted(artefact, (), time.perf_counter() - started, 0.0)


@dataclass(frozen=True, slots=True)
class Chance:
    """Scores drawn afresh for every customer and item: what a list without any knowledge comes to.

    Attributes
    ----------
    item_ids
        The items it draws from, sorted.
    rng
        The source of the draws.
    """

    item_ids: tuple[str, ...]
    rng: np.random.Generator

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """(n_customers, n_items) uniform draws."""
        return self.rng.random((len(histories), len(self.item_ids)), dtype=np.float32)


def judge_chance(folds: Sequence[Fold], rng: np.random.Generator, *, budget_mb: int = BUDGET_MB) -> tuple[Judged, ...]:
    """Judge random lists of what may be suggested: the floor under every model, also where none knows the items."""
    chance = (Chance(fold.train.items.ids, rng) for fold in folds)
    # On one thread: the draws follow each other, and so hang on the seed alone.
    judged = (evaluate(one, fold, budget_mb=budget_mb, threads=1) for one, fold in zip(chance, folds, strict=True))
    return tuple(found for of_fold in judged for found in of_fold)
