"""How much each sign of a purchase to come counts: logistic regression, held to a rule that needs no data."""

from collections.abc import Sequence

import numpy as np
from threadpoolctl import threadpool_limits

from considerate.ranking.history import Bool, Float64
from considerate.ranking.rebuying import SIGNS

Lesson = tuple[Float64, Bool]
"""(m, len(SIGNS)) signs as of a moment, and (m,) whether the purchase came within the horizon."""

STARTING_RULE = {
    "intercept": -2.0,
    "frequency_short": 0.2,
    "frequency": 0.6,
    "frequency_long": 0.3,
    "overdue_from_1": -0.3,
    "repeat_share": 0.5,
}
"""Often, lately, and not long overdue: what holds until a shop's own weeks say better."""

STEPS = 50


def learn_hazard(lessons: Sequence[Lesson], regularization: float) -> dict[str, float]:
    """Give the coefficient of each sign, and the intercept.

    Minimises the logistic loss + regularization / 2 x sum of (distance from the starting rule, in units of a sign's
    standard deviation)^2 by Newton's method with halved steps; without lessons the starting rule stays.
    """
    start = np.array([STARTING_RULE.get(name, 0.0) for name in ("intercept", *SIGNS)])
    rows = sum(len(bought) for _, bought in lessons)
    if rows:
        # One thread: the order of a sum of floats is part of the result.
        with threadpool_limits(limits=1, user_api="blas"):
            signs, bought = (np.concatenate(parts) for parts in zip(*lessons, strict=True))
            start = _newton(signs, bought.astype(np.float64), start, regularization)
    return dict(zip(("intercept", *SIGNS), start.tolist(), strict=True))


def frequency_alone() -> dict[str, float]:
    """Give the coefficients that rank by the decayed number of days with a purchase, and by nothing else."""
    return {"intercept": -4.0, **{name: float(name == "frequency") for name in SIGNS}}


def _newton(signs: Float64, bought: Float64, start: Float64, regularization: float) -> Float64:
    """(1 + n_signs,) minimum, found on centred and scaled columns."""
    mean, scale = signs.mean(axis=0), signs.std(axis=0)
    moves = scale > 1e-9 * (1.0 + np.abs(mean))
    mean, scale = np.where(moves, mean, 0.0), np.where(moves, scale, 1.0)
    columns = np.ones((len(signs), len(start)))
    columns[:, 1:] = (signs - mean) / scale
    columns[:, 1:][:, ~moves] = 0.0
    held = np.append(start[0] + mean @ start[1:], start[1:] * scale)
    at, loss = held, _loss(columns, bought, held, held, regularization)
    for _ in range(STEPS):
        chance = 1.0 / (1.0 + np.exp(-columns @ at))
        slope = columns.T @ (chance - bought) + regularization * (at - held)
        curve = (columns * (chance * (1.0 - chance))[:, None]).T @ columns + regularization * np.eye(len(at))
        step = np.linalg.solve(curve, slope)
        after = loss
        while np.abs(step).max() > 1e-9:
            after = _loss(columns, bought, at - step, held, regularization)
            if after <= loss:
                break
            step = step / 2
        if not loss - after > 1e-9 * loss:
            break
        at, loss = at - step, after
    weights = at[1:] / scale
    return np.append(at[0] - mean @ weights, weights)


def _loss(columns: Float64, bought: Float64, at: Float64, held: Float64, regularization: float) -> float:
    total = columns @ at
    return float((np.logaddexp(0.0, total) - bought * total).sum() + regularization / 2 * ((at - held) ** 2).sum())
