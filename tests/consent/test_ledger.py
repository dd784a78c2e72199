"""The ledger: what giving and withdrawing leave behind, and what it refuses."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select, text, update

from considerate.consent.decision import ConsentState, Policy
from considerate.consent.events import GENESIS, ConsentEvent, Head
from considerate.consent.ledger import append, append_many, grant, head, verify, withdraw
from considerate.consent.notices import NOTICE, NoticeShown, current_notice
from considerate.consent.projection import projection, read_current, rebuild_projection, replay
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError, MinorCannotConsent, StaleNotice, StoreError, UnknownSubject
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys, commit, unseal
from considerate.store.subjects import ensure_subjects, subject_by_ref, subject_keys
from considerate.store.tables import consent_current, consent_event, consent_evidence, notice, subject

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
POLICY = Policy()
TRAIN = Purpose.TRAIN_MODELS
LEDGER_BUT_SEQ = ", ".join(name for name in consent_event.columns.keys() if name != "seq")  # noqa: SIM118

FURTHER_WAYS = {
    "sqlite": [
        "INSERT OR REPLACE INTO consent_event SELECT * FROM consent_event",
        f"INSERT OR REPLACE INTO consent_event SELECT 2, {LEDGER_BUT_SEQ} FROM consent_event",
    ],
    "postgresql": [
        "TRUNCATE consent_event CASCADE",
        f"INSERT INTO consent_event SELECT 1, {LEDGER_BUT_SEQ} FROM consent_event "
        "ON CONFLICT (seq) DO UPDATE SET state = 'withdrawn'",
    ],
}


def event_for(ref: bytes, state: ConsentState = ConsentState.GIVEN, **more: Any) -> ConsentEvent:
    return ConsentEvent(ref, TRAIN, state, current_notice(), AT, **more)


def test_a_grant_is_an_event_a_current_state_and_a_new_epoch(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        recorded = grant(conn, keys, adults[0], TRAIN, notice=current_notice("de"), at=AT, policy=POLICY, method="app")
    with reading(engine) as conn:
        row = conn.execute(select(consent_event)).one()
        current = read_current(conn, adults[0])[TRAIN]
        who = subject_by_ref(conn, adults[0])
        assert head(conn) == Head(1, recorded.hash)
        assert read_current(conn, adults[1]) == {}
        assert conn.execute(select(notice.c.locale, notice.c.text_sha256)).all() == [("de", NOTICE.text_sha256("de"))]
    assert (recorded.seq, recorded.state, recorded.changed, recorded.consent_epoch) == (1, ConsentState.GIVEN, True, 1)
    assert recorded.expires_at == AT + timedelta(days=730) == current.expires_at
    assert (row.purpose_id, row.state, row.method, row.locale, row.event_type) == (
        "train_models",
        "given",
        "app",
        "de",
        "expressed",
    )
    assert (row.event_id, row.hash, row.prev_hash) == (recorded.event_id, recorded.hash, GENESIS)
    assert (current.state, current.seq, current.event_time) == (ConsentState.GIVEN, 1, AT)
    assert who is not None
    assert who.consent_epoch == 1


def test_a_sensitive_purpose_is_recorded_as_explicit(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        purpose = Purpose.SENSITIVE_CATEGORIES
        grant(conn, keys, adults[0], purpose, notice=current_notice(), at=AT, policy=POLICY)
        assert conn.execute(select(consent_event.c.event_type)).scalar() == "explicit"


def test_a_withdrawal_ends_one_purpose_and_asks_for_nothing(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        for purpose in (TRAIN, Purpose.PERSONALISE_ONSITE):
            grant(conn, keys, adults[0], purpose, notice=current_notice("de"), at=AT, policy=POLICY)
        recorded = withdraw(conn, keys, adults[0], TRAIN, at=AT)
        current = read_current(conn, adults[0])
        assert conn.execute(select(consent_event.c.locale).where(consent_event.c.seq == 3)).scalar() == "de"
    assert (recorded.seq, recorded.state, recorded.expires_at) == (3, ConsentState.WITHDRAWN, None)
    assert current[TRAIN].state is ConsentState.WITHDRAWN
    assert current[Purpose.PERSONALISE_ONSITE].state is ConsentState.GIVEN


@pytest.mark.parametrize("earlier", [timedelta(0), timedelta(days=1)])
def test_a_no_that_is_not_later_than_the_one_on_record_adds_nothing(
    engine: Engine, keys: Keys, adults: list[bytes], earlier: timedelta
) -> None:
    with writing(engine) as conn:
        grant(conn, keys, adults[0], TRAIN, notice=current_notice(), at=AT, policy=POLICY)
        first = withdraw(conn, keys, adults[0], TRAIN, at=AT)
        second = withdraw(conn, keys, adults[0], TRAIN, at=AT - earlier)
        assert head(conn).seq == 2
    assert (first.changed, second) == (True, replace(first, changed=False))


@pytest.mark.parametrize("state", [ConsentState.WITHDRAWN, ConsentState.REFUSED, ConsentState.INVALIDATED])
def test_a_later_no_to_what_is_off_is_recorded_and_changes_nothing(
    engine: Engine, keys: Keys, adults: list[bytes], state: ConsentState
) -> None:
    read = NoticeShown(NOTICE.notice_id, 1, "de")
    with writing(engine) as conn:
        append(conn, keys, ConsentEvent(adults[0], TRAIN, state, read, AT), at=AT)
        second = withdraw(conn, keys, adults[0], TRAIN, at=AT + timedelta(days=1))
        rows = conn.execute(
            select(consent_event.c.event_id, consent_event.c.locale).order_by(consent_event.c.seq)
        ).all()
        current = read_current(conn, adults[0])[TRAIN]
        assert projection(conn) == replay(conn)
        assert verify(conn) is None
    # What the shop had ended, she has taken back herself.
    then = ConsentState.WITHDRAWN if state is ConsentState.INVALIDATED else state
    assert (second.state, second.changed, second.seq, second.consent_epoch) == (then, False, 2, 2)
    assert (current.state, current.event_time) == (then, AT + timedelta(days=1))
    assert tuple(rows[1]) == (second.event_id, "de")


def test_a_no_before_any_yes_is_a_refusal(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        assert withdraw(conn, keys, adults[0], TRAIN, at=AT).state is ConsentState.REFUSED
        again = grant(conn, keys, adults[0], TRAIN, notice=current_notice(), at=AT, policy=POLICY)
    assert (again.state, again.consent_epoch) == (ConsentState.GIVEN, 2)


@pytest.mark.parametrize("shown", [NoticeShown("other", 1, "en"), NoticeShown(NOTICE.notice_id, 9, "en")])
def test_a_grant_on_a_stale_notice_is_refused(
    engine: Engine, keys: Keys, adults: list[bytes], shown: NoticeShown
) -> None:
    with writing(engine) as conn:
        with pytest.raises(StaleNotice):
            grant(conn, keys, adults[0], TRAIN, notice=shown, at=AT, policy=POLICY)
        assert head(conn).seq == 0


@pytest.mark.parametrize("band", ["u13", "13_15", "16_17", "unknown"])
def test_someone_who_may_be_a_minor_cannot_consent(engine: Engine, keys: Keys, band: str) -> None:
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, ["dora"], age_bands={"dora": band})["dora"]
        with pytest.raises(MinorCannotConsent, match=rf"age band {band}: consent needs an adult; keep the switch off"):
            grant(conn, keys, ref, TRAIN, notice=current_notice(), at=AT, policy=POLICY)
        assert head(conn).seq == 0
        # A no is heard at any age.
        assert withdraw(conn, keys, ref, TRAIN, at=AT).state is ConsentState.REFUSED


def test_an_unknown_age_may_consent_where_the_shop_sells_to_adults_only(engine: Engine, keys: Keys) -> None:
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, ["dora"])["dora"]
        policy = Policy(unknown_age="adult")
        assert grant(conn, keys, ref, TRAIN, notice=current_notice(), at=AT, policy=policy).changed


def test_nobody_and_the_erased_cannot_be_recorded(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        conn.execute(update(subject).where(subject.c.subject_ref == adults[1]).values(state="erased"))
        for ref in (b"nobody-at-all-16", adults[1]):
            with pytest.raises(UnknownSubject, match="1 of 2 subjects: not known or erased"):
                append_many(conn, keys, [event_for(adults[0]), event_for(ref)], at=AT)
            with pytest.raises(UnknownSubject, match="make them with ensure_subjects"):
                grant(conn, keys, ref, TRAIN, notice=current_notice(), at=AT, policy=POLICY)
        assert head(conn).seq == 0


def test_a_failed_transaction_leaves_no_trace(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    def fail_after_granting() -> None:
        with writing(engine) as conn:
            grant(conn, keys, adults[0], TRAIN, notice=current_notice(), at=AT, policy=POLICY)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_after_granting()
    with reading(engine) as conn:
        assert (head(conn).seq, projection(conn)) == (0, [])
        assert conn.execute(select(func.max(subject.c.consent_epoch))).scalar() == 0
        assert conn.execute(select(consent_evidence)).all() == []


def test_evidence_is_sealed_under_the_subjects_key_and_committed_to(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    evidence: dict[str, Any] = {"form": "checkout", "checked": True, "ip_prefix": "203.0.113.0/24"}
    with writing(engine) as conn:
        recorded = append(conn, keys, event_for(adults[0], evidence=evidence), at=AT)
        plain = append(conn, keys, event_for(adults[1]), at=AT)
        sealed = conn.execute(select(consent_evidence.c.event_id, consent_evidence.c.sealed)).one()
        commitments = conn.execute(select(consent_event.c.evidence_commit).order_by(consent_event.c.seq)).scalars()
        key = subject_keys(conn, keys, [adults[0]])[adults[0]]
        content = unseal(key, sealed.sealed, recorded.event_id)
        assert content == rfc8785.dumps(evidence)
        assert list(commitments) == [commit(key, content), None]
    assert sealed.event_id == recorded.event_id != plain.event_id
    assert b"checkout" not in sealed.sealed


def test_a_grant_remembers_the_words_that_were_read(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        recorded = grant(conn, keys, adults[0], TRAIN, notice=current_notice("de"), at=AT, policy=POLICY)
        key = subject_keys(conn, keys, [adults[0]])[adults[0]]
        sealed = conn.execute(select(consent_evidence.c.sealed)).scalar_one()
    assert NOTICE.text_sha256("de").encode() in unseal(key, sealed, recorded.event_id)


@pytest.mark.parametrize("evidence", [{"when": AT}, {"text": "\ud800"}, {"n": 2**60}, {"n": float("nan")}])
def test_evidence_that_is_not_plain_json_is_refused(
    engine: Engine, keys: Keys, adults: list[bytes], evidence: dict[str, Any]
) -> None:
    with writing(engine) as conn, pytest.raises(ConsentError, match="evidence: must be plain JSON"):
        append(conn, keys, event_for(adults[0], evidence=evidence), at=AT)


def test_text_that_cannot_be_printed_is_refused(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    for actor in ("\x00", "\ud800", "line\nbreak"):
        with writing(engine) as conn, pytest.raises(ConsentError, match="actor: holds characters that cannot be"):
            append(conn, keys, event_for(adults[0], actor=actor), at=AT)


def test_a_time_beyond_canonical_json_is_refused(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    late = ConsentEvent(adults[0], TRAIN, ConsentState.REFUSED, current_notice(), datetime(9000, 1, 1, tzinfo=UTC))
    with writing(engine) as conn, pytest.raises(ConsentError, match=r"event_time = \d+: must lie within 2\*\*53"):
        append(conn, keys, late, at=AT)


def test_the_ledger_is_written_under_the_write_lock_only(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with reading(engine) as conn:
        with pytest.raises(StoreError, match="write lock"):
            append(conn, keys, event_for(adults[0]), at=AT)
        with pytest.raises(StoreError, match="write lock"):
            withdraw(conn, keys, adults[0], TRAIN, at=AT)
        with pytest.raises(StoreError, match="write lock"):
            rebuild_projection(conn)


def test_no_events_are_no_change(engine: Engine, keys: Keys) -> None:
    with writing(engine) as conn:
        assert append_many(conn, keys, [], at=AT) == []
        assert head(conn) == Head(0, GENESIS)
        assert verify(conn) is None


def test_the_database_itself_refuses_to_change_the_ledger(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        append(conn, keys, event_for(adults[0]), at=AT)
    statements: list[Any] = [
        update(consent_event).values(state="withdrawn"),
        delete(consent_event),
        text(f"INSERT INTO consent_event SELECT 0, {LEDGER_BUT_SEQ} FROM consent_event"),
        *(text(statement) for statement in FURTHER_WAYS[engine.dialect.name]),
    ]
    for statement in statements:
        with pytest.raises(StoreError, match="consent_event is append-only"), writing(engine) as conn:
            conn.execute(statement)
    with reading(engine) as conn:
        assert (head(conn).seq, verify(conn)) == (1, None)


ACTS = st.lists(
    st.tuples(st.integers(0, 2), st.sampled_from(list(Purpose)), st.booleans()),
    max_size=15,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(acts=ACTS)
def test_the_projection_is_the_replay_of_the_ledger(
    engine: Engine, keys: Keys, adults: list[bytes], acts: list[tuple[int, Purpose, bool]]
) -> None:
    with writing(engine) as conn:
        before = conn.execute(select(func.sum(subject.c.consent_epoch))).scalar_one() - head(conn).seq
        for who, purpose, yes in acts:
            if yes:
                grant(conn, keys, adults[who], purpose, notice=current_notice(), at=AT, policy=POLICY)
            else:
                withdraw(conn, keys, adults[who], purpose, at=AT)
        assert projection(conn) == replay(conn)
        assert verify(conn) is None
        # One epoch for each event: nothing was recorded without ending cached results.
        assert conn.execute(select(func.sum(subject.c.consent_epoch))).scalar_one() - head(conn).seq == before
        for who, purpose, yes in {(who, purpose): (who, purpose, yes) for who, purpose, yes in acts}.values():
            assert (read_current(conn, adults[who])[purpose].state is ConsentState.GIVEN) is yes


def test_a_bulk_append_equals_single_appends(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    events = [
        ConsentEvent(ref, purpose, state, current_notice(), AT, event_id=bytes([number]) * 16)
        for number, (ref, purpose, state) in enumerate(
            (ref, purpose, state)
            for state in (ConsentState.GIVEN, ConsentState.WITHDRAWN)
            for purpose in Purpose
            for ref in adults
        )
    ]
    with writing(engine) as conn:
        bulk = append_many(conn, keys, events, at=AT)
        after_bulk = (head(conn), projection(conn))
        conn.rollback()
    with writing(engine) as conn:
        single = [append(conn, keys, event, at=AT) for event in events]
        assert (head(conn), projection(conn)) == after_bulk
    assert single == bulk


def test_a_wrong_projection_is_rebuilt_and_ends_cached_results(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        append_many(conn, keys, [event_for(ref) for ref in adults], at=AT)
        right = projection(conn)
        assert rebuild_projection(conn) == 0
        forged = update(consent_current).where(consent_current.c.subject_ref == adults[0]).values(state="withdrawn")
        conn.execute(forged)
        conn.execute(delete(consent_current).where(consent_current.c.subject_ref == adults[1]))
        assert rebuild_projection(conn) == 2
        assert projection(conn) == right
        epochs = [who.consent_epoch for ref in adults if (who := subject_by_ref(conn, ref)) is not None]
    assert epochs == [2, 2, 1]
