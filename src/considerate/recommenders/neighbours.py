"""Item-item products under two limits: the pairs of too few customers go first, then the nearest K stay."""

from itertools import pairwise
from typing import Any

import numpy as np

from considerate.ranking.files import csr_of
from considerate.ranking.history import Float32, Float64, Int32, Int64

BLOCK_PRODUCTS = 2_000_000


def nearest_items(weighted: Any, *, neighbours: int, k_pair: int) -> Any:
    """Multiply the columns of a matrix with each other and keep what may be kept.

    A library's own top-K keeps the K nearest first, and most of these are pairs of a single customer: once they are
    taken out, too few are left. Here each row is complete before it is cut.

    Parameters
    ----------
    weighted
        (n_customers, n_items) CSR float32. A customer counts for a pair where both items have an entry.
    neighbours
        Entries kept in a row: the largest, ties by rising index.
    k_pair
        Fewest customers behind a pair.

    Returns
    -------
    csr_matrix
        (n_items, n_items) float32, empty diagonal, rows sorted by item.
    """
    n_items = weighted.shape[1]
    by_item = weighted.T.tocsr()
    items: list[Int64] = []
    values: list[Float64] = []
    sizes = np.zeros(n_items, np.int64)
    for start, stop in _blocks(by_item, weighted):
        # The rows of all customers of item `start`, then of the next item, and so on up to `stop`.
        entries = slice(by_item.indptr[start], by_item.indptr[stop])
        rows = weighted[by_item.indices[entries]]
        ends = rows.indptr[by_item.indptr[start : stop + 1] - by_item.indptr[start]].tolist()
        others = rows.indices.astype(np.int64)
        products = rows.data.astype(np.float64) * np.repeat(by_item.data[entries], np.diff(rows.indptr))
        for item, begin, end in zip(range(start, stop), ends[:-1], ends[1:], strict=True):
            together = np.bincount(others[begin:end], minlength=n_items)
            together[item] = 0
            near = np.flatnonzero(together >= k_pair)
            if len(near) == 0:
                continue
            product: Float64 = np.bincount(others[begin:end], products[begin:end], n_items)[near].astype(np.float64)
            best = _largest(product, neighbours)
            items.append(near[best])
            values.append(product[best])
            sizes[item] = len(best)
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    data: Float32 = np.concatenate([*values, np.empty(0)]).astype(np.float32)
    indices: Int32 = np.concatenate([*items, np.empty(0, np.int64)]).astype(np.int32)
    return csr_of(data, indices, indptr, n_items)


def _blocks(by_item: Any, weighted: Any) -> list[tuple[int, int]]:
    """Cut the items into runs of about `BLOCK_PRODUCTS` products, which bounds the memory; one item is never cut."""
    lengths = np.diff(weighted.indptr).astype(np.int64)
    done = np.concatenate([[0], np.cumsum(lengths[by_item.indices])])[by_item.indptr]
    cuts = np.searchsorted(done, np.arange(0, done[-1] + BLOCK_PRODUCTS, BLOCK_PRODUCTS), side="right") - 1
    edges = np.unique(np.concatenate([[0], cuts, [by_item.shape[0]]])).tolist()
    return list(pairwise(edges))


def _largest(values: Float64, n: int) -> Int64:
    """Places of the n largest entries other than 0, in rising order; ties go to the lower place."""
    places = np.flatnonzero(values)
    if len(places) > n:
        kept = values[places]
        threshold = np.partition(kept, len(kept) - n)[len(kept) - n]
        above, level = places[kept > threshold], places[kept == threshold]
        places = np.sort(np.concatenate([above, level[: n - len(above)]]))
    return places
