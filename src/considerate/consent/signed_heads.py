"""The files of signed heads: read only as they were written, and on disk when a function that writes one returns."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import rfc8785

from considerate.consent.events import Head
from considerate.errors import ConsentError
from considerate.store.files import drafted
from considerate.store.signing import PublicKeys, SigningKey, signed_by

SCHEMA = "considerate.checkpoint.v1"
HEAD = "head.json"


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


def sign(end: Head, key: SigningKey, at: datetime) -> Checkpoint:
    """Sign a head; whether it may be signed is the caller's affair."""
    time = at.astimezone(UTC).isoformat(timespec="microseconds")
    signature = key.sign(_signed(end, time, key.key_id))
    return Checkpoint(end.seq, end.hash.hex(), time, key.key_id, signature.hex())


def _signed(end: Head, time: str, key_id: str) -> bytes:
    return rfc8785.dumps(
        {"schema": SCHEMA, "seq": end.seq, "head_hash": end.hash.hex(), "time": time, "key_id": key_id}
    )


def signed_head(folder: Path) -> Checkpoint | None:
    """Read the newest head that was signed; None where none was.

    Raises
    ------
    ConsentError
        Its file cannot be read as one.
    """
    path = folder / HEAD
    return read_checkpoint(path) if path.exists() else newest_checkpoint(folder)


def signed_heads(folder: Path) -> list[Checkpoint]:
    """Read what a ledger must agree with: `head.json` and the newest checkpoint, newest first.

    Raises
    ------
    ConsentError
        One of them cannot be read as one.
    """
    found = (signed_head(folder), newest_checkpoint(folder))
    distinct = {checkpoint.head: checkpoint for checkpoint in found if checkpoint is not None}
    return sorted(distinct.values(), key=lambda checkpoint: checkpoint.seq, reverse=True)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Read the checkpoint of the highest position; None where there is none.

    Raises
    ------
    ConsentError
        Its file cannot be read as one.
    """
    files = checkpoint_files(folder)
    return read_checkpoint(files[-1]) if files else None


def checkpoint_files(folder: Path) -> list[Path]:
    """Every checkpoint file, by position."""
    return sorted((path for path in folder.glob("*.json") if path.stem.isdecimal()), key=lambda path: int(path.stem))


def signed_files(folder: Path) -> list[Path]:
    """Every file that says what the ledger's head was: the checkpoints by position, then `head.json`."""
    newest = folder / HEAD
    return [*checkpoint_files(folder), *([newest] if newest.exists() else [])]


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
        if type(checkpoint.seq) is not int or path.name not in (f"{checkpoint.seq}.json", HEAD):
            raise ValueError
        datetime.fromisoformat(checkpoint.time)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise ConsentError(
            f"checkpoint {path.stem}: {path} is not as it was written; put it back from where you keep your copies"
        ) from error
    return checkpoint


def _text(checkpoint: Checkpoint) -> str:
    return json.dumps(asdict(checkpoint), indent=1) + "\n"


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> Checkpoint:
    """Write `<seq>.json`, unless it is there already; give what it says.

    Raises
    ------
    ConsentError
        The folder cannot be written.
    """
    path = folder / f"{checkpoint.seq}.json"
    # A link never overwrites: another process may have signed the same head a moment ago.
    with _drafted(path, checkpoint) as draft, suppress(FileExistsError):
        os.link(draft, path)
    return read_checkpoint(path)


def write_head(folder: Path, checkpoint: Checkpoint) -> None:
    """Put `head.json` in the place of an older one; a newer one stays.

    Raises
    ------
    ConsentError
        The folder cannot be written, or the file there cannot be read.
    """
    path = folder / HEAD
    if path.exists() and read_checkpoint(path).seq > checkpoint.seq:
        return
    with _drafted(path, checkpoint) as draft:
        os.replace(draft, path)


@contextmanager
def _drafted(path: Path, checkpoint: Checkpoint) -> Iterator[Path]:
    try:
        with drafted(path, _text(checkpoint).encode(), private=False) as draft:
            yield draft
    except OSError as error:
        raise ConsentError(f"{path}: cannot be written: {error.strerror}; check the folder's permissions") from error


def forged(checkpoint: Checkpoint, keys: PublicKeys) -> str:
    """Say what is wrong with a checkpoint that does not hold."""
    if checkpoint.key_id not in keys:
        return (
            f"checkpoint {checkpoint.seq}: signed with key {checkpoint.key_id}, whose public half is not here; restore "
            "the keys folder that belongs to this ledger"
        )
    return f"checkpoint {checkpoint.seq}: its signature does not hold; it was changed after it was signed"
