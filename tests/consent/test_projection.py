"""What is in force when the table that says so is damaged: nothing is allowed, and everybody can still say no."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest
from sqlalchemy import Engine, text, update

from considerate.consent.decision import ConsentState, Policy
from considerate.consent.ledger import grant, verify, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.projection import check_projection, projection, read_current, rebuild_projection, replay
from considerate.consent.purposes import Purpose
from considerate.consent.shredding import record_erasure
from considerate.errors import ConsentError
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.tables import consent_current

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
TRAIN = Purpose.TRAIN_MODELS


@pytest.fixture
def given(engine: Engine, keys: Keys, adults: list[bytes]) -> bytes:
    """Reference of a customer who allows training."""
    with writing(engine) as conn:
        for ref in adults:
            grant(conn, keys, ref, TRAIN, notice=current_notice("de"), at=AT, policy=Policy())
    return adults[0]


def spoil(engine: Engine, ref: bytes, **values: object) -> None:
    with writing(engine) as conn:
        conn.execute(update(consent_current).where(consent_current.c.subject_ref == ref).values(values))


def assert_off_for_good(engine: Engine, ref: bytes) -> None:
    """Off, in the ledger too: a projection written anew from it changes nothing."""
    with writing(engine) as conn:
        check_projection(conn)
        assert rebuild_projection(conn) == 0
        assert read_current(conn, ref)[TRAIN].state is ConsentState.WITHDRAWN
        assert verify(conn) is None


@pytest.mark.parametrize("seq", [99, 2, 0])
def test_a_consent_that_names_no_event_of_hers_can_be_withdrawn(
    engine: Engine, keys: Keys, given: bytes, seq: int
) -> None:
    spoil(engine, given, seq=seq)
    with writing(engine) as conn:
        assert withdraw(conn, keys, given, TRAIN, at=AT).changed
    assert_off_for_good(engine, given)


def test_a_withdrawal_that_the_ledger_does_not_know_is_recorded(engine: Engine, keys: Keys, given: bytes) -> None:
    # Else it would be acknowledged as one made before, and a replay would bring the consent back.
    spoil(engine, given, state="withdrawn")
    with writing(engine) as conn:
        done = withdraw(conn, keys, given, TRAIN, at=AT)
        assert (done.changed, done.seq) == (True, 4)
        assert not withdraw(conn, keys, given, TRAIN, at=AT).changed
    assert_off_for_good(engine, given)


@pytest.mark.parametrize("seq", [99, 2])
def test_a_wrong_projection_does_not_hinder_an_erasure(engine: Engine, keys: Keys, given: bytes, seq: int) -> None:
    spoil(engine, given, seq=seq)
    with writing(engine) as conn:
        assert [one.state for one in record_erasure(conn, keys, given, at=AT)] == [ConsentState.ERASED]
        check_projection(conn)


@pytest.mark.parametrize("column", ["seq", "purpose_version", "notice_version", "event_time", "expires_at"])
@pytest.mark.parametrize("value", ["'abc'", "x'00'", str(2**63 - 1)])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_consent_of_another_type_allows_nothing_and_can_be_withdrawn(
    engine: Engine, keys: Keys, given: bytes, column: str, value: str
) -> None:
    with writing(engine) as conn:
        conn.execute(text(f"UPDATE consent_current SET {column} = {value} WHERE seq = 1"))
        consent = read_current(conn, given)[TRAIN]
        assert consent.state is ConsentState.INVALIDATED or value.isdecimal()
        assert withdraw(conn, keys, given, TRAIN, at=AT).changed
    assert_off_for_good(engine, given)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_entries_of_another_type_are_put_right(engine: Engine, given: bytes) -> None:
    with closing(sqlite3.connect(str(engine.url.database), isolation_level=None)) as conn:
        # Foreign keys are heeded by those alone who ask for it.
        conn.execute("UPDATE consent_current SET subject_ref = lower(hex(subject_ref)) WHERE seq = 1")
    with (
        reading(engine) as conn,
        pytest.raises(ConsentError, match="consents in force: 2 entries are wrong, missing or"),
    ):
        check_projection(conn)
    with writing(engine) as conn:
        assert rebuild_projection(conn) == 2
        assert projection(conn) == replay(conn)
        assert read_current(conn, given)[TRAIN].state is ConsentState.GIVEN
