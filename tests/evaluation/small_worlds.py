"""Data sets from a handful of rows."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np

from considerate.consent.gate import ConsentReport
from considerate.dataset.dataset import Dataset
from considerate.dataset.id_map import IdMap
from considerate.evaluation.folds import Fold
from considerate.ranking.history import Histories, Kind

Row = tuple[str, str, float] | tuple[str, str, float, Kind] | tuple[str, str, float, Kind, float]

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
    """Build a data set from (customer, item, day[, kind[, value]]) rows; NaN is a day nobody knows."""
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
        value=np.array([row[4] if len(row) > 4 else np.nan for row in ordered], np.float32),
        time=np.array([START.timestamp() + 86_400 * day for day in days], np.float64),
        position=np.full(n, -1, np.int64),
        channel=np.zeros(n, np.int8),
    )
    return Dataset(people, things, events, ASSUMED)


def ratings_of(rows: Sequence[tuple[str, str, int, float]]) -> Dataset:
    """Build a data set without times from (customer, item, position, rating) rows."""
    dataset = dataset_of([(who, what, float(place), Kind.RATING, stars) for who, what, place, stars in rows])
    events = dataset.events
    position = np.round((events.time - START.timestamp()) / 86_400).astype(np.int64)
    return replace(dataset, events=replace(events, position=position, time=np.full(len(position), np.nan)))


def answers_of(fold: Fold, dataset: Dataset, place: int = 0) -> dict[str, set[str]]:
    """Relevant items of a goal by name, customer by customer."""
    targets, items = fold.targets[place], fold.train.items.ids
    sets = targets.relevant
    return {
        dataset.customers.ids[fold.customer[c]]: {items[i] for i in sets.items[sets.indptr[row] : sets.indptr[row + 1]]}
        for row, c in enumerate(targets.customers)
    }


def known_of(fold: Fold, dataset: Dataset) -> dict[str, list[str]]:
    """What is known of each customer who may be asked, oldest first."""
    items, asked = fold.train.items.ids, fold.asked
    return {
        dataset.customers.ids[row]: [items[i] for i in asked.item[asked.indptr[c] : asked.indptr[c + 1]]]
        for c, row in enumerate(fold.customer)
    }
