"""Fitting on several folds: each as if the others did not exist, and figures that pair customer by customer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from considerate.dataset.dataset import Dataset
from considerate.evaluation.confidence import paired
from considerate.evaluation.evaluate import pooled
from considerate.evaluation.folds import Fold
from considerate.evaluation.judging import fit_and_judge, judge_chance
from considerate.evaluation.protocols import make_folds
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig
from considerate.settings.protocols import TemporalProtocol

POPULAR = ModelConfig(algorithm="popularity", params={"half_life_days": None})
CONSENT = ConsentConfig(source="assumed", k_item=1, k_pair=1)


@pytest.fixture
def folds(world: Callable[..., Dataset]) -> tuple[Fold, ...]:
    rng = np.random.default_rng(3)
    rows = [(f"c{c:02}", f"i{rng.integers(30):02}", float(day)) for c in range(40) for day in rng.uniform(0, 60, 12)]
    protocol = TemporalProtocol(test_days=10, cuts=3, k=[5])
    return make_folds(world(rows), protocol, final=True, rng=np.random.default_rng(0))


def judge(folds: tuple[Fold, ...], **more: Any) -> Any:
    return fit_and_judge(POPULAR, Path("models/popularity.toml"), folds, CONSENT, **more)


def test_every_cut_is_judged_by_a_fit_of_its_own_and_the_newest_artefact_is_kept(folds: tuple[Fold, ...]) -> None:
    said: list[str] = []
    fitted = judge(folds, say=said.append)
    assert said[:3] == ["fitting popularity cut_1", "judging popularity cut_1", "fitting popularity cut_2"]
    assert [(one.label, one.goal) for one in fitted.judged] == [
        (f"cut_{place}", goal) for place in (1, 2, 3) for goal in ("repeat", "new")
    ]
    alone = judge(folds[:1])
    for mine, theirs in zip(alone.judged, fitted.judged, strict=False):
        np.testing.assert_array_equal(mine.lists, theirs.lists)
    assert fitted.artefact.manifest.data_digest == judge(folds[2:]).artefact.manifest.data_digest
    assert fitted.fit_seconds > 0 < fitted.evaluation_seconds


def test_pooled_figures_name_the_person_behind_each(folds: tuple[Fold, ...]) -> None:
    fitted = judge(folds)
    values, people = pooled(fitted.judged, "new", "ndcg_at_5")
    alone = [one for one in fitted.judged if one.goal == "new"]
    assert len(values) == len(people) == sum(int(one.counted.sum()) for one in alone)
    assert len(np.unique(people)) <= 40 < len(people)
    light, _ = pooled(fitted.judged, "new", "ndcg_at_5", "light")
    assert 0 < len(light) < len(values)
    assert len(pooled(fitted.judged, "all", "ndcg_at_5")[0]) == 0


def test_two_models_on_the_same_folds_pair(folds: tuple[Fold, ...]) -> None:
    mine, theirs = judge(folds), judge(folds, threads=2, budget_mb=1)
    (a, people), (b, same) = (pooled(one.judged, "repeat", "ndcg_at_5") for one in (mine, theirs))
    np.testing.assert_array_equal(people, same)
    difference = paired(a, b, np.random.default_rng(0), clusters=people)
    assert (difference.mean, difference.p_value) == (0.0, 1.0)


def test_chance_finds_what_chance_finds_and_the_same_under_the_same_seed(folds: tuple[Fold, ...]) -> None:
    one, same = (judge_chance(folds, np.random.default_rng(1)) for _ in range(2))
    for mine, theirs in zip(one, same, strict=True):
        np.testing.assert_array_equal(mine.lists, theirs.lists)
    values, _ = pooled(one, "repeat", "recall_at_5")
    assert values.mean() == pytest.approx(5 / 30, abs=0.05)  # five of thirty products are shown
    assert [judged.label for judged in one] == [f"cut_{place}" for place in (1, 1, 2, 2, 3, 3)]
