"""buy_again: what is due, what is not yet, what has lapsed, and where the evidence is borrowed."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import START, Row, dataset_of, taste_world

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.items.catalogue import Catalogue
from considerate.ranking.buy_again import MAX_ITEMS, BuyAgain
from considerate.ranking.history import Channel, Histories, History, Kind
from considerate.ranking.rebuying import SIGNS
from considerate.ranking.top_n import top_n
from considerate.ranking.weighting import as_histories
from considerate.recommenders import buy_again
from considerate.recommenders.hazard import STARTING_RULE, learn_hazard
from considerate.recommenders.rhythm import USUAL_GAP_DAYS

AT = START + timedelta(days=140)


def fitted(dataset: Dataset, **params: object) -> BuyAgain:
    return buy_again.fit(dataset, buy_again.Params.model_validate(params), np.random.default_rng(0))


def history_of(rows: Sequence[tuple[int, float]], kind: Kind = Kind.PURCHASE) -> History:
    """Purchases of (item, day), ordered by time."""
    rows = sorted(rows, key=lambda row: row[1])
    n = len(rows)
    return History(
        item=np.array([item for item, _ in rows], np.int32),
        kind=np.full(n, kind, np.int8),
        value=np.full(n, np.nan, np.float32),
        time=START.timestamp() + 86_400.0 * np.array([day for _, day in rows], np.float64),
        position=np.full(n, -1, np.int64),
        channel=np.full(n, Channel.ONLINE, np.int8),
    )


def of_item(artefact: BuyAgain, history: History, item: int) -> float:
    scores = artefact.score(history, at=AT, goal="repeat")
    values = scores.base.values.copy()
    values[scores.items] = scores.values
    return float(values[item])


@pytest.fixture(scope="module")
def weekly() -> BuyAgain:
    """Households buy three drinks about every seventh day, and now and then give one of them up for good."""
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    for household in range(150):
        for drink in range(3):
            until = rng.uniform(30, 140) if rng.random() < 0.5 else 140.0
            days = rng.uniform(0, 7) + np.cumsum(rng.normal(7.0, 0.7, 25))
            rows += [(f"h{household:03}", f"drink {drink}", float(day)) for day in days[days < until]]
    return fitted(dataset_of(rows), horizon_days=2.0, windows=8)


def test_what_is_due_comes_before_what_was_bought_yesterday_and_what_has_lapsed(weekly: BuyAgain) -> None:
    due = [(0, 133.5 - 7 * week) for week in range(15)]
    yesterday = [(1, 138.5 - 7 * week) for week in range(15)]
    lapsed = [(2, 70.5 - 7 * week) for week in range(10)]
    history = history_of([*due, *yesterday, *lapsed])
    scores = [of_item(weekly, history, item) for item in range(3)]
    assert scores[0] > 2 * scores[1] > 0
    assert scores[0] > 2 * scores[2] > 0


def test_the_chance_rises_from_just_bought_to_due(weekly: BuyAgain) -> None:
    yesterday, middle, due = (
        of_item(weekly, history_of([(0, 139.5 - since - 7 * week) for week in range(15)]), 0) for since in (1, 4, 7)
    )
    assert 0 < yesterday < middle < due < 1


def test_without_lessons_the_starting_rule_prefers_often_lately_and_not_long_overdue() -> None:
    rows = [("a", "often", day) for day in (10.0, 20, 30)] + [("a", "once", 30.0), ("a", "long ago", -300.0)]
    dataset = dataset_of([*rows, ("b", "never hers", 30.0)])
    artefact = fitted(dataset, windows=0)
    best = top_n(artefact.score(dataset.events[0], at=dataset.end, goal="repeat"), 3)
    assert [artefact.item_ids[i] for i in best.tolist()] == ["often", "once", "long ago"]
    assert artefact.manifest.settings["coefficients"] == {
        "intercept": 0.0,
        **dict.fromkeys(SIGNS, 0.0),
        **STARTING_RULE,
    }
    assert len(artefact.similar(0, 5)[0]) == 0


def test_too_short_a_past_keeps_the_starting_rule() -> None:
    dataset = dataset_of([("a", "x", 1.0), ("a", "x", 2.0), ("b", "x", 2.0)])
    assert fitted(dataset).manifest.settings["coefficients"]["frequency"] == STARTING_RULE["frequency"]


def test_signs_that_never_differ_teach_nothing() -> None:
    lesson = (np.ones((50, len(SIGNS))), np.arange(50) % 2 == 0)
    learnt = learn_hazard([lesson], 1.0)
    assert all(learnt[name] == pytest.approx(STARTING_RULE.get(name, 0.0)) for name in SIGNS)


@pytest.mark.parametrize("bought", [True, False])
def test_lessons_that_all_end_alike_give_finite_coefficients(bought: bool) -> None:
    signs = np.random.default_rng(0).normal(size=(200, len(SIGNS)))
    assert np.isfinite(list(learn_hazard([(signs, np.full(200, bought))], 1.0).values())).all()


def test_frequency_alone_ranks_by_days_with_a_purchase() -> None:
    rows = [("a", "thrice", day) for day in (1.0, 2, 3)] + [("a", "twice", day) for day in (99.0, 100)]
    # Five packets on one day are one purchase.
    rows += [("a", "once", 100.0 + hour / 24) for hour in range(5)]
    dataset = dataset_of(rows)
    artefact = fitted(dataset, by="frequency", half_life_days=1e12)
    best = top_n(artefact.score(dataset.events[0], at=dataset.end, goal="repeat"), 3)
    assert [artefact.item_ids[i] for i in best.tolist()] == ["thrice", "twice", "once"]


def with_categories(dataset: Dataset, **category: str) -> Dataset:
    catalogue = Catalogue.of_ids(dataset.items.ids)
    paths = np.array([category.get(id_, "") for id_ in catalogue.item_ids], dtype=object)
    return replace(dataset, catalogue=replace(catalogue, category=paths))


def test_an_item_of_little_evidence_borrows_gap_and_repeat_share_of_its_category() -> None:
    rows: list[Row] = [(f"h{h}", "milk", 5.0 * visit) for h in range(20) for visit in range(10)]
    rows += [(f"h{h}", "lamp", 90.0 * visit) for h in range(20) for visit in range(2 if h < 8 else 1)]
    rows += [(f"h{h}", new, 100.0) for h in range(6) for new in ("new cream", "new bulb")]
    plain = dataset_of(rows, k_item=5)
    paths = {"milk": "FOOD > DAIRY", "new cream": "FOOD > DAIRY", "lamp": "HOME > LIGHT", "new bulb": "HOME > LIGHT"}
    artefact = fitted(with_categories(plain, **paths))
    gap = dict(zip(artefact.item_ids, artefact.rhythm.gap_days.tolist(), strict=True))
    share = dict(zip(artefact.item_ids, artefact.rhythm.repeat_share.tolist(), strict=True))
    assert gap["new cream"] < 15
    assert gap["new bulb"] > 30
    assert share["new cream"] > share["new bulb"] + 0.1
    # Without categories everybody's.
    alone = fitted(plain).rhythm
    assert alone.gap_days[2] == alone.gap_days[3]


def test_a_gap_of_too_few_households_is_everybodys() -> None:
    rows: list[Row] = [(f"{c}", "common", day) for c in "abcdef" for day in (0.0, 10.0)]
    rows += [("a", "rare", day) for day in (0.0, 90.0)]
    artefact = fitted(dataset_of(rows, k_item=5))
    usual = np.exp((6 * np.log(10) + np.log(90)) / 7)
    assert artefact.rhythm.gap_days[1] == pytest.approx(usual)
    assert artefact.rhythm.gap_days[0] < usual


def test_where_nobody_ever_came_back_a_month_is_the_usual_gap() -> None:
    artefact = fitted(dataset_of([("a", "x", 0.0), ("b", "y", 3.0)]))
    np.testing.assert_allclose(artefact.rhythm.gap_days, USUAL_GAP_DAYS)


def test_buying_again_asks_for_the_time_of_purchases_alone() -> None:
    rows: list[Row] = [("a", "x", 0.0), ("a", "x", 9.0), ("b", "x", 3.0), ("b", "y", float("nan"), Kind.LIKE)]
    assert len(fitted(dataset_of(rows)).rhythm.gap_days) == 2
    with pytest.raises(DataError, match="buy_again needs the time of every purchase, and some have none; map"):
        fitted(dataset_of([*rows, ("b", "x", float("nan"))]))


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(st.integers(0, 4), st.integers(0, 150)), min_size=1, max_size=12), item=st.integers(0, 4)
)
def test_an_explanation_is_the_score_minus_the_score_without_the_event(rows: list[tuple[int, int]], item: int) -> None:
    artefact = EXPLAINED
    history = history_of([(i, float(day)) for i, day in rows])
    block = as_histories(history)
    whole = of_item(artefact, history, item)
    rest = [of_item(artefact, block.where(np.arange(len(rows)) != j)[0], item) for j in range(len(rows))]
    shares = artefact.explain(history, item, at=AT, goal="repeat")
    np.testing.assert_allclose(shares, whole - np.array(rest), atol=1e-6)


EXPLAINED = fitted(dataset_of(taste_world(n_items=5)))


def test_views_and_dismissals_explain_nothing() -> None:
    history = history_of([(1, 10.0), (1, 20.0), (2, 30.0)])
    history = replace(history, kind=np.array([Kind.PURCHASE, Kind.VIEW, Kind.PURCHASE], np.int8))
    shares = EXPLAINED.explain(history, 1, at=AT, goal="repeat")
    assert shares[0] == pytest.approx(of_item(EXPLAINED, history, 1) - float(EXPLAINED.base.values[1]), abs=1e-6)
    assert shares[1] == 0


def test_a_history_of_50_000_events_is_scored_and_explained() -> None:
    rng = np.random.default_rng(0)
    days = rng.uniform(-3000, 140, 50_000)
    history = history_of(list(zip(rng.integers(0, 5, 50_000).tolist(), days.tolist(), strict=True)))
    scores = EXPLAINED.score(history, at=AT, goal="repeat")
    assert len(scores.items) == 5
    assert np.isfinite(scores.values).all()
    shares = EXPLAINED.explain(history, 3, at=AT, goal="repeat")
    assert np.isfinite(shares).all()
    assert len(shares) == 50_000


def test_a_customer_who_bought_everything_keeps_the_newest_items() -> None:
    n = MAX_ITEMS + 200
    rows: list[Row] = [("all", f"i{i:05}", float(i) / 10) for i in range(n)]
    dataset = dataset_of(rows)
    artefact = fitted(dataset)
    scores = artefact.score(dataset.events[0], at=dataset.end, goal="repeat")
    assert scores.items.tolist() == list(range(200, n))
    old, new = (artefact.explain(dataset.events[0], item, at=dataset.end, goal="repeat") for item in (3, n - 1))
    assert not old.any()
    assert new[-1] > 0


def test_a_catalogue_of_one_item() -> None:
    dataset = dataset_of([("a", "x", 0.0), ("a", "x", 40.0), ("b", "x", 41.0)])
    artefact = fitted(dataset)
    assert top_n(artefact.score(dataset.events[0], at=dataset.end, goal="repeat"), 10).tolist() == [0]
    assert artefact.score_many(Histories.empty(2), at=dataset.end, goal="repeat").shape == (2, 1)
