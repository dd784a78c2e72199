"""The rhythm of each item, borrowed from its category where the item itself has little evidence."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from considerate.ranking.history import Float64, Int64
from considerate.ranking.purchases import Purchases, distinct
from considerate.ranking.rebuying import Rhythm
from considerate.recommenders.categories import ALSO, categories_of

USUAL_GAP_DAYS = 30.0
"""Gap where nobody has ever bought anything twice."""

LATELY, WEEKS, MONTHS = 30.0, 7.0, 120.0
"""Half-lives in days: of the share of customers who bought an item, and of both sides of its trend."""


def levels_of(paths: Sequence[str]) -> tuple[Int64, ...]:
    """(n_items,) number of each item's category, once for every depth of the paths, widest first.

    >>> [level.tolist() for level in levels_of(["A > B", "A > C", ""])]
    [[1, 1, 0], [1, 2, 0]]
    """
    chains = [categories_of(path.split(ALSO)[0]) for path in paths]
    levels = []
    for depth in range(max((len(chain) for chain in chains), default=0)):
        names = [chain[min(depth, len(chain) - 1)] if chain else "" for chain in chains]
        number = {name: i for i, name in enumerate(sorted(set(names)))}
        levels.append(np.array([number[name] for name in names], np.int64))
    return tuple(levels)


@dataclass(frozen=True, slots=True)
class School:
    """What is the same in every window.

    Attributes
    ----------
    levels
        As `levels_of` gives them.
    n_items
        Items.
    k_item
        Fewest distinct repeat buyers behind a gap or a share of its own.
    """

    levels: tuple[Int64, ...]
    n_items: int
    k_item: int

    def rhythm(self, own: Purchases, n_customers: int, shrinkage: float) -> Rhythm:
        """Learn the rhythm from what `n_customers` customers bought."""
        again = own.days > 1
        repeated = own.where(again)
        log_gap = np.log(repeated.own_gap)
        usual = float(log_gap.mean()) if len(log_gap) else float(np.log(USUAL_GAP_DAYS))
        share = max(float(again.mean()), 0.01) if len(again) else 0.5
        popular = np.bincount(own.item, np.exp2(-own.since / LATELY), minlength=self.n_items) / max(n_customers, 1)
        weeks = np.bincount(own.item, np.exp2(-own.since / WEEKS), minlength=self.n_items)
        months = np.bincount(own.item, np.exp2(-own.since / MONTHS), minlength=self.n_items)
        return Rhythm(
            gap_days=np.exp(self._mean(repeated, log_gap, usual, shrinkage)).astype(np.float32),
            repeat_share=self._mean(own, again.astype(np.float64), share, shrinkage).astype(np.float32),
            trend=(weeks / (months + 1.0)).astype(np.float32),
            lately=popular.astype(np.float32),
        )

    def _mean(self, own: Purchases, values: Float64, usual: float, shrinkage: float) -> Float64:
        """(n_items,) mean of (m,) values per item, each level drawn to the one above it by `shrinkage` customers."""
        mean = np.full(self.n_items, usual)
        for level in (*self.levels, np.arange(self.n_items)):
            size = int(level.max(initial=-1)) + 1
            above = np.zeros(size)
            above[level] = mean
            code = level[own.item]
            rows = np.bincount(code, minlength=size)
            buyers = np.bincount(distinct(own.customer * size + code) % max(size, 1), minlength=size)
            drawn = (np.bincount(code, values, minlength=size) + shrinkage * above) / (rows + shrinkage)
            mean = np.where(buyers >= self.k_item, drawn, above)[level]
        return mean
