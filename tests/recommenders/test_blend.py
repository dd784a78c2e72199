"""blend: sums of scaled components, over whatever any of them knows, from as many customers as they ask for."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from worlds import Row, checkerboard, dataset_of, taste_world

from considerate.dataset.dataset import Dataset
from considerate.errors import ArtefactError, ConfigError, DataError
from considerate.ranking.blend_items import Blend
from considerate.ranking.files import Files
from considerate.ranking.history import Bool, Kind
from considerate.ranking.loading import load
from considerate.ranking.scores import Artefact, Goal
from considerate.recommenders import blend, buy_again, item_knn, popularity, two_stage

GOALS: tuple[Goal, ...] = ("repeat", "new", "all")


def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def blended(dataset: Dataset, parts: Mapping[str, Artefact], **params: object) -> Blend:
    return blend.fit(dataset, blend.Params.model_validate(params), rng(), lambda _: parts)


def everywhere(**weights: float) -> dict[str, dict[str, float]]:
    return {goal: dict(weights) for goal in GOALS}


@pytest.fixture(scope="module")
def world() -> Dataset:
    return dataset_of(taste_world())


def items_where(dataset: Dataset, keep: Bool) -> Dataset:
    return dataset.restricted_to(keep)


@pytest.fixture(scope="module")
def parts(world: Dataset) -> dict[str, Artefact]:
    """Three components: one of all items but the last five, one of all but the first five, one of all."""
    item = np.arange(len(world.items))
    return {
        "near": item_knn.fit(items_where(world, item < len(item) - 5), item_knn.Params(), rng()),
        "few": popularity.fit(items_where(world, item >= 5), popularity.Params(), rng()),
        "again": buy_again.fit(world, buy_again.Params(), rng()),
    }


def test_a_blend_is_the_weighted_sum_of_its_scaled_components(world: Dataset) -> None:
    parts: dict[str, Artefact] = {
        "few": popularity.fit(world, popularity.Params(), rng()),
        "near": item_knn.fit(world, item_knn.Params(), rng()),
    }
    weights = {"repeat": {"near": 1.0}, "new": {"near": 2.0, "few": 0.5}, "all": {"few": 1.0}}
    artefact = blended(world, parts, weights=weights)
    scales = artefact.manifest.settings["scales"]
    block = world.events.take(np.arange(10))
    near = parts["near"].score_many(block, at=world.end, goal="new") / scales["near"]
    few = parts["few"].score_many(block, at=world.end, goal="new") / scales["few"]
    found = artefact.score_many(block, at=world.end, goal="new")
    np.testing.assert_allclose(found, 2 * near + 0.5 * few, rtol=1e-4)
    assert artefact.base.order.tolist() == parts["few"].base.order.tolist()
    assert artefact.similar(0, 5)[0].tolist() == parts["near"].similar(0, 5)[0].tolist()


def test_the_catalogue_is_what_any_component_knows_and_the_others_score_0(
    world: Dataset, parts: dict[str, Artefact]
) -> None:
    n = len(world.items)
    bought = items_where(world, np.arange(n) < n - 5)
    two = {"near": parts["near"], "few": parts["few"]}
    artefact = blended(bought, two, weights=everywhere(near=1.0, few=1.0))
    assert artefact.item_ids == world.items.ids
    assert artefact.manifest.items == n
    scales = artefact.manifest.settings["scales"]
    expected = np.zeros((len(world.customers), n))
    item = np.arange(n)
    for name, known in (("near", item < n - 5), ("few", item >= 5)):
        place = np.where(known, np.cumsum(known) - 1, -1).astype(np.int32)
        own = two[name].score_many(world.events.reindexed(place), at=world.end, goal="new")
        expected[:, known] += own / scales[name]
    found = artefact.score_many(world.events, at=world.end, goal="new")
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    # What no component was fitted on is in nobody's non-personalised list.
    assert not artefact.popular.values[n - 5 :].any()


def test_one_by_one_in_a_block_and_explained_agree_over_a_union(world: Dataset, parts: dict[str, Artefact]) -> None:
    artefact = blended(world, parts, weights=everywhere(near=1.0, few=0.5, again=2.0))
    n = len(artefact.item_ids)
    block = artefact.score_many(world.events, at=world.end, goal="all")
    for customer in (0, 7, 30):
        history = world.events[customer]
        scores = artefact.score(history, at=world.end, goal="all")
        alone = scores.base.values.copy()
        alone[scores.items] = scores.values
        np.testing.assert_allclose(alone, block[customer], atol=1e-5)
        kept = ~np.eye(len(history), dtype=np.bool_)
        rest = [artefact.score(history.take(keep), at=world.end, goal="all") for keep in kept]
        for item in (0, 2, n // 2, n - 3):
            shares = artefact.explain(history, item, at=world.end, goal="all")
            left = [s.values[s.items == item][0] if item in s.items else s.base.values[item] for s in rest]
            np.testing.assert_allclose(shares, alone[item] - np.array(left), atol=2e-6)


def test_a_blend_explains_at_once_as_far_as_every_component_does(world: Dataset, parts: dict[str, Artefact]) -> None:
    quick = {name: parts[name] for name in ("near", "again")}
    assert blended(world, quick, weights=everywhere(near=1.0, again=2.0)).explains_at_once
    stages = {"again": 1.0}
    slow = two_stage.fit(
        world,
        two_stage.Params.model_validate(
            {
                "first_stage": {"repeat": stages, "new": stages, "all": stages},
                "candidates": {"repeat": {"again": 20}, "new": {"again": 20}},
                "windows": 1,
                "window_days": 1_000,
            }
        ),
        np.random.default_rng(0),
        lambda _: {"again": parts["again"]},
    )
    assert not slow.explains_at_once
    assert not blended(world, {**quick, "slow": slow}, weights=everywhere(near=1.0, slow=1.0)).explains_at_once


def test_liked_items_reach_a_component_under_its_own_numbers(parts: dict[str, Artefact], world: Dataset) -> None:
    artefact = blended(world, parts, weights=everywhere(few=1.0))
    history = replace(world.events[0], liked_items=np.array([0, 7], np.int32), refused_items=np.array([4], np.int32))
    moved = artefact.parts["few"].history(history)
    assert moved.liked_items.tolist() == [2]
    assert moved.refused_items.tolist() == []


def test_similar_items_come_from_the_first_component_that_knows_the_item(
    world: Dataset, parts: dict[str, Artefact]
) -> None:
    artefact = blended(world, parts, weights=everywhere(near=1.0, few=0.5))
    assert len(artefact.similar(0, 3)[0]) == 3
    assert len(artefact.similar(len(world.items) - 1, 3)[0]) == 0


def test_a_union_is_saved_and_loaded(world: Dataset, parts: dict[str, Artefact], tmp_path: Path) -> None:
    directory = tmp_path / "blend"
    artefact = blended(world, parts, weights=everywhere(near=1.0, few=0.5))
    artefact.save(directory)
    loaded = load(directory)
    found = loaded.score_many(world.events, at=world.end, goal="new")
    np.testing.assert_array_equal(found, artefact.score_many(world.events, at=world.end, goal="new"))
    files = Files(directory, artefact.manifest, artefact.item_ids[:-1], {})
    with pytest.raises(ArtefactError, match=r"component again knows items that items\.parquet does not list"):
        Blend.read(files, artefact.components)


def test_a_component_takes_part_from_its_number_of_customers_on(world: Dataset, parts: dict[str, Artefact]) -> None:
    weights = everywhere(near=1.0, few=0.5)
    n = len(world.customers)
    without = blended(world, parts, weights=weights, min_customers={"near": n + 1})
    assert list(without.parts) == ["again", "few"]
    assert without.manifest.settings["weights"]["new"] == {"few": 0.5}
    assert "near" in blended(world, parts, weights=weights, min_customers={"near": n}).parts


def test_too_few_customers_for_every_component_of_a_goal_is_an_error(
    world: Dataset, parts: dict[str, Artefact]
) -> None:
    with pytest.raises(DataError, match="61 consenting customers leave no component for the goal repeat; give"):
        blended(world, parts, weights=everywhere(near=1.0), min_customers={"near": 500})


def test_a_component_that_has_only_its_tail_does_not_become_popularity() -> None:
    rated: list[Row] = [(f"c{c}", item, float(c), Kind.RATING, 4.0) for c in range(6) for item in ("a", "b")]
    dataset = dataset_of(rated)
    parts: dict[str, Artefact] = {
        "again": buy_again.fit(dataset, buy_again.Params(), rng()),
        "few": popularity.fit(dataset, popularity.Params(), rng()),
    }
    artefact = blended(dataset, parts, weights=everywhere(again=1.0, few=0.01))
    assert artefact.manifest.settings["scales"]["again"] == 1.0
    without = parts["few"].score_many(dataset.events, at=dataset.end, goal="all")
    found = artefact.score_many(dataset.events, at=dataset.end, goal="all")
    scaled = 0.01 * without / artefact.manifest.settings["scales"]["few"]
    np.testing.assert_allclose(found, scaled, rtol=1e-3, atol=1e-5)


def test_unknown_or_weightless_components_are_an_error() -> None:
    dataset = dataset_of(checkerboard())
    parts: dict[str, Artefact] = {"few": popularity.fit(dataset, popularity.Params(), rng())}

    def weights(**new: float) -> dict[str, dict[str, float]]:
        return {"repeat": {"few": 1.0}, "new": new, "all": {"few": 1.0}}

    with pytest.raises(ConfigError, match="weights -> new -> many: no such component; name one of: few"):
        blended(dataset, parts, weights=weights(many=1.0))
    with pytest.raises(ConfigError, match=r"weights -> new = .*; must hold a weight above 0"):
        blended(dataset, parts, weights=weights(few=0.0))
    with pytest.raises(ConfigError, match="min_customers -> many: no such component; name one of: few"):
        blended(dataset, parts, weights=weights(few=1.0), min_customers={"many": 5})
