"""From a weighted history to the customer's vector in closed form, for one customer and for blocks of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from considerate.ranking.history import Float32, Float64, Int32, Int64
from considerate.ranking.leave_one_out import LeaveOneOut

BLOCK_BYTES = 4_000_000
"""Memory of the systems that are solved together, and of the item vectors that are gathered at once: near a cache."""


@dataclass(frozen=True, slots=True, eq=False)
class FoldIn:
    """A weighted ridge regression of a history on item vectors.

    With Y the item vectors and c = alpha x the weighted history, the customer's vector u solves A u = t, where
    A = Y'Y + regularization I + sum over c > 0 of (c - 1) y y', and t = sum of c y over the whole history.

    Where c > 0 this is equation 4 of Hu, Koren and Volinsky 2008, "Collaborative filtering for implicit feedback
    datasets": a target of 1 with confidence c, against 0 with confidence 1 for everything else. There, a negative
    signal can only say 0 with confidence, which lifts an item that scored below 0. Here, c < 0 adds to t alone: the
    score of the item falls by |c| y'A^-1 y, whatever it was, and those of items like it fall too.

    Attributes
    ----------
    item_vectors
        (n_items, factors) float32, Y.
    gram
        (factors, factors) float64, Y'Y.
    alpha, regularization
        As above.
    standardised
        Divide a customer's vector by the standard deviation of the scores that what she liked gives to the catalogue
        (Y has columns of mean 0 then), so that a bias beside it weighs the same for everybody. What she disliked
        plays no part in the divisor, so that it can only lower.
    """

    item_vectors: Float32
    gram: Float64
    alpha: float
    regularization: float
    standardised: bool = False

    def one(self, items: Int32, x: Float32 | Float64) -> Float64:
        """(factors,) vector of a customer with weights (m,) `x` on (m,) distinct `items`."""
        vectors = self.item_vectors[items].astype(np.float64)
        system, targets = self._equations(vectors, x.astype(np.float64))
        return self._joined(_solution(system, targets).T)

    def many(self, x: Any) -> Float64:
        """(n, factors) vectors of n customers with weights (n, n_items) CSR `x`; no loop over customers."""
        signs = [np.maximum(x.data, 0), np.minimum(x.data, 0)] if self.standardised else [x.data]
        wide = self.item_vectors.astype(np.float64)
        targets = np.stack([_with_data(x, self.alpha * data.astype(np.float64)) @ wide for data in signs], axis=1)
        extra = _extra(self.alpha * x.data.astype(np.float64))
        sizes = np.add.reduceat(np.append(extra != 0, False).astype(np.int64), x.indptr[:-1])
        sizes[np.diff(x.indptr) == 0] = 0
        events = _with_data(x, extra)
        events.eliminate_zeros()
        vectors = np.zeros(targets.shape)
        rows = np.argsort(sizes, kind="stable")
        rows = rows[np.diff(x.indptr)[rows] > 0]
        factors = len(self.gram)
        together = max(1, BLOCK_BYTES // (8 * factors * factors))
        for start in range(0, len(rows), together):
            part = rows[start : start + together]
            lower: Float64 = np.linalg.cholesky(self._systems(wide, events, part)).astype(np.float64)
            vectors[part] = _solved(lower, targets[part])
        return self._joined(vectors)

    def without_each(self, without: LeaveOneOut) -> tuple[Float64, Float64]:
        """(factors,) vector with all n events, and (n, factors) vectors without event j.

        Where leaving out an event moves one weight only, the solution moves by a rank-1 update (Sherman and Morrison
        1950); else every system is solved.
        """
        vectors = self.item_vectors[without.items].astype(np.float64)
        system, targets = self._equations(vectors, without.x)
        if without.rows is None and bool((without.ratio == 1.0).all()):
            inverse: Float64 = np.linalg.inv(system).astype(np.float64)
            return self._joined((inverse @ targets).T), self._joined(
                self._updated(vectors, without, inverse, inverse @ targets)
            )
        rows = without.in_full()
        left = np.empty((len(rows), targets.shape[1], len(system)))
        for event, row in enumerate(rows):
            left[event] = _solution(*self._equations(vectors, row)).T
        return self._joined(_solution(system, targets).T), self._joined(left)

    def _equations(self, vectors: Float64, x: Float64) -> tuple[Float64, Float64]:
        """(factors, factors) A and (factors, 1) t; standardised, (factors, 2) for what was liked and disliked."""
        confidence = self.alpha * x
        system = self._plain() + (vectors * _extra(confidence)[:, None]).T @ vectors
        return system, vectors.T @ np.stack(self._parted(confidence), axis=1)

    def _parted(self, confidence: Float64) -> list[Float64]:
        if not self.standardised:
            return [confidence]
        return [np.maximum(confidence, 0.0), np.minimum(confidence, 0.0)]

    def _plain(self) -> Float64:
        plain: Float64 = self.gram + self.regularization * np.eye(len(self.gram))
        return plain

    def _systems(self, wide: Float64, events: Any, part: Int64) -> Float64:
        """(len(part), factors, factors) systems of customers that are sorted by their number of events."""
        starts, sizes = events.indptr[part], np.diff(events.indptr)[part]
        systems: Float64 = np.repeat(self._plain()[None, :, :], len(part), axis=0)
        first = int(np.searchsorted(sizes, 1))
        while first < len(part):
            # Histories of nearly the same length, short ones padded with weights of 0.
            fitting = BLOCK_BYTES // (8 * wide.shape[1]) // np.arange(1, len(part) - first + 1)
            last = first + max(1, int(np.searchsorted(sizes[first:] > fitting, True)))
            place = starts[first:last, None] + np.arange(sizes[last - 1])
            held = np.arange(sizes[last - 1]) < sizes[first:last, None]
            place = np.where(held, place, 0)
            vectors = wide[events.indices[place]]
            weighted = vectors * np.where(held, events.data[place], 0.0)[:, :, None]
            systems[first:last] += weighted.transpose(0, 2, 1) @ vectors
            first = last
        return systems

    def _joined(self, solved: Float64) -> Float64:
        """(..., factors) vectors from (..., 1, factors) or, standardised, from the (..., 2, factors) parts."""
        if not self.standardised:
            return solved[..., 0, :]
        liked = solved[..., 0, :]
        variance = np.einsum("...i,...i->...", liked @ self.gram, liked) / max(len(self.item_vectors), 1)
        # Nothing liked, or nothing that tells items apart: taken as it is.
        scale = np.where(variance > 1e-12, np.sqrt(np.maximum(variance, 0.0)), 1.0)
        joined: Float64 = solved.sum(axis=-2) / scale[..., None]
        return joined

    def _updated(self, vectors: Float64, without: LeaveOneOut, inverse: Float64, solved: Float64) -> Float64:
        """(n, parts, factors) solutions when the weight of one item moves from x to x + change."""
        before = self.alpha * without.x[without.place]
        after = self.alpha * (without.x[without.place] + without.change)
        after = np.where(np.abs(after) <= 1e-9 * np.abs(before), 0.0, after)
        step = _extra(after) - _extra(before)
        pull = np.stack([a - b for a, b in zip(self._parted(after), self._parted(before), strict=True)], axis=1)
        z = (vectors @ inverse)[without.place]  # (n, factors), each row A^-1 v
        v_z = np.einsum("ij,ij->i", z, vectors[without.place])
        v_u = (vectors @ solved)[without.place]  # (n, parts)
        # A' = A + step v v', t' = t + pull v.
        shift = pull - step[:, None] * (v_u + pull * v_z[:, None]) / (1.0 + step * v_z)[:, None]
        updated: Float64 = solved.T[None, :, :] + shift[:, :, None] * z[:, None, :]
        return updated


def _extra(confidence: Float64) -> Float64:
    """Weight of an item beyond the once that it has in the Gram matrix."""
    return np.where(confidence > 0, confidence - 1.0, 0.0)


def _with_data(matrix: Any, data: Float64) -> Any:
    return type(matrix)((data, matrix.indices, matrix.indptr), shape=matrix.shape, copy=True)


def _solution(system: Float64, targets: Float64) -> Float64:
    solution: Float64 = np.linalg.solve(system, targets).astype(np.float64)
    return solution


def _solved(lower: Float64, targets: Float64) -> Float64:
    """(n, parts, factors) solutions of L L' u = t for (n, factors, factors) L, all customers at once."""
    u, factors = targets.copy(), lower.shape[1]
    for i in range(factors):
        if i:
            u[:, :, i] -= (u[:, :, :i] @ lower[:, i, :i, None])[:, :, 0]
        u[:, :, i] /= lower[:, i, i, None]
    for i in range(factors - 1, -1, -1):
        if i + 1 < factors:
            u[:, :, i] -= (u[:, :, i + 1 :] @ lower[:, i + 1 :, i, None])[:, :, 0]
        u[:, :, i] /= lower[:, i, i, None]
    return u
