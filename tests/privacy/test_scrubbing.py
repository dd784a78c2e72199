"""What was deleted is gone from the disk too: the canary is nowhere in the installation's folder."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import Connection, Engine, event, select, text
from tests.databases import Database, PostgresServer
from tests.privacy.known_people import ANNA, AT, BEN, fill

from considerate.errors import StoreError
from considerate.privacy.erasure import erase_customer, finish_erasure
from considerate.privacy.installation import Installation, Transaction, installation_of
from considerate.privacy.processing import OF_PEOPLE
from considerate.privacy.running import run_requests
from considerate.privacy.scrubbing import DUE, TABLES, call_for_scrub, scrub, scrub_if_due
from considerate.store.decisions import ServedDecision, decisions_url, insert_decisions, open_decisions
from considerate.store.engine import open_store, reading, writing
from considerate.store.keys import load_keys
from considerate.store.tables import subject, subject_key


def files_with(folder: Path, canary: str) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file() and canary.encode() in path.read_bytes())


@pytest.fixture
def sqlite_place(sqlite_database: Database, tmp_path: Path) -> Installation:
    place = installation_of(sqlite_database.open(), load_keys(tmp_path / "keys", create=True), tmp_path)
    for customer in (ANNA, BEN):
        fill(place, customer)
    return place


def test_no_byte_of_hers_is_left_on_the_disk(
    sqlite_place: Installation, sqlite_database: Database, tmp_path: Path
) -> None:
    engine = sqlite_database.open()
    assert run_requests(engine, sqlite_place, at=AT).exported == 2
    assert {"considerate.db-wal", "decisions.db"} <= set(files_with(tmp_path, ANNA))
    # As in a worker, whose log of decisions is open all the time.
    log = open_decisions(decisions_url(sqlite_database.url, tmp_path))
    stone = erase_customer(sqlite_place, ANNA, at=AT)
    assert stone is not None
    finish_erasure(sqlite_place, stone.subject_ref, at=AT)
    # Deleted is not gone.
    assert {"considerate.db-wal", "decisions.db"} <= set(files_with(tmp_path, ANNA))
    assert (tmp_path / DUE).exists()
    done = run_requests(engine, sqlite_place, at=AT + timedelta(seconds=30))
    assert done.failures == []
    assert files_with(tmp_path, ANNA) == []
    assert files_with(tmp_path, BEN) == ["considerate.db", "decisions.db"]
    assert not (tmp_path / DUE).exists()
    for path in tmp_path.glob("decisions.db*"):
        assert stone.subject_ref not in path.read_bytes()
        assert stone.subject_ref.hex().encode() not in path.read_bytes()
    log.dispose()


def test_what_arrived_late_is_scrubbed_too(
    sqlite_place: Installation, sqlite_database: Database, tmp_path: Path
) -> None:
    engine = sqlite_database.open()
    stone = erase_customer(sqlite_place, ANNA, at=AT)
    assert stone is not None
    assert run_requests(engine, sqlite_place, at=AT).failures == []
    assert not (tmp_path / DUE).exists()
    late = ServedDecision(UUID(int=9), stone.subject_ref, AT, "home", "personalised", "ok", facts={"for": ANNA})
    log = open_decisions(decisions_url(engine.url.render_as_string(), tmp_path))
    with writing(log) as conn:
        insert_decisions(conn, [late.row()])
    assert files_with(tmp_path, ANNA) == ["decisions.db-wal"]
    done = run_requests(engine, sqlite_place, at=AT + timedelta(seconds=30))
    assert done.failures == []
    assert files_with(tmp_path, ANNA) == []
    log.dispose()


def test_every_table_that_an_erasure_changes_is_scrubbed() -> None:
    tables = {name for entry in OF_PEOPLE if entry.kind == "table" for name in entry.names}
    # The ledger's events and the tombstones stay, and lead to nobody.
    assert set(TABLES) == tables - {"consent_event", "tombstone"}


def test_a_reader_that_holds_on_is_waited_for_by_the_next_run(
    sqlite_place: Installation, sqlite_database: Database, tmp_path: Path
) -> None:
    file = sqlite_database.file
    assert file is not None
    reader = sqlite3.connect(f"file:{file}?mode=ro", uri=True, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT count(*) FROM interaction").fetchone()
    engine = open_store(sqlite_database.url, create=False, busy_timeout_ms=50)
    call_for_scrub(tmp_path)
    assert scrub_if_due(engine, tmp_path) is False
    assert (tmp_path / DUE).exists()
    # Nor does the log grow by the whole database with every look.
    log = file.with_name(f"{file.name}-wal")
    size = log.stat().st_size
    assert scrub_if_due(engine, tmp_path) is False
    assert log.stat().st_size == size
    reader.close()
    assert scrub_if_due(engine, tmp_path)
    assert not (tmp_path / DUE).exists()
    engine.dispose()


def test_a_locked_store_is_named_and_the_call_stands(
    sqlite_place: Installation, sqlite_database: Database, tmp_path: Path
) -> None:
    engine = open_store(sqlite_database.url, create=False, busy_timeout_ms=50)
    call_for_scrub(tmp_path)
    with sqlite_place.transaction(), pytest.raises(StoreError, match=r"try again: considerate rights run"):
        scrub_if_due(engine, tmp_path)
    assert (tmp_path / DUE).exists()
    engine.dispose()


def tables_with(server: PostgresServer, engine: Engine, canary: bytes) -> set[str]:
    """Give the tables and indexes whose files on the server's disk hold some bytes."""
    server.execute("CHECKPOINT")
    with reading(engine) as conn:
        places = conn.execute(
            text(
                "SELECT relname, pg_relation_filepath(oid) FROM pg_class "
                "WHERE relkind IN ('r', 'i', 't') AND relnamespace <> 'pg_catalog'::regnamespace"
            )
        ).all()
    return {name for name, path in places if path and canary in (server.folder / path).read_bytes()}


@pytest.mark.slow
def test_no_byte_of_hers_is_left_in_the_server_s_tables(
    postgresql_database: Database, postgres_server: PostgresServer, tmp_path: Path
) -> None:
    engine = postgresql_database.open()
    place = installation_of(engine, load_keys(tmp_path / "keys", create=True), tmp_path)
    anna, _ = (fill(place, customer) for customer in (ANNA, BEN))
    with reading(engine) as conn:
        wrapped = conn.execute(select(subject_key.c.wrapped_key).where(subject_key.c.subject_ref == anna)).scalar_one()
        sealed = conn.execute(select(subject.c.customer_id_enc).where(subject.c.subject_ref == anna)).scalar_one()
    canaries = (ANNA.encode(), wrapped, sealed, place.keys.lookup(ANNA))
    with reading(engine) as past:
        past.execute(select(subject)).all()
        erase_customer(place, ANNA, at=AT)
        assert run_requests(engine, place, at=AT).failures == []
        # Somebody still sees what was deleted: it cannot be given up, and the call stands.
        assert (tmp_path / DUE).exists()
    assert {"interaction", "served_decision", "preference"} <= tables_with(postgres_server, engine, canaries[0])
    assert all(tables_with(postgres_server, engine, canary) for canary in canaries)
    assert run_requests(engine, place, at=AT).failures == []
    assert not (tmp_path / DUE).exists()
    assert [tables_with(postgres_server, engine, canary) for canary in canaries] == [set()] * len(canaries)
    assert tables_with(postgres_server, engine, BEN.encode())


@pytest.mark.slow
def test_a_table_in_use_is_waited_for_and_a_large_one_is_not_copied(postgresql_database: Database) -> None:
    engine = postgresql_database.open()

    def file() -> str:
        with reading(engine) as conn:
            return str(conn.execute(text("SELECT pg_relation_filepath('subject')")).scalar_one())

    before = file()
    assert scrub(engine, small_bytes=-1)
    assert file() == before
    with engine.connect() as user, user.begin():
        user.execute(text("LOCK TABLE subject IN ACCESS SHARE MODE"))
        assert scrub(engine) is False
    assert file() == before
    assert scrub(engine)
    assert file() != before


def test_a_call_that_comes_meanwhile_is_not_lost(place: Installation, engine: Engine, tmp_path: Path) -> None:
    assert scrub_if_due(engine, tmp_path)
    call_for_scrub(tmp_path)
    assert scrub(engine)
    assert (tmp_path / DUE).exists()
    assert scrub_if_due(engine, tmp_path)


def test_a_call_that_comes_while_it_is_scrubbed_stands(place: Installation, engine: Engine) -> None:
    note = place.home / DUE
    call_for_scrub(place.home)
    found: list[bool] = []

    def call(*_: object) -> None:
        if not found:
            found.append(note.exists())
            call_for_scrub(place.home)

    event.listen(engine, "checkout", call)
    assert scrub_if_due(engine, place.home) is False
    # The first was put aside before anything was scrubbed, so nobody can take the second for it.
    assert found == [False]
    assert note.exists()
    assert scrub_if_due(engine, place.home)
    assert not list(place.home.glob(f"{DUE}*"))


def test_a_scrub_while_somebody_is_erased_does_not_answer_her_call(place: Installation, engine: Engine) -> None:
    """A refresher looks just before each transaction of an erasure that a worker has begun."""
    fill(place, ANNA)
    stone = erase_customer(place, ANNA, at=AT)
    assert stone is not None

    def after_a_look(transaction: Transaction) -> Transaction:
        @contextmanager
        def looked() -> Iterator[Connection]:
            assert scrub_if_due(engine, place.home)
            with transaction() as conn:
                yield conn

        return looked

    raced = replace(place, transaction=after_a_look(place.transaction), decisions=after_a_look(place.decisions))
    finish_erasure(raced, stone.subject_ref, at=AT)
    assert (place.home / DUE).exists()


def test_the_call_that_a_killed_process_took_is_answered(
    sqlite_place: Installation, sqlite_database: Database, tmp_path: Path
) -> None:
    stone = erase_customer(sqlite_place, ANNA, at=AT)
    assert stone is not None
    finish_erasure(sqlite_place, stone.subject_ref, at=AT)
    (tmp_path / DUE).rename(tmp_path / f"{DUE}.killed")
    assert files_with(tmp_path, ANNA)
    assert scrub_if_due(sqlite_database.open(), tmp_path)
    assert files_with(tmp_path, ANNA) == []
    assert not list(tmp_path.glob(f"{DUE}*"))


def test_a_scrub_waits_for_whoever_called_and_has_not_committed(
    place: Installation, database: Database, tmp_path: Path
) -> None:
    fill(place, ANNA)
    impatient = open_store(database.url, create=False, busy_timeout_ms=50)
    with place.transaction():
        call_for_scrub(tmp_path)
        try:
            assert scrub_if_due(impatient, tmp_path) is False
        except StoreError:
            assert database.kind == "sqlite"
        assert [path.name for path in tmp_path.glob(f"{DUE}*")] == [DUE]
    assert scrub_if_due(impatient, tmp_path)
    impatient.dispose()


def test_a_call_that_cannot_be_noted_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=rf"{DUE}: cannot be written: .*check the permissions"):
        call_for_scrub(tmp_path / "nowhere")
