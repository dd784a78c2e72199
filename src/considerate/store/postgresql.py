"""The store on a PostgreSQL server: for a shop that outgrows one machine."""

from collections.abc import Mapping
from functools import lru_cache
from time import monotonic
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Dialect, Engine, Select, create_engine, event, text
from sqlalchemy.engine import URL
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import ConnectionPoolEntry

from considerate.errors import StoreBusy, StoreError, StoreLocked, StoreUnavailable
from considerate.store.sqlite import WRITING, close_what_outlives_its_engine

if TYPE_CHECKING:
    import psycopg
    from psycopg.abc import PQGen

GLANCING = "considerate_glancing"
"""Execution option of a connection for one statement; see `store.engine.glancing`."""

WRITE_LOCK = 7236546
"""Number of the advisory lock that stands for SQLite's write lock: one who decides, or many who record."""

CONNECT_SECONDS = 5.0
"""How long opening a connection may take where the caller set no limit."""

_IDLE_MS = 5_000
"""A process that was stopped within a transaction does not keep the write lock for good."""


def postgresql_engine(address: URL, *, read_only: bool, busy_timeout_ms: int, limit_ms: int | None) -> Engine:
    """Give an engine on a PostgreSQL database; nothing is opened before its first use, and no schema is looked for.

    Parameters
    ----------
    address
        URL of the primary server.
    read_only
        Refuse every write at the database itself.
    busy_timeout_ms
        How long a statement waits for another process's write, in milliseconds.
    limit_ms
        Give up whatever takes longer: a connection, a statement, the wait for a connection that is free. None for
        work that may take its time.

    Raises
    ------
    StoreError
        The driver is not installed.
    """
    try:
        connection_class = _connection_class()
    except ImportError as error:
        raise StoreError("a PostgreSQL store needs its driver; run: pip install 'considerate[postgres]'") from error
    settings = {
        "default_transaction_read_only": "on" if read_only else "off",
        # Sooner than the limit, so that who waits for a lock is told so.
        "lock_timeout": min(busy_timeout_ms, limit_ms * 9 // 10) if limit_ms else busy_timeout_ms,
        "statement_timeout": limit_ms or 0,
        "idle_in_transaction_session_timeout": _IDLE_MS if limit_ms else 0,
    }
    parameters = _parameters(address, settings)
    # The server ends a statement at the limit and says so; only one that says nothing costs its connection.
    seconds = None if limit_ms is None else (limit_ms + max(20, limit_ms // 10)) / 1000

    def connect() -> "psycopg.Connection[Any]":
        connection: psycopg.Connection[Any] = connection_class.open(parameters, seconds)
        return connection

    engine = create_engine(
        address.set(drivername="postgresql+psycopg"),
        creator=connect,
        hide_parameters=True,
        # A request path has few threads, and a server a hundred connections for the processes of all hosts.
        pool_size=2 if limit_ms else 4,
        max_overflow=2 if limit_ms else 12,
        pool_timeout=30 if seconds is None else seconds,
        # A write asks first whether its connection still stands; a read finds out by itself and is not repeated.
        pool_pre_ping=not read_only,
        pool_reset_on_return="rollback",
    )
    close_what_outlives_its_engine(engine)
    _begin_as_asked(engine, read_only=read_only)
    return engine


def ask_driver(conn: Connection, statement: Select[Any], parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Run a select on a connection from `glancing` by the driver alone: half of the time is SQLAlchemy's otherwise.

    Raises
    ------
    DBAPIError
        As SQLAlchemy would.
    """
    from psycopg import Error  # noqa: PLC0415 - a driver is loaded where it is used

    raw: Any = conn.connection.driver_connection
    raw.begin_counting()
    if not raw.autocommit:
        raw.autocommit = True
    try:
        with raw.cursor() as cursor:
            asked, constants = _compiled(statement, conn.dialect)
            rows: list[tuple[Any, ...]] = cursor.execute(asked, {**constants, **parameters}, prepare=True).fetchall()
            return rows
    except Error as error:
        if raw.closed:
            conn.invalidate()
        raise DBAPIError(None, None, error, connection_invalidated=raw.closed) from None


@lru_cache(maxsize=8)
def _compiled(statement: Select[Any], dialect: Dialect) -> tuple[str, Mapping[str, Any]]:
    compiled = statement.compile(dialect=dialect)
    return str(compiled), compiled.params


def _begin_as_asked(engine: Engine, *, read_only: bool) -> None:
    from psycopg import IsolationLevel  # noqa: PLC0415 - a driver is loaded where it is used

    @event.listens_for(engine, "connect")
    def _connected(raw: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        if not read_only:
            # Durable before it is acknowledged, whatever the server's default; a replica's say is not lowered.
            with raw.cursor() as cursor:  # type: ignore[attr-defined]  # psycopg's
                cursor.execute(
                    "SELECT set_config('synchronous_commit', 'on', false) "
                    "WHERE current_setting('synchronous_commit') = 'off'"
                )
            raw.commit()

    @event.listens_for(engine, "checkin")
    def _given_back(raw: Any, _: ConnectionPoolEntry) -> None:
        if raw is not None:
            raw.deadline = None

    @event.listens_for(engine, "begin")
    def _begin(conn: Connection) -> None:
        raw: Any = conn.connection.driver_connection
        raw.begin_counting()
        options = conn.get_execution_options()
        mode, alone = options.get(WRITING), bool(options.get(GLANCING))
        if raw.autocommit is not alone:
            raw.autocommit = alone
        if mode is None:
            raw.isolation_level, raw.read_only = IsolationLevel.REPEATABLE_READ, True
            return
        # Not a stricter level: its snapshot would be older than the lock, and what was committed while waiting for
        # the lock would not be seen. Under the lock, every statement sees what is true until the commit.
        raw.isolation_level, raw.read_only = IsolationLevel.READ_COMMITTED, None
        lock = "pg_advisory_xact_lock_shared" if mode == "shared" else "pg_advisory_xact_lock"
        conn.exec_driver_sql(f"SELECT {lock}({WRITE_LOCK})")


def _parameters(address: URL, settings: dict[str, Any]) -> dict[str, Any]:
    given = address.translate_connect_args(username="user", database="dbname")
    query = {name: value if isinstance(value, str) else ",".join(value) for name, value in address.query.items()}
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return {
        "application_name": "considerate",
        **given,
        **query,
        "options": f"{query.get('options', '')} {options}".strip(),
    }


@lru_cache(maxsize=1)
def _connection_class() -> Any:
    import psycopg  # noqa: PLC0415 - a driver is loaded where it is used
    from psycopg import conninfo, errors, waiting  # noqa: PLC0415

    class Bounded(psycopg.Connection[Any]):
        """A connection whose transaction waits for its server `seconds` in all, also for one that says nothing.

        The timeouts of server and libpq do not do that: the first need a server that works, the second whole seconds.
        """

        seconds: float | None = None
        deadline: float | None = None

        def begin_counting(self) -> None:
            """Let the time of the transaction run from now on."""
            self.deadline = None if self.seconds is None else monotonic() + self.seconds

        @classmethod
        def open(cls, parameters: dict[str, Any], seconds: float | None) -> "Bounded":
            gen = cls._connect_gen(conninfo.make_conninfo("", **parameters))
            connection = waiting.wait_conn(gen, interval=0.1, timeout=seconds or CONNECT_SECONDS)
            connection.seconds = seconds
            return connection

        def wait(self, gen: "PQGen[Any]", interval: float = 0.1, timeout: float | None = None) -> Any:
            if timeout is None:
                timeout = self.seconds if self.deadline is None else max(0.0, self.deadline - monotonic())
            try:
                return super().wait(gen, interval, timeout)
            except errors._WaitTimeout:
                # An answer that comes later must not be taken for that of the next statement.
                self.pgconn.finish()
                raise

    return Bounded


def refuse_replica(conn: Connection, name: str) -> None:
    """Refuse a server that repeats another one: it may lag behind, and would show a consent that was withdrawn.

    Raises
    ------
    StoreError
        The server is a replica.
    """
    if conn.execute(text("SELECT pg_is_in_recovery()")).scalar():
        raise StoreError(f"{name}: a replica, which may lag behind; consent is read from the primary: name that one")


def postgresql_error(name: str, error: DBAPIError) -> StoreError:
    """Say what to do about an error of PostgreSQL; of its message nothing is passed on, as it may hold values."""
    state: str = getattr(error.orig, "sqlstate", None) or _state_of_login(str(error.orig))
    if state == "55P03":
        return StoreLocked(f"{name}: locked by another process that writes; wait for it to end, then try again")
    if state in ("40001", "40P01"):
        return StoreLocked(f"{name}: another process changed the same rows first; try again")
    for prefix, advice in _UNAVAILABLE.items():
        if state.startswith(prefix):
            # That a statement took too long was said by a server that works.
            return (StoreBusy if prefix == "57014" else StoreUnavailable)(f"{name}: {advice}")
    if not state and (error.connection_invalidated or type(error.orig).__name__ in _NO_ANSWER):
        return StoreUnavailable(f"{name}: {_UNAVAILABLE['08']}")
    for prefix, advice in _REFUSED.items():
        if state.startswith(prefix):
            return StoreError(f"{name}: {advice}")
    return StoreError(
        f"{name}: the database refuses: {_named(error.orig, state)}; "
        "if nobody changed its schema by hand, report this as a defect"
    )


def _state_of_login(message: str) -> str:
    """Give the state behind a login that failed: libpq passes on the server's words alone, and not its code."""
    return next((state for words, state in _LOGIN.items() if words in message), "")


_LOGIN = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "authentication failed": "28000",
    "connection slots": "53300",
    "too many": "53300",
    "starting up": "57P03",
    "shutting down": "57P03",
    'database "': "3D000",
    'role "': "28000",
}
_NO_ANSWER = ("OperationalError", "_WaitTimeout", "ConnectionTimeout")
_UNAVAILABLE = {
    "57014": "does not answer in time; see what keeps the server busy, then try again",
    "57P": "the server stops or starts; try again when it runs",
    "53300": "the server has no connection left; raise max_connections, or run fewer workers",
    "08": "does not answer; check that the server runs, and the database URL: its host and port first",
    "25P03": "the transaction stood still for too long and was ended; try again",
}
_REFUSED = {
    "28": "the server refuses the login; check user, password and pg_hba.conf",
    "3D": "no such database; create it with PostgreSQL's createdb, then run: considerate db upgrade",
    "25006": "read-only; name the primary server, and a user who may write",
    "42501": "the user of the database URL lacks a permission; let the owner of the tables grant it",
    "53100": "the disk of the server is full; free some space, then try again",
    "22021": "a text holds characters that the database cannot store; see that it is created with encoding UTF8",
}


def _named(error: BaseException | None, state: str) -> str:
    diag = getattr(error, "diag", None)
    if state == "P0001":
        # Raised by a trigger of ours: a fixed text.
        return str(getattr(diag, "message_primary", ""))
    # Names of the schema, never a value.
    where = [getattr(diag, name, None) for name in ("table_name", "constraint_name", "column_name")]
    return " ".join([type(error).__name__, state, *(name for name in where if name)]).strip()
