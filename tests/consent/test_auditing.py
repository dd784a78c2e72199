"""An audit: whoever runs one command is told of all that is not as it was recorded."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, text, update

from considerate.consent.auditing import Audit, audit
from considerate.consent.decision import Policy
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.consent.shredding import record_erasure, shred
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys, seal
from considerate.store.subjects import subject_keys
from considerate.store.tables import consent_current, consent_event, consent_evidence, subject, subject_key

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
TRAIN = Purpose.TRAIN_MODELS


@pytest.fixture
def look(engine: Engine, tmp_path: Path) -> Callable[..., Audit]:
    def audited(*, opened_by: Keys | None = None) -> Audit:
        with reading(engine) as conn:
            return audit(conn, tmp_path, {}, opened_by=opened_by)

    return audited


@pytest.fixture
def ledger(engine: Engine, keys: Keys, adults: list[bytes]) -> Engine:
    """A yes of everybody, which the first of them took back."""
    with writing(engine) as conn:
        for ref in adults:
            grant(conn, keys, ref, TRAIN, notice=current_notice(), at=AT, policy=Policy())
        withdraw(conn, keys, adults[0], TRAIN, at=AT)
    return engine


def test_a_sound_ledger_has_no_problems(ledger: Engine, keys: Keys, look: Callable[..., Audit]) -> None:
    assert (look().problems, look(opened_by=keys).problems, look().head.seq) == ((), (), 4)


@pytest.mark.parametrize("change", ["given again", "removed", "added"])
def test_consents_in_force_that_the_ledger_does_not_bear_out_are_a_problem(
    ledger: Engine, adults: list[bytes], look: Callable[..., Audit], change: str
) -> None:
    with writing(ledger) as conn:
        hers = consent_current.c.subject_ref == adults[0]
        if change == "given again":
            conn.execute(update(consent_current).where(hers).values(state="given"))
        elif change == "removed":
            conn.execute(delete(consent_current).where(hers))
        else:
            row = {
                **conn.execute(consent_current.select().where(hers)).mappings().one(),
                "purpose_id": "email_campaign",
            }
            conn.execute(insert(consent_current), row)
    assert look().problems == (
        "consents in force: 1 entries are wrong, missing or too many by the ledger; run: considerate ledger replay",
    )


@pytest.mark.parametrize("column", ["seq", "subject_ref", "event_time"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_consents_in_force_of_another_type_are_a_problem(
    ledger: Engine, adults: list[bytes], look: Callable[..., Audit], column: str
) -> None:
    with closing(sqlite3.connect(str(ledger.url.database), isolation_level=None)) as conn:
        # Foreign keys are heeded by those alone who ask for it.
        conn.execute(f"UPDATE consent_current SET {column} = 'abc' WHERE seq = 2")
    (problem,) = look().problems
    assert problem.startswith("consents in force: ")


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_end_that_is_no_hash_is_named(ledger: Engine, look: Callable[..., Audit]) -> None:
    with writing(ledger) as conn:
        conn.execute(text("DROP TRIGGER consent_event_no_update"))
        conn.execute(text("UPDATE consent_event SET hash = 'abc' WHERE seq = 4"))
    found = look()
    assert (found.problems, found.head.seq) == (("ledger position 4: not what was once appended",), 4)


def test_evidence_that_is_gone_is_a_problem(ledger: Engine, keys: Keys, look: Callable[..., Audit]) -> None:
    with writing(ledger) as conn:
        conn.execute(delete(consent_evidence))
    said = (
        "evidence: that of 3 events is gone, the first at ledger position 1; without it those decisions cannot be shown"
    )
    assert [problem.startswith(said) for problem in look().problems] == [True]
    assert look(opened_by=keys).problems == look().problems


def test_evidence_that_nobody_can_open_any_more_is_a_problem(
    ledger: Engine, adults: list[bytes], look: Callable[..., Audit]
) -> None:
    with writing(ledger) as conn:
        conn.execute(delete(subject_key).where(subject_key.c.subject_ref == adults[1]))
    (problem,) = look().problems
    assert problem.startswith("evidence: that of 1 events is gone, the first at ledger position 2;")


@pytest.mark.parametrize("sealed_anew", [True, False])
def test_other_evidence_than_was_committed_to_is_a_problem_to_whoever_has_the_keys(
    ledger: Engine, keys: Keys, adults: list[bytes], look: Callable[..., Audit], *, sealed_anew: bool
) -> None:
    with writing(ledger) as conn:
        event_id = conn.execute(consent_event.select().where(consent_event.c.seq == 2)).mappings().one()["event_id"]
        key = subject_keys(conn, keys, adults)[adults[1]] if sealed_anew else bytes(32)
        forged = seal(key, b'{"form":"another"}', event_id)
        conn.execute(update(consent_evidence).where(consent_evidence.c.event_id == event_id).values(sealed=forged))
    (problem,) = look(opened_by=keys).problems
    assert problem.startswith(
        "evidence: that of 1 events is not what the ledger commits to, the first at ledger position 2"
    )
    assert look().problems == ()


def test_the_evidence_of_the_erased_is_not_missed(
    ledger: Engine, keys: Keys, adults: list[bytes], look: Callable[..., Audit]
) -> None:
    with writing(ledger) as conn:
        conn.execute(update(subject).where(subject.c.subject_ref == adults[1]).values(state="erasing"))
        record_erasure(conn, keys, adults[1], at=AT)
        shred(conn, adults[1])
    assert look(opened_by=keys).problems == ()
