"""Tombstones beside the database: durable, whole, and stronger than a backup."""

import errno
import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from tests.databases import Database
from tests.privacy.known_people import ANNA, AT, BEN, fill, rows_of, state_of

from considerate.consent.ledger import verify
from considerate.errors import StoreError
from considerate.privacy.erasure import erase_customer, finish_erasure
from considerate.privacy.installation import Installation, installation_of
from considerate.privacy.running import replay_tombstones, run_requests
from considerate.privacy.tombstones import (
    FILE,
    RebuildDue,
    Tombstone,
    keep_outside,
    read_outside,
    read_tombstones,
    rebuild_due,
    refuse_unapplied,
)
from considerate.store.engine import open_store, reading
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import find_subject
from considerate.store.tables import tombstone


def stone(number: int) -> Tombstone:
    return Tombstone(bytes([number]) * 16, number, AT + timedelta(seconds=number))


def test_a_tombstone_is_kept_once_and_names_nobody(tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert read_outside(home) == []
    assert keep_outside(home, [stone(1), stone(2)]) == 2
    assert keep_outside(home, [stone(2), stone(3)]) == 1
    assert read_outside(home) == [stone(1), stone(2), stone(3)]
    lines = [json.loads(line) for line in (home / FILE).read_text().splitlines()]
    assert {tuple(line) for line in lines} == {("subject_ref", "seq", "erased_at")}
    assert (home / FILE).stat().st_mode & 0o777 == 0o600


def test_a_line_that_the_disk_did_not_take_does_not_pass_for_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_outside(tmp_path, [stone(1)])

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patched:
        patched.setattr("considerate.privacy.journal.os.fsync", refuse)
        with pytest.raises(StoreError, match=r"cannot be written: Input/output error; check the disk"):
            keep_outside(tmp_path, [stone(2)])
    assert read_outside(tmp_path) == [stone(1)]
    assert keep_outside(tmp_path, [stone(2)]) == 1


def test_a_line_torn_by_a_crash_is_no_tombstone_and_spoils_no_other(tmp_path: Path) -> None:
    keep_outside(tmp_path, [stone(1)])
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"subject_ref":"0202')
    assert read_outside(tmp_path) == [stone(1)]
    keep_outside(tmp_path, [stone(2)])
    assert read_outside(tmp_path) == [stone(1), stone(2)]


@pytest.mark.parametrize(
    "line", ["{}", "nonsense", '{"subject_ref": "00", "seq": 1, "erased_at": "2026-01-01T00:00:00+00:00"}']
)
def test_a_line_that_is_no_tombstone_is_named(tmp_path: Path, line: str) -> None:
    keep_outside(tmp_path, [stone(1)])
    with (tmp_path / FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(StoreError, match=rf"{FILE}: line 2 is no tombstone; restore the file from a backup"):
        read_outside(tmp_path)
    with pytest.raises(StoreError, match="line 2 is no tombstone"):
        keep_outside(tmp_path, [stone(2)])


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("in the way")
    with pytest.raises(StoreError, match=r"cannot be .*; check"):
        keep_outside(tmp_path / "home", [stone(1)])


def test_of_many_who_write_at_once_none_is_lost(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: keep_outside(tmp_path, [stone(n), stone(n + 1)]), range(1, 60)))
    assert sorted(one.seq for one in read_outside(tmp_path)) == list(range(1, 61))


def test_an_erasure_waits_for_the_next_fit(place: Installation, engine: Engine, people: dict[str, bytes]) -> None:
    assert erase_customer(place, ANNA, at=AT) is not None
    assert erase_customer(place, BEN, at=AT) is not None
    with reading(engine) as conn:
        assert rebuild_due(conn) == RebuildDue(2, AT + timedelta(hours=24))
        assert len(read_tombstones(conn, since=AT)) == 2
        assert read_tombstones(conn, since=AT + timedelta(seconds=1)) == []
    with place.transaction() as conn:
        conn.execute(update(tombstone).where(tombstone.c.subject_ref == people[ANNA]).values(rebuilt_at=1))
        assert rebuild_due(conn) == RebuildDue(1, AT + timedelta(hours=24))
        conn.execute(update(tombstone).values(rebuilt_at=1))
        assert rebuild_due(conn) == RebuildDue(0, None)


def test_a_backup_older_than_an_erasure_is_refused_until_it_is_replayed(
    sqlite_database: Database, tmp_path: Path
) -> None:
    file, home = sqlite_database.file, tmp_path
    assert file is not None
    keys = load_keys(home / "keys", create=True)
    engine = sqlite_database.open()
    place = installation_of(engine, keys, home)
    people = {customer: fill(place, customer) for customer in (ANNA, BEN)}
    with engine.connect() as conn:
        conn.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    shutil.copy(file, tmp_path / "backup.db")
    stone = erase_customer(place, ANNA, at=AT)
    assert stone is not None
    finish_erasure(place, stone.subject_ref, at=AT)
    with reading(engine) as conn:
        refuse_unapplied(conn, read_outside(home))
    engine.dispose()
    for path in tmp_path.glob("considerate.db*"):
        path.unlink()
    shutil.copy(tmp_path / "backup.db", file)
    (tmp_path / "backup.db").unlink()

    restored = open_store(sqlite_database.url, create=False)
    place = installation_of(restored, keys, home)
    with (
        reading(restored) as conn,
        pytest.raises(StoreError, match=r"1 erased customers are in this database again.*considerate rights replay"),
    ):
        refuse_unapplied(conn, read_outside(home))
    again, done = replay_tombstones(restored, place, at=AT + timedelta(hours=1))
    assert (again, done.failures) == (1, [])
    with reading(restored) as conn:
        refuse_unapplied(conn, read_outside(home))
        assert find_subject(conn, keys.lookup(ANNA)) is None
        assert verify(conn) is None
    assert state_of(restored, people[ANNA]) == "erased"
    assert rows_of(place, people[ANNA])["interaction"] == 0
    assert rows_of(place, people[BEN])["interaction"] == 40
    assert replay_tombstones(restored, place, at=AT)[0] == 0
    restored.dispose()
    assert [path.name for path in home.rglob("*") if path.is_file() and ANNA.encode() in path.read_bytes()] == []


def test_a_database_that_never_knew_her_is_accepted(place: Installation, engine: Engine) -> None:
    keep_outside(place.home, [stone(1)])
    with reading(engine) as conn:
        refuse_unapplied(conn, read_outside(place.home))


def test_a_second_host_comes_to_know_every_tombstone(
    place: Installation, engine: Engine, keys: Keys, people: dict[str, bytes], tmp_path: Path
) -> None:
    stone = erase_customer(place, ANNA, at=AT)
    assert stone is not None
    run_requests(engine, replace(place, home=tmp_path / "other"), at=AT)
    assert read_outside(tmp_path / "other") == [stone]
