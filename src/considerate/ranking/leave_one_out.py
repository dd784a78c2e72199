"""The weighted history without one of its events, for every event at once: what an exact explanation rests on."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from considerate.ranking.history import Float64, Histories, History, Int32, Int64, Kind
from considerate.ranking.newest import is_newest
from considerate.ranking.weighting import Weighting, as_histories, damp, event_weights, row_norms, weigh


@dataclass(frozen=True, slots=True, eq=False)
class LeaveOneOut:
    """x, and x without event j for each event j.

    Without event j, x becomes `ratio[j] * (x + change[j] * e)`, where e is 1 at `place[j]` and 0 elsewhere; only where
    leaving out an event changes the weights of others in another way, the rows are given in full.

    Attributes
    ----------
    items
        (m,) distinct items of the history, rising.
    x
        (m,) float64, their weights with all events.
    place
        (n,) where each event's item stands in `items`.
    change, ratio
        (n,) as above.
    rows
        (n, m) weights without event j, or None where `change` and `ratio` say it all.
    """

    items: Int32
    x: Float64
    place: Int64
    change: Float64
    ratio: Float64
    rows: Float64 | None

    def dot(self, column: Float64) -> Float64:
        """(n,) product of x without event j with (m,) `column`."""
        if self.rows is not None:
            return self.rows @ column
        return self.ratio * (self.x @ column + self.change * column[self.place])

    def in_full(self) -> Float64:
        """(n, m) x without event j."""
        if self.rows is not None:
            return self.rows
        rows = np.repeat(self.x[None, :], len(self.place), axis=0)
        rows[np.arange(len(rows)), self.place] += self.change
        return rows * self.ratio[:, None]


def leave_one_out(history: History, weighting: Weighting, *, at: datetime | None) -> LeaveOneOut:
    """Weigh a history without each of its events.

    Parameters
    ----------
    history
        n events. Of a history longer than `weighting.max_items` distinct items, the older ones count for nothing, and
        leaving out a newer one does not bring them back.
    weighting
        The rule.
    at
        As for `weigh`.
    """
    block = as_histories(history)
    counted = is_newest(block, weighting.max_items)
    items, place = np.unique(history.item, return_inverse=True)
    items = items.astype(np.int32)
    n, m = len(history), len(items)
    none = np.zeros(n)
    if not _separable(block, weighting):
        x = _rows(block.where(counted), weighting, at, items)[0]
        return LeaveOneOut(items, x, place, none, none, _brute_force(block, weighting, at, items, x))
    weights = np.where(counted, event_weights(block, weighting, at), 0.0 if weighting.repeats != "max" else -np.inf)
    if weighting.repeats == "max":
        largest, rest = _two_largest(place, weights, m)
        with_all = np.where(np.isneginf(largest), 0.0, largest)
        without = np.where(weights == largest[place], rest[place], largest[place])
        without = np.where(np.isneginf(without), 0.0, without)
    else:
        total = np.bincount(place, weights, minlength=m).astype(np.float64)
        alone = np.bincount(place, counted, minlength=m) <= 1
        with_all = damp(total, weighting.repeats)
        without = damp(np.where(alone[place], 0.0, total[place] - weights), weighting.repeats)
    one = np.zeros(m, np.int64)
    norm = row_norms(one, with_all, weighting.normalisation, 1)[0]
    own = with_all[place]
    if weighting.normalisation == "l1":
        left = np.abs(with_all).sum() - np.abs(own) + np.abs(without)
    elif weighting.normalisation == "l2":
        left = np.sqrt(np.maximum((with_all**2).sum() - own**2 + without**2, 0.0))
    else:
        left = np.ones(n)
    emptied = left <= 1e-12 * norm
    ratio = np.where(emptied, 1.0, norm / np.where(emptied, 1.0, left))
    change = (without - own) / norm
    return LeaveOneOut(
        items, with_all / norm, place, np.where(counted, change, 0.0), np.where(counted, ratio, 1.0), None
    )


def _separable(block: Histories, weighting: Weighting) -> bool:
    """Whether an event's own weight does not depend on the other events."""
    relative = bool(weighting.rating_slope) and bool((block.kind == Kind.RATING).any())
    return weighting.half_life_events is None and not relative


def _two_largest(place: Int64, weights: Float64, m: int) -> tuple[Float64, Float64]:
    order = np.lexsort((-weights, place))
    starts = np.searchsorted(place[order], np.arange(m))
    sizes = np.bincount(place, minlength=m)
    largest = weights[order][starts]
    second = np.where(sizes > 1, weights[order][np.minimum(starts + 1, len(order) - 1)], -np.inf)
    return largest, second


def _brute_force(block: Histories, weighting: Weighting, at: datetime | None, items: Int32, x: Float64) -> Float64:
    """Weigh n histories of n - 1 events; only for the weightings that leave no other way."""
    counted = is_newest(block, weighting.max_items)
    kept = np.flatnonzero(counted)
    rows = np.repeat(x[None, :], block.n_events, axis=0)
    for start in range(0, len(kept), 256):
        part = kept[start : start + 256]
        copies = block.where(counted).take(np.zeros(len(part), np.int64))
        gone = np.arange(len(part)) * len(kept) + np.arange(start, start + len(part))
        keep = np.ones(copies.n_events, np.bool_)
        keep[gone] = False
        rows[part] = _rows(copies.where(keep), weighting, at, items)
    return rows


def _rows(histories: Histories, weighting: Weighting, at: datetime | None, items: Int32) -> Float64:
    n_items = int(items.max(initial=-1)) + 1
    dense: Float64 = weigh(histories, weighting, at=at, n_items=n_items)[:, items].toarray().astype(np.float64)
    return dense
