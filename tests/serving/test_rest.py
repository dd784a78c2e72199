"""A store that keeps readers waiting: every page still gets its list in time, and nobody's own."""

import socket
import sqlite3
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import pytest

from considerate.consent.purposes import Purpose
from considerate.errors import StoreError, StoreUnavailable
from considerate.serving.customers import StoredCustomers
from considerate.serving.rest import REST_SECONDS, VAIN_SECONDS, Rest

if TYPE_CHECKING:
    from tests.serving.conftest import Client, World

on_sqlite = pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)

SECONDS = 0.15
"""Within which a page gets its list, whatever its store does."""

CLOSED = ("non_personalised", "consent_unavailable")


class Clock:
    """Seconds that tests set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def read(rest: Rest, clock: Clock, *, takes: float, fails: bool) -> str:
    try:
        with rest.watched():
            clock.now += takes
            if fails:
                raise StoreError("locked")
    except StoreUnavailable:
        return "rests"
    except StoreError:
        return "failed"
    return "read"


def test_after_a_wait_in_vain_one_read_in_a_while_tries_again() -> None:
    clock = Clock()
    rest = Rest(clock)
    assert read(rest, clock, takes=0.1, fails=True) == "failed"
    assert read(rest, clock, takes=0.1, fails=True) == "rests"
    clock.now += REST_SECONDS - 0.01
    assert read(rest, clock, takes=0.1, fails=False) == "rests"
    clock.now += 0.01
    assert read(rest, clock, takes=0.1, fails=True) == "failed"
    assert read(rest, clock, takes=0.1, fails=False) == "rests"
    clock.now += REST_SECONDS
    assert [read(rest, clock, takes=0.1, fails=False) for _ in range(3)] == ["read"] * 3


def test_a_read_that_fails_at_once_holds_up_nobody_and_may_be_tried_again() -> None:
    clock = Clock()
    rest = Rest(clock)
    assert [read(rest, clock, takes=VAIN_SECONDS / 2, fails=True) for _ in range(3)] == ["failed"] * 3
    assert read(rest, clock, takes=0, fails=False) == "read"


def test_what_is_wrong_is_said_once_and_so_is_its_end(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    rest = Rest(clock)
    for _ in range(3):
        assert read(rest, clock, takes=0.1, fails=True) == "failed"
        assert read(rest, clock, takes=0, fails=True) == "rests"
        clock.now += REST_SECONDS
    said = ["the store cannot be read, and no list is personal: locked"]
    assert caplog.messages == said
    assert [read(rest, clock, takes=0, fails=False) for _ in range(3)] == ["read"] * 3
    assert caplog.messages == [*said, "the store is read again"]
    read(rest, clock, takes=0, fails=True)
    assert caplog.messages == [*said, "the store is read again", *said]


@on_sqlite
def test_a_store_that_is_down_is_not_complained_of_with_every_list(
    consented: "World", caplog: pytest.LogCaptureFixture
) -> None:
    client, headers = consented.client(), consented.token("ann")
    (consented.home / "considerate.db").rename(consented.home / "aside.db")
    for _ in range(5):
        assert timed(client, headers)[1]["reason"] == "consent_unavailable"
    complaints = [message for message in caplog.messages if "cannot be" in message]
    assert len(complaints) == 1
    assert "considerate.db: cannot be opened" in complaints[0]
    (consented.home / "aside.db").rename(consented.home / "considerate.db")


@contextmanager
def locked(world: "World") -> Iterator[None]:
    """Let another process hold the database so that nobody can even read."""
    world.customers.close()
    with closing(sqlite3.connect(world.home / "considerate.db", isolation_level=None)) as locker:
        locker.execute("PRAGMA locking_mode = EXCLUSIVE")
        locker.execute("BEGIN IMMEDIATE")
        yield
        locker.execute("ROLLBACK")


def timed(client: "Client", headers: dict[str, str]) -> tuple[float, dict[str, Any]]:
    started = time.monotonic()
    answer = client("GET", "/v1/me/recommendations", headers=headers)
    seconds = time.monotonic() - started
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return seconds, body


def fastest_first_answer(client: "Client", headers: dict[str, str], *, rounds: int = 5) -> float:
    """Give the shortest time of an answer that had to wait for the store: the machine may have paused in the others."""
    times = []
    for _ in range(rounds):
        seconds, body = timed(client, headers)
        assert (body["basis"], body["reason"]) == CLOSED
        times.append(seconds)
        time.sleep(REST_SECONDS)
    return min(times)


@pytest.fixture
def consented(world: "World") -> "World":
    world.know("ann", Purpose.PERSONALISE_ONSITE)
    world.buy("ann", "milk")
    assert world.ask("ann")["basis"] == "personalised"
    return world


@on_sqlite
def test_a_locked_store_costs_a_page_its_own_list_and_not_its_time(consented: "World") -> None:
    client, headers = consented.client(), consented.token("ann")
    with locked(consented):
        assert fastest_first_answer(client, headers) < SECONDS
        seconds, answers = zip(*(timed(client, headers) for _ in range(20)), strict=True)
        assert statistics.median(seconds) < consented.config.store.read_timeout_ms / 1000, "each waits for itself"
        assert all((body["basis"], body["reason"]) == CLOSED and body["items"] for body in answers)
    time.sleep(REST_SECONDS)
    assert timed(client, headers)[1]["basis"] == "personalised"


@on_sqlite
def test_a_withdrawal_while_the_store_rests_is_written_and_not_forgotten(consented: "World") -> None:
    client, headers = consented.client(), consented.token("ann")
    with locked(consented):
        timed(client, headers)
    withdrawn = client("DELETE", "/v1/me/consents/personalise_onsite", headers=headers)
    assert (withdrawn.status_code, withdrawn.json()["state"]) == (200, "withdrawn")
    time.sleep(REST_SECONDS)
    assert timed(client, headers)[1]["reason"] == "withdrawn"


@contextmanager
def server(behave: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen like a database server and `behave` towards each connection; give the port."""
    held: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                held.append(connection)
                behave(connection)

        threading.Thread(target=accept, daemon=True).start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    for connection in held:
        connection.close()


def says_nothing(_: socket.socket) -> None:
    """Hang: neither an answer nor an end."""


def hangs_up(connection: socket.socket) -> None:
    connection.close()


def talks_nonsense(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 100)


@on_sqlite
@pytest.mark.parametrize("behave", [says_nothing, hangs_up, talks_nonsense])
def test_a_database_server_that_does_not_answer_costs_a_page_its_own_list_and_not_its_time(
    consented: "World", behave: Callable[[socket.socket], None]
) -> None:
    with server(behave) as port:
        url = f"postgresql://shop:canary-7f3a@127.0.0.1:{port}/considerate"
        customers = StoredCustomers(url, consented.home / "keys", read_timeout_ms=100, write_timeout_ms=300)
        client, headers = consented.client(customers=customers), consented.token("ann")
        # A worker asks once before it takes requests: the first attempt loads the driver.
        assert customers.catalogue() is None
        assert fastest_first_answer(client, headers) < SECONDS
        refused = client("DELETE", "/v1/me/consents", headers=headers)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
        assert "canary-7f3a" not in refused.text
        customers.close()
