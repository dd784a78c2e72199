"""How sure a figure is: bootstrap intervals over customers, alone and paired (Efron and Tibshirani 1993)."""

from dataclasses import dataclass

import numpy as np

from considerate.ranking.history import Float64, Int64

RESAMPLES = 1_000
_CELLS = 4_000_000  # resampled weights held at once: 32 MB


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean over customers with its percentile interval.

    Attributes
    ----------
    mean
        The figure itself.
    low, high
        Ends of the interval (95 % unless asked otherwise).
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A mean difference between two models over the same customers.

    Attributes
    ----------
    mean, low, high
        Of `a - b`, customer by customer.
    p_value
        Two-sided: how often a resample lands on the other side of zero, doubled.
    """

    mean: float
    low: float
    high: float
    p_value: float


def resampled_means(
    values: Float64, rng: np.random.Generator, n: int = RESAMPLES, *, clusters: Int64 | None = None
) -> Float64:
    """Means over customers drawn with replacement, in blocks of bounded memory.

    Parameters
    ----------
    values
        (m,) figures, or (m, q) several figures of the same customers, which are then resampled together.
    clusters
        (m,) who is behind each row: a person with several rows is drawn with all of them or not at all. None: every
        row is somebody else.

    Returns
    -------
        (n,) or (n, q) means over the rows drawn.
    """
    totals, sizes = _per_person(values, clusters)
    m = len(totals)
    # In an order of their own: customers come in the order of random references, and the draw must not depend on it.
    order = np.lexsort(np.column_stack([sizes, totals.reshape(m, -1)]).T)
    both = np.column_stack([sizes[order], totals.reshape(m, -1)[order]])
    block = max(1, _CELLS // m)
    shares = np.full(m, 1.0 / m)
    parts = [rng.multinomial(m, shares, size=min(block, n - start)) @ both for start in range(0, n, block)]
    drawn = np.concatenate(parts)
    means: Float64 = drawn[:, 1:] / drawn[:, :1]
    return means.reshape(n, *values.shape[1:])


def _per_person(values: Float64, clusters: Int64 | None) -> tuple[Float64, Float64]:
    """Sum of the rows of each person, and how many rows these are."""
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise ValueError(f"{len(clusters)} clusters for {len(values)} figures; name the person behind every figure")
    _, person = np.unique(clusters, return_inverse=True)
    sizes = np.bincount(person).astype(np.float64)
    totals = np.zeros((len(sizes), *values.shape[1:]))
    np.add.at(totals, person, values)
    return totals, sizes


def intervals(
    values: Float64,
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    n: int = RESAMPLES,
    clusters: Int64 | None = None,
) -> tuple[Interval, ...]:
    """Mean of each of the q columns of (m, q) `values`, with its bootstrap percentile interval.

    NaN throughout where there is no customer; `clusters` as in `resampled_means`.
    """
    columns = range(values.shape[1])
    if not len(values):
        return tuple(Interval(float("nan"), float("nan"), float("nan")) for _ in columns)
    resampled = resampled_means(values, rng, n, clusters=clusters)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2], axis=0)
    means = values.mean(axis=0)
    return tuple(Interval(float(means[q]), float(low[q]), float(high[q])) for q in columns)


def interval(
    values: Float64,
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    n: int = RESAMPLES,
    clusters: Int64 | None = None,
) -> Interval:
    """Mean of (m,) `values` with its bootstrap percentile interval."""
    return intervals(values[:, None], rng, level=level, n=n, clusters=clusters)[0]


def paired(
    a: Float64,
    b: Float64,
    rng: np.random.Generator,
    *,
    level: float = 0.95,
    n: int = RESAMPLES,
    clusters: Int64 | None = None,
) -> Difference:
    """Compare two models on the same customers, in the same order: (m,) figures each.

    A customer who was asked at several cuts has several figures; `clusters` names her (see `resampled_means`).

    Raises
    ------
    ValueError
        The two do not cover the same customers.
    """
    if a.shape != b.shape or not len(a):
        raise ValueError(f"paired comparison of {len(a)} with {len(b)} customers; must be the same ones, at least one")
    difference = a - b
    means = resampled_means(difference, rng, n, clusters=clusters)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    # +1 above and below: with n resamples nothing smaller than 1 / (n + 1) can be claimed (Davison and Hinkley 1997).
    tail = (1 + min(np.sum(means <= 0), np.sum(means >= 0))) / (n + 1)
    return Difference(float(difference.mean()), float(low), float(high), float(min(1.0, 2 * tail)))
