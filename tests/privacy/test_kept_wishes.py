"""Objections, restrictions and ages of minors beside the database: no backup takes back what was acknowledged."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, select, update
from tests.privacy.known_people import ANNA, AT, BEN

from considerate.consent.decision import ConsentState, Policy
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.projection import read_current
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.privacy.erasure import erase_customer
from considerate.privacy.installation import Installation
from considerate.privacy.kept_wishes import (
    FILE,
    KeptWish,
    exercise_outside,
    keep_minors,
    keep_wishes,
    read_wishes,
    refuse_unapplied_wishes,
    replay_wishes,
    unapplied_wishes,
)
from considerate.store.engine import reading, writing
from considerate.store.subjects import Subject, ensure_subjects, subject_by_ref
from considerate.store.tables import subject
from considerate.store.wishes import RIGHTS, Right, change_epoch


def said(place: Installation, ref: bytes, right: Right, *, on: bool) -> int:
    """Do what a request does; give her epoch after it."""
    with place.transaction() as conn:
        _, wish = exercise_outside(conn, place.home, ref, right, at=AT, on=on)
    if on:
        keep_wishes(place.home, [wish])
    return wish.consent_epoch


def state(engine: Engine, ref: bytes) -> Subject:
    with reading(engine) as conn:
        found = subject_by_ref(conn, ref)
    assert found is not None
    return found


class Backup:
    """What the database says of her now, to be put back later."""

    def __init__(self, engine: Engine, ref: bytes) -> None:
        self._engine, self._ref = engine, ref
        names = ("consent_epoch", "objected_at", "restricted_at", "age_band", "age_source")
        with reading(engine) as conn:
            row = conn.execute(select(*(subject.c[name] for name in names)).where(subject.c.subject_ref == ref)).one()
        self._values: dict[str, Any] = dict(row._mapping)

    def restore(self) -> None:
        with writing(self._engine) as conn:
            conn.execute(update(subject).where(subject.c.subject_ref == self._ref).values(**self._values))


def forgotten(engine: Engine, home: Path) -> int:
    with reading(engine) as conn:
        return len(unapplied_wishes(conn, read_wishes(home)))


@pytest.mark.parametrize("right", RIGHTS)
def test_what_a_backup_took_back_is_refused_until_it_is_in_force_again(
    place: Installation, engine: Engine, people: dict[str, bytes], right: Right
) -> None:
    ref, backup = people[ANNA], Backup(engine, people[ANNA])
    epoch = said(place, ref, right, on=True)
    assert forgotten(engine, place.home) == 0
    backup.restore()
    with (
        reading(engine) as conn,
        pytest.raises(StoreError, match=r"1 objections, .* are not in this database: .*: considerate rights replay"),
    ):
        refuse_unapplied_wishes(conn, read_wishes(place.home))
    assert replay_wishes(place.transaction, place.keys, place.home, at=AT) == 1
    again = state(engine, ref)
    assert (again.objected_at if right == "objection" else again.restricted_at) == AT
    assert again.consent_epoch > epoch
    assert (forgotten(engine, place.home), replay_wishes(place.transaction, place.keys, place.home, at=AT)) == (0, 0)
    # What she does after that is later than all that the file says.
    said(place, ref, right, on=False)
    assert forgotten(engine, place.home) == 0


def test_the_file_names_nobody(place: Installation, people: dict[str, bytes]) -> None:
    said(place, people[ANNA], "objection", on=True)
    said(place, people[ANNA], "objection", on=False)
    content = (place.home / FILE).read_text()
    assert ANNA not in content
    lines = [json.loads(line) for line in content.splitlines()]
    assert [list(line) for line in lines] == [["subject_ref", "kind", "on", "consent_epoch", "at"]] * 2
    assert (place.home / FILE).stat().st_mode & 0o777 == 0o600


def test_what_she_lifted_stays_lifted(place: Installation, engine: Engine, people: dict[str, bytes]) -> None:
    ref, before = people[ANNA], Backup(engine, people[ANNA])
    said(place, ref, "objection", on=True)
    while_on = Backup(engine, ref)
    said(place, ref, "objection", on=False)
    for backup in (before, while_on):
        backup.restore()
        assert forgotten(engine, place.home) == 0
    # Nothing was ever noted of a restriction, so nothing is of its end.
    said(place, ref, "restriction", on=False)
    assert len(read_wishes(place.home)) == 2


def test_asked_again_it_is_noted_once(place: Installation, people: dict[str, bytes]) -> None:
    for _ in range(3):
        said(place, people[ANNA], "objection", on=True)
    assert len(read_wishes(place.home)) == 1


def test_a_lift_that_was_never_committed_is_no_alarm_and_hides_no_later_objection(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    ref, before = people[ANNA], Backup(engine, people[ANNA])
    said(place, ref, "objection", on=True)
    with place.transaction() as conn:
        exercise_outside(conn, place.home, ref, "objection", at=AT, on=False)
        conn.rollback()
    assert state(engine, ref).objected_at == AT
    assert forgotten(engine, place.home) == 0
    said(place, ref, "objection", on=True)
    before.restore()
    assert forgotten(engine, place.home) == 1


def test_an_objection_in_a_restored_database_outlives_the_next_restore(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    ref, before = people[ANNA], Backup(engine, people[ANNA])
    said(place, ref, "objection", on=True)
    said(place, ref, "objection", on=False)
    before.restore()
    said(place, ref, "objection", on=True)
    before.restore()
    assert forgotten(engine, place.home) == 1


def test_what_another_host_lifted_is_no_alarm_here(
    place: Installation, engine: Engine, people: dict[str, bytes], tmp_path: Path
) -> None:
    ref = people[ANNA]
    said(place, ref, "objection", on=True)
    with place.transaction() as conn:
        exercise_outside(conn, tmp_path / "other", ref, "objection", at=AT, on=False)
    assert forgotten(engine, place.home) == 0
    said(place, ref, "objection", on=True)
    assert [wish.on for wish in read_wishes(place.home)] == [True, True]


def test_of_the_erased_and_of_strangers_nothing_is_missing(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    backup = Backup(engine, people[ANNA])
    said(place, people[ANNA], "objection", on=True)
    keep_wishes(place.home, [KeptWish(bytes(16), "restriction", True, 7, AT)])
    backup.restore()
    assert forgotten(engine, place.home) == 1
    erase_customer(place, ANNA, at=AT)
    assert forgotten(engine, place.home) == 0


def test_a_minor_stays_one(place: Installation, engine: Engine, people: dict[str, bytes]) -> None:
    ref, backup = people[BEN], Backup(engine, people[BEN])
    with place.transaction() as conn:
        grant(conn, place.keys, ref, Purpose.TRAIN_MODELS, notice=current_notice(), at=AT, policy=Policy())
        ensure_subjects(conn, place.keys, [BEN], age_bands={BEN: "13_15"}, at=AT)
    with reading(engine) as conn:
        assert keep_minors(conn, place.home, at=AT, among=[people[ANNA]]) == 0
        assert keep_minors(conn, place.home, at=AT) == 1
        assert keep_minors(conn, place.home, at=AT + timedelta(days=1)) == 0
    backup.restore()
    assert forgotten(engine, place.home) == 1
    assert replay_wishes(place.transaction, place.keys, place.home, at=AT) == 1
    assert state(engine, ref).age_band == "16_17"
    with reading(engine) as conn:
        # Or it would be in force again on his eighteenth birthday.
        assert read_current(conn, ref)[Purpose.TRAIN_MODELS].state is ConsentState.INVALIDATED
    # His birthday, by the shop's next load.
    with place.transaction() as conn:
        ensure_subjects(conn, place.keys, [BEN], age_bands={BEN: "adult"}, at=AT)
    assert forgotten(engine, place.home) == 0


def test_an_act_after_a_restore_does_not_pass_for_the_newer_one(
    place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    ref, backup = people[ANNA], Backup(engine, people[ANNA])
    with place.transaction() as conn:
        change_epoch(conn, ref)
    said(place, ref, "objection", on=True)
    backup.restore()
    with place.transaction() as conn:
        change_epoch(conn, ref)
    assert forgotten(engine, place.home) == 1


@pytest.mark.parametrize(
    "line",
    [
        "nonsense",
        "[]",
        '{"subject_ref": "00"}',
        '{"subject_ref":"%s","kind":"whim","on":true,"consent_epoch":1,"at":"2026-01-01T00:00:00+00:00"}' % ("00" * 16),
        '{"subject_ref":"%s","kind":"objection","on":1,"consent_epoch":1,"at":"2026-01-01T00:00:00+00:00"}'
        % ("00" * 16),
        '{"subject_ref":"00","kind":"objection","on":true,"consent_epoch":1,"at":"2026-01-01T00:00:00+00:00"}',
        '{"subject_ref":"%s","kind":"objection","on":true,"consent_epoch":1,"at":"2026-01-01T00:00:00"}' % ("00" * 16),
    ],
)
def test_a_line_that_is_no_wish_is_named(tmp_path: Path, line: str) -> None:
    keep_wishes(tmp_path, [KeptWish(bytes(16), "objection", True, 1, AT)])
    with (tmp_path / FILE).open("a") as file:
        file.write(line + "\n")
    with pytest.raises(StoreError, match=rf"{FILE}: line 2 is no wish; restore the file .* who objected, restricted"):
        read_wishes(tmp_path)
    with pytest.raises(StoreError, match="line 2 is no wish"):
        keep_wishes(tmp_path, [KeptWish(bytes(16), "objection", False, 2, AT)])


def test_a_line_torn_by_a_crash_is_read_by_nobody(tmp_path: Path) -> None:
    first = KeptWish(bytes(16), "objection", True, 1, AT)
    keep_wishes(tmp_path, [first])
    with (tmp_path / FILE).open("ab") as file:
        file.write(b'{"subject_ref":"0202')
    assert read_wishes(tmp_path) == (first,)
    second = KeptWish(bytes(16), "objection", False, 2, AT)
    keep_wishes(tmp_path, [second])
    assert read_wishes(tmp_path) == (first, second)
