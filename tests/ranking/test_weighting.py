"""How events become weights."""

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from written import NOW, histories_of, history_of, random_history, without

from considerate.errors import DataError
from considerate.ranking.history import Histories, History, Kind
from considerate.ranking.leave_one_out import leave_one_out
from considerate.ranking.weighting import Weighting, weigh, weigh_one


def weights(history: History, weighting: Weighting) -> dict[int, Any]:
    items, x = weigh_one(history, weighting, at=NOW)
    return {int(item): pytest.approx(float(value)) for item, value in zip(items, x, strict=True)}


def test_a_purchase_weighs_one_and_two_weigh_two() -> None:
    assert weights(history_of([(3, 1), (1, 5), (3, 9)]), Weighting()) == {1: 1.0, 3: 2.0}


def test_an_event_weighs_half_after_its_half_life() -> None:
    assert weights(history_of([(0, 30), (1, 60)]), Weighting(half_life_days=30)) == {0: 0.5, 1: 0.25}


def test_an_event_after_the_moment_of_asking_weighs_as_if_it_were_now() -> None:
    assert weights(history_of([(0, -3)]), Weighting(half_life_days=1)) == {0: 1.0}


def test_half_life_in_events_needs_no_time() -> None:
    history = history_of([(0, float("nan"))] * 1 + [(1, float("nan"))])
    assert weights(history, Weighting(half_life_events=1)) == {0: 0.5, 1: 1.0}


@pytest.mark.parametrize(("repeats", "expected"), [("sum", 4), ("max", 1), ("sqrt", 2), ("log", np.log(5))])
def test_repeats_are_joined_as_the_rule_says(repeats: str, expected: float) -> None:
    assert weights(history_of([(2, 1)] * 4), Weighting(repeats=repeats)) == {2: expected}


@pytest.mark.parametrize(("normalisation", "expected"), [("l1", [0.75, 0.25]), ("l2", [0.9486833, 0.3162278])])
def test_a_row_is_divided_by_its_norm(normalisation: str, expected: list[float]) -> None:
    history = history_of([(0, 1)] * 3 + [(1, 1)])
    assert list(weights(history, Weighting(normalisation=normalisation)).values()) == expected


def test_a_rating_counts_relative_to_the_customers_own_mean() -> None:
    history = history_of([(0, 3, Kind.RATING, 5.0), (1, 2, Kind.RATING, 3.0), (2, 1, Kind.RATING, 1.0)])
    assert weights(history, Weighting(rating_slope=1.0)) == {0: 3.0, 1: 1.0, 2: -1.0}


def test_ratings_that_are_all_equal_weigh_one_each() -> None:
    history = history_of([(item, 9 - item, Kind.RATING, 2.0) for item in range(3)])
    assert weights(history, Weighting(rating_slope=1.0)) == {0: 1.0, 1: 1.0, 2: 1.0}


def test_a_rating_below_the_least_weighs_nothing_but_counts_for_the_mean() -> None:
    history = history_of([(0, 3, Kind.RATING, 5.0), (1, 2, Kind.RATING, 1.0), (2, 1, Kind.RATING, float("nan"))])
    assert weights(history, Weighting(rating_slope=0.5, min_rating=4.0)) == {0: 2.0}


def test_the_least_rating_says_nothing_of_purchases() -> None:
    assert weights(history_of([(0, 1), (1, 1, Kind.RATING, 3.0)]), Weighting(min_rating=4.0)) == {0: 1.0}


@pytest.mark.parametrize(
    "wrong",
    [
        {"kinds": {"purchase": float("nan")}},
        {"kinds": {"purchase": float("inf")}},
        {"kinds": {"bought": 1.0}},
        {"rating_slope": -0.1},
        {"rating_slope": float("nan")},
        {"min_rating": float("nan")},
        {"half_life_days": 0.0},
        {"half_life_events": float("nan")},
        {"half_life_events": -1.0},
        {"max_items": 0},
    ],
)
def test_weights_that_are_no_number_or_run_backwards_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Weighting.model_validate(wrong)


def test_a_dismissal_lowers_and_is_never_read_as_a_purchase() -> None:
    assert weights(history_of([(0, 1, Kind.DISMISS)]), Weighting()) == {0: -1.0}


def test_a_kind_that_is_not_named_weighs_nothing() -> None:
    assert weights(history_of([(0, 1, Kind.VIEW), (1, 1)]), Weighting(kinds={"purchase": 1.0})) == {1: 1.0}


def test_only_the_newest_items_count() -> None:
    history = history_of([(0, 9), (1, 8), (2, 7), (0, 1)])
    assert weights(history, Weighting(max_items=2)) == {0: 2.0, 2: 1.0}


def test_the_cap_holds_for_each_customer_alone() -> None:
    long, short = history_of([(0, 9), (1, 8), (2, 7)]), history_of([(0, 9)])
    x = weigh(histories_of([short, long, short]), Weighting(max_items=2), at=NOW, n_items=3)
    assert x.toarray().tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 0]]


def test_a_half_life_without_times_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(DataError, match=r"half_life_days needs the time of every event.*map a timestamp column"):
        weigh_one(history_of([(0, float("nan"))]), Weighting(half_life_days=3), at=NOW)
    with pytest.raises(DataError, match="half_life_days"):
        weigh_one(history_of([(0, 1)]), Weighting(half_life_days=3), at=None)


def test_customers_without_events_are_empty_rows() -> None:
    assert weigh(Histories.empty(3), Weighting(half_life_days=3, normalisation="l2"), at=NOW, n_items=4).nnz == 0


RULES = st.builds(
    Weighting,
    rating_slope=st.sampled_from([0.0, 0.5]),
    min_rating=st.sampled_from([None, 3.0]),
    half_life_days=st.sampled_from([None, 20.0]),
    half_life_events=st.sampled_from([None, 3.0]),
    repeats=st.sampled_from(["sum", "max", "sqrt", "log"]),
    normalisation=st.sampled_from(["none", "l1", "l2"]),
)


@settings(max_examples=150)
@given(RULES, st.integers(0, 10_000), st.integers(1, 12), st.booleans())
def test_leaving_one_out_equals_weighing_the_rest(rule: Weighting, seed: int, n: int, ratings: bool) -> None:
    history = random_history(np.random.default_rng(seed), 6, n, ratings=ratings)
    left = leave_one_out(history, rule, at=NOW)
    rows = left.in_full()
    column = np.random.default_rng(0).normal(size=len(left.items))
    for event in range(n):
        expected = np.zeros(6)
        items, x = weigh_one(without(history, event), rule, at=NOW)
        expected[items] = x
        np.testing.assert_allclose(rows[event], expected[left.items], atol=2e-6)
    np.testing.assert_allclose(left.dot(column), rows @ column, atol=1e-9)


def test_without_the_only_rating_nothing_else_changes() -> None:
    history = history_of([(0, 3, Kind.RATING, 5.0), (1, 2)])
    left = leave_one_out(history, Weighting(rating_slope=1.0), at=NOW)
    assert left.in_full().tolist() == [[0.0, 1.0], [1.0, 0.0]]


@pytest.mark.parametrize("repeats", ["sum", "log"])
def test_a_long_history_is_left_out_event_by_event_in_bounded_memory(repeats: str) -> None:
    rng = np.random.default_rng(0)
    rule = Weighting.model_validate({"half_life_events": 20.0, "rating_slope": 0.3, "repeats": repeats})
    history = random_history(rng, 40, 3_000, ratings=True)
    left = leave_one_out(history, rule, at=NOW)
    column = rng.normal(size=len(left.items))
    products = left.dot(column)
    whole = np.zeros(40)
    for event in (0, 1_500, 2_990, 2_999):
        items, x = weigh_one(without(history, event), rule, at=NOW)
        whole[:] = 0.0
        whole[items] = x
        assert products[event] == pytest.approx(float(whole[left.items] @ column), abs=1e-5)


def test_a_history_of_fifty_thousand_events_is_explained_at_once() -> None:
    history = random_history(np.random.default_rng(0), 500, 50_000, ratings=True)
    left = leave_one_out(history, Weighting(half_life_events=20.0), at=NOW)
    assert np.isfinite(left.dot(np.ones(len(left.items)))).all()


@settings(max_examples=50)
@given(RULES, st.integers(0, 10_000))
def test_a_block_weighs_each_customer_as_alone(rule: Weighting, seed: int) -> None:
    rng = np.random.default_rng(seed)
    parts = [random_history(rng, 8, int(rng.integers(0, 9)), ratings=True) for _ in range(4)]
    block = weigh(histories_of(parts), rule, at=NOW + timedelta(days=1), n_items=8).toarray()
    for row, part in zip(block, parts, strict=True):
        alone = weigh(histories_of([part]), rule, at=NOW + timedelta(days=1), n_items=8).toarray()[0]
        np.testing.assert_allclose(row, alone, rtol=1e-6)
