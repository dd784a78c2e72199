"""Metrics against a known answer, against brute force and against implicit's own evaluation."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from considerate.evaluation.metrics import (
    METRICS,
    PADDING,
    average_precision,
    coverage,
    exposure,
    gini,
    hit_matrix,
    ndcg,
    novelty,
    precision,
    recall,
)

N_ITEMS = 12


@st.composite
def worlds(draw: st.DrawFn) -> tuple[list[list[int]], list[set[int]], int]:
    """Lists (some short), relevant items (at least one each) and k."""
    k = draw(st.integers(1, 6))
    m = draw(st.integers(1, 6))
    one_list = st.lists(st.integers(0, N_ITEMS - 1), max_size=k, unique=True)
    lists = draw(st.lists(one_list, min_size=m, max_size=m))
    relevant = draw(st.lists(st.sets(st.integers(0, N_ITEMS - 1), min_size=1), min_size=m, max_size=m))
    return lists, relevant, k


def as_arrays(lists: list[list[int]], relevant: list[set[int]], k: int) -> tuple[Any, Any, Any]:
    padded = np.array([[*one, *[PADDING] * (k - len(one))] for one in lists], np.int32).reshape(len(lists), k)
    indptr = np.cumsum([0, *(len(one) for one in relevant)]).astype(np.int64)
    items = np.array([item for one in relevant for item in one], np.int32)
    return padded, indptr, items


def brute_force(name: str, suggested: list[int], relevant: set[int], k: int) -> float:
    ranks = [rank for rank, item in enumerate(suggested, start=1) if item in relevant]
    best = min(k, len(relevant))
    answers = {
        "precision": len(ranks) / k,
        "recall": len(ranks) / len(relevant),
        "hit_rate": 1.0 if ranks else 0.0,
        "mrr": 1 / ranks[0] if ranks else 0.0,
        "ndcg": sum(1 / math.log2(r + 1) for r in ranks) / sum(1 / math.log2(r + 1) for r in range(1, best + 1)),
        "map": sum(sum(1 for other in ranks if other <= r) / r for r in ranks) / best,
    }
    return answers[name]


@pytest.mark.parametrize("name", list(METRICS))
@given(world=worlds())
@settings(max_examples=60)
def test_every_metric_equals_brute_force(name: str, world: tuple[list[list[int]], list[set[int]], int]) -> None:
    lists, relevant, k = world
    padded, indptr, items = as_arrays(lists, relevant, k)
    got = METRICS[name](hit_matrix(padded, indptr, items, N_ITEMS), np.diff(indptr))
    expected = [brute_force(name, one, wanted, k) for one, wanted in zip(lists, relevant, strict=True)]
    np.testing.assert_allclose(got, expected, atol=1e-12)


@given(world=worlds())
@settings(max_examples=60)
def test_every_metric_lies_between_0_and_1_and_a_perfect_list_scores_1(
    world: tuple[list[list[int]], list[set[int]], int],
) -> None:
    lists, relevant, k = world
    padded, indptr, items = as_arrays(lists, relevant, k)
    hits = hit_matrix(padded, indptr, items, N_ITEMS)
    for metric in METRICS.values():
        values = metric(hits, np.diff(indptr))
        assert ((values >= 0) & (values <= 1 + 1e-12)).all()
    perfect, indptr, items = as_arrays([sorted(one)[:k] for one in relevant], relevant, k)
    hits = hit_matrix(perfect, indptr, items, N_ITEMS)
    for metric in (ndcg, average_precision):
        np.testing.assert_allclose(metric(hits, np.diff(indptr)), 1.0)


class FixedRecommender:
    """What `implicit.evaluation` asks a model for, answering with lists we choose."""

    def __init__(self, lists: Any) -> None:
        self.lists = lists

    def recommend(self, userid: Any, user_items: Any, N: int = 10, **_: Any) -> tuple[Any, Any]:
        return self.lists[userid, :N], np.zeros((len(userid), N))


def test_ndcg_and_map_equal_those_of_implicit() -> None:
    from implicit.evaluation import ranking_metrics_at_k

    rng = np.random.default_rng(5)
    m, n, k = 300, 80, 10
    relevant = rng.random((m, n)) < rng.uniform(0.01, 0.4, (m, 1))
    relevant[np.arange(m), rng.integers(0, n, m)] = True
    lists = np.argsort(rng.random((m, n)), axis=1)[:, :k].astype(np.int32)
    theirs = ranking_metrics_at_k(
        FixedRecommender(lists),
        csr_matrix((m, n), dtype=np.float32),
        csr_matrix(relevant.astype(np.float32)),
        K=k,
        show_progress=False,
        num_threads=1,
    )
    hits = hit_matrix(lists, *_indptr_and_items(relevant), n)
    sizes = relevant.sum(axis=1)
    assert ndcg(hits, sizes).mean() == pytest.approx(theirs["ndcg"], abs=1e-12)
    assert average_precision(hits, sizes).mean() == pytest.approx(theirs["map"], abs=1e-12)
    # Its precision divides all hits by sum(min(k, relevant)); ours divides by k, as the textbook does.
    assert hits.sum() / np.minimum(sizes, k).sum() == pytest.approx(theirs["precision"], abs=1e-12)
    assert precision(hits, sizes).mean() == pytest.approx(hits.sum() / (m * k))


def _indptr_and_items(relevant: Any) -> tuple[Any, Any]:
    rows, items = np.nonzero(relevant)
    return np.searchsorted(rows, np.arange(len(relevant) + 1)), items.astype(np.int32)


def test_an_empty_place_is_a_miss_even_where_the_last_item_is_relevant() -> None:
    lists = np.array([[PADDING, PADDING]], np.int32)
    hits = hit_matrix(lists, np.array([0, 1]), np.array([N_ITEMS - 1], np.int32), N_ITEMS)
    assert not hits.any()


def test_precision_divides_by_k_and_recall_by_the_relevant_items() -> None:
    hits = np.array([[True, False, False, False, True]])
    assert precision(hits, np.array([8])).tolist() == [0.4]
    assert recall(hits, np.array([8])).tolist() == [0.25]


def test_coverage_and_gini_of_a_known_exposure() -> None:
    exposed = exposure(np.array([[0, 1], [0, PADDING], [0, 2]], np.int32), 4)
    assert exposed.tolist() == [3, 1, 1, 0]
    assert coverage(exposed) == 0.75
    assert gini(exposed) == pytest.approx(0.45)  # mean absolute difference 18 / 16 over twice the mean, 2.5
    assert gini(np.zeros(4, np.int64)) == 0.0


@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
@settings(max_examples=60)
def test_gini_equals_half_the_relative_mean_difference(counts: list[int]) -> None:
    array = np.array(counts, np.int64)
    if not array.sum():
        assert gini(array) == 0
        return
    difference = np.abs(array[:, None] - array[None, :]).mean()
    assert gini(array) == pytest.approx(difference / (2 * array.mean()), abs=1e-9)


def test_novelty_is_the_mean_surprise_in_bits() -> None:
    lists = np.array([[0, 1], [1, PADDING], [PADDING, PADDING]], np.int32)
    bits = novelty(lists, np.array([8, 2]), 8)
    assert bits.tolist() == [1.0, 2.0, 0.0]  # -log2(1) = 0 and -log2(1/4) = 2


def test_an_item_nobody_has_is_as_new_as_one_that_a_single_customer_has() -> None:
    assert novelty(np.array([[0]], np.int32), np.array([0]), 8).tolist() == [3.0]
