"""Reading the store's interactions in bulk, for training: under subject references, never under the shop's ids."""

import time

import pyarrow as pa
import pyarrow.compute as pc
from sqlalchemy import Engine

from considerate.errors import StoreError
from considerate.interactions import databases
from considerate.interactions.columns import SCHEMA, Columns, Interactions, LoadReport
from considerate.interactions.reading import peak_mb, period
from considerate.store.engine import display_name

_NO_NUMBER = -(1 << 63)
# In the order of bytes on both databases, whatever the collation: the same rows make the same model.
_POSTGRESQL = """
SELECT encode(subject_ref, 'hex') AS customer_id, item_id, kind, value, timestamp, position, channel, order_line,
       event_id, decision_id, surface
FROM interaction ORDER BY subject_ref, event_id COLLATE "C"
"""
# SQLite types values and not columns, so NULLs travel as values that no row can have: each column keeps one type.
_SQLITE = f"""
SELECT lower(hex(subject_ref)) AS customer_id, item_id, kind, ifnull(value, 9e999) AS value,
       ifnull(timestamp, {_NO_NUMBER}) AS timestamp, ifnull(position, {_NO_NUMBER}) AS position, channel,
       ifnull(order_line, '') AS order_line, event_id,
       ifnull(decision_id, '') AS decision_id, ifnull(surface, '') AS surface
FROM interaction ORDER BY subject_ref, event_id
"""


def read_stored(engine: Engine) -> Interactions:
    """Read every interaction of the store.

    Parameters
    ----------
    engine
        From `store.engine.open_store`; only its address is used, through ADBC, an order of magnitude faster than row
        by row.

    Returns
    -------
        Interactions whose `customer_id` is the subject reference in hex (32 digits), sorted by it and by event id.

    Raises
    ------
    StoreError
        The store holds no interaction.
    DataError
        The database cannot be read.
    """
    started = time.perf_counter()
    raw = _fetch(engine)
    if not len(raw):
        name = display_name(engine.url)
        raise StoreError(f"{name}: holds no interactions; load some: considerate load CONFIG --into-store")
    columns = [raw[field.name] for field in SCHEMA]
    table = pa.table(columns, names=SCHEMA.names).cast(SCHEMA)
    first, last = period(table)
    report = LoadReport(
        name="store",
        rows_read=len(table),
        rows_kept=len(table),
        customers=pc.count_distinct(table[Columns.CUSTOMER]).as_py(),
        items=pc.count_distinct(table[Columns.ITEM]).as_py(),
        first=first,
        last=last,
        seconds=time.perf_counter() - started,
        peak_mb=peak_mb(),
    )
    return Interactions(table, report)


def _fetch(engine: Engine) -> pa.Table:
    if engine.dialect.name == "sqlite":
        raw = databases.fetch("sqlite", str(engine.url.database), _SQLITE)
        if not len(raw):
            return raw
        columns = [_with_nulls(raw[field.name], field) for field in SCHEMA]
        return pa.table(columns, names=SCHEMA.names)
    url = engine.url.set(drivername="postgresql").render_as_string(hide_password=False)
    return databases.fetch("postgresql", url, _POSTGRESQL)


def _with_nulls(column: pa.ChunkedArray, field: pa.Field) -> pa.ChunkedArray:
    if not field.nullable:
        return column
    if pa.types.is_string(field.type):
        return pc.if_else(pc.equal(column, ""), None, column)
    if pa.types.is_floating(field.type):
        return pc.if_else(pc.is_finite(column), column, None)
    return pc.if_else(pc.equal(column, _NO_NUMBER), None, column).cast(field.type)
