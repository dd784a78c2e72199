"""Looking at the whole ledger: its chain, the checkpoints outside the database and their copies in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, literal_column, select

from considerate.consent.checkpoints import Checkpoint, checkpoint_files, forged, read_checkpoint
from considerate.consent.events import Head
from considerate.consent.ledger import head, verify
from considerate.errors import ConsentError
from considerate.store.signing import PublicKeys
from considerate.store.tables import from_micros, ledger_checkpoint


@dataclass(frozen=True, slots=True)
class Audit:
    """What came of looking at the whole ledger.

    Attributes
    ----------
    head
        Its end.
    checkpoints
        Checkpoints that hold, files and copies counted once.
    newest
        The last position that is proved by one of them, 0 for none.
    without_file
        Positions of those that are only in the database: files of another host of the same store, or removed ones.
    problems
        What is wrong, each naming the position; none where all is well.
    """

    head: Head
    checkpoints: int
    newest: int
    without_file: tuple[int, ...]
    problems: tuple[str, ...]


def audit(conn: Connection, folder: Path, keys: PublicKeys) -> Audit:
    """Check the whole chain, every checkpoint outside the database and every copy in it.

    Parameters
    ----------
    conn
        From `store.engine.reading`.
    folder
        Checkpoints: this installation's, or copies that somebody else has kept.
    keys
        Public halves of the signing keys, old ones too.
    """
    problems: list[str] = []
    kept: dict[int, Checkpoint] = {}
    without_file: list[int] = []
    for path in checkpoint_files(folder):
        try:
            checkpoint = read_checkpoint(path)
        except ConsentError as error:
            problems.append(str(error))
            continue
        if checkpoint.holds(keys):
            kept[checkpoint.seq] = checkpoint
        else:
            problems.append(forged(checkpoint, keys))
    for copy in _copies(conn):
        if not copy.holds(keys):
            problems.append(f"copy in the database: {forged(copy, keys)}")
        elif copy.seq not in kept:
            kept[copy.seq] = copy
            without_file.append(copy.seq)
        elif copy.head_hash != kept[copy.seq].head_hash:
            problems.append(f"checkpoint {copy.seq}: file and copy in the database are signed for different histories")
    bad = verify(conn, trusted=[checkpoint.head for checkpoint in kept.values()])
    if bad is not None:
        problems.insert(0, _first_bad(conn, bad, kept))
    return Audit(head(conn), len(kept), max(kept, default=0), tuple(without_file), tuple(problems))


def _first_bad(conn: Connection, bad: int, kept: dict[int, Checkpoint]) -> str:
    end = head(conn)
    if bad > end.seq:
        return f"ledger position {bad}: missing; the ledger ends at {end.seq} but once went on"
    if bad in kept and verify(conn) != bad:
        # The chain fits together and ends elsewhere: all that is known is where it was still right.
        before = max((seq for seq in kept if seq < bad), default=0)
        return (
            f"ledger positions {before + 1} to {bad}: rewritten throughout; the checkpoint of {kept[bad].time} proves "
            f"another history, and up to {before} the ledger is as signed"
        )
    return f"ledger position {bad}: not what was once appended"


def _copies(conn: Connection) -> list[Checkpoint]:
    names = ("seq", "head_hash", "taken_at", "key_id", "signature")
    # Untyped: a value that was forged in another type must make the signature fail, not the reading of it.
    columns: list[ColumnElement[Any]] = [literal_column(name) for name in names]
    rows = conn.execute(select(*columns).select_from(ledger_checkpoint).order_by(ledger_checkpoint.c.seq))
    return [
        Checkpoint(seq, _hex(head_hash), _time(taken_at), str(key_id), _hex(signature))
        for seq, head_hash, taken_at, key_id, signature in rows
    ]


def _hex(value: Any) -> str:
    return value.hex() if isinstance(value, bytes) else ""


def _time(value: Any) -> str:
    try:
        return from_micros(value).isoformat(timespec="microseconds")
    except (TypeError, OverflowError):
        return ""
