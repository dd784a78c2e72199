"""Products of a few sparse histories with an item-item matrix, added to scores that are dense anyway."""

from typing import Any

import numpy as np
from numba import njit

from considerate.ranking.history import Float32, Int32

GEMM_SPEED = 25.0
"""Dense products that BLAS does on one core in the time of one sparse product: an estimate, only speed hangs on it."""

DENSE_BYTES = 64_000_000


def add_product(x: Any, matrix: Any, scores: Float32, *, dense_bytes: int = DENSE_BYTES) -> None:
    """Add x.S to `scores` in place, by sparse products or, where S is nearly full, by BLAS.

    Parameters
    ----------
    x
        (n_customers, n_items) CSR float32.
    matrix
        (n_items, n_columns) CSR float32, S.
    scores
        (n_customers, n_columns), contiguous.
    dense_bytes
        Memory that a part of S may take while it is dense.
    """
    products = int(np.diff(matrix.indptr)[x.indices].sum(dtype=np.int64))
    if products * GEMM_SPEED <= float(x.shape[0]) * matrix.shape[0] * matrix.shape[1]:
        _add_sparse(x.indptr, x.indices, x.data, matrix.indptr, matrix.indices, matrix.data, scores)
        return
    step = max(1, dense_bytes // (4 * matrix.shape[1]))
    for start in range(0, matrix.shape[0], step):
        part = slice(start, start + step)
        scores += x[:, part].toarray() @ matrix[part].toarray()


@njit(cache=True, nogil=True)
def _add_sparse(  # noqa: PLR0917  # a compiled function takes arrays, not matrices
    x_indptr: Int32,
    x_indices: Int32,
    x_data: Float32,
    indptr: Int32,
    indices: Int32,
    data: Float32,
    scores: Float32,
) -> None:
    for customer in range(len(x_indptr) - 1):
        for entry in range(x_indptr[customer], x_indptr[customer + 1]):
            item, weight = x_indices[entry], x_data[entry]
            for place in range(indptr[item], indptr[item + 1]):
                scores[customer, indices[place]] += weight * data[place]
