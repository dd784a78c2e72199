"""The n best items of every row of a block of scores, in one pass and without a copy of it."""

import numpy as np
from numba import njit

from considerate.ranking.history import Bool, Float32, Int32, Int64


@njit(cache=True, nogil=True)
def best_items(  # noqa: PLR0917  # a compiled function takes arrays
    scores: Float32, indptr: Int64, excluded: Int32, allowed: Bool, best: Int32, sizes: Int64
) -> None:
    """Fill (n_customers, n) `best` by falling score, ties by rising index, and (n_customers,) `sizes`.

    A row is read once, beside a heap of the n best so far with the worst of them on top.

    Parameters
    ----------
    scores
        (n_customers, n_items); an item of minus infinity is never among the best.
    indptr, excluded
        (n_customers + 1,) offsets and the items that must not appear, each below n_items.
    allowed
        (1, n_items) or (n_customers, n_items) what may appear.
    """
    n_customers, n_items = scores.shape
    n = best.shape[1]
    blocked = np.zeros(n_items, np.bool_)
    value, item = np.empty(n, scores.dtype), np.empty(n, np.int32)
    for customer in range(n_customers):
        may = allowed[customer if len(allowed) > 1 else 0]
        for entry in range(indptr[customer], indptr[customer + 1]):
            blocked[excluded[entry]] = True
        size = 0
        for i in range(n_items):
            score = scores[customer, i]
            # Later items have a higher index: at equal score they are the worse ones.
            if (size == n and score <= value[0]) or blocked[i] or not may[i] or score == -np.inf:
                continue
            if size < n:
                place = size
                size += 1
                while place > 0:
                    above = (place - 1) // 2
                    if value[above] < score:
                        break
                    value[place], item[place] = value[above], item[above]
                    place = above
            else:
                place = _sink(value, item, score, i, n)
            value[place], item[place] = score, i
        sizes[customer] = size
        for last in range(size - 1, -1, -1):
            best[customer, last] = item[0]
            if last > 0:
                score, i = value[last], item[last]
                place = _sink(value, item, score, i, last)
                value[place], item[place] = score, i
        for entry in range(indptr[customer], indptr[customer + 1]):
            blocked[excluded[entry]] = False


@njit(cache=True, nogil=True)
def _sink(value: Float32, item: Int32, score: float, i: int, size: int) -> int:
    """Where a newcomer in place of the top comes to rest; those it passes move up."""
    place = 0
    while True:
        below = 2 * place + 1
        if below >= size:
            return place
        other = below + 1
        if other < size and _worse(value[other], item[other], value[below], item[below]):
            below = other
        if not _worse(value[below], item[below], score, i):
            return place
        value[place], item[place] = value[below], item[below]
        place = below


@njit(cache=True, nogil=True)
def _worse(score: float, i: int, than_score: float, than_i: int) -> bool:
    return score < than_score or (score == than_score and i > than_i)
