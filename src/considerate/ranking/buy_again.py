"""A customer's own purchases, ranked by how often, how lately, and how soon the product runs out."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from considerate.errors import DataError
from considerate.ranking.files import Files, write_artefact
from considerate.ranking.history import Float32, Float64, Histories, History, Int32, Int64, Kind
from considerate.ranking.manifest import Manifest
from considerate.ranking.newest import newest_items
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import SECONDS_PER_DAY, age_in_days, as_histories

KIND = "buy_again"
MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class Purchases:
    """One row per customer and item, sorted by both.

    Attributes
    ----------
    customer, item
        (m,) rows.
    first, last
        (m,) seconds of the first and the last purchase.
    days
        (m,) distinct days with a purchase.
    frequency
        (m,) purchases, each halved by every half-life of its age.
    """

    customer: Int64
    item: Int32
    first: Float64
    last: Float64
    days: Int64
    frequency: Float64

    @property
    def own_gap(self) -> Float64:
        """(m,) mean days between purchases; 1 where there was one day only."""
        gap = (self.last - self.first) / SECONDS_PER_DAY / np.maximum(self.days - 1, 1)
        return np.maximum(gap, 1.0)


def purchases(histories: Histories, *, at: datetime | None, half_life_days: float, max_items: int) -> Purchases:
    """Gather the purchases of each customer and item.

    Raises
    ------
    DataError
        A purchase, or `at`, has no time.
    """
    histories = histories.where(histories.kind == Kind.PURCHASE)
    if histories.n_events and (at is None or np.isnan(histories.time).any()):
        raise DataError("buy_again needs the time of every purchase, and some have none; map a timestamp column")
    histories = newest_items(histories, max_items)
    customer, item, time = histories.customer, histories.item, histories.time
    order = np.lexsort((time, item, customer))
    customer, item, time = customer[order], item[order], time[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (customer[1:] != customer[:-1]) | (item[1:] != item[:-1])
    starts = np.flatnonzero(first)
    if len(starts) == 0:
        nothing = np.empty(0)
        return Purchases(customer, item, nothing, nothing, np.empty(0, np.int64), nothing)
    day = np.floor(time / SECONDS_PER_DAY)
    new_day = first.copy()
    new_day[1:] |= day[1:] != day[:-1]
    decayed = np.exp2(-age_in_days(time, at) / half_life_days)
    return Purchases(
        customer=customer[starts],
        item=item[starts],
        first=time[starts],
        last=time[np.append(starts[1:], len(order)) - 1],
        days=np.add.reduceat(new_day.astype(np.int64), starts),
        frequency=np.add.reduceat(decayed, starts),
    )


@dataclass(frozen=True, slots=True, eq=False)
class BuyAgain:
    """Score of an item that was bought: frequency x repeat_share^repeat_power x exp(-lapse x (days since) / gap).

    `frequency` decays with the half-life. The gap is the geometric mean of the customer's own mean gap, which counts
    once per gap seen, and the item's, which counts `gap_prior` times.

    Attributes
    ----------
    manifest
        With `settings` half_life_days, repeat_power, lapse and gap_prior.
    item_ids
        The catalogue.
    popular
        Share of consenting customers who bought an item lately.
    base
        What follows the customer's own purchases.
    gap_days
        (n_items,) usual days between two purchases of the item by the same customer.
    repeat_share
        (n_items,) share of its buyers who bought it on more than one day.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    base: Base
    gap_days: Float32
    repeat_share: Float32

    def _own(self, histories: Histories, at: datetime | None) -> tuple[Int64, Int32, Float64]:
        settings = self.manifest.settings
        own = purchases(histories, at=at, half_life_days=settings["half_life_days"], max_items=MAX_ITEMS)
        if len(own.item) == 0:
            return own.customer, own.item, own.frequency
        seen, prior = own.days - 1, settings["gap_prior"]
        gap_days = self.gap_days[own.item].astype(np.float64)
        gap = np.exp((seen * np.log(own.own_gap) + prior * np.log(gap_days)) / (seen + prior))
        overdue = age_in_days(own.last, at) / gap
        habit = self.repeat_share[own.item].astype(np.float64) ** settings["repeat_power"]
        return own.customer, own.item, own.frequency * habit * np.exp(-settings["lapse"] * overdue)

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score one customer's own purchases; everything else stays at the base."""
        _, items, values = self._own(as_histories(history), at)
        return Scores(items, self.base.values[items] + values.astype(np.float32), self.base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely."""
        customer, item, values = self._own(histories, at)
        shape = (len(histories), len(self.item_ids))
        scores: Float32 = csr_matrix((values.astype(np.float32), (customer, item)), shape=shape).toarray()
        scores += self.base.values
        return scores

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`: only its own purchases do."""
        shares = np.zeros(len(history))
        _, items, values = self._own(as_histories(history), at)
        if item not in items:
            return shares
        score = float(values[items == item][0])
        events = np.flatnonzero((history.item == item) & (history.kind == Kind.PURCHASE))
        # One copy of the item's purchases per event, each without that event.
        alone = as_histories(history).where(np.isin(np.arange(len(history)), events))
        copies = alone.take(np.zeros(len(events), np.int64))
        keep = ~np.eye(len(events), dtype=np.bool_).ravel()
        customer, _, without = self._own(copies.where(keep), at)
        left = np.zeros(len(events))
        left[customer] = without
        shares[events] = score - left
        return shares

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Nothing: the model compares no items."""
        return np.empty(0, np.int32), np.empty(0, np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact."""
        arrays = {
            "popular": self.popular.values,
            "base": self.base.values,
            "gap_days": self.gap_days,
            "repeat_share": self.repeat_share,
        }
        write_artefact(directory, self.manifest, self.item_ids, arrays)

    @classmethod
    def read(cls, files: Files) -> "BuyAgain":
        """Read it back."""
        n = len(files.item_ids)
        return cls(
            manifest=files.manifest,
            item_ids=files.item_ids,
            popular=base_of(files.array("popular", n)),
            base=base_of(files.array("base", n)),
            gap_days=files.array("gap_days", n),
            repeat_share=files.array("repeat_share", n),
        )
