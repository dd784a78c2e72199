"""The one way from scores to a list: falling score, ties by rising item index, short lists instead of padding."""

from dataclasses import dataclass

import numpy as np

from considerate.ranking.history import Bool, Float32, Int32, Int64
from considerate.ranking.scores import Base, Scores


@dataclass(frozen=True, slots=True)
class Lists:
    """Lists of many customers: customer c gets `items[indptr[c]:indptr[c + 1]]`, best first.

    Attributes
    ----------
    indptr
        (n_customers + 1,) offsets; a list has n items or, where fewer may be suggested, less.
    items
        (n_suggested,) item indices.
    """

    indptr: Int64
    items: Int32

    def __len__(self) -> int:
        return len(self.indptr) - 1

    def __getitem__(self, customer: int) -> Int32:
        """Give one customer's list."""
        return self.items[self.indptr[customer] : self.indptr[customer + 1]]


def order_of(values: Float32) -> Int32:
    """(n,) indices by falling value, ties by rising index."""
    return np.argsort(-values, kind="stable").astype(np.int32)


def base_of(values: Float32) -> Base:
    """Scores without any history, with their order."""
    return Base(values, order_of(values))


def top_n(scores: Scores, n: int, *, exclude: Int32 | None = None, allowed: Bool | None = None) -> Int32:
    """Give the n best items.

    Parameters
    ----------
    scores
        Scores of one customer.
    n
        Length of the list.
    exclude
        Item indices that must not appear.
    allowed
        (n_items,) what may appear; None allows everything.

    Returns
    -------
    Int32
        At most n item indices, by falling score, ties by rising index. Shorter where fewer may appear; never padded.
    """
    base = scores.base
    blocked = np.zeros(len(base.values), np.bool_) if allowed is None else ~allowed
    if exclude is not None:
        blocked[exclude] = True
    # The list is drawn from the n best touched items and the n best of the rest.
    open_ = ~blocked[scores.items]
    items, values = (scores.items, scores.values) if open_.all() else (scores.items[open_], scores.values[open_])
    if len(items) > n > 0:
        threshold = np.partition(values, len(values) - n)[len(values) - n]
        near = values >= threshold
        items, values = items[near], values[near]
    blocked[scores.items] = True
    rest = _first_open(base.order, blocked, n)
    items = np.concatenate([items, rest]).astype(np.int32)
    values = np.concatenate([values, base.values[rest]])
    return items[np.lexsort((items, -values))[: max(n, 0)]]


def _first_open(order: Int32, blocked: Bool, n: int) -> Int32:
    found: list[Int32] = []
    size, start, width = 0, 0, max(4 * n, 64)
    while size < n and start < len(order):
        part = order[start : start + width]
        part = part[~blocked[part]][: n - size]
        found.append(part)
        size, start, width = size + len(part), start + width, 2 * width
    return np.concatenate(found) if found else np.empty(0, np.int32)


def top_n_many(
    scores: Float32, n: int, *, exclude: tuple[Int64, Int32] | None = None, allowed: Bool | None = None
) -> Lists:
    """Give the n best items of every row of a dense block; agrees with `top_n` row by row.

    Parameters
    ----------
    scores
        (n_customers, n_items), finite. Not changed.
    n
        Length of a list.
    exclude
        (n_customers + 1,) offsets and item indices: row c must not contain `items[indptr[c]:indptr[c + 1]]`.
    allowed
        (n_items,) or (n_customers, n_items) what may appear; None allows everything.

    Raises
    ------
    ValueError
        `exclude` names no item.
    """
    from considerate.ranking.top_n_kernel import best_items  # noqa: PLC0415 - a worker ranks one row and needs no numba

    n_customers, n_items = scores.shape
    indptr, excluded = exclude or (np.zeros(n_customers + 1, np.int64), np.empty(0, np.int32))
    if len(excluded) and not 0 <= excluded.min() <= excluded.max() < n_items:
        raise ValueError(f"exclude holds {excluded.min()} to {excluded.max()}; must be item indices below {n_items}")
    if allowed is None:
        allowed = np.ones(n_items, np.bool_)
    best = np.empty((n_customers, max(min(n, n_items), 0)), np.int32)
    sizes = np.zeros(n_customers, np.int64)
    if best.size:
        best_items(np.ascontiguousarray(scores), indptr, excluded, np.atleast_2d(allowed), best, sizes)
    filled = np.arange(best.shape[1]) < sizes[:, None]
    return Lists(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), best[filled])
