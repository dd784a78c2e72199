"""How likely a product is bought again: a hazard over what one customer's purchases and everybody's rhythm say."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from considerate.ranking.history import Float32, Float64
from considerate.ranking.purchases import Purchases

SHORT, LONG = 0.25, 4.0
"""Half-lives beside the middle one, as multiples of it."""

_KNOTS = (-2.0, -1.0, 0.0, 1.0, 2.0)
_OVERDUE = ("overdue", "overdue_from_1_8", "overdue_from_1_3", "overdue_from_1", "overdue_from_3", "overdue_from_7")

SIGNS = (
    *("frequency_short", "frequency", "frequency_long"),
    *_OVERDUE,
    *("repeat_share", "gap", "trend", "lately", "visits", "since_visit"),
    *(f"frequency x {other}" for other in ("visits", "since_visit", "trend", "repeat_share", "overdue")),
    *(f"overdue x {other}" for other in ("visits", "since_visit", "repeat_share")),
)
"""Names of the columns of `signs`: each is a logarithm, or the product of two."""


def half_lives(half_life_days: float) -> tuple[float, float, float]:
    """Give the three half-lives of a customer's frequency, in the order of `SIGNS`."""
    return SHORT * half_life_days, half_life_days, LONG * half_life_days


@dataclass(frozen=True, slots=True, eq=False)
class Rhythm:
    """What everybody's purchases tell about each item.

    Attributes
    ----------
    gap_days
        (n_items,) usual days between two purchases of the item by the same customer.
    repeat_share
        (n_items,) share of its buyers who bought it on more than one day.
    trend
        (n_items,) its buyers of the last weeks over those of the last months, both decayed.
    lately
        (n_items,) share of customers who bought it lately, decayed.
    """

    gap_days: Float32
    repeat_share: Float32
    trend: Float32
    lately: Float32


def signs(own: Purchases, rhythm: Rhythm, gap_prior: float) -> Float64:
    """(m, len(SIGNS)) what speaks for buying each of m products again.

    Overdue is the logarithm of days since the last purchase over the gap; it enters as a broken line, so that not yet
    due, due and lapsed each have a slope of their own. The gap is the geometric mean of the customer's own, which
    counts once per gap seen, and the item's, which counts `gap_prior` times.
    """
    log_gap = np.log(rhythm.gap_days[own.item].astype(np.float64))
    seen = own.days - 1
    gap = np.exp((seen * np.log(own.own_gap) + gap_prior * log_gap) / (seen + gap_prior))
    overdue = np.log(own.since / gap + 0.05)
    short, middle, long = np.log(own.frequency + 0.1).T
    share = np.log(rhythm.repeat_share[own.item].astype(np.float64))
    trend = np.log(rhythm.trend[own.item].astype(np.float64) + 0.005)
    lately = np.log(rhythm.lately[own.item].astype(np.float64) + 1e-4)
    visits, since_visit = np.log(own.visits + 0.1), np.log1p(own.since_visit)
    columns = [
        *(short, middle, long),
        *(overdue, *(np.maximum(overdue - knot, 0.0) for knot in _KNOTS)),
        *(share, log_gap, trend, lately, visits, since_visit),
        *(middle * other for other in (visits, since_visit, trend, share, overdue)),
        *(overdue * other for other in (visits, since_visit, share)),
    ]
    return np.stack(columns, axis=1)


def chance(columns: Float64, coefficients: Mapping[str, float]) -> Float64:
    """(m,) logistic of the weighted sum of `signs`; `intercept` stands beside their names."""
    weights = np.array([coefficients[name] for name in SIGNS])
    # einsum, not BLAS: a row's sum must not depend on how many rows stand beside it.
    total = coefficients["intercept"] + np.einsum("ij,j->i", columns, weights)
    found: Float64 = 1.0 / (1.0 + np.exp(-np.clip(total, -30.0, 30.0)))
    return found
