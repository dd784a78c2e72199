"""What a ranker learns from: candidates as of an earlier moment, and which of them were bought after it."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime

import numpy as np
from threadpoolctl import threadpool_limits

from considerate.ranking.history import Bool, Float32, Float64, Histories, Int64
from considerate.ranking.scores import Goal
from considerate.ranking.two_stage import RANKED, TwoStage
from considerate.ranking.two_stage_trees import Trees

BLOCK_SCORES = 2_000_000
"""Customers times items that are scored at once: bounds the memory."""

THREADS = 2
"""Blocks that are worked on side by side; each needs its memory."""


@dataclass(frozen=True, slots=True, eq=False)
class Examples:
    """Candidates of one window, in the order of their customers.

    Attributes
    ----------
    customer
        (m,) who.
    features
        (m, n_features) as of the window's start.
    bought
        (m,) whether she bought it in the window.
    """

    customer: Int64
    features: Float32
    bought: Bool


def weights(windows: Sequence[Examples], exponent: float) -> Float64:
    """(m,) weight of each example: 1 / (candidates that its customer bought in the window)^exponent.

    Lists are judged customer by customer, and one who buys much would otherwise teach as much as many who buy little.
    """
    bought = [np.bincount(rows.customer, rows.bought) for rows in windows if len(rows.customer)]
    each = [count[rows.customer] for count, rows in zip(bought, (w for w in windows if len(w.customer)), strict=True)]
    counts: Float64 = np.concatenate([*each, np.empty(0)]).astype(np.float64)
    return np.maximum(counts, 1.0) ** -exponent


def examples(
    stage: TwoStage,
    before: Histories,
    bought: Histories,
    *,
    at: datetime,
    negatives: int,
    rng: np.random.Generator,
    block_scores: int = BLOCK_SCORES,
    threads: int = THREADS,
) -> dict[Goal, Examples]:
    """Goal -> candidates of every customer who bought one of them, with at most `negatives` of the others.

    Parameters
    ----------
    stage
        Fitted on `before` alone.
    before, bought
        The same customers: their events up to `at`, and their purchases after it.
    at
        As of when.
    negatives
        Candidates not bought that are kept of each customer, drawn by `rng`.
    block_scores, threads
        Customers times items that are scored at once, and how many such blocks side by side; `threads` does not show
        in the examples.
    """
    n_items = len(stage.item_ids)
    size = max(1, block_scores // max(n_items, 1))
    back = np.flatnonzero(np.diff(bought.indptr))
    blocks = [back[start : start + size] for start in range(0, len(back), size)]

    def of_block(rows: Int64, rng: np.random.Generator) -> dict[Goal, Examples]:
        block, after = before.take(rows), bought.take(rows)
        parts = stage.parts(block, at=at)
        was_bought = np.unique(after.customer * n_items + after.item)
        found: dict[Goal, Examples] = {}
        for goal in RANKED:
            customer, item = stage.candidates(block, parts, goal=goal, page=goal)
            is_bought = np.isin(customer * n_items + item, was_bought)
            kept = _kept(customer, is_bought, negatives, rng)
            known = stage.features(block, parts, at=at, customer=customer[kept], item=item[kept])
            found[goal] = Examples(rows[customer[kept]], known, is_bought[kept])
        return found

    # A block has draws of its own and one thread of BLAS, so nothing hangs on which thread takes it, or on how many.
    with threadpool_limits(limits=1, user_api="blas"), ThreadPoolExecutor(threads) as pool:
        found = list(pool.map(of_block, blocks, rng.spawn(len(blocks))))
    return {goal: joined([of_goal[goal] for of_goal in found], 0) for goal in RANKED}


def _kept(customer: Int64, bought: Bool, negatives: int, rng: np.random.Generator) -> Int64:
    """Rows of all that was bought and of up to `negatives` others, of those who bought anything."""
    n = int(customer.max(initial=-1)) + 1
    order = np.lexsort((rng.random(len(customer)), ~bought, customer))
    who = customer[order]
    n_bought = np.bincount(customer[bought], minlength=n)
    place = np.arange(len(who)) - np.searchsorted(who, np.arange(n))[who]
    return np.sort(order[(n_bought[who] > 0) & (place < n_bought[who] + negatives)])


def joined(parts: Sequence[Examples], n_features: int) -> Examples:
    """Put examples one after another; `n_features` is the width where there are none."""
    parts = [part for part in parts if len(part.customer)]
    if not parts:
        return Examples(np.empty(0, np.int64), np.empty((0, n_features), np.float32), np.empty(0, np.bool_))
    return Examples(
        np.concatenate([part.customer for part in parts]),
        np.concatenate([part.features for part in parts]),
        np.concatenate([part.bought for part in parts]),
    )


def mean_best(windows: Sequence[Examples], trees: Trees) -> float:
    """Mean over customers and windows of the highest margin of a candidate: the level of a goal's best."""

    def best(rows: Examples) -> Float64:
        opens = np.flatnonzero(np.diff(rows.customer, prepend=-1))
        highest: Float64 = np.maximum.reduceat(trees.margins(rows.features), opens)
        return highest

    with ThreadPoolExecutor(THREADS) as pool:
        bests = list(pool.map(best, (rows for rows in windows if len(rows.customer))))
    return float(np.concatenate(bests).mean()) if bests else 0.0
