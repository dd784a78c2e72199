"""Erasure: nothing of her stays, nothing brings her back, and no crash leaves it half done."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from itertools import product
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, select
from tests.privacy.known_people import ANNA, AT, BEN, fill, rows_of, state_of

from considerate.consent.decision import Policy, effective
from considerate.consent.facts import read_facts
from considerate.consent.ledger import head, verify
from considerate.consent.projection import projection, replay
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError, StoreError, UnknownSubject
from considerate.privacy.erasure import begin_erasure, erase_customer, finish_erasure, unfinished
from considerate.privacy.exports import export_path, write_export
from considerate.privacy.installation import Installation, Transaction
from considerate.privacy.requests import read_requests
from considerate.privacy.running import run_requests
from considerate.privacy.tombstones import FILE, read_outside, read_tombstones, rebuilt_by
from considerate.ranking.history import Kind
from considerate.store.engine import reading
from considerate.store.interactions import NewEvent, append_events
from considerate.store.keys import Keys
from considerate.store.subjects import ensure_subjects, find_subject
from considerate.store.tables import idempotent_answer

GONE = ("interaction", "preference", "event_exclusion", "consent_current", "subject_key", "served_decision")


def erase(place: Installation, customer: str) -> None:
    stone = erase_customer(place, customer, at=AT)
    assert stone is not None
    finish_erasure(place, stone.subject_ref, at=AT)


def test_nothing_of_her_is_left_but_what_names_nobody(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    anna, ben = people[ANNA], people[BEN]
    before, others = rows_of(place, anna), rows_of(place, ben)
    assert all(before[table] for table in (*GONE, "privacy_request"))
    erase(place, ANNA)
    left = rows_of(place, anna)
    assert {table: left[table] for table in GONE} == dict.fromkeys(GONE, 0)
    assert state_of(engine, anna) == "erased"
    assert rows_of(place, ben) == others
    with reading(engine) as conn:
        assert find_subject(conn, place.keys.lookup(ANNA)) is None
        assert len(conn.execute(select(idempotent_answer)).all()) == 1
        # That somebody asked and was answered stays, under an id that leads to nobody.
        (request,) = read_requests(conn, subject_ref=anna)
        assert (request.type, request.status, dict(request.steps)) == ("erasure", "completed", {})


def test_the_ledger_says_so_last_and_still_verifies(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    erase(place, ANNA)
    with reading(engine) as conn:
        (stone,) = read_tombstones(conn)
        assert stone.seq == head(conn).seq == 6
        assert verify(conn) is None
        assert projection(conn) == replay(conn)


def test_from_the_first_step_on_nothing_is_allowed_and_nothing_can_be_given(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    stone = erase_customer(place, ANNA, at=AT)
    assert stone is not None
    assert state_of(engine, people[ANNA]) == "erasing"
    with reading(engine) as conn:
        _, facts = read_facts(conn, place.keys.lookup(ANNA))
    assert not any(effective(facts, purpose, at=AT, policy=Policy()).allowed for purpose in Purpose)
    with place.transaction() as conn, pytest.raises(UnknownSubject):
        begin_erasure(conn, place.keys, people[ANNA], at=AT)


def test_the_tombstone_is_on_disk_before_the_erasure_is_acknowledged(
    place: Installation, people: dict[str, bytes]
) -> None:
    (place.home / FILE).mkdir()
    with pytest.raises(StoreError, match=rf"{FILE}: cannot be written: .*; check the disk"):
        erase_customer(place, ANNA, at=AT)
    (place.home / FILE).rmdir()
    # Asked again, the erasure that was begun is acknowledged now, as of then.
    stone = erase_customer(place, ANNA, at=AT + timedelta(hours=1))
    assert stone is not None
    assert stone.erased_at == AT
    assert read_outside(place.home) == [stone]


def test_asked_twice_it_is_one_erasure(place: Installation, engine: Engine, people: dict[str, bytes]) -> None:
    first = erase_customer(place, ANNA, at=AT)
    assert erase_customer(place, ANNA, at=AT + timedelta(minutes=1)) == first
    assert first is not None
    for _ in range(2):
        finish_erasure(place, first.subject_ref, at=AT)
    assert erase_customer(place, ANNA, at=AT) is None
    with reading(engine) as conn:
        assert read_tombstones(conn) == [first]
        assert head(conn).seq == first.seq
        assert len(read_requests(conn, kind="erasure")) == 1


def test_somebody_unknown_has_nothing_to_erase(place: Installation) -> None:
    assert erase_customer(place, "nobody", at=AT) is None
    assert not (place.home / FILE).exists()


def test_somebody_who_is_active_is_not_purged(place: Installation, people: dict[str, bytes]) -> None:
    before = rows_of(place, people[ANNA])
    with pytest.raises(ConsentError, match="state = active"):
        finish_erasure(place, people[ANNA], at=AT)
    assert rows_of(place, people[ANNA])["interaction"] == before["interaction"]


def test_who_registers_again_is_somebody_new(place: Installation, engine: Engine, people: dict[str, bytes]) -> None:
    erase(place, ANNA)
    again = fill(place, ANNA)
    assert again not in people.values()
    erase(place, ANNA)
    with reading(engine) as conn:
        assert {stone.subject_ref for stone in read_tombstones(conn)} == {people[ANNA], again}
        assert len(read_requests(conn, kind="erasure")) == 2
    assert {stone.subject_ref for stone in read_outside(place.home)} == {people[ANNA], again}


class Crash(Exception):
    """The process is gone."""


def crashing(place: Installation, step: int, *, committed: bool) -> Installation:
    """Let the process die at its n-th transaction, before its commit or right after it."""
    opened = iter(range(1_000))

    def wrapped(transaction: Transaction) -> Transaction:
        @contextmanager
        def open_one() -> Iterator[Connection]:
            now = next(opened) == step
            with transaction() as conn:
                yield conn
                if now and not committed:
                    raise Crash
            if now:
                raise Crash

        return open_one

    return replace(place, transaction=wrapped(place.transaction), decisions=wrapped(place.decisions))


@pytest.mark.parametrize(("step", "committed"), list(product(range(3), (False, True))))
def test_a_crash_at_any_step_is_ended_by_the_next_run(
    place: Installation, engine: Engine, people: dict[str, bytes], step: int, committed: bool
) -> None:
    anna, home = people[ANNA], place.home
    fragile = crashing(place, step, committed=committed)
    with pytest.raises(Crash):
        erase(fragile, ANNA)
    if step == 0 and not committed:
        # Nobody was told anything.
        assert state_of(engine, anna) == "active"
        assert rows_of(place, anna)["tombstone"] == 0
        erase(place, ANNA)
    done = run_requests(engine, place, at=AT)
    assert done.failures == []
    left = rows_of(place, anna)
    assert {table: left[table] for table in GONE} == dict.fromkeys(GONE, 0)
    assert state_of(engine, anna) == "erased"
    assert [stone.subject_ref for stone in read_outside(home)] == [anna]
    with reading(engine) as conn:
        assert unfinished(conn) == []
        assert {request.status for request in read_requests(conn, subject_ref=anna)} == {"completed"}
        assert verify(conn) is None


def test_exports_of_hers_go_too(place: Installation, engine: Engine, people: dict[str, bytes]) -> None:
    with reading(engine) as conn:
        (hers,) = read_requests(conn, subject_ref=people[ANNA])
        (his,) = read_requests(conn, subject_ref=people[BEN])
    for request in (hers, his):
        write_export(place.home, request.request_id, b"a copy")
    erase(place, ANNA)
    assert not export_path(place.home, hers.request_id).exists()
    assert export_path(place.home, his.request_id).exists()


def test_what_was_under_way_when_she_was_erased_is_swept(
    place: Installation, engine: Engine, keys: Keys, home: Path, people: dict[str, bytes]
) -> None:
    anna = people[ANNA]
    erase(place, ANNA)
    with place.transaction() as conn:
        append_events(conn, anna, [NewEvent("late", "item-1", Kind.PURCHASE, AT)], at=AT)
    assert rows_of(place, anna)["interaction"] == 1
    run_requests(engine, place, at=AT + timedelta(minutes=1), sweeping=False)
    assert rows_of(place, anna)["interaction"] == 1
    run_requests(engine, place, at=AT + timedelta(minutes=1))
    assert rows_of(place, anna)["interaction"] == 0
    assert rows_of(place, people[BEN])["interaction"] == 40


def test_one_who_never_consented_can_be_erased(place: Installation, engine: Engine) -> None:
    with place.transaction() as conn:
        ref = ensure_subjects(conn, place.keys, ["silent"], at=AT)["silent"]
    erase(place, "silent")
    assert state_of(engine, ref) == "erased"


def test_the_next_fit_is_due_within_a_day(place: Installation, people: dict[str, bytes]) -> None:
    stone = erase_customer(place, ANNA, at=AT)
    assert rebuilt_by(stone, at=AT + timedelta(hours=5)) == AT + timedelta(hours=24)
    assert rebuilt_by(None, at=AT) == AT + timedelta(hours=24)


def test_a_transaction_of_an_installation_is_one(place: Installation) -> None:
    opened: AbstractContextManager[Connection] = place.transaction()
    with opened as conn:
        assert conn.in_transaction()
