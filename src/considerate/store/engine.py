"""Opening the store, and the two ways to use it: `reading` and `writing`."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError, DatabaseError
from sqlalchemy.pool import ConnectionPoolEntry

from considerate.errors import StoreError

REVISIONS = ("0001", "0002")
"""Every revision of the schema, oldest first. Kept here too, so that a worker need not import alembic to check it."""

_WRITING = "considerate_writing"


def open_store(url: str, *, create: bool, read_only: bool = False, busy_timeout_ms: int = 5000) -> Engine:
    """Open the store and make sure that this version of considerate understands its schema.

    Parameters
    ----------
    url
        SQLAlchemy URL, such as `sqlite:///var/considerate.db`.
    create
        Create a missing database and upgrade an older schema; else both are errors.
    read_only
        Refuse every write at the database itself.
    busy_timeout_ms
        How long a statement waits for another process's write, in milliseconds. Request paths pass 100.

    Raises
    ------
    StoreError
        There is no database, or it is locked, read-only, not a database, or of another schema.
    """
    try:
        address = make_url(url)
    except ArgumentError as error:
        raise StoreError(f"database URL {url!r}: not a URL; write one such as sqlite:///var/considerate.db") from error
    name = display_name(address)
    if address.get_backend_name() != "sqlite":
        raise StoreError(f"{name}: only SQLite stores can be opened; write a URL such as sqlite:///var/considerate.db")
    if not address.database or address.database == ":memory:":
        raise StoreError(f"{name}: names no file; processes share a store, so write sqlite:///PATH")
    path = Path(address.database)
    if not path.exists():
        if not create:
            raise StoreError(f"{name}: no such database; create it with: considerate db upgrade")
        _make_folder(path, name)
    engine = _sqlite_engine(path, read_only=read_only, busy_timeout_ms=busy_timeout_ms)
    try:
        with translated_errors(name):
            _check_schema(engine, name, upgrade=create and not read_only)
    except BaseException:
        engine.dispose()
        raise
    return engine


def display_name(url: URL) -> str:
    """What messages call a database: its file, or its URL without the password."""
    return url.database or url.render_as_string(hide_password=True)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Give a connection whose reads all see one state of the store; writers are not held up.

    Raises
    ------
    StoreError
        The database is locked, damaged or gone.
    """
    with translated_errors(display_name(engine.url)), engine.connect() as conn:
        yield conn


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection in one transaction that holds the write lock from its start; commit on a clean exit.

    Taking the lock first means that what the transaction reads is still true when it writes.

    Raises
    ------
    StoreError
        The database is locked by another process, read-only, full or damaged. Nothing of the transaction stays.
    """
    with translated_errors(display_name(engine.url)), engine.connect() as conn:
        conn.execution_options(**{_WRITING: True})
        with conn.begin():
            yield conn


def require_writing(conn: Connection) -> None:
    """Refuse a connection that does not come from `writing`: its reads could be stale by the time it writes.

    Raises
    ------
    StoreError
        The connection was opened another way.
    """
    if not conn.get_execution_options().get(_WRITING):
        raise StoreError("this connection does not hold the write lock; open it with store.engine.writing(engine)")


@contextmanager
def translated_errors(name: str) -> Iterator[None]:
    """Turn the database's own errors into a StoreError that says what to do; `name` opens the message."""
    try:
        yield
    except DatabaseError as error:
        # `hide_parameters` keeps values out of the text; only the driver's short message is passed on.
        raise StoreError(f"{name}: {_advice(str(error.orig))}") from error


def _advice(message: str) -> str:
    lowered = message.lower()
    if "locked" in lowered or "busy" in lowered:
        return "locked by another process that writes; wait for it to end, then try again"
    if "readonly" in lowered or "read-only" in lowered:
        return "read-only; check the permissions of the file and of its folder"
    if "unable to open" in lowered:
        return "cannot be opened; check that the folder exists and the permissions of the file and of its folder"
    if "not a database" in lowered or "malformed" in lowered:
        return "not a considerate database, or damaged; restore it from a backup or choose another file"
    if "full" in lowered:
        return "the disk is full; free some space, then try again"
    return f"the database refuses: {message}; if nobody changed its schema by hand, report this as a defect"


def _make_folder(path: Path, name: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"{name}: its folder cannot be created: {error.strerror}; choose another path") from error


def _sqlite_engine(path: Path, *, read_only: bool, busy_timeout_ms: int) -> Engine:
    uri = f"file:{quote(str(path))}?mode={'ro' if read_only else 'rwc'}"

    def connect() -> sqlite3.Connection:
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

    disposals = [0]

    @event.listens_for(engine, "engine_disposed")
    def _disposed(_: Engine) -> None:
        disposals[0] += 1

    @event.listens_for(engine, "connect")
    def _connected(_: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        record.info["disposals"] = disposals[0]

    @event.listens_for(engine, "checkin")
    def _given_back(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
        # `dispose` closes idle connections alone; what another thread still used would stay open in the old pool.
        if record.info.get("disposals") != disposals[0]:
            record.close()

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        if conn.get_execution_options().get(_WRITING):
            conn.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            # Straight to the driver: a deferred BEGIN takes no lock and cannot fail, and every request pays for it.
            conn.connection.cursor().execute("BEGIN")

    return engine


def _check_schema(engine: Engine, name: str, *, upgrade: bool) -> None:
    found = schema_revision(engine)
    if found == REVISIONS[-1]:
        return
    if found is not None and found not in REVISIONS:
        raise StoreError(
            f"{name}: its schema {found} is newer than this version of considerate, which knows {REVISIONS[-1]}; "
            "install the newer version, or choose another database"
        )
    if not upgrade:
        state = "has no schema" if found is None else f"has the older schema {found}"
        raise StoreError(f"{name}: {state}, {REVISIONS[-1]} is needed; run: considerate db upgrade")
    # Imported here: only a process that may change the schema needs alembic.
    from considerate.store.migrate import upgrade_schema  # noqa: PLC0415

    _switch_to_wal(engine)
    with writing(engine) as conn:
        upgrade_schema(conn)


def schema_revision(engine: Engine) -> str | None:
    """Give the revision of the database's schema, None where there is no schema yet.

    Raises
    ------
    StoreError
        The database holds tables of something else.
    """
    with engine.connect() as conn:
        tables = inspect(conn).get_table_names()
        if "alembic_version" in tables and "consent_event" in tables:
            return conn.execute(text("SELECT version_num FROM alembic_version")).scalar()
        if tables:
            raise StoreError(
                f"{display_name(engine.url)}: holds tables of something else ({', '.join(sorted(tables)[:3])}); "
                "choose another file"
            )
        return None


def _switch_to_wal(engine: Engine) -> None:
    # WAL is a property of the file: set once, before the first transaction, it holds for every later connection.
    with engine.connect() as conn:
        raw = conn.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)  # noqa: S101 - narrows the type
        raw.execute("PRAGMA journal_mode = WAL")
