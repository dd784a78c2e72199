"""Tombstones: who was erased, noted in the database and beside it, so that no backup brings anybody back.

The file `tombstones.jsonl` lies in the installation's own folder, outside the database. Its lines name nobody: a
random reference, whose way back to a person is destroyed, the ledger's head at that moment, and the time.
"""

import fcntl
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, func, select

from considerate.errors import StoreError
from considerate.store.engine import require_writing
from considerate.store.statements import chunks, insert_new
from considerate.store.tables import from_micros, subject, to_micros, tombstone

FILE = "tombstones.jsonl"


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


def rebuild_due(conn: Connection) -> int:
    """Count erased people whom the model in use may still have been fitted with."""
    query = select(func.count()).select_from(tombstone).where(tombstone.c.rebuilt_at.is_(None))
    return conn.execute(query).scalar_one()


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
    path, wanted = home / FILE, {stone.subject_ref: stone for stone in stones}
    if wanted.keys() <= {stone.subject_ref for stone in read_outside(home)}:
        return 0
    try:
        home.mkdir(parents=True, exist_ok=True)
        fresh = not path.exists()
        with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            content = file.read()
            whole = content[: content.rfind(b"\n") + 1]
            if len(whole) < len(content):
                # A line without an end was being written at a crash, and was never acknowledged.
                file.truncate(len(whole))
            known = {stone.subject_ref for stone in _parse(whole, path)}
            new = [stone for ref, stone in wanted.items() if ref not in known]
            file.write(b"".join(_line(stone) for stone in new))
            file.flush()
            os.fsync(file.fileno())
        if fresh:
            _sync_folder(home)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}; check the disk and the permissions") from error
    return len(new)


def read_outside(home: Path) -> list[Tombstone]:
    """Read the file outside the database; empty where nobody was ever erased.

    Raises
    ------
    StoreError
        It cannot be read, or a line of it is no tombstone.
    """
    path = home / FILE
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    return _parse(content[: content.rfind(b"\n") + 1], path)


def unapplied(conn: Connection, home: Path) -> list[Tombstone]:
    """Give the tombstones of people who are here again: the database is older than their erasure."""
    stones = {stone.subject_ref: stone for stone in read_outside(home)}
    back: list[Tombstone] = []
    for part in chunks(list(stones)):
        query = (
            select(subject.c.subject_ref)
            .join_from(subject, tombstone, subject.c.subject_ref == tombstone.c.subject_ref, isouter=True)
            .where(subject.c.subject_ref.in_(part))
            .where((subject.c.state == "active") | tombstone.c.subject_ref.is_(None))
        )
        back += [stones[ref] for ref in conn.execute(query).scalars()]
    return sorted(back, key=lambda stone: stone.erased_at)


def check_tombstones(conn: Connection, home: Path) -> None:
    """Refuse a database in which erased people are alive.

    Parameters
    ----------
    conn
        From `store.engine.reading`.
    home
        Folder of everything written at run time.

    Raises
    ------
    StoreError
        There are some; names how many and the command that erases them again.
    """
    if back := unapplied(conn, home):
        raise StoreError(
            f"{len(back)} erased customers are in this database again: it is older than their erasure; "
            "erase them once more: considerate rights replay"
        )


def _line(stone: Tombstone) -> bytes:
    fields = {"subject_ref": stone.subject_ref.hex(), "seq": stone.seq, "erased_at": stone.erased_at.isoformat()}
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _parse(content: bytes, path: Path) -> list[Tombstone]:
    stones = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            fields = json.loads(line)
            ref, at = bytes.fromhex(fields["subject_ref"]), datetime.fromisoformat(fields["erased_at"])
            stone = Tombstone(ref, int(fields["seq"]), at)
            if len(ref) != 16 or at.tzinfo is None:
                raise ValueError
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"{path}: line {number} is no tombstone; restore the file from a backup: without it nobody can tell "
                "who must stay erased"
            ) from error
        stones.append(stone)
    return stones


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
