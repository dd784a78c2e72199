"""Judging: a model that says what we told it to, on customers whose answer we know."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from considerate.dataset.dataset import Dataset
from considerate.evaluation.evaluate import evaluate, segments_of, suggest
from considerate.evaluation.item_sets import ItemSets
from considerate.evaluation.metrics import PADDING
from considerate.evaluation.protocols import Targets, make_folds
from considerate.recommenders.fitting import fit_model
from considerate.recommenders.registry import RECOMMENDERS
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig
from considerate.settings.protocols import TemporalProtocol

WorldBuilder = Callable[..., Dataset]
ParrotBuilder = Callable[..., Any]
ROWS = [
    ("ann", "apple", 0.0),
    ("ann", "bread", 1.0),
    ("ann", "apple", 12.0),
    ("ann", "cider", 13.0),
    ("bob", "cider", 2.0),
    ("bob", "apple", 14.0),
    ("dan", "apple", 14.0),
]
"""The cut is on day 7. After it ann buys apple (again) and cider (new), bob apple (new); dan was never here before."""


def fold_of(dataset: Dataset, k: list[int] | None = None) -> Any:
    protocol = TemporalProtocol(test_days=7, k=k or [2])
    return make_folds(dataset, protocol, final=True, rng=np.random.default_rng(0))[0]


def names(fold: Any, lists: Any) -> list[list[str]]:
    return [[fold.train.items.ids[i] for i in row if i != PADDING] for row in lists]


def test_a_known_model_gets_the_known_figures(world: WorldBuilder, parrot: ParrotBuilder) -> None:
    fold = fold_of(world(ROWS))
    repeat, new = evaluate(parrot(["apple", "bread", "cider"]), fold)
    # Everybody is shown apple, bread. ann: 1 of 2, bob: 1 of 1, at the first place; dan counts apart.
    assert names(fold, repeat.lists) == [["apple", "bread"]] * 3
    assert repeat.figures["precision_at_2"].tolist() == [0.5, 0.5, 0.5]
    assert repeat.figures["recall_at_2"].tolist() == [0.5, 1.0, 1.0]
    assert repeat.counted.tolist() == [True, True, False]
    # ann is shown cider alone, the one thing she never bought; bob apple, bread.
    assert names(fold, new.lists) == [["cider"], ["apple", "bread"], ["apple", "bread"]]
    assert new.figures["ndcg_at_2"].tolist() == [1.0, 1.0, 1.0]


def test_coverage_and_gini_are_over_the_lists_of_customers_with_history(
    world: WorldBuilder, parrot: ParrotBuilder
) -> None:
    repeat, _ = evaluate(parrot(["apple", "bread", "cider"]), fold_of(world(ROWS)))
    assert repeat.catalogue["coverage_at_2"] == pytest.approx(2 / 3)
    assert repeat.catalogue["gini_at_2"] == pytest.approx(1 / 3)


def test_an_item_the_model_does_not_know_can_be_relevant_and_is_never_suggested(
    world: WorldBuilder, parrot: ParrotBuilder
) -> None:
    fold = fold_of(world(ROWS))
    repeat, new = evaluate(parrot(["bread", "cider"]), fold)
    assert names(fold, repeat.lists) == [["bread", "cider"]] * 3
    assert repeat.figures["recall_at_2"].tolist() == [0.5, 0.0, 0.0]
    assert names(fold, new.lists) == [["cider"], ["bread"], ["bread", "cider"]]


def test_an_item_only_the_model_knows_takes_a_place_but_cannot_be_right(
    world: WorldBuilder, parrot: ParrotBuilder
) -> None:
    fold = fold_of(world(ROWS))
    repeat, _ = evaluate(parrot(["zebra", "apple", "bread", "cider"]), fold)
    assert repeat.figures["ndcg_at_2"].tolist() == pytest.approx(
        [(1 / np.log2(3)) / (1 + 1 / np.log2(3)), 1 / np.log2(3), 1 / np.log2(3)]
    )


def test_the_history_that_is_scored_ends_at_the_cut(world: WorldBuilder, parrot: ParrotBuilder) -> None:
    fold = fold_of(world(ROWS))
    own_first = parrot(["bread", "cider", "apple"], own=10.0)
    repeat, _ = evaluate(own_first, fold)
    assert names(fold, repeat.lists)[1] == ["cider", "bread"]  # bob's apple lies after the cut


def test_small_blocks_give_the_same_lists_as_one(world: WorldBuilder, parrot: ParrotBuilder) -> None:
    rng = np.random.default_rng(3)
    rows = [(f"c{rng.integers(40):02}", f"i{rng.integers(25):02}", float(d)) for d in rng.uniform(0, 60, 900)]
    fold = fold_of(world(rows), k=[5])
    model = parrot([f"i{i:02}" for i in range(25)], own=7.5)
    for targets in fold.targets:
        whole = suggest(model, fold, targets)
        assert len(whole) >= 20
        np.testing.assert_array_equal(whole, suggest(model, fold, targets, budget_mb=0))


def test_threads_give_the_same_lists_as_one(world: WorldBuilder, parrot: ParrotBuilder) -> None:
    rng = np.random.default_rng(3)
    rows = [(f"c{rng.integers(40):02}", f"i{rng.integers(25):02}", float(d)) for d in rng.uniform(0, 60, 900)]
    fold = fold_of(world(rows), k=[5])
    model = parrot([f"i{i:02}" for i in range(25)], own=7.5)
    for targets in fold.targets:
        one, many = (suggest(model, fold, targets, budget_mb=0, threads=threads) for threads in (1, 4))
        np.testing.assert_array_equal(one, many)


def test_an_error_in_a_thread_is_not_lost(world: WorldBuilder, parrot: ParrotBuilder) -> None:
    fold = fold_of(world(ROWS))
    model = parrot(["apple"])
    broken = type("Broken", (), {"item_ids": model.item_ids, "score_many": lambda *_, **__: 1 / 0})()
    with pytest.raises(ZeroDivisionError):
        evaluate(broken, fold, budget_mb=0, threads=2)


def test_a_block_holds_no_more_than_the_budget(world: WorldBuilder, parrot: ParrotBuilder) -> None:
    sizes: list[int] = []
    model = parrot([f"i{i:05}" for i in range(20_000)])

    class Counting(type(model)):  # type: ignore[misc]  # the class of a fixture
        def score_many(self, histories: Any, **more: Any) -> Any:
            scores = model.score_many(histories, **more)
            sizes.append(scores.nbytes)
            return scores

    rows = [(f"c{c:02}", f"i{c % 7:05}", day) for c in range(40) for day in (0.0, 12.0)]
    evaluate(Counting(model.item_ids, model.values), fold_of(world(rows)), budget_mb=4, threads=2)
    # Per score 16 bytes are set aside, of which the scores are 4; two threads share the budget.
    assert max(sizes) <= 4_000_000 / 2 / 4
    assert len(sizes) >= 7


def test_memory_stays_within_the_budget(world: WorldBuilder, parrot: ParrotBuilder) -> None:
    items = [f"i{i:04}" for i in range(2_000)]
    rows = [(f"c{c:03}", items[(7 * c + day) % 2_000], float(day)) for c in range(600) for day in (0, 5, 9, 14)]
    fold = fold_of(world(rows, items=items), k=[10])
    model = parrot(items)
    evaluate(model, fold, budget_mb=4, threads=2)  # whatever is loaded or compiled at the first time
    tracemalloc.start()
    evaluate(model, fold, budget_mb=4, threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 5_000_000  # what it keeps to the end, lists and figures, is small


def test_a_catalogue_of_one_item_and_a_customer_who_has_everything_are_judged(
    world: WorldBuilder, parrot: ParrotBuilder
) -> None:
    rows = [("ann", "apple", 0.0), ("bob", "apple", 1.0), ("ann", "apple", 12.0), ("cat", "apple", 14.0)]
    repeat, new = evaluate(parrot(["apple"]), fold_of(world(rows), k=[10]))
    assert repeat.figures["recall_at_10"].tolist() == [1.0, 1.0]
    assert new.figures["recall_at_10"].tolist() == [1.0]  # cat, for whom it is new; ann has all there is
    assert repeat.catalogue == {"coverage_at_10": 1.0, "gini_at_10": 0.0}


def test_several_lengths_of_list_are_judged_at_once(world: WorldBuilder, parrot: ParrotBuilder) -> None:
    repeat, _ = evaluate(parrot(["bread", "apple", "cider"]), fold_of(world(ROWS), k=[1, 3]))
    assert repeat.figures["hit_rate_at_1"].tolist() == [0.0, 0.0, 0.0]
    assert repeat.figures["hit_rate_at_3"].tolist() == [1.0, 1.0, 1.0]


def test_heavy_and_light_are_the_outer_thirds_of_the_customers_with_history() -> None:
    n_events = np.array([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    segments = segments_of(n_events, np.array([0, 1, 3, 5, 7, 9]))
    assert segments["no_history"].tolist() == [True, False, False, False, False, False]
    assert segments["light"].tolist() == [False, True, True, False, False, False]
    assert segments["heavy"].tolist() == [False, False, False, False, True, True]


def test_without_any_history_everybody_is_without_history() -> None:
    segments = segments_of(np.zeros(3, np.int64), np.array([0, 2]))
    assert segments["no_history"].all()
    assert not segments["heavy"].any()


@pytest.mark.parametrize("algorithm", sorted(name for name, one in RECOMMENDERS.items() if not one.combines))
def test_a_planted_future_purchase_does_not_help(world: WorldBuilder, algorithm: str) -> None:
    rng = np.random.default_rng(8)
    rows = [(f"c{c:02}", f"i{rng.integers(30):02}", float(d)) for c in range(40) for d in rng.uniform(0, 20, 12)]
    end = [("c00", "i01", 28.0)]
    planted = [(f"c{c:02}", "i00", 27.0) for c in range(40)]  # after the cut on day 21 everybody buys i00

    def lists(dataset: Dataset) -> Any:
        fold = fold_of(dataset, k=[5])
        model = ModelConfig(algorithm=algorithm)
        consent = ConsentConfig(source="assumed", k_item=1, k_pair=1)
        artefact = fit_model(model, Path("model.toml"), fold.train, consent, np.random.default_rng(0))
        everybody = np.arange(len(dataset.customers))
        nothing = ItemSets(np.zeros(len(everybody) + 1, np.int64), np.empty(0, np.int32))
        return suggest(artefact, fold, Targets("repeat", everybody, nothing, nothing))

    np.testing.assert_array_equal(lists(world([*rows, *end])), lists(world([*rows, *planted, *end])))
