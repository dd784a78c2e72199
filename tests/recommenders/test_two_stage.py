"""Two stages: what is learnt, from when, and what happens where nothing can be."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from worlds import START, Row, dataset_of, taste_world

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError, DataError
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Histories, History
from considerate.ranking.scores import Artefact, Goal
from considerate.ranking.top_n import top_n
from considerate.ranking.two_stage import RANKED, TwoStage
from considerate.ranking.two_stage_columns import feature_names
from considerate.ranking.two_stage_features import features
from considerate.recommenders import buy_again, popularity, two_stage
from considerate.recommenders.blend import GOALS
from considerate.recommenders.two_stage_examples import Examples, examples
from considerate.recommenders.two_stage_items import item_side
from considerate.settings.data import K_SEGMENT

AT = START + timedelta(days=120)
DAY = 86_400.0
SMALL = {"trees": 20, "leaves": 7, "min_rows": 5, "learning_rate": 0.2}


def params(**changes: object) -> two_stage.Params:
    given = {
        "first_stage": {"repeat": {"again": 1.0}, "new": {"popular": 1.0}, "all": {"again": 1.0, "popular": 0.1}},
        "candidates": {"repeat": {"again": 20}, "new": {"popular": 20}},
        "windows": 2,
        "window_days": 20,
        "boosting": SMALL,
    }
    return two_stage.Params.model_validate({**given, **changes})


def parts_of(dataset: Dataset) -> dict[str, Artefact]:
    rng = np.random.default_rng(0)
    return {
        "again": buy_again.fit(dataset, buy_again.Params(), rng),
        "popular": popularity.fit(dataset, popularity.Params(), rng),
    }


def fitted(dataset: Dataset, **changes: object) -> TwoStage:
    return two_stage.fit(dataset, params(**changes), np.random.default_rng(0), parts_of)


def history_of(dataset: Dataset, *bought: tuple[str, float]) -> History:
    """A customer who bought these items on these days."""
    n = len(bought)
    return Histories(
        indptr=np.array([0, n]),
        item=np.array([dataset.items.index(item) for item, _ in bought], np.int32),
        kind=np.zeros(n, np.int8),
        value=np.full(n, np.nan, np.float32),
        time=np.array([START.timestamp() + DAY * day for _, day in bought]),
        position=np.full(n, -1, np.int64),
        channel=np.zeros(n, np.int8),
    )[0]


def dense(artefact: TwoStage, history: History, goal: Goal, at: datetime = AT) -> np.ndarray:
    scores = artefact.score(history, at=at, goal=goal)
    values = scores.base.values.copy()
    values[scores.items] = scores.values
    return values


def rhythm_world() -> list[Row]:
    """Everybody buys milk each fifth day for ever, and each fad on five days in a row and never again."""
    rows: list[Row] = []
    for customer in range(70):
        rows += [(f"c{customer:02}", "milk", float(day)) for day in range(customer % 5, 120, 5)]
        start = 3 * (customer % 7)
        rows += [
            (f"c{customer:02}", f"fad{fad}", start + 21.0 * fad + day)
            for fad in range(6)
            for day in range(5)
            if start + 21 * fad + day < 120
        ]
    return rows


def test_it_learns_that_a_fad_does_not_come_back() -> None:
    world = dataset_of(rhythm_world())
    # Neither component tells them apart: everybody has bought either, lately.
    by_popularity = {"repeat": {"popular": 20}, "new": {"popular": 20}}
    artefact = fitted(world, candidates=by_popularity, first_stage={**by_popularity, "all": {"popular": 1}})
    history = history_of(world, *(("milk", day) for day in (100.0, 105.0, 110.0, 115.0)), *fad_days(114))
    milk, fad = world.items.index("milk"), world.items.index("fad3")
    scores = dense(artefact, history, "repeat")
    assert scores[milk] > scores[fad]
    # Five purchases on five days against four: frequency would have it the other way round.
    assert np.count_nonzero(history.item == fad) > np.count_nonzero(history.item == milk)


def fad_days(start: int) -> list[tuple[str, float]]:
    return [("fad3", float(start + day)) for day in range(5)]


@pytest.fixture(scope="module")
def world() -> Dataset:
    return dataset_of(taste_world())


@pytest.fixture(scope="module")
def artefact(world: Dataset) -> TwoStage:
    return fitted(world)


def test_candidates_stand_above_everything_else(world: Dataset, artefact: TwoStage) -> None:
    few = replace(
        artefact,
        manifest=artefact.manifest.model_copy(
            update={
                "settings": {
                    **artefact.manifest.settings,
                    "candidates": {"repeat": {"again": 3, "popular": 2}, "new": {"popular": 4}},
                }
            }
        ),
    )
    assert set(few.trees) == {"repeat", "new"}
    for customer in range(0, len(world.customers), 9):
        history = world.events[customer]
        for goal, most in zip(GOALS, (5, 4, 9), strict=True):
            values = dense(few, history, goal)
            assert 0 < (values >= 1).sum() <= most
            assert (values <= 2).all()
        new = dense(few, history, "new")
        assert (new[np.unique(history.item)] < 1).all()
        best = top_n(few.score(history, at=AT, goal="all"), 9)
        assert set(best.tolist()) == set(np.flatnonzero(dense(few, history, "all") >= 1).tolist()) or len(best) == 9


def test_one_by_one_is_a_block_to_the_last_bit(world: Dataset, artefact: TwoStage) -> None:
    for goal in GOALS:
        block = artefact.score_many(world.events, at=AT, goal=goal)
        for customer in range(len(world.customers)):
            alone = dense(artefact, world.events[customer], goal)
            assert np.array_equal(block[customer], alone)


def test_a_window_knows_nothing_of_what_follows_it(world: Dataset) -> None:
    seen: list[Dataset] = []

    def watched(dataset: Dataset) -> Mapping[str, Artefact]:
        seen.append(dataset)
        return parts_of(dataset)

    two_stage.fit(world, params(), np.random.default_rng(0), watched)
    end = world.events.time.max()
    assert [float(part.events.time.max()) <= end - 20 * DAY * j for j, part in enumerate(seen)] == [True] * 3
    assert len({len(part.items) for part in seen}) == 1


def planted(world: Dataset, days: float) -> Dataset:
    """The same world with item 7 bought by everybody `days` before its end."""
    events, end = world.events, world.events.time.max()
    extra = Histories(
        indptr=np.arange(len(world.customers) + 1, dtype=np.int64),
        item=np.full(len(world.customers), 7, np.int32),
        kind=np.zeros(len(world.customers), np.int8),
        value=np.full(len(world.customers), np.nan, np.float32),
        time=np.full(len(world.customers), end - days * DAY),
        position=np.full(len(world.customers), -1, np.int64),
        channel=np.zeros(len(world.customers), np.int8),
    )
    customer = np.concatenate([events.customer, extra.customer])
    columns = {
        name: np.concatenate([getattr(events, name), getattr(extra, name)])
        for name in ("item", "kind", "value", "time", "position", "channel")
    }
    order = np.lexsort((columns["time"], customer))
    sorted_: dict[str, Any] = {name: column[order] for name, column in columns.items()}
    return replace(world, events=replace(events, indptr=events.indptr + extra.indptr, **sorted_))


def learnt(world: Dataset, cut: datetime, goal: Goal) -> Examples:
    before, after = two_stage._window(world, cut, params())
    stage = two_stage._first_stage(before, params(), parts_of(before))
    rng = np.random.default_rng(0)
    return examples(stage, before.events, after.events, at=cut, negatives=1000, rng=rng)[goal]


def test_a_planted_purchase_after_a_window_changes_none_of_its_examples(world: Dataset) -> None:
    end = world.end
    assert end is not None
    cut = end - timedelta(days=40)
    for goal in RANKED:
        was = learnt(world, cut, goal)
        # Within the next window, which begins 20 days before the end: no feature and no label of this one sees it.
        is_ = learnt(planted(world, 10), cut, goal)
        assert was.features.tobytes() == is_.features.tobytes()
        assert was.bought.tobytes() == is_.bought.tobytes()
        # In its own window it is a label, and still no feature.
        own = learnt(planted(world, 30), cut, goal)
        assert own.bought.sum() > was.bought.sum()
    everyone = learnt(world, cut, "repeat")
    assert set(np.unique(everyone.customer)) <= set(range(len(world.customers)))


def test_threads_do_not_show_in_the_examples(world: Dataset) -> None:
    assert world.end is not None
    cut = world.end - timedelta(days=40)
    before, after = two_stage._window(world, cut, params())
    stage = two_stage._first_stage(before, params(), parts_of(before))

    def drawn(threads: int) -> dict[Goal, Examples]:
        rng, block = np.random.default_rng(0), 8 * len(world.items)
        return examples(
            stage, before.events, after.events, at=cut, negatives=2, rng=rng, block_scores=block, threads=threads
        )

    one, three = drawn(1), drawn(3)
    for goal in RANKED:
        assert len(np.unique(one[goal].customer)) > 16  # more than two blocks
        assert one[goal].customer.tobytes() == three[goal].customer.tobytes()
        assert one[goal].features.tobytes() == three[goal].features.tobytes()
        assert one[goal].bought.tobytes() == three[goal].bought.tobytes()


def test_features_are_what_one_can_count_by_hand() -> None:
    soups = [("a", "tomato", 0.0), ("a", "tomato", 10.0), ("a", "leek", 18.0), ("b", "leek", 19.0), ("b", "soap", 20.0)]
    catalogue = replace(
        Catalogue.of_ids(["leek", "soap", "tomato"]),
        category=np.array(["FOOD > SOUP", "CARE", "FOOD > SOUP"], object),
        brand=np.array(["x", "y", "y"], object),
        price=np.array([np.e, 1.0, np.e**3], np.float32),
    )
    world = replace(dataset_of(soups), catalogue=catalogue)
    names = feature_names(())
    items = np.array([0, 1, 2], np.int32)
    side = item_side(world)
    known = features(world.events, START + timedelta(days=20), np.zeros(3, np.int64), items, side)
    assert known.shape == (3, len(names))
    of = {name: known[:, place].tolist() for place, name in enumerate(names)}
    assert of["item.since"] == [2.0, 1000.0, 10.0]
    assert of["item.visits"] == [1.0, 0.0, 2.0]
    assert of["item.visits_since"] == [0.0, 1000.0, 1.0]
    assert of["item.overdue"] == [-1.0, 0.0, 1.0]
    assert of["category_2.visits"] == [3.0, 0.0, 3.0]
    assert of["pair.category_2_items"] == [2.0, 0.0, 2.0]
    assert of["brand.visits"] == [1.0, 2.0, 2.0]
    assert of["own.visits"] == [3.0] * 3
    assert of["own.days_since_visit"] == [2.0] * 3
    np.testing.assert_allclose(of["own.price_level"], [7 / 3] * 3, rtol=1e-6)
    np.testing.assert_allclose(of["pair.price_gap"], [1 - 7 / 3, -7 / 3, 3 - 7 / 3], rtol=1e-6)
    assert of["of_item.buyers_7"] == [1.0, 0.5, 0.0]
    assert of["of_item.buyers_28"] == [1.0, 0.5, 0.5]
    # The one buyer of tomato came back, no other did; ten customers of the usual share, one in four, are added.
    np.testing.assert_allclose(of["of_item.repeat_share"], [2.5 / 12, 2.5 / 11, 3.5 / 11], rtol=1e-6)


def test_a_window_longer_than_the_data_leaves_the_first_stage_alone(world: Dataset) -> None:
    artefact = fitted(world, window_days=100)
    assert artefact.trees == {}
    history = world.events[3]
    values = dense(artefact, history, "repeat")
    again = artefact.components["again"].score(history, at=AT, goal="repeat")
    best = again.items[np.argsort(-again.values, kind="stable")]
    assert top_n(artefact.score(history, at=AT, goal="repeat"), 3).tolist() == best[:3].tolist()
    assert (np.abs(values) < 1).all()


def test_too_few_customers_leave_the_first_stage_alone() -> None:
    rows = [row for row in rhythm_world() if int(row[0][1:]) < K_SEGMENT - 1]
    assert fitted(dataset_of(rows)).trees == {}


def test_a_catalogue_of_one_item() -> None:
    world = dataset_of([(f"c{c:02}", "only", float(day)) for c in range(60) for day in range(c % 9, 120, 9)])
    artefact = fitted(world)
    assert set(artefact.trees) <= {"repeat"}
    for goal in GOALS:
        values = dense(artefact, world.events[0], goal)
        assert values.shape == (1,)
        assert np.isfinite(values).all()


def test_a_customer_who_bought_everything_has_no_new_candidate(world: Dataset, artefact: TwoStage) -> None:
    everything = history_of(world, *((item, 110.0) for item in world.items.ids))
    assert (dense(artefact, everything, "new") < 1).all()
    assert (dense(artefact, everything, "repeat") >= 1).sum() == 20


def test_what_was_dismissed_is_no_candidate(world: Dataset, artefact: TwoStage) -> None:
    history = world.events[4]
    best = int(top_n(artefact.score(history, at=AT, goal="repeat"), 1)[0])
    kind = history.kind.copy()
    kind[np.flatnonzero(history.item == best)[-1]] = 7
    assert dense(artefact, replace(history, kind=kind), "repeat")[best] < 1


@pytest.mark.parametrize("table", ["first_stage", "candidates"])
def test_a_component_that_is_missing_is_named(table: str, world: Dataset) -> None:
    wrong = {"repeat": {"nobody": 1}, "new": {"popular": 1}, "all": {"popular": 1}}
    if table == "candidates":
        del wrong["all"]
    with pytest.raises(ConfigError, match=f"params -> {table} -> repeat -> nobody: no such component; name one of"):
        fitted(world, **{table: wrong})


def test_a_goal_without_candidates_is_refused(world: Dataset) -> None:
    with pytest.raises(ConfigError, match=r"params -> candidates -> new = .*; must hold a number above 0"):
        fitted(world, candidates={"repeat": {"again": 5}, "new": {"popular": 0}})


def test_purchases_without_a_time_are_refused(world: Dataset, artefact: TwoStage) -> None:
    timeless = replace(world, events=replace(world.events, time=np.full(world.events.n_events, np.nan)))
    with pytest.raises(DataError, match="two_stage needs the time of every purchase"):
        fitted(timeless)
    only_popular = replace(artefact, components={"again": artefact.components["popular"]} | dict(artefact.components))
    with pytest.raises(DataError, match="needs the time of every purchase"):
        only_popular.score(timeless.events[0], at=AT, goal="repeat")


def test_no_module_of_ranking_imports_the_library() -> None:
    source = Path(two_stage.__file__).parents[1] / "ranking"
    assert not [path.name for path in source.glob("*.py") if "lightgbm" in path.read_text(encoding="utf-8").lower()]
