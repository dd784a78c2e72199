"""Customers' rights as a request exercises them; every method raises StoreError where the store cannot do it now."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import monotonic
from typing import Protocol
from uuid import UUID

from sqlalchemy import Connection

from considerate.errors import StoreError
from considerate.privacy.erasure import erase_customer, finish_erasure
from considerate.privacy.exports import fetched_until, read_export, remove_export
from considerate.privacy.installation import Installation, decisions_beside
from considerate.privacy.kept_wishes import exercise_outside, keep_wishes
from considerate.privacy.requests import (
    PrivacyRequest,
    RequestType,
    Status,
    cancel_request,
    erasure_id,
    find_request,
    month_after,
    note_step,
    open_request,
)
from considerate.privacy.tombstones import rebuilt_by
from considerate.store.keys import Keys
from considerate.store.subjects import ensure_subjects, find_subject, reference_of
from considerate.store.wishes import (
    Exclusion,
    ExclusionReason,
    Preference,
    Right,
    exclude_line,
    include_line,
    read_exclusions,
    read_preferences,
    replace_preferences,
)

log = logging.getLogger(__name__)

QUICK_SECONDS = 0.7
DECISIONS_WAIT_MS = 200

Opened = Callable[[], AbstractContextManager[tuple[Connection, Keys]]]


class Store(Protocol):
    """The store of a worker."""

    @property
    def reading(self) -> Opened:
        """Opens a connection that reads."""

    @property
    def writing(self) -> Opened:
        """Opens a transaction that holds the write lock."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A privacy request as its customer sees it.

    Attributes
    ----------
    request_id, type, status
        As in `privacy.requests`.
    received_at, due_at, completed_at
        None of an erasure that is done: nothing of it is kept under her name.
    fetch_until
        Until when a finished export can be fetched, once.
    rebuilt_by
        By when no model in use was fitted with her; of an erasure that is done, in the answer to asking for it alone.
    """

    request_id: UUID
    type: RequestType
    status: Status
    received_at: datetime | None = None
    due_at: datetime | None = None
    completed_at: datetime | None = None
    fetch_until: datetime | None = None
    rebuilt_by: datetime | None = None


class Rights:
    """What a customer may ask of this installation.

    Parameters
    ----------
    store
        The worker's own.
    database_url
        SQLAlchemy URL of it, beside which served decisions lie.
    home
        Folder of everything written at run time.
    quick_seconds
        How long a customer waits for the end of her erasure. Where the store is busy it takes longer, and she is told
        that it is in progress: it is ended behind the answer, or by the process that looks after it.
    """

    def __init__(self, store: Store, database_url: str, home: Path, *, quick_seconds: float = QUICK_SECONDS) -> None:
        self._store, self._home, self._quick_seconds = store, home, quick_seconds
        self._finishing = ThreadPoolExecutor(1, thread_name_prefix="finish-erasure")
        self._decisions = decisions_beside(database_url, home, wait_ms=DECISIONS_WAIT_MS)

    def exercise(self, customer_id: str, right: Right, *, on: bool, at: datetime) -> tuple[datetime | None, int]:
        """Object, restrict, or lift it; give since when it holds, and the consent epoch."""
        with self._store.writing() as (conn, keys):
            if on:
                ref = ensure_subjects(conn, keys, [customer_id], at=at)[customer_id]
            elif (known := find_subject(conn, keys.lookup(customer_id))) is not None:
                ref = known.subject_ref
            else:
                return None, 0
            since, wish = exercise_outside(conn, self._home, ref, right, at=at, on=on)
        if on:
            # Only what is on disk beside the database as well is acknowledged: no backup takes it back.
            keep_wishes(self._home, [wish])
        return since, wish.consent_epoch

    def preferences(self, customer_id: str) -> tuple[Preference, ...]:
        """Give what she stated."""
        with self._store.reading() as (conn, keys):
            return read_preferences(conn, reference_of(conn, keys.lookup(customer_id)))

    def state_preferences(self, customer_id: str, stated: Sequence[Preference], *, at: datetime) -> None:
        """Put what she states now in the place of what she stated before."""
        with self._store.writing() as (conn, keys):
            known = find_subject(conn, keys.lookup(customer_id))
            if known is not None:
                replace_preferences(conn, known.subject_ref, stated, at=at)
            elif stated:
                ref = ensure_subjects(conn, keys, [customer_id], at=at)[customer_id]
                replace_preferences(conn, ref, stated, at=at)

    def exclusions(self, customer_id: str) -> list[Exclusion]:
        """Give the purchases she excluded."""
        with self._store.reading() as (conn, keys):
            return read_exclusions(conn, reference_of(conn, keys.lookup(customer_id)))

    def exclude(self, customer_id: str, order_line: str, reason: ExclusionReason, *, at: datetime) -> Exclusion | None:
        """Let one of her purchases count for nothing; None where it is not hers."""
        with self._store.writing() as (conn, keys):
            ref = reference_of(conn, keys.lookup(customer_id))
            return exclude_line(conn, ref, order_line, reason=reason, at=at)

    def include(self, customer_id: str, order_line: str) -> bool:
        """Let it count again; False where it is not hers."""
        with self._store.writing() as (conn, keys):
            return include_line(conn, reference_of(conn, keys.lookup(customer_id)), order_line)

    def ask_access(self, customer_id: str, *, at: datetime) -> Asked:
        """Ask for a copy of everything, of a customer of whom nothing is known too: then it says so."""
        with self._store.writing() as (conn, keys):
            ref = ensure_subjects(conn, keys, [customer_id], at=at)[customer_id]
            return _asked(open_request(conn, ref, "access", at=at))

    def ask_erasure(self, customer_id: str, *, at: datetime) -> Asked:
        """Erase her: acknowledged when no crash can undo it, and ended at once where that is quick."""
        started = monotonic()
        with self._store.reading() as (_, keys):
            place = Installation(keys, self._home, self._transaction, self._decisions)
        # From what was just done: by now the same id may be somebody new, whose erasure nobody asked for.
        request_id = UUID(bytes=erasure_id(keys, customer_id))
        done = Asked(request_id, "erasure", "completed", rebuilt_by=rebuilt_by(None, at=at))
        if (stone := erase_customer(place, customer_id, at=at)) is None:
            return done
        if (left := self._quick_seconds - (monotonic() - started)) > 0:
            ending = self._finishing.submit(_finish, place, stone.subject_ref, at)
            with suppress(NotInTime):
                if ending.result(left):
                    return done
        return Asked(
            request_id,
            "erasure",
            "in_progress",
            received_at=stone.erased_at,
            due_at=month_after(stone.erased_at),
            rebuilt_by=rebuilt_by(stone, at=at),
        )

    def asked(self, customer_id: str, request_id: UUID, *, at: datetime) -> Asked | None:
        """Find one of her requests; None for one of somebody else's, and for one that never was."""
        with self._store.reading() as (conn, keys):
            lookup = keys.lookup(customer_id)
            request = _own(conn, reference_of(conn, lookup), request_id)
            if request is not None:
                return _asked(request)
            # Where nobody of this id is known, her erasure is done if she asked for one, and nothing is left of it.
            erased = request_id.bytes == erasure_id(keys, customer_id) and find_subject(conn, lookup) is None
            return Asked(request_id, "erasure", "completed") if erased else None

    def cancel(self, customer_id: str, request_id: UUID, *, at: datetime) -> bool | None:
        """Take a pending request back; False where it is pending no longer, None where it is not hers."""
        if (asked := self.asked(customer_id, request_id, at=at)) is None or asked.status != "pending":
            return None if asked is None else False
        with self._store.writing() as (conn, _):
            return cancel_request(conn, request_id.bytes, at=at)

    def fetch_export(self, customer_id: str, request_id: UUID, *, at: datetime) -> bytes | None:
        """Give a finished export, once; None where there is none of hers to fetch, or no longer."""
        # Nobody else fetches it meanwhile, and it goes only once the store has taken down that she has it.
        with self._store.writing() as (conn, keys):
            request = _own(conn, reference_of(conn, keys.lookup(customer_id)), request_id)
            until = None if request is None else fetched_until(request)
            if request is None or until is None or at >= until:
                return None
            content = read_export(self._home, request.request_id)
            if content is None:
                return None
            note_step(conn, request, fetched_at=at.isoformat())
        try:
            remove_export(self._home, request.request_id)
        except StoreError as error:
            log.warning("an export that was fetched is removed later: %s", error)
        return content

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        with self._store.writing() as (conn, _):
            yield conn


def _finish(place: Installation, subject_ref: bytes, at: datetime) -> bool:
    """Whether it is done; else the process that looks after erasures does it."""
    try:
        finish_erasure(place, subject_ref, at=at)
    except StoreError as error:
        log.warning("an erasure is ended later: %s", error)
        return False
    return True


def _own(conn: Connection, subject_ref: bytes, request_id: UUID) -> PrivacyRequest | None:
    request = find_request(conn, request_id.bytes)
    return request if request is not None and request.subject_ref == subject_ref else None


def _asked(request: PrivacyRequest) -> Asked:
    erasure = request.type == "erasure"
    return Asked(
        request_id=UUID(bytes=bytes(request.request_id)),
        type=request.type,
        status=request.status,
        received_at=request.received_at,
        due_at=request.due_at,
        completed_at=request.completed_at,
        fetch_until=fetched_until(request),
        rebuilt_by=rebuilt_by(None, at=request.received_at) if erasure else None,
    )
