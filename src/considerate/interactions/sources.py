"""Opening a source: whatever its format, DuckDB sees one relation `source` with a row number and a file number."""

import csv
import gzip
import io
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import duckdb
import pyarrow as pa

from considerate.errors import ConfigError, DataError
from considerate.interactions import databases
from considerate.interactions.locating import locate
from considerate.settings.environment import Environment

ROW = "__row"
FILE = "__file"


class Readable(Protocol):
    """What the sections `[source]`, `[items]` and `[customers]` share."""

    @property
    def format(self) -> str:
        """`csv`, `parquet` ..."""

    @property
    def encoding(self) -> str:
        """Encoding of a CSV, by Python's name for it."""

    @property
    def delimiter(self) -> str | None:
        """Delimiter of a CSV; guessed from its header where None."""


@dataclass(frozen=True, slots=True)
class Source:
    """A relation `source` inside an open DuckDB connection.

    Attributes
    ----------
    connection
        In-memory database; its tables spill into a private temporary folder.
    named
        How messages name the source.
    files
        File i is number i in the column `__file`; one entry for a database.
    columns
        Source column -> DuckDB type. Columns of a CSV are text.
    unreadable
        Lines of CSV files that are no row: too few or too many columns, an unclosed quote. They are rows of the
        relation `unreadable_line` (`__file`, line, problem, text).
    """

    connection: duckdb.DuckDBPyConnection
    named: str
    files: tuple[str, ...]
    columns: dict[str, str]
    unreadable: int = 0


def quoted(name: str) -> str:
    """Quote an identifier for SQL, whatever is in it.

    >>> print(quoted('order "no"'))
    "order ""no\"""
    """
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """Quote a string for SQL."""
    return "'" + text.replace("'", "''") + "'"


def number_of(connection: duckdb.DuckDBPyConnection, query: str) -> int:
    """Give the one number that a query answers."""
    return int(connection.execute(query).fetchall()[0][0])


@contextmanager
def connect() -> Iterator[tuple[duckdb.DuckDBPyConnection, Path]]:
    """Open an in-memory DuckDB that fetches nothing from the network, and a private folder that ends with it.

    Raises
    ------
    KeyboardInterrupt
        Ctrl-C during a query, which DuckDB would report as an error of its own.
    """
    with tempfile.TemporaryDirectory(prefix="considerate-") as folder:
        settings: dict[str, str | bool | int | float | list[str]] = {
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
            "temp_directory": folder,
        }
        with duckdb.connect(":memory:", config=settings) as connection:
            connection.execute("SET TimeZone = 'UTC'")
            try:
                yield connection, Path(folder)
            except RuntimeError as error:
                if str(error) == "Query interrupted":
                    raise KeyboardInterrupt from error
                raise


@contextmanager
def open_files(config: Readable, path: str, environment: Environment) -> Iterator[Source]:
    """Open the CSV or Parquet files that `path` names.

    Raises
    ------
    DataError
        A file is missing, empty, not of its format, or not in the stated encoding.
    ConfigError
        The encoding is unknown.
    """
    files = locate(path, environment)
    with connect() as (connection, scratch):
        if config.format == "csv":
            unreadable = _open_csv(connection, files, config, scratch)
        else:
            unreadable = 0
            _open_parquet(connection, files)
        names = tuple(str(file) for file in files)
        yield Source(connection, path, names, _columns(connection), unreadable)


@contextmanager
def open_query(format_: str, url: str, query: str) -> Iterator[Source]:
    """Open the answer of `query`, asked of SQLite or PostgreSQL through ADBC.

    Raises
    ------
    DataError
        The database cannot be reached or refuses the query.
    """
    named = databases.public_name(format_, url)
    table = databases.fetch(format_, url, query)
    with connect() as (connection, _):
        _open_arrow(connection, table)
        yield Source(connection, named, (named,), _columns(connection))


def _columns(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    rows = connection.execute("DESCRIBE SELECT * FROM source").fetchall()
    return {str(row[0]): str(row[1]) for row in rows if row[0] not in (ROW, FILE)}


def _open_arrow(connection: duckdb.DuckDBPyConnection, table: pa.Table) -> None:
    connection.register("answer", table)
    connection.execute(f"CREATE TEMP TABLE source AS SELECT *, row_number() OVER () AS {ROW}, 0 AS {FILE} FROM answer")
    connection.unregister("answer")


def _open_parquet(connection: duckdb.DuckDBPyConnection, files: Sequence[Path]) -> None:
    for file in files:
        if file.stat().st_size == 0:
            raise DataError(f"{file}: the file is empty; export it again")
    parts = [
        # One scan per file: each keeps its own row numbers, and columns may differ in order and type.
        f"SELECT * EXCLUDE (file_row_number), file_row_number + 1 AS {ROW}, {number} AS {FILE} "
        f"FROM read_parquet({literal(_plain(file))}, file_row_number = true)"
        for number, file in enumerate(files)
    ]
    try:
        connection.execute("CREATE TEMP VIEW source AS " + " UNION ALL BY NAME ".join(parts))
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{files[0].parent}: not readable as Parquet: {reason}; export it again") from error


def _plain(file: Path) -> str:
    """Escape what DuckDB would take for a glob."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in str(file))


def _open_csv(connection: duckdb.DuckDBPyConnection, files: Sequence[Path], config: Readable, scratch: Path) -> int:
    connection.execute(
        f"CREATE TEMP TABLE unreadable_line ({FILE} INTEGER, line BIGINT, problem VARCHAR, text VARCHAR)"
    )
    parts = []
    for number, file in enumerate(files):
        utf8 = _as_utf8(file, config.encoding, scratch / f"{number}.csv")
        header, delimiter = _header(utf8, file, config.delimiter)
        typed = ", ".join(f"{literal(name)}: 'VARCHAR'" for name in header)
        connection.execute(
            f"CREATE TEMP TABLE csv_{number} AS SELECT *, row_number() OVER () AS {ROW}, {number} AS {FILE} "
            f"FROM read_csv({literal(_plain(utf8))}, auto_detect = false, header = true, columns = {{{typed}}}, "
            f"delim = {literal(delimiter)}, quote = '\"', escape = '\"', store_rejects = true, "
            "max_line_size = 16000000)"
        )
        _keep_rejects(connection, number, file, config.encoding)
        parts.append(f"SELECT * FROM csv_{number}")
    connection.execute("CREATE TEMP VIEW source AS " + " UNION ALL BY NAME ".join(parts))
    return number_of(connection, "SELECT count(*) FROM unreadable_line")


def _keep_rejects(connection: duckdb.DuckDBPyConnection, number: int, file: Path, encoding: str) -> None:
    wrong = number_of(
        connection, "SELECT coalesce(min(line), 0) FROM reject_errors WHERE error_type = 'INVALID ENCODING'"
    )
    if wrong:
        # All the file, not this line alone: whoever has an accent in the name would go missing.
        raise _wrong_encoding(file, encoding, f"line {wrong}")
    connection.execute(
        f"INSERT INTO unreadable_line SELECT {number}, line, lower(min(error_type::VARCHAR)), "
        "trim(any_value(csv_line), chr(10) || chr(13)) FROM reject_errors GROUP BY line ORDER BY line"
    )
    connection.execute("DROP TABLE reject_errors; DROP TABLE reject_scans")


def _wrong_encoding(file: Path, encoding: str, where: str) -> DataError:
    other = "latin-1 or cp1252" if encoding.lower().replace("-", "") == "utf8" else "utf-8"
    return DataError(f"{file}: {where} is not {encoding}; set encoding to the file's own, such as {other}")


def _as_utf8(file: Path, encoding: str, scratch: Path) -> Path:
    """Give `file` itself, or a copy in UTF-8, which is all that DuckDB reads without a download."""
    try:
        "".encode(encoding)
    except LookupError as error:
        raise ConfigError(f"encoding = {encoding!r}; must be one that Python knows, such as cp1252") from error
    if encoding.lower().replace("-", "") in ("utf8", "ascii"):
        return file
    try:
        with _opened(file, encoding) as source, scratch.open("w", encoding="utf-8", newline="") as target:
            for block in iter(lambda: source.read(1 << 20), ""):
                target.write(block)
    except UnicodeError:
        raise _wrong_encoding(file, encoding, "its text") from None
    return scratch


def _opened(file: Path, encoding: str) -> io.TextIOWrapper:
    if file.suffix == ".gz":
        return gzip.open(file, "rt", encoding=encoding, newline="")
    return file.open("r", encoding=encoding, newline="")


def _header(utf8: Path, file: Path, delimiter: str | None) -> tuple[list[str], str]:
    try:
        with _opened(utf8, "utf-8-sig") as lines:
            first = next(csv.reader(lines, delimiter=delimiter or ","), [])
            if delimiter is None:
                lines.seek(0)
                text = lines.readline()
                # Only the header is looked at: it has no free text that could mislead a guess.
                delimiter = max(",;\t|", key=text.count)
                first = next(csv.reader([text], delimiter=delimiter), [])
    except UnicodeDecodeError:
        raise _wrong_encoding(file, "utf-8", "its beginning") from None
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror or error}; check its permissions") from error
    if not any(name.strip() for name in first):
        raise DataError(f"{file}: the file is empty; its first line must name the columns")
    twice = sorted({name for name in first if first.count(name) > 1})
    if twice:
        raise DataError(f"{file}: the header names {twice[0]!r} twice; give each column its own name")
    return first, delimiter
