"""Small worlds: a data set from a handful of rows, and a model that says what it is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.evaluation.small_worlds import START, dataset_of

from considerate.dataset.dataset import Dataset
from considerate.ranking.history import Float32, Float64, Histories, History, Int32
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import base_of

WorldBuilder = Callable[..., Dataset]


@pytest.fixture
def world() -> WorldBuilder:
    return dataset_of


@dataclass(frozen=True)
class Parrot:
    """An artefact that gives every customer the same scores, plus `own` for each item of her history."""

    item_ids: tuple[str, ...]
    values: Float32
    own: float = 0.0
    manifest: Any = None

    @property
    def base(self) -> Base:
        return base_of(self.values)

    @property
    def popular(self) -> Base:
        return base_of(self.values)

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        items = np.unique(history.item).astype(np.int32)
        return Scores(items, (self.values[items] + self.own).astype(np.float32), self.base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        scores = np.tile(self.values, (len(histories), 1))
        scores[histories.customer, histories.item] = self.values[histories.item] + np.float32(self.own)
        return scores

    @property
    def explains_at_once(self) -> bool:
        return True

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        raise NotImplementedError

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        raise NotImplementedError

    def save(self, directory: Path) -> None:
        raise NotImplementedError


@pytest.fixture
def parrot() -> Callable[..., Parrot]:
    def build(favourites: Sequence[str], *, own: float = 0.0) -> Parrot:
        ids = tuple(sorted(favourites))
        values = np.array([len(favourites) - favourites.index(item) for item in ids], np.float32)
        return Parrot(ids, values, own)

    return build


@pytest.fixture
def day() -> Callable[[float], datetime]:
    return lambda n: START + timedelta(days=n)
