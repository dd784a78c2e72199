"""What customers did, as arrays: the only thing about a person that a model ever sees, and never keeps."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from considerate.ranking.traits import Traits, parted

Int8 = NDArray[np.int8]
Int32 = NDArray[np.int32]
Int64 = NDArray[np.int64]
Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Bool = NDArray[np.bool_]


class Kind(IntEnum):
    """Kinds of interaction; the codes are part of the store's and the artefacts' format."""

    PURCHASE = 0
    RETURN = 1
    RATING = 2
    VIEW = 3
    CLICK = 4
    CART = 5
    LIKE = 6
    DISMISS = 7


OWNED = (Kind.PURCHASE, Kind.RATING)
"""Kinds that say the customer has or knows the item: a list of goal `new` leaves it out, in service and evaluation."""


class Channel(IntEnum):
    """Where it happened; rows of `STORE` need the purpose `link_in_store`."""

    ONLINE = 0
    STORE = 1


@dataclass(frozen=True, slots=True)
class History:
    """One customer's events, oldest first.

    Attributes
    ----------
    item
        (n,) item index in the catalogue of the artefact or data set at hand.
    kind
        (n,) `Kind` codes.
    value
        (n,) quantity or rating, NaN where there is none.
    time
        (n,) seconds since 1970-01-01 UTC, NaN where there is none.
    position
        (n,) order within the customer, -1 where there is none.
    channel
        (n,) `Channel` codes.
    order_line
        (n,) order lines ("" where there is none); None where nobody asks for evidence.
    attributes
        Age band, gender, region and the like, as far as the customer allows.
    liked_items, refused_items
        Item indices the customer named.
    liked_categories, refused_categories
        Category paths the customer named.
    """

    item: Int32
    kind: Int8
    value: Float32
    time: Float64
    position: Int64
    channel: Int8
    order_line: tuple[str, ...] | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)
    liked_items: Int32 = field(default_factory=lambda: np.empty(0, np.int32))
    refused_items: Int32 = field(default_factory=lambda: np.empty(0, np.int32))
    liked_categories: tuple[str, ...] = ()
    refused_categories: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.item)

    def take(self, rows: Int64 | Bool) -> "History":
        """Keep the events at `rows` (indices, or (n,) whether each is kept); all else about the customer stays."""
        lines = self.order_line
        return replace(
            self,
            item=self.item[rows],
            kind=self.kind[rows],
            value=self.value[rows],
            time=self.time[rows],
            position=self.position[rows],
            channel=self.channel[rows],
            order_line=None if lines is None else tuple(np.array(lines, dtype=object)[rows].tolist()),
        )

    @classmethod
    def empty(cls) -> "History":
        """Give the history of a customer of whom nothing may be known."""
        return Histories.empty(1)[0]


@dataclass(frozen=True, slots=True)
class Histories:
    """Events of many customers as columns: customer c owns the rows `indptr[c]:indptr[c + 1]`, oldest first.

    Attributes
    ----------
    indptr
        (n_customers + 1,) offsets.
    item, kind, value, time, position, channel
        (n_events,) as in `History`.
    traits
        What is known of each customer beside events; None where nothing is known of anybody.
    """

    indptr: Int64
    item: Int32
    kind: Int8
    value: Float32
    time: Float64
    position: Int64
    channel: Int8
    traits: Traits | None = None

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @property
    def n_events(self) -> int:
        """Rows over all customers."""
        return len(self.item)

    @property
    def customer(self) -> Int64:
        """(n_events,) customer row of each event."""
        return np.repeat(np.arange(len(self), dtype=np.int64), np.diff(self.indptr))

    @classmethod
    def empty(cls, n_customers: int) -> "Histories":
        """Give `n_customers` customers without any event."""
        return cls(
            indptr=np.zeros(n_customers + 1, np.int64),
            item=np.empty(0, np.int32),
            kind=np.empty(0, np.int8),
            value=np.empty(0, np.float32),
            time=np.empty(0, np.float64),
            position=np.empty(0, np.int64),
            channel=np.empty(0, np.int8),
        )

    def __getitem__(self, customer: int) -> History:
        """Give the events of one customer, as views, and what else is known of her."""
        part = slice(int(self.indptr[customer]), int(self.indptr[customer + 1]))
        attributes, liked, refused = parted(() if self.traits is None else self.traits.at(customer))
        return History(
            item=self.item[part],
            kind=self.kind[part],
            value=self.value[part],
            time=self.time[part],
            position=self.position[part],
            channel=self.channel[part],
            attributes=attributes,
            liked_categories=liked,
            refused_categories=refused,
        )

    def where(self, keep: Bool) -> "Histories":
        """Keep the events that (n_events,) `keep` marks; every customer stays, with fewer events or none."""
        counts = np.concatenate([[0], np.cumsum(keep, dtype=np.int64)])
        return self._picked(counts[self.indptr], keep, self.traits)

    def take(self, customers: Int64) -> "Histories":
        """Give the customers at (m,) `customers`, in that order."""
        starts, sizes = self.indptr[customers], np.diff(self.indptr)[customers]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.arange(indptr[-1], dtype=np.int64) + np.repeat(starts - indptr[:-1], sizes)
        return self._picked(indptr, rows, None if self.traits is None else self.traits.take(customers))

    def _picked(self, indptr: Int64, rows: Int64 | Bool, traits: Traits | None) -> "Histories":
        return Histories(
            indptr=indptr,
            item=self.item[rows],
            kind=self.kind[rows],
            value=self.value[rows],
            time=self.time[rows],
            position=self.position[rows],
            channel=self.channel[rows],
            traits=traits,
        )

    def reindexed(self, new_index: Int32) -> "Histories":
        """Rename items: item i becomes `new_index[i]`; events whose item becomes -1 are dropped.

        Parameters
        ----------
        new_index
            (n_items_before,) index in the other catalogue, -1 where it does not know the item.
        """
        item = new_index[self.item]
        moved = replace(self, item=item)
        return moved if (item >= 0).all() else moved.where(item >= 0)
