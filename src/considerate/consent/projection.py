"""The current state of everybody's consents: what the ledger says last, kept beside it for quick reading.

Of whom it says `erased` last, the projection holds nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, delete, func, insert, select, update

from considerate.consent.decision import Consent, ConsentState
from considerate.consent.purposes import Purpose
from considerate.store.engine import require_writing
from considerate.store.statements import chunks, upsert
from considerate.store.tables import consent_current, consent_event, from_micros, subject

_PROJECTED = tuple(consent_current.columns.keys())
_CURRENT = select(*(column for column in consent_current.columns if column.name != "subject_ref")).where(
    consent_current.c.subject_ref == bindparam("subject_ref")
)
_REMOVED = delete(consent_current).where(
    consent_current.c.subject_ref == bindparam("ref"), consent_current.c.purpose_id == bindparam("purpose")
)
_ERASED = ConsentState.ERASED.value
_PURPOSES = {purpose.value: purpose for purpose in Purpose}
_STATES = {state.value: state for state in ConsentState}


def read_current(conn: Connection, subject_ref: bytes) -> dict[Purpose, Consent]:
    """Give what a subject last said about each purpose; purposes never decided on are absent."""
    return consents_of(conn.execute(_CURRENT, {"subject_ref": subject_ref}))


def consents_of(rows: Iterable[Sequence[Any]]) -> dict[Purpose, Consent]:
    """Read rows of `consent_current` (without `subject_ref`) as consents; purposes of a later version are left out."""
    consents: dict[Purpose, Consent] = {}
    for purpose_id, state, seq, purpose_version, notice_id, notice_version, event_time, expires_at in rows:
        purpose = _PURPOSES.get(purpose_id)
        if purpose is not None:
            consents[purpose] = Consent(
                state=_STATES.get(state, ConsentState.INVALIDATED),
                seq=seq,
                purpose_version=purpose_version,
                notice_id=notice_id,
                notice_version=notice_version,
                event_time=from_micros(event_time),
                expires_at=None if expires_at is None else from_micros(expires_at),
            )
    return consents


def replay(conn: Connection) -> list[tuple[Any, ...]]:
    """Give the rows that `consent_current` must hold, from the ledger alone, sorted by subject and purpose."""
    last = select(func.max(consent_event.c.seq)).group_by(consent_event.c.subject_ref, consent_event.c.purpose_id)
    query = (
        select(*(consent_event.c[name] for name in _PROJECTED))
        .where(consent_event.c.seq.in_(last), consent_event.c.state != _ERASED)
        .order_by(consent_event.c.subject_ref, consent_event.c.purpose_id)
    )
    return [tuple(row) for row in conn.execute(query)]


def projection(conn: Connection) -> list[tuple[Any, ...]]:
    """Give the rows of `consent_current`, sorted by subject and purpose."""
    query = select(consent_current).order_by(consent_current.c.subject_ref, consent_current.c.purpose_id)
    return [tuple(row) for row in conn.execute(query)]


def rebuild_projection(conn: Connection) -> int:
    """Write `consent_current` anew from the ledger; give how many of its rows were wrong, missing or too many."""
    require_writing(conn)
    right, found = replay(conn), projection(conn)
    wrong = set(right) ^ set(found)
    if wrong:
        conn.execute(delete(consent_current))
        if right:
            conn.execute(insert(consent_current), [dict(zip(_PROJECTED, row, strict=True)) for row in right])
        for part in chunks(list({row[0] for row in wrong})):
            # What may be served has changed for these people: cached results must not outlive it.
            raised = {"consent_epoch": subject.c.consent_epoch + 1}
            conn.execute(update(subject).where(subject.c.subject_ref.in_(part)).values(raised))
    return len({row[:2] for row in wrong})


def project(conn: Connection, rows: Sequence[Mapping[str, Any]], epochs: Mapping[bytes, int]) -> None:
    """Carry freshly appended ledger rows over, and write the subjects' new epochs."""
    last = {(row["subject_ref"], row["purpose_id"]): row for row in rows}
    kept = [{name: row[name] for name in _PROJECTED} for row in last.values() if row["state"] != _ERASED]
    if kept:
        conn.execute(upsert(conn, consent_current), kept)
    gone = [{"ref": ref, "purpose": purpose} for (ref, purpose), row in last.items() if row["state"] == _ERASED]
    if gone:
        conn.execute(_REMOVED, gone)
    raised = update(subject).where(subject.c.subject_ref == bindparam("ref")).values(consent_epoch=bindparam("epoch"))
    conn.execute(raised, [{"ref": ref, "epoch": epoch} for ref, epoch in epochs.items()])
