"""Looking at the whole ledger: its chain, its checkpoints, the evidence it commits to, and what is in force by it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, select

from considerate.consent.events import GENESIS, Head
from considerate.consent.ledger import head, last_position, verify
from considerate.consent.projection import check_projection
from considerate.consent.signed_heads import Checkpoint, forged, read_checkpoint, signed_files
from considerate.errors import ConsentError, StoreError
from considerate.store.keys import Keys, commit, unseal
from considerate.store.signing import PublicKeys
from considerate.store.statements import untyped
from considerate.store.tables import (
    consent_event,
    consent_evidence,
    from_micros,
    ledger_checkpoint,
    subject,
    subject_key,
)


@dataclass(frozen=True, slots=True)
class Audit:
    """What came of looking at the whole ledger.

    Attributes
    ----------
    head
        Its end; without a hash (32 zero bytes) where the chain does not hold.
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


def audit(conn: Connection, folder: Path, keys: PublicKeys, *, opened_by: Keys | None = None) -> Audit:
    """Check the whole chain, every checkpoint outside the database and every copy in it, the evidence of everybody who
    is not erased, and that the consents in force are those of the ledger.

    Parameters
    ----------
    conn
        From `store.engine.reading`.
    folder
        Checkpoints: this installation's, or copies that somebody else has kept.
    keys
        Public halves of the signing keys, old ones too.
    opened_by
        The installation's keys, to hold each piece of evidence against its commitment; without them, an auditor's look
        tells only whether it is there.
    """
    problems: list[str] = []
    kept: dict[int, Checkpoint] = {}
    without_file: list[int] = []
    for path in signed_files(folder):
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
    end = last_position(conn)
    if bad is not None:
        problems.insert(0, _first_bad(conn, bad, end, kept))
    problems += _evidence(conn, opened_by)
    # What a changed ledger says is no measure of anything.
    if bad is None or bad > end:
        try:
            check_projection(conn)
        except ConsentError as error:
            problems.append(str(error))
    sound = head(conn) if bad is None else Head(end, GENESIS)
    return Audit(sound, len(kept), max(kept, default=0), tuple(without_file), tuple(problems))


def _first_bad(conn: Connection, bad: int, end: int, kept: dict[int, Checkpoint]) -> str:
    if bad > end:
        return f"ledger position {bad}: missing; the ledger ends at {end} but once went on"
    if bad in kept and verify(conn) != bad:
        # The chain fits together and ends elsewhere: all that is known is where it was still right.
        before = max((seq for seq in kept if seq < bad), default=0)
        return (
            f"ledger positions {before + 1} to {bad}: rewritten throughout; the checkpoint of {kept[bad].time} proves "
            f"another history, and up to {before} the ledger is as signed"
        )
    return f"ledger position {bad}: not what was once appended"


def _evidence(conn: Connection, keys: Keys | None) -> list[str]:
    """Say what of the evidence is gone or another one. Of the erased none is kept, nor the key that it lay under."""
    event, sealed, wrapped = consent_event.c, consent_evidence.c.sealed, subject_key.c.wrapped_key
    columns = (event.seq, event.event_id, event.subject_ref, event.evidence_commit, sealed, wrapped)
    query = (
        select(*(untyped(column) for column in columns))
        .join_from(consent_event, subject, event.subject_ref == subject.c.subject_ref)
        .join(subject_key, event.subject_ref == subject_key.c.subject_ref, isouter=True)
        .join(consent_evidence, event.event_id == consent_evidence.c.event_id, isouter=True)
        .where(event.evidence_commit.is_not(None), (subject.c.state == "active") | wrapped.is_not(None))
        .order_by(event.seq)
    )
    missing, wrong = [], []
    with conn.execute(query, execution_options={"yield_per": 2_000}) as rows:
        for seq, *found in rows:
            if None in found:
                missing.append(seq)
            elif keys is not None and not _opens(keys, *found):
                wrong.append(seq)
    return [
        f"evidence: that of {len(seqs):,} events is {what}, the first at ledger position {seqs[0]}; without it those "
        "decisions cannot be shown: restore a backup that has it"
        for what, seqs in (("gone", missing), ("not what the ledger commits to", wrong))
        if seqs
    ]


def _opens(keys: Keys, *found: Any) -> bool:
    """Whether what lies sealed is what the ledger's commitment was made to."""
    event_id, subject_ref, commitment, sealed, wrapped = found
    try:
        key = keys.unwrap(wrapped, subject_ref)
        return bool(commit(key, unseal(key, sealed, event_id)) == commitment)
    except (StoreError, TypeError):
        return False


def _copies(conn: Connection) -> list[Checkpoint]:
    # Untyped: a value that was forged in another type must make the signature fail, not the reading of it.
    columns = [untyped(ledger_checkpoint.c[name]) for name in ("seq", "head_hash", "taken_at", "key_id", "signature")]
    rows = conn.execute(select(*columns).order_by(ledger_checkpoint.c.seq))
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
