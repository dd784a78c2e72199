"""What a customer buys again: a hazard learnt from earlier weeks, with what everybody's purchases tell about rhythm."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from considerate.dataset.dataset import Dataset
from considerate.ranking.buy_again import KIND, MAX_ITEMS, BuyAgain
from considerate.ranking.history import Bool, Histories, Kind
from considerate.ranking.purchases import Purchases, distinct, purchases
from considerate.ranking.rebuying import half_lives, signs
from considerate.recommenders.description import describe
from considerate.recommenders.hazard import Lesson, frequency_alone, learn_hazard
from considerate.recommenders.popularity import popular, tail_of
from considerate.recommenders.rhythm import School, levels_of
from considerate.settings.toml import Section

MAX_ROWS = 500_000
"""Most products of one window to learn from; of more, only those of every second (third ...) customer."""

_Days = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Params(Section):
    """Parameters of `buy_again`; the formula is that of `considerate.ranking.buy_again.BuyAgain`.

    Attributes
    ----------
    by
        `chance`: the hazard. `frequency`: the days on which the customer bought it alone, the measure to beat.
    half_life_days
        A purchase counts half after so many days; a quarter and four times of it are read too.
    gap_prior
        So many gaps of the customer's own weigh as much as the item's.
    shrinkage
        So many customers of the behaviour of its category are added to each item's.
    horizon_days
        What is bought again within so many days was due.
    windows
        So many horizons before the end of the data teach the hazard; 0 keeps the starting rule.
    candidates
        So many products of each customer, the most frequent ones, are learnt from.
    regularization
        How strongly the hazard is held to the starting rule.
    """

    by: Literal["chance", "frequency"] = "chance"
    half_life_days: _Days = 80.0
    gap_prior: _Days = 3.0
    shrinkage: _Days = 10.0
    horizon_days: _Days = 28.0
    windows: Annotated[int, Field(ge=0, le=12)] = 2
    candidates: Annotated[int, Field(ge=1)] = 40
    regularization: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> BuyAgain:
    """Learn each item's rhythm, and from the last windows how much each sign counts.

    An item with fewer repeat buyers than `k_item` has the gap of its category, a category with fewer that of the one
    above it, and in the end everybody's.

    Raises
    ------
    DataError
        Purchases without a time.
    """
    end = dataset.end
    events = dataset.events.where(dataset.events.kind == Kind.PURCHASE)
    levels = levels_of(dataset.catalogue.aligned(dataset.items.ids).category.tolist())
    school = School(levels, len(dataset.items), dataset.consent.k_item)
    if params.by == "frequency":
        coefficients = frequency_alone()
    else:
        coefficients = learn_hazard(list(_windows(events, end, school, params)), params.regularization)
    lately = popular(dataset)
    settings = {"half_life_days": params.half_life_days, "gap_prior": params.gap_prior, "coefficients": coefficients}
    return BuyAgain(
        manifest=describe("buy_again", KIND, dataset, params, None, settings=settings),
        item_ids=dataset.items.ids,
        popular=lately,
        base=tail_of(lately),
        rhythm=school.rhythm(_own(events, end, params), len(dataset.customers), params.shrinkage),
    )


def _own(events: Histories, at: datetime | None, params: Params) -> Purchases:
    return purchases(events, at=at, half_lives_days=half_lives(params.half_life_days), max_items=MAX_ITEMS)


def _windows(events: Histories, end: datetime | None, school: School, params: Params) -> Iterator[Lesson]:
    """Yield what was known before each of the last horizons, with what was then bought in it."""
    if end is None:
        return
    horizon = timedelta(days=params.horizon_days)
    for window in range(1, params.windows + 1):
        cut = end - window * horizon
        before = events.where(events.time <= cut.timestamp())
        after = events.where((events.time > cut.timestamp()) & (events.time <= (cut + horizon).timestamp()))
        if not before.n_events or not after.n_events:
            return
        own = _own(before, cut, params)
        rhythm = school.rhythm(own, int(np.count_nonzero(np.diff(before.indptr))), params.shrinkage)
        own = own.where(_most_frequent(own, np.diff(after.indptr) > 0, params.candidates))
        bought = distinct(after.customer * school.n_items + after.item)
        pair = own.customer * school.n_items + own.item
        yield signs(own, rhythm, params.gap_prior), bought[np.searchsorted(bought, pair) % len(bought)] == pair


def _most_frequent(own: Purchases, came: Bool, candidates: int) -> Bool:
    """(m,) the most frequent products of each customer who came in the window."""
    came = came & (np.cumsum(came) % -(-max(int(came.sum()) * candidates, 1) // MAX_ROWS) == 0)
    order = np.lexsort((own.item, -own.frequency[:, 1], own.customer))
    customer = own.customer[order]
    place = np.arange(len(order)) - np.searchsorted(customer, customer)
    keep = np.zeros(len(order), np.bool_)
    keep[order] = (place < candidates) & came[customer]
    return keep
