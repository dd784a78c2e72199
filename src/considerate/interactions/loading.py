"""Writing validated interactions into the store: all of them or none, and never twice."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from considerate.consent.minors import end_grants_of_minors
from considerate.interactions.columns import Columns, Interactions
from considerate.interactions.sources import connect
from considerate.store.engine import writing
from considerate.store.interactions import INTERACTION_COLUMNS, ingest
from considerate.store.keys import Keys
from considerate.store.subjects import MINOR_BANDS, ensure_subjects
from considerate.store.tables import to_micros

_BLOCK = 50_000


@dataclass(frozen=True, slots=True)
class StoreLoadReport:
    """What a load changed in the store.

    Attributes
    ----------
    rows
        Interactions offered.
    inserted
        Interactions that were new; the others were there already.
    customers
        Distinct customers offered.
    seconds
        Wall time of the transaction.
    """

    rows: int
    inserted: int
    customers: int
    seconds: float

    @property
    def already_there(self) -> int:
        """Interactions that the store knew."""
        return self.rows - self.inserted


def load_into_store(
    interactions: Interactions,
    engine: Engine,
    keys: Keys,
    *,
    at: datetime,
    age_bands: Mapping[str, str] | None = None,
) -> StoreLoadReport:
    """Write interactions in one transaction, making subjects for customers the store has not met.

    An interaction is known by customer and event id: loading the same feed again changes nothing. Ages reach the
    customers of the feed and everybody else whom the store knows; what somebody who turns out to be a minor consented
    to ends with it.

    Parameters
    ----------
    interactions
        Validated rows under the shop's customer ids.
    engine
        From `store.engine.open_store`.
    keys
        Of this installation.
    at
        Now: when the rows were received.
    age_bands
        Customer id -> age band of the store, where it is known (`interactions.catalogue.legal_age_bands`). Somebody who
        is neither in the store nor in the feed is not taken into the store.

    Raises
    ------
    StoreError
        The store is locked, read-only, or belongs to other keys. Nothing is written then.
    """
    started = time.perf_counter()
    distinct = pc.unique(interactions.table[Columns.CUSTOMER])
    customers = distinct.to_pylist()
    bands = age_bands or {}
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, customers, age_bands=bands, at=at)
        minors = [refs[customer] for customer, band in bands.items() if band in MINOR_BANDS and customer in refs]
        end_grants_of_minors(conn, keys, minors, at=at)
        # From one buffer: pyarrow imports pandas, for seconds, to turn a list into an array.
        joined = pa.py_buffer(b"".join(refs[customer] for customer in customers))
        ordered = pa.Array.from_buffers(pa.binary(16), len(customers), [None, joined])
        subjects = pa.table([distinct, ordered], names=[Columns.CUSTOMER, "subject_ref"])
        inserted = ingest(conn, _rows(interactions.table, subjects, to_micros(at)))
    return StoreLoadReport(len(interactions.table), inserted, len(customers), time.perf_counter() - started)


def _rows(table: pa.Table, subjects: pa.Table, received_at: int) -> Iterator[tuple[Any, ...]]:
    """Give rows in the order of `INTERACTION_COLUMNS`, sorted by subject and event id."""
    special = {
        "subject_ref": "s.subject_ref",
        "timestamp": "epoch_us(i.timestamp)",
        "received_at": f"{received_at}::BIGINT",
    }
    chosen = ", ".join(f"{special.get(name, f'i.{name}')} AS {name}" for name in INTERACTION_COLUMNS)
    with connect() as (connection, _):
        connection.register("offered", table)
        connection.register("subject", subjects)
        ordered = connection.sql(
            f"SELECT {chosen} FROM offered i JOIN subject s USING ({Columns.CUSTOMER}) "
            "ORDER BY s.subject_ref, i.event_id"
        ).to_arrow_table()
    for block in ordered.to_batches(max_chunksize=_BLOCK):
        yield from zip(*(column.to_pylist() for column in block.columns), strict=True)
