"""Splits keep every event once, on the side where it belongs."""

from datetime import UTC, datetime

import numpy as np
import pytest
from tests.evaluation.small_worlds import START, dataset_of

from considerate.dataset.dataset import Dataset
from considerate.dataset.splits import of_customers, split_before, temporal_split, until
from considerate.errors import DataError

ROWS = [
    ("ann", "apple", 0.0),
    ("ann", "bread", 1.0),
    ("ann", "cider", 2.0),
    ("bob", "bread", 1.0),
    ("cat", "dates", 3.0),
]


def told(dataset: Dataset) -> list[tuple[str, str]]:
    events = dataset.events
    return [
        (dataset.customers.ids[c], dataset.items.ids[i])
        for c, i in zip(events.customer.tolist(), events.item.tolist(), strict=True)
    ]


def test_each_customer_is_cut_before_her_last_marked_event() -> None:
    dataset = dataset_of(ROWS, customers=["aaa", "zzz"])  # without events, at both ends
    bread = dataset.events.item == dataset.items.index("bread")
    before, behind = split_before(dataset, bread)
    assert told(before) == [("ann", "apple"), ("cat", "dates")]  # cat has no bread: all she did comes before
    assert told(behind) == [("ann", "bread"), ("ann", "cider"), ("bob", "bread")]
    assert before.customers == behind.customers == dataset.customers


def test_the_last_of_several_marked_events_cuts() -> None:
    dataset = dataset_of(ROWS)
    _, behind = split_before(dataset, np.ones(5, np.bool_))
    assert told(behind) == [("ann", "cider"), ("bob", "bread"), ("cat", "dates")]
    whole, nothing = split_before(dataset, np.zeros(5, np.bool_))
    assert (whole.events.n_events, nothing.events.n_events) == (5, 0)


def test_some_customers_are_as_if_there_were_no_others() -> None:
    some = of_customers(dataset_of(ROWS), np.array([2, 0]))
    assert some.customers.ids == ("cat", "ann")
    assert told(some) == [("cat", "dates"), ("ann", "apple"), ("ann", "bread"), ("ann", "cider")]


def test_what_happens_at_the_moment_itself_belongs_to_what_lies_before() -> None:
    day = datetime.fromtimestamp(START.timestamp() + 86_400, UTC)
    assert len(told(until(dataset_of(ROWS), day))) == 3
    before, behind = temporal_split(dataset_of(ROWS), day)
    assert (len(told(before)), len(told(behind))) == (3, 2)


def test_events_without_a_time_cannot_be_cut_in_time() -> None:
    with pytest.raises(DataError, match=r"1 of 2 events have no time; .* leave_last_out, held_out_customers or fixed"):
        temporal_split(dataset_of([("ann", "apple", 0.0), ("bob", "bread", float("nan"))]), START)
