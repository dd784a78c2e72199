"""Inserts that meet rows already there: the few statements that SQLite and PostgreSQL build with their own classes."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, Table, TypeCoerce, type_coerce
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.types import NullType

T = TypeVar("T")
Insert = sqlite.Insert | postgresql.Insert

CHUNK = 500
"""Values per `IN (...)`, below the variable limit of every supported database."""


def insert_new(conn: Connection, table: Table) -> Insert:
    """Insert a row unless one with its key is there."""
    return _insert(conn, table).on_conflict_do_nothing()


def upsert(conn: Connection, table: Table) -> Insert:
    """Insert a row, or replace the one with its key."""
    statement = _insert(conn, table)
    keys = [column.name for column in table.primary_key]
    changed = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in keys}
    return statement.on_conflict_do_update(index_elements=keys, set_=changed)


def untyped(column: Column[Any]) -> TypeCoerce[Any]:
    """Read a column as the database holds it: what was forged in another type must be found, not fail to convert."""
    return type_coerce(column, NullType())


def chunks(values: Sequence[T], size: int = CHUNK) -> Iterator[Sequence[T]]:
    """Cut a sequence into pieces of at most `size`.

    >>> list(chunks([1, 2, 3], 2))
    [[1, 2], [3]]
    """
    for start in range(0, len(values), size):
        yield values[start : start + size]


def insert_tuples(conn: Connection, table: Table, rows: Iterator[tuple[Any, ...]], *, batch: int = 20_000) -> int:
    """Insert rows in column order unless their key is there; give how many were new.

    The driver takes the tuples as they are, which is several times faster than a dictionary for each row.
    """
    mark = "?" if conn.dialect.paramstyle == "qmark" else "%s"
    names, marks = ", ".join(table.columns.keys()), ", ".join(mark for _ in table.columns)
    statement = f"INSERT INTO {table.name} ({names}) VALUES ({marks}) ON CONFLICT DO NOTHING"  # noqa: S608 - our names
    inserted = 0
    while part := list(islice(rows, batch)):
        inserted += conn.exec_driver_sql(statement, part).rowcount
    return inserted


def _insert(conn: Connection, table: Table) -> Insert:
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)
