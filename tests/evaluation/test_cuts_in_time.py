"""Cuts at one moment: rolling ones, new products, and simulated consent, on worlds whose answer is known."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import numpy as np
import pytest
from tests.evaluation.small_worlds import answers_of

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.evaluation.cuts_in_time import simulate_consent
from considerate.evaluation.folds import Fold
from considerate.evaluation.protocols import make_folds
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Kind
from considerate.settings.protocols import ColdItemsProtocol, ConsentedProtocol, ProtocolConfig, TemporalProtocol

WorldBuilder = Callable[..., Dataset]


def folds_of(dataset: Dataset, protocol: ProtocolConfig, *, final: bool) -> tuple[Fold, ...]:
    return make_folds(dataset, protocol, final=final, rng=np.random.default_rng(0))


WEEKS = [("ann", "apple", 0.0), ("bob", "bread", 0.0)] + [
    (who, what, day) for day in (10.0, 17.0, 24.0, 31.0, 35.0) for who, what in (("ann", "bread"), ("bob", "apple"))
]
"""The last event is on day 35: with two cuts of seven days, test cuts on 21 and 28, development cuts on 7 and 14."""


def test_rolling_cuts_lie_test_days_apart_and_each_judges_the_days_behind_it(
    world: WorldBuilder, day: Callable[[float], datetime]
) -> None:
    rolling = TemporalProtocol(test_days=7, cuts=2)
    dataset = world(WEEKS)
    first, second = folds_of(dataset, rolling, final=True)
    assert (first.label, first.at, second.label, second.at) == ("cut_1", day(21), "cut_2", day(28))
    assert first.train.events.n_events == 6
    assert second.train.events.n_events == 8
    assert answers_of(first, dataset) == {"ann": {"bread"}, "bob": {"apple"}}


def test_rolling_development_cuts_lie_before_the_first_test_cut(
    world: WorldBuilder, day: Callable[[float], datetime]
) -> None:
    first, second = folds_of(world(WEEKS), TemporalProtocol(test_days=7, cuts=2), final=False)
    assert (first.at, second.at) == (day(7), day(14))
    later = world([*WEEKS, ("bob", "cider", 23.0), ("ann", "cider", 30.0)])
    after = folds_of(later, TemporalProtocol(test_days=7, cuts=2), final=False)
    assert [fold.train.digest for fold in after] == [first.train.digest, second.train.digest]


def test_a_person_has_the_same_number_at_every_cut(world: WorldBuilder) -> None:
    dataset = world([*WEEKS, ("aaa", "apple", 30.0)])
    for fold in folds_of(dataset, TemporalProtocol(test_days=7, cuts=2), final=True):
        assert [dataset.customers.ids[row] for row in fold.customer] == ["aaa", "ann", "bob"]


def test_more_cuts_than_the_data_have_days_are_one_clear_error(world: WorldBuilder) -> None:
    with pytest.raises(DataError, match=r"leaves train empty; choose a cut inside .* \(test_days and cuts"):
        folds_of(world(WEEKS), TemporalProtocol(test_days=7, cuts=6), final=True)


SOLD = [
    ("ann", "apple", 0.0),
    ("bob", "bread", 1.0),
    ("bob", "cider", 1.0),
    ("bob", "cider", 2.0, Kind.RETURN),
    ("ann", "dates", 9.0),
    ("ann", "bread", 10.0),
    ("bob", "cider", 11.0),
    ("bob", "eggs", 12.0),
    ("bob", "dates", 14.0),
]
"""With seven days, cut on day 7: dates and eggs are new then, cider was sold and brought back; figs are never sold."""
SHELVES = Catalogue.of_ids(["apple", "bread", "cider", "dates", "figs"])


def with_shelves(dataset: Dataset) -> Dataset:
    return replace(dataset, catalogue=SHELVES)


def test_new_products_alone_are_asked_for_and_may_be_suggested(world: WorldBuilder) -> None:
    dataset = with_shelves(world(SOLD))
    (fold,) = folds_of(dataset, ColdItemsProtocol(kind="cold_items", test_days=7), final=True)
    assert fold.allowed is not None
    # Eggs stand in no catalogue, but were sold in the days that are judged.
    assert [fold.train.items.ids[i] for i in np.flatnonzero(fold.allowed)] == ["dates", "eggs", "figs"]
    assert answers_of(fold, dataset) == {"ann": {"dates"}, "bob": {"dates", "eggs"}}
    assert not np.isin(fold.train.events.item, np.flatnonzero(fold.allowed)).any()


def test_what_is_first_sold_in_the_test_days_is_not_on_the_development_shelf_unless_the_catalogue_has_it(
    world: WorldBuilder,
) -> None:
    rows = [("ann", "apple", 0.0), ("ann", "dates", 8.0), ("ann", "eggs", 16.0), ("ann", "figs", 21.0)]
    (fold,) = folds_of(with_shelves(world(rows)), ColdItemsProtocol(kind="cold_items", test_days=7), final=False)
    assert fold.allowed is not None
    assert [fold.train.items.ids[i] for i in np.flatnonzero(fold.allowed)] == ["bread", "cider", "dates", "figs"]


def test_without_new_products_there_is_nothing_to_ask(world: WorldBuilder) -> None:
    with pytest.raises(DataError, match="nothing that was sold after 2026-01-08 00:00 was new; choose more test_days"):
        folds_of(
            world([("ann", "apple", 0.0), ("ann", "apple", 14.0)]),
            ColdItemsProtocol(kind="cold_items", test_days=7),
            final=True,
        )


def crowd(world: WorldBuilder, extra: tuple[Any, ...] = ()) -> Dataset:
    """400 customers with 1 to 40 purchases each before day 21, and one each after it."""
    rng = np.random.default_rng(5)
    rows: list[Any] = []
    for c in range(400):
        n = int(rng.integers(1, 41))
        rows += [(f"c{c:03}", f"i{rng.integers(30):02}", float(d)) for d in rng.uniform(0, 20, n)]
        rows.append((f"c{c:03}", f"i{rng.integers(30):02}", 25.0))
    return world([*rows, ("c000", "i00", 28.0), *extra])


SOME = ConsentedProtocol(kind="consented", test_days=7, training=0.4, personalisation=0.6, activity=1.0)


def test_the_fit_knows_those_who_allow_training_and_those_who_allow_suggestions_are_asked(world: WorldBuilder) -> None:
    dataset = crowd(world)
    (fold,) = folds_of(dataset, SOME, final=True)
    assert len(fold.train.customers) == 160
    assert len(fold.asked) == 240
    learnt, asked = set(fold.train.customers.ids), {dataset.customers.ids[row] for row in fold.customer}
    assert asked - learnt  # served on their own history, though they teach nothing
    assert learnt - asked


def test_the_active_consent_sooner(world: WorldBuilder) -> None:
    (fold,) = folds_of(crowd(world), SOME, final=True)
    before = np.diff(fold.asked.indptr).mean()
    (even,) = folds_of(crowd(world), SOME.model_copy(update={"activity": 0.0}), final=True)
    assert before > np.diff(even.asked.indptr).mean() + 2


def test_nobody_who_comes_later_and_nothing_that_happens_later_changes_who_consents(world: WorldBuilder) -> None:
    later = (*(("c001", "i00", 26.0) for _ in range(30)), ("aaa", "i00", 27.0), ("zzz", "i01", 27.0))

    def willing(extra: tuple[Any, ...]) -> tuple[set[str], set[str]]:
        dataset = crowd(world, extra)
        (fold,) = folds_of(dataset, SOME, final=True)
        known = np.diff(fold.asked.indptr) > 0
        return set(fold.train.customers.ids) - {"aaa", "zzz"}, {dataset.customers.ids[r] for r in fold.customer[known]}

    assert willing(()) == willing(later)


def test_the_items_that_count_do_not_depend_on_how_many_consent(world: WorldBuilder) -> None:
    few, many = (
        folds_of(crowd(world), SOME.model_copy(update={"training": share}), final=True)[0] for share in (0.05, 0.9)
    )
    assert few.train.items.ids == many.train.items.ids
    assert len(few.train.customers) < len(many.train.customers)


def test_consent_is_the_same_under_the_same_seed_and_another_under_another(world: WorldBuilder) -> None:
    dataset = crowd(world)
    one, same, other = (simulate_consent(dataset, SOME, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.training, same.training)
    assert (one.training != other.training).any()
    assert (one.training != one.personalisation).any()
