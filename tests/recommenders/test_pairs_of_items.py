"""Models of pairs of items, against the same sums written out densely, and on data that break things."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from worlds import Row, checkerboard, dataset_of, taste_world

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.ranking.history import Kind
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.top_n import top_n
from considerate.ranking.weighting import Weighting
from considerate.recommenders import ease, graph_filter, item_knn
from considerate.recommenders.neighbours import largest_weights, nearest_items, regressed
from considerate.recommenders.positive import positive_user_items

Matrix = np.ndarray[Any, Any]
Fit = Callable[[Dataset], LinearItems]


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def ease_of(dataset: Dataset, **params: Any) -> LinearItems:
    return ease.fit(dataset, ease.Params.model_validate({"min_customers": 1, "regularization": 2.0} | params), rng())


def filter_of(dataset: Dataset, **params: Any) -> LinearItems:
    return graph_filter.fit(dataset, graph_filter.Params.model_validate({"rank": 4} | params), rng())


def regressed_filter_of(dataset: Dataset) -> LinearItems:
    return filter_of(dataset, ridge=1.0, ridge_weight=0.7)


def knn_of(dataset: Dataset) -> LinearItems:
    return item_knn.fit(dataset, item_knn.Params(), rng())


MODELS: list[Fit] = [ease_of, filter_of, regressed_filter_of, knn_of]


def weighed(dataset: Dataset) -> Matrix:
    return np.asarray(dataset.user_items(Weighting(), None).toarray(), np.float64)


@pytest.mark.parametrize("fit", [ease_of, filter_of, regressed_filter_of])
def test_what_is_missing_on_the_checkerboard_is_found(fit: Fit) -> None:
    dataset = dataset_of(checkerboard())
    artefact = fit(dataset)
    for customer in range(10):
        own = [item for item in range(10) if item % 2 == customer % 2]
        history = dataset.events[dataset.customers.index(f"household-{customer:03}")]
        best = top_n(artefact.score(history, at=dataset.end, goal="new"), 1, exclude=history.item)
        assert best.tolist() == [own[(customer // 2) % len(own)]]


def test_ease_is_the_ridge_regression_of_each_item_on_all_others() -> None:
    dataset = dataset_of(taste_world())
    x = weighed(dataset)
    found = ease_of(dataset, regularization=3.0).similarity.toarray()
    for item in (0, 7, 39):
        others = np.arange(x.shape[1]) != item
        ridge = np.linalg.solve(
            x[:, others].T @ x[:, others] + 3.0 * np.eye(x.shape[1] - 1), x[:, others].T @ x[:, item]
        )
        np.testing.assert_allclose(found[others, item], ridge, atol=1e-4)
        assert found[item, item] == 0


@pytest.mark.parametrize("regularization", [1e-4, 1e4])
def test_ease_is_accurate_for_a_weak_and_for_a_strong_ridge(regularization: float) -> None:
    x = csr_matrix(weighed(dataset_of(taste_world())).astype(np.float32))
    dense = x.toarray().astype(np.float64)
    inverse = np.linalg.inv(dense.T @ dense + regularization * np.eye(dense.shape[1]))
    expected = -inverse / np.diag(inverse)
    found = ease.weights_of(x, regularization)
    assert found.dtype == (np.float64 if regularization < 1 else np.float32)
    np.fill_diagonal(expected, 0)
    np.fill_diagonal(found, 0)
    np.testing.assert_allclose(found, expected, rtol=2e-3, atol=1e-6)


def test_ease_is_the_same_in_one_block_and_in_many() -> None:
    x = dataset_of(taste_world()).user_items(Weighting(), None)
    np.testing.assert_allclose(ease.weights_of(x, 5.0, block=7), ease.weights_of(x, 5.0), rtol=1e-6)


def test_ease_keeps_the_largest_by_absolute_value_of_the_common_pairs() -> None:
    dataset = dataset_of(taste_world(), k_pair=6)
    x = weighed(dataset)
    whole = np.asarray(ease.weights_of(csr_matrix(x.astype(np.float32)), 2.0), np.float64)
    together = (x > 0).T.astype(int) @ (x > 0).astype(int)
    whole[together < 6] = 0
    np.fill_diagonal(whole, 0)
    kept = ease_of(dataset, neighbours=4).similarity
    assert (np.diff(kept.indptr) <= 4).all()
    for row in range(len(whole)):
        best = sorted(np.flatnonzero(whole[row]).tolist(), key=lambda i: (-abs(whole[row, i]), i))[:4]
        assert kept[row].indices.tolist() == sorted(best)
    assert (kept.data < 0).any()


def test_ease_leaves_out_items_of_few_customers() -> None:
    rows: list[Row] = [*checkerboard(), ("household-000", "rare", 1.0), ("household-002", "rare", 1.0)]
    dataset = dataset_of(rows)
    similarity = ease_of(dataset, min_customers=3).similarity.toarray()
    rare = dataset.items.index("rare")
    assert not similarity[rare].any()
    assert not similarity[:, rare].any()
    assert similarity.any()
    assert ease_of(dataset, min_customers=51).similarity.nnz == 0


def test_too_many_items_for_ease_are_an_error_that_names_the_way_out() -> None:
    message = (
        r"ease: 10 items have >= min_customers = 1 customers; must be <= max_items = 9, for a dense inverse: "
        "fit graph_filter, which has no such limit, or raise min_customers"
    )
    with pytest.raises(DataError, match=message):
        ease_of(dataset_of(checkerboard()), max_items=9)


def test_a_graph_filter_is_the_formula_written_out() -> None:
    dataset = dataset_of(taste_world())
    params = {"customer_exponent": 0.4, "item_exponent": 0.6, "history_exponent": 0.3, "output_exponent": 0.7}
    artefact = filter_of(dataset, low_rank_weight=0.8, rank=5, **params)
    x = weighed(dataset)
    customer, item = x.sum(axis=1), x.sum(axis=0)
    normalised = x / customer[:, None] ** 0.4 / item**0.6
    near = normalised.T @ normalised
    np.fill_diagonal(near, 0)
    vectors = np.linalg.svd(normalised)[2][:5].T
    whole = near + 0.8 * vectors @ vectors.T
    expected = x @ (whole * item[:, None] ** -0.3 * item**0.7)
    scores = artefact.score_many(dataset.events, at=dataset.end, goal="all") - artefact.base.values
    np.testing.assert_allclose(scores, expected, rtol=1e-3, atol=1e-4 * expected.max())


@pytest.mark.parametrize("neighbours", [40, 6])
def test_neighbours_explain_an_item_together_by_a_ridge_regression(neighbours: int) -> None:
    x = csr_matrix(weighed(dataset_of(taste_world(), k_pair=3)).astype(np.float32))
    near = nearest_items(x, neighbours=neighbours, k_pair=3)
    found = regressed(near, x, ridge=0.5, width=40).toarray()
    dense = x.toarray().astype(np.float64)
    gram = dense.T @ dense
    ridge = 0.5 * np.diag(gram).mean()
    for item in (0, 11, 39):
        predictors = near[item].indices
        expected = np.linalg.solve(
            gram[np.ix_(predictors, predictors)] + ridge * np.eye(len(predictors)), gram[predictors, item]
        )
        np.testing.assert_allclose(found[predictors, item], expected, rtol=1e-3, atol=1e-4)
        assert np.count_nonzero(found[:, item]) <= len(predictors)


def test_the_near_filter_is_the_weighted_sum_of_the_product_and_the_regression() -> None:
    dataset = dataset_of(taste_world(), k_pair=3)
    product = filter_of(dataset).similarity.toarray()
    together = filter_of(dataset, product_weight=0.0, ridge_weight=1.0).similarity.toarray()
    both = filter_of(dataset, product_weight=0.5, ridge_weight=2.0).similarity.toarray()
    np.testing.assert_allclose(both, 0.5 * product + 2.0 * together, rtol=1e-4, atol=1e-6)
    assert (together < 0).any()
    assert filter_of(dataset, product_weight=0.0).similarity.nnz == 0


def test_tastes_have_a_fixed_sign() -> None:
    artefact = filter_of(dataset_of(taste_world()), output_exponent=0.0)
    assert artefact.low_rank is not None
    b = artefact.low_rank.b
    assert (b[np.argmax(np.abs(b), axis=0), np.arange(b.shape[1])] > 0).all()


@pytest.mark.parametrize("rank", [40, 1000])
def test_a_rank_above_the_number_of_items_is_all_there_is(rank: int) -> None:
    dataset = dataset_of(taste_world())
    artefact = filter_of(dataset, rank=rank)
    assert artefact.low_rank is not None
    assert artefact.low_rank.b.shape == (40, 40)
    assert np.isfinite(artefact.score_many(dataset.events, at=dataset.end, goal="new")).all()


def test_a_filter_without_a_far_side_keeps_no_low_rank_part() -> None:
    dataset = dataset_of(taste_world())
    assert filter_of(dataset, rank=0).low_rank is None
    assert filter_of(dataset, low_rank_weight=0.0).low_rank is None


@pytest.mark.parametrize("fit", MODELS)
def test_one_item_and_nothing_to_compare(fit: Fit) -> None:
    dataset = dataset_of([(f"c{c}", "only", float(c)) for c in range(6)])
    artefact = fit(dataset)
    assert artefact.similarity.nnz == 0
    assert top_n(artefact.score(dataset.events[0], at=dataset.end, goal="new"), 5).tolist() == [0]
    assert (
        top_n(artefact.score(dataset.events[0], at=dataset.end, goal="new"), 5, exclude=dataset.events[0].item).size
        == 0
    )


@pytest.mark.parametrize("fit", MODELS)
def test_an_item_that_nobody_bought_is_reached_by_nothing(fit: Fit) -> None:
    rows: list[Row] = [
        *checkerboard(),
        ("household-000", "seen", 1.0, Kind.DISMISS),
        ("household-001", "seen", 2.0, Kind.VIEW, 0.0),
    ]
    dataset = dataset_of(rows)
    dataset_items = dataset.items.index("seen")
    artefact = fit(dataset_of([row for row in rows if len(row) < 4 or row[3] != Kind.VIEW]))
    scores = artefact.score_many(dataset.events, at=dataset.end, goal="new")
    assert np.isfinite(scores).all()
    assert (scores[:, dataset_items] == artefact.base.values[dataset_items]).all()


@pytest.mark.parametrize("fit", MODELS)
def test_who_bought_everything_gets_an_empty_list_of_new_items(fit: Fit) -> None:
    everything = [("all", f"i{item:02}", float(item)) for item in range(10)]
    dataset = dataset_of([*checkerboard(), *everything])
    artefact, history = fit(dataset), dataset.events[dataset.customers.index("all")]
    assert top_n(artefact.score(history, at=dataset.end, goal="new"), 5, exclude=history.item).tolist() == []
    assert len(top_n(artefact.score(history, at=dataset.end, goal="repeat"), 5)) == 5


@pytest.mark.parametrize("fit", MODELS)
def test_only_dismissals_are_no_evidence_of_any_pair(fit: Fit) -> None:
    dataset = dataset_of([(f"c{c}", item, 1.0, Kind.DISMISS) for c in range(6) for item in ("a", "b")])
    artefact = fit(dataset)
    assert artefact.similarity.nnz == 0
    assert artefact.low_rank is None
    assert np.isfinite(artefact.score_many(dataset.events, at=dataset.end, goal="new")).all()


@pytest.mark.parametrize("fit", MODELS)
def test_ratings_without_a_value_and_duplicates_fit(fit: Fit) -> None:
    nan = float("nan")
    rows: list[Row] = [(f"c{c}", f"i{i}", 1.0, Kind.RATING, nan if c == 0 else 3.0) for c in range(6) for i in range(4)]
    dataset = dataset_of([*rows, *rows])
    artefact = fit(dataset)
    assert np.isfinite(artefact.similarity.data).all()
    assert np.isfinite(artefact.score_many(dataset.events, at=dataset.end, goal="new")).all()


@pytest.mark.parametrize("fit", MODELS)
def test_a_history_of_50_000_events_is_fitted_and_scored(fit: Fit) -> None:
    generator = np.random.default_rng(0)
    long: list[Row] = [
        ("long", f"i{i:03}", day)
        for i, day in zip(
            generator.integers(40, size=50_000).tolist(), generator.uniform(0, 100, 50_000).tolist(), strict=True
        )
    ]
    dataset = dataset_of([*taste_world(), *long])
    artefact = fit(dataset)
    assert np.isfinite(artefact.score_many(dataset.events, at=dataset.end, goal="all")).all()


def test_the_filters_bytes_do_not_depend_on_the_order_of_neighbours_found() -> None:
    x = positive_user_items(dataset_of(taste_world()), Weighting())
    once, again = (nearest_items(x, neighbours=7, k_pair=2) for _ in range(2))
    for part in ("data", "indices", "indptr"):
        assert getattr(once, part).tobytes() == getattr(again, part).tobytes()


def test_ties_between_neighbours_go_to_the_lower_item() -> None:
    x = csr_matrix(np.ones((5, 6), np.float32))
    kept = nearest_items(x, neighbours=2, k_pair=1)
    assert [kept[row].indices.tolist() for row in range(6)] == [[1, 2], [0, 2], [0, 1], [0, 1], [0, 1], [0, 1]]
    weights = np.array([[9.0, -1, 1, 1], [1, 9, 1, 1], [0, -3, 9, 2], [0, 0, 0, 9]])
    kept = largest_weights(weights, csr_matrix(np.ones((2, 4), np.float32)), neighbours=2, k_pair=2)
    assert kept.toarray().tolist() == [[0, -1, 1, 0], [1, 0, 1, 0], [0, -3, 0, 2], [0, 0, 0, 0]]
    assert largest_weights(weights, csr_matrix(np.ones((2, 4), np.float32)), neighbours=2, k_pair=3).nnz == 0
