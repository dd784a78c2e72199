"""Erasure in the ledger: the person is gone, the chain stands."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import Connection, Engine, func, select, update

from considerate.consent.decision import ConsentState, Policy
from considerate.consent.events import ConsentEvent
from considerate.consent.ledger import append, grant, head, verify, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.projection import projection, read_current, rebuild_projection, replay
from considerate.consent.purposes import Purpose
from considerate.consent.shredding import record_erasure, shred
from considerate.errors import ConsentError, StoreError, UnknownSubject
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.subjects import customer_id_of, ensure_subjects, find_subject, subject_by_ref
from considerate.store.tables import consent_event, consent_evidence, subject, subject_key

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
TRAIN, ON_SITE = Purpose.TRAIN_MODELS, Purpose.PERSONALISE_ONSITE


def set_state(conn: Connection, ref: bytes, state: str) -> None:
    conn.execute(update(subject).where(subject.c.subject_ref == ref).values(state=state))


def yes(conn: Connection, keys: Keys, ref: bytes, purpose: Purpose) -> None:
    evidence = {"form": "checkout"}
    grant(conn, keys, ref, purpose, notice=current_notice("de"), at=AT, policy=Policy(), evidence=evidence)


def test_the_chain_verifies_after_the_person_behind_it_is_shredded(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    anna, ben, _ = adults
    with writing(engine) as conn:
        for ref in (anna, ben):
            yes(conn, keys, ref, TRAIN)
        withdraw(conn, keys, anna, ON_SITE, at=AT)
        set_state(conn, anna, "erasing")
        erased = record_erasure(conn, keys, anna, at=AT)
        assert shred(conn, anna)
        assert shred(conn, anna) is False
    with reading(engine) as conn:
        assert {(one.purpose, one.state) for one in erased} == {
            (TRAIN, ConsentState.ERASED),
            (ON_SITE, ConsentState.ERASED),
        }
        assert head(conn).seq == 5
        assert verify(conn) is None
        # Nothing leads from her rows to her any more; Ben's are whole.
        assert conn.execute(select(func.count()).select_from(consent_evidence)).scalar() == 1
        assert sorted(conn.execute(select(subject_key.c.subject_ref)).scalars()) == sorted(adults[1:])
        row = conn.execute(select(subject).where(subject.c.subject_ref == anna)).one()
        assert (row.lookup_hmac, row.customer_id_enc, row.age_band, row.age_source) == (None, None, "unknown", "none")
        assert find_subject(conn, keys.lookup("anna")) is None
        assert customer_id_of(conn, keys, anna) is None
        assert customer_id_of(conn, keys, ben) == "ben"


def test_an_erased_person_leaves_the_projection_and_a_replay_agrees(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    anna, ben, _ = adults
    with writing(engine) as conn:
        for ref in (anna, ben):
            yes(conn, keys, ref, TRAIN)
        record_erasure(conn, keys, anna, at=AT)
        assert read_current(conn, anna) == {}
        assert read_current(conn, ben)[TRAIN].state is ConsentState.GIVEN
        assert projection(conn) == replay(conn)
        assert rebuild_projection(conn) == 0
        who = subject_by_ref(conn, anna)
        assert who is not None
        assert who.consent_epoch == 2


def test_recording_an_erasure_twice_appends_once(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        yes(conn, keys, adults[0], TRAIN)
        set_state(conn, adults[0], "erasing")
        assert len(record_erasure(conn, keys, adults[0], at=AT)) == 1
        assert record_erasure(conn, keys, adults[0], at=AT) == []
        set_state(conn, adults[0], "erased")
        assert record_erasure(conn, keys, adults[0], at=AT) == []
        assert head(conn).seq == 2


def test_the_last_event_names_the_notice_she_had_read_and_says_nothing_else(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    with writing(engine) as conn:
        yes(conn, keys, adults[0], TRAIN)
        record_erasure(conn, keys, adults[0], at=AT)
        row = conn.execute(select(consent_event).where(consent_event.c.seq == 2)).one()
    assert (row.state, row.method, row.locale, row.expires_at, row.evidence_commit) == (
        "erased",
        "erasure",
        "de",
        None,
        None,
    )


def test_nothing_but_her_erasure_is_recorded_of_someone_being_erased(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    with writing(engine) as conn:
        yes(conn, keys, adults[0], TRAIN)
        set_state(conn, adults[0], "erasing")
        for state in (ConsentState.GIVEN, ConsentState.WITHDRAWN):
            with pytest.raises(UnknownSubject, match="1 of 1 subjects: not known or erased"):
                append(conn, keys, ConsentEvent(adults[0], TRAIN, state, current_notice(), AT), at=AT)
        set_state(conn, adults[0], "erased")
        with pytest.raises(UnknownSubject):
            append(conn, keys, ConsentEvent(adults[0], TRAIN, ConsentState.ERASED, current_notice(), AT), at=AT)
        assert head(conn).seq == 1


def test_an_active_person_is_not_shredded(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        with pytest.raises(
            ConsentError, match=r"state = active: only someone who is being erased .* set it to erasing"
        ):
            shred(conn, adults[0])
        assert customer_id_of(conn, keys, adults[0]) == "anna"


def test_shredding_nobody_does_nothing(engine: Engine, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        assert shred(conn, b"nobody-at-all-16") is False
        assert conn.execute(select(func.count()).select_from(subject_key)).scalar() == len(adults)


def test_shredding_needs_the_write_lock(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with reading(engine) as conn:
        with pytest.raises(StoreError, match="write lock"):
            shred(conn, adults[0])
        with pytest.raises(StoreError, match="write lock"):
            record_erasure(conn, keys, adults[0], at=AT)


def test_the_same_customer_id_is_somebody_new_afterwards(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        yes(conn, keys, adults[0], TRAIN)
        set_state(conn, adults[0], "erasing")
        record_erasure(conn, keys, adults[0], at=AT)
        shred(conn, adults[0])
        set_state(conn, adults[0], "erased")
        again = ensure_subjects(conn, keys, ["anna"], age_bands={"anna": "adult"})["anna"]
        assert again not in adults
        assert read_current(conn, again) == {}
        yes(conn, keys, again, TRAIN)
        assert verify(conn) is None
