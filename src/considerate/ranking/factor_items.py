"""Item vectors with a closed-form fold-in: ALS and its relatives, with no vector of any customer."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from considerate.ranking.files import Files, write_artefact
from considerate.ranking.history import Float32, Float64, Histories, History, Int32
from considerate.ranking.leave_one_out import LeaveOneOut, leave_one_out
from considerate.ranking.manifest import Manifest
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import Weighting, weigh, weigh_one

KIND = "factor_items"


@dataclass(frozen=True, slots=True, eq=False)
class FactorItems:
    """Item vectors and biases; a customer's vector is solved for at request time and forgotten.

    With Y the item vectors, c = alpha x the confidences of the history and p = 1 where c > 0, else 0, the customer's
    vector minimises sum over all items (p - u.y)^2 plus sum over the history (|c| - 1)(p - u.y)^2 plus
    regularization |u|^2 (Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback datasets",
    equation 4); the first sum is the Gram matrix, kept in the artefact.

    Attributes
    ----------
    manifest
        With `settings` alpha and regularization, and the weighting.
    item_ids
        The catalogue.
    popular
        Share of consenting customers who bought an item lately.
    base
        (n_items,) biases: the scores without history.
    item_vectors
        (n_items, factors) float32.
    gram
        (factors, factors) float64, Y'Y.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    base: Base
    item_vectors: Float32
    gram: Float64

    @property
    def _weighting(self) -> Weighting:
        return self.manifest.weighting or Weighting()

    def fold_in(self, items: Int32, x: Float32) -> Float64:
        """(factors,) vector of a customer with weights (m,) `x` on (m,) `items`."""
        vectors = self.item_vectors[items].astype(np.float64)
        system, target = self._normal_equations(vectors, x.astype(np.float64))
        folded: Float64 = np.linalg.solve(system, target).astype(np.float64)
        return folded

    def _normal_equations(self, vectors: Float64, x: Float64) -> tuple[Float64, Float64]:
        confidence = float(self.manifest.settings["alpha"]) * x
        ridge = float(self.manifest.settings["regularization"]) * np.eye(vectors.shape[1])
        system = self.gram + ridge + (vectors * _extra(confidence)[:, None]).T @ vectors
        return system, vectors.T @ np.maximum(confidence, 0.0)

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score every item: any event moves all of them."""
        items, x = weigh_one(history, self._weighting, at=at)
        if len(items) == 0:
            return Scores(np.empty(0, np.int32), np.empty(0, np.float32), self.base)
        values = self.base.values + self.item_vectors @ self.fold_in(items, x).astype(np.float32)
        return Scores(np.arange(len(values), dtype=np.int32), values, self.base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely."""
        x = weigh(histories, self._weighting, at=at, n_items=len(self.item_ids))
        vectors = np.zeros((len(histories), self.item_vectors.shape[1]), np.float32)
        for customer in np.flatnonzero(np.diff(x.indptr)).tolist():
            row = slice(x.indptr[customer], x.indptr[customer + 1])
            vectors[customer] = self.fold_in(x.indices[row], x.data[row])
        scores: Float32 = vectors @ self.item_vectors.T
        scores += self.base.values
        return scores

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`, by solving again without it.

        Where leaving out an event moves one weight only, the solution moves by a rank-1 update (Sherman and Morrison
        1950); else every system is solved.
        """
        if len(history) == 0:
            return np.zeros(0)
        without = leave_one_out(history, self._weighting, at=at)
        y = self.item_vectors[item].astype(np.float64)
        vectors = self.item_vectors[without.items].astype(np.float64)
        system, target = self._normal_equations(vectors, without.x)
        inverse: Float64 = np.linalg.inv(system).astype(np.float64)
        score = float(y @ inverse @ target)
        if without.rows is None and bool((without.ratio == 1.0).all()):
            return score - self._updated(vectors, without, inverse, target, y)
        solved = np.empty(len(history))
        for event, row in enumerate(without.in_full()):
            solved[event] = float(y @ np.linalg.solve(*self._normal_equations(vectors, row)))
        return score - solved

    def _updated(
        self, vectors: Float64, without: LeaveOneOut, inverse: Float64, target: Float64, y: Float64
    ) -> Float64:
        """(n,) scores when the weight of one item moves from x to x + change."""
        alpha = float(self.manifest.settings["alpha"])
        before = alpha * without.x[without.place]
        after = alpha * (without.x[without.place] + without.change)
        after = np.where(np.abs(after) <= 1e-9 * np.abs(before), 0.0, after)
        step = _extra(after) - _extra(before)
        pull = np.maximum(after, 0.0) - np.maximum(before, 0.0)
        z = vectors @ inverse  # (m, factors), each row A^-1 v
        v_z_v = np.einsum("ij,ij->i", z, vectors)[without.place]
        v_z_b, y_z_v = (z @ target)[without.place], (z @ y)[without.place]
        # A' = A + step v v', b' = b + pull v: y A'^-1 b' in terms of A^-1.
        numerator = y_z_v * (v_z_b + pull * v_z_v) * step
        updated: Float64 = float(y @ inverse @ target) + pull * y_z_v - numerator / (1.0 + step * v_z_v)
        return updated

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Items by cosine of their vectors."""
        lengths = np.linalg.norm(self.item_vectors, axis=1)
        cosine = self.item_vectors @ self.item_vectors[item] / np.maximum(lengths * lengths[item], 1e-30)
        order = base_of(cosine.astype(np.float32)).order
        best = order[order != item][: max(n, 0)]
        return best, cosine[best].astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact."""
        arrays: dict[str, NDArray[Any]] = {
            "popular": self.popular.values,
            "base": self.base.values,
            "item_vectors": self.item_vectors,
            "gram": self.gram,
        }
        write_artefact(directory, self.manifest, self.item_ids, arrays)

    @classmethod
    def read(cls, files: Files) -> "FactorItems":
        """Read it back."""
        n = len(files.item_ids)
        item_vectors = files.array("item_vectors", n, None)
        return cls(
            manifest=files.manifest,
            item_ids=files.item_ids,
            popular=base_of(files.array("popular", n)),
            base=base_of(files.array("base", n)),
            item_vectors=item_vectors,
            gram=files.array("gram", item_vectors.shape[1], item_vectors.shape[1]),
        )


def _extra(confidence: Float64) -> Float64:
    """Weight of an item beyond the once that it has in the Gram matrix; none where there is no event."""
    return np.where(confidence == 0, 0.0, np.abs(confidence) - 1.0)
