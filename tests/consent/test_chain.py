"""The chain: whatever is done to the ledger behind its triggers' back, `verify` names the first bad position."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, delete, insert, select, text, update
from tests.consent import test_checkpoints
from tests.consent.test_checkpoints import rows_of

from considerate.consent.decision import ConsentState
from considerate.consent.events import GENESIS, HASHED, ConsentEvent, Head, canonical_row, chain_hash
from considerate.consent.ledger import append_many, head, verify
from considerate.consent.notices import NoticeShown, current_notice
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.store.engine import writing
from considerate.store.keys import Keys
from considerate.store.tables import consent_current, consent_event, consent_evidence

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LENGTH = 12
# Evidence points at events and would hold them back.
behind_the_triggers = partial(test_checkpoints.behind_the_triggers, emptied=[consent_evidence])
SEQS = st.integers(1, LENGTH)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def ledger(engine: Engine, keys: Keys, adults: list[bytes]) -> Engine:
    """A ledger of 12 events of three people on three purposes."""
    purposes = [Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE, Purpose.PERSONALISE_ONSITE]
    with writing(engine) as conn:
        events = [
            ConsentEvent(
                adults[number % 3],
                purposes[number // 3 % 3],
                ConsentState.GIVEN,
                current_notice(),
                AT,
                evidence={"form": number},
            )
            for number in range(LENGTH)
        ]
        append_many(conn, keys, events, at=AT)
        assert verify(conn) is None
    return engine


def write_anew(conn: Connection, rows: list[dict[str, Any]]) -> None:
    conn.execute(delete(consent_event))
    conn.execute(insert(consent_event), rows)


def rehash(rows: list[dict[str, Any]], start: int) -> None:
    """Make the chain consistent again from row number `start` on, as an attacker would."""
    for number in range(start, len(rows)):
        previous = rows[number - 1]["hash"] if number else GENESIS
        rows[number]["prev_hash"] = previous
        rows[number]["hash"] = chain_hash(previous, canonical_row([rows[number][name] for name in HASHED]))


def changed(value: object) -> object:
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:]
    if isinstance(value, int):
        return value + 1
    return "forged"


COLUMNS = [name for name in consent_event.columns.keys() if name not in ("seq", "subject_ref")]  # noqa: SIM118


@QUICK
@given(seq=SEQS, column=st.sampled_from(COLUMNS))
def test_an_edited_event_is_named(ledger: Engine, seq: int, column: str) -> None:
    with behind_the_triggers(ledger) as conn:
        before = conn.execute(select(consent_event.c[column]).where(consent_event.c.seq == seq)).scalar()
        conn.execute(update(consent_event).where(consent_event.c.seq == seq).values({column: changed(before)}))
        assert verify(conn) == seq


@pytest.mark.parametrize("column", ["prev_hash", "hash", "event_id", "state", "event_time", "evidence_commit"])
@pytest.mark.parametrize("value", ["'text'", "x'00ff'", "1.5"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_an_event_with_a_value_of_another_type_is_named(ledger: Engine, column: str, value: str) -> None:
    # SQLite lets any type into most columns.
    with behind_the_triggers(ledger) as conn:
        conn.execute(text(f"UPDATE consent_event SET {column} = {value} WHERE seq = 5"))
        assert verify(conn) == 5


@pytest.mark.parametrize("column", ["event_id", "subject_ref", "evidence_commit", "prev_hash", "hash"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_text_in_the_place_of_the_bytes_that_it_spells_is_named(ledger: Engine, column: str) -> None:
    # Bytes are hashed as their hex, so that the text of it has the same hash.
    with behind_the_triggers(ledger) as conn:
        conn.execute(text("PRAGMA defer_foreign_keys = ON"))
        conn.execute(text(f"UPDATE consent_event SET {column} = lower(hex({column})) WHERE seq = 5"))
        assert verify(conn) == 5


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_bytes_in_the_place_of_the_text_that_spells_them_are_named(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    with writing(engine) as conn:
        shown = NoticeShown("cafe", 1, "en")
        append_many(conn, keys, [ConsentEvent(adults[0], Purpose.TRAIN_MODELS, ConsentState.REFUSED, shown, AT)], at=AT)
    with behind_the_triggers(engine) as conn:
        assert verify(conn) is None
        conn.execute(text("UPDATE consent_event SET notice_id = x'cafe'"))
        assert verify(conn) == 1


@QUICK
@given(seq=SEQS, other=SEQS)
def test_an_event_moved_to_another_person_is_named(ledger: Engine, seq: int, other: int) -> None:
    with behind_the_triggers(ledger) as conn:
        rows = rows_of(conn)
        ref = rows[other - 1]["subject_ref"]
        conn.execute(update(consent_event).where(consent_event.c.seq == seq).values(subject_ref=ref))
        assert verify(conn) == (None if ref == rows[seq - 1]["subject_ref"] else seq)


@QUICK
@given(seq=st.integers(1, LENGTH - 1), close_the_gap=st.booleans())
def test_a_removed_event_is_named(ledger: Engine, seq: int, close_the_gap: bool) -> None:
    with behind_the_triggers(ledger) as conn:
        rows = rows_of(conn)
        del rows[seq - 1]
        if close_the_gap:
            rows = [{**row, "seq": number} for number, row in enumerate(rows, start=1)]
        write_anew(conn, rows)
        assert verify(conn) == seq


@QUICK
@given(seq=SEQS, copied=SEQS)
def test_an_inserted_event_is_named(ledger: Engine, seq: int, copied: int) -> None:
    with behind_the_triggers(ledger) as conn:
        rows = rows_of(conn)
        rows.insert(seq - 1, {**rows[copied - 1], "event_id": b"forged-event-id!"})
        write_anew(conn, [{**row, "seq": number} for number, row in enumerate(rows, start=1)])
        assert verify(conn) == seq


def test_an_event_added_at_the_end_without_its_hash_is_named(ledger: Engine) -> None:
    with behind_the_triggers(ledger) as conn:
        forged = {**rows_of(conn)[-1], "seq": LENGTH + 1, "event_id": b"forged-event-id!"}
        conn.execute(insert(consent_event), forged)
        assert verify(conn) == LENGTH + 1


@QUICK
@given(pair=st.lists(SEQS, min_size=2, max_size=2, unique=True), with_seq=st.booleans())
def test_swapped_events_are_named_at_the_first_of_them(ledger: Engine, pair: list[int], with_seq: bool) -> None:
    first, second = sorted(pair)
    with behind_the_triggers(ledger) as conn:
        rows = rows_of(conn)
        rows[first - 1], rows[second - 1] = rows[second - 1], rows[first - 1]
        if not with_seq:
            rows = [{**row, "seq": number} for number, row in enumerate(rows, start=1)]
            write_anew(conn, rows)
        else:
            rows[first - 1]["seq"], rows[second - 1]["seq"] = first, second
            write_anew(conn, rows)
        assert verify(conn) == first


@QUICK
@given(left=st.integers(0, LENGTH - 1))
def test_a_ledger_cut_short_is_named_where_it_ends(ledger: Engine, left: int) -> None:
    with behind_the_triggers(ledger) as conn:
        conn.execute(delete(consent_event).where(consent_event.c.seq > left))
        assert verify(conn) == left + 1


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_position_that_is_none_in_another_table_does_not_hinder_the_walk(ledger: Engine) -> None:
    with behind_the_triggers(ledger) as conn:
        conn.execute(text("UPDATE consent_current SET seq = 'abc' WHERE seq = 4"))
        assert verify(conn) is None
        conn.execute(delete(consent_event).where(consent_event.c.seq == LENGTH))
        assert verify(conn) == LENGTH


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_head_that_is_no_hash_is_refused(ledger: Engine) -> None:
    with behind_the_triggers(ledger) as conn:
        conn.execute(text(f"UPDATE consent_event SET hash = 'abc' WHERE seq = {LENGTH}"))
        with pytest.raises(StoreError, match="ledger position 12: its hash is not one; see: considerate ledger verify"):
            head(conn)


@QUICK
@given(left=st.integers(0, LENGTH - 1))
def test_a_cut_that_also_empties_the_projection_needs_a_head_noted_elsewhere(ledger: Engine, left: int) -> None:
    with behind_the_triggers(ledger) as conn:
        noted = head(conn)
        conn.execute(delete(consent_current))
        conn.execute(delete(consent_event).where(consent_event.c.seq > left))
        assert verify(conn) is None
        assert verify(conn, trusted=noted) == left + 1


@QUICK
@given(seq=SEQS)
def test_a_chain_rewritten_from_there_to_its_end_needs_a_head_noted_elsewhere(ledger: Engine, seq: int) -> None:
    with behind_the_triggers(ledger) as conn:
        noted = head(conn)
        rows = rows_of(conn)
        rows[seq - 1]["state"] = "withdrawn"
        rehash(rows, seq - 1)
        write_anew(conn, rows)
        assert verify(conn) is None
        assert verify(conn, trusted=noted) == LENGTH
        assert verify(conn, trusted=Head(seq, noted.hash)) == seq


def test_an_intact_ledger_agrees_with_each_of_its_heads(ledger: Engine) -> None:
    with writing(ledger) as conn:
        heads = [Head(row["seq"], row["hash"]) for row in rows_of(conn)]
        assert [verify(conn, trusted=noted) for noted in heads] == [None] * LENGTH


TEXT = st.text(st.characters(codec="utf-8"))
VALUES = st.none() | st.integers(-(2**53) + 1, 2**53 - 1) | TEXT | st.binary(min_size=1, max_size=32)


@given(values=st.lists(VALUES, min_size=len(HASHED), max_size=len(HASHED)))
def test_the_hashed_text_is_canonical_json(values: list[Any]) -> None:
    plain = {
        name: value.hex() if isinstance(value, bytes) else value for name, value in zip(HASHED, values, strict=True)
    }
    assert canonical_row(values) == rfc8785.dumps(plain)


def test_the_chain_is_what_its_definition_says() -> None:
    import hashlib

    assert chain_hash(GENESIS, b"{}") == hashlib.sha256(b"clr.v1" + bytes(32) + b"{}").digest()
    assert HASHED == (
        "actor",
        "event_id",
        "event_time",
        "event_type",
        "evidence_commit",
        "expires_at",
        "jurisdiction",
        "locale",
        "method",
        "notice_id",
        "notice_version",
        "purpose_id",
        "purpose_version",
        "recorded_at",
        "schema_version",
        "seq",
        "state",
        "subject_ref",
    )


def seconds(action: Callable[[], object]) -> float:
    import time

    # Of this process: other work on the machine does not count.
    started = time.process_time()
    action()
    return time.process_time() - started


@pytest.mark.slow
def test_seven_thousand_consents_are_written_and_verified_in_seconds(engine: Engine, keys: Keys) -> None:
    from considerate.store.subjects import ensure_subjects

    purposes = [Purpose.PERSONALISE_ONSITE, Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE]
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, [str(number) for number in range(2_500)])
        events = [
            ConsentEvent(ref, purpose, ConsentState.GIVEN, current_notice(), AT + timedelta(0, n), evidence={"n": n})
            for n, ref in enumerate(refs.values())
            for purpose in purposes
        ]
        assert seconds(lambda: append_many(conn, keys, events, at=AT)) < 5
        assert seconds(lambda: verify(conn)) < 1
        assert head(conn).seq == 7_500
