"""Consented events as columns, sorted by customer and time: what every fit and every judgement reads."""

import hashlib
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from considerate.dataset.id_map import IdMap
from considerate.interactions.columns import Columns
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Bool, Float64, Histories, Int32, Int64
from considerate.ranking.returns import cancel_returns
from considerate.ranking.traits import Traits, trait_names
from considerate.ranking.weighting import Weighting, weigh

if TYPE_CHECKING:
    from considerate.consent.gate import ConsentedInteractions, ConsentReport


@dataclass(frozen=True)
class Dataset:
    """Who did what, as far as they consented.

    Attributes
    ----------
    customers
        Row c of `events` belongs to `customers.ids[c]`.
    items
        Item index i is `items.ids[i]`; sorted.
    events
        Oldest first, returns among them: only a cut says which of them are known (see `net_of_returns`).
    consent
        The gate's report: on what consent these events may be used.
    catalogue
        What the shop knows about its items, those that nobody bought among them; `catalogue.aligned(items.ids)` has
        them by item index.
    """

    customers: IdMap
    items: IdMap
    events: Histories
    consent: "ConsentReport"
    catalogue: Catalogue = field(default_factory=Catalogue.empty)

    @classmethod
    def from_interactions(
        cls,
        consented: "ConsentedInteractions",
        *,
        catalogue: Catalogue | None = None,
        attributes: pa.Table | None = None,
    ) -> "Dataset":
        """Sort consented interactions into a data set.

        Customers and items are numbered in the order of their ids. A customer's events are ordered by time, position,
        item, kind, value and channel, so that equal contents give equal data sets whatever the order of the source
        and whatever its event ids. Where some events have no time, position decides alone.

        Parameters
        ----------
        consented
            From the gate.
        catalogue
            What is known about items.
        attributes
            What is known about customers, as `interactions.catalogue.CUSTOMERS`; rows of customers without any
            consented event are not read.
        """
        table = consented.table
        customers, customer = _numbered(table[Columns.CUSTOMER])
        items, item = _numbered(table[Columns.ITEM])
        kind = _column(table, Columns.KIND).astype(np.int8)
        value = _column(table, Columns.VALUE, fill=np.nan).astype(np.float32)
        time = _seconds(table[Columns.TIMESTAMP])
        position = _column(table, Columns.POSITION, fill=-1).astype(np.int64)
        channel = _column(table, Columns.CHANNEL).astype(np.int8)
        # A few known times among positions would tear a customer's order apart.
        by_time = time if not np.isnan(time).any() else np.zeros(len(time))
        order = np.lexsort((channel, value, kind, item, position, by_time, customer))
        sizes = np.bincount(customer, minlength=len(customers))
        events = Histories(
            indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
            item=item[order],
            kind=kind[order],
            value=value[order],
            time=time[order],
            position=position[order],
            channel=channel[order],
            traits=_traits(attributes, customers),
        )
        return cls(customers, items, events, consented.report, catalogue or Catalogue.empty())

    @property
    def end(self) -> datetime | None:
        """Time of the last event; None where no event has a time."""
        times = self.events.time[~np.isnan(self.events.time)]
        return datetime.fromtimestamp(float(times.max()), UTC) if len(times) else None

    def user_items(self, weighting: Weighting, at: datetime | None) -> Any:
        """(n_customers, n_items) CSR of weighted histories as of `at`; see `ranking.weighting.weigh`."""
        return weigh(self.events, weighting, at=at, n_items=len(self.items))

    def customers_per_item(self) -> Int64:
        """(n_items,) distinct customers with any event on the item."""
        pair = np.sort(self.events.customer * len(self.items) + self.events.item)
        first = np.ones(len(pair), np.bool_)
        first[1:] = pair[1:] != pair[:-1]
        return np.bincount(pair[first] % max(len(self.items), 1), minlength=len(self.items))

    def restricted_to(self, keep: Bool) -> "Dataset":
        """Leave out the items that (n_items,) `keep` does not mark, with their events; every customer stays."""
        if keep.all():
            return self
        new_index = np.where(keep, np.cumsum(keep) - 1, -1).astype(np.int32)
        ids = tuple(id_ for id_, kept in zip(self.items.ids, keep, strict=True) if kept)
        return replace(self, items=IdMap(ids), events=self.events.reindexed(new_index))

    def net_of_returns(self) -> "Dataset":
        """Take out the returns and what they cancel; the same data set where there is none.

        To be asked of each side of a cut: a return of next month must not take a purchase out of this month's data.
        """
        netted = cancel_returns(self.events)
        return self if netted is self.events else replace(self, events=netted)

    def of_active_customers(self) -> "Dataset":
        """Leave out the customers without any event: whoever comes after a cut must not even be counted before it."""
        active = np.flatnonzero(np.diff(self.events.indptr))
        if len(active) == len(self.customers):
            return self
        ids = tuple(self.customers.ids[c] for c in active.tolist())
        return replace(self, customers=IdMap(ids), events=self.events.take(active))

    def in_canonical_order(self) -> "Dataset":
        """Order the customers by what they did instead of by who they are.

        Sums of floats depend on their order. Ids in a store are random, so a fit that followed them would not give the
        same bytes on two stores with the same contents.
        """
        ids = tuple(self.customers.ids[c] for c in self._order.tolist())
        ordered = replace(self, customers=IdMap(ids), events=self.events.take(self._order))
        ordered.__dict__["_order"] = np.arange(len(ids))  # known, and its digest asks for it
        return ordered

    @cached_property
    def _order(self) -> Int64:
        return _canonical_order(self.events)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of items, events, traits and catalogue: independent of customer ids and of the source's order."""
        in_order = np.array_equal(self._order, np.arange(len(self._order)))
        events = self.events if in_order else self.events.take(self._order)
        hasher = hashlib.sha256()
        for id_ in self.items.ids:
            hasher.update(len(id_).to_bytes(8, "little") + id_.encode("utf-8", "surrogatepass"))
        for column in (
            events.indptr,
            events.item,
            events.kind,
            events.value,
            events.time,
            events.position,
            events.channel,
        ):
            hasher.update(np.ascontiguousarray(column).tobytes())
        if events.traits is not None:
            hasher.update("\0".join(events.traits.names).encode("utf-8", "surrogatepass"))
            hasher.update(events.traits.indptr.tobytes() + events.traits.code.tobytes())
        if len(self.catalogue):
            _hash_catalogue(hasher, self.catalogue)
        return hasher.hexdigest()


def _numbered(column: pa.ChunkedArray) -> tuple[IdMap, Int32]:
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    ids = encoded.dictionary.to_pylist()
    order = sorted(range(len(ids)), key=ids.__getitem__)
    new_code = np.empty(len(ids), np.int32)
    new_code[order] = np.arange(len(ids), dtype=np.int32)
    return IdMap(tuple(ids[i] for i in order)), new_code[encoded.indices.to_numpy(zero_copy_only=False)]


def _column(table: pa.Table, name: str, fill: float | None = None) -> Any:
    column = table[name] if fill is None else pc.fill_null(table[name], pa.scalar(fill, table[name].type))
    return column.to_numpy()


def _seconds(column: pa.ChunkedArray) -> Float64:
    micros = pc.cast(pc.cast(column, pa.timestamp("us", tz="UTC")), pa.int64())
    missing = pc.is_null(micros).to_numpy()
    seconds: Float64 = pc.fill_null(micros, 0).to_numpy() / 1e6
    return np.where(missing, np.nan, seconds)


def _traits(attributes: pa.Table | None, customers: IdMap) -> Traits | None:
    if attributes is None or not len(attributes):
        return None
    known: list[tuple[str, ...]] = [()] * len(customers)
    names = [name for name in attributes.column_names if name not in (Columns.CUSTOMER, "birth_year")]
    rows = customers.indices(attributes[Columns.CUSTOMER].to_pylist())
    columns = [attributes[name].to_pylist() for name in names]
    for place in np.flatnonzero(rows >= 0).tolist():
        said = {name: column[place] for name, column in zip(names, columns, strict=True) if column[place]}
        known[rows[place]] = trait_names(said)
    return Traits.of(known)


def _hash_catalogue(hasher: Any, catalogue: Catalogue) -> None:
    texts = (catalogue.group_id, catalogue.title, catalogue.category, catalogue.brand, catalogue.sensitive)
    for column in (catalogue.item_ids, *texts, *(catalogue.features[name] for name in sorted(catalogue.features))):
        hasher.update("\0".join(column).encode("utf-8", "surrogatepass") + b"\1")
    for numbers in (catalogue.price, catalogue.min_age):
        hasher.update(numbers.tobytes())


_NEAR = 1 << 14
"""Events that are fingerprinted at once: few enough to stay in the cache."""


def _canonical_order(events: Histories) -> Int64:
    """(n_customers,) rows by a 128-bit fingerprint of events and traits; equal fingerprints mean equal customers."""
    within = np.arange(events.n_events) - np.repeat(events.indptr[:-1], np.diff(events.indptr))
    columns: list[NDArray[Any]] = [
        within,
        events.item,
        events.kind,
        np.nan_to_num(events.value, nan=-1e30).astype(np.float32).view(np.int32),
        np.nan_to_num(events.time, nan=-1e30).view(np.int64),
        events.position,
        events.channel,
    ]
    # What is the same for all tells nobody apart.
    columns = [column for column in columns if len(column) and (column != column[0]).any()]
    sums = []
    for seed in (0x9E3779B97F4A7C15, 0xD1B54A32D192ED03):
        mixed = np.full(events.n_events, seed, np.uint64)
        for start in range(0, events.n_events, _NEAR):
            part = slice(start, start + _NEAR)
            for column in columns:
                mixed[part] = _mix(mixed[part] ^ column[part].astype(np.int64).view(np.uint64))
        sums.append(_sum_of(mixed, events.indptr))
        if events.traits is not None:
            names = [hashlib.sha256(name.encode("utf-8", "surrogatepass")).digest()[:8] for name in events.traits.names]
            named = np.frombuffer(b"".join(names), np.uint64)[events.traits.code]
            sums[-1] = sums[-1] + _sum_of(_mix(named ^ np.uint64(seed)), events.traits.indptr)
    return np.lexsort((sums[1], sums[0], np.diff(events.indptr)))


def _sum_of(mixed: Any, indptr: Int64) -> Any:
    running = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed, dtype=np.uint64)])
    return running[indptr[1:]] - running[indptr[:-1]]


def _mix(x: Any) -> Any:
    """Scramble 64 bits (the finaliser of SplitMix64, Steele et al. 2014)."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
