"""Boosted regression trees as flat arrays: what a ranker is once it is fitted."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from considerate.errors import ArtefactError
from considerate.ranking.files import Files
from considerate.ranking.history import Float32, Float64, Int32

NAMES = ("root", "feature", "threshold", "left", "right", "leaf")


@dataclass(frozen=True, eq=False)
class Trees:
    """A sum of trees; a row goes left where its feature is <= the threshold. No feature may be NaN.

    Attributes
    ----------
    root
        (n_trees,) int32 node at which each tree begins; a number below 0 is the leaf ~number.
    feature
        (n_nodes,) int32 column that a node looks at.
    threshold
        (n_nodes,) float64.
    left, right
        (n_nodes,) int32 next node; a number below 0 is the leaf ~number.
    leaf
        (n_leaves,) float64 what a leaf adds to the margin; the leaves of a tree lie together, trees in order.
    """

    root: Int32
    feature: Int32
    threshold: Float64
    left: Int32
    right: Int32
    leaf: Float64

    def margins(self, features: Float32) -> Float64:
        """(m,) sum of the leaves that (m, n_features) rows fall into."""
        # Here, because numba takes half a second to load and a worker that serves no trees needs none.
        from considerate.ranking.two_stage_kernel import margins  # noqa: PLC0415

        found: Float64 = margins(features, self.root, self.feature, self.threshold, self.left, self.right, self.leaf)
        return found

    @cached_property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest margin that any row can have."""
        low = high = 0.0
        for start, stop in self._spans():
            low, high = low + float(self.leaf[start:stop].min()), high + float(self.leaf[start:stop].max())
        return low, high

    def _spans(self) -> list[tuple[int, int]]:
        """First leaf of each tree, and the first of the next."""
        leaves = [int(~node) if node < 0 else self._leftmost(int(node)) for node in self.root]
        return list(zip(leaves, [*leaves[1:], len(self.leaf)], strict=True))

    def _leftmost(self, node: int) -> int:
        while node >= 0:
            node = int(self.left[node])
        return ~node

    def arrays(self, name: str) -> dict[str, NDArray[Any]]:
        """Arrays to be saved, each under `name.<its own name>`."""
        return {f"{name}.{part}": getattr(self, part) for part in NAMES}

    @classmethod
    def read(cls, files: Files, name: str, n_features: int) -> "Trees":
        """Read the trees saved under that name.

        Raises
        ------
        ArtefactError
            An array is missing, or a node points outside the trees or the features.
        """
        root, leaf = files.array(f"{name}.root", None), files.array(f"{name}.leaf", None)
        feature = files.array(f"{name}.feature", None)
        n = len(feature)
        rest = {part: files.array(f"{name}.{part}", n) for part in ("threshold", "left", "right")}
        trees = cls(root=root, feature=feature, leaf=leaf, **rest)
        next_ = np.concatenate([trees.root, trees.left, trees.right])
        # The kernel follows these numbers without a look.
        if (next_ >= n).any() or (~next_ >= len(leaf)).any() or ((feature < 0) | (feature >= n_features)).any():
            raise ArtefactError(
                f"{files.directory}: the trees of {name} point outside their {n} nodes, {len(leaf)} leaves or "
                f"{n_features} features; download or fit the model again"
            )
        return trees
