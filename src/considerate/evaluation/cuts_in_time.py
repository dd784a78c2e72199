"""Protocols that cut at one moment for everybody: what happens after it is known to no fit."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.dataset.id_map import IdMap
from considerate.dataset.splits import of_customers, temporal_split, until
from considerate.errors import DataError
from considerate.evaluation.folds import Cut
from considerate.evaluation.item_sets import customers_per_item
from considerate.ranking.history import Bool, Float64, Int64
from considerate.settings.protocols import ColdItemsProtocol, ConsentedProtocol, TemporalProtocol


def cuts_of(
    dataset: Dataset, *, test_days: float, cuts: int, final: bool
) -> Iterator[tuple[Dataset, Dataset, datetime]]:
    """Give both sides of each cut, returns among them, and its moment, oldest first.

    A development cut, and the `test_days` behind it, lie before the first test cut.

    Raises
    ------
    DataError
        No event has a time, or a side is empty.
    """
    end, span = dataset.end, timedelta(days=test_days)
    if end is None:
        raise DataError(
            "a protocol of cuts in time needs timestamps; map timestamp in [source.columns], or use a protocol of kind "
            "leave_last_out, held_out_customers or fixed"
        )
    for place in range(cuts, 0, -1):
        cut = end - span * (place if final else cuts + place)
        yield *temporal_split(dataset if cut + span >= end else until(dataset, cut + span), cut), cut


def netted(sides: tuple[Dataset, Dataset, datetime]) -> tuple[Dataset, Dataset, datetime]:
    """Net returns after the cut, each side on its own: a later return must not take a purchase out of train."""
    train, judged, at = sides
    return train.net_of_returns(), judged.net_of_returns(), at


def temporal(dataset: Dataset, protocol: TemporalProtocol, *, final: bool) -> Iterator[Cut]:
    """Ask every customer, at each cut, for what she chose in the days after it."""
    everybody = np.arange(len(dataset.customers))
    sides = cuts_of(dataset, test_days=protocol.test_days, cuts=protocol.cuts, final=final)
    for place, (train, judged, at) in enumerate(map(netted, sides), start=1):
        counts = customers_per_item(train) >= protocol.min_customers
        label = f"cut_{place}" if protocol.cuts > 1 else ""
        yield Cut(train, train.events, judged.events, everybody, at, counts, label=label)


def cold_items(dataset: Dataset, protocol: ColdItemsProtocol, *, final: bool) -> Cut:
    """Ask for products that nobody had bought before the cut, among all such of the catalogue and the judged days.

    Raises
    ------
    DataError
        Nothing new was sold behind the cut.
    """
    dataset = with_items_of_catalogue(dataset)
    (sides,) = cuts_of(dataset, test_days=protocol.test_days, cuts=1, final=final)
    in_catalogue, sold_before, sold_after = (np.zeros(len(dataset.items), np.bool_) for _ in range(3))
    in_catalogue[dataset.items.indices(dataset.catalogue.item_ids)] = True
    # Returns among them: what was sold and brought back is no new product either.
    sold_before[sides[0].events.item] = True
    sold_after[sides[1].events.item] = True
    train, judged, at = netted(sides)
    new = ~sold_before & (in_catalogue | sold_after)
    if not (new & sold_after).any():
        raise DataError(f"cold_items: nothing that was sold after {at:%Y-%m-%d %H:%M} was new; choose more test_days")
    counts = customers_per_item(train) >= protocol.min_customers
    everybody = np.arange(len(dataset.customers))
    return Cut(train, train.events, judged.events, everybody, at, (counts & sold_before) | new, allowed=new)


def with_items_of_catalogue(dataset: Dataset) -> Dataset:
    """Number every item of the catalogue, also those that nobody ever bought."""
    items = IdMap.of([*dataset.items.ids, *dataset.catalogue.item_ids])
    if len(items) == len(dataset.items):
        return dataset
    return replace(dataset, items=items, events=dataset.events.reindexed(items.indices(dataset.items.ids)))


@dataclass(frozen=True, slots=True)
class Willing:
    """Who allows what in a simulation.

    Attributes
    ----------
    training, personalisation
        (n_customers,) whether the customer allows it.
    """

    training: Bool
    personalisation: Bool


def consented(dataset: Dataset, protocol: ConsentedProtocol, *, final: bool, rng: np.random.Generator) -> Cut:
    """Fit on those who allow training and ask those who allow suggestions; they need not be the same.

    The items that count are those of all customers before the cut, so that figures under different shares of consent
    are over the same items.
    """
    (sides,) = cuts_of(dataset, test_days=protocol.test_days, cuts=1, final=final)
    train, judged, at = netted(sides)
    willing = simulate_consent(train, protocol, rng)
    counts = customers_per_item(train) >= protocol.min_customers
    asked = np.flatnonzero(willing.personalisation)
    learnt = of_customers(train, np.flatnonzero(willing.training))
    return Cut(learnt, train.events.take(asked), judged.events.take(asked), asked, at, counts)


def simulate_consent(train: Dataset, protocol: ConsentedProtocol, rng: np.random.Generator) -> Willing:
    """Draw who allows what: willingness is activity plus chance, and the most willing share of the customers agrees.

    A customer's chance hangs on her id and the seed alone, and activity on what she did before the cut: nothing that
    happens after it, and nobody who comes after it, changes who agrees.
    """
    n_events = np.diff(train.events.indptr)
    known = n_events > 0
    logarithm = np.log1p(n_events.astype(np.float64))
    spread = float(logarithm[known].std()) or 1.0
    active = protocol.activity * (logarithm - logarithm[known].mean()) / spread
    answers = []
    for share in (protocol.training, protocol.personalisation):
        willingness = active + _chance(train, rng.bytes(16))
        ranked = np.sort(willingness[known])[::-1]
        n = int(np.ceil(share * len(ranked)))
        answers.append(willingness >= ranked[n - 1])
    return Willing(*answers)


def _chance(train: Dataset, key: bytes) -> Float64:
    """(n_customers,) draws of the standard logistic distribution."""
    digests = [
        hashlib.blake2b(id_.encode("utf-8", "surrogatepass"), key=key, digest_size=8) for id_ in train.customers.ids
    ]
    whole: Int64 = np.frombuffer(b"".join(digest.digest() for digest in digests), np.uint64)
    uniform = (whole.astype(np.float64) + 0.5) / 2.0**64
    odds: Float64 = np.log(uniform) - np.log1p(-uniform)
    return odds
