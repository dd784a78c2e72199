"""Tastes that run through the graph of who bought what: a near filter over pairs and a far one of low rank."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.sparse import diags
from sklearn.utils.extmath import randomized_svd

from considerate.dataset.dataset import Dataset
from considerate.ranking.history import Float32, Float64
from considerate.ranking.linear_items import KIND, LinearItems, LowRank
from considerate.ranking.weighting import Weighting
from considerate.recommenders.description import describe
from considerate.recommenders.neighbours import nearest_items, regressed
from considerate.recommenders.popularity import no_neighbours, popular, tail
from considerate.recommenders.positive import positive_user_items
from considerate.settings.toml import Section

OVERSAMPLES, POWER_ITERATIONS = 50, 3

GRAM_WIDTH = 800

NOISE = 1e-5
"""A taste of less than this share of the strongest is rounding, not taste."""


class Params(Section):
    """Parameters of `graph_filter`.

    Attributes
    ----------
    neighbours
        Items kept beside each item in the product of the near filter.
    product_weight, ridge_weight
        Weights, in the near filter, of the product and of the regression of each item on its nearest; 0 leaves one out.
    ridge, ridge_neighbours
        Strength of that regression, in units of the mean squared length of an item's column, and how many items may
        predict one.
    rank
        Tastes of the far filter; 0 for none, and never more than the data hold.
    low_rank_weight
        Weight of the far filter beside the near one.
    customer_exponent, item_exponent
        A weight counts divided by (sum of its customer's weights)^customer_exponent x (sum of its item's)^item_exponent
        in either filter: with 0.5 and 0.5 the normalised adjacency of GF-CF.
    history_exponent
        An event says less the more popular its item: divided by (sum of the item's weights)^history_exponent.
    output_exponent
        A popular item is reached more easily: multiplied by (sum of the item's weights)^output_exponent.
    weighting
        How events become weights in every request, and in the fit unless `fit_weighting` says otherwise.
    fit_weighting
        How events become weights in the fit alone.
    """

    neighbours: Annotated[int, Field(ge=1)] = 300
    product_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    ridge_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    ridge: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 2.0
    ridge_neighbours: Annotated[int, Field(ge=1)] = 100
    rank: Annotated[int, Field(ge=0)] = 256
    low_rank_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.5
    customer_exponent: Annotated[float, Field(ge=0, le=2)] = 0.5
    item_exponent: Annotated[float, Field(ge=0, le=2)] = 0.5
    history_exponent: Annotated[float, Field(ge=0, le=2)] = 0.5
    output_exponent: Annotated[float, Field(ge=0, le=2)] = 0.45
    weighting: Weighting = Weighting()
    fit_weighting: Weighting | None = None


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> LinearItems:
    """Filter a history as GF-CF does (Shen et al. 2021, "How powerful is graph convolution for recommendation?").

    With X~ the normalised weights, scores = x.H (N + low_rank_weight V V') O, where V are the first `rank` right
    singular vectors of X~ and H and O are diagonal, of the items' degrees. The near filter N is product_weight X~'X~ +
    ridge_weight times the regression of each item on its nearest. It holds explicit pairs: those of fewer than `k_pair`
    customers go first, then the nearest stay.
    """
    user_items = positive_user_items(dataset, params.fit_weighting or params.weighting)
    item_degree = np.asarray(user_items.sum(axis=0), np.float64).ravel()
    into = _power(item_degree, -params.history_exponent)
    out = _power(item_degree, params.output_exponent)
    normalised = _normalised(user_items, item_degree, params)
    near = _near(normalised, params, dataset.consent.k_pair)
    similarity = (diags(into) @ near @ diags(out)).tocsr().astype(np.float32)
    similarity.eliminate_zeros()
    similarity.sort_indices()
    tastes = _tastes(normalised, params.rank, rng)
    return LinearItems(
        manifest=describe("graph_filter", KIND, dataset, params, params.weighting, libraries=("numba", "scikit-learn")),
        item_ids=dataset.items.ids,
        popular=popular(dataset),
        base=tail(dataset),
        similarity=similarity,
        low_rank=LowRank(
            a=(params.low_rank_weight * into[:, None] * tastes).astype(np.float32),
            b=(out[:, None] * tastes).astype(np.float32),
        )
        if tastes.shape[1] and params.low_rank_weight
        else None,
    )


def _near(normalised: Any, params: Params, k_pair: int) -> Any:
    near = no_neighbours(normalised.shape[1])
    if params.product_weight:
        near = params.product_weight * nearest_items(normalised, neighbours=params.neighbours, k_pair=k_pair)
    if params.ridge_weight:
        predictors = nearest_items(normalised, neighbours=params.ridge_neighbours, k_pair=k_pair)
        together = regressed(predictors, normalised, ridge=params.ridge, width=GRAM_WIDTH)
        near = near + params.ridge_weight * together
    return near


def _normalised(user_items: Any, item_degree: Float64, params: Params) -> Any:
    customer_degree = np.asarray(user_items.sum(axis=1), np.float64).ravel()
    left, right = _power(customer_degree, -params.customer_exponent), _power(item_degree, -params.item_exponent)
    normalised = (diags(left) @ user_items @ diags(right)).tocsr().astype(np.float32)
    normalised.sort_indices()
    return normalised


def _power(degree: Float64, exponent: float) -> Float64:
    """(n,) degree^exponent, 0 where the degree is 0."""
    return np.where(degree > 0, np.where(degree > 0, degree, 1.0) ** exponent, 0.0)


def _tastes(normalised: Any, rank: int, rng: np.random.Generator) -> Float32:
    """(n_items, r) first right singular vectors, each with its largest entry above 0."""
    rank = min(rank, *normalised.shape)
    if rank == 0 or normalised.nnz == 0:
        return np.zeros((normalised.shape[1], 0), np.float32)
    _, strength, vectors = randomized_svd(
        normalised,
        n_components=rank,
        n_oversamples=OVERSAMPLES,
        n_iter=POWER_ITERATIONS,
        power_iteration_normalizer="LU",
        flip_sign=False,
        random_state=int(rng.integers(2**31)),
    )
    vectors = vectors[strength > NOISE * strength[0]].T
    largest = vectors[np.argmax(np.abs(vectors), axis=0), np.arange(vectors.shape[1])]
    return np.ascontiguousarray(vectors * np.where(largest < 0, -1.0, 1.0), np.float32)
