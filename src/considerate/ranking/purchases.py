"""What each customer bought, on which days: one row per customer and product."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from considerate.errors import DataError
from considerate.ranking.history import Bool, Float64, Histories, History, Int32, Int64, Kind
from considerate.ranking.newest import is_newest, newest_items
from considerate.ranking.weighting import SECONDS_PER_DAY, as_histories

VISIT_HALF_LIFE_DAYS = 28.0


@dataclass(frozen=True, slots=True, eq=False)
class Purchases:
    """One row per customer and item, sorted by both. A day counts once, however often the item was bought on it.

    Attributes
    ----------
    customer, item
        (m,) rows.
    days
        (m,) distinct days with a purchase of the item.
    since, span
        (m,) days since the last of them, and from the first to the last.
    frequency
        (m, n_half_lives) these days, each halved by every half-life of its age.
    visits, since_visit
        (m,) days on which the customer bought anything, halved every 28 days, and days since the last of them.
    """

    customer: Int64
    item: Int32
    days: Int64
    since: Float64
    span: Float64
    frequency: Float64
    visits: Float64
    since_visit: Float64

    @property
    def own_gap(self) -> Float64:
        """(m,) mean days between purchases; 1 where there was one day only."""
        return np.maximum(self.span / np.maximum(self.days - 1, 1), 1.0)

    def where(self, keep: Bool) -> "Purchases":
        """Keep the rows that (m,) `keep` marks."""
        return Purchases(
            self.customer[keep],
            self.item[keep],
            self.days[keep],
            self.since[keep],
            self.span[keep],
            self.frequency[keep],
            self.visits[keep],
            self.since_visit[keep],
        )


def purchases(
    histories: Histories, *, at: datetime | None, half_lives_days: Sequence[float], max_items: int
) -> Purchases:
    """Gather the purchases of each customer and item.

    Raises
    ------
    DataError
        A purchase, or `at`, has no time.
    """
    histories = newest_items(histories.where(histories.kind == Kind.PURCHASE), max_items)
    _check_time(histories.time, at)
    if at is None or not histories.n_events:
        nothing, none = np.empty(0), np.empty(0, np.int64)
        sums = np.empty((0, len(half_lives_days)))
        return Purchases(none, none.astype(np.int32), none, nothing, nothing, sums, nothing, nothing)
    day = np.floor(histories.time / SECONDS_PER_DAY).astype(np.int64)
    origin, span, n_items = int(day.min()), int(day.max() - day.min()) + 1, int(histories.item.max()) + 1
    # Customer, item and day in one integer: sorting it is many times faster than sorting by three columns.
    key = distinct((histories.customer * n_items + histories.item) * span + (day - origin))
    pair, pair_day = key // span, key % span + origin
    starts = _starts(pair)
    ends = np.append(starts[1:], len(pair)) - 1
    customer = pair[starts] // n_items
    visit = distinct(histories.customer * span + (day - origin))
    visitor, visit_day = visit // span, visit % span + origin
    age = _age(visit_day, at)
    visits: Float64 = np.bincount(visitor, np.exp2(-age / VISIT_HALF_LIFE_DAYS), minlength=len(histories)).astype(
        np.float64
    )
    since_visit = np.zeros(len(histories))
    since_visit[visitor] = age  # the last of a customer's days stays
    return Purchases(
        customer=customer,
        item=(pair[starts] % n_items).astype(np.int32),
        days=ends - starts + 1,
        since=_age(pair_day[ends], at),
        span=(pair_day[ends] - pair_day[starts]).astype(np.float64),
        frequency=np.add.reduceat(_halved(_age(pair_day, at), half_lives_days), starts, axis=0),
        visits=visits[customer],
        since_visit=since_visit[customer],
    )


def without_each(
    history: History, item: int, *, at: datetime, half_lives_days: Sequence[float], max_items: int
) -> Purchases:
    """Give the purchases of `item` as they were without event j, for each event j of one history.

    Parameters
    ----------
    history
        n events.

    Returns
    -------
    Purchases
        The row of `customer` j for event j, where anything of the item is left. An event that plays no part changes
        nothing. Leaving one out does not bring back an item that the cap had left out.
    """
    block = as_histories(history)
    counted = history.kind == Kind.PURCHASE
    counted[counted] = is_newest(block.where(counted), max_items)
    day = np.full(len(history), np.iinfo(np.int64).min)
    day[counted] = np.floor(history.time[counted] / SECONDS_PER_DAY).astype(np.int64)
    own = counted & (history.item == item)
    own_days, sole = _sole_day(day, own)
    visit_days, sole_visit = _sole_day(day, counted)
    frequency, visits = _halved(_age(own_days, at), half_lives_days), _age(visit_days, at)
    visits = np.exp2(-visits / VISIT_HALF_LIFE_DAYS)
    gone = np.flatnonzero(sole >= 0)
    left = np.repeat(frequency.sum(axis=0)[None, :], len(history), axis=0)
    left[gone] -= frequency[sole[gone]]
    last, first = own_days[len(own_days) - 1 - (sole == len(own_days) - 1)], own_days[(sole == 0) * 1 % len(own_days)]
    row = Purchases(
        customer=np.arange(len(history), dtype=np.int64),
        item=np.full(len(history), item, np.int32),
        days=len(own_days) - (sole >= 0).astype(np.int64),
        since=_age(last, at),
        span=(last - first).astype(np.float64),
        frequency=left,
        visits=visits.sum() - np.where(sole_visit >= 0, visits[sole_visit], 0.0),
        since_visit=_age(visit_days[len(visit_days) - 1 - (sole_visit == len(visit_days) - 1)], at),
    )
    return row.where(row.days > 0)


def _sole_day(day: Int64, events: Bool) -> tuple[Int64, Int64]:
    """Distinct days of the `events`, rising, and (n,) which of them event j alone makes, -1 for none."""
    days, place, count = np.unique(day[events], return_inverse=True, return_counts=True)
    sole = np.full(len(day), -1)
    sole[events] = np.where(count[place] == 1, place, -1)
    return days, sole


def _check_time(time: Float64, at: datetime | None) -> None:
    if len(time) and (at is None or np.isnan(time).any()):
        raise DataError("buy_again needs the time of every purchase, and some have none; map a timestamp column")


def distinct(values: Int64) -> Int64:
    """Each value once, rising (`np.unique` hashes integers, which takes many times longer)."""
    values = np.sort(values)
    return values[_starts(values)]


def _starts(sorted_values: Int64) -> Int64:
    first = np.ones(len(sorted_values), np.bool_)
    first[1:] = sorted_values[1:] != sorted_values[:-1]
    return np.flatnonzero(first)


def _age(day: Int64, at: datetime) -> Float64:
    """Days from the beginning of each day to `at`, 0 for a day after it."""
    age: Float64 = np.maximum(at.timestamp() / SECONDS_PER_DAY - day, 0.0)
    return age


def _halved(age: Float64, half_lives_days: Sequence[float]) -> Float64:
    halved: Float64 = np.exp2(-age[:, None] / np.asarray(half_lives_days, np.float64)[None, :])
    return halved
