"""PostgreSQL: who waits for whom, how long anybody waits, and what is said where something is wrong."""

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import Any

import pytest
from sqlalchemy import URL, Engine, Float, bindparam, func, insert, literal, make_url, select, text, update
from tests.databases import Database, PostgresServer

from considerate.errors import StoreBusy, StoreError, StoreLocked, StoreUnavailable
from considerate.store.engine import ask, glancing, open_store, public_url, reading, recording, writing
from considerate.store.tables import catalogue_state, item, subject

pytestmark = pytest.mark.slow
VERSION = select(catalogue_state.c.version)


@pytest.fixture
def store(postgresql_database: Database) -> Database:
    return postgresql_database


@pytest.fixture
def engine(store: Database) -> Engine:
    engine = store.open()
    with writing(engine) as conn:
        conn.execute(insert(catalogue_state), {"id": 1, "version": 1})
    return engine


def seconds(act: Callable[[], object]) -> float:
    started = time.monotonic()
    with suppress(StoreError):
        act()
    return time.monotonic() - started


def setting(engine: Engine, name: str, *, write: bool = False) -> str:
    with (writing if write else reading)(engine) as conn:
        value: str = conn.execute(text(f"SHOW {name}")).scalar_one()
        return value


def test_a_reading_is_one_snapshot_that_cannot_write(engine: Engine) -> None:
    assert setting(engine, "transaction_isolation") == "repeatable read"
    assert setting(engine, "transaction_read_only") == "on"
    with pytest.raises(StoreError, match="read-only"), reading(engine) as conn:
        conn.execute(update(catalogue_state).values(version=2))


def test_a_writer_sees_what_was_committed_while_it_waited_for_the_lock(engine: Engine) -> None:
    inside, seen = threading.Event(), []

    def second() -> None:
        inside.wait()
        with writing(engine) as conn:
            seen.append(conn.execute(VERSION).scalar_one())

    thread = threading.Thread(target=second)
    thread.start()
    with writing(engine) as conn:
        inside.set()
        time.sleep(0.2)  # the other one stands in line by now
        conn.execute(update(catalogue_state).values(version=2))
    thread.join()
    assert seen == [2]


def test_many_record_at_once_and_none_while_one_decides(store: Database, engine: Engine) -> None:
    impatient = store.open(busy_timeout_ms=50)
    with recording(engine), recording(impatient) as conn:
        assert conn.execute(VERSION).scalar() == 1
    with writing(engine), pytest.raises(StoreLocked, match="wait for it to end"), recording(impatient):
        pytest.fail("recorded beside a decision")
    with recording(engine), pytest.raises(StoreLocked), writing(impatient):
        pytest.fail("decided beside a recorder")
    with writing(engine), reading(impatient) as conn:
        assert conn.execute(VERSION).scalar() == 1


def test_a_commit_is_durable_whatever_the_servers_default(
    postgres_server: PostgresServer, store: Database, engine: Engine
) -> None:
    engine.dispose()
    postgres_server.execute(f"ALTER DATABASE {make_url(store.url).database} SET synchronous_commit = off")
    assert setting(store.open(), "synchronous_commit", write=True) == "on"


def test_a_process_that_stands_still_does_not_keep_the_lock(store: Database) -> None:
    assert setting(store.open(limit_ms=700), "idle_in_transaction_session_timeout") == "5s"
    # A load may think for as long as it likes.
    assert setting(store.open(), "idle_in_transaction_session_timeout") == "0"


def test_a_statement_that_takes_too_long_is_given_up(store: Database) -> None:
    # The server has a tenth of it to say that it gave up.
    engine = store.open(limit_ms=2_000)

    def ask() -> None:
        with reading(engine) as conn:
            conn.execute(text("SELECT pg_sleep(30)"))

    with pytest.raises(StoreBusy, match="does not answer in time"):
        ask()
    assert seconds(ask) < 10
    with reading(engine) as conn:
        assert conn.execute(text("SELECT 1")).scalar() == 1


def test_many_short_statements_are_given_up_together(store: Database) -> None:
    engine = store.open(limit_ms=200)

    def ask() -> None:
        with reading(engine) as conn:
            for _ in range(30):
                conn.execute(text("SELECT pg_sleep(0.1)"))

    with pytest.raises(StoreUnavailable):
        ask()
    assert seconds(ask) < 1.5


def test_a_server_that_stops_answering_is_given_up_and_used_again_when_it_does(store: Database) -> None:
    engine = store.open(limit_ms=150, read_only=True)
    with reading(engine) as conn:
        pid = conn.execute(text("SELECT pg_backend_pid()")).scalar_one()

    def ask() -> None:
        with reading(engine) as conn:
            assert conn.execute(text("SELECT 1")).scalar() == 1

    with stopped(pid), pytest.raises(StoreUnavailable, match="does not answer"):
        ask()
    ask()


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """A process of the server that says nothing for a while."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextmanager
def silent_server() -> Iterator[int]:
    """A port that accepts connections and never says a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield listener.getsockname()[1]


def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    with silent_server() as port:
        url = f"postgresql://shop:s3cret@127.0.0.1:{port}/considerate?sslmode=disable"

        def opened() -> None:
            open_store(url, create=False, limit_ms=100)

        opened_in = seconds(opened)
        with pytest.raises(StoreUnavailable, match=r"^postgresql://shop@127\.0\.0\.1:\d+/considerate: does not answer"):
            opened()
    assert opened_in < 1


def test_a_server_that_is_not_there_is_named_without_its_password() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"postgresql://shop:s3cret@127.0.0.1:{port}/considerate?password=s3cret"
    with pytest.raises(
        StoreUnavailable, match="does not answer; check that the server runs, and the database"
    ) as caught:
        open_store(url, create=True)
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "s3cret" not in public_url(url)


def test_connections_that_are_all_in_use_are_waited_for_no_longer_than_asked(store: Database) -> None:
    engine = store.open(limit_ms=100)
    with reading(engine), reading(engine), reading(engine), reading(engine):
        with pytest.raises(StoreUnavailable, match="every connection is in use"), reading(engine):
            pytest.fail("a fifth connection")
        assert seconds(lambda: reading(engine).__enter__()) < 1


def test_a_connection_that_the_server_ended_costs_one_read_and_no_write(store: Database, engine: Engine) -> None:
    reader = store.open(read_only=True)

    def end_all() -> None:
        others = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        with reading(store.open()) as conn:
            conn.execute(text(f"SELECT pg_terminate_backend(pid, 5000) {others}"))

    with reading(engine), reading(reader):
        pass
    end_all()
    with pytest.raises(StoreUnavailable, match=r"try again when it runs|does not answer"), reading(reader) as conn:
        conn.execute(VERSION)
    with reading(reader) as conn:
        assert conn.execute(VERSION).scalar() == 1
    with writing(engine) as conn:
        conn.execute(update(catalogue_state).values(version=2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            URL.create("postgresql", "postgres", database="nowhere"),
            "no such database; create it with PostgreSQL's createdb, then run: considerate db upgrade",
        ),
        (
            URL.create("postgresql", "nobody", "s3cret", database="postgres"),
            "the server refuses the login; check user",
        ),
    ],
)
def test_what_the_server_refuses_says_what_to_do(store: Database, change: URL, message: str) -> None:
    address = make_url(store.url).set(username=change.username, password=change.password, database=change.database)
    url = address.render_as_string(hide_password=False)
    with pytest.raises(StoreError, match=message) as caught:
        open_store(url, create=True)
    assert "s3cret" not in str(caught.value)


def test_a_replica_is_refused(postgres_server: PostgresServer, store: Database) -> None:
    engine = store.open()
    with writing(engine) as conn:
        conn.execute(text("CREATE FUNCTION pg_is_in_recovery() RETURNS boolean LANGUAGE sql AS 'SELECT true'"))
    name = make_url(store.url).database
    postgres_server.execute(f"ALTER DATABASE {name} SET search_path = public, pg_catalog")
    with pytest.raises(StoreError, match="a replica, which may lag behind; consent is read from the primary"):
        open_store(store.url, create=False)


@pytest.fixture
def bare(postgres_server: PostgresServer) -> Iterator[str]:
    """URL of a database without any table."""
    name = postgres_server.create(template=None)
    yield postgres_server.url_of(name)
    postgres_server.drop(name)


def test_a_database_without_schema_is_filled_only_on_request(bare: str) -> None:
    with pytest.raises(StoreError, match=r"has no schema, \d+ is needed; run: considerate db upgrade"):
        open_store(bare, create=False)
    open_store(bare.replace("+psycopg", ""), create=True).dispose()
    open_store(bare, create=False).dispose()


def test_several_processes_may_make_the_schema_at_once(bare: str) -> None:
    code = f"from considerate.store.engine import open_store; open_store({bare!r}, create=True)"
    processes = [subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[1] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, said


def test_another_schema_is_refused(store: Database, bare: str) -> None:
    engine = store.open()
    with writing(engine) as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    with pytest.raises(StoreError, match="schema 0999 is newer than this version"):
        open_store(store.url, create=True)
    with writing(engine) as conn:
        conn.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    with pytest.raises(StoreError, match="has the older schema 0001"):
        open_store(store.url, create=False)
    other = open_store(bare, create=True)
    with writing(other) as conn:
        conn.execute(text("DROP TABLE alembic_version"))
    other.dispose()
    with pytest.raises(StoreError, match=r"holds tables of something else .*; choose another database"):
        open_store(bare, create=True)


def test_text_that_the_database_cannot_hold_is_refused_without_being_repeated(engine: Engine) -> None:
    row: dict[str, Any] = {
        **dict.fromkeys(("group_id", "title", "category", "brand", "image_url", "sensitive"), ""),
        "item_id": "canary\x00",
        "min_age": 0,
        "in_stock": True,
        "features": {},
    }
    with pytest.raises(StoreError, match="the database refuses: DataError") as caught, writing(engine) as conn:
        conn.execute(insert(item), row)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_two_hundred_writers_wait_their_turn(store: Database, engine: Engine) -> None:
    def count(_: int) -> None:
        with writing(engine) as conn:
            version = conn.execute(VERSION).scalar_one()
            conn.execute(update(catalogue_state).values(version=version + 1))

    with ThreadPoolExecutor(32) as pool:
        list(pool.map(count, range(200)))
    with reading(engine) as conn:
        assert conn.execute(VERSION).scalar() == 201


def test_a_missing_driver_is_named(tmp_path: Any) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from considerate.store.engine import open_store\n"
        "open_store('postgresql://shop@host/considerate', create=False)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "a PostgreSQL store needs its driver; run: pip install 'considerate[postgres]'" in done.stderr


def test_a_glance_is_one_statement_without_a_transaction_and_leaves_none(store: Database) -> None:
    engine = store.open(read_only=True)
    for _ in range(2):
        with glancing(engine) as conn:
            assert conn.execute(VERSION).all() == []
            raw: Any = conn.connection.driver_connection
            assert raw.info.transaction_status.name == "IDLE"
        with reading(engine) as conn:
            assert conn.execute(VERSION).all() == []
            raw = conn.connection.driver_connection
            assert raw.info.transaction_status.name == "INTRANS"
    with pytest.raises(StoreError, match="read-only"), glancing(engine) as conn:
        conn.execute(insert(catalogue_state), {"id": 1, "version": 1})


def test_a_glance_is_given_up_as_any_read(store: Database) -> None:
    with pytest.raises(StoreUnavailable), glancing(store.open(limit_ms=100)) as conn:
        conn.execute(text("SELECT pg_sleep(3)"))


WHO = select(subject.c.subject_ref, subject.c.age_band).where(subject.c.lookup_hmac == bindparam("lookup"))


def test_what_the_driver_alone_is_asked_it_answers_as_any_read(store: Database) -> None:
    engine = store.open(limit_ms=1_000)
    row = {"subject_ref": bytes(range(16)), "lookup_hmac": bytes(range(32)), "state": "active", "age_band": "adult"}
    with writing(engine) as conn:
        conn.execute(insert(subject), {**row, "age_source": "shop", "consent_epoch": 1, "created_at": 1})
    for how in (glancing, reading, glancing, writing):
        with how(engine) as conn:
            assert [tuple(one) for one in ask(conn, WHO, {"lookup": bytes(range(32))})] == [(bytes(range(16)), "adult")]
            assert list(ask(conn, WHO, {"lookup": bytes(32)})) == []


def test_the_driver_alone_gives_up_and_goes_on_as_any_read(store: Database) -> None:
    engine = store.open(limit_ms=2_000, read_only=True)

    def glance() -> None:
        with glancing(engine) as conn:
            assert list(ask(conn, select(literal(1)), {})) == [(1,)]

    sleep = select(func.pg_sleep(bindparam("seconds", type_=Float)))
    with pytest.raises(StoreBusy, match="does not answer in time"), glancing(engine) as conn:
        ask(conn, sleep, {"seconds": 30.0})
    glance()
    with glancing(engine) as conn:
        ((pid,),) = ask(conn, select(func.pg_backend_pid()), {})
    with stopped(pid), pytest.raises(StoreUnavailable, match="does not answer"):
        glance()
    glance()
    with glancing(engine) as conn:
        ((pid,),) = ask(conn, select(func.pg_backend_pid()), {})
    os.kill(pid, signal.SIGTERM)
    with pytest.raises(StoreUnavailable, match=r"the server stops or starts|does not answer"):
        glance()
    glance()
