"""The consent ledger: append-only, hash-chained, with the current state of everybody as a projection beside it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, insert, select, text

from considerate.consent.decision import Consent, ConsentState, Policy, age_allowed
from considerate.consent.events import (
    EMPTY,
    HASHED,
    ConsentEvent,
    Head,
    Method,
    Recorded,
    canonical_evidence,
    canonical_row,
    chain_hash,
    is_chained,
    row_values,
)
from considerate.consent.notices import NoticeShown, check_current
from considerate.consent.projection import project, read_current
from considerate.consent.publishing import newest_published, note_notices
from considerate.consent.purposes import Purpose
from considerate.errors import MinorCannotConsent, StoreError, UnknownSubject
from considerate.store.engine import require_writing
from considerate.store.keys import Keys, commit, seal
from considerate.store.statements import chunks, untyped
from considerate.store.subjects import bind_keys, new_ref, subject_by_ref, subject_keys
from considerate.store.tables import (
    consent_current,
    consent_event,
    consent_evidence,
    ledger_checkpoint,
    subject,
    to_micros,
    tombstone,
)

_LAST = 2**63 - 1
_HEAD = select(consent_event.c.seq, untyped(consent_event.c.hash)).order_by(consent_event.c.seq.desc()).limit(1)


def grant(
    conn: Connection,
    keys: Keys,
    subject_ref: bytes,
    purpose: Purpose,
    *,
    notice: NoticeShown,
    at: datetime,
    policy: Policy,
    method: Method = "web",
    evidence: Mapping[str, Any] | None = None,
) -> Recorded:
    """Record that a customer allows `purpose`; the next decision sees it once the transaction is committed.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    notice
        What the page showed: must be the current version.
    at
        Now: the time of the act.
    evidence
        Plain JSON that shows the act; the hash of the notice's text is added.

    Raises
    ------
    StaleNotice
        The notice shown is not the current one.
    MinorCannotConsent
        The customer is under 18, or of unknown age where the policy denies that.
    UnknownSubject
        There is no such active person.
    """
    shown = check_current(notice, policy.notices)
    known = subject_by_ref(conn, subject_ref)
    if known is not None and not age_allowed(known.age_band, policy):
        raise MinorCannotConsent(
            f"age band {known.age_band}: consent needs an adult; keep the switch off, or let the shop confirm the age"
        )
    proof = {"notice_text_sha256": shown.text_sha256(notice.locale), **(evidence or {})}
    event = ConsentEvent(subject_ref, purpose, ConsentState.GIVEN, notice, at, method=method, evidence=proof)
    return append(conn, keys, event, at=at)


def withdraw(
    conn: Connection,
    keys: Keys,
    subject_ref: bytes,
    purpose: Purpose,
    *,
    at: datetime,
    method: Method = "web",
    evidence: Mapping[str, Any] | None = None,
) -> Recorded:
    """Record that a customer no longer allows `purpose`, or refuses it before ever having allowed it.

    Asks for nothing but the wish. Where the purpose is off already, a later no is recorded all the same, with `changed`
    False: a yes from before it may still be on its way. One that is not later adds nothing; the event that turned the
    purpose off is given back.

    Raises
    ------
    UnknownSubject
        There is no such active person.
    """
    require_writing(conn)
    current = read_current(conn, subject_ref).get(purpose)
    # None as well where the ledger does not bear out that it is off: what it does not know, a replay would undo.
    before = None if current is None else _recorded_no(conn, subject_ref, purpose, current)
    if before is not None and at <= before.event_time:
        return before
    notice = newest_published(conn) if current is None else notice_of(conn, current.seq)
    never = current is None or (before is not None and before.state is ConsentState.REFUSED)
    state = ConsentState.REFUSED if never else ConsentState.WITHDRAWN
    event = ConsentEvent(subject_ref, purpose, state, notice, at, method=method, evidence=evidence)
    return replace(append(conn, keys, event, at=at), changed=before is None)


def append(conn: Connection, keys: Keys, event: ConsentEvent, *, at: datetime) -> Recorded:
    """Append one event; see `append_many`."""
    return append_many(conn, keys, [event], at=at)[0]


def append_many(conn: Connection, keys: Keys, events: Sequence[ConsentEvent], *, at: datetime) -> list[Recorded]:
    """Append events in this order, with projection, evidence and epochs, all in the caller's transaction.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    at
        Time of recording.

    Raises
    ------
    UnknownSubject
        An event of nobody, or of an erased person; of one who is being erased, anything but `erased`. Nothing is
        appended.
    ConsentError
        An event that cannot be written as canonical JSON.
    """
    require_writing(conn)
    bind_keys(conn, keys)
    _lock_ledger(conn)
    refs = list(dict.fromkeys(event.subject_ref for event in events))
    epochs = _epochs(conn, refs, events)
    data_keys = subject_keys(conn, keys, [event.subject_ref for event in events if event.evidence is not None])
    seq, previous = head(conn)
    rows: list[dict[str, Any]] = []
    evidence_rows: list[dict[str, Any]] = []
    recorded: list[Recorded] = []
    for event in events:
        seq += 1
        event_id = event.event_id or new_ref()
        commitment = None
        if event.evidence is not None:
            content = canonical_evidence(event.evidence)
            key = data_keys[event.subject_ref]
            commitment = commit(key, content)
            evidence_rows.append({"event_id": event_id, "sealed": seal(key, content, event_id)})
        row = row_values(event, seq=seq, event_id=event_id, at=at, commitment=commitment)
        chained = chain_hash(previous, canonical_row([row[name] for name in HASHED]))
        rows.append({**row, "prev_hash": previous, "hash": chained})
        previous = chained
        epochs[event.subject_ref] += 1
        recorded.append(
            Recorded(
                seq=seq,
                event_id=event_id,
                hash=chained,
                purpose=event.purpose,
                state=event.state,
                event_time=event.event_time,
                expires_at=event.expires_at,
                consent_epoch=epochs[event.subject_ref],
            )
        )
    if rows:
        conn.execute(insert(consent_event), rows)
        project(conn, rows, epochs)
        note_notices(conn, (event.notice for event in events))
    if evidence_rows:
        conn.execute(insert(consent_evidence), evidence_rows)
    return recorded


def head(conn: Connection) -> Head:
    """Give the last seq and hash.

    Raises
    ------
    StoreError
        What stands there is no hash.
    """
    row = conn.execute(_HEAD).first()
    if row is not None and not isinstance(row.hash, bytes):
        raise StoreError(f"ledger position {row.seq}: its hash is not one; see: considerate ledger verify")
    return EMPTY if row is None else Head(row.seq, row.hash)


def last_position(conn: Connection) -> int:
    """Give the last seq, whatever stands there; 0 for an empty ledger."""
    return conn.execute(select(func.max(consent_event.c.seq))).scalar() or 0


def verify(conn: Connection, *, trusted: Head | Iterable[Head] = (), start: Head = EMPTY) -> int | None:
    """Walk the whole chain; give the first seq that is not what was once appended, or None if all is well.

    An event that was edited, removed, inserted or moved is found. A ledger cut short at its end is found as long as
    another table still points behind the end; one that was rewritten throughout is found only by `trusted`.

    Parameters
    ----------
    trusted
        Heads that were noted elsewhere, where whoever changes the database cannot reach.
    start
        Where to begin: a head that is known to be right.
    """
    noted = {one.seq: one.hash for one in ([trusted] if isinstance(trusted, Head) else trusted)}
    # Untyped: a value that was forged in another type is compared as it is, not converted.
    columns = [untyped(consent_event.c[name]) for name in ("prev_hash", "hash", *HASHED)]
    query = select(*columns).where(consent_event.c.seq > start.seq)
    place = HASHED.index("seq") + 2
    expected, previous = start.seq + 1, start.hash
    with conn.execute(query.order_by(consent_event.c.seq), execution_options={"yield_per": 2_000}) as rows:
        for row in rows:
            if not (row[place] == expected and is_chained(row, previous) and noted.get(expected, row[1]) == row[1]):
                return expected
            expected, previous = expected + 1, row[1]
    return expected if max(_farthest(conn), *noted, 0) >= expected else None


def _farthest(conn: Connection) -> int:
    """Give the last seq that other tables speak of.

    SQLite lets text into these columns, and sorts it behind every number: it is no position.
    """
    places = (consent_current.c.seq, tombstone.c.seq, ledger_checkpoint.c.seq)
    return max(conn.execute(select(func.max(place)).where(place <= _LAST)).scalar() or 0 for place in places)


def _lock_ledger(conn: Connection) -> None:
    # SQLite's write lock is held since `writing`; PostgreSQL needs one writer at a time for the chain.
    if conn.dialect.name == "postgresql":
        conn.execute(text("SELECT pg_advisory_xact_lock(7236547)"))


def _epochs(conn: Connection, refs: Sequence[bytes], events: Sequence[ConsentEvent]) -> dict[bytes, int]:
    stays = {event.subject_ref for event in events if event.state is not ConsentState.ERASED}
    epochs: dict[bytes, int] = {}
    for part in chunks(refs):
        query = select(subject.c.subject_ref, subject.c.consent_epoch, subject.c.state)
        for ref, epoch, state in conn.execute(query.where(subject.c.subject_ref.in_(part))):
            if state == "active" or (state == "erasing" and ref not in stays):
                epochs[ref] = epoch
    if missing := len(refs) - len(epochs):
        raise UnknownSubject(f"{missing} of {len(refs)} subjects: not known or erased; make them with ensure_subjects")
    return epochs


def notice_of(conn: Connection, seq: int) -> NoticeShown:
    """Name the notice that was read before event `seq`; the newest one where there is no such event.

    Withdrawing and erasing ask for it: a wrong projection must hinder neither.
    """
    columns = (consent_event.c.notice_id, consent_event.c.notice_version, consent_event.c.locale)
    row = conn.execute(select(*columns).where(consent_event.c.seq == seq)).first()
    return newest_published(conn) if row is None else NoticeShown(*row)


def _recorded_no(conn: Connection, subject_ref: bytes, purpose: Purpose, current: Consent) -> Recorded | None:
    if current.state is ConsentState.GIVEN:
        return None
    event = consent_event.c
    hers = event.subject_ref == subject_ref, event.purpose_id == purpose.value
    columns = (event.seq, event.state, event.event_time, event.event_id, event.hash)
    row = conn.execute(select(*columns).where(*hers).order_by(event.seq.desc()).limit(1)).first()
    projected = (current.seq, current.state.value, to_micros(current.event_time))
    if row is None or tuple(row[:3]) != projected:
        return None
    epoch = conn.execute(select(subject.c.consent_epoch).where(subject.c.subject_ref == subject_ref)).scalar_one()
    return Recorded(
        seq=current.seq,
        event_id=row.event_id,
        hash=row.hash,
        purpose=purpose,
        state=current.state,
        event_time=current.event_time,
        expires_at=current.expires_at,
        consent_epoch=epoch,
        changed=False,
    )
