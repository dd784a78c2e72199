"""Cuts: what a model may learn from, what it is judged on, and what it must never see."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError, DataError
from considerate.evaluation.protocols import Fold, Targets, choose_protocol, make_folds
from considerate.ranking.history import Kind
from considerate.settings.data import DataConfig
from considerate.settings.protocols import FixedProtocol, TemporalProtocol
from considerate.settings.toml import validate

WorldBuilder = Callable[..., Dataset]
WEEK = TemporalProtocol(test_days=7, min_customers=1)
ROWS = [
    ("ann", "apple", 0.0),
    ("ann", "bread", 12.0),
    ("ann", "apple", 20.0),
    ("ann", "cider", 21.0),
    ("bob", "bread", 1.0),
    ("bob", "cider", 2.0),
    ("bob", "apple", 21.0),
    ("cat", "bread", 28.0),
]
"""The last event is on day 28: the test cut on day 21, the development cut on day 14."""


def asked(fold: Fold, targets: Targets) -> dict[str, set[str]]:
    """Relevant items by name."""
    sets, items = targets.relevant, fold.train.items.ids
    return {
        fold.train.customers.ids[c]: {items[i] for i in sets.items[sets.indptr[row] : sets.indptr[row + 1]]}
        for row, c in enumerate(targets.customers)
    }


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def test_the_test_cut_lies_test_days_before_the_last_event(
    world: WorldBuilder, day: Callable[[float], datetime]
) -> None:
    (fold,) = make_folds(world(ROWS), WEEK, final=True, rng=rng())
    assert fold.part == "test"
    assert fold.at == day(21)
    assert fold.train.events.n_events == 7
    assert asked(fold, fold.targets[0]) == {"cat": {"bread"}}


def test_the_development_part_ends_where_the_test_part_begins(
    world: WorldBuilder, day: Callable[[float], datetime]
) -> None:
    (fold,) = make_folds(world(ROWS), WEEK, final=False, rng=rng())
    assert fold.part == "val"
    assert fold.at == day(14)
    repeat, new = fold.targets
    assert asked(fold, repeat) == {"ann": {"apple", "cider"}, "bob": {"apple"}}
    assert asked(fold, new) == {"ann": {"cider"}, "bob": {"apple"}}


def test_what_happens_after_the_test_cut_changes_nothing_of_the_development_part(world: WorldBuilder) -> None:
    (before,) = make_folds(world(ROWS), WEEK, final=False, rng=rng())
    later = [*ROWS, ("bob", "cider", 27.0), ("cat", "apple", 27.5)]
    (after,) = make_folds(world(later), WEEK, final=False, rng=rng())
    assert before.train.digest == after.train.digest
    assert [asked(before, t) for t in before.targets] == [asked(after, t) for t in after.targets]


@pytest.mark.parametrize("final", [False, True])
@pytest.mark.parametrize("returned_on", [16.0, 25.0])
def test_a_return_after_the_cut_takes_nothing_out_of_train(
    world: WorldBuilder, final: bool, returned_on: float
) -> None:
    (before,) = make_folds(world(ROWS), WEEK, final=final, rng=rng())
    returned = world([*ROWS, ("ann", "bread", returned_on, Kind.RETURN)])
    (after,) = make_folds(returned, WEEK, final=final, rng=rng())
    # Bought on day 12, before either cut; the development cut is on day 14, the test cut on day 21.
    known = final and returned_on < 21
    assert (before.train.digest == after.train.digest) is not known
    assert [asked(before, t) for t in before.targets] == [asked(after, t) for t in after.targets]


def test_what_is_bought_and_brought_back_after_the_cut_is_no_success(world: WorldBuilder) -> None:
    rows = [*ROWS, ("bob", "bread", 22.0), ("bob", "bread", 23.0, Kind.RETURN)]
    (fold,) = make_folds(world(rows), WEEK, final=True, rng=rng())
    assert asked(fold, fold.targets[0]) == {"cat": {"bread"}}


def test_new_excludes_what_the_customer_chose_in_train_and_repeat_excludes_nothing(world: WorldBuilder) -> None:
    (fold,) = make_folds(world(ROWS), WEEK, final=False, rng=rng())
    repeat, new = fold.targets
    ids = fold.train.items.ids
    assert repeat.excluded.sizes.tolist() == [0, 0]
    assert [ids[i] for i in new.excluded.items] == ["apple", "bread", "bread", "cider"]


def test_items_below_min_customers_in_train_neither_teach_nor_count(world: WorldBuilder) -> None:
    rows = [*ROWS, ("dan", "bread", 14.5)]
    (fold,) = make_folds(world(rows), TemporalProtocol(test_days=7, min_customers=2), final=False, rng=rng())
    assert fold.train.items.ids == ("bread",)
    assert fold.train.events.n_events == 2
    assert asked(fold, fold.targets[0]) == {"dan": {"bread"}}


def test_min_customers_counts_people_not_events(world: WorldBuilder) -> None:
    rows = [("ann", "apple", d) for d in range(5)] + [
        ("ann", "bread", 1.0),
        ("bob", "bread", 2.0),
        ("bob", "bread", 12.0),
    ]
    (fold,) = make_folds(world(rows), TemporalProtocol(test_days=7, min_customers=2), final=True, rng=rng())
    assert fold.train.items.ids == ("bread",)


def test_only_what_was_chosen_is_relevant_a_view_is_not(world: WorldBuilder) -> None:
    rows = [("ann", "apple", 0.0), ("ann", "bread", 1.0), ("bob", "bread", 9.0), ("ann", "bread", 9.0, Kind.VIEW)]
    (fold,) = make_folds(world(rows), WEEK, final=True, rng=rng())
    assert asked(fold, fold.targets[0]) == {"bob": {"bread"}}


def test_a_view_in_train_leaves_the_item_new(world: WorldBuilder) -> None:
    rows = [("bob", "apple", 0.0), ("ann", "apple", 1.0, Kind.VIEW), ("ann", "apple", 9.0)]
    (fold,) = make_folds(world(rows), WEEK, final=True, rng=rng())
    assert asked(fold, fold.targets[1]) == {"ann": {"apple"}}


def test_a_like_in_train_leaves_the_item_new_a_rating_does_not(world: WorldBuilder) -> None:
    """As in the service: a list of goal `new` leaves out what was bought or rated, and nothing else."""
    rows = [
        ("bob", "apple", 0.0),
        ("bob", "bread", 0.0),
        ("ann", "apple", 1.0, Kind.LIKE),
        ("ann", "bread", 1.0, Kind.RATING),
        ("ann", "apple", 9.0),
        ("ann", "bread", 9.0),
    ]
    (fold,) = make_folds(world(rows), WEEK, final=True, rng=rng())
    new, ids = fold.targets[1], fold.train.items.ids
    assert asked(fold, new) == {"ann": {"apple"}}
    assert [ids[item] for item in new.excluded.items] == ["bread"]


def test_a_fixed_test_part_is_read_under_the_ids_of_train(world: WorldBuilder) -> None:
    nan = float("nan")
    train = world([("ann", "apple", nan), ("bob", "bread", nan), ("cat", "cider", nan)])
    test = world([("aaa", "apple", nan), ("bob", "apple", nan), ("bob", "zebra", nan), ("cat", "bread", nan)])
    (fold,) = make_folds(train, FixedProtocol(kind="fixed", test="t"), final=True, public_test=test, rng=rng())
    assert fold.at is None
    assert asked(fold, fold.targets[0]) == {"bob": {"apple"}, "cat": {"bread"}}


def test_a_fixed_development_part_is_carved_from_train_and_shares_no_event_with_it(world: WorldBuilder) -> None:
    rows = [(f"c{c}", f"i{i}", float("nan")) for c in range(30) for i in range(c % 7 + 1)]
    whole = world(rows)
    (fold,) = make_folds(whole, FixedProtocol(kind="fixed", test="t", development_share=0.3), final=False, rng=rng())
    held_out = fold.targets[0].relevant.sizes.sum()
    assert 0.15 < held_out / len(rows) < 0.45
    assert fold.train.events.n_events + held_out <= len(rows)


@pytest.mark.parametrize(
    ("rows", "protocol", "message"),
    [
        ([("ann", "apple", 3.0)], WEEK, "leaves train empty"),
        ([("ann", "apple", float("nan"))], WEEK, "needs timestamps"),
        (
            [("ann", "apple", 0.0), ("bob", "bread", 9.0)],
            TemporalProtocol(test_days=7, min_customers=2),
            "no item has >= 2",
        ),
        ([("ann", "apple", 0.0), ("bob", "bread", 9.0)], WEEK, "no customer has anything to be judged by"),
    ],
)
def test_an_empty_side_of_the_cut_is_one_clear_error(
    world: WorldBuilder, rows: list[Any], protocol: TemporalProtocol, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        make_folds(world(rows), protocol, final=True, rng=rng())


def config(**more: Any) -> DataConfig:
    source = {"format": "csv", "path": "x.csv", "columns": {"customer_id": "c", "item_id": "i"}}
    return validate(DataConfig, {"name": "shop", "source": source, **more}, "configs/shop.toml")


def test_the_only_protocol_needs_no_name() -> None:
    assert choose_protocol(config(protocol={"a": {"kind": "temporal"}}), None, "x")[0] == "a"


def test_the_default_protocol_is_taken_unless_one_is_named() -> None:
    data = config(protocol={"a": {"kind": "temporal"}, "b": {"kind": "temporal"}}, default_protocol="b")
    assert choose_protocol(data, None, "x")[0] == "b"
    assert choose_protocol(data, "a", "x")[0] == "a"


@pytest.mark.parametrize(
    ("protocols", "name", "message"),
    [
        ({}, None, r"shop.toml: no \[protocol.<name>\] table"),
        ({"a": {"kind": "temporal"}}, "b", "protocol = 'b'; must be one of: a"),
        ({"a": {"kind": "temporal"}, "b": {"kind": "temporal"}}, None, r"several protocols \(a, b\)"),
    ],
)
def test_a_missing_protocol_says_which_there_are(protocols: dict[str, Any], name: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        choose_protocol(config(protocol=protocols), name, "configs/shop.toml")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"goals": ["often"]}, "goals -> 0 = 'often'"),
        ({"test_days": 0}, "test_days = 0; input should be greater than 0"),
        ({"test_days": "long"}, "test_days = 'long'"),
        ({"tset_days": 3}, "tset_days is not a known key"),
    ],
)
def test_a_wrong_protocol_names_the_key_the_value_and_the_rule(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        config(protocol={"a": {"kind": "temporal", **table}})
