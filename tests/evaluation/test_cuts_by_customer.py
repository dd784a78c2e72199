"""Cuts of every customer on her own, and customers who are in no fit: exact on tiny worlds, and as properties."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.evaluation.small_worlds import answers_of, dataset_of, known_of, ratings_of

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.evaluation.cuts_by_customer import in_order_of_ids
from considerate.evaluation.evaluate import evaluate
from considerate.evaluation.folds import Fold
from considerate.evaluation.protocols import make_folds
from considerate.ranking.history import Kind
from considerate.ranking.traits import Traits
from considerate.settings.protocols import FixedProtocol, HeldOutCustomersProtocol, LeaveLastOutProtocol, ProtocolConfig

LAST = LeaveLastOutProtocol(kind="leave_last_out")


def fold_of(dataset: Dataset, protocol: ProtocolConfig, *, final: bool = True) -> Fold:
    (fold,) = make_folds(dataset, protocol, final=final, rng=np.random.default_rng(0))
    return fold


RATED = [
    ("ann", "apple", 1, 5.0),
    ("ann", "bread", 2, 3.0),
    ("ann", "cider", 3, 4.0),
    ("bob", "cider", 1, 4.0),
    ("bob", "apple", 2, 1.0),
    ("cat", "bread", 1, 2.0),
]


def test_the_last_choice_is_asked_for_and_all_before_it_is_known() -> None:
    dataset = ratings_of(RATED)
    fold = fold_of(dataset, LAST)
    assert answers_of(fold, dataset) == {"ann": {"cider"}, "bob": {"apple"}}
    assert known_of(fold, dataset) == {"ann": ["apple", "bread"], "bob": ["cider"]}  # of cat nothing would be known
    assert fold.at is None
    assert fold.targets[0].excluded.sizes.tolist() == [2, 1]


def test_for_development_the_last_choice_is_dropped_entirely_and_the_second_last_asked_for() -> None:
    dataset = ratings_of(RATED)
    fold = fold_of(dataset, LAST, final=False)
    assert answers_of(fold, dataset) == {"ann": {"bread"}}
    assert fold.train.items.ids == ("apple", "bread")
    other_ends = ratings_of([row for row in RATED if row[:2] not in {("ann", "cider"), ("cat", "bread")}] + [
        ("ann", "zebra", 3, 5.0), ("cat", "yeast", 1, 5.0)])  # fmt: skip
    assert fold_of(other_ends, LAST, final=False).train.digest == fold.train.digest


def test_an_item_that_nobody_had_before_can_be_the_last_and_is_never_found(parrot: Callable[..., Any]) -> None:
    dataset = ratings_of([*RATED, ("bob", "dates", 3, 5.0)])
    fold = fold_of(dataset, LAST)
    assert answers_of(fold, dataset)["bob"] == {"dates"}
    (judged,) = evaluate(parrot(["cider", "apple", "bread"]), fold)
    assert judged.figures["hit_rate_at_10"].tolist() == [1.0, 0.0]


def test_positions_decide_what_is_last_where_there_are_no_times() -> None:
    dataset = ratings_of([("ann", "zebra", 1, 5.0), ("ann", "bread", 2, 5.0), ("ann", "apple", 3, 5.0)])
    assert answers_of(fold_of(dataset, LAST), dataset) == {"ann": {"apple"}}


def test_a_view_is_no_last_choice_and_a_choice_that_was_brought_back_is_none() -> None:
    rows: list[Any] = [("ann", "apple", 0.0), ("ann", "bread", 1.0), ("ann", "cider", 2.0, Kind.VIEW)]
    rows += [("bob", "bread", 0.0), ("bob", "apple", 1.0), ("bob", "apple", 2.0, Kind.RETURN)]
    dataset = dataset_of(rows)
    assert answers_of(fold_of(dataset, LAST), dataset) == {"ann": {"bread"}}


def test_a_later_return_takes_nothing_out_of_what_was_known() -> None:
    rows: list[Any] = [("ann", "apple", 0.0), ("ann", "bread", 1.0)]
    before = fold_of(dataset_of(rows), LAST)
    after = fold_of(dataset_of([*rows, ("ann", "apple", 2.0, Kind.RETURN)]), LAST)
    assert before.train.digest == after.train.digest


def held_out(**more: Any) -> HeldOutCustomersProtocol:
    values = {"min_rating": 4, "min_events": 2, "held_out": 1, **more}
    return HeldOutCustomersProtocol(kind="held_out_customers", **values)


def test_ids_that_are_numbers_are_ordered_as_numbers() -> None:
    for ids, ordered in ((("1", "10", "2"), ["1", "2", "10"]), (("1", "10", "b2"), ["1", "10", "b2"])):
        dataset = dataset_of([(who, "apple", 0.0) for who in ids])
        rows = in_order_of_ids(dataset, np.arange(3))
        assert [dataset.customers.ids[row] for row in rows] == ordered


def people(n: int, n_items: int = 12) -> list[tuple[str, str, int, float]]:
    """Give n customers, numbered, with ten ratings each."""
    rng = np.random.default_rng(4)
    return [
        (str(c), f"i{item:02}", place, float(rng.integers(3, 6)))
        for c in range(1, n + 1)
        for place, item in enumerate(rng.permutation(n_items)[:10])
    ]


def test_who_is_held_out_is_the_stated_draw_over_the_sorted_ids() -> None:
    dataset = ratings_of(people(30))
    drawn = np.random.default_rng(0).permutation(np.arange(1, 31))
    for final, part in ((True, drawn[:8]), (False, drawn[8:16])):
        fold = fold_of(dataset, held_out(held_out=8), final=final)
        assert sorted(int(dataset.customers.ids[row]) for row in fold.customer) == sorted(part.tolist())
    kept = {int(id_) for id_ in fold.train.customers.ids}
    assert kept == set(drawn[16:].tolist())  # for development, those of the test part are in no fit either


def test_four_fifths_of_the_choices_are_known_and_the_rest_is_asked_for() -> None:
    rows = people(6)
    dataset = ratings_of(rows)
    fold = fold_of(dataset, held_out(held_out=2))
    for who, known in known_of(fold, dataset).items():
        liked = [what for other, what, _, stars in rows if other == who and stars >= 4]
        n = -(-4 * len(liked) // 5)
        assert known == liked[:n]
        assert answers_of(fold, dataset).get(who, set()) == set(liked[n:])


def test_an_item_that_no_kept_customer_chose_does_not_count() -> None:
    # One is drawn: whoever it is, only apple and bread are chosen by both.
    rows = [(who, what, place, 5.0) for who in ("1", "2") for place, what in enumerate(["apple", f"own{who}", "bread"])]
    dataset = ratings_of(rows)
    fold = fold_of(dataset, held_out(history_share=0.5))
    (kept,) = fold.train.customers.ids
    assert fold.train.items.ids == ("apple", "bread", f"own{kept}")
    assert list(known_of(fold, dataset).values()) == [["apple"]]
    assert list(answers_of(fold, dataset).values()) == [{"bread"}]


def test_a_low_rating_is_no_choice_unless_all_ratings_are_read_and_then_it_is_known_and_not_asked_for() -> None:
    stars = [5.0, 1.0, 5.0, 2.0, 5.0, 1.0]
    fruit = ["apple", "bread", "cider", "dates", "eggs", "figs"]
    drawn = str(np.random.default_rng(0).permutation(np.arange(1, 4))[0])
    # The two others like everything, so that every item counts.
    rows = [
        (who, what, place, star if who == drawn else 5.0)
        for who in ("1", "2", "3")
        for place, (what, star) in enumerate(zip(fruit, stars, strict=True))
    ]
    dataset = ratings_of(rows)
    few, many = (fold_of(dataset, held_out(history_share=0.6, ratings=which)) for which in ("positive", "all"))
    assert list(known_of(few, dataset).values()) == [["apple", "cider"]]
    assert list(known_of(many, dataset).values()) == [["apple", "bread", "cider", "dates"]]
    assert answers_of(few, dataset) == answers_of(many, dataset) == {drawn: {"eggs"}}
    assert (few.train.events.n_events, many.train.events.n_events) == (12, 12)


def test_without_history_nothing_is_known_but_traits_and_everything_she_chose_is_asked_for() -> None:
    dataset = ratings_of(people(6))
    traits = Traits.of([[f"age_band={row % 2}"] for row in range(6)])
    dataset = replace(dataset, events=replace(dataset.events, traits=traits))
    known, unknown = (fold_of(dataset, held_out(held_out=2, history=which)) for which in ("first", "none"))
    assert unknown.asked.n_events == 0
    assert unknown.asked.traits is not None
    assert [unknown.asked.traits.at(c) for c in (0, 1)] == [traits.at(row) for row in unknown.customer.tolist()]
    assert unknown.targets[0].excluded.sizes.sum() == 0
    for who, asked_for in answers_of(unknown, dataset).items():
        assert asked_for == answers_of(known, dataset).get(who, set()) | set(known_of(known, dataset)[who])


def test_where_nobody_has_a_history_the_totals_are_over_everybody(parrot: Callable[..., Any]) -> None:
    fold = fold_of(ratings_of(people(6)), held_out(held_out=2, history="none"))
    (judged,) = evaluate(parrot([f"i{i:02}" for i in range(12)]), fold)
    assert judged.counted.all()
    assert judged.segments["no_history"].all()
    assert judged.catalogue["coverage_at_10"] > 0


def test_more_held_out_than_there_are_is_one_clear_error() -> None:
    message = r"held_out = 5 leaves train empty: 6 customers have >= 2 choices.*lower held_out"
    with pytest.raises(DataError, match=message):
        fold_of(ratings_of(people(6)), held_out(held_out=5), final=False)


def test_nobody_with_enough_choices_is_one_clear_error() -> None:
    with pytest.raises(DataError, match="0 customers have >= 20 choices"):
        fold_of(ratings_of(people(6)), held_out(min_events=20))


def test_a_history_of_everything_leaves_nothing_to_judge_by() -> None:
    with pytest.raises(DataError, match="no customer has anything to be judged by"):
        fold_of(ratings_of(people(6)), held_out(history_share=0.99))


def test_one_choice_each_leaves_nothing_to_judge_by() -> None:
    with pytest.raises(DataError, match=r"val: .*leaves train empty|no customer has anything"):
        fold_of(dataset_of([("ann", "apple", 0.0), ("bob", "bread", 1.0)]), LAST, final=False)


Rows = Sequence[tuple[int, int, int]]
worlds = st.lists(st.tuples(st.integers(0, 7), st.integers(0, 9), st.integers(1, 5)), min_size=12, max_size=60)
FIXED = FixedProtocol(kind="fixed", test="t", development_share=0.3)


@given(rows=worlds, final=st.booleans())
@settings(max_examples=80)
@pytest.mark.parametrize("protocol", [LAST, held_out(held_out=2), FIXED], ids=lambda one: one.kind)
def test_in_new_nothing_known_is_relevant_and_no_event_is_on_both_sides(
    protocol: ProtocolConfig, rows: Rows, final: bool
) -> None:
    once = {(who, what): (f"{who}", f"i{what}", place, float(stars)) for place, (who, what, stars) in enumerate(rows)}
    dataset = ratings_of(list(once.values()))
    try:
        fold = fold_of(dataset, protocol, final=final and protocol is not FIXED)
    except DataError:
        return
    learnt = {
        (fold.train.customers.ids[c], fold.train.items.ids[i])
        for c, i in zip(fold.train.events.customer.tolist(), fold.train.events.item.tolist(), strict=True)
    }
    known = {(who, what) for who, fruit in known_of(fold, dataset).items() for what in fruit}
    asked_for = {(who, what) for who, fruit in answers_of(fold, dataset).items() for what in fruit}
    assert asked_for
    assert not asked_for & (learnt | known)  # every pair happens once, so a pair is an event
    if protocol.kind == "held_out_customers":
        assert not {dataset.customers.ids[row] for row in fold.customer} & set(fold.train.customers.ids)
    else:
        assert known <= learnt
