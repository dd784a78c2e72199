"""The current state of everybody's consents: what the ledger says last, kept beside it for quick reading.

Of whom it says `erased` last, the projection holds nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, func, insert, select, union_all, update

from considerate.consent.decision import Consent, ConsentState
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError
from considerate.store.engine import require_writing
from considerate.store.statements import chunks, untyped, upsert
from considerate.store.tables import consent_current, consent_event, from_micros, subject

_PROJECTED = tuple(consent_current.columns.keys())
_CURRENT = select(*(column for column in consent_current.columns if column.name != "subject_ref")).where(
    consent_current.c.subject_ref == bindparam("subject_ref")
)
_REMOVED = delete(consent_current).where(
    consent_current.c.subject_ref == bindparam("ref"), consent_current.c.purpose_id == bindparam("purpose")
)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_ERASED = ConsentState.ERASED.value
_PURPOSES = {purpose.value: purpose for purpose in Purpose}
_STATES = {state.value: state for state in ConsentState}


def read_current(conn: Connection, subject_ref: bytes) -> dict[Purpose, Consent]:
    """Give what a subject last said about each purpose; purposes never decided on are absent."""
    return consents_of(conn.execute(_CURRENT, {"subject_ref": subject_ref}))


def consents_of(rows: Iterable[Sequence[Any]]) -> dict[Purpose, Consent]:
    """Read rows of `consent_current` (without `subject_ref`) as consents; purposes of a later version are left out.

    A row that no ledger event can have led to allows nothing, and can still be withdrawn and erased.
    """
    return {_PURPOSES[row[0]]: _consent(row[1:]) for row in rows if row[0] in _PURPOSES}


def _consent(values: Sequence[Any]) -> Consent:
    state, seq, purpose_version, notice_id, notice_version, event_time, expires_at = values
    try:
        # SQLite lets text into every one of these columns.
        seq + purpose_version + notice_version
        decided, ends = from_micros(event_time), None if expires_at is None else from_micros(expires_at)
        known = _STATES.get(state, ConsentState.INVALIDATED)
    except (TypeError, OverflowError):
        return Consent(ConsentState.INVALIDATED, 0, 0, "", 0, _NEVER, None)
    return Consent(known, seq, purpose_version, notice_id, notice_version, decided, ends)


def _replayed() -> Select[Any]:
    last = select(func.max(consent_event.c.seq)).group_by(consent_event.c.subject_ref, consent_event.c.purpose_id)
    # Untyped, as below: a value that was forged in another type is one more difference.
    columns = (untyped(consent_event.c[name]).label(name) for name in _PROJECTED)
    return select(*columns).where(consent_event.c.seq.in_(last), consent_event.c.state != _ERASED)


def _projected() -> Select[Any]:
    return select(*(untyped(column).label(column.name) for column in consent_current.columns))


def replay(conn: Connection) -> list[tuple[Any, ...]]:
    """Give the rows that `consent_current` must hold, from the ledger alone, sorted by subject and purpose."""
    query = _replayed().order_by(consent_event.c.subject_ref, consent_event.c.purpose_id)
    return [tuple(row) for row in conn.execute(query)]


def projection(conn: Connection) -> list[tuple[Any, ...]]:
    """Give the rows of `consent_current`, sorted by subject and purpose."""
    query = _projected().order_by(consent_current.c.subject_ref, consent_current.c.purpose_id)
    return [tuple(row) for row in conn.execute(query)]


def check_projection(conn: Connection) -> None:
    """Refuse a `consent_current` that is not what the ledger says; compared within the database, row by row.

    Parameters
    ----------
    conn
        From `store.engine.reading` or `writing`.

    Raises
    ------
    ConsentError
        Says how many entries are wrong, missing or too many, and the command that puts them right.
    """
    both = union_all(_replayed(), _projected()).subquery()
    # What is right stands on both sides.
    alone = select(both.c.subject_ref, both.c.purpose_id).group_by(*both.c).having(func.count() == 1)
    wrong = alone.distinct().subquery()
    if count := conn.execute(select(func.count()).select_from(wrong)).scalar_one():
        raise ConsentError(
            f"consents in force: {count:,} entries are wrong, missing or too many by the ledger; "
            "run: considerate ledger replay"
        )


def rebuild_projection(conn: Connection) -> int:
    """Write `consent_current` anew from the ledger; give how many of its rows were wrong, missing or too many."""
    require_writing(conn)
    right, found = replay(conn), projection(conn)
    wrong = set(right) ^ set(found)
    if wrong:
        conn.execute(delete(consent_current))
        if right:
            conn.execute(insert(consent_current), [dict(zip(_PROJECTED, row, strict=True)) for row in right])
        for part in chunks(list({row[0] for row in wrong if isinstance(row[0], bytes)})):
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
