"""The weighted history without one of its events, for every event at once: what an exact explanation rests on."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from considerate.ranking.history import Bool, Float64, Histories, History, Int32, Int64, Kind
from considerate.ranking.newest import is_newest
from considerate.ranking.weighting import Weighting, as_histories, damp, event_weights, row_norms

BLOCK = 1_000_000
"""Weights of events, one history without each of its events after another, that are held at a time."""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """What leaving out an event does where it changes the weights of others, as a rule instead of an (n, n) matrix.

    Without event j, event e weighs `weights[e] + shift[j] x slopes[e]`, and `newer` times that if it is older than j.

    Attributes
    ----------
    counted
        (n,) events that count at all; without another one, x stays as it is.
    weights, slopes, shift
        (n,) as above; `slopes` is what a rating gains per point, `shift` by how much the mean falls without event j.
    newer
        What an event gains with one event less after it.
    repeats, normalisation
        Of the weighting.
    """

    counted: Bool
    weights: Float64
    slopes: Float64
    shift: Float64
    newer: float
    repeats: str
    normalisation: str

    @property
    def linear(self) -> bool:
        """Whether x is a plain sum over the events."""
        return self.repeats == "sum" and self.normalisation == "none"

    def dot(self, of_event: Float64) -> Float64:
        """(n,) sum of the weights without event j times (n,) `of_event`; where x is linear."""
        total = np.zeros(len(of_event))
        for part, factor in ((self.weights * of_event, np.ones(1)), (self.slopes * of_event, self.shift)):
            older = np.cumsum(part) - part
            newer = np.cumsum(part[::-1])[::-1] - part
            total += factor * (self.newer * older + newer)
        return total

    def in_full(self, start: int, stop: int, x: Float64, place: Int64) -> Float64:
        """(stop - start, m) rows of x without events `start` to `stop`."""
        n, m = len(self.weights), len(x)
        events = np.arange(start, stop)[:, None]
        alone = self.weights + self.shift[events] * self.slopes
        alone[np.arange(n) < events] *= self.newer
        gone = (np.arange(n) == events) | ~self.counted
        alone[gone] = -np.inf if self.repeats == "max" else 0.0
        order = np.argsort(place, kind="stable")
        starts = np.searchsorted(place[order], np.arange(m))
        join = np.maximum if self.repeats == "max" else np.add
        rows = join.reduceat(alone[:, order], starts, axis=1)
        rows = damp(np.where(np.isneginf(rows), 0.0, rows), self.repeats)
        of_row = np.repeat(np.arange(len(rows)), m)
        rows /= row_norms(of_row, rows.ravel(), self.normalisation, len(rows))[:, None]
        rows[~self.counted[start:stop]] = x
        return rows


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
        The rule for the other kind of change, or None where `change` and `ratio` say it all.
    """

    items: Int32
    x: Float64
    place: Int64
    change: Float64
    ratio: Float64
    rows: Rows | None

    def dot(self, column: Float64) -> Float64:
        """(n,) product of x without event j with (m,) `column`."""
        if self.rows is None:
            return self.ratio * (self.x @ column + self.change * column[self.place])
        if self.rows.linear:
            return np.where(self.rows.counted, self.rows.dot(column[self.place]), self.x @ column)
        return np.concatenate([np.empty(0), *(part @ column for part in self._blocks())])

    def in_full(self) -> Float64:
        """(n, m) x without event j."""
        if self.rows is not None:
            return np.concatenate([np.empty((0, len(self.x))), *self._blocks()])
        rows = np.repeat(self.x[None, :], len(self.place), axis=0)
        rows[np.arange(len(rows)), self.place] += self.change
        return rows * self.ratio[:, None]

    def _blocks(self) -> Iterator[Float64]:
        if self.rows is None:
            return
        n = len(self.place)
        step = max(1, BLOCK // max(n, 1))
        for start in range(0, n, step):
            yield self.rows.in_full(start, min(start + step, n), self.x, self.place)


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
        rows = _entangled(block, weighting, at, counted)
        return LeaveOneOut(items, _whole(rows, place, m), place, none, none, rows)
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


def _entangled(block: Histories, weighting: Weighting, at: datetime | None, counted: Bool) -> Rows:
    """Say what each event takes from the others: its place in the order, and its part in the mean of the ratings."""
    n = block.n_events
    weights, slopes, shift = np.zeros(n), np.zeros(n), np.zeros(n)
    known = block.where(counted)
    weights[counted] = event_weights(known, weighting, at)
    if weighting.rating_slope:
        level = event_weights(known, weighting.model_copy(update={"rating_slope": 0.0}), at)
        rated = (known.kind == Kind.RATING) & ~np.isnan(known.value)
        values = known.value.astype(np.float64)[rated]
        slopes[counted] = np.where(rated, weighting.rating_slope * level, 0.0)
        # Without a rating of r the mean of n falls by (r - mean) / (n - 1); without the only one nothing is left of it.
        shift[np.flatnonzero(counted)[rated]] = (values - values.sum() / max(len(values), 1)) / max(len(values) - 1, 1)
    half_life = weighting.half_life_events
    newer = 1.0 if half_life is None else float(np.exp2(1.0 / half_life))
    return Rows(counted, weights, slopes, shift, newer, weighting.repeats, weighting.normalisation)


def _whole(rows: Rows, place: Int64, m: int) -> Float64:
    """(m,) x with all events."""
    weights = rows.weights
    if rows.repeats == "max":
        largest = _two_largest(place, np.where(rows.counted, weights, -np.inf), m)[0]
        x = np.where(np.isneginf(largest), 0.0, largest)
    else:
        x = damp(np.bincount(place, weights, minlength=m).astype(np.float64), rows.repeats)
    normalised: Float64 = x / row_norms(np.zeros(m, np.int64), x, rows.normalisation, 1)[0]
    return normalised
