"""Small worlds whose right answer is known."""

from datetime import timedelta

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits
from worlds import START, Row, checkerboard, dataset_of, taste_world

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError, DataError
from considerate.ranking.history import Kind
from considerate.ranking.scores import Artefact, Goal
from considerate.ranking.top_n import top_n
from considerate.ranking.weighting import Weighting, weigh_one
from considerate.recommenders import als, blend, buy_again, item_knn, popularity
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
        theirs.fit(x, show_progress=False)
        assert np.array_equal(theirs.item_factors, artefact.item_vectors)
        expected = theirs.recalculate_user(np.arange(len(dataset.customers)), x)
    for customer in range(len(dataset.customers)):
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


def test_what_is_bought_often_and_lately_comes_again() -> None:
    rows = [("a", "often", day) for day in (10.0, 20, 30)] + [("a", "once", 30.0), ("a", "long ago", -300.0)]
    dataset = dataset_of([*rows, ("b", "never hers", 30.0)])
    artefact = buy_again.fit(dataset, buy_again.Params(), rng())
    assert order(artefact, dataset, "a", "repeat") == ["often", "once", "long ago"]
    assert len(artefact.similar(0, 5)[0]) == 0


def test_an_item_fades_once_its_own_rhythm_has_passed() -> None:
    # Milk every 5 days and coffee every 40, both last bought 40 days ago.
    rows = [("a", "milk", float(day)) for day in range(0, 61, 5)] + [("a", "coffee", float(day)) for day in (20, 60)]
    rows += [("b", "milk", 100.0)]
    dataset = dataset_of(rows)
    history = dataset.events[0]
    fading = buy_again.fit(dataset, buy_again.Params(half_life_days=10_000, lapse=1.0), rng())
    at = START + timedelta(days=100)
    scores = fading.score(history, at=at, goal="repeat")
    assert fading.item_ids[int(top_n(scores, 1)[0])] == "coffee"


def test_a_gap_of_too_few_households_is_everybodys() -> None:
    rows = [(f"{c}", "common", day) for c in "abcdef" for day in (0.0, 10.0)]
    rows += [("a", "rare", day) for day in (0.0, 90.0)]
    dataset = dataset_of(rows, k_item=5)
    artefact = buy_again.fit(dataset, buy_again.Params(), rng())
    usual = np.exp((6 * np.log(10) + np.log(90)) / 7)
    assert artefact.gap_days[1] == pytest.approx(usual)
    assert artefact.gap_days[0] < usual


def test_a_blend_is_the_weighted_sum_of_its_scaled_components() -> None:
    dataset = dataset_of(taste_world())
    parts: dict[str, Artefact] = {
        "few": popularity.fit(dataset, popularity.Params(), rng()),
        "near": item_knn.fit(dataset, item_knn.Params(), rng()),
    }
    weights = {"repeat": {"near": 1.0}, "new": {"near": 2.0, "few": 0.5}, "all": {"few": 1.0}}
    artefact = blend.fit(dataset, blend.Params.model_validate({"weights": weights}), rng(), lambda _: parts)
    scales = artefact.manifest.settings["scales"]
    block = dataset.events.take(np.arange(10))
    near = parts["near"].score_many(block, at=dataset.end, goal="new") / scales["near"]
    few = parts["few"].score_many(block, at=dataset.end, goal="new") / scales["few"]
    blended = artefact.score_many(block, at=dataset.end, goal="new")
    np.testing.assert_allclose(blended, 2 * near + 0.5 * few, rtol=1e-4)
    assert artefact.base.order.tolist() == parts["few"].base.order.tolist()
    assert artefact.similar(0, 5)[0].tolist() == parts["near"].similar(0, 5)[0].tolist()


def test_a_component_that_has_only_its_tail_does_not_become_popularity() -> None:
    rated = [(f"c{c}", item, float(c), Kind.RATING, 4.0) for c in range(6) for item in ("a", "b")]
    dataset = dataset_of(rated)
    parts: dict[str, Artefact] = {
        "again": buy_again.fit(dataset, buy_again.Params(), rng()),
        "few": popularity.fit(dataset, popularity.Params(), rng()),
    }
    weights = {goal: {"again": 1.0, "few": 0.01} for goal in ("repeat", "new", "all")}
    artefact = blend.fit(dataset, blend.Params.model_validate({"weights": weights}), rng(), lambda _: parts)
    assert artefact.manifest.settings["scales"]["again"] == 1.0
    without = parts["few"].score_many(dataset.events, at=dataset.end, goal="all")
    blended = artefact.score_many(dataset.events, at=dataset.end, goal="all")
    scaled = 0.01 * without / artefact.manifest.settings["scales"]["few"]
    np.testing.assert_allclose(blended, scaled, rtol=1e-3, atol=1e-5)


def test_buying_again_asks_for_the_time_of_purchases_alone() -> None:
    rows: list[Row] = [("a", "x", 0.0), ("a", "x", 9.0), ("b", "x", 3.0), ("b", "y", float("nan"), Kind.LIKE)]
    dataset = dataset_of(rows)
    assert len(buy_again.fit(dataset, buy_again.Params(), rng()).gap_days) == 2
    with pytest.raises(DataError, match="buy_again needs the time of every purchase"):
        buy_again.fit(dataset_of([*rows, ("b", "x", float("nan"))]), buy_again.Params(), rng())


def test_a_blend_of_unknown_or_weightless_components_is_an_error() -> None:
    dataset = dataset_of(checkerboard())
    parts: dict[str, Artefact] = {"few": popularity.fit(dataset, popularity.Params(), rng())}

    def params(new: dict[str, float]) -> blend.Params:
        return blend.Params.model_validate({"weights": {"repeat": {"few": 1.0}, "new": new, "all": {"few": 1.0}}})

    with pytest.raises(ConfigError, match="weights -> new -> many: no such component; name one of: few"):
        blend.fit(dataset, params({"many": 1.0}), rng(), lambda _: parts)
    with pytest.raises(ConfigError, match=r"weights -> new = .*must hold a weight above 0"):
        blend.fit(dataset, params({"few": 0.0}), rng(), lambda _: parts)
