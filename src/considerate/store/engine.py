"""Opening the store, and the three ways to use it: `reading`, `writing` and `recording`."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

from sqlalchemy import Connection, Engine, Select, inspect, make_url, text
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from considerate.errors import StoreBusy, StoreError
from considerate.store.postgresql import GLANCING, ask_driver, postgresql_engine, postgresql_error, refuse_replica
from considerate.store.sqlite import WRITING, sqlite_engine, sqlite_error, sqlite_path, switch_to_wal

REVISIONS = ("0001", "0002")
"""Every revision of the schema, oldest first. Kept here too, so that a worker need not import alembic to check it."""

_WRITE_A_URL = "write a URL such as sqlite:///var/considerate.db or postgresql://user@host/considerate"


def open_store(
    url: str, *, create: bool, read_only: bool = False, busy_timeout_ms: int = 5000, limit_ms: int | None = None
) -> Engine:
    """Open the store and make sure that this version of considerate understands its schema.

    Parameters
    ----------
    url
        SQLAlchemy URL, such as `sqlite:///var/considerate.db` or `postgresql://user:password@host/considerate`.
    create
        Create a missing database (SQLite) and upgrade an older schema; else both are errors.
    read_only
        Refuse every write at the database itself.
    busy_timeout_ms
        How long a statement waits for another process's write, in milliseconds. Request paths pass 100.
    limit_ms
        On PostgreSQL, give up a connection, a statement, or the wait for a free connection that takes longer, also
        where the server says nothing at all; None for work that may take its time.

    Raises
    ------
    StoreUnavailable
        The database is locked, or its server does not answer in time.
    StoreError
        There is no database, or it is read-only, not a database, or of another schema.
    """
    try:
        address = make_url(url)
    except ArgumentError as error:
        # Without the URL itself, which may hold a password.
        raise StoreError(f"the database URL is not a URL; {_WRITE_A_URL}") from error
    name = display_name(address)
    if address.drivername in ("postgresql", "postgresql+psycopg"):
        engine = postgresql_engine(address, read_only=read_only, busy_timeout_ms=busy_timeout_ms, limit_ms=limit_ms)
    elif address.get_backend_name() == "sqlite":
        path = sqlite_path(address, name, create=create)
        engine = sqlite_engine(path, read_only=read_only, busy_timeout_ms=busy_timeout_ms)
    else:
        raise StoreError(f"{name}: only SQLite and PostgreSQL stores can be opened; {_WRITE_A_URL}")
    try:
        with translated_errors(name):
            _check_schema(engine, name, upgrade=create and not read_only)
    except BaseException:
        engine.dispose()
        raise
    return engine


def display_name(url: URL) -> str:
    """What messages call a database: its file, or its URL without the password."""
    if url.get_backend_name() == "sqlite" and url.database:
        return url.database
    # What follows the `?` may hold a password too.
    return URL.create(url.get_backend_name(), url.username, None, url.host, url.port, url.database).render_as_string()


def public_url(url: str) -> str:
    """Give a database URL as it may be printed: without the password."""
    address = make_url(url)
    return url if address.get_backend_name() == "sqlite" else display_name(address)


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
def glancing(engine: Engine) -> Iterator[Connection]:
    """Give a connection for one statement: alone it sees one state anyway, without the round trips of a transaction.

    What a request asks before every list is one statement; on PostgreSQL the other two thirds of its time go. On SQLite
    it is the same as `reading`.

    Raises
    ------
    StoreError
        As `reading`.
    """
    with translated_errors(display_name(engine.url)), engine.connect() as conn:
        conn.execution_options(**{GLANCING: True})
        yield conn


def ask(conn: Connection, statement: Select[Any], parameters: Mapping[str, Any]) -> Sequence[Sequence[Any]]:
    """Run a select, the faster way where `conn` comes from `glancing` on PostgreSQL."""
    if conn.dialect.name == "postgresql" and conn.get_execution_options().get(GLANCING):
        return ask_driver(conn, statement, parameters)
    return conn.execute(statement, parameters).all()


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """Give a connection in one transaction that holds the write lock from its start; commit on a clean exit.

    Taking the lock first means that what the transaction reads is still true when it writes. On PostgreSQL the lock is
    an advisory one, so it holds back whoever writes through this function or `recording`, and no reader.

    Raises
    ------
    StoreError
        The database is locked by another process, read-only, full or damaged. Nothing of the transaction stays.
    """
    with _transaction(engine, "exclusive") as conn:
        yield conn


@contextmanager
def recording(engine: Engine) -> Iterator[Connection]:
    """Give a connection in one transaction that adds rows beside other recorders, while nobody decides anything.

    For what customers did, what was served, who became known: rows that are added and never depend on each other. On
    PostgreSQL many record at once, and wait for `writing` alone: what is allowed stays as it was read. On SQLite, which
    has one writer, it is the same as `writing`.

    Raises
    ------
    StoreError
        As `writing`.
    """
    with _transaction(engine, "shared") as conn:
        yield conn


@contextmanager
def _transaction(engine: Engine, mode: Literal["exclusive", "shared"]) -> Iterator[Connection]:
    with translated_errors(display_name(engine.url)), engine.connect() as conn:
        conn.execution_options(**{WRITING: mode})
        with conn.begin():
            yield conn


def require_writing(conn: Connection, *, shared: bool = False) -> None:
    """Refuse a connection that does not come from `writing`: its reads could be stale by the time it writes.

    Parameters
    ----------
    shared
        One from `recording` will do.

    Raises
    ------
    StoreError
        The connection was opened another way.
    """
    mode = conn.get_execution_options().get(WRITING)
    if mode is None or (mode == "shared" and not shared):
        raise StoreError("this connection does not hold the write lock; open it with store.engine.writing(engine)")


@contextmanager
def translated_errors(name: str) -> Iterator[None]:
    """Turn the database's own errors into a StoreError that says what to do; `name` opens the message."""
    try:
        yield
    except PoolTimeout:
        raise StoreBusy(f"{name}: every connection is in use; wait, or run fewer requests at once") from None
    except DBAPIError as error:
        if hasattr(error.orig, "sqlstate"):
            # Not even as its cause: the text of the driver may hold values.
            raise postgresql_error(name, error) from None
        # Nor here: of text that is not UTF-8 the driver's message quotes the value.
        raise sqlite_error(name, error.orig) from None


def _check_schema(engine: Engine, name: str, *, upgrade: bool) -> None:
    if engine.dialect.name == "postgresql":
        with engine.connect() as conn:
            refuse_replica(conn, name)
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

    if engine.dialect.name == "sqlite":
        switch_to_wal(engine)
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
                "choose another database"
            )
        return None
