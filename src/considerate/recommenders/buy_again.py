"""What a customer buys again: her own purchases, with what everybody's tell about each item's rhythm."""

from typing import Annotated

import numpy as np
from pydantic import Field

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.ranking.buy_again import KIND, MAX_ITEMS, BuyAgain, Purchases, purchases
from considerate.ranking.history import Float64, Kind
from considerate.recommenders.description import describe
from considerate.recommenders.popularity import popular, tail
from considerate.settings.toml import Section

USUAL_GAP_DAYS = 30.0
"""Gap where nobody has ever bought anything twice."""


class Params(Section):
    """Parameters of `buy_again`; the formula is that of `considerate.ranking.buy_again.BuyAgain`.

    Attributes
    ----------
    half_life_days
        A purchase counts half after so many days.
    repeat_power
        How much an item that people come back to is preferred; 0 not at all.
    lapse
        How fast an item fades per gap that has passed since the last purchase.
    gap_prior
        So many gaps of the customer's own weigh as much as the item's.
    shrinkage
        So many customers of average behaviour are added to each item's.
    """

    half_life_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 90.0
    repeat_power: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.25
    lapse: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.1
    gap_prior: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 3.0
    shrinkage: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10.0


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> BuyAgain:
    """Learn each item's gap and the share of its buyers who come back.

    An item whose repeat buyers are fewer than `k_item` gets everybody's gap.

    Raises
    ------
    DataError
        Purchases without a time.
    """
    if np.isnan(dataset.events.time[dataset.events.kind == Kind.PURCHASE]).any():
        raise DataError("buy_again needs the time of every purchase, and some have none; map a timestamp column")
    own = purchases(dataset.events, at=dataset.end, half_life_days=params.half_life_days, max_items=MAX_ITEMS)
    settings = params.model_dump(mode="json", exclude={"shrinkage"})
    return BuyAgain(
        manifest=describe("buy_again", KIND, dataset, params, None, settings=settings),
        item_ids=dataset.items.ids,
        popular=popular(dataset),
        base=tail(dataset),
        gap_days=_gap_days(own, len(dataset.items), dataset.consent.k_item, params.shrinkage).astype(np.float32),
        repeat_share=_repeat_share(own, len(dataset.items), params.shrinkage).astype(np.float32),
    )


def _gap_days(own: Purchases, n_items: int, k_item: int, shrinkage: float) -> Float64:
    """(n_items,) geometric mean over the repeat buyers of an item of their mean gap."""
    again = own.days > 1
    item, log_gap = own.item[again], np.log(own.own_gap[again])
    usual = float(log_gap.mean()) if len(log_gap) else float(np.log(USUAL_GAP_DAYS))
    buyers = np.bincount(item, minlength=n_items)
    mean = (np.bincount(item, log_gap, minlength=n_items) + shrinkage * usual) / (buyers + shrinkage)
    return np.exp(np.where(buyers >= k_item, mean, usual))


def _repeat_share(own: Purchases, n_items: int, shrinkage: float) -> Float64:
    """(n_items,) share of an item's buyers with more than one day."""
    again = own.days > 1
    usual = float(again.mean()) if len(again) else 0.5
    buyers = np.bincount(own.item, minlength=n_items)
    return (np.bincount(own.item, again, minlength=n_items) + shrinkage * max(usual, 0.01)) / (buyers + shrinkage)
