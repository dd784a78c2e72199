"""Items that predict each other: the ridge regression of every item on all others, in closed form."""

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.linalg import get_lapack_funcs
from scipy.sparse import csr_matrix

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.ranking.history import Int64
from considerate.ranking.linear_items import KIND, LinearItems
from considerate.ranking.weighting import Weighting
from considerate.recommenders.description import describe
from considerate.recommenders.neighbours import largest_weights
from considerate.recommenders.popularity import no_neighbours, popular, tail
from considerate.recommenders.positive import positive_user_items
from considerate.settings.toml import Section

ACCURACY = 1e-3
"""Relative error that an inverse in float32 may have; where the bound is above it, float64 takes its place."""

BLOCK_ROWS = 1024


class Params(Section):
    """Parameters of `ease`.

    Attributes
    ----------
    regularization
        Ridge, in squared weights: the more, the more must two items have in common to say something of each other.
    neighbours
        Weights kept in a row, by absolute value.
    min_customers
        Items that fewer distinct customers chose say nothing and are not said anything of.
    max_items
        More items than this are refused: memory grows with the square, time with the cube.
    weighting
        How events become weights in every request, and in the fit unless `fit_weighting` says otherwise.
    fit_weighting
        How events become weights in the fit alone: what was bought together a year ago still goes together.
    """

    regularization: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 200.0
    neighbours: Annotated[int, Field(ge=1)] = 400
    min_customers: Annotated[int, Field(ge=1)] = 10
    max_items: Annotated[int, Field(ge=1)] = 12_000
    weighting: Weighting = Weighting()
    fit_weighting: Weighting | None = None


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> LinearItems:
    """Solve EASE (Steck 2019, "Embarrassingly shallow autoencoders for sparse data") and keep its largest weights.

    Raises
    ------
    DataError
        There are more than `max_items` items of `min_customers` customers.
    """
    user_items = positive_user_items(dataset, params.fit_weighting or params.weighting)
    chosen = np.flatnonzero(np.bincount(user_items.indices, minlength=len(dataset.items)) >= params.min_customers)
    if len(chosen) > params.max_items:
        raise DataError(
            f"ease: {len(chosen):,} items have >= min_customers = {params.min_customers} customers; must be <= "
            f"max_items = {params.max_items:,}, for a dense inverse: fit graph_filter, which has no such limit, "
            "or raise min_customers"
        )
    similarity = no_neighbours(len(dataset.items))
    if len(chosen):
        known = user_items[:, chosen]
        weights = weights_of(known, params.regularization)
        kept = largest_weights(weights, known, neighbours=params.neighbours, k_pair=dataset.consent.k_pair)
        similarity = spread(kept, chosen, len(dataset.items))
    return LinearItems(
        manifest=describe("ease", KIND, dataset, params, params.weighting, libraries=("numba",)),
        item_ids=dataset.items.ids,
        popular=popular(dataset),
        base=tail(dataset),
        similarity=similarity,
    )


def weights_of(user_items: Any, regularization: float, *, block: int = BLOCK_ROWS) -> NDArray[Any]:
    """(n, n) weights B of EASE, with anything on the diagonal: with P = (X'X + regularization)^-1, B_ij = -P_ij / P_jj.

    Factored and inverted in place, in float32 where that is accurate enough, else in float64. The number of BLAS
    threads may show in the last digits.
    """
    n = user_items.shape[1]
    by_item = user_items.T.tocsr().astype(np.float64)
    # No eigenvalue of X'X exceeds its largest row sum, so this bounds the condition number.
    largest = float((by_item @ (user_items @ np.ones(n))).max(initial=0.0))
    error = (1.0 + largest / regularization) * float(np.finfo(np.float32).eps)
    inverse = np.empty((n, n), np.float32 if error < ACCURACY else np.float64, order="F")
    for start in range(0, n, block):
        part = slice(start, start + block)
        inverse[:, part] = (by_item[part] @ user_items).toarray().T
    inverse[np.diag_indices(n)] += regularization
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (inverse,))
    factor, failed = potrf(inverse, lower=True, overwrite_a=True, clean=False)
    inverse, failed_too = potri(factor, lower=True, overwrite_c=True)
    if failed or failed_too:
        raise DataError(
            f"ease: regularization = {regularization} leaves the matrix of {n:,} items singular; must be larger"
        )
    for start in range(0, n, block):
        part, below = slice(start, start + block), slice(start + block, n)
        inverse[part, below] = inverse[below, part].T
        lower = np.tril(inverse[part, part], -1)
        inverse[part, part] = lower + lower.T + np.diag(np.diag(inverse[part, part]))
    weights: NDArray[Any] = inverse.T  # Symmetric, and from here on read row by row.
    weights /= -np.diag(weights).copy()
    return weights


def spread(similarity: Any, chosen: Int64, n_items: int) -> Any:
    """(n_items, n_items) CSR of a matrix over the (rising) items `chosen`; the rows of all others are empty."""
    sizes = np.zeros(n_items, np.int64)
    sizes[chosen] = np.diff(similarity.indptr)
    indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int32)
    indices = chosen[similarity.indices].astype(np.int32)
    return csr_matrix((similarity.data, indices, indptr), shape=(n_items, n_items))
