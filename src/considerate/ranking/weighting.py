"""How events become the weighted history x that a model reads: one typed rule for fit, evaluation and service."""

from datetime import datetime
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix

from considerate.errors import DataError
from considerate.ranking.history import Bool, Float64, Histories, History, Int32, Int64, Kind
from considerate.ranking.newest import newest_items
from considerate.ranking.traits import Traits, trait_names
from considerate.settings.toml import Section

KindName = Literal["purchase", "return", "rating", "view", "click", "cart", "like", "dismiss"]

Weight = Annotated[float, Field(allow_inf_nan=False)]

SECONDS_PER_DAY = 86_400.0

DEFAULT_KINDS: dict[KindName, float] = {
    "purchase": 1.0,
    "rating": 1.0,
    "like": 1.0,
    "cart": 0.3,
    "click": 0.1,
    "view": 0.1,
    "dismiss": -1.0,
}


class Weighting(Section):
    """How one customer's events become one weight per item.

    An event weighs `kinds[kind] x (1 + rating_slope x (rating - her mean rating)) x 0.5^(age / half life)`. The weights
    of one item are joined by `repeats`; then the whole row is divided by its norm.

    Attributes
    ----------
    kinds
        Weight of each kind of event; a kind that is not named weighs nothing. Negative weights lower a score.
    rating_slope
        Weight gained per rating point above the customer's own mean; only for ratings. One far enough below it weighs
        less than nothing.
    min_rating
        A rating below it, or without a value, weighs nothing; it still counts for her mean. None: every rating counts.
    half_life_days
        An event loses half its weight in so many days before `at`. Needs timestamps.
    half_life_events
        An event loses half its weight with so many events after it.
    repeats
        Several events on one item: their `sum`, the largest of them (`max`), or the damped sum (`sqrt`, or `log` of
        1 + sum), which keeps its sign.
    normalisation
        Divide a customer's row by the sum of its absolute weights (`l1`), by its Euclidean length (`l2`), or not.
    max_items
        Only the events on the newest so many distinct items count.
    """

    kinds: dict[KindName, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=lambda: {**DEFAULT_KINDS}
    )
    rating_slope: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    min_rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    half_life_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    half_life_events: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    repeats: Literal["sum", "max", "sqrt", "log"] = "sum"
    normalisation: Literal["none", "l1", "l2"] = "none"
    max_items: Annotated[int, Field(ge=1)] = 1000

    @property
    def kind_weights(self) -> Float64:
        """(8,) weight by `Kind` code."""
        return np.array([self.kinds.get(kind.name.lower(), 0.0) for kind in Kind], np.float64)  # type: ignore[call-overload]  # names of Kind are the literals


def age_in_days(time: Float64, at: datetime | None) -> Float64:
    """Days from each event to `at`, 0 for an event after it.

    Raises
    ------
    DataError
        There are events, and `at` or one of them has no time.
    """
    if len(time) == 0:
        return time
    if at is None or bool(np.isnan(time).any()):
        raise DataError(
            "half_life_days needs the time of every event, and some have none; "
            "map a timestamp column, or use half_life_events or no half-life"
        )
    return np.maximum(at.timestamp() - time, 0.0) / SECONDS_PER_DAY


def event_weights(histories: Histories, weighting: Weighting, at: datetime | None) -> Float64:
    """(n_events,) weight of each event on its own, before `repeats` and `normalisation`."""
    weights = weighting.kind_weights[histories.kind]
    is_rating = histories.kind == Kind.RATING
    if weighting.rating_slope and is_rating.any():
        weights = weights * (1.0 + weighting.rating_slope * _above_own_mean(histories, is_rating))
    if weighting.min_rating is not None:
        weights = np.where(is_rating & ~(histories.value >= weighting.min_rating), 0.0, weights)
    if weighting.half_life_days is not None:
        weights = weights * np.exp2(-age_in_days(histories.time, at) / weighting.half_life_days)
    if weighting.half_life_events is not None:
        sizes = np.diff(histories.indptr)
        later = np.repeat(histories.indptr[1:], sizes) - 1 - np.arange(histories.n_events)
        weights = weights * np.exp2(-later / weighting.half_life_events)
    return weights


def _above_own_mean(histories: Histories, is_rating: Bool) -> Float64:
    rated = is_rating & ~np.isnan(histories.value)
    customer = histories.customer
    sums = np.bincount(customer[rated], histories.value[rated], minlength=len(histories))
    counts = np.bincount(customer[rated], minlength=len(histories))
    mean = sums / np.maximum(counts, 1)
    return np.where(rated, histories.value - mean[customer], 0.0)


def damp(total: Float64, repeats: str) -> Float64:
    """Joined weight of an item from the sum (or, for `max`, the largest) of its events' weights."""
    if repeats == "sqrt":
        return np.sign(total) * np.sqrt(np.abs(total))
    if repeats == "log":
        return np.sign(total) * np.log1p(np.abs(total))
    return total


def joined(customer: Int64, item: Int32, weights: Float64, repeats: str) -> tuple[Int64, Int32, Float64]:
    """One row per customer and item, sorted by both, with the joined weight; (n,) `customer` rises."""
    order = _stable_order(customer * (int(item.max(initial=0)) + 1) + item)
    item, weights = item[order], weights[order]  # the customers stand in order already
    first = np.ones(len(item), np.bool_)
    first[1:] = (customer[1:] != customer[:-1]) | (item[1:] != item[:-1])
    if first.all():
        return customer, item, damp(weights, repeats)
    starts = np.flatnonzero(first)
    join = np.maximum if repeats == "max" else np.add
    return customer[starts], item[starts], damp(join.reduceat(weights, starts), repeats)


def _stable_order(key: Int64) -> Int64:
    """(n,) order of (n,) keys >= 0, ties as they stand; sorting key and place as one integer is many times faster."""
    bits = len(key).bit_length()
    if int(key.max(initial=0)).bit_length() + bits > 63:
        return np.argsort(key, kind="stable")
    packed = np.sort((key << bits) | np.arange(len(key)))
    return packed & ((1 << bits) - 1)


def row_norms(customer: Int64, x: Float64, normalisation: str, n_customers: int) -> Float64:
    """(n_customers,) what each row is divided by; 1 where there is nothing to divide."""
    if normalisation == "none":
        return np.ones(n_customers)
    if normalisation == "l1":
        norms = np.bincount(customer, np.abs(x), minlength=n_customers)
    else:
        norms = np.sqrt(np.bincount(customer, x * x, minlength=n_customers))
    return np.where(norms > 0, norms, 1.0)


def weigh(histories: Histories, weighting: Weighting, *, at: datetime | None, n_items: int) -> Any:
    """Turn events into the matrix that models read.

    Parameters
    ----------
    histories
        Events of n customers, oldest first.
    weighting
        The rule.
    at
        The moment from which ages are counted; None only without `half_life_days`.
    n_items
        Columns.

    Returns
    -------
    csr_matrix
        (n_customers, n_items) float32, indices sorted, no duplicates and no explicit zeros.

    Raises
    ------
    DataError
        `half_life_days` is set and an event, or `at`, has no time.
    """
    histories = newest_items(histories, weighting.max_items)
    weights = event_weights(histories, weighting, at)
    customer, item, x = joined(histories.customer, histories.item, weights, weighting.repeats)
    if weighting.normalisation != "none":
        x = x / row_norms(customer, x, weighting.normalisation, len(histories))[customer]
    keep = x.astype(np.float32) != 0
    if not keep.all():
        customer, item, x = customer[keep], item[keep], x[keep]
    indptr = np.concatenate([[0], np.cumsum(np.bincount(customer, minlength=len(histories)))]).astype(np.int32)
    return csr_matrix((x.astype(np.float32), item.astype(np.int32), indptr), shape=(len(histories), n_items))


def weigh_one(history: History, weighting: Weighting, *, at: datetime | None) -> tuple[Int32, Any]:
    """Give the items (m,), rising, and their float32 weights (m,) of one history."""
    row = weigh(as_histories(history), weighting, at=at, n_items=int(history.item.max(initial=-1)) + 1)
    return row.indices, row.data


def as_histories(history: History) -> Histories:
    """One history as a block of one customer."""
    known = trait_names(history.attributes, history.liked_categories, history.refused_categories)
    return Histories(
        indptr=np.array([0, len(history)], np.int64),
        item=history.item,
        kind=history.kind,
        value=history.value,
        time=history.time,
        position=history.position,
        channel=history.channel,
        traits=Traits.of([known]) if known else None,
    )
