"""What was deleted is gone from the disk too: the canary is nowhere in the installation's folder."""

import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.databases import Database
from tests.privacy.known_people import ANNA, AT, BEN, fill

from considerate.errors import StoreError
from considerate.privacy.erasure import erase_customer, finish_erasure
from considerate.privacy.installation import Installation, installation_of
from considerate.privacy.running import run_requests
from considerate.privacy.scrubbing import DUE, call_for_scrub, scrub, scrub_if_due
from considerate.store.engine import open_store
from considerate.store.keys import load_keys


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
    assert "considerate.db-wal" in files_with(tmp_path, ANNA)
    stone = erase_customer(sqlite_place, ANNA, at=AT)
    assert stone is not None
    finish_erasure(sqlite_place, stone.subject_ref, at=AT)
    # Deleted is not gone.
    assert files_with(tmp_path, ANNA)
    assert (tmp_path / DUE).exists()
    done = run_requests(engine, sqlite_place, at=AT + timedelta(seconds=30))
    assert done.failures == []
    assert files_with(tmp_path, ANNA) == []
    assert files_with(tmp_path, BEN) == ["considerate.db"]
    assert not (tmp_path / DUE).exists()


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


def test_a_call_that_comes_meanwhile_is_not_lost(place: Installation, engine: Engine, tmp_path: Path) -> None:
    assert scrub_if_due(engine, tmp_path)
    call_for_scrub(tmp_path)
    assert scrub(engine)
    assert (tmp_path / DUE).exists()
    assert scrub_if_due(engine, tmp_path)


def test_a_call_that_cannot_be_noted_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=rf"{DUE}: cannot be written: .*check the permissions"):
        call_for_scrub(tmp_path / "nowhere")
