"""The store in one SQLite file: the default, for one machine."""

import os
import re
import sqlite3
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from considerate.errors import StoreError, StoreLocked

WRITING = "considerate_writing"
"""Execution option of a connection that may write; see `store.engine.writing`."""

_SWITCH_AGAIN_SECONDS = 0.01


def sqlite_path(address: URL, name: str, *, create: bool) -> Path:
    """Give the file of a SQLite URL, with its folder made if it may be created.

    Raises
    ------
    StoreError
        The URL names no file, there is none and none may be made, or its folder cannot be made.
    """
    if not address.database or address.database == ":memory:":
        raise StoreError(f"{name}: names no file; processes share a store, so write sqlite:///PATH")
    path = Path(address.database)
    if not path.exists():
        if not create:
            raise StoreError(
                f"{name}: no such database; check its name, restore it from a backup if there was one, or create it "
                "with: considerate db upgrade"
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{name}: its folder cannot be created: {error.strerror}; choose another path") from error
    return path


def sqlite_engine(path: Path, *, read_only: bool = False, busy_timeout_ms: int = 5000) -> Engine:
    """Give an engine on a SQLite file; nothing is opened before its first use, and no schema is looked for.

    Parameters
    ----------
    path
        The file; a missing one is made at the first connection unless `read_only`.
    read_only
        Refuse every write at the database itself.
    busy_timeout_ms
        How long a statement waits for another process's write, in milliseconds.
    """
    uri = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}"

    def connect() -> sqlite3.Connection:
        if not read_only and not path.exists():
            # For its owner alone, and so are the log and the index that SQLite keeps beside it.
            with suppress(OSError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
        # Autocommit in the driver: the "begin" hook below alone decides how a transaction starts.
        connection = sqlite3.connect(
            uri, uri=True, timeout=busy_timeout_ms / 1000, isolation_level=None, check_same_thread=False
        )
        try:
            connection.execute(f"PRAGMA busy_timeout = {int(busy_timeout_ms)}")
            connection.execute("PRAGMA foreign_keys = ON")
            # FULL: a consent that was acknowledged survives a power cut.
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA cache_size = -16384")
            # A bulk load leaves a log as large as itself; cut it back at the next checkpoint.
            connection.execute("PRAGMA journal_size_limit = 67108864")
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(
        URL.create("sqlite", database=str(path)),
        creator=connect,
        hide_parameters=True,
        pool_size=8,
        max_overflow=56,
        pool_reset_on_return="rollback",
    )
    close_what_outlives_its_engine(engine)

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        if conn.get_execution_options().get(WRITING):
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            # Straight to the driver: a deferred BEGIN takes no lock and cannot fail, and every request pays for it.
            conn.connection.cursor().execute("BEGIN")

    return engine


def close_what_outlives_its_engine(engine: Engine) -> None:
    """Let an engine that was disposed keep no connection: one that comes back then is closed, not kept for later."""
    disposed = False

    @event.listens_for(engine, "engine_disposed")
    def _disposed(_: Engine) -> None:
        nonlocal disposed
        disposed = True

    @event.listens_for(engine, "checkin")
    def _given_back(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        # `dispose` closes idle connections alone. What another thread still used, or opens a moment later, would lie
        # in a pool that nobody disposes of any more.
        if disposed:
            record.close()


def switch_to_wal(engine: Engine) -> None:
    """Let readers read while one writes: a property of the file, which holds for every later connection.

    Raises
    ------
    StoreLocked
        Another process held the file for longer than the busy timeout.
    StoreError
        It is no database, or cannot be written.
    """
    with engine.connect() as conn:
        raw = conn.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)  # noqa: S101 - narrows the type
        (busy_timeout_ms,) = raw.execute("PRAGMA busy_timeout").fetchone()
        end = monotonic() + busy_timeout_ms / 1000
        while True:
            try:
                raw.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.DatabaseError as error:
                # Of two that switch at the same time SQLite refuses one at once, whatever its timeout.
                refusal = sqlite_error(str(engine.url.database), error)
                if not isinstance(refusal, StoreLocked) or monotonic() >= end:
                    raise refusal from None
            sleep(_SWITCH_AGAIN_SECONDS)


def sqlite_error(name: str, error: BaseException | None) -> StoreError:
    """Say what to do about an error of SQLite; of its message only what names a part of the schema is passed on."""
    message = str(error)
    lowered = message.lower()
    # First of all: it quotes the value, in which any of the words below may stand.
    if lowered.startswith("could not decode"):
        return StoreError(f"{name}: holds text that is not UTF-8, so it is damaged; restore it from a backup")
    if "locked" in lowered or "busy" in lowered:
        return StoreLocked(f"{name}: locked by another process that writes; wait for it to end, then try again")
    return StoreError(f"{name}: {_advice(message, lowered)}")


def _advice(message: str, lowered: str) -> str:
    if "readonly" in lowered or "read-only" in lowered:
        return "read-only; check the permissions of the file and of its folder"
    if "unable to open" in lowered:
        return "cannot be opened; check that the folder exists and the permissions of the file and of its folder"
    if "not a database" in lowered or "malformed" in lowered:
        return "not a considerate database, or damaged; restore it from a backup or choose another file"
    if "full" in lowered:
        return "the disk is full; free some space, then try again"
    said = message if _OF_THE_SCHEMA.fullmatch(message) else "an error that it names no table or column for"
    return f"the database refuses: {said}; if nobody changed its schema by hand, report this as a defect"


_OF_THE_SCHEMA = re.compile(
    r"no such (table|column): .*|(UNIQUE|NOT NULL|CHECK) constraint failed: .*|FOREIGN KEY constraint failed"
    r"|\w+ is append-only"
)
"""Messages that name a part of the schema, or come from a trigger of ours. Others may quote a value."""
