"""Signed heads of the ledger, kept outside the database.

Whoever may change the database can rewrite its whole chain. A checkpoint says, under a key that is not in the database,
what the ledger's head was at some time: a history that was rewritten, or cut short, contradicts it. One file each,
`<seq>.json`, written once and never changed; a copy of each lies in the table `ledger_checkpoint`.
"""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import rfc8785
from sqlalchemy import Connection, Engine, select

from considerate.consent.events import EMPTY, Head
from considerate.consent.ledger import head, verify
from considerate.errors import ConsentError
from considerate.store.engine import reading, writing
from considerate.store.signing import PublicKeys, SigningKey, load_public_keys, load_signing_key, signed_by
from considerate.store.statements import insert_new
from considerate.store.tables import consent_event, ledger_checkpoint, to_micros

SCHEMA = "considerate.checkpoint.v1"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What the ledger's head was.

    Attributes
    ----------
    seq, head_hash
        The last event at that time, and its hash in hex.
    time
        When it was signed, UTC, ISO 8601 with microseconds.
    key_id
        Which key signed it.
    signature
        Ed25519, hex, over the canonical JSON of the other four and the name of this form.
    """

    seq: int
    head_hash: str
    time: str
    key_id: str
    signature: str

    @property
    def head(self) -> Head:
        """Position and hash."""
        return Head(self.seq, bytes.fromhex(self.head_hash))

    def holds(self, keys: PublicKeys) -> bool:
        """Whether one of `keys` signed exactly this."""
        signature = bytes.fromhex(self.signature)
        return signed_by(keys, self.key_id, signature, _signed(self.head, self.time, self.key_id))


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
    before = newest_checkpoint(folder)
    # Read without holding up any writer: a chain only grows, so what was true of its head stays true.
    with reading(engine) as conn:
        end = head(conn)
        check_against_checkpoints(conn, folder, load_public_keys(keys_folder))
        bad = verify(conn, start=EMPTY if before is None else before.head)
    if bad is not None:
        raise ConsentError(
            f"ledger position {bad}: not what was once appended; nothing is signed before that is cleared up, see: "
            "considerate ledger verify"
        )
    if end.seq == 0 or (before is not None and before.seq >= end.seq):
        return before
    checkpoint = _write(folder, _sign(end, key, at))
    with writing(engine) as conn:
        conn.execute(insert_new(conn, ledger_checkpoint), _row(checkpoint))
    return checkpoint


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of the highest position; None where there is none.

    Raises
    ------
    ConsentError
        Its file cannot be read as one.
    """
    files = checkpoint_files(folder)
    return read_checkpoint(files[-1]) if files else None


def check_against_checkpoints(conn: Connection, folder: Path, keys: PublicKeys) -> None:
    """Refuse a ledger that ends before the newest checkpoint outside the database, or contradicts it.

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
    checkpoint = newest_checkpoint(folder)
    if checkpoint is None:
        return
    if not checkpoint.holds(keys):
        raise ConsentError(forged(checkpoint, keys))
    end = head(conn)
    if end.seq < checkpoint.seq:
        raise ConsentError(
            f"the ledger ends at {end.seq}, but its end was {checkpoint.seq} on {checkpoint.time}: the database is "
            "older than its checkpoints, or was cut short. Restore the newest backup; where there is none, "
            "run: considerate rights replay, then considerate ledger accept-loss, which asks every customer again"
        )
    found = conn.execute(select(consent_event.c.hash).where(consent_event.c.seq == checkpoint.seq)).scalar()
    if found != checkpoint.head.hash:
        raise ConsentError(
            f"ledger position {checkpoint.seq}: not what was signed on {checkpoint.time}: the ledger was changed, or "
            "went another way after an older backup was restored. See considerate ledger verify, and restore a backup; "
            "where there is none, run: considerate rights replay, then considerate ledger accept-loss"
        )


def _sign(end: Head, key: SigningKey, at: datetime) -> Checkpoint:
    time = at.astimezone(UTC).isoformat(timespec="microseconds")
    signature = key.sign(_signed(end, time, key.key_id))
    return Checkpoint(end.seq, end.hash.hex(), time, key.key_id, signature.hex())


def _signed(end: Head, time: str, key_id: str) -> bytes:
    return rfc8785.dumps(
        {"schema": SCHEMA, "seq": end.seq, "head_hash": end.hash.hex(), "time": time, "key_id": key_id}
    )


def checkpoint_files(folder: Path) -> list[Path]:
    """Every checkpoint file, by position."""
    return sorted((path for path in folder.glob("*.json") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def read_checkpoint(path: Path) -> Checkpoint:
    """Read one file; whether its signature holds is not looked at.

    Raises
    ------
    ConsentError
        It is not exactly as it was written.
    """
    try:
        text = path.read_text()
        checkpoint = Checkpoint(**json.loads(text))
        sizes = [(checkpoint.head_hash, 32), (checkpoint.signature, 64)]
        # Exactly the text that was written: two files that differ in anything are never both right.
        if _text(checkpoint) != text or any(len(bytes.fromhex(value)) != size for value, size in sizes):
            raise ValueError
        if type(checkpoint.seq) is not int or path.name != f"{checkpoint.seq}.json":
            raise ValueError
        datetime.fromisoformat(checkpoint.time)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConsentError(
            f"checkpoint {path.stem}: {path} is not as it was written; put it back from where you keep your copies"
        ) from error
    return checkpoint


def _text(checkpoint: Checkpoint) -> str:
    return json.dumps(asdict(checkpoint), indent=1) + "\n"


def _write(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    path = folder / f"{checkpoint.seq}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft = folder / f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}"
        try:
            with draft.open("x") as file:
                file.write(_text(checkpoint))
                file.flush()
                os.fsync(file.fileno())
            # A link never overwrites: another process may have signed the same head a moment ago.
            with suppress(FileExistsError):
                os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _flush(folder)
    except OSError as error:
        raise ConsentError(f"{path}: cannot be written: {error.strerror}; check the folder's permissions") from error
    return read_checkpoint(path)


def _flush(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _row(checkpoint: Checkpoint) -> dict[str, object]:
    return {
        "seq": checkpoint.seq,
        "head_hash": checkpoint.head.hash,
        "taken_at": to_micros(datetime.fromisoformat(checkpoint.time)),
        "key_id": checkpoint.key_id,
        "signature": bytes.fromhex(checkpoint.signature),
    }


def forged(checkpoint: Checkpoint, keys: PublicKeys) -> str:
    """Say what is wrong with a checkpoint that does not hold."""
    if checkpoint.key_id not in keys:
        return (
            f"checkpoint {checkpoint.seq}: signed with key {checkpoint.key_id}, whose public half is not here; restore "
            "the keys folder that belongs to this ledger"
        )
    return f"checkpoint {checkpoint.seq}: its signature does not hold; it was changed after it was signed"
