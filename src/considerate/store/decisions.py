"""Served decisions: what was shown to whom, when and on what ground. With SQLite they have a file of their own."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, delete, event, make_url, select, tuple_, update
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from considerate.store.engine import display_name, open_store, require_writing, translated_errors, writing
from considerate.store.sqlite import sqlite_engine, switch_to_wal
from considerate.store.statements import chunks, insert_tuples
from considerate.store.tables import decisions as decisions_metadata
from considerate.store.tables import from_micros, served_decision, to_micros

FILE = "decisions.db"
_COLUMNS = tuple(served_decision.columns)
_of = served_decision.c


@dataclass(frozen=True, slots=True)
class DecidedItem:
    """One item of a list that was served, and the customer's own items that spoke most for it."""

    item_id: str
    because: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ServedDecision:
    """One list as it was served.

    Attributes
    ----------
    decision_id
        UUID version 4, random: it says nothing.
    subject_ref
        Whose list, None for somebody the store does not know and after an erasure.
    at
        When.
    surface
        Place on the shop's pages.
    basis, reason
        What it rested on, and why not on more.
    purposes
        Consents that were used; empty for a list of nobody's own.
    consent_epoch
        Her epoch at which consent was read.
    consent_seq, notice_version
        The ledger event that allowed it, and the notice she had read.
    model_version, catalogue_version
        Whence the items came; None where there was none.
    items
        Best first. Empty too for a list of nobody's own that followed the page: it would tell which page that was.
    facts
        What else led to it: the goal, how many items were asked for, which rules applied. No id of any page.
    """

    decision_id: UUID
    subject_ref: bytes | None
    at: datetime
    surface: str
    basis: str
    reason: str
    purposes: tuple[str, ...] = ()
    consent_epoch: int | None = None
    consent_seq: int | None = None
    notice_version: int | None = None
    model_version: str | None = None
    catalogue_version: int | None = None
    items: tuple[DecidedItem, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def row(self) -> tuple[Any, ...]:
        """Give the row of the table, in its order of columns."""
        items = [
            {"item_id": item.item_id, "because": item.because} if item.because else {"item_id": item.item_id}
            for item in self.items
        ]
        return (
            self.decision_id.bytes,
            self.subject_ref,
            to_micros(self.at),
            self.surface,
            self.basis,
            self.reason,
            " ".join(self.purposes),
            self.consent_epoch,
            self.consent_seq,
            self.notice_version,
            self.model_version,
            self.catalogue_version,
            json.dumps(items),
            json.dumps(dict(self.facts)),
        )


def decisions_url(database_url: str, folder: Path) -> str:
    """Give the database of the decisions: a file in `folder` beside a SQLite store, else the store itself.

    In a file of their own, writing them never holds up anybody's withdrawal: SQLite knows one writer for each file.
    """
    if make_url(database_url).get_backend_name() == "sqlite":
        return f"sqlite:///{folder / FILE}"
    return database_url


def open_decisions(url: str, *, busy_timeout_ms: int = 2000, limit_ms: int | None = None) -> Engine:
    """Open the database of the decisions; with SQLite, make it where it is missing.

    Parameters
    ----------
    url
        From `decisions_url`.
    busy_timeout_ms
        How long a statement waits for another process's write, in milliseconds.
    limit_ms
        As for `store.engine.open_store`.

    Raises
    ------
    StoreError
        It cannot be opened, or is no such database.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return open_store(url, create=False, busy_timeout_ms=busy_timeout_ms, limit_ms=limit_ms)
    engine = sqlite_engine(Path(str(address.database)), busy_timeout_ms=busy_timeout_ms)

    @event.listens_for(engine, "connect")
    def _connected(connection: DBAPIConnection, _: ConnectionPoolEntry) -> None:
        # A row that is deleted leaves no readable bytes behind.
        connection.cursor().execute("PRAGMA secure_delete = ON")

    try:
        with translated_errors(display_name(address)):
            switch_to_wal(engine)
        with writing(engine) as conn:
            decisions_metadata.create_all(conn)
    except BaseException:
        engine.dispose()
        raise
    return engine


def insert_decisions(conn: Connection, rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert rows of `ServedDecision.row` unless they are there already; give how many were new."""
    require_writing(conn, shared=True)
    return insert_tuples(conn, served_decision, iter(rows))


def has_decision(conn: Connection, decision_id: bytes) -> bool:
    """Say whether a decision of this id is there, whosever it is."""
    return conn.execute(select(_of.decision_id).where(_of.decision_id == decision_id)).first() is not None


def find_decision(
    conn: Connection, subject_ref: bytes, decision_id: UUID, *, since: datetime | None = None
) -> ServedDecision | None:
    """Find one of a subject's own decisions, from `since` on; another's is not found either."""
    query = select(*_COLUMNS).where(_of.decision_id == decision_id.bytes, _of.subject_ref == subject_ref)
    row = conn.execute(query if since is None else query.where(_of.at >= to_micros(since))).first()
    return None if row is None else _decision_of(row)


def decisions_of(
    conn: Connection,
    subject_ref: bytes,
    *,
    limit: int | None = None,
    before: UUID | None = None,
    since: datetime | None = None,
) -> list[ServedDecision]:
    """Give a subject's decisions, newest first.

    Parameters
    ----------
    limit
        At most so many; None for all.
    before
        Only those older than this one of hers; none at all where she has no such decision.
    since
        Only those from then on: what is past its time is not shown, whether it is deleted yet or not.
    """
    order = (_of.at, _of.decision_id)
    query = select(*_COLUMNS).where(_of.subject_ref == subject_ref).order_by(*(column.desc() for column in order))
    if since is not None:
        query = query.where(_of.at >= to_micros(since))
    if before is not None:
        known = find_decision(conn, subject_ref, before, since=since)
        if known is None:
            return []
        query = query.where(tuple_(*order) < (to_micros(known.at), before.bytes))
    return [_decision_of(row) for row in conn.execute(query if limit is None else query.limit(limit))]


def cut_decisions_of(conn: Connection, subject_ref: bytes) -> int:
    """Cut the link between a person and her decisions; give how many there were.

    What is left counts lists and their reasons: neither reference, nor ledger position, nor any item of hers.
    """
    require_writing(conn)
    nothing: dict[str, Any] = {
        "subject_ref": None,
        "consent_epoch": None,
        "consent_seq": None,
        "items": [],
        "facts": {},
    }
    return conn.execute(update(served_decision).where(_of.subject_ref == subject_ref).values(nothing)).rowcount


def delete_decisions_before(conn: Connection, at: datetime, *, kept_for: Collection[bytes] = ()) -> int:
    """Delete the decisions that were served before `at`, but for those of the subjects `kept_for`; give how many."""
    require_writing(conn)
    old = _of.at < to_micros(at)
    gone = conn.execute(delete(served_decision).where(old, _of.subject_ref.is_(None))).rowcount
    known = conn.execute(select(_of.subject_ref).where(old, _of.subject_ref.is_not(None)).distinct()).scalars()
    for part in chunks([ref for ref in known if ref not in kept_for]):
        gone += conn.execute(delete(served_decision).where(old, _of.subject_ref.in_(part))).rowcount
    return gone


def _decision_of(row: Any) -> ServedDecision:
    return ServedDecision(
        decision_id=UUID(bytes=bytes(row.decision_id)),
        subject_ref=row.subject_ref,
        at=from_micros(row.at),
        surface=row.surface,
        basis=row.basis,
        reason=row.reason,
        purposes=tuple(row.purposes.split()),
        consent_epoch=row.consent_epoch,
        consent_seq=row.consent_seq,
        notice_version=row.notice_version,
        model_version=row.model_version,
        catalogue_version=row.catalogue_version,
        items=tuple(DecidedItem(item["item_id"], tuple(item.get("because", ()))) for item in row.items),
        facts=row.facts,
    )
