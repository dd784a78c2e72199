"""Small worlds whose right answer is known."""

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits
from worlds import checkerboard, dataset_of, taste_world

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.ranking.history import Kind
from considerate.ranking.scores import Artefact, Goal
from considerate.ranking.top_n import top_n
from considerate.ranking.weighting import Weighting, weigh_one
from considerate.recommenders import als, buy_again, item_knn, popularity
from considerate.recommenders.neighbours import nearest_items

NAN = float("nan")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def order(artefact: Artefact, dataset: Dataset, customer: str, goal: Goal = "new") -> list[str]:
    history = dataset.events[dataset.customers.index(customer)]
    exclude = history.item if goal == "new" else None
    best = top_n(artefact.score(history, at=dataset.end, goal=goal), 3, exclude=exclude)
    return [artefact.item_ids[i] for i in best.tolist()]


def test_popularity_counts_each_customer_once() -> None:
    dataset = dataset_of([("a", "x", 1), ("a", "x", 2), ("a", "x", 3), ("b", "y", 3), ("c", "y", 3)])
    artefact = popularity.fit(dataset, popularity.Params(), rng())
    np.testing.assert_allclose(artefact.base.values, [1 / 3, 2 / 3])


def test_popularity_takes_the_latest_event_and_halves_it_by_its_age() -> None:
    dataset = dataset_of([("a", "x", 0), ("a", "x", 10), ("b", "y", 30)])
    artefact = popularity.fit(dataset, popularity.Params(half_life_days=10), rng())
    np.testing.assert_allclose(artefact.base.values, [0.25 / 2, 1 / 2])


def test_popularity_does_not_count_dismissals_and_views() -> None:
    dataset = dataset_of([("a", "x", 0, Kind.DISMISS), ("b", "x", 0, Kind.VIEW), ("c", "y", 0)])
    assert popularity.fit(dataset, popularity.Params(), rng()).base.values[0] == 0


def test_a_half_life_on_data_without_time_is_an_error() -> None:
    dataset = dataset_of([("a", "x", NAN), ("b", "y", NAN)])
    with pytest.raises(DataError, match="half_life_days needs the time"):
        popularity.fit(dataset, popularity.Params(half_life_days=10), rng())
    with pytest.raises(DataError, match="buy_again needs the time of every purchase"):
        buy_again.fit(dataset, buy_again.Params(), rng())
    assert popularity.fit(dataset, popularity.Params(), rng()).base.values.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("similarity", ["tfidf", "bm25", "cosine"])
def test_neighbours_find_what_is_missing_on_the_checkerboard(similarity: str) -> None:
    dataset = dataset_of(checkerboard())
    artefact = item_knn.fit(dataset, item_knn.Params.model_validate({"similarity": similarity}), rng())
    for customer in range(10):
        own = [item for item in range(10) if item % 2 == customer % 2]
        missing = own[(customer // 2) % len(own)]
        assert order(artefact, dataset, f"household-{customer:03}")[0] == f"i{missing:02}"


def test_factors_find_what_is_missing_on_the_checkerboard() -> None:
    dataset = dataset_of(checkerboard())
    artefact = als.fit(dataset, als.Params(factors=3, regularization=0.01, alpha=2.0), rng())
    for customer in range(10):
        own = [item for item in range(10) if item % 2 == customer % 2]
        missing = own[(customer // 2) % len(own)]
        assert order(artefact, dataset, f"household-{customer:03}")[0] == f"i{missing:02}"
    assert all(item % 2 == 0 for item in artefact.similar(0, 4)[0].tolist())


def test_more_factors_than_items_still_fit() -> None:
    dataset = dataset_of(checkerboard(n_customers=8, n_items=4))
    artefact = als.fit(dataset, als.Params(factors=32), rng())
    assert np.isfinite(artefact.item_vectors).all()


def test_the_number_of_threads_does_not_show_in_the_factors() -> None:
    dataset = dataset_of(taste_world())
    one, two, again = (als.fit(dataset, als.Params(num_threads=n), rng()).item_vectors for n in (1, 2, 2))
    assert np.array_equal(one, two)
    assert np.array_equal(two, again)


@pytest.mark.parametrize("weighting", [Weighting(), Weighting(half_life_days=20), Weighting(repeats="log")])
def test_the_fold_in_is_implicits_recalculate_user(weighting: Weighting) -> None:
    rows = taste_world() + [("household-005", f"i{item:03}", 50.0, Kind.DISMISS) for item in (1, 2, 3)]
    dataset = dataset_of(rows)
    params = als.Params(factors=16, regularization=0.5, alpha=3.0, iterations=5, weighting=weighting)
    artefact = als.fit(dataset, params, rng())
    x = dataset.user_items(weighting, dataset.end)
    with threadpool_limits(limits=1, user_api="blas"):
        theirs = AlternatingLeastSquares(factors=16, regularization=0.5, alpha=3.0, iterations=5, random_state=rng())
        theirs.fit(als.confidences(dataset, params), show_progress=False)
        assert np.array_equal(theirs.item_factors, artefact.item_vectors)
        expected = theirs.recalculate_user(np.arange(len(dataset.customers)), x)
    # implicit has no way to say that an item is to fall below what was never seen.
    for customer in np.flatnonzero(x.min(axis=1).toarray().ravel() >= 0).tolist():
        items, weights = weigh_one(dataset.events[customer], weighting, at=dataset.end)
        np.testing.assert_allclose(artefact.fold_in(items, weights), expected[customer], atol=2e-4, rtol=1e-3)


def test_a_pair_of_too_few_customers_leaves_room_for_a_common_one() -> None:
    # x and rare share their only customer: the nearest by far, and not to be kept.
    rows = [("a", "rare", 1.0), ("a", "x", 1.0), *((f"b{i}", item, 1.0) for i in range(5) for item in ("x", "y"))]
    dataset = dataset_of(rows)
    kept = nearest_items(dataset.user_items(Weighting(), None), neighbours=1, k_pair=5)
    pairs = {(dataset.items.ids[r], dataset.items.ids[c]) for r, c in zip(*kept.nonzero(), strict=True)}
    assert pairs == {("x", "y"), ("y", "x")}


def test_neighbours_equal_the_whole_product_cut_to_k() -> None:
    x = dataset_of(taste_world()).user_items(Weighting(), None)
    whole, together = (x.T @ x).toarray().astype(np.float64), ((x > 0).T.astype(int) @ (x > 0).astype(int)).toarray()
    whole[together < 4] = 0
    np.fill_diagonal(whole, 0)
    kept = nearest_items(x, neighbours=5, k_pair=4).toarray()
    for row in range(len(whole)):
        best = sorted(np.flatnonzero(whole[row]).tolist(), key=lambda i: (-whole[row, i], i))[:5]
        assert np.flatnonzero(kept[row]).tolist() == sorted(best)
        np.testing.assert_allclose(kept[row, best], whole[row, best], rtol=1e-6)
