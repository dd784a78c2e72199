"""Sets of items per customer: what she chose, what is relevant, what may not be suggested."""

from dataclasses import dataclass

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.ranking.history import OWNED, Histories, Int32, Int64, Kind

CHOSEN = (Kind.PURCHASE, Kind.RATING, Kind.LIKE)
"""Kinds that say the customer chose the item: what a suggestion is judged by. A view is no success."""


@dataclass(frozen=True, slots=True)
class ItemSets:
    """A set of items per customer: row c holds `items[indptr[c]:indptr[c + 1]]`, distinct and rising.

    Attributes
    ----------
    indptr
        (m + 1,) offsets.
    items
        (n,) item indices of the data set.
    """

    indptr: Int64
    items: Int32

    @property
    def sizes(self) -> Int64:
        """(m,) items per customer."""
        return np.diff(self.indptr)

    def take(self, rows: Int64) -> "ItemSets":
        """Give the sets of (n,) `rows`, in that order."""
        sizes = self.sizes[rows]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        at = np.arange(indptr[-1], dtype=np.int64) + np.repeat(self.indptr[rows] - indptr[:-1], sizes)
        return ItemSets(indptr, self.items[at])

    def reindexed(self, new_index: Int32) -> "ItemSets":
        """Rename items by (n_items,) `new_index`, -1 where the other catalogue lacks one, which is then dropped."""
        items = new_index[self.items]
        before = np.concatenate([[0], np.cumsum(items >= 0, dtype=np.int64)])
        return ItemSets(before[self.indptr], items[items >= 0])


def chosen_items(events: Histories, n_items: int) -> ItemSets:
    """Distinct items that each customer chose (see `CHOSEN`)."""
    return _items_of(CHOSEN, events, n_items)


def owned_items(events: Histories, n_items: int) -> ItemSets:
    """Distinct items that are not new to each customer (see `ranking.history.OWNED`)."""
    return _items_of(OWNED, events, n_items)


def _items_of(kinds: tuple[Kind, ...], events: Histories, n_items: int) -> ItemSets:
    said = np.isin(events.kind, kinds)
    pairs = np.sort(events.customer[said] * n_items + events.item[said])
    pairs = pairs[np.diff(pairs, prepend=-1) > 0]  # what np.unique gives, many times faster on millions of integers
    indptr = np.searchsorted(pairs, np.arange(len(events) + 1, dtype=np.int64) * n_items)
    return ItemSets(indptr.astype(np.int64), (pairs % n_items).astype(np.int32))


def customers_per_item(dataset: Dataset) -> Int64:
    """(n_items,) distinct customers who chose each item."""
    n_items = len(dataset.items)
    return np.bincount(chosen_items(dataset.events, n_items).items, minlength=n_items).astype(np.int64)


def without(sets: ItemSets, other: ItemSets, n_items: int) -> ItemSets:
    """Take the items of `other` out of `sets`, customer by customer."""
    rows = np.arange(len(sets.indptr) - 1, dtype=np.int64)
    left = np.setdiff1d(
        np.repeat(rows, sets.sizes) * n_items + sets.items,
        np.repeat(rows, other.sizes) * n_items + other.items,
        assume_unique=True,
    )
    indptr = np.searchsorted(left, np.arange(len(sets.indptr), dtype=np.int64) * n_items)
    return ItemSets(indptr.astype(np.int64), (left % n_items).astype(np.int32))
