"""Trees out of LightGBM are LightGBM's trees."""

from pathlib import Path

import numpy as np
import pytest

from considerate.errors import ArtefactError
from considerate.ranking.files import Files
from considerate.ranking.manifest import ConsentBasis, Manifest
from considerate.ranking.two_stage_trees import Trees
from considerate.recommenders.two_stage import Boosting
from considerate.recommenders.two_stage_boosting import boosted, booster_of, trees_of

N_FEATURES = 7
BOOSTING = Boosting(trees=20, leaves=15, learning_rate=0.2, min_rows=10)
NOT_READ = Manifest(
    kind="two_stage",
    algorithm="two_stage",
    items=1,
    data_digest="",
    consent=ConsentBasis(source="assumed", k_item=1, k_pair=1, customers=1, rows=1),
)
ONE_LEAF = Boosting(trees=1, leaves=2, min_rows=10**6, row_share=1.0)


def rows(seed: int = 0, n: int = 3000) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(n, N_FEATURES)).astype(np.float32)
    features[:, 3] = np.round(features[:, 3])  # ties, and zeros
    bought = rng.random(n) < 1 / (1 + np.exp(-(features[:, 0] * features[:, 1] + features[:, 3])))
    return features, bought


def same(one: Trees, other: Trees) -> bool:
    return all(np.array_equal(one.arrays("t")[name], array) for name, array in other.arrays("t").items())


def test_margins_are_those_that_the_library_predicts() -> None:
    features, bought = rows()
    booster = booster_of(features, bought, np.ones(len(bought)), BOOSTING, 0)
    trees = trees_of(booster.dump_model())
    unseen, _ = rows(seed=1)
    on_a_threshold = np.repeat(unseen[:1], len(trees.threshold), axis=0)
    # What is nearer to 0 than 1e-35 is 0 to the library; no feature comes near it.
    steps = np.where(np.abs(trees.threshold) < 1e-30, 0.0, trees.threshold)
    on_a_threshold[np.arange(len(steps)), trees.feature] = steps
    for asked in (features, unseen, on_a_threshold, np.zeros((1, N_FEATURES), np.float32)):
        expected = booster.predict(asked, raw_score=True)
        np.testing.assert_allclose(trees.margins(asked), expected, atol=1e-6, rtol=0)
    low, high = trees.bounds
    margins = trees.margins(unseen)
    assert low <= margins.min() < margins.max() <= high


def test_threads_do_not_show_in_the_trees() -> None:
    features, bought = rows()
    one, two = (boosted(features, bought, np.ones(len(bought)), BOOSTING, 5, threads=threads) for threads in (1, 2))
    assert same(one, two)
    assert not same(one, boosted(features, bought, np.ones(len(bought)), BOOSTING, 6))


def test_a_row_counts_by_its_weight() -> None:
    features, bought = rows()
    twice = np.concatenate([features, features[bought]]), np.concatenate([bought, bought[bought]])
    heavier = boosted(features, bought, 1.0 + bought, ONE_LEAF, 0)
    np.testing.assert_allclose(heavier.leaf, boosted(*twice, np.ones(len(twice[1])), ONE_LEAF, 0).leaf, atol=1e-5)


def test_where_nothing_tells_them_apart_a_tree_is_one_leaf() -> None:
    features = np.ones((50, N_FEATURES), np.float32)
    trees = boosted(features, np.arange(50) % 5 == 0, np.ones(50), BOOSTING, 0)
    assert (trees.root < 0).all()
    np.testing.assert_allclose(trees.margins(features), np.log(0.2 / 0.8), atol=1e-6)
    assert trees.bounds[0] == pytest.approx(trees.bounds[1])


@pytest.mark.parametrize("broken", ["left", "feature", "root"])
def test_trees_that_point_nowhere_are_refused(broken: str) -> None:
    trees = Trees(
        root=np.array([0], np.int32),
        feature=np.array([6], np.int32),
        threshold=np.array([0.5]),
        left=np.array([-1], np.int32),
        right=np.array([-2], np.int32),
        leaf=np.array([0.1, 0.2]),
    )
    arrays = trees.arrays("new")
    files = Files(Path("model"), NOT_READ, ("a",), arrays)
    assert Trees.read(files, "new", N_FEATURES).margins(np.ones((1, 7), np.float32)).tolist() == [0.2]
    arrays[f"new.{broken}"] = np.array([7], np.int32)
    with pytest.raises(ArtefactError, match="trees of new point outside"):
        Trees.read(files, "new", N_FEATURES)
