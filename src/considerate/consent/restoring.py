"""After an older backup: going on although what the ledger knew since then is lost.

What is lost may have been withdrawals, of anybody. So nobody's yes outlives the loss: every customer is asked again.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine, delete, select, true

from considerate.consent.ending import end_grants
from considerate.consent.ledger import head, verify
from considerate.consent.signed_heads import Checkpoint, read_checkpoint, signed_files
from considerate.errors import ConsentError, StoreError
from considerate.store.engine import writing
from considerate.store.keys import Keys
from considerate.store.statements import chunks
from considerate.store.subjects import check_keys
from considerate.store.tables import consent_event, ledger_checkpoint

SET_ASIDE = "set-aside"
_MOMENT = "%Y%m%dT%H%M%SZ"


@dataclass(frozen=True, slots=True)
class Loss:
    """What accepting a loss did; counts only.

    Attributes
    ----------
    checkpoints
        Positions of the checkpoints set aside, each of a history that is no longer there.
    invalidated
        Consents that were given and now have to be given again.
    """

    checkpoints: tuple[int, ...]
    invalidated: int


def accept_loss(engine: Engine, keys: Keys, folder: Path, *, at: datetime) -> Loss:
    """End every consent that is given, and set aside the checkpoints that this ledger contradicts.

    Nothing is done where the ledger agrees with every checkpoint. After a crash,
    a second call ends what the first began.

    Parameters
    ----------
    engine
        The store, writable, restored and with its tombstones replayed.
    keys
        Of this installation.
    folder
        Where the checkpoints lie; those set aside move into `set-aside` within it.
    at
        Now.

    Raises
    ------
    ConsentError
        The chain itself does not hold: that is no loss, and no backup of this ledger.
    """
    with writing(engine) as conn:
        check_keys(conn, keys)
        bad = verify(conn)
        # A position behind the end is what a loss looks like.
        if bad is not None and bad <= head(conn).seq:
            raise ConsentError(
                f"ledger position {bad}: not what was once appended, so this is no loss but a change; restore a backup "
                "of which considerate ledger verify finds no such position"
            )
        lost = [(path, checkpoint) for path, checkpoint in _checkpoints(folder) if not _agrees(conn, checkpoint)]
        if not lost:
            return Loss((), 0)
        # Consents first: until the files have moved nothing starts, so no crash leaves a yes that outlived the loss.
        invalidated = end_grants(conn, keys, true(), at=at, actor="operator")
        positions = sorted({checkpoint.seq for _, checkpoint in lost})
        for part in chunks(positions):
            conn.execute(delete(ledger_checkpoint).where(ledger_checkpoint.c.seq.in_(part)))
    _set_aside([path for path, _ in lost], folder / SET_ASIDE / at.strftime(_MOMENT))
    return Loss(tuple(positions), invalidated)


def lost_until(folder: Path) -> datetime | None:
    """Give when a loss was last accepted, None for never: a yes from before may have been withdrawn in what is lost.

    Parameters
    ----------
    folder
        Where the checkpoints lie: what is set aside there is named by the moment, in whole seconds.

    Raises
    ------
    StoreError
        The folder cannot be read, or holds something that is named by no moment.
    """
    aside = folder / SET_ASIDE
    try:
        names = [path.name for path in aside.iterdir()]
        moments = [datetime.strptime(name, _MOMENT).replace(tzinfo=UTC) for name in names]
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{aside}: cannot be read: {error.strerror}; check the folder's permissions") from error
    except ValueError:
        raise StoreError(
            f"{aside}: holds something that is named by no moment such as 20260501T120000Z; move that elsewhere, and "
            "keep the rest: it says which consents of before a loss must not come back"
        ) from None
    return max(moments) + timedelta(seconds=1) if moments else None


def _checkpoints(folder: Path) -> list[tuple[Path, Checkpoint]]:
    return [(path, read_checkpoint(path)) for path in signed_files(folder)]


def _agrees(conn: Connection, checkpoint: Checkpoint) -> bool:
    found = conn.execute(select(consent_event.c.hash).where(consent_event.c.seq == checkpoint.seq)).scalar()
    return bool(found == checkpoint.head.hash)


def _set_aside(paths: Sequence[Path], folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in paths:
            os.replace(path, folder / path.name)
    except OSError as error:
        raise ConsentError(f"{folder}: cannot be written: {error.strerror}; check the folder's permissions") from error
