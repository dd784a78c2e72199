"""The compiled walk through the trees of a second stage; imported where there are trees to walk."""

from typing import Any

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
def margins(features: Any, root: Any, feature: Any, threshold: Any, left: Any, right: Any, leaf: Any) -> Any:  # noqa: PLR0917  # arrays, in order
    """(m,) sum over trees of the leaf that each of (m, n_features) rows falls into, trees in order."""
    out = np.zeros(features.shape[0], np.float64)
    # Tree by tree: the nodes of one stay in the cache while every row passes.
    for tree in range(len(root)):
        first = root[tree]
        for row in range(features.shape[0]):
            node = first
            while node >= 0:
                node = left[node] if features[row, feature[node]] <= threshold[node] else right[node]
            out[row] += leaf[~node]
    return out
