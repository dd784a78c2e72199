"""Item vectors with a closed-form fold-in: ALS, BPR, WARP, with no vector of any customer."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from considerate.ranking.files import Files, write_artefact
from considerate.ranking.fold_in import FoldIn
from considerate.ranking.history import Bool, Float32, Float64, Histories, History, Int32
from considerate.ranking.leave_one_out import LeaveOneOut, leave_one_out
from considerate.ranking.manifest import Manifest
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import Weighting, as_histories, weigh, weigh_one

KIND = "factor_items"


@dataclass(frozen=True, slots=True, eq=False)
class FactorItems:
    """Item vectors and biases; a customer's vector is solved for at request time and forgotten.

    score = base + y.u, with y the item's vector and u the customer's, folded in from the history (see
    `ranking.fold_in.FoldIn`). Where no event weighs anything, u is the sum of the vectors of her traits, as far as the
    model knows them; beside a history they would add what it says already, and better.

    Attributes
    ----------
    manifest
        With `settings` alpha, regularization, standardised and the names of the traits, and the weighting.
    item_ids
        The catalogue.
    popular
        Share of consenting customers who bought an item lately.
    base
        (n_items,) biases, weighted: the scores of somebody of whom nothing is known.
    item_vectors
        (n_items, factors) float32.
    gram
        (factors, factors) float64, Y'Y.
    trait_vectors
        (n_traits, factors) float32, in the order of the names in `settings`; each of at least `k_segment` customers.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    base: Base
    item_vectors: Float32
    gram: Float64
    trait_vectors: Float32

    @property
    def _weighting(self) -> Weighting:
        return self.manifest.weighting or Weighting()

    @property
    def _fold_in(self) -> FoldIn:
        settings = self.manifest.settings
        alpha, regularization = float(settings["alpha"]), float(settings["regularization"])
        return FoldIn(self.item_vectors, self.gram, alpha, regularization, bool(settings.get("standardised", False)))

    def fold_in(self, items: Int32, x: Float32) -> Float64:
        """(factors,) vector of a customer with weights (m,) `x` on (m,) `items`."""
        return self._fold_in.one(items, x)

    def _of_traits(self, histories: Histories) -> Any:
        """(n_customers, n_traits) CSR of the traits that the model knows; None where there are none at all."""
        names = trait_names_of(self.manifest)
        if not names or histories.traits is None:
            return None
        return histories.traits.matrix({name: place for place, name in enumerate(names)})

    def _from_traits(self, history: History) -> Float64 | None:
        """(factors,) vector of a customer by her traits alone; None where the model knows none of them."""
        traits = self._of_traits(as_histories(history))
        if traits is None or traits.nnz == 0:
            return None
        vector: Float64 = (traits @ self.trait_vectors)[0].astype(np.float64)
        return vector

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score every item: any event, and any known trait, moves all of them."""
        items, x = weigh_one(history, self._weighting, at=at)
        vector = self.fold_in(items, x) if len(items) else self._from_traits(history)
        if vector is None:
            return Scores(np.empty(0, np.int32), np.empty(0, np.float32), self.base)
        values = self.base.values + self.item_vectors @ vector.astype(np.float32)
        return Scores(np.arange(len(values), dtype=np.int32), values, self.base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely, without a loop over customers."""
        x = weigh(histories, self._weighting, at=at, n_items=len(self.item_ids))
        vectors = self._fold_in.many(x)
        traits = self._of_traits(histories)
        if traits is not None:
            empty = np.flatnonzero(np.diff(x.indptr) == 0)
            vectors[empty] = traits[empty] @ self.trait_vectors
        scores: Float32 = vectors.astype(np.float32) @ self.item_vectors.T
        scores += self.base.values
        return scores

    @property
    def explains_at_once(self) -> bool:
        """It does."""
        return True

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`, by folding in again without it."""
        if len(history) == 0:
            return np.zeros(0)
        without = leave_one_out(history, self._weighting, at=at)
        whole, left = self._fold_in.without_each(without)
        by_traits = self._from_traits(history)
        if by_traits is not None:
            whole = by_traits if not without.x.any() else whole
            left[_emptied(without)] = by_traits
        y = self.item_vectors[item].astype(np.float64)
        shares: Float64 = float(y @ whole) - left @ y
        return shares

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Items by cosine of their vectors."""
        lengths = np.linalg.norm(self.item_vectors, axis=1)
        cosine = self.item_vectors @ self.item_vectors[item] / np.maximum(lengths * lengths[item], 1e-30)
        order = base_of(cosine.astype(np.float32)).order
        best = order[order != item][: max(n, 0)]
        return best, cosine[best].astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact; trait vectors only where there are any."""
        arrays: dict[str, NDArray[Any]] = {
            "popular": self.popular.values,
            "base": self.base.values,
            "item_vectors": self.item_vectors,
            "gram": self.gram,
        }
        if len(self.trait_vectors):
            arrays["trait_vectors"] = self.trait_vectors
        write_artefact(directory, self.manifest, self.item_ids, arrays)

    @classmethod
    def read(cls, files: Files) -> "FactorItems":
        """Read it back."""
        n = len(files.item_ids)
        item_vectors = files.array("item_vectors", n, None)
        factors, traits = item_vectors.shape[1], len(trait_names_of(files.manifest))
        return cls(
            manifest=files.manifest,
            item_ids=files.item_ids,
            popular=base_of(files.array("popular", n)),
            base=base_of(files.array("base", n)),
            item_vectors=item_vectors,
            gram=files.array("gram", factors, factors),
            trait_vectors=files.array("trait_vectors", traits, factors) if traits else no_traits(factors),
        )


def trait_names_of(manifest: Manifest) -> tuple[str, ...]:
    """Names of the traits that a model has vectors for, in their order."""
    return tuple(manifest.settings.get("traits", ()))


def no_traits(factors: int) -> Float32:
    """Give the trait vectors of a model that knows no traits."""
    return np.empty((0, factors), np.float32)


def _emptied(without: LeaveOneOut) -> Bool:
    """(n,) whether no event weighs anything without event j."""
    near_nothing = 1e-9 * np.abs(without.x).max(initial=0.0)
    emptied: Bool = (np.abs(without.in_full()) <= near_nothing).all(axis=1)
    return emptied
