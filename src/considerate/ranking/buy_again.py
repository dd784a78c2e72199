"""A customer's own purchases, ranked by the chance that each of them is bought again soon."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from scipy.sparse import csr_matrix

from considerate.ranking.files import Files, write_artefact
from considerate.ranking.history import Float32, Float64, Histories, History, Int32, Kind
from considerate.ranking.manifest import Manifest
from considerate.ranking.purchases import Purchases, purchases, without_each
from considerate.ranking.rebuying import Rhythm, chance, half_lives, signs
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import as_histories

KIND = "buy_again"
MAX_ITEMS = 1000


@dataclass(frozen=True, slots=True, eq=False)
class BuyAgain:
    """Score of an item that was bought: the chance that the customer buys it again if she shops within the horizon.

    The chance is a logistic hazard, log(p / (1 - p)) = intercept + sum of coefficient x sign, over the signs of
    `considerate.ranking.rebuying`: her own frequency and recency, how overdue the item is by its rhythm and hers, who
    comes back to it at all, and how often she shops.

    Attributes
    ----------
    manifest
        With `settings` half_life_days, gap_prior and coefficients {sign: number}.
    item_ids
        The catalogue.
    popular
        Share of consenting customers who bought an item lately.
    base
        What follows the customer's own purchases.
    rhythm
        What everybody's purchases tell about each item.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    base: Base
    rhythm: Rhythm

    def _own(self, histories: Histories, at: datetime | None) -> Purchases:
        periods = half_lives(self.manifest.settings["half_life_days"])
        return purchases(histories, at=at, half_lives_days=periods, max_items=MAX_ITEMS)

    def _chance(self, own: Purchases) -> Float64:
        settings = self.manifest.settings
        return chance(signs(own, self.rhythm, settings["gap_prior"]), settings["coefficients"])

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score one customer's own purchases; everything else stays at the base."""
        own = self._own(as_histories(history), at)
        return Scores(own.item, self.base.values[own.item] + self._chance(own).astype(np.float32), self.base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely."""
        own = self._own(histories, at)
        shape = (len(histories), len(self.item_ids))
        scores: Float32 = csr_matrix((self._chance(own).astype(np.float32), (own.customer, own.item)), shape).toarray()
        scores += self.base.values
        return scores

    @property
    def explains_at_once(self) -> bool:
        """It does."""
        return True

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`: its own purchases, and visits that tell how she shops."""
        whole = self._own(as_histories(history), at)
        score = self._chance(whole.where(whole.item == item))
        if at is None or not len(score):
            return np.zeros(len(history))
        periods = half_lives(self.manifest.settings["half_life_days"])
        without = without_each(history, item, at=at, half_lives_days=periods, max_items=MAX_ITEMS)
        shares = np.full(len(history), score[0])
        shares[without.customer] -= self._chance(without)
        # What plays no part is left with the rounding of another order of the same sum.
        return np.where((history.kind == Kind.PURCHASE) & (np.abs(shares) > 1e-12), shares, 0.0)

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Nothing: the model compares no items."""
        return np.empty(0, np.int32), np.empty(0, np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact."""
        arrays = {
            "popular": self.popular.values,
            "base": self.base.values,
            "gap_days": self.rhythm.gap_days,
            "repeat_share": self.rhythm.repeat_share,
            "trend": self.rhythm.trend,
            "lately": self.rhythm.lately,
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
            rhythm=Rhythm(
                gap_days=files.array("gap_days", n),
                repeat_share=files.array("repeat_share", n),
                trend=files.array("trend", n),
                lately=files.array("lately", n),
            ),
        )
