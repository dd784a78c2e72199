"""A fold: one train part, who is asked, and what of each answer would have been right."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.evaluation.item_sets import ItemSets, chosen_items, owned_items, without
from considerate.ranking.history import Bool, Histories, Int64
from considerate.ranking.scores import Goal

Part = Literal["val", "test"]


@dataclass(frozen=True, slots=True)
class Targets:
    """What one goal asks for.

    Attributes
    ----------
    goal
        `repeat`: anything may be suggested again. `new`: only what the customer never bought or rated before.
    customers
        (m,) rows of `Fold.asked` with at least one relevant item, rising.
    relevant
        Their relevant items, row by row.
    excluded
        Items that may not be suggested to them, row by row.
    """

    goal: Goal
    customers: Int64
    relevant: ItemSets
    excluded: ItemSets


@dataclass(frozen=True, slots=True)
class Fold:
    """One train part and what is asked of a model that learnt from it.

    Attributes
    ----------
    part
        `val` or `test`; opens the name of every figure.
    train
        What a model may learn from. Its items are the protocol's, whatever a model may know of them.
    asked
        One row per customer who may be asked for: what is known of her at the moment of asking, events in the item
        index of `train` and traits.
    customer
        (len(asked),) row of the whole data set: the same person has the same number in every fold.
    at
        The moment of asking, None where the data have no time.
    targets
        One entry per goal.
    k
        Lengths of list to judge.
    allowed
        (n_items,) what may be suggested at all; None for everything.
    label
        "" or, where a protocol cuts several times, `cut_1` and so on, oldest first.
    """

    part: Part
    train: Dataset
    asked: Histories
    customer: Int64
    at: datetime | None
    targets: tuple[Targets, ...]
    k: tuple[int, ...]
    allowed: Bool | None = None
    label: str = ""


@dataclass(frozen=True, slots=True)
class Cut:
    """The two sides of a cut, still in the item index of the whole data set.

    Attributes
    ----------
    train
        What a model may learn from, returns netted.
    asked, judged
        What is known of each customer who is asked, and what she did after that; row by row the same people.
    customer
        (n_asked,) their rows of the whole data set.
    at
        The moment of asking.
    items
        (n_items,) the items that count: those a model is judged over.
    allowed
        (n_items,) those that may be suggested; None for all that count.
    label
        As in `Fold`.
    """

    train: Dataset
    asked: Histories
    judged: Histories
    customer: Int64
    at: datetime | None
    items: Bool
    allowed: Bool | None = None
    label: str = ""


def fold_of(cut: Cut, part: Part, *, goals: Sequence[Goal], k: Sequence[int], min_customers: int) -> Fold:
    """Name what is asked for on the far side of a cut.

    Raises
    ------
    DataError
        Train is empty, no item counts, or nobody chose anything to be judged by.
    """
    where = f"{part}, {cut.label}" if cut.label else part
    if not cut.train.events.n_events:
        raise DataError(f"{where}: the protocol leaves train empty; hold out less, or bring more data")
    if not cut.items.any():
        raise DataError(
            f"{where}: no item has >= {min_customers} customers in train; lower min_customers or test_days "
            "of the protocol"
        )
    index_of = np.where(cut.items, np.cumsum(cut.items) - 1, -1).astype(np.int32)
    train, asked = cut.train.restricted_to(cut.items), cut.asked.reindexed(index_of)
    allowed = None if cut.allowed is None else cut.allowed[cut.items]
    n_items = len(train.items)
    owned, relevant = owned_items(asked, n_items), chosen_items(cut.judged.reindexed(index_of), n_items)
    if allowed is not None:
        relevant = relevant.reindexed(np.where(allowed, np.arange(n_items), -1).astype(np.int32))
    targets = tuple(_targets(goal, owned, relevant, n_items) for goal in goals)
    if not any(len(target.customers) for target in targets):
        raise DataError(
            f"{where}: no customer has anything to be judged by; check test_days or the test file of the protocol"
        )
    return Fold(part, train, asked, cut.customer, cut.at, targets, tuple(k), allowed, cut.label)


def _targets(goal: Goal, owned: ItemSets, relevant: ItemSets, n_items: int) -> Targets:
    if goal == "new":
        relevant, excluded = without(relevant, owned, n_items), owned
    else:
        excluded = ItemSets(np.zeros_like(owned.indptr), np.empty(0, np.int32))
    customers = np.flatnonzero(relevant.sizes)
    return Targets(goal, customers, relevant.take(customers), excluded.take(customers))
