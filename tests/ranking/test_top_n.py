"""One way from scores to a list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from considerate.ranking.history import Bool, Float32, Int32
from considerate.ranking.scores import Scores
from considerate.ranking.top_n import base_of, top_n, top_n_many


def brute_force(values: Float32, n: int, exclude: Int32, allowed: Bool) -> list[int]:
    open_ = [i for i in range(len(values)) if allowed[i] and i not in set(exclude.tolist())]
    return sorted(open_, key=lambda i: (-values[i], i))[:n]


def sparse(base: Float32, touched: dict[int, float]) -> Scores:
    items = np.array(sorted(touched), np.int32)
    return Scores(items, np.array([touched[i] for i in items.tolist()], np.float32), base_of(base))


def test_touched_items_and_the_rest_are_merged_by_score() -> None:
    scores = sparse(np.array([5, 4, 3, 2], np.float32), {0: 1.0, 3: 4.5})
    assert top_n(scores, 4).tolist() == [3, 1, 2, 0]


def test_ties_go_to_the_lower_index_between_touched_and_untouched_too() -> None:
    scores = sparse(np.array([1, 1, 1, 0], np.float32), {1: 1.0, 3: 1.0})
    assert top_n(scores, 3).tolist() == [0, 1, 2]


def test_a_list_is_short_rather_than_padded() -> None:
    scores = sparse(np.zeros(3, np.float32), {})
    assert top_n(scores, 10, exclude=np.array([1], np.int32)).tolist() == [0, 2]
    assert top_n(scores, 10, allowed=np.zeros(3, np.bool_)).tolist() == []
    assert top_n(scores, 0).tolist() == []
    assert top_n_many(np.zeros((2, 3), np.float32), 10)[1].tolist() == [0, 1, 2]
    assert len(top_n_many(np.zeros((2, 3), np.float32), 0).items) == 0


def test_the_block_is_not_changed() -> None:
    block = np.arange(6, dtype=np.float32).reshape(2, 3)
    top_n_many(block, 2, exclude=(np.array([0, 1, 1]), np.array([2], np.int32)))
    assert block.tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("item", [-1, 3])
def test_an_excluded_item_that_is_none_is_refused(item: int) -> None:
    with pytest.raises(ValueError, match=rf"exclude holds {item} to {item}; must be item indices below 3"):
        top_n_many(np.zeros((1, 3), np.float32), 2, exclude=(np.array([0, 1]), np.array([item], np.int32)))


def test_one_allowed_row_for_one_customer_and_scores_in_any_layout() -> None:
    scores = np.asfortranarray(np.array([[1, 3, 2], [3, 1, 2]], np.float32))
    assert [part.tolist() for part in (top_n_many(scores, 2)[0], top_n_many(scores, 2)[1])] == [[1, 2], [0, 2]]
    one = top_n_many(scores[:1], 2, allowed=np.array([[True, False, True]]))
    assert one[0].tolist() == [2, 0]


def test_minus_infinity_is_never_suggested() -> None:
    assert top_n_many(np.array([[0, -np.inf, 1]], np.float32), 3)[0].tolist() == [2, 0]


@settings(max_examples=200)
@given(st.integers(0, 100_000), st.integers(1, 30), st.integers(0, 12), st.booleans())
def test_both_ways_agree_with_sorting_everything(seed: int, n_items: int, n: int, filtered: bool) -> None:
    rng = np.random.default_rng(seed)
    dense = rng.integers(-2, 3, size=(4, n_items)).astype(np.float32)  # many ties
    base = rng.integers(-2, 3, size=n_items).astype(np.float32)
    allowed = rng.random(n_items) < 0.6 if filtered else np.ones(n_items, np.bool_)
    excluded = [np.flatnonzero(rng.random(n_items) < 0.3).astype(np.int32) for _ in range(4)]
    offsets = np.concatenate([[0], np.cumsum([len(part) for part in excluded])]).astype(np.int64)
    block = (offsets, np.concatenate(excluded))
    lists = top_n_many(dense, n, exclude=block, allowed=allowed if filtered else None)
    by_row = top_n_many(dense, n, exclude=block, allowed=np.repeat(allowed[None], 4, axis=0))
    assert len(lists) == 4
    for row in range(4):
        expected = brute_force(dense[row], n, excluded[row], allowed)
        touched = np.flatnonzero(dense[row] != base).astype(np.int32)
        scores = Scores(touched, dense[row][touched], base_of(base))
        assert lists[row].tolist() == by_row[row].tolist() == expected
        assert top_n(scores, n, exclude=excluded[row], allowed=allowed).tolist() == expected
