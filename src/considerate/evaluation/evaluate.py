"""Judging one artefact on one fold: the scores and the `top_n` of the service, over the whole catalogue."""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import numpy as np
from threadpoolctl import threadpool_limits

from considerate.evaluation.folds import Fold, Part, Targets
from considerate.evaluation.item_sets import customers_per_item
from considerate.evaluation.metrics import METRICS, PADDING, coverage, exposure, gini, hit_matrix, novelty
from considerate.ranking.history import Bool, Float32, Float64, Histories, Int32, Int64
from considerate.ranking.scores import Goal
from considerate.ranking.top_n import top_n_many

BUDGET_MB = 64
"""Memory that the scores of one moment may take. Blocks that stay near the caches are also the fastest."""

_BYTES_PER_SCORE = 16  # the float32 scores, and what a model needs beside them while it scores

SEGMENTS = ("heavy", "light", "no_history")
"""Thirds of the customers by events known (the middle one is in the totals only), and customers without any."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one goal came to on one fold.

    Attributes
    ----------
    part, label
        As in `Fold`.
    goal
        `repeat` or `new`.
    customers
        (m,) rows of `Fold.asked`, all of the goal's targets.
    customer
        (m,) the same people, numbered as in every other fold.
    lists
        (m, max k) items suggested, in the fold's item index, `PADDING` in empty places.
    figures
        `ndcg_at_10` and so on -> (m,) one figure per customer.
    segments
        Segment -> (m,) who belongs to it.
    counted
        (m,) whom the totals are over: customers of whom events are known; everybody where the protocol lets
        nobody's be known.
    catalogue
        `coverage_at_10`, `gini_at_10` -> one figure over the lists of those who are counted.
    """

    part: Part
    label: str
    goal: Goal
    customers: Int64
    customer: Int64
    lists: Int32
    figures: Mapping[str, Float64]
    segments: Mapping[str, Bool]
    counted: Bool
    catalogue: Mapping[str, float]


class Scorer(Protocol):
    """What can be judged: an artefact, or anything else that scores items."""

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The items it knows, sorted."""

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """(n_customers, n_items) scores."""


def available_threads() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def evaluate(
    artefact: Scorer, fold: Fold, *, budget_mb: int = BUDGET_MB, threads: int | None = None
) -> tuple[Judged, ...]:
    """Judge `artefact` on every goal of `fold`.

    Customers with at least one relevant item count; items that the artefact does not know can be relevant and are
    never suggested.

    Parameters
    ----------
    artefact, fold
        Fitted on `fold.train`, or on anything that lies before it.
    budget_mb
        Memory for scores at any moment, over all threads.
    threads
        Blocks scored at once; None takes the cores there are. The lists do not depend on it.
    """
    n_customers_of = customers_per_item(fold.train)
    n_customers = int(np.count_nonzero(np.diff(fold.train.events.indptr)))
    index = _ItemIndex.of(artefact, fold)
    lists = (_suggest(artefact, fold, targets, index, budget_mb=budget_mb, threads=threads) for targets in fold.targets)
    return tuple(
        _judge(fold, targets, found, n_customers_of, n_customers)
        for targets, found in zip(fold.targets, lists, strict=True)
    )


def suggest(
    artefact: Scorer, fold: Fold, targets: Targets, *, budget_mb: int = BUDGET_MB, threads: int | None = None
) -> Int32:
    """(m, max k) suggestions for the customers of `targets`, in the fold's item index."""
    return _suggest(artefact, fold, targets, _ItemIndex.of(artefact, fold), budget_mb=budget_mb, threads=threads)


@dataclass(frozen=True, slots=True)
class _ItemIndex:
    """Items of a fold by the artefact's index and back, -1 where the other side lacks one."""

    to_artefact: Int32
    to_fold: Int32
    allowed: Bool | None

    @classmethod
    def of(cls, artefact: Scorer, fold: Fold) -> "_ItemIndex":
        place = {item_id: i for i, item_id in enumerate(artefact.item_ids)}
        to_artefact = np.array([place.get(item_id, -1) for item_id in fold.train.items.ids], np.int32)
        to_fold = np.full(len(place), PADDING, np.int32)
        to_fold[to_artefact[to_artefact >= 0]] = np.flatnonzero(to_artefact >= 0)
        allowed = None if fold.allowed is None else (to_fold >= 0) & fold.allowed[to_fold]
        return cls(to_artefact, to_fold, allowed)


def _suggest(
    artefact: Scorer, fold: Fold, targets: Targets, index: _ItemIndex, *, budget_mb: int, threads: int | None
) -> Int32:
    k, m = max(fold.k), len(targets.customers)
    lists = np.full((m, k), PADDING, np.int32)
    threads = max(1, available_threads() if threads is None else threads)
    block = max(1, budget_mb * 1_000_000 // (threads * _BYTES_PER_SCORE * max(1, len(index.to_fold))))

    def fill(start: int) -> None:
        rows = np.arange(start, min(start + block, m), dtype=np.int64)
        histories = fold.asked.take(targets.customers[rows]).reindexed(index.to_artefact)
        scores = artefact.score_many(histories, at=fold.at, goal=targets.goal)
        excluded = targets.excluded.take(rows).reindexed(index.to_artefact)
        found = top_n_many(scores, k, exclude=(excluded.indptr, excluded.items), allowed=index.allowed)
        sizes = np.diff(found.indptr)
        places = np.arange(len(found.items)) - np.repeat(found.indptr[:-1], sizes)
        lists[np.repeat(rows, sizes), places] = index.to_fold[found.items]

    # A model that folds customers in solves many small systems: BLAS threads cost it four times what they bring.
    with threadpool_limits(limits=1, user_api="blas"):
        _each(fill, range(0, m, block), threads)
    return lists


def _each(work: Callable[[int], None], starts: Iterable[int], threads: int) -> None:
    if threads == 1:
        for start in starts:
            work(start)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(work, starts):
            pass


def _judge(fold: Fold, targets: Targets, lists: Int32, n_customers_of: Int64, n_customers: int) -> Judged:
    n_items, sizes = len(fold.train.items), targets.relevant.sizes
    hits = hit_matrix(lists, targets.relevant.indptr, targets.relevant.items, n_items)
    segments = segments_of(np.diff(fold.asked.indptr), targets.customers)
    nothing_is_known = fold.asked.n_events == 0
    counted = np.ones(len(sizes), np.bool_) if nothing_is_known else ~segments["no_history"]
    figures: dict[str, Float64] = {}
    catalogue: dict[str, float] = {}
    for k in fold.k:
        for name, metric in METRICS.items():
            figures[f"{name}_at_{k}"] = metric(hits[:, :k], sizes)
        figures[f"novelty_at_{k}"] = novelty(lists[:, :k], n_customers_of, n_customers)
        exposed = exposure(lists[counted, :k], n_items)
        if fold.allowed is not None:
            exposed = exposed[fold.allowed]
        catalogue[f"coverage_at_{k}"] = coverage(exposed)
        catalogue[f"gini_at_{k}"] = gini(exposed)
    return Judged(
        part=fold.part,
        label=fold.label,
        goal=targets.goal,
        customers=targets.customers,
        customer=fold.customer[targets.customers],
        lists=lists,
        figures=figures,
        segments=segments,
        counted=counted,
        catalogue=catalogue,
    )


def segments_of(n_events: Int64, customers: Int64) -> dict[str, Bool]:
    """Who of (m,) `customers` belongs to which segment.

    Parameters
    ----------
    n_events
        (n_customers,) events known of every customer who may be asked.
    customers
        (m,) rows.

    Returns
    -------
        `heavy` and `light`: the upper and the lower third, by events, of all customers who have any; `no_history`:
        customers without.
    """
    mine, active = n_events[customers], n_events[n_events > 0]
    if not len(active):
        nobody = np.zeros(len(customers), np.bool_)
        return {"heavy": nobody, "light": nobody, "no_history": ~nobody}
    low, high = np.quantile(active, [1 / 3, 2 / 3])
    return {"heavy": mine > high, "light": (mine > 0) & (mine <= low), "no_history": mine == 0}


def pooled(judged: Sequence[Judged], goal: Goal, figure: str, segment: str | None = None) -> tuple[Float64, Int64]:
    """Give one figure of every counted customer of a goal over all folds, and who she is.

    Two models judged on the same folds give the same customers in the same order, so that their figures pair.

    Parameters
    ----------
    judged
        Of one model, over one or several folds.
    goal, figure
        `new`, `ndcg_at_10`.
    segment
        Only the customers of a segment (see `SEGMENTS`); None for those whom the totals are over.

    Returns
    -------
    tuple
        (m,) figures and (m,) numbers of the people behind them: who was asked at several cuts has one number.
    """
    mine = [one for one in judged if one.goal == goal]
    members = [one.counted if segment is None else one.segments[segment] for one in mine]
    values = [one.figures[figure][who] for one, who in zip(mine, members, strict=True)]
    people = [one.customer[who] for one, who in zip(mine, members, strict=True)]
    if not mine:
        return np.empty(0, np.float64), np.empty(0, np.int64)
    return np.concatenate(values), np.concatenate(people)
