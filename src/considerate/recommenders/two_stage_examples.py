"""What a ranker learns from: candidates as of an earlier moment, and which of them were bought after it."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from considerate.ranking.history import Bool, Float32, Float64, Histories, Int64
from considerate.ranking.scores import Goal
from considerate.ranking.two_stage import RANKED, TwoStage
from considerate.ranking.two_stage_trees import Trees

BLOCK_SCORES = 2_000_000
"""Customers times items that are scored at once: bounds the memory."""


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
    stage: TwoStage, before: Histories, bought: Histories, *, at: datetime, negatives: int, rng: np.random.Generator
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
    """
    n_items = len(stage.item_ids)
    size = max(1, BLOCK_SCORES // max(n_items, 1))
    back = np.flatnonzero(np.diff(bought.indptr))
    found: dict[Goal, list[Examples]] = {goal: [] for goal in RANKED}
    for start in range(0, len(back), size):
        rows = back[start : start + size]
        block, after = before.take(rows), bought.take(rows)
        parts = stage.parts(block, at=at)
        was_bought = np.unique(after.customer * n_items + after.item)
        for goal in RANKED:
            customer, item = stage.candidates(block, parts, goal=goal, page=goal)
            is_bought = np.isin(customer * n_items + item, was_bought)
            kept = _kept(customer, is_bought, negatives, rng)
            known = stage.features(block, parts, at=at, customer=customer[kept], item=item[kept])
            found[goal].append(Examples(rows[customer[kept]], known, is_bought[kept]))
    return {goal: joined(blocks, 0) for goal, blocks in found.items()}


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
    bests = []
    for rows in windows:
        opens = np.flatnonzero(np.diff(rows.customer, prepend=-1))
        if len(opens):
            bests.append(np.maximum.reduceat(trees.margins(rows.features), opens))
    return float(np.concatenate(bests).mean()) if bests else 0.0
