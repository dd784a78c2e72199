"""Small worlds: a data set from a handful of rows, and a model that says what it is told."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from considerate.consent.gate import ConsentReport
from considerate.dataset.dataset import Dataset
from considerate.dataset.id_map import IdMap
from considerate.ranking.history import Float32, Float64, Histories, History, Int32, Kind
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import base_of

Row = tuple[str, str, float] | tuple[str, str, float, Kind]
WorldBuilder = Callable[..., Dataset]

START = datetime(2026, 1, 1, tzinfo=UTC)


ASSUMED = ConsentReport(
    source="assumed",
    at=START,
    ledger_seq=0,
    ledger_head="",
    purpose_version=1,
    unknown_age="adult",
    customers_total=0,
    customers_kept=0,
    customers_left_out={},
    rows_total=0,
    rows_kept=0,
    rows_left_out={},
    k_item=1,
    k_pair=1,
)
"""What evaluation hands on without looking at it."""


def dataset_of(rows: Sequence[Row], *, customers: Sequence[str] = (), items: Sequence[str] = ()) -> Dataset:
    """Build a data set from (customer, item, day[, kind]) rows; NaN is a day nobody knows."""
    people = IdMap.of([*(row[0] for row in rows), *customers])
    things = IdMap.of([*(row[1] for row in rows), *items])
    ordered = sorted(rows, key=lambda row: (row[0], row[2], row[1]))
    sizes = np.bincount([people.index(row[0]) for row in ordered], minlength=len(people))
    n = len(ordered)
    days = [row[2] for row in ordered]
    events = Histories(
        indptr=np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64),
        item=things.indices([row[1] for row in ordered]),
        kind=np.array([row[3] if len(row) > 3 else Kind.PURCHASE for row in ordered], np.int8),
        value=np.full(n, np.nan, np.float32),
        time=np.array([START.timestamp() + 86_400 * day for day in days], np.float64),
        position=np.full(n, -1, np.int64),
        channel=np.zeros(n, np.int8),
    )
    return Dataset(people, things, events, ASSUMED)


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
