"""Tombstones: who was erased, noted in the database and beside it, so that no backup brings anybody back.

The file `tombstones.jsonl` lies in the installation's own folder, outside the database. Its lines name nobody: a
random reference, whose way back to a person is destroyed, the ledger's head at that moment, and the time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, func, select

from considerate.errors import StoreError
from considerate.privacy.journal import Journal, subject_ref_of
from considerate.store.engine import require_writing
from considerate.store.statements import chunks, insert_new
from considerate.store.tables import from_micros, subject, to_micros, tombstone

FILE = "tombstones.jsonl"
REBUILD_WITHIN = timedelta(hours=24)
"""How soon after an erasure the models are fitted anew."""


@dataclass(frozen=True, slots=True)
class Tombstone:
    """One erasure.

    Attributes
    ----------
    subject_ref
        Who she was to the store.
    seq
        The ledger's head when she was erased, her own last events included.
    erased_at
        When her erasure began.
    """

    subject_ref: bytes
    seq: int
    erased_at: datetime


def set_tombstone(conn: Connection, stone: Tombstone) -> None:
    """Note an erasure in the database, in the transaction that begins it; one that is there stays."""
    require_writing(conn)
    row = {"subject_ref": stone.subject_ref, "seq": stone.seq, "erased_at": to_micros(stone.erased_at)}
    conn.execute(insert_new(conn, tombstone), row)


def read_tombstones(conn: Connection, *, since: datetime | None = None) -> list[Tombstone]:
    """Give the tombstones in the database, oldest first; those from `since` on."""
    query = select(tombstone.c.subject_ref, tombstone.c.seq, tombstone.c.erased_at)
    if since is not None:
        query = query.where(tombstone.c.erased_at >= to_micros(since))
    rows = conn.execute(query.order_by(tombstone.c.erased_at, tombstone.c.subject_ref))
    return [Tombstone(ref, seq, from_micros(at)) for ref, seq, at in rows]


@dataclass(frozen=True, slots=True)
class RebuildDue:
    """What the next fit owes to people who were erased.

    Attributes
    ----------
    erasures
        How many the model in use may still have been fitted with.
    by
        The time by which none must be; None where nobody waits.
    """

    erasures: int
    by: datetime | None

    def __str__(self) -> str:
        """For people: how many, and by when."""
        ends = "" if self.by is None else f", due by {self.by:%Y-%m-%d %H:%M} UTC"
        return f"{self.erasures} erasures wait for the next fit{ends}"


def rebuild_due(conn: Connection) -> RebuildDue:
    """Read what the next fit owes to people who were erased; a promotion carries it out."""
    waiting = select(func.count(), func.min(tombstone.c.erased_at)).where(tombstone.c.rebuilt_at.is_(None))
    erasures, first = conn.execute(waiting).one()
    return RebuildDue(erasures, None if first is None else from_micros(first) + REBUILD_WITHIN)


def rebuilt_by(stone: Tombstone | None, *, at: datetime) -> datetime:
    """Give the time by which no model in use was fitted with her; from now on where nothing says when it began."""
    return (at if stone is None else stone.erased_at) + REBUILD_WITHIN


def keep_outside(home: Path, stones: Iterable[Tombstone]) -> int:
    """Append to the file outside the database those that are not in it, and wait until the disk has them.

    Parameters
    ----------
    home
        Folder of everything written at run time.
    stones
        Any number, known or not.

    Returns
    -------
        How many were new.

    Raises
    ------
    StoreError
        The file cannot be written, or holds something else. An erasure must not be acknowledged then.
    """
    wanted = {stone.subject_ref: stone for stone in stones}

    def missing(there: Sequence[Tombstone]) -> list[Tombstone]:
        known = {stone.subject_ref for stone in there}
        return [stone for ref, stone in wanted.items() if ref not in known]

    return _FILE.append(home, missing)


def read_outside(home: Path) -> list[Tombstone]:
    """Read the file outside the database; empty where nobody was ever erased.

    Raises
    ------
    StoreError
        It cannot be read, or a line of it is no tombstone.
    """
    return list(_FILE.read(home))


def unapplied(conn: Connection, home: Path) -> list[Tombstone]:
    """Give the tombstones of people who are here again: the database is older than their erasure."""
    return sorted(unapplied_of(conn, read_outside(home)), key=lambda stone: stone.erased_at)


def unapplied_of(conn: Connection, outside: Sequence[Tombstone]) -> list[Tombstone]:
    """Give those of `outside` whose people are here again."""
    stones = {stone.subject_ref: stone for stone in outside}
    back: list[Tombstone] = []
    for part in chunks(list(stones)):
        query = (
            select(subject.c.subject_ref)
            .join_from(subject, tombstone, subject.c.subject_ref == tombstone.c.subject_ref, isouter=True)
            .where(subject.c.subject_ref.in_(part))
            .where((subject.c.state == "active") | tombstone.c.subject_ref.is_(None))
        )
        back += [stones[ref] for ref in conn.execute(query).scalars()]
    return back


def refuse_unapplied(conn: Connection, outside: Sequence[Tombstone]) -> None:
    """Refuse a database in which people of `outside` are alive.

    Parameters
    ----------
    conn
        From `store.engine.reading`.
    outside
        From `read_outside`.

    Raises
    ------
    StoreError
        There are some; names how many and the command that erases them again.
    """
    if back := unapplied_of(conn, outside):
        raise StoreError(
            f"{len(back)} erased customers are in this database again: it is older than their erasure; "
            "erase them once more: considerate rights replay"
        )


def _fields(stone: Tombstone) -> dict[str, object]:
    return {"subject_ref": stone.subject_ref.hex(), "seq": stone.seq, "erased_at": stone.erased_at.isoformat()}


def _line(fields: Mapping[str, Any]) -> Tombstone:
    at = datetime.fromisoformat(fields["erased_at"])
    if at.tzinfo is None:
        raise ValueError
    return Tombstone(subject_ref_of(fields["subject_ref"]), int(fields["seq"]), at)


_FILE = Journal(FILE, "tombstone", "who must stay erased", _fields, _line)
