"""Items bought by the same people: nearest neighbours under TF-IDF, BM25 or cosine."""

from typing import Annotated, Any, Literal

import numpy as np
from implicit.nearest_neighbours import bm25_weight, normalize, tfidf_weight
from pydantic import Field

from considerate.dataset.dataset import Dataset
from considerate.ranking.linear_items import KIND, LinearItems
from considerate.ranking.weighting import Weighting
from considerate.recommenders.description import describe
from considerate.recommenders.neighbours import nearest_items
from considerate.recommenders.popularity import popular, tail
from considerate.recommenders.positive import positive_user_items
from considerate.settings.toml import Section


class Params(Section):
    """Parameters of `item_knn`.

    Attributes
    ----------
    similarity
        Weights of implicit: `tfidf` and `cosine` compare columns of length 1, `bm25` (K1, B) raw products.
    neighbours
        Items kept beside each item.
    K1, B
        Of `bm25`; see implicit's `BM25Recommender`.
    weighting
        How events become weights, in the fit and in every request.
    """

    similarity: Literal["tfidf", "bm25", "cosine"] = "tfidf"
    neighbours: Annotated[int, Field(ge=1)] = 200
    K1: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.2
    B: Annotated[float, Field(ge=0, le=1)] = 0.75
    weighting: Weighting = Weighting()


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> LinearItems:
    """Compare every pair of items that at least `k_pair` customers have in common.

    The weights are implicit's. The products are our own, because a pair must be known to be common enough before the
    nearest are chosen.
    """
    user_items = positive_user_items(dataset, params.weighting)
    return LinearItems(
        manifest=describe("item_knn", KIND, dataset, params, params.weighting, libraries=("numba",)),
        item_ids=dataset.items.ids,
        popular=popular(dataset),
        base=tail(dataset),
        similarity=nearest_items(
            _weighted(user_items, params), neighbours=params.neighbours, k_pair=dataset.consent.k_pair
        ),
    )


def _weighted(user_items: Any, params: Params) -> Any:
    if user_items.nnz == 0:
        return user_items
    match params.similarity:
        case "tfidf":
            items = normalize(_positive(tfidf_weight(user_items.T)))
        case "cosine":
            items = normalize(user_items.T)
        case "bm25":
            items = _positive(bm25_weight(user_items.T, params.K1, params.B))
    weighted = items.T.tocsr().astype(np.float32)
    weighted.sort_indices()
    return weighted


def _positive(items: Any) -> Any:
    """Take out the customers whose weight is not above 0: having bought everything, they tell no items apart."""
    items = items.tocsr()
    items.data = np.maximum(items.data, 0.0)
    items.eliminate_zeros()
    return items
