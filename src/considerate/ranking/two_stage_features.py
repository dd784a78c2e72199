"""What the second stage knows of a customer and a candidate: her own events as of the request, and item-side arrays."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from considerate.errors import DataError
from considerate.ranking.history import Bool, Float32, Float64, Histories, Int32, Int64, Kind
from considerate.ranking.newest import newest_items
from considerate.ranking.two_stage_columns import (
    CUSTOMER_COLUMNS,
    GAP,
    GROUP_COLUMNS,
    GROUPS,
    ITEM_COLUMNS,
    PRICE,
    ItemSide,
)
from considerate.ranking.weighting import SECONDS_PER_DAY

MAX_ITEMS = 1000
NEVER_DAYS = 1000.0
"""Days since what never happened: longer than any gap that a tree would tell from it."""

FAST_HALF_LIFE_DAYS, SLOW_HALF_LIFE_DAYS = 14.0, 90.0


def features(histories: Histories, at: datetime | None, customer: Int64, item: Int32, side: ItemSide) -> Float32:
    """(m, n) what is known of each (customer, item) pair, without the scores of the components.

    Parameters
    ----------
    histories
        Events of the customers, none of them after `at`.
    at
        The moment of asking.
    customer, item
        (m,) rows of `histories`, rising, and candidates.
    side
        Of the items.

    Raises
    ------
    DataError
        An event, or `at`, has no time.
    """
    events = purchases_of(histories)
    if events.n_events and (at is None or np.isnan(events.time).any()):
        raise DataError("two_stage needs the time of every purchase, and some have none; map a timestamp column")
    now = 0.0 if at is None else at.timestamp()
    visits = _Visits.of(events, now, len(side.codes))
    blocks: list[Float64] = []
    counted: list[Float64] = []
    expected: list[Float64] = []
    for depth, group in enumerate(GROUPS):
        code_of = None if depth == 0 else side.codes[:, depth - 1]
        grouped = _Grouped.of(events, visits, code_of, len(side.codes))
        blocks.append(grouped.at(visits, customer, item, code_of))
        if code_of is None:
            due = _due(grouped, visits, customer, item, side)
        elif group != "brand":
            first_share = side.columns[item, ITEM_COLUMNS.index(f"first_share_{depth}")]
            expected.append(blocks[-1][:, GROUP_COLUMNS.index("fresh")] * first_share)
            if depth > 1:
                counted.append(_distinct_items(events, code_of, customer, item))
    own = visits.columns(events, side)
    price_gap = side.columns[item, PRICE] - own[customer, CUSTOMER_COLUMNS.index("price_level")]
    pair = np.stack([due, price_gap, *counted, *expected], axis=1)
    return np.concatenate([*blocks, side.columns[item], own[customer], pair], axis=1).astype(np.float32)


def purchases_of(histories: Histories) -> Histories:
    """Purchases of each customer's newest items: what the features are made of. A rating may be a bad one."""
    return newest_items(histories.where(histories.kind == Kind.PURCHASE), MAX_ITEMS)


@dataclass(frozen=True, slots=True, eq=False)
class _Visits:
    """Days on which a customer bought anything.

    Attributes
    ----------
    number
        (n_events,) running number of the event's visit, from 0, over all customers.
    first
        (n_customers + 1,) number of each customer's first visit.
    age
        (n_events,) days before the request.
    slow
        (n_events,) decayed weight.
    total
        (n_customers,) its sum.
    fresh
        (n_events,) whether it is her first of the item.
    """

    number: Int64
    first: Int64
    age: Float64
    slow: Float64
    total: Float64
    fresh: Bool

    @classmethod
    def of(cls, events: Histories, now: float, n_items: int) -> "_Visits":
        age = np.maximum(now - events.time, 0.0) / SECONDS_PER_DAY
        day, customer = np.floor(age), events.customer
        new = np.ones(len(day), np.bool_)
        new[1:] = (day[1:] != day[:-1]) | (customer[1:] != customer[:-1])
        number = np.cumsum(new) - 1
        count = np.concatenate([[0], np.cumsum(new)])
        slow = np.exp2(-age / SLOW_HALF_LIFE_DAYS)
        total: Float64 = np.bincount(customer, slow, minlength=len(events)).astype(np.float64)
        pair = customer * n_items + events.item
        order = np.argsort(pair, kind="stable")
        fresh = np.zeros(len(pair), np.bool_)
        fresh[order] = np.diff(pair[order], prepend=-1) > 0
        return cls(number, count[events.indptr], age, slow, total, fresh)

    @property
    def count(self) -> Int64:
        return np.diff(self.first)

    def columns(self, events: Histories, side: ItemSide) -> Float64:
        """(n_customers, len(CUSTOMER_COLUMNS))."""
        n, customer = len(events), events.customer
        sizes = np.diff(events.indptr)
        has = sizes > 0
        visits = np.maximum(self.count, 1)
        newest, oldest = np.full(n, NEVER_DAYS), np.full(n, NEVER_DAYS)
        newest[has] = self.age[events.indptr[1:][has] - 1]
        oldest[has] = self.age[events.indptr[:-1][has]]
        fresh = self.fresh
        items = np.bincount(customer[fresh], minlength=n)
        late = self.age < 28.0
        opens = np.diff(self.number, prepend=-1) > 0
        late_visits = np.bincount(customer[late & opens], minlength=n)
        late_events = np.bincount(customer[late], minlength=n)
        first_time = np.bincount(customer[late & fresh], minlength=n) / np.maximum(late_events, 1)
        price = side.columns[events.item, PRICE].astype(np.float64)
        level = np.bincount(customer, price, minlength=n) / np.maximum(sizes, 1)
        between = (oldest - newest) / np.maximum(visits - 1, 1)
        return np.stack(
            [self.count, items, sizes / visits, newest, between, late_visits, first_time, level], axis=1
        ).astype(np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class _Grouped:
    """Events by customer and group, one entry each."""

    n_codes: int
    key: Int64
    last_age: Float64
    first_age: Float64
    last_visit: Int64
    first_visit: Int64
    visits: Int64
    fast: Float64
    slow: Float64
    fresh: Float64

    @classmethod
    def of(cls, events: Histories, visits: _Visits, code_of: Int32 | None, n_items: int) -> "_Grouped":
        code = events.item if code_of is None else code_of[events.item]
        n_codes = n_items if code_of is None else int(code_of.max(initial=-1)) + 1
        rows = np.flatnonzero(code >= 0)
        key = events.customer[rows] * n_codes + code[rows]
        order = rows[np.argsort(key, kind="stable")]
        key = np.sort(key)
        opens = np.diff(key, prepend=-1) > 0
        starts = np.flatnonzero(opens)
        ends = np.append(starts[1:], len(key)) - 1
        if len(starts) == 0:
            none, no = np.empty(0), np.empty(0, np.int64)
            return cls(n_codes, no, none, none, no, no, no, none, none, none)
        age, number = visits.age[order], visits.number[order]
        new_visit = opens.copy()
        new_visit[1:] |= number[1:] != number[:-1]
        return cls(
            n_codes=n_codes,
            key=key[starts],
            last_age=age[ends],
            first_age=age[starts],
            last_visit=number[ends],
            first_visit=number[starts],
            visits=np.add.reduceat(new_visit.astype(np.int64), starts),
            fast=np.add.reduceat(np.exp2(-age / FAST_HALF_LIFE_DAYS), starts),
            slow=np.add.reduceat(visits.slow[order], starts),
            fresh=np.add.reduceat((visits.slow * visits.fresh)[order], starts),
        )

    def find(self, customer: Int64, code: Int32) -> tuple[Int64, Int64]:
        """Rows that have an entry, and their entries."""
        if len(self.key) == 0:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        wanted = customer * self.n_codes + code
        place = np.minimum(np.searchsorted(self.key, wanted), len(self.key) - 1)
        hit = np.flatnonzero((self.key[place] == wanted) & (code >= 0))
        return hit, place[hit]

    @property
    def own_gap(self) -> Float64:
        return np.maximum((self.first_age - self.last_age) / np.maximum(self.visits - 1, 1), 1.0)

    def at(self, visits: _Visits, customer: Int64, item: Int32, code_of: Int32 | None) -> Float64:
        """(m, len(GROUP_COLUMNS))."""
        out = np.zeros((len(item), len(GROUP_COLUMNS)))
        out[:, 0], out[:, 1] = NEVER_DAYS, NEVER_DAYS
        hit, entry = self.find(customer, item if code_of is None else code_of[item])
        who = customer[hit]
        out[hit, 0] = self.last_age[entry]
        out[hit, 1] = visits.first[who + 1] - 1 - self.last_visit[entry]
        out[hit, 2] = self.visits[entry]
        out[hit, 3] = self.fast[entry]
        out[hit, 4] = self.slow[entry] / visits.total[who]
        out[hit, 5] = np.where(self.visits[entry] > 1, self.last_age[entry] / self.own_gap[entry], -1.0)
        out[hit, 6] = self.visits[entry] / (visits.first[who + 1] - self.first_visit[entry])
        out[hit, 7] = self.fresh[entry]
        return out


def _due(grouped: _Grouped, visits: _Visits, customer: Int64, item: Int32, side: ItemSide) -> Float64:
    """(m,) gaps since the last purchase, the gap between the customer's own and the item's; -1 where never bought."""
    due = np.full(len(item), -1.0)
    hit, entry = grouped.find(customer, item)
    seen = grouped.visits[entry] - 1
    usual = np.log(np.maximum(side.columns[item[hit], GAP], 1.0))
    gap = np.exp((seen * np.log(grouped.own_gap[entry]) + 3.0 * usual) / (seen + 3.0))
    due[hit] = grouped.last_age[entry] / gap
    return due


def _distinct_items(events: Histories, code_of: Int32, customer: Int64, item: Int32) -> Float64:
    """(m,) distinct items that the customer has of the candidate's group."""
    n_items, n_codes = len(code_of), int(code_of.max(initial=-1)) + 1
    pair = np.sort(events.customer * n_items + events.item)
    pair = pair[np.diff(pair, prepend=-1) > 0]
    code = code_of[pair % max(n_items, 1)]
    keys = np.sort((pair // max(n_items, 1) * n_codes + code)[code >= 0])
    wanted = np.where(code_of[item] >= 0, customer * n_codes + code_of[item], -1)
    return (np.searchsorted(keys, wanted, side="right") - np.searchsorted(keys, wanted)).astype(np.float64)
