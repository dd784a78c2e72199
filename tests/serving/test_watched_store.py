"""A PostgreSQL that hangs, is cut off or comes back: no list waits for it, and none is personal meanwhile."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert, make_url, select, text
from tests.databases import Database, PostgresServer

from considerate.consent.purposes import Purpose
from considerate.errors import StoreBusy, StoreError, StoreLocked, StoreUnavailable
from considerate.serving.customers import StoredCustomers
from considerate.serving.resources import READERS
from considerate.serving.watched_store import WatchedStore
from considerate.store.engine import writing
from considerate.store.tables import catalogue_state

if TYPE_CHECKING:
    from tests.serving.conftest import World

ON_POSTGRESQL = pytest.mark.parametrize(
    "store_kind", [pytest.param("postgresql", marks=pytest.mark.slow)], indirect=True
)
CONSENTED = ("personalised", "ok")
CLOSED = ("non_personalised", "consent_unavailable")
IN_TIME = 0.15
TOLD_BY_SERVER_MS = 2_000
"""Of a timeout the server keeps nine tenths or all, the client a tenth more: that is how late the server may be."""
BUSY_MACHINE = 4
"""How many times slower a machine that runs other tests may be."""


class Line:
    """A TCP line to a PostgreSQL server that can fall silent, or be cut.

    Attributes
    ----------
    silent
        Accepts connections and bytes, and passes nothing on.
    cut
        Ends every connection at once.
    """

    def __init__(self, server: PostgresServer) -> None:
        self.silent = self.cut = False
        self._target = f"{make_url(server.url).query['host']}/.s.PGSQL.5432"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.ends: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def url(self, url: str) -> str:
        """Give the URL of a database of the server, over this line."""
        port = self._listener.getsockname()[1]
        address = make_url(url).set(host="127.0.0.1", port=port, query={"sslmode": "disable"})
        return address.render_as_string(hide_password=False)

    def close(self) -> None:
        self.cut = True
        # A listener that another thread waits on is closed for good only once that thread has been woken.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End the connections there are."""
        for end in self.ends:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self.ends.clear()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                if self.cut:
                    near.close()
                    continue
                far = socket.socket(socket.AF_UNIX)
                far.connect(self._target)
                self.ends += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(one, other), daemon=True).start()

    def _pass(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while content := one.recv(65_536):
                while self.silent:
                    time.sleep(0.01)
                other.sendall(content)


@pytest.fixture
def line(postgres_server: PostgresServer) -> Iterator[Line]:
    made = Line(postgres_server)
    yield made
    made.silent = False
    made.close()


@pytest.fixture
def customers(world: "World", line: Line) -> Iterator[StoredCustomers]:
    """The store of the shop as its service reaches it, with the timeouts of a service."""
    world.know("ann", Purpose.PERSONALISE_ONSITE)
    world.buy("ann", "milk")
    keys = world.home / "keys"
    made = StoredCustomers(line.url(world.url), keys, read_timeout_ms=100, write_timeout_ms=300)
    yield made
    made.close()


def answer(world: "World", customers: StoredCustomers) -> tuple[str, str]:
    body = world.ask("ann", customers=customers)
    return body["basis"], body["reason"]


def until(said: tuple[str, str], ask: Callable[[], tuple[str, str]], *, seconds: float = 10) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if ask() == said:
            return True
        time.sleep(0.05)
    return False


@ON_POSTGRESQL
def test_a_store_that_falls_silent_closes_every_list_in_time_and_opens_them_when_it_answers(
    world: "World", customers: StoredCustomers, line: Line
) -> None:
    assert until(CONSENTED, lambda: answer(world, customers))
    client, token = world.client(customers=customers), world.token("ann")
    line.silent = True
    waits = []
    for _ in range(20):
        started = time.monotonic()
        body = client("GET", "/v1/me/recommendations", headers=token).json()
        waits.append(time.monotonic() - started)
        assert (body["basis"], body["reason"]) == CLOSED
    assert max(waits) < IN_TIME * BUSY_MACHINE
    # Most of them do not even ask.
    assert sorted(waits)[10] < IN_TIME
    refused = client("DELETE", "/v1/me/consents", headers=token)
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    line.silent = False
    assert until(CONSENTED, lambda: answer(world, customers))


@ON_POSTGRESQL
def test_a_store_that_is_cut_off_closes_every_list_and_opens_them_when_it_is_back(
    world: "World", customers: StoredCustomers, line: Line
) -> None:
    assert until(CONSENTED, lambda: answer(world, customers))
    line.cut = True
    line.hang_up()
    assert [answer(world, customers) for _ in range(5)] == [CLOSED] * 5
    line.cut = False
    assert until(CONSENTED, lambda: answer(world, customers))


@ON_POSTGRESQL
def test_a_service_that_starts_before_its_store_finds_it_later(
    world: "World", customers: StoredCustomers, line: Line
) -> None:
    line.cut = True
    assert answer(world, customers) == CLOSED
    line.cut = False
    assert until(CONSENTED, lambda: answer(world, customers))


@pytest.fixture
def store(database: Database) -> Iterator[WatchedStore]:
    made = WatchedStore(database.url, read_only=False, timeout_ms=TOLD_BY_SERVER_MS)
    yield made
    made.close()


def test_a_store_is_opened_at_its_first_use_and_after_it_was_closed(store: WatchedStore) -> None:
    assert store.identity is None
    for _ in range(2):
        with store.transaction() as conn:
            assert conn.execute(select(catalogue_state)).all() == []
        store.close()
    assert store.identity is not None


def test_a_lock_that_another_holds_is_no_reason_to_open_the_store_anew(database: Database, store: WatchedStore) -> None:
    with store.connection():
        before = store.identity
    with writing(database.open()), pytest.raises(StoreLocked), store.transaction():
        pytest.fail("two writers at once")
    with store.transaction() as conn:
        conn.execute(insert(catalogue_state), {"id": 1, "version": 1})
    assert store.identity == before


@pytest.mark.slow
def test_a_statement_that_takes_too_long_or_finds_no_connection_leaves_the_store_open(
    postgresql_database: Database,
) -> None:
    with closing(WatchedStore(postgresql_database.url, read_only=True, timeout_ms=TOLD_BY_SERVER_MS)) as store:
        with store.connection():
            before = store.identity
        slow = pytest.raises(StoreBusy, match="does not answer in time; see what keeps the server busy")
        with slow, store.connection() as conn:
            conn.execute(text("SELECT pg_sleep(30)"))
        with ExitStack() as held:
            for _ in range(4):
                held.enter_context(store.connection())
            with pytest.raises(StoreBusy, match="every connection is in use"), store.connection():
                pytest.fail("a fifth connection")
        with store.connection():
            assert store.identity == before


@ON_POSTGRESQL
def test_slow_reads_beside_the_lists_take_nobodys_list_away(world: "World", customers: StoredCustomers) -> None:
    assert until(CONSENTED, lambda: answer(world, customers))
    client, token = world.client(customers=customers), world.token("ann")
    catalogue, reading = customers.catalogue(), threading.Semaphore(0)
    with customers.reading():
        pass  # opened: four threads at once would wait for that no longer than for an answer

    def read_slowly() -> None:
        with suppress(StoreError), customers.reading() as (conn, _):
            reading.release()
            conn.execute(text("SELECT pg_sleep(2)"))

    readers = [threading.Thread(target=read_slowly) for _ in range(4)]
    for reader in readers:
        reader.start()
    for _ in readers:
        assert reading.acquire(timeout=10)
    while any(reader.is_alive() for reader in readers):
        assert client("GET", "/v1/me/recommendations", headers=token).json()["reason"] == "ok"
    # Each of them was ended by the server, and the next one is served.
    assert customers.catalogue() is catalogue
    with customers.reading():
        pass


def test_few_threads_read_beside_the_lists(world: "World") -> None:
    resources, lock = world.resources, threading.Lock()
    now, most = 0, 0

    def read() -> None:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02)
        with lock:
            now -= 1

    async def all_at_once() -> None:
        await asyncio.gather(*(resources.read(read) for _ in range(20)))

    asyncio.run(all_at_once())
    assert most == READERS


@pytest.mark.slow
def test_a_store_that_came_back_is_another_one_until_it_is_read_again(
    postgresql_database: Database, line: Line
) -> None:
    store = WatchedStore(line.url(postgresql_database.url), read_only=True, timeout_ms=300)
    with store.connection():
        before = store.identity
    line.hang_up()
    with pytest.raises(StoreUnavailable), store.connection() as conn:
        conn.execute(select(catalogue_state))

    def identity() -> Any:
        with suppress(StoreError), store.connection():
            return store.identity

    end = time.monotonic() + 10
    while identity() is None and time.monotonic() < end:
        time.sleep(0.05)
    assert identity() not in (None, before)
    store.close()


@pytest.mark.slow
def test_what_opens_after_nobody_waits_any_more_is_closed_again(postgresql_database: Database, line: Line) -> None:
    store = WatchedStore(line.url(postgresql_database.url), read_only=True, timeout_ms=2000)
    line.silent = True
    refused: list[StoreError] = []

    def use() -> None:
        try:
            with store.connection():
                pytest.fail("opened")
        except StoreError as error:
            refused.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    end = time.monotonic() + 10
    while not line.ends and time.monotonic() < end:
        time.sleep(0.01)  # until it is on its way to the server
    store.close()
    line.silent = False
    thread.join(10)
    assert [type(error) for error in refused] == [StoreUnavailable]
    assert "closed meanwhile; try again" in str(refused[0])


def test_a_file_that_is_gone_is_named(sqlite_database: Database, tmp_path: Path) -> None:
    assert sqlite_database.file is not None
    with closing(WatchedStore(sqlite_database.url, read_only=True, timeout_ms=100)) as store:
        sqlite_database.file.unlink()
        with pytest.raises(StoreError, match=r"considerate\.db: cannot be opened: .*; restore it from a backup"):
            store.connection().__enter__()
