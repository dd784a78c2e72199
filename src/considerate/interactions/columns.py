"""The names and types of interactions: every column is spelled here and nowhere else."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import pyarrow as pa


class Columns:
    """Column names of a table of interactions."""

    CUSTOMER = "customer_id"
    ITEM = "item_id"
    KIND = "kind"
    VALUE = "value"
    TIMESTAMP = "timestamp"
    POSITION = "position"
    CHANNEL = "channel"
    ORDER_LINE = "order_line"
    EVENT = "event_id"
    DECISION = "decision_id"
    SURFACE = "surface"


SCHEMA = pa.schema(
    [
        pa.field(Columns.CUSTOMER, pa.string(), nullable=False),
        pa.field(Columns.ITEM, pa.string(), nullable=False),
        pa.field(Columns.KIND, pa.int8(), nullable=False),
        pa.field(Columns.VALUE, pa.float64()),
        pa.field(Columns.TIMESTAMP, pa.timestamp("us", tz="UTC")),
        pa.field(Columns.POSITION, pa.int64()),
        pa.field(Columns.CHANNEL, pa.int8(), nullable=False),
        pa.field(Columns.ORDER_LINE, pa.string()),
        pa.field(Columns.EVENT, pa.string(), nullable=False),
        pa.field(Columns.DECISION, pa.string()),
        pa.field(Columns.SURFACE, pa.string()),
    ]
)
"""Schema of validated interactions. `kind` and `channel` hold codes of `ranking.history.Kind` and `Channel`; `value` is
a quantity or a rating (the quantity of a return is positive); `position` orders the events of one customer."""


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What became of the rows of a source; counts of rows and of people, never a list of them.

    Attributes
    ----------
    name
        Name of the data set.
    rows_read
        Rows of the source: `rows_kept + rows_set_aside + rows_quarantined`.
    rows_kept
        Rows that became an interaction.
    rows_set_aside
        Rows that match at least one rule of `[source.set_aside]`.
    rows_quarantined
        Rows that break at least one rule and are not set aside: held against `max_rejected`.
    set_aside, quarantined
        Rule -> rows that match it; a row may match several. Rows that are set aside count under `quarantined` no more.
    returns_from_cancellations
        Complete cancellation rows, which also yield a return: the table has `rows_kept` plus these rows.
    customers, items
        Distinct ids in the table.
    first, last
        Period of the table, None where it has no time.
    quarantine
        File that holds the rows left out, None where there is none.
    seconds, peak_mb
        Wall time of the read, and the highest memory of the process so far.
    """

    name: str
    rows_read: int
    rows_kept: int
    rows_set_aside: int = 0
    rows_quarantined: int = 0
    set_aside: Mapping[str, int] = field(default_factory=dict)
    quarantined: Mapping[str, int] = field(default_factory=dict)
    returns_from_cancellations: int = 0
    customers: int = 0
    items: int = 0
    first: datetime | None = None
    last: datetime | None = None
    quarantine: Path | None = None
    seconds: float = 0.0
    peak_mb: float = 0.0


@dataclass(frozen=True, slots=True)
class Interactions:
    """Validated interactions, not yet checked for consent.

    Attributes
    ----------
    table
        Rows as `SCHEMA` has them, in the order of their source.
    report
        What became of the rows of the source.
    """

    table: pa.Table
    report: LoadReport
