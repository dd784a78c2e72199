"""What customers ask for by right: a copy of their data, or their erasure; statuses are those of OpenDSR."""

import calendar
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, delete, insert, select, update

from considerate.store.engine import require_writing
from considerate.store.keys import Keys
from considerate.store.subjects import new_ref
from considerate.store.tables import from_micros, privacy_request, to_micros

RequestType = Literal["access", "erasure"]
Status = Literal["pending", "in_progress", "completed", "cancelled"]
OPEN: tuple[Status, ...] = ("pending", "in_progress")


@dataclass(frozen=True, slots=True)
class PrivacyRequest:
    """One request.

    Attributes
    ----------
    request_id
        16 bytes in the form of a UUID version 4.
    subject_ref
        Whose.
    type, status
        What for, and how far it is.
    received_at, due_at, completed_at
        When it came, by when it must be answered (GDPR 12(3): one month), when it was.
    steps
        What was done, by name: times in ISO 8601.
    """

    request_id: bytes
    subject_ref: bytes
    type: RequestType
    status: Status
    received_at: datetime
    due_at: datetime
    completed_at: datetime | None
    steps: Mapping[str, Any]


def erasure_id(keys: Keys, customer_id: str) -> bytes:
    """Give the id of a customer's erasure: a pseudonym that she alone can ask for.

    It has to lead to her answer after everything that names her is gone, so nothing is kept for it: whoever asks with
    her login has it worked out again.
    """
    raw = bytearray(bytes.fromhex(keys.pseudonym("erasure-request", customer_id)))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


def month_after(at: datetime) -> datetime:
    """Give the same day a month later, or that month's last day where it is shorter.

    >>> month_after(datetime(2026, 1, 31)).date().isoformat()
    '2026-02-28'
    """
    year, month = at.year + at.month // 12, at.month % 12 + 1
    return at.replace(year=year, month=month, day=min(at.day, calendar.monthrange(year, month)[1]))


def open_request(
    conn: Connection, subject_ref: bytes, kind: RequestType, *, at: datetime, request_id: bytes | None = None
) -> PrivacyRequest:
    """Take a request in; one of its kind that is still open is given back in its place.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    at
        Now.
    request_id
        Random if None.
    """
    require_writing(conn)
    hers = select(privacy_request).where(
        privacy_request.c.subject_ref == subject_ref,
        privacy_request.c.type == kind,
        privacy_request.c.status.in_(OPEN),
    )
    if (row := conn.execute(hers).first()) is not None:
        return _of_row(row)
    made = PrivacyRequest(request_id or new_ref(), subject_ref, kind, "pending", at, month_after(at), None, {})
    conn.execute(
        insert(privacy_request),
        {
            "request_id": made.request_id,
            "subject_ref": subject_ref,
            "type": kind,
            "status": made.status,
            "received_at": to_micros(at),
            "due_at": to_micros(made.due_at),
            "steps": {},
        },
    )
    return made


def find_request(conn: Connection, request_id: bytes) -> PrivacyRequest | None:
    """Find a request by its id; whether the caller may see it is for the caller's code to say."""
    row = conn.execute(select(privacy_request).where(privacy_request.c.request_id == request_id)).first()
    return None if row is None else _of_row(row)


def read_requests(
    conn: Connection, *, subject_ref: bytes | None = None, kind: RequestType | None = None, open_only: bool = False
) -> list[PrivacyRequest]:
    """Give requests, the oldest first: one person's, of one kind, those not answered yet."""
    query = select(privacy_request).order_by(privacy_request.c.received_at, privacy_request.c.request_id)
    if subject_ref is not None:
        query = query.where(privacy_request.c.subject_ref == subject_ref)
    if kind is not None:
        query = query.where(privacy_request.c.type == kind)
    if open_only:
        query = query.where(privacy_request.c.status.in_(OPEN))
    return [_of_row(row) for row in conn.execute(query)]


def start_request(conn: Connection, request_id: bytes) -> bool:
    """Begin to work on a pending request; from then on it cannot be cancelled. False where it is pending no longer."""
    return _move(conn, request_id, ("pending",), status="in_progress")


def cancel_request(conn: Connection, request_id: bytes, *, at: datetime) -> bool:
    """Take a pending request back; False where it is pending no longer."""
    return _move(conn, request_id, ("pending",), status="cancelled", completed_at=to_micros(at))


def complete_request(conn: Connection, request_id: bytes, *, at: datetime, steps: Mapping[str, Any]) -> bool:
    """Note that a request is answered; False where it is not open."""
    done = {"status": "completed", "completed_at": to_micros(at), "steps": dict(steps)}
    return _move(conn, request_id, OPEN, **done)


def note_step(conn: Connection, request: PrivacyRequest, **steps: Any) -> None:
    """Add to what was done about a request."""
    _move(conn, request.request_id, (request.status,), steps={**request.steps, **steps})


def forget_requests(conn: Connection, subject_ref: bytes, *, at: datetime) -> None:
    """Leave of an erased person's requests that her erasure was asked for and done, under an id that is not hers."""
    require_writing(conn)
    hers = privacy_request.c.subject_ref == subject_ref
    conn.execute(delete(privacy_request).where(hers, privacy_request.c.type != "erasure"))
    for request in read_requests(conn, subject_ref=subject_ref, open_only=True):
        done = {"request_id": new_ref(), "status": "completed", "completed_at": to_micros(at), "steps": {}}
        _move(conn, request.request_id, OPEN, **done)


def delete_answered(conn: Connection, before: datetime) -> int:
    """Delete requests that were answered or cancelled before a time; give how many went."""
    require_writing(conn)
    old = privacy_request.c.completed_at < to_micros(before)
    return conn.execute(delete(privacy_request).where(old)).rowcount


def _move(conn: Connection, request_id: bytes, before: tuple[Status, ...], /, **values: Any) -> bool:
    require_writing(conn)
    moved = update(privacy_request).where(
        privacy_request.c.request_id == request_id, privacy_request.c.status.in_(before)
    )
    return conn.execute(moved.values(**values)).rowcount > 0


def _of_row(row: Any) -> PrivacyRequest:
    return PrivacyRequest(
        request_id=row.request_id,
        subject_ref=row.subject_ref,
        # The table's check constraints hold both to their types.
        type=row.type,
        status=row.status,
        received_at=from_micros(row.received_at),
        due_at=from_micros(row.due_at),
        completed_at=None if row.completed_at is None else from_micros(row.completed_at),
        steps=row.steps,
    )
