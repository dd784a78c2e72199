"""Queries against SQLite and PostgreSQL through ADBC: the answer arrives as Arrow."""

import re
from pathlib import Path
from urllib.parse import quote

import pyarrow as pa

from considerate.errors import DataError


def public_name(format_: str, url: str) -> str:
    """Name a database in messages without its password.

    >>> public_name("postgresql", "postgresql://shop:secret@db/orders")
    'postgresql://shop@db/orders'
    >>> public_name("postgresql", "postgresql://shop:p@ss@db/orders")
    'postgresql://shop@db/orders'
    """
    if format_ == "sqlite":
        return url
    return re.sub(r"(password=)[^&\s]*", r"\1...", re.sub(r"://([^:/@]*):\S*@", r"://\1@", url))


def fetch(format_: str, url: str, query: str) -> pa.Table:
    """Run `query`, which may only read, and give its whole answer.

    Raises
    ------
    DataError
        The database is missing, cannot be reached or refuses the query; a column has no one type.
    """
    return _fetch_sqlite(url, query) if format_ == "sqlite" else _fetch_postgresql(url, query)


def _fetch_sqlite(url: str, query: str) -> pa.Table:
    from adbc_driver_manager import Error  # noqa: PLC0415  - a driver is loaded where it is used
    from adbc_driver_sqlite import dbapi  # noqa: PLC0415

    file = Path(url.removeprefix("sqlite:///"))
    if not file.is_file():  # SQLite would create it.
        raise DataError(f"{file}: no such database; check source.url")
    try:
        with (
            dbapi.connect(f"file:{quote(str(file))}?mode=ro") as connection,
            connection.cursor(adbc_stmt_kwargs={"adbc.sqlite.query.batch_rows": "1000000"}) as cursor,
        ):
            # SQLite types values, not columns: the driver settles a column's type on its first batch, so a large one.
            cursor.execute(query)
            return cursor.fetch_arrow_table()
    except Error as error:
        raise _refused(str(file), error) from error


def _fetch_postgresql(url: str, query: str) -> pa.Table:
    try:
        from adbc_driver_manager import Error  # noqa: PLC0415
        from adbc_driver_postgresql import dbapi  # noqa: PLC0415
    except ImportError as error:
        raise DataError("format postgresql needs its driver; run: pip install 'considerate[postgres]'") from error
    try:
        with dbapi.connect(url) as connection, connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(query)
            return cursor.fetch_arrow_table()
    except Error as error:
        raise _refused(public_name("postgresql", url), error) from error


def _refused(named: str, error: Exception) -> DataError:
    # The first line of a driver's message is about the connection or the statement, never about a row.
    reason = public_name("postgresql", str(error).splitlines()[0])
    return DataError(f"{named}: {reason}; check source.url and source.query")
