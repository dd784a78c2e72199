"""scores = b + x.S + (x.A).B' + t.W : every model that is linear in the history and in what else is known."""

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix, issparse

from considerate.errors import ArtefactError
from considerate.ranking.files import Files, write_artefact
from considerate.ranking.history import Float32, Float64, Histories, History, Int32
from considerate.ranking.leave_one_out import leave_one_out
from considerate.ranking.manifest import Manifest
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import base_of
from considerate.ranking.traits import Traits, trait_names
from considerate.ranking.weighting import Weighting, weigh, weigh_one

KIND = "linear_items"
NOTHING: Int32 = np.empty(0, np.int32)


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """A full item-item matrix A.B' of rank r, which is never written out.

    Attributes
    ----------
    a
        (n_items, r) float32: row i is what an event on item i adds to the r tastes.
    b
        (n_items, r) float32: row j is what item j takes from each taste.
    """

    a: Float32
    b: Float32


@dataclass(frozen=True, eq=False)
class TraitColumns:
    """What traits add to the scores: columns of x beside the items.

    Attributes
    ----------
    names
        `age_band=25-34`, `likes=Drama`, as in `considerate.ranking.traits`; a trait without a column adds nothing.
    weights
        (len(names), n_items) float32, dense or CSR, W: row c is added to the scores of whoever has trait `names[c]`.
    """

    names: tuple[str, ...]
    weights: Any

    @cached_property
    def place(self) -> dict[str, int]:
        """Row of `weights` by name."""
        return {name: row for row, name in enumerate(self.names)}

    def reach(self, names: tuple[str, ...]) -> Float32 | None:
        """(n_items,) what these traits add, None where none of them has a column."""
        rows = sorted({self.place[name] for name in names if name in self.place})
        return np.asarray(self.weights[rows].sum(axis=0), np.float32).ravel() if rows else None

    def reach_many(self, traits: Traits) -> Float32:
        """(n_customers, n_items) what each customer's traits add."""
        added = traits.matrix(self.place) @ self.weights
        return np.asarray(added.toarray() if issparse(added) else added, np.float32)


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
    low_rank
        A and B, or None.
    columns
        W with the names of its rows, or None.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    base: Base
    similarity: Any
    low_rank: LowRank | None = None
    columns: TraitColumns | None = None

    @property
    def _weighting(self) -> Weighting:
        return self.manifest.weighting or Weighting()

    @property
    def _reads_history(self) -> bool:
        return self.similarity.nnz > 0 or self.low_rank is not None

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score one customer: what the history and the traits reach, on top of b."""
        reached: Float32 | None = None
        if self._reads_history and len(history):
            items, x = weigh_one(history, self._weighting, at=at)
            if len(items):
                reached = self.similarity[items].T @ x
                if self.low_rank is not None:
                    reached += self.low_rank.b @ (x @ self.low_rank.a[items])
        if self.columns is not None:
            known = trait_names(history.attributes, history.liked_categories, history.refused_categories)
            added = self.columns.reach(known)
            reached = added if reached is None else reached if added is None else reached + added
        if reached is None:
            return Scores(NOTHING, np.empty(0, np.float32), self.base)
        touched = np.flatnonzero(reached).astype(np.int32)
        return Scores(touched, self.base.values[touched] + reached[touched], self.base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely."""
        scores: Float32 = np.repeat(self.base.values[None, :], len(histories), axis=0)
        if self._reads_history and histories.n_events:
            x = weigh(histories, self._weighting, at=at, n_items=len(self.item_ids))
            if self.low_rank is not None:
                scores += (x @ self.low_rank.a) @ self.low_rank.b.T
            if self.similarity.nnz:
                # Not at the top: a worker of the service scores one by one and needs no numba.
                from considerate.ranking.products import add_product  # noqa: PLC0415

                add_product(x, self.similarity, scores)
        if self.columns is not None and histories.traits is not None:
            scores += self.columns.reach_many(histories.traits)
        return scores

    @property
    def explains_at_once(self) -> bool:
        """It does."""
        return True

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`: x.c - x'.c, with c the item's column of S + A.B'."""
        if not self._reads_history or len(history) == 0:
            return np.zeros(len(history))
        without = leave_one_out(history, self._weighting, at=at)
        column = self.similarity[without.items][:, [item]].toarray().ravel().astype(np.float64)
        if self.low_rank is not None:
            column += self.low_rank.a[without.items].astype(np.float64) @ self.low_rank.b[item].astype(np.float64)
        shares: Float64 = without.x @ column - without.dot(column)
        return shares

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Items with the largest entries in the item's row of S + A.B'."""
        row = slice(*self.similarity.indptr[item : item + 2])
        items, values = self.similarity.indices[row], self.similarity.data[row]
        if self.low_rank is not None:
            whole = self.low_rank.b @ self.low_rank.a[item]
            whole[items] += values
            items, values = np.arange(len(whole)), whole
        best = np.lexsort((items, -values))
        best = best[items[best] != item][: max(n, 0)]
        return items[best].astype(np.int32), values[best].astype(np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact."""
        arrays: dict[str, NDArray[Any]] = {
            "popular": self.popular.values,
            "base": self.base.values,
            "similarity.data": self.similarity.data.astype(np.float32),
            "similarity.indices": self.similarity.indices.astype(np.int32),
            "similarity.indptr": self.similarity.indptr.astype(np.int32),
        }
        if self.low_rank is not None:
            arrays |= {"low_rank.a": self.low_rank.a, "low_rank.b": self.low_rank.b}
        if self.columns is not None:
            arrays["columns.names"] = np.array(self.columns.names, np.str_)
            weights = self.columns.weights
            if issparse(weights):
                arrays["columns.values"] = weights.data.astype(np.float32)
                arrays["columns.items"] = weights.indices.astype(np.int32)
                arrays["columns.offsets"] = weights.indptr.astype(np.int32)
            else:
                arrays["columns.weights"] = weights.astype(np.float32)
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
            low_rank=_read_low_rank(files),
            columns=_read_columns(files),
        )


def _read_low_rank(files: Files) -> LowRank | None:
    if not {"low_rank.a", "low_rank.b"} & files.arrays.keys():
        return None
    n = len(files.item_ids)
    b = files.array("low_rank.b", n, None)
    return LowRank(files.array("low_rank.a", n, b.shape[1]), b)


def _read_columns(files: Files) -> TraitColumns | None:
    if not any(name.startswith("columns.") for name in files.arrays):
        return None
    names = tuple(str(name) for name in files.array("columns.names", None))
    if len(set(names)) != len(names):
        raise ArtefactError(f"{files.directory}: columns.names.npy names a column twice; fit the model again")
    shape = (len(names), len(files.item_ids))
    if "columns.weights" in files.arrays:
        return TraitColumns(names, files.array("columns.weights", *shape))
    offsets = files.array("columns.offsets", len(names) + 1)
    entries = int(offsets[-1])
    parts = (files.array("columns.values", entries), files.array("columns.items", entries), offsets)
    return TraitColumns(names, csr_matrix(parts, shape=shape, copy=False))
