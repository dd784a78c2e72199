"""Small data sets that went through the gate, like every other."""

from collections.abc import Sequence, Set
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa

from considerate.consent.decision import Reason
from considerate.consent.events import GENESIS, Head
from considerate.consent.gate import keep_consented
from considerate.consent.snapshot import ConsentSnapshot, Standing, snapshot_assumed
from considerate.dataset.dataset import Dataset
from considerate.interactions.columns import SCHEMA, Columns, Interactions, LoadReport
from considerate.ranking.history import Channel, Kind
from considerate.settings.data import ConsentConfig

START = datetime(2026, 1, 1, tzinfo=UTC)

Row = tuple[str, str, float] | tuple[str, str, float, Kind] | tuple[str, str, float, Kind, float]
"""Customer, item, day since START[, kind[, value]]."""


def table_of(rows: Sequence[Row]) -> pa.Table:
    """Write rows down as validated interactions."""
    n = len(rows)
    micros = [None if np.isnan(row[2]) else int((START.timestamp() + 86_400 * row[2]) * 1e6) for row in rows]
    columns = {
        Columns.CUSTOMER: [row[0] for row in rows],
        Columns.ITEM: [row[1] for row in rows],
        Columns.KIND: [int(row[3]) if len(row) > 3 else int(Kind.PURCHASE) for row in rows],
        Columns.VALUE: [row[4] if len(row) > 4 else None for row in rows],
        Columns.TIMESTAMP: micros,
        Columns.POSITION: [None] * n,
        Columns.CHANNEL: [int(Channel.ONLINE)] * n,
        Columns.ORDER_LINE: [None] * n,
        Columns.EVENT: [f"e{i}" for i in range(n)],
        Columns.DECISION: [None] * n,
        Columns.SURFACE: [None] * n,
    }
    return pa.table({field.name: pa.array(columns[field.name], field.type) for field in SCHEMA}, schema=SCHEMA)


def dataset_of(rows: Sequence[Row], *, k_item: int = 1, k_pair: int = 1) -> Dataset:
    """Build a data set of assumed consent."""
    config = ConsentConfig(source="assumed", k_item=k_item, k_pair=k_pair)
    return _gated(rows, snapshot_assumed(), config)


def consented_dataset_of(rows: Sequence[Row], *, refusing: Set[str] = frozenset()) -> Dataset:
    """Build a data set from a ledger in which everybody allows training but those who refuse it."""
    customers = {row[0] for row in rows}
    standings = {
        customer.encode(): Standing(Reason.NO_CONSENT if customer in refusing else Reason.OK) for customer in customers
    }
    ledger = Head(len(customers), GENESIS)
    return _gated(rows, ConsentSnapshot("ledger", START, ledger, "deny", standings, str.encode), TERMS)


TERMS = ConsentConfig(k_item=5, k_pair=5)


def _gated(rows: Sequence[Row], snapshot: ConsentSnapshot, config: ConsentConfig) -> Dataset:
    report = LoadReport(name="world", rows_read=len(rows), rows_kept=len(rows))
    consented, _ = keep_consented(Interactions(table_of(rows), report), snapshot, config=config, at=START)
    return Dataset.from_interactions(consented)


def checkerboard(n_customers: int = 50, n_items: int = 10, days: int = 20) -> list[Row]:
    """Even customers buy even items, odd ones odd items, each but one: what is missing is known.

    (After the checkerboard of implicit's own tests.)
    """
    rows: list[Row] = []
    for customer in range(n_customers):
        own = [item for item in range(n_items) if item % 2 == customer % 2]
        missing = own[(customer // 2) % len(own)]
        for item in own:
            if item != missing:
                rows.append((f"household-{customer:03}", f"i{item:02}", float((customer + item) % days)))
    return rows


def taste_world(seed: int = 0, n_customers: int = 61, n_items: int = 40, n_events: int = 1500) -> list[Row]:
    """Draw purchases, repeats and all, from four clusters of taste; the number of customers is a prime."""
    rng = np.random.default_rng(seed)
    rows: list[Row] = []
    for customer in rng.integers(n_customers, size=n_events).tolist():
        own = rng.random() < 0.8
        item = int(rng.integers(n_items // 4)) * 4 + customer % 4 if own else int(rng.integers(n_items))
        rows.append((f"household-{customer:03}", f"i{item:03}", round(float(rng.uniform(0, 120)), 3)))
    return rows
