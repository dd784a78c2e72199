"""From consented rows to a data set."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from considerate.consent.gate import keep_consented
from considerate.consent.snapshot import snapshot_assumed
from considerate.dataset.dataset import Dataset
from considerate.dataset.id_map import IdMap
from considerate.dataset.splits import temporal_split
from considerate.errors import DataError
from considerate.interactions.catalogue import CUSTOMERS
from considerate.interactions.columns import SCHEMA, Columns, Interactions, LoadReport
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Channel, Kind
from considerate.ranking.weighting import Weighting
from considerate.settings.data import ConsentConfig

DAY = 86_400_000_000
START = 20_454 * DAY  # 2026-01-01

Row = dict[str, Any]


def row(customer: str, item: str, day: float | None, **more: Any) -> Row:
    """Write one purchase down."""
    plain: Row = dict.fromkeys(SCHEMA.names)
    plain |= {Columns.CUSTOMER: customer, Columns.ITEM: item, Columns.KIND: int(Kind.PURCHASE)}
    plain |= {Columns.CHANNEL: int(Channel.ONLINE), Columns.EVENT: f"{customer}-{item}-{day}"}
    plain |= {Columns.TIMESTAMP: None if day is None else START + int(day * DAY)}
    return plain | more


def dataset_of(rows: list[Row], **more: Any) -> Dataset:
    """Take rows through the gate."""
    table = pa.table({f.name: pa.array([r[f.name] for r in rows], f.type) for f in SCHEMA}, schema=SCHEMA)
    interactions = Interactions(table, LoadReport(name="rows", rows_read=len(rows), rows_kept=len(rows)))
    config = ConsentConfig(source="assumed", k_item=1, k_pair=1)
    at = datetime(2026, 2, 1, tzinfo=UTC)
    consented, _ = keep_consented(interactions, snapshot_assumed(), config=config, at=at)
    return Dataset.from_interactions(consented, **more)


ROWS = [
    row("zoe", "pear", 3),
    row("ann", "kiwi", 5),
    row("zoe", "apple", 1),
    row("ann", "pear", 5),
    row("zoe", "pear", 9, value=2.0),
]


def events_of(dataset: Dataset) -> list[tuple[str, str]]:
    events = dataset.events
    return [(dataset.customers.ids[c], dataset.items.ids[i]) for c, i in zip(events.customer, events.item, strict=True)]


def test_customers_and_items_are_numbered_in_the_order_of_their_ids() -> None:
    dataset = dataset_of(ROWS)
    assert dataset.customers.ids == ("ann", "zoe")
    assert dataset.items.ids == ("apple", "kiwi", "pear")


def test_events_are_sorted_by_customer_and_time() -> None:
    assert events_of(dataset_of(ROWS)) == [
        ("ann", "kiwi"), ("ann", "pear"), ("zoe", "apple"), ("zoe", "pear"), ("zoe", "pear"),
    ]  # fmt: skip


def test_position_orders_what_has_no_time() -> None:
    rows = [row("a", "second", None, position=2), row("a", "first", None, position=1)]
    dataset = dataset_of(rows)
    assert [item for _, item in events_of(dataset)] == ["first", "second"]
    assert dataset.end is None


def test_the_order_of_the_source_and_its_event_ids_do_not_show() -> None:
    shuffled = [r | {Columns.EVENT: f"other{i}"} for i, r in enumerate(random.Random(3).sample(ROWS, len(ROWS)))]
    one, other = dataset_of(ROWS), dataset_of(shuffled)
    assert events_of(one) == events_of(other)
    assert one.digest == other.digest


def test_the_digest_does_not_know_who_it_was_and_knows_what_happened() -> None:
    renamed = [r | {Columns.CUSTOMER: {"zoe": "aaa", "ann": "bbb"}[r[Columns.CUSTOMER]]} for r in ROWS]
    assert dataset_of(renamed).digest == dataset_of(ROWS).digest
    later = [*ROWS[:-1], row("zoe", "pear", 10, value=2.0)]
    assert dataset_of(later).digest != dataset_of(ROWS).digest


def test_canonical_order_depends_on_contents_alone() -> None:
    renamed = [r | {Columns.CUSTOMER: {"zoe": "aaa", "ann": "bbb"}[r[Columns.CUSTOMER]]} for r in ROWS]
    one, other = dataset_of(ROWS).in_canonical_order(), dataset_of(renamed).in_canonical_order()
    assert np.array_equal(one.events.item, other.events.item)
    assert np.array_equal(one.events.indptr, other.events.indptr)
    assert [one.customers.ids[0], other.customers.ids[0]] in (["zoe", "aaa"], ["ann", "bbb"])


def test_a_return_takes_its_purchase_along() -> None:
    back = row("a", "x", 2, value=1.0, kind=int(Kind.RETURN))
    dataset = dataset_of([row("a", "x", 1, value=1.0), row("a", "y", 1), back])
    netted = dataset.net_of_returns()
    assert events_of(netted) == [("a", "y")]
    assert netted.net_of_returns() is netted


def test_a_return_after_the_cut_leaves_the_train_part_as_it_was() -> None:
    sold = [row("a", "x", 1, value=1.0), row("a", "y", 1), row("a", "z", 9)]
    back = row("a", "x", 8, value=1.0, kind=int(Kind.RETURN))
    cut = datetime(2026, 1, 5, tzinfo=UTC)
    never, later = (temporal_split(dataset_of(rows), cut) for rows in (sold, [*sold, back]))
    assert later[0].net_of_returns().digest == never[0].net_of_returns().digest
    assert events_of(later[0].net_of_returns()) == [("a", "x"), ("a", "y")]
    assert events_of(later[1].net_of_returns()) == [("a", "z")]


def test_customers_without_events_can_be_left_out() -> None:
    train, _ = temporal_split(dataset_of([*ROWS, row("bob", "kiwi", 9)]), datetime(2026, 1, 8, tzinfo=UTC))
    active = train.of_active_customers()
    assert train.customers.ids == ("ann", "bob", "zoe")
    assert active.customers.ids == ("ann", "zoe")
    assert events_of(active) == events_of(train)
    assert active.of_active_customers() is active


def test_the_end_is_the_last_event() -> None:
    end = dataset_of(ROWS).end
    assert end is not None
    assert end.timestamp() * 1e6 == START + 9 * DAY


def test_user_items_weighs_each_customer() -> None:
    dataset = dataset_of(ROWS)
    assert dataset.user_items(Weighting(), dataset.end).toarray().tolist() == [[0, 1, 1], [1, 0, 2]]


def test_customers_are_counted_once_per_item() -> None:
    assert dataset_of(ROWS).customers_per_item().tolist() == [1, 1, 2]


def test_a_restricted_data_set_keeps_its_customers() -> None:
    restricted = dataset_of(ROWS).restricted_to(np.array([True, False, True]))
    assert restricted.items.ids == ("apple", "pear")
    assert restricted.customers.ids == ("ann", "zoe")
    assert events_of(restricted) == [("ann", "pear"), ("zoe", "apple"), ("zoe", "pear"), ("zoe", "pear")]


def test_a_temporal_split_cuts_everybody_at_the_same_moment() -> None:
    dataset = dataset_of(ROWS)
    end = dataset.end
    assert end is not None
    train, test = temporal_split(dataset, end - timedelta(days=4))
    assert events_of(train) == [("ann", "kiwi"), ("ann", "pear"), ("zoe", "apple"), ("zoe", "pear")]
    assert events_of(test) == [("zoe", "pear")]
    assert train.customers is test.customers
    assert train.items is test.items


def test_a_split_that_leaves_a_side_empty_is_an_error() -> None:
    dataset = dataset_of(ROWS)
    end = dataset.end
    assert end is not None
    with pytest.raises(DataError, match=r"leaves test empty; choose a cut inside the period"):
        temporal_split(dataset, end)
    with pytest.raises(DataError, match="leaves train empty"):
        temporal_split(dataset, end - timedelta(days=30))


def test_a_split_in_time_needs_times() -> None:
    dataset = dataset_of([*ROWS, row("a", "x", None)])
    end = dataset.end
    assert end is not None
    with pytest.raises(DataError, match=r"1 of 6 events have no time; map a timestamp column"):
        temporal_split(dataset, end)


@settings(max_examples=50)
@given(st.lists(st.text(max_size=8)), st.lists(st.text(max_size=8)))
def test_an_id_map_finds_its_own_ids_and_no_others(ids: list[str], strangers: list[str]) -> None:
    known = IdMap.of(ids)
    assert list(known.ids) == sorted(set(ids))
    assert [known.ids[i] for i in known.indices(ids)] == ids
    expected = [known.ids.index(s) if s in set(ids) else -1 for s in strangers]
    assert known.indices(strangers).tolist() == expected == [known.index(s) for s in strangers]


def people(**said: dict[str, str]) -> pa.Table:
    """Write customers' attributes down as `[customers]` gives them."""
    rows = [{"customer_id": customer, "birth_year": "1980", **known} for customer, known in said.items()]
    return pa.Table.from_pylist(rows, schema=CUSTOMERS)


def test_attributes_become_traits_of_the_customers_who_are_there() -> None:
    known = people(zoe={"gender": "F", "region": "94"}, max={"gender": "M"})
    traits = dataset_of(ROWS, attributes=known).events.traits
    assert traits is not None
    assert (traits.at(0), traits.at(1)) == ((), ("gender=F", "region=94"))
    assert "gender=M" not in traits.names


def test_the_digest_knows_traits_and_catalogue() -> None:
    one = dataset_of(ROWS, attributes=people(zoe={"gender": "F"}))
    same = dataset_of(list(reversed(ROWS)), attributes=people(zoe={"gender": "F"}))
    other = dataset_of(ROWS, attributes=people(zoe={"gender": "M"}))
    listed = dataset_of(ROWS, attributes=people(zoe={"gender": "F"}), catalogue=Catalogue.of_ids(["pear"]))
    assert one.digest == same.digest
    assert len({dataset_of(ROWS).digest, one.digest, other.digest, listed.digest}) == 4


def test_equal_purchases_with_other_traits_are_put_in_one_order_whatever_the_ids() -> None:
    def world(first: str, second: str) -> Dataset:
        rows = [row(customer, "pear", 1) for customer in (first, second)]
        known = people(**{first: {"gender": "F"}, second: {"gender": "M"}})
        return dataset_of(rows, attributes=known).in_canonical_order()

    one, other = world("a", "b").events.traits, world("z", "b").events.traits
    assert one is not None
    assert other is not None
    assert [one.at(c) for c in range(2)] == [other.at(c) for c in range(2)]


def test_without_all_times_position_alone_orders_events() -> None:
    rows = [
        row("ann", item, day, position=place) for place, (item, day) in enumerate([("b", None), ("a", 1), ("c", 0)])
    ]
    dataset = dataset_of(rows)
    assert [dataset.items.ids[i] for i in dataset.events.item] == ["b", "a", "c"]
