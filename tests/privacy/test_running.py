"""Working off requests: each is done once, one that fails keeps no other waiting, and nobody fetches what is gone."""

import os
import shutil
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from tests.privacy.known_people import ANNA, AT, BEN, state_of

from considerate.errors import StoreError
from considerate.privacy.erasure import erase_customer
from considerate.privacy.exports import (
    FOLDER,
    export_path,
    fetched_until,
    read_export,
    remove_export,
    remove_old_exports,
    remove_stray_exports,
    write_export,
)
from considerate.privacy.installation import Installation
from considerate.privacy.requests import (
    PrivacyRequest,
    cancel_request,
    find_request,
    note_step,
    read_requests,
    start_request,
)
from considerate.privacy.running import copy_for, keep_running, run_requests, write_asked
from considerate.privacy.tombstones import FILE as TOMBSTONES
from considerate.privacy.tombstones import read_outside
from considerate.settings.service import AuthConfig, ModelSource, ServiceConfig
from considerate.store.engine import reading
from considerate.store.keys import Keys
from considerate.store.tables import preference


def request_of(engine: Engine, ref: bytes) -> PrivacyRequest:
    with reading(engine) as conn:
        (found,) = read_requests(conn, subject_ref=ref, kind="access")
    return found


def test_copies_are_written_once(
    place: Installation, engine: Engine, keys: Keys, home: Path, people: dict[str, bytes]
) -> None:
    assert run_requests(engine, place, at=AT).exported == 2
    assert run_requests(engine, place, at=AT).exported == 0
    done = request_of(engine, people[ANNA])
    assert (done.status, done.completed_at) == ("completed", AT)
    assert fetched_until(done) == AT + timedelta(hours=24)
    path = export_path(home, done.request_id)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_copy_that_a_crash_interrupted_is_written_by_the_next_run(
    place: Installation, engine: Engine, keys: Keys, home: Path, people: dict[str, bytes]
) -> None:
    asked = request_of(engine, people[ANNA])
    with place.transaction() as conn:
        start_request(conn, asked.request_id)
    assert run_requests(engine, place, at=AT).exported == 2
    assert request_of(engine, people[ANNA]).status == "completed"


def test_a_request_taken_back_meanwhile_is_not_answered(
    place: Installation, engine: Engine, home: Path, people: dict[str, bytes]
) -> None:
    asked = request_of(engine, people[ANNA])
    with place.transaction() as conn:
        cancel_request(conn, asked.request_id, at=AT)
    assert write_asked(place, asked, at=AT) is False
    assert not export_path(home, asked.request_id).exists()


def test_no_copy_outlives_an_erasure_that_came_meanwhile(
    place: Installation, engine: Engine, keys: Keys, home: Path, people: dict[str, bytes]
) -> None:
    asked = request_of(engine, people[ANNA])
    erase_customer(place, ANNA, at=AT)
    run_requests(engine, place, at=AT)
    assert write_asked(place, asked, at=AT) is False
    with place.transaction() as conn:
        assert find_request(conn, asked.request_id) is None
    assert not export_path(home, asked.request_id).exists()


def test_of_two_processes_that_write_one_copy_the_later_leaves_it(
    place: Installation, engine: Engine, home: Path, people: dict[str, bytes]
) -> None:
    with place.transaction() as conn:
        start_request(conn, request_of(engine, people[ANNA]).request_id)
    # Both see it begun, and take the other for crashed.
    seen = request_of(engine, people[ANNA])
    assert write_asked(place, seen, at=AT)
    assert write_asked(place, seen, at=AT + timedelta(seconds=1))
    assert request_of(engine, people[ANNA]).completed_at == AT
    assert read_export(home, seen.request_id)
    remove_export(home, seen.request_id)
    with place.transaction() as conn:
        note_step(conn, request_of(engine, people[ANNA]), fetched_at="now")
    assert write_asked(place, seen, at=AT + timedelta(seconds=2)) is False
    assert list((home / FOLDER).iterdir()) == []


def test_what_lies_there_of_nobody_s_request_is_removed(
    place: Installation, engine: Engine, home: Path, people: dict[str, bytes]
) -> None:
    assert remove_stray_exports(engine, home) == 0
    asked = request_of(engine, people[ANNA]).request_id
    # Written by a process that died after the purge of its owner; and as it began, or was fetched.
    write_export(home, bytes(16), b"of somebody erased")
    (home / FOLDER / f".{bytes(16).hex()}.zip.0badcafe").write_bytes(b"half")
    being_written = home / FOLDER / f".{asked.hex()}.zip.0badcafe"
    being_written.write_bytes(b"half")
    assert remove_stray_exports(engine, home) == 2
    assert list((home / FOLDER).iterdir()) == [being_written]
    assert run_requests(engine, place, at=AT).expired == 0
    assert read_export(home, asked)
    remove_export(home, asked)
    with place.transaction() as conn:
        note_step(conn, request_of(engine, people[ANNA]), fetched_at="now")
    assert run_requests(engine, place, at=AT).expired == 1
    assert not being_written.exists()
    assert export_path(home, request_of(engine, people[BEN]).request_id).exists()


def in_the_way(home: Path, request: PrivacyRequest) -> Path:
    """Put something where a copy would go."""
    folder = export_path(home, request.request_id)
    (folder / "inside").mkdir(parents=True)
    return folder


def test_a_value_that_was_never_written_there_does_not_stop_the_rest_either(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    with place.transaction() as conn:
        conn.execute(update(preference).where(preference.c.subject_ref == people[BEN]).values(stated_at=2**62))
    erase_customer(place, ANNA, at=AT)
    done = run_requests(engine, place, at=AT)
    assert [failure.split(":")[0] for failure in done.failures] == ["OverflowError"]
    assert done.failures[0].endswith("never written there; see: considerate ledger verify, and restore a backup")
    assert done.erased == 1
    assert request_of(engine, people[BEN]).status == "in_progress"


def test_what_fails_does_not_stop_the_rest(
    place: Installation, engine: Engine, home: Path, people: dict[str, bytes]
) -> None:
    folder = in_the_way(home, request_of(engine, people[BEN]))
    erase_customer(place, ANNA, at=AT)
    done = run_requests(engine, place, at=AT)
    assert len(done.failures) == 1
    assert "cannot be written" in done.failures[0]
    assert BEN not in done.failures[0]
    assert (done.erased, done.exported) == (1, 0)
    assert state_of(engine, people[ANNA]) == "erased"
    shutil.rmtree(folder)
    again = run_requests(engine, place, at=AT)
    assert (again.exported, again.failures) == (1, [])


def test_a_copy_s_day_ends_and_so_does_what_a_crash_left(tmp_path: Path) -> None:
    assert remove_old_exports(tmp_path, at=AT) == 0
    path = write_export(tmp_path, bytes(16), b"a copy")
    torn = path.with_name(f".{path.name}.0badcafe")
    torn.write_bytes(b"half")
    written = datetime.now(UTC)
    for one in (path, torn):
        os.utime(one, (written.timestamp(), written.timestamp()))
    assert remove_old_exports(tmp_path, at=written + timedelta(hours=23, minutes=59)) == 0
    assert remove_old_exports(tmp_path, at=written + timedelta(hours=24, seconds=1)) == 2
    assert read_export(tmp_path, bytes(16)) is None


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("in the way")
    with pytest.raises(StoreError, match=r"\.zip: cannot be written: .*; check the disk and the folder"):
        write_export(tmp_path, bytes(16), b"a copy")
    with pytest.raises(StoreError, match=r"\.zip: cannot be read: .*; check the folder's permissions"):
        read_export(tmp_path, bytes(16))


def test_the_shop_s_own_copy_is_of_whom_it_names_and_goes_with_her(
    place: Installation, engine: Engine, home: Path, people: dict[str, bytes]
) -> None:
    assert copy_for(place, "nobody", at=AT) is None
    first = copy_for(place, ANNA, at=AT)
    # Her request is answered with it; the next is one of its own.
    assert first == export_path(home, request_of(engine, people[ANNA]).request_id)
    second = copy_for(place, ANNA, at=AT + timedelta(hours=1))
    assert second is not None
    assert first != second
    # What a killed process left of one.
    second.rename(second.with_name(f".{second.name}.0badcafe"))
    erase_customer(place, ANNA, at=AT + timedelta(hours=1))
    assert run_requests(engine, place, at=AT + timedelta(hours=1)).erased == 1
    assert [path.name for path in (home / FOLDER).iterdir()] == [
        export_path(home, request_of(engine, people[BEN]).request_id).name
    ]


def test_no_erasure_is_ended_before_its_tombstone_is_outside(
    place: Installation, engine: Engine, home: Path, people: dict[str, bytes]
) -> None:
    (home / TOMBSTONES).mkdir()
    with pytest.raises(StoreError, match=TOMBSTONES):
        erase_customer(place, ANNA, at=AT)
    for exported in (1, 0):
        done = run_requests(engine, place, at=AT)
        assert (done.erased, done.exported) == (0, exported)
        assert any(TOMBSTONES in failure for failure in done.failures)
        assert state_of(engine, people[ANNA]) == "erasing"
        # She asks again, and is told that it is not done.
        with pytest.raises(StoreError, match=TOMBSTONES):
            erase_customer(place, ANNA, at=AT)
    (home / TOMBSTONES).rmdir()
    assert run_requests(engine, place, at=AT).erased == 1
    assert [stone.subject_ref for stone in read_outside(home)] == [people[ANNA]]


def look_again_and_again(place: Installation, engine: Engine, at_look: Callable[[int], datetime]) -> None:
    """Let the service look seven times, each at the time that `at_look` gives for its number."""
    stop = threading.Event()
    looks = iter(range(1_000))

    def now() -> datetime:
        look = next(looks)
        if look == 6:
            stop.set()
        return at_look(look)

    auth = AuthConfig(issuer="https://shop.test", audience="considerate", jwks="keys.json")
    config = ServiceConfig(auth=auth, model=ModelSource(name="shop"), surfaces={"home": "all"})
    url = engine.url.render_as_string(hide_password=False)
    keep_running(url, place.home, config, now=now, seconds=0, stop=stop)


def test_the_service_says_once_that_a_fit_without_the_erased_is_overdue(
    place: Installation, engine: Engine, people: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    assert people
    erase_customer(place, ANNA, at=AT)
    look_again_and_again(place, engine, lambda look: AT + timedelta(hours=23 + look))
    said = [record.getMessage() for record in caplog.records if "erasures wait" in record.getMessage()]
    assert len(said) == 1
    assert said[0].startswith("1 erasures wait for the next fit, due by ")
    assert said[0].endswith("UTC: overdue; fit and promote a model: pipelines/train.py ... --promote")


def test_the_service_works_off_requests_and_outlives_what_fails(
    place: Installation, engine: Engine, people: dict[str, bytes], caplog: pytest.LogCaptureFixture
) -> None:
    folder = in_the_way(place.home, request_of(engine, people[BEN]))
    erase_customer(place, ANNA, at=AT)

    def at_look(look: int) -> datetime:
        if look == 3:
            shutil.rmtree(folder)
        return AT

    look_again_and_again(place, engine, at_look)
    assert state_of(engine, people[ANNA]) == "erased"
    assert request_of(engine, people[BEN]).status == "completed"
    lines = [record.getMessage() for record in caplog.records]
    assert sum("a request waits" in line for line in lines) == 1
    assert sum("erasures wait for the next fit" in line for line in lines) == 0
    assert not any(name in line for name in (ANNA, BEN) for line in lines)
