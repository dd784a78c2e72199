"""What is alike in the catalogue: for new products, and for a shop in which few customers have said yes."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, diags, hstack

from considerate.dataset.dataset import Dataset
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Bool, Float32, Float64, Int64
from considerate.ranking.linear_items import KIND, LinearItems
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import Weighting
from considerate.recommenders.categories import SEPARATOR, categories_of
from considerate.recommenders.description import describe
from considerate.recommenders.neighbours import nearest_items
from considerate.recommenders.popularity import TAIL, no_neighbours, popular
from considerate.settings.toml import Section

PRICE_STEPS = 5
"""Prices fall into so many equally full buckets within each widest category."""

Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Importance(Section):
    """How much a word of each kind counts; 0 leaves the kind out."""

    category: Strength = 1.0
    brand: Strength = 0.5
    features: Strength = 1.0
    price: Strength = 0.5
    title: Strength = 0.5


class Params(Section):
    """Parameters of `content`.

    Attributes
    ----------
    neighbours
        Items kept beside each item; 0 leaves the popularity of the category.
    words
        What the likeness of two items is made of.
    max_items
        A word that more items share says too little of each, and would make the fit slow.
    popularity
        Weight of popularity (of the category, for a product that nobody has bought) beside likeness.
    shrinkage
        So many average items of the category above are added to those of a category.
    weighting
        How events become weights.
    """

    neighbours: Annotated[int, Field(ge=0)] = 200
    words: Importance = Importance()
    max_items: Annotated[int, Field(ge=2)] = 1000
    popularity: Strength = 1.0
    shrinkage: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 5.0
    weighting: Weighting = Weighting(repeats="log", normalisation="l2")


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> LinearItems:
    """Compare items by the words that describe them: TF-IDF cosine, scores = b + x.S.

    S is made of the catalogue alone, so `k_pair` has nothing to guard in it: no customer's data are there. b is an
    item's share of customers and, for an item of which no event may be known, the mean of its category.
    """
    catalogue = dataset.catalogue.aligned(dataset.items.ids)
    lately = popular(dataset)
    bought = dataset.customers_per_item() > 0
    of_category = category_popularity(lately.values, bought, catalogue.category.tolist(), params.shrinkage)
    # Without any neighbour popularity is the whole score; else it must still decide ties.
    weight = 1.0 if params.neighbours == 0 else max(params.popularity, TAIL)
    return LinearItems(
        manifest=describe("content", KIND, dataset, params, params.weighting, libraries=("scikit-learn",)),
        item_ids=dataset.items.ids,
        popular=lately,
        base=base_of((weight * np.where(bought, lately.values, of_category)).astype(np.float32)),
        similarity=likeness(catalogue, params),
    )


def category_popularity(share: Float32, counts: Bool, categories: Sequence[str], shrinkage: float) -> Float64:
    """(n_items,) mean popularity of the items that count in the category of each item, level by level from the widest.

    A category is joined by `shrinkage` average items of the one above it, so one that says nothing is like that.
    """
    paths = [categories_of(category) for category in categories]
    prior = np.full(len(share), float(share[counts].mean()) if counts.any() else 0.0)
    for level in range(max((len(path) for path in paths), default=0)):
        names = [path[min(level, len(path) - 1)] if path else "" for path in paths]
        group: Int64 = np.unique(names, return_inverse=True)[1]
        n = np.bincount(group, counts) + shrinkage
        above = np.bincount(group, prior) / np.bincount(group)
        prior = ((np.bincount(group, share * counts) + shrinkage * above) / n)[group]
    return prior


def likeness(catalogue: Catalogue, params: Params) -> Any:
    """(n_items, n_items) S: cosine of the words of two items, the nearest of each row."""
    if params.neighbours == 0:
        return no_neighbours(len(catalogue))
    words = describing_words(catalogue, params.words, params.max_items)
    if words.shape[1] == 0:
        return no_neighbours(len(catalogue))
    # A word stands where a customer stands in other models, and pairs of words need no guard.
    return nearest_items(words.T.tocsr().astype(np.float32), neighbours=params.neighbours, k_pair=1)


def describing_words(catalogue: Catalogue, importance: Importance, max_items: int) -> Any:
    """(n_items, n_words) CSR: TF-IDF of each kind of word times its importance, rows of length 1.

    A brand or a feature is a word, and one more together with the narrowest category: the brand of a yoghurt says
    little about a soap. Words of one item and of more than `max_items` are left out.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415  # half a second, and only in a fit

    parts = [csr_matrix((len(catalogue), 0), dtype=np.float64)]
    for kind, bags in _bags(catalogue).items():
        weight = getattr(importance, kind)
        if weight == 0 or not any(bags):
            continue
        # Every word at first: the vectoriser takes no words at all for a mistake.
        counted = TfidfVectorizer(analyzer=list, norm=None, dtype=np.float64).fit_transform(bags)
        items = np.bincount(counted.indices, minlength=counted.shape[1])
        parts.append(weight * counted[:, (items >= 2) & (items <= max_items)])
    words = hstack(parts, format="csr")
    length = np.sqrt(np.asarray(words.multiply(words).sum(axis=1)).ravel())
    return (diags(1 / np.where(length > 0, length, 1.0)) @ words).tocsr()


def _bags(catalogue: Catalogue) -> dict[str, list[list[str]]]:
    """Words of every item, kind by kind."""
    paths = [categories_of(category) for category in catalogue.category.tolist()]
    wide = [path[0] if path else "" for path in paths]
    narrow = [path[-1] if path else "" for path in paths]
    named = {"": catalogue.brand, **catalogue.features}
    marks: dict[str, list[list[str]]] = {
        name: [
            [value, f"{category}{SEPARATOR}{value}"] if value else []
            for value, category in zip(values, narrow, strict=True)
        ]
        for name, values in named.items()
    }
    features = [[f"{name}={w}" for name in catalogue.features for w in marks[name][i]] for i in range(len(catalogue))]
    steps = price_steps(catalogue.price, wide).tolist()
    return {
        "category": [list(path) for path in paths],
        "brand": marks[""],
        "features": features,
        "price": [
            [f"{path[0] if path else ''} {step}"] if step >= 0 else [] for path, step in zip(paths, steps, strict=True)
        ],
        "title": [title.lower().split() for title in catalogue.title.tolist()],
    }


def _marked(value: str, category: str) -> list[str]:
    return [value, f"{category}{SEPARATOR}{value}"] if value else []


def price_steps(price: Float32, categories: Sequence[str]) -> Int64:
    """(n_items,) 0 to `PRICE_STEPS` - 1 by the item's rank among the prices of its category, -1 without a price.

    >>> price_steps(np.array([1, 2, 3, 4, 500, np.nan], np.float32), ["tea"] * 6).tolist()
    [0, 1, 2, 3, 4, -1]
    """
    step = np.full(len(price), -1, np.int64)
    group = np.unique(np.asarray(categories, dtype=str), return_inverse=True)[1]
    known = np.flatnonzero(~np.isnan(price))
    order = known[np.lexsort((price[known], group[known]))]
    sizes = np.bincount(group[known], minlength=int(group.max(initial=-1)) + 1)
    place = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    step[order] = place * PRICE_STEPS // np.maximum(sizes[group[order]], 1)
    return step
