"""scores = b + x.S : popularity, item-kNN and every other model that is linear in the history."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from considerate.ranking.files import Files, write_artefact
from considerate.ranking.history import Float32, Float64, Histories, History, Int32
from considerate.ranking.leave_one_out import leave_one_out
from considerate.ranking.manifest import Manifest
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import Weighting, weigh, weigh_one

KIND = "linear_items"
NOTHING: Int32 = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class LinearItems:
    """A linear item-item model.

    Attributes
    ----------
    manifest
        With the weighting that turns a history into x.
    item_ids
        The catalogue.
    popular
        Share of consenting customers who bought an item lately: the non-personalised list.
    base
        b, the scores without history.
    similarity
        (n_items, n_items) CSR float32, S: row i holds what an event on item i adds to the other items.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    base: Base
    similarity: Any

    @property
    def _weighting(self) -> Weighting:
        return self.manifest.weighting or Weighting()

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score one customer: what S reaches from the history, on top of b."""
        if self.similarity.nnz == 0 or len(history) == 0:
            return Scores(NOTHING, np.empty(0, np.float32), self.base)
        items, x = weigh_one(history, self._weighting, at=at)
        reached = self.similarity[items].T @ x
        touched = np.flatnonzero(reached).astype(np.int32)
        return Scores(touched, self.base.values[touched] + reached[touched], self.base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely."""
        n_items = len(self.item_ids)
        if self.similarity.nnz == 0:
            return np.repeat(self.base.values[None, :], len(histories), axis=0)
        x = weigh(histories, self._weighting, at=at, n_items=n_items)
        scores: Float32 = (x @ self.similarity).toarray()
        scores += self.base.values
        return scores

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`: x.s - x'.s, with s the item's column of S."""
        if self.similarity.nnz == 0 or len(history) == 0:
            return np.zeros(len(history))
        without = leave_one_out(history, self._weighting, at=at)
        column = self.similarity[without.items][:, [item]].toarray().ravel().astype(np.float64)
        shares: Float64 = without.x @ column - without.dot(column)
        return shares

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Items with the largest entries in the item's row of S."""
        row = slice(*self.similarity.indptr[item : item + 2])
        items, values = self.similarity.indices[row], self.similarity.data[row]
        best = np.lexsort((items, -values))
        best = best[items[best] != item][: max(n, 0)]
        return items[best].astype(np.int32), values[best].astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact."""
        arrays = {
            "popular": self.popular.values,
            "base": self.base.values,
            "similarity.data": self.similarity.data.astype(np.float32),
            "similarity.indices": self.similarity.indices.astype(np.int32),
            "similarity.indptr": self.similarity.indptr.astype(np.int32),
        }
        write_artefact(directory, self.manifest, self.item_ids, arrays)

    @classmethod
    def read(cls, files: Files) -> "LinearItems":
        """Read it back."""
        n = len(files.item_ids)
        return cls(
            manifest=files.manifest,
            item_ids=files.item_ids,
            popular=base_of(files.array("popular", n)),
            base=base_of(files.array("base", n)),
            similarity=files.sparse("similarity"),
        )
