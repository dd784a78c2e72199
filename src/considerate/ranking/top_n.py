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
    """
    n_customers, n_items = scores.shape
    if allowed is not None and allowed.ndim == 1:
        # A gather is far cheaper than selecting among columns of minus infinity.
        columns = np.flatnonzero(allowed).astype(np.int32)
        place = np.full(n_items, -1, np.int64)
        place[columns] = np.arange(len(columns))
        inner = None
        if exclude is not None:
            kept = place[exclude[1]] >= 0
            offsets = np.concatenate([[0], np.cumsum(kept, dtype=np.int64)])[exclude[0]]
            inner = (offsets, place[exclude[1][kept]].astype(np.int32))
        lists = top_n_many(scores[:, columns], n, exclude=inner)
        return Lists(lists.indptr, columns[lists.items])
    if exclude is not None or allowed is not None:
        scores = scores.copy() if allowed is None else np.where(allowed, scores, np.float32(-np.inf))
    if exclude is not None:
        scores[np.repeat(np.arange(n_customers), np.diff(exclude[0])), exclude[1]] = -np.inf
    n = max(min(n, n_items), 0)
    if n == 0 or n_customers == 0:
        return Lists(np.zeros(n_customers + 1, np.int64), np.empty(0, np.int32))
    threshold = np.partition(scores, n_items - n, axis=1)[:, n_items - n]
    row, item = np.nonzero((scores >= threshold[:, None]) & (scores > -np.inf))
    order = np.lexsort((item, -scores[row, item], row))
    row, item = row[order], item[order]
    first = np.searchsorted(row, np.arange(n_customers))
    keep = np.arange(len(row)) - first[row] < n
    counts = np.bincount(row[keep], minlength=n_customers)
    return Lists(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), item[keep].astype(np.int32))
