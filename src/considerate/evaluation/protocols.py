"""How a data set is cut into what a model may learn from and what it is judged on.

Two parts can be judged: `val`, carved from what lies before the test cut, for every choice, and `test`, read for a
final figure alone. Neither the items that count nor the customers who count depend on the model or on `k_item`: an
item that a model may not know can be relevant, and is then simply never suggested.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.dataset.splits import temporal_split
from considerate.errors import ConfigError, DataError
from considerate.evaluation.item_sets import ItemSets, chosen_items, customers_per_item, owned_items, without
from considerate.ranking.history import Histories, Int64
from considerate.ranking.scores import Goal
from considerate.settings.data import DataConfig, FixedProtocol, ProtocolConfig, TemporalProtocol

Part = Literal["val", "test"]


@dataclass(frozen=True, slots=True)
class Targets:
    """What one goal asks for.

    Attributes
    ----------
    goal
        `repeat`: anything may be suggested again. `new`: only what the customer never bought or rated in train.
    customers
        (m,) rows of the data set with at least one relevant item, rising.
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
        What a model may learn from. Its items are the protocol's: those that at least `min_customers` chose in it.
    at
        The moment of asking, None where the data have no time.
    targets
        One entry per goal.
    k
        Lengths of list to judge.
    """

    part: Part
    train: Dataset
    at: datetime | None
    targets: tuple[Targets, ...]
    k: tuple[int, ...]


def choose_protocol(data: DataConfig, name: str | None, where: str) -> tuple[str, ProtocolConfig]:
    """Give the protocol of that name, or the default one, with its name.

    Parameters
    ----------
    data, where
        A data set and the path of its TOML, which opens every message.
    name
        As on the command line, None for the default.

    Raises
    ------
    ConfigError
        There is none of that name, none at all, or several and no default.
    """
    known = ", ".join(sorted(data.protocol)) or "none"
    if not data.protocol:
        raise ConfigError(
            f'{where}: no [protocol.<name>] table; add one, such as [protocol.month] with kind = "temporal"'
        )
    wanted = name or data.default_protocol or (next(iter(data.protocol)) if len(data.protocol) == 1 else None)
    if wanted is None:
        raise ConfigError(f"{where}: several protocols ({known}) and no default_protocol; name one with --protocol")
    if wanted not in data.protocol:
        raise ConfigError(f"{where}: protocol = {wanted!r}; must be one of: {known}")
    return wanted, data.protocol[wanted]


def make_fold(
    dataset: Dataset,
    protocol: ProtocolConfig,
    *,
    final: bool,
    public_test: Dataset | None = None,
    rng: np.random.Generator,
) -> Fold:
    """Cut `dataset` by `protocol`.

    Parameters
    ----------
    dataset
        Everything that may be used; of a fixed protocol its public train part.
    final
        Judge the test part; else the development part, and the test part is not looked at.
    public_test
        The public test part of a fixed protocol, needed where `final`.
    rng
        Draws the development part of a fixed protocol.

    Raises
    ------
    DataError
        Train or test is empty, or a temporal protocol meets events without time.
    """
    part: Part = "test" if final else "val"
    if isinstance(protocol, FixedProtocol):
        train, judged, at = _fixed(dataset, protocol, public_test if final else None, rng)
    else:
        train, judged, at = _temporal(dataset, protocol, final=final)
    counts = customers_per_item(train) >= protocol.min_customers
    if not counts.any():
        raise DataError(
            f"{part}: no item has >= {protocol.min_customers} customers in train; lower min_customers or test_days "
            "of the protocol"
        )
    index_of = np.where(counts, np.cumsum(counts) - 1, -1).astype(np.int32)
    train, judged = train.restricted_to(counts), judged.reindexed(index_of)
    owned, relevant = owned_items(train.events, len(train.items)), chosen_items(judged, len(train.items))
    targets = tuple(_targets(goal, owned, relevant, len(train.items)) for goal in protocol.goals)
    if not any(len(target.customers) for target in targets):
        raise DataError(
            f"{part}: no customer has anything to be judged by; check test_days or the test file of the protocol"
        )
    return Fold(part, train, at, targets, tuple(protocol.k))


def _temporal(dataset: Dataset, protocol: TemporalProtocol, *, final: bool) -> tuple[Dataset, Histories, datetime]:
    end, span = dataset.end, timedelta(days=protocol.test_days)
    if end is None:
        raise DataError(
            "a temporal protocol needs timestamps; map timestamp in [source.columns], or use a fixed protocol"
        )
    cut = end - span
    if not final:
        dataset, _ = temporal_split(dataset, cut)
        cut -= span
    train, judged = temporal_split(dataset, cut)
    # After the cut, each side on its own: a later return must not take a purchase out of train.
    return train.net_of_returns(), judged.net_of_returns().events, cut


def _fixed(
    dataset: Dataset, protocol: FixedProtocol, public_test: Dataset | None, rng: np.random.Generator
) -> tuple[Dataset, Histories, None]:
    dataset = dataset.net_of_returns()
    if public_test is not None:
        return dataset, _aligned(public_test.net_of_returns(), dataset), None
    held_out = rng.random(dataset.events.n_events) < protocol.development_share
    return replace(dataset, events=dataset.events.where(~held_out)), dataset.events.where(held_out), None


def _aligned(test: Dataset, train: Dataset) -> Histories:
    """Give the events of `test` under the indices of `train`; what train does not know is nobody's target."""
    events = test.events.reindexed(train.items.indices(test.items.ids))
    rows = train.customers.indices(test.customers.ids)
    of_train = np.full(len(train.customers), len(test.customers), np.int64)
    of_train[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    with_nobody = Histories(
        np.append(events.indptr, events.indptr[-1]),
        events.item,
        events.kind,
        events.value,
        events.time,
        events.position,
        events.channel,
    )
    return with_nobody.take(of_train)


def _targets(goal: Goal, owned: ItemSets, relevant: ItemSets, n_items: int) -> Targets:
    if goal == "new":
        relevant, excluded = without(relevant, owned, n_items), owned
    else:
        excluded = ItemSets(np.zeros_like(owned.indptr), np.empty(0, np.int32))
    customers = np.flatnonzero(relevant.sizes)
    return Targets(goal, customers, relevant.take(customers), excluded.take(customers))
