"""ALS, BPR and WARP: known answers, features, dislikes, bad input."""

import sys
from dataclasses import replace

import numpy as np
import pytest
from worlds import Row, dataset_of, taste_world

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError
from considerate.items.catalogue import Catalogue
from considerate.ranking.factor_items import FactorItems
from considerate.ranking.history import History, Kind
from considerate.ranking.top_n import top_n
from considerate.ranking.traits import Traits
from considerate.ranking.weighting import Weighting
from considerate.recommenders import als, bpr, lightfm_warp
from considerate.recommenders.features import customer_features, item_features
from considerate.settings.data import K_SEGMENT

ALL = ("als", "bpr", "lightfm_warp")
CLUSTERS = 2


def fitted(algorithm: str, dataset: Dataset, *, factors: int = 4) -> FactorItems:
    rng = np.random.default_rng(0)
    if algorithm == "als":
        return als.fit(dataset, als.Params(factors=factors, alpha=2.0, regularization=0.1), rng)
    if algorithm == "bpr":
        return bpr.fit(dataset, bpr.Params(factors=factors, iterations=100), rng)
    return lightfm_warp.fit(dataset, lightfm_warp.Params(no_components=factors, epochs=30), rng)


def two_tastes(n_customers: int = 60, n_items: int = 20) -> list[Row]:
    """Customers and items of the same parity belong together; each customer lacks one item of her own."""
    rows: list[Row] = []
    for customer in range(n_customers):
        own = [item for item in range(n_items) if item % CLUSTERS == customer % CLUSTERS]
        missing = own[(customer // CLUSTERS) % len(own)]
        rows += [(f"c{customer:03}", f"i{item:02}", float(item)) for item in own if item != missing]
    return rows


def best(artefact: FactorItems, history: History, n: int) -> list[int]:
    scores = artefact.score(history, at=None, goal="new")
    return [int(artefact.item_ids[item][1:]) for item in top_n(scores, n, exclude=history.item).tolist()]


@pytest.mark.parametrize("algorithm", ALL)
def test_what_is_missing_of_a_taste_comes_first(algorithm: str) -> None:
    dataset = dataset_of(two_tastes())
    artefact = fitted(algorithm, dataset)
    for customer in range(20):
        own = [item for item in range(20) if item % CLUSTERS == customer % CLUSTERS]
        assert best(artefact, dataset.events[customer], 1) == [own[(customer // CLUSTERS) % len(own)]]
    assert all(item % CLUSTERS == 0 for item in artefact.similar(0, 5)[0].tolist())


@pytest.mark.parametrize("algorithm", ALL)
def test_one_event_is_enough_to_tell_a_taste(algorithm: str) -> None:
    dataset = dataset_of(two_tastes())
    artefact = fitted(algorithm, dataset)
    one = dataset.events[0].take(np.array([0]))
    assert all(item % CLUSTERS == 0 for item in best(artefact, one, 5))


@pytest.mark.parametrize("algorithm", ALL)
def test_only_the_item_side_leaves_the_fit(algorithm: str) -> None:
    dataset = dataset_of(taste_world())
    artefact = fitted(algorithm, dataset)
    shapes = {array.shape for array in (artefact.item_vectors, artefact.gram, artefact.trait_vectors)}
    assert shapes == {(40, 4), (4, 4), (0, 4)}


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize("kind", [Kind.DISMISS, Kind.RATING])
def test_a_dislike_lowers_its_item_at_any_alpha(algorithm: str, kind: Kind) -> None:
    dataset = dataset_of(two_tastes())
    artefact = fitted(algorithm, dataset)
    if algorithm == "als":
        artefact = als.fit(dataset, als.Params(factors=4, alpha=1.0), np.random.default_rng(0))
    bought = dataset.events[0].take(np.arange(4))
    # A rating of 1 beside one of 5: far below the customer's own mean.
    more = [(2, Kind.RATING, 5.0)] * 4 if kind == Kind.RATING else []
    before, after = written(bought, more), written(bought, [*more, (4, kind, 1.0)])
    item = artefact.item_ids.index("i04")
    if kind == Kind.RATING:
        steep = artefact.manifest.model_copy(update={"weighting": Weighting(rating_slope=2.0)})
        artefact = replace(artefact, manifest=steep)
    lower, upper = (artefact.score(history, at=None, goal="new").values[item] for history in (after, before))
    assert lower < upper


def written(history: History, events: list[tuple[int, Kind, float]]) -> History:
    """Add (item, kind, value) to a history."""
    n = len(events)
    return replace(
        history,
        item=np.append(history.item, [event[0] for event in events]).astype(np.int32),
        kind=np.append(history.kind, [event[1] for event in events]).astype(np.int8),
        value=np.append(history.value, [event[2] for event in events]).astype(np.float32),
        time=np.append(history.time, np.full(n, history.time[-1])),
        position=np.append(history.position, np.full(n, -1)),
        channel=np.append(history.channel, np.zeros(n)).astype(np.int8),
    )


def test_dismissals_in_the_fit_move_als_at_alpha_1() -> None:
    rows = two_tastes()
    dismissed: list[Row] = [*rows, *((f"c{c:03}", "i00", 30.0, Kind.DISMISS) for c in range(1, 41, 2))]
    params = als.Params(factors=4, alpha=1.0)
    x = als.confidences(dataset_of(dismissed), params)
    assert x.min() == -2.0  # implicit reads a confidence of 2 that the item is not wanted, against 1 for the unseen
    plain, told = (als.fit(dataset_of(r), params, np.random.default_rng(0)) for r in (rows, dismissed))
    assert not np.array_equal(plain.item_vectors, told.item_vectors)


def with_traits(rows: list[Row], *, told: int) -> Dataset:
    """Even customers are F, odd ones M; the first `told` of them say so, and one names a region."""
    dataset = dataset_of(rows)
    names = [[f"gender={'FM'[customer % 2]}"] * (customer < told) for customer in range(len(dataset.customers))]
    names[0] = [*names[0], "region=94"]
    return replace(dataset, events=replace(dataset.events, traits=Traits.of(names)))


def test_features_of_a_customer_serve_her_without_history() -> None:
    dataset = with_traits(two_tastes(n_customers=120), told=120)
    params = lightfm_warp.Params(no_components=4, epochs=30)
    artefact = lightfm_warp.fit(dataset, params, np.random.default_rng(0))
    assert artefact.manifest.settings["traits"] == ["gender=F", "gender=M"]
    for parity, gender in enumerate("FM"):
        newcomer = replace(History.empty(), attributes={"gender": gender})
        assert all(item % 2 == parity for item in best(artefact, newcomer, 8))


def test_a_trait_of_too_few_customers_is_not_learnt() -> None:
    dataset = with_traits(two_tastes(n_customers=120), told=2 * K_SEGMENT - 1)
    names, matrix = customer_features(dataset, K_SEGMENT)
    assert names == ("gender=F",)  # 50 said F, 49 said M
    assert matrix.sum() == K_SEGMENT
    artefact = lightfm_warp.fit(dataset, lightfm_warp.Params(no_components=2, epochs=1), np.random.default_rng(0))
    assert artefact.trait_vectors.shape == (1, 2)
    none = lightfm_warp.Params(no_components=2, epochs=1, customer_feature_weight=0.0)
    assert lightfm_warp.fit(dataset, none, np.random.default_rng(0)).trait_vectors.shape == (0, 2)


def catalogue_of(categories: dict[str, str]) -> Catalogue:
    bare = Catalogue.of_ids(list(categories))
    category = np.array([categories[item] for item in bare.item_ids], object)
    brand = np.array(["ours" if item < "c" else "" for item in bare.item_ids], object)
    return replace(bare, category=category, brand=brand)


def test_every_level_of_a_category_is_a_feature() -> None:
    catalogue = catalogue_of(
        {"a": "FOOD > SOUP", "b": "FOOD > SOUP", "c": "FOOD > TEA|GIFTS", "d": "GIFTS", "z": "FOOD"}
    )
    dataset = replace(dataset_of([("x", item, 0.0) for item in "abcd"]), catalogue=catalogue)
    names, matrix = item_features(dataset)
    assert names == ("brand=ours", "category=FOOD", "category=FOOD > SOUP", "category=GIFTS")
    assert matrix.toarray().tolist() == [[1, 1, 1, 0], [1, 1, 1, 0], [0, 1, 0, 1], [0, 0, 0, 1]]


def test_items_of_a_category_share_what_is_learnt_of_it() -> None:
    rows = [row for row in two_tastes() if row[1] != "i00"] + [("c000", "i00", 0.0)]
    categories = {f"i{item:02}": "EVEN" if item % 2 == 0 else "ODD" for item in range(20)}
    dataset = replace(dataset_of(rows), catalogue=catalogue_of(categories))
    artefact = fitted("lightfm_warp", dataset)
    assert all(item % 2 == 0 for item in artefact.similar(0, 5)[0].tolist())


def test_without_lightfm_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightfm", None)
    with pytest.raises(ConfigError, match=r"LightFM is not installed: install considerate\[lightfm\]"):
        fitted("lightfm_warp", dataset_of(two_tastes()))


def test_a_descent_that_diverges_names_the_learning_rate() -> None:
    dataset = dataset_of(two_tastes())
    with pytest.raises(ConfigError, match=r"learning_rate = 1e\+30; the descent of bpr diverged"):
        bpr.fit(dataset, bpr.Params(factors=4, learning_rate=1e30, iterations=50), np.random.default_rng(0))
    with pytest.raises(ConfigError, match=r"learning_rate = 1e\+30; the descent of lightfm_warp diverged"):
        lightfm_warp.fit(dataset, lightfm_warp.Params(learning_rate=1e30, epochs=5), np.random.default_rng(0))


@pytest.mark.parametrize("algorithm", ALL)
@pytest.mark.parametrize(
    "rows",
    [
        [(f"c{c}", "only", 0.0) for c in range(5)],
        [(f"c{c}", f"i{i}", 0.0) for c in range(5) for i in range(3)],
        [(f"c{c}", f"i{i}", 0.0, Kind.RATING, 4.0) for c in range(6) for i in range(c % 3, 5)],
        [(f"c{c}", f"i{c % 3}", 0.0) for c in range(6)] * 3,
        [("c0", "a", 0.0, Kind.DISMISS), ("c1", "b", 0.0, Kind.DISMISS)],
        [("c0", "a", 0.0), ("c1", "a", 0.0), ("c1", "b", 0.0, Kind.VIEW), ("c2", "c", 0.0, Kind.DISMISS)],
    ],
    ids=["one item", "everything bought", "equal ratings", "duplicates", "dislikes alone", "an item without purchase"],
)
def test_odd_worlds_are_fitted_with_more_factors_than_items(algorithm: str, rows: list[Row]) -> None:
    dataset = dataset_of(rows)
    artefact = fitted(algorithm, dataset, factors=16)
    scores = artefact.score_many(dataset.events, at=dataset.end, goal="all")
    assert np.isfinite(scores).all()
    for customer in range(len(dataset.customers)):
        alone = artefact.score(dataset.events[customer], at=dataset.end, goal="all")
        values = alone.base.values.copy()
        values[alone.items] = alone.values
        np.testing.assert_allclose(scores[customer], values, rtol=1e-5, atol=1e-5)
