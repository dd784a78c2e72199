"""Item-item matrices under two limits: the pairs of too few customers go first, then the K largest of a row stay."""

from typing import Any

import numpy as np

from considerate.ranking.files import csr_of
from considerate.ranking.history import Float32, Float64, Int32, Int64


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
        (n_items, n_items) float32, empty diagonal, rows sorted by item. The number of threads (as many as numba may
        use) does not show in it.
    """
    from considerate.recommenders.pair_kernels import product_rows  # noqa: PLC0415  # numba is slow to load

    by_item = weighted.T.tocsr()
    return _as_matrix(*product_rows(by_item, weighted, neighbours=neighbours, k_pair=k_pair))


def largest_weights(weights: Any, user_items: Any, *, neighbours: int, k_pair: int) -> Any:
    """Keep of each row of a dense matrix the largest weights, by absolute value, that may be kept.

    Parameters
    ----------
    weights
        (n_items, n_items) dense; its diagonal is not read.
    user_items
        (n_customers, n_items) CSR. A customer counts for a pair where both items have an entry.
    neighbours, k_pair
        As for `nearest_items`.

    Returns
    -------
    csr_matrix
        (n_items, n_items) float32, empty diagonal, rows sorted by item.
    """
    from considerate.recommenders.pair_kernels import kept_rows  # noqa: PLC0415

    by_item = user_items.T.tocsr()
    return _as_matrix(*kept_rows(by_item, user_items, weights, neighbours=neighbours, k_pair=k_pair))


def regressed(near: Any, weighted: Any, *, ridge: float, width: int) -> Any:
    """Let the items beside each item explain it together instead of each on its own: one small ridge per item.

    What EASE does with all items at once, at a cost that grows with the items and not with their cube (the choice of
    few predictors by likeness is that of fsSLIM, Ning and Karypis 2011).

    Parameters
    ----------
    near
        (n_items, n_items) from `nearest_items`: row j holds the items that may predict item j.
    weighted
        (n_customers, n_items) CSR float32, of which `near` holds products.
    ridge
        In units of the mean squared length of a column of `weighted`.
    width
        Products kept per item while the small systems are filled; smaller ones count as 0 there.

    Returns
    -------
    csr_matrix
        (n_items, n_items) float32: row i holds what item i adds to the items that it predicts.
    """
    from considerate.recommenders.pair_kernels import ridge_values  # noqa: PLC0415

    gram = nearest_items(weighted, neighbours=width, k_pair=1)
    diagonal = np.bincount(weighted.indices, weighted.data.astype(np.float64) ** 2, minlength=near.shape[0])
    scale = float(diagonal.sum()) / max(int((diagonal > 0).sum()), 1)
    values = ridge_values(near, gram, diagonal.astype(np.float32), ridge * scale)
    by_target = csr_of(values, near.indices, near.indptr, near.shape[0])
    turned = by_target.T.tocsr()
    turned.eliminate_zeros()
    return turned


def _as_matrix(sizes: Int64, items: Int32, values: Float64) -> Any:
    filled = np.arange(items.shape[1]) < sizes[:, None]
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    data: Float32 = values[filled].astype(np.float32)
    return csr_of(data, items[filled], indptr, len(sizes))
