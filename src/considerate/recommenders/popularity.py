"""What many people bought lately, each of them counted once."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix

from considerate.dataset.dataset import Dataset
from considerate.ranking.history import Bool, Float32, Histories, Kind
from considerate.ranking.linear_items import KIND, LinearItems
from considerate.ranking.scores import Base
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import KindName, Weighting, event_weights, weigh
from considerate.recommenders.description import describe
from considerate.settings.toml import Section

POPULAR_HALF_LIFE_DAYS = 30.0
"""Half-life of the non-personalised list that every artefact carries, where the data know time."""

TAIL = 1e-6
"""Weight of popularity in the scores without history of models that have none of their own: it decides ties."""

EVERY_ITEM = 1_000_000_000

BOUGHT_OR_LIKED: dict[KindName, float] = {"purchase": 1.0, "rating": 1.0, "like": 1.0}


class Params(Section):
    """Parameters of `popularity`.

    Attributes
    ----------
    half_life_days
        A customer's latest event on an item counts half after so many days; None counts all alike.
    kinds
        Kinds of event that count, and how much.
    """

    half_life_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    kinds: dict[KindName, Annotated[float, Field(ge=0, allow_inf_nan=False)]] = Field(
        default_factory=lambda: {**BOUGHT_OR_LIKED}
    )


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> LinearItems:
    """Count distinct customers per item, each by the latest event: scores = b, whatever the history."""
    weighting = _weighting(params.half_life_days, params.kinds)
    return LinearItems(
        manifest=describe("popularity", KIND, dataset, params, weighting),
        item_ids=dataset.items.ids,
        popular=popular(dataset),
        base=base_of(buyers(dataset, weighting)),
        similarity=no_neighbours(len(dataset.items)),
    )


def popular(dataset: Dataset) -> Base:
    """Give the non-personalised list: (n_items,) share of the customers who bought the item, decayed."""
    half_life = POPULAR_HALF_LIFE_DAYS if not np.isnan(dataset.events.time).any() else None
    return base_of(buyers(dataset, _weighting(half_life, BOUGHT_OR_LIKED)))


def tail(dataset: Dataset) -> Base:
    """Popularity so light that it orders only what a model has nothing to say about."""
    return tail_of(popular(dataset))


def tail_of(popular: Base) -> Base:
    """Give the same from a list that was counted already."""
    return base_of(popular.values * np.float32(TAIL))


def buyers(dataset: Dataset, weighting: Weighting) -> Float32:
    """(n_items,) share of customers, each weighted by the latest event on the item."""
    n_items, events = len(dataset.items), dataset.events
    if weighting.half_life_days is None and {*weighting.kinds.values()} == {1.0}:
        # Every pair counts once: no weights to work out.
        pairs = np.sort(
            (events.customer * n_items + events.item)[(weighting.kind_weights[events.kind] > 0) & ~_disliked(events)]
        )
        sums = np.bincount(pairs[np.diff(pairs, prepend=-1) > 0] % n_items, minlength=n_items)
    else:
        counts = weigh(events.where(~_disliked(events)), weighting, at=dataset.end, n_items=n_items)
        sums = np.bincount(counts.indices, counts.data, minlength=n_items)
    return (sums / max(len(dataset.customers), 1)).astype(np.float32)


def _disliked(events: Histories) -> Bool:
    """(n_events,) ratings that weigh nothing or less beside a customer's others: nobody chose such an item."""
    ratings: Bool = events.kind == Kind.RATING
    if not ratings.any():
        return ratings
    disliked: Bool = ratings & (event_weights(events, Weighting(), None) <= 0)
    return disliked


def no_neighbours(n_items: int) -> Any:
    """Give an empty (n_items, n_items) matrix."""
    return csr_matrix((n_items, n_items), dtype=np.float32)


def _weighting(half_life_days: float | None, kinds: dict[KindName, float]) -> Weighting:
    # A count has no reason for the cap that keeps a long history cheap to score.
    return Weighting(kinds=kinds, rating_slope=0.0, half_life_days=half_life_days, repeats="max", max_items=EVERY_ITEM)
