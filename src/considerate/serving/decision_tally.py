"""How many decisions a worker took and how many it wrote, in a file that outlives its process.

A worker that is killed loses what it had taken and not yet written. The next one to start finds its file and counts.
"""

import fcntl
import logging
import mmap
import os
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

log = logging.getLogger(__name__)

_TAKEN = struct.Struct("<Q")
_WRITTEN = struct.Struct("<QQ16s")
_SIZE = _TAKEN.size + _WRITTEN.size
SUFFIX = ".tally"


class Tally:
    """The file of one worker: rows taken, rows written, and the batch that is being written.

    It is mapped into memory, so that counting costs no system call and a killed process leaves what it counted; a
    power cut may take it along. The lock on it ends with the process, whatever ends that.

    Parameters
    ----------
    folder
        Where the workers of this installation keep theirs.

    Raises
    ------
    OSError
        It cannot be made.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        name = uuid4().hex
        self._path = folder / f"{name}{SUFFIX}"
        draft = folder / f".{name}"
        self._descriptor = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        # Locked before it has its name: nobody takes it for a dead worker's.
        fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(self._descriptor, bytes(_SIZE))
        self._map = mmap.mmap(self._descriptor, _SIZE)
        draft.rename(self._path)
        self._taken = self._written = 0

    def take(self) -> None:
        """Count one more row that an answer relies on."""
        self._taken += 1
        _TAKEN.pack_into(self._map, 0, self._taken)

    # The two below are another thread's: each side writes its own bytes.

    def begin(self, first: bytes, rows: int) -> None:
        """Say which rows are about to be committed: `rows` of them, the first with the id `first`."""
        _WRITTEN.pack_into(self._map, _TAKEN.size, self._written, rows, first)

    def wrote(self, rows: int) -> None:
        """Say that they are."""
        self._written += rows
        _WRITTEN.pack_into(self._map, _TAKEN.size, self._written, 0, bytes(16))

    def close(self, *, forget: bool) -> None:
        """Let go of the file; `forget` removes it, since nothing is owed."""
        if forget:
            self._path.unlink(missing_ok=True)
        self._map.close()
        os.close(self._descriptor)


def lost_by_the_dead(folder: Path, is_written: Callable[[bytes], bool]) -> Iterator[int]:
    """Count what each worker took and never wrote before it was killed; its file is removed.

    A file that cannot be opened or removed is logged and left to the next start.

    Parameters
    ----------
    folder
        As for `Tally`.
    is_written
        Whether the decision of this id is in the log: a worker may die between its commit and its count.
    """
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        try:
            lost = _lost_by(path, is_written)
        except (FileNotFoundError, BlockingIOError):
            continue  # another worker counted it in the meantime, or its worker lives
        except OSError as error:
            log.error("%s: what its worker lost cannot be counted: %s; check its owner", path, error.strerror)
            continue
        yield lost


def _lost_by(path: Path, is_written: Callable[[bytes], bool]) -> int:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Without a name left, another worker has counted it in the meantime.
        if not os.fstat(descriptor).st_nlink:
            return 0
        lost = _owed(os.read(descriptor, _SIZE), is_written)
        path.unlink()
        return lost
    finally:
        os.close(descriptor)


def _owed(content: bytes, is_written: Callable[[bytes], bool]) -> int:
    if len(content) != _SIZE:
        return 0
    (taken,), (written, batch, first) = _TAKEN.unpack_from(content), _WRITTEN.unpack_from(content, _TAKEN.size)
    if batch and is_written(first):
        written += batch
    return max(0, int(taken - written))
