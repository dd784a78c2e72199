"""Judging one artefact on one fold: the scores and the `top_n` of the service, over the whole catalogue."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from threadpoolctl import threadpool_limits

from considerate.evaluation.item_sets import customers_per_item
from considerate.evaluation.metrics import METRICS, PADDING, coverage, exposure, gini, hit_matrix, novelty
from considerate.evaluation.protocols import Fold, Targets
from considerate.ranking.history import Bool, Float64, Int32, Int64
from considerate.ranking.scores import Artefact, Goal
from considerate.ranking.top_n import top_n_many

BUDGET_MB = 64
"""Memory that one block of customers may take. Blocks that stay near the caches are also the fastest."""

_BYTES_PER_SCORE = 16  # the float32 scores, their copy with exclusions, and what selection needs beside them

SEGMENTS = ("heavy", "light", "no_history")
"""Thirds of the customers by train events (the middle one is in the totals only), and customers without any."""


@dataclass(frozen=True, slots=True)
class Judged:
    """What one goal came to.

    Attributes
    ----------
    goal
        `repeat` or `new`.
    customers
        (m,) rows of the data set, all of the goal's targets.
    lists
        (m, max k) items suggested, in the data set's index, `PADDING` in empty places.
    figures
        `ndcg_at_10` and so on -> (m,) one figure per customer.
    segments
        Segment -> (m,) who belongs to it.
    catalogue
        `coverage_at_10`, `gini_at_10` -> one figure over the lists of customers with history.
    """

    goal: Goal
    customers: Int64
    lists: Int32
    figures: Mapping[str, Float64]
    segments: Mapping[str, Bool]
    catalogue: Mapping[str, float]

    @property
    def with_history(self) -> Bool:
        """(m,) customers with at least one train event: those the totals are over."""
        return ~self.segments["no_history"]


def evaluate(artefact: Artefact, fold: Fold, *, budget_mb: int = BUDGET_MB) -> tuple[Judged, ...]:
    """Judge `artefact` on every goal of `fold`.

    Customers with at least one relevant item count; items that the artefact does not know can be relevant and are
    never suggested. Totals are over customers with train history; those without are a segment of their own.
    """
    n_customers_of = customers_per_item(fold.train)
    n_customers = int(np.count_nonzero(np.diff(fold.train.events.indptr)))
    return tuple(
        _judge(fold, targets, suggest(artefact, fold, targets, budget_mb=budget_mb), n_customers_of, n_customers)
        for targets in fold.targets
    )


def suggest(artefact: Artefact, fold: Fold, targets: Targets, *, budget_mb: int = BUDGET_MB) -> Int32:
    """(m, max k) suggestions for the customers of `targets`, in the data set's item index."""
    index_in = {item_id: i for i, item_id in enumerate(artefact.item_ids)}
    to_artefact = np.array([index_in.get(item_id, -1) for item_id in fold.train.items.ids], np.int32)
    to_dataset = np.full(len(index_in), PADDING, np.int32)
    to_dataset[to_artefact[to_artefact >= 0]] = np.flatnonzero(to_artefact >= 0)

    k, m = max(fold.k), len(targets.customers)
    lists = np.full((m, k), PADDING, np.int32)
    block = max(1, budget_mb * 1_000_000 // (_BYTES_PER_SCORE * max(1, len(index_in))))
    # A model that folds customers in solves many small systems: BLAS threads cost it four times what they bring.
    with threadpool_limits(limits=1, user_api="blas"):
        for start in range(0, m, block):
            rows = np.arange(start, min(start + block, m), dtype=np.int64)
            histories = fold.train.events.take(targets.customers[rows]).reindexed(to_artefact)
            scores = artefact.score_many(histories, at=fold.at, goal=targets.goal)
            excluded = targets.excluded.take(rows).reindexed(to_artefact)
            found = top_n_many(scores, k, exclude=(excluded.indptr, excluded.items))
            places = np.arange(len(found.items)) - np.repeat(found.indptr[:-1], np.diff(found.indptr))
            lists[np.repeat(rows, np.diff(found.indptr)), places] = to_dataset[found.items]
    return lists


def _judge(fold: Fold, targets: Targets, lists: Int32, n_customers_of: Int64, n_customers: int) -> Judged:
    n_items, sizes = len(fold.train.items), targets.relevant.sizes
    hits = hit_matrix(lists, targets.relevant.indptr, targets.relevant.items, n_items)
    segments = segments_of(np.diff(fold.train.events.indptr), targets.customers)
    with_history = ~segments["no_history"]
    figures: dict[str, Float64] = {}
    catalogue: dict[str, float] = {}
    for k in fold.k:
        for name, metric in METRICS.items():
            figures[f"{name}_at_{k}"] = metric(hits[:, :k], sizes)
        figures[f"novelty_at_{k}"] = novelty(lists[:, :k], n_customers_of, n_customers)
        exposed = exposure(lists[with_history, :k], n_items)
        catalogue[f"coverage_at_{k}"] = coverage(exposed)
        catalogue[f"gini_at_{k}"] = gini(exposed)
    return Judged(targets.goal, targets.customers, lists, figures, segments, catalogue)


def segments_of(n_events: Int64, customers: Int64) -> dict[str, Bool]:
    """Who of (m,) `customers` belongs to which segment.

    Parameters
    ----------
    n_events
        (n_customers,) train events of every customer of the data set.
    customers
        (m,) rows.

    Returns
    -------
        `heavy` and `light`: the upper and the lower third, by train events, of all customers who have any;
        `no_history`: customers without.
    """
    mine, active = n_events[customers], n_events[n_events > 0]
    if not len(active):
        nobody = np.zeros(len(customers), np.bool_)
        return {"heavy": nobody, "light": nobody, "no_history": ~nobody}
    low, high = np.quantile(active, [1 / 3, 2 / 3])
    return {"heavy": mine > high, "light": (mine > 0) & (mine <= low), "no_history": mine == 0}
