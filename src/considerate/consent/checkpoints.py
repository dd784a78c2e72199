"""Signed heads of the ledger, kept outside the database.

Whoever may change the database can rewrite its whole chain. A checkpoint says, under a key that is not in the database,
what the ledger's head was at some time: a history that was rewritten, or cut short, contradicts it. One file each,
`<seq>.json`, written once and never changed; a copy of each lies in the table `ledger_checkpoint`. Between two of them,
`head.json` says the same of the newest head: a service replaces it within seconds of every event.
"""

from collections.abc import Iterable
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from considerate.consent.events import EMPTY, GENESIS, Head
from considerate.consent.ledger import head, verify
from considerate.consent.signed_heads import (
    Checkpoint,
    forged,
    newest_checkpoint,
    sign,
    signed_head,
    signed_heads,
    write_checkpoint,
    write_head,
)
from considerate.errors import ConsentError
from considerate.store.engine import reading, writing
from considerate.store.signing import PublicKeys, load_public_keys, load_signing_key
from considerate.store.statements import insert_new, untyped
from considerate.store.tables import consent_event, ledger_checkpoint, to_micros


def take_checkpoint(engine: Engine, folder: Path, keys_folder: Path, *, at: datetime) -> Checkpoint | None:
    """Sign the ledger's head and write it to `folder`, flushed to the disk, with a copy in the database.

    Where the newest checkpoint is of this head already, it is given back; None while the ledger is empty.

    Parameters
    ----------
    engine
        The store, writable.
    folder
        `checkpoints` in the folder of everything written at run time; made where it is missing.
    keys_folder
        The installation's keys; the signing key is made where it is missing.
    at
        Now.

    Raises
    ------
    ConsentError
        The ledger contradicts the newest checkpoint, or its chain does not hold from there on: signing that would
        bear out whoever changed it. Or the folder cannot be written.
    StoreError
        The store cannot be written, or the signing key cannot be read.
    """
    key = load_signing_key(keys_folder, create=True)
    # Before the ledger is read: what is signed after that would look like a loss.
    before, signed = newest_checkpoint(folder), signed_heads(folder)
    # Read without holding up any writer: a chain only grows, so what was true of its head stays true.
    with reading(engine) as conn:
        end = head(conn)
        check_against(conn, signed, load_public_keys(keys_folder))
        bad = verify(conn, start=EMPTY if before is None else before.head)
    if bad is not None:
        raise ConsentError(
            f"ledger position {bad}: not what was once appended; nothing is signed before that is cleared up, see: "
            "considerate ledger verify"
        )
    if end.seq == 0 or (before is not None and before.seq >= end.seq):
        return before
    checkpoint = sign(end, key, at)
    # First, so that a service need not look for any other file.
    write_head(folder, checkpoint)
    checkpoint = write_checkpoint(folder, checkpoint)
    with writing(engine) as conn:
        conn.execute(insert_new(conn, ledger_checkpoint), _row(checkpoint))
    return checkpoint


def sign_head(engine: Engine, folder: Path, keys_folder: Path, *, at: datetime) -> Checkpoint | None:
    """Sign the ledger's head into `head.json` where it moved since; give what is signed, None while it is empty.

    Costs one small query where nothing moved, and never walks the chain: `take_checkpoint` does. Parameters as there.

    Raises
    ------
    ConsentError
        The ledger contradicts what was signed before, or the folder cannot be written.
    StoreError
        The store or the signing key cannot be read.
    """
    last = signed_head(folder)
    with reading(engine) as conn:
        end = head(conn)
    if end.seq == 0 or (last is not None and last.head == end):
        return last
    signed = signed_heads(folder)
    with reading(engine) as conn:
        end = head(conn)
        check_against(conn, signed, load_public_keys(keys_folder))
    checkpoint = sign(end, load_signing_key(keys_folder, create=True), at)
    write_head(folder, checkpoint)
    return checkpoint


def head_at(conn: Connection, seq: int | None) -> Head:
    """Give the ledger's head as it was after event `seq`; the end if None.

    Raises
    ------
    ConsentError
        The ledger does not reach `seq`, or what stands there is no hash.
    StoreError
        What stands at its end is no hash.
    """
    end = head(conn)
    if seq is None or seq == end.seq:
        return end
    found = conn.execute(select(untyped(consent_event.c.hash)).where(consent_event.c.seq == seq)).scalar()
    if found is None:
        if seq == 0:
            return Head(0, GENESIS)
        raise ConsentError(f"ledger position {seq}: the ledger ends at {end.seq}; name a position from 0 to {end.seq}")
    if not isinstance(found, bytes):
        raise ConsentError(f"ledger position {seq}: its hash is not one; see: considerate ledger verify")
    return Head(seq, found)


def check_against_checkpoints(conn: Connection, folder: Path, keys: PublicKeys) -> None:
    """Refuse a ledger that ends before the newest head signed outside the database, or contradicts it.

    Parameters
    ----------
    conn
        From `store.engine.reading` or `writing`.
    folder
        Where the checkpoints lie.
    keys
        Public halves of this installation's signing keys, earlier ones too: `store.signing.load_public_keys`.

    Raises
    ------
    ConsentError
        Names both positions and the next step.
    """
    check_against(conn, signed_heads(folder), keys)


def check_against(conn: Connection, signed: Iterable[Checkpoint], keys: PublicKeys) -> None:
    """Do the same with heads that were read before, as they must be where somebody may be signing the next one."""
    for checkpoint in signed:
        _check_one(conn, checkpoint, keys)


def _check_one(conn: Connection, checkpoint: Checkpoint, keys: PublicKeys) -> None:
    if not checkpoint.holds(keys):
        raise ConsentError(forged(checkpoint, keys))
    end = head(conn)
    if end.seq < checkpoint.seq:
        raise ConsentError(
            f"the ledger ends at {end.seq}, but its end was {checkpoint.seq} on {checkpoint.time}: the database is "
            "another one (check the database URL), older than its checkpoints, or was cut short. Restore the newest "
            "backup; where there is none, run: considerate rights replay, then considerate ledger accept-loss --yes, "
            "which asks every customer again"
        )
    found = conn.execute(select(untyped(consent_event.c.hash)).where(consent_event.c.seq == checkpoint.seq)).scalar()
    if found != checkpoint.head.hash:
        raise ConsentError(
            f"ledger position {checkpoint.seq}: not what was signed on {checkpoint.time}: the ledger was changed, or "
            "went another way after an older backup was restored. See considerate ledger verify, and restore a backup; "
            "where there is none, run: considerate rights replay, then considerate ledger accept-loss"
        )


def _row(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "seq": checkpoint.seq,
        "head_hash": checkpoint.head.hash,
        "taken_at": to_micros(datetime.fromisoformat(checkpoint.time)),
        "key_id": checkpoint.key_id,
        "signature": bytes.fromhex(checkpoint.signature),
    }
