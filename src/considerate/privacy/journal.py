"""Files of one JSON line for each act, beside the database: on disk before anybody is told, whole after a crash.

No backup of the database holds them, so they tell what a database that was rolled back has forgotten.
"""

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from io import FileIO
from pathlib import Path
from typing import Any, Generic, TypeVar

from considerate.errors import StoreError
from considerate.store.files import flush_folder

Line = TypeVar("Line")


@dataclass(frozen=True, slots=True)
class Journal(Generic[Line]):
    """A kind of file, to which lines are only ever added.

    Attributes
    ----------
    file
        Its name in the installation's folder.
    noun, loss
        What a line is, and what nobody can tell without the file: for messages.
    fields
        Gives a line as plain JSON.
    line
        Reads it back; raises ValueError, KeyError or TypeError where it is none.
    """

    file: str
    noun: str
    loss: str
    fields: Callable[[Line], Mapping[str, object]]
    line: Callable[[Mapping[str, Any]], Line]

    def read(self, home: Path) -> tuple[Line, ...]:
        """Give every line of the file in `home`, oldest first; none where there is no file.

        A file that did not change since the last time is not read again.

        Raises
        ------
        StoreError
            It cannot be read, or a line of it is none.
        """
        path = home / self.file
        try:
            stat = path.stat()
            stamp = stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
            lines: tuple[Line, ...] = _read(self, path, stamp)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise StoreError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
        return lines

    def append(self, home: Path, choose: Callable[[Sequence[Line]], Sequence[Line]]) -> int:
        """Append what `choose` gives of the lines there are, and wait until the disk has it; give how many.

        Nobody else appends meanwhile. Where there is nothing to append, no file is created.

        Raises
        ------
        StoreError
            The file cannot be written, or holds something else. The act must not be acknowledged then.
        """
        path = home / self.file
        try:
            if not choose(self._settled(home)):
                return 0
            home.mkdir(parents=True, exist_ok=True)
            fresh = not path.exists()
            with os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                content = file.read()
                whole = _whole(content)
                if len(whole) < len(content):
                    # A line without an end was being written at a crash, and was never acknowledged.
                    file.truncate(len(whole))
                new = choose(self._parse(whole, path))
                try:
                    _write(file, b"".join(self._text(line) for line in new))
                    os.fsync(file.fileno())
                except OSError:
                    # What may not be on the disk is not acknowledged, so nobody may find it here and take it for known.
                    with suppress(OSError):
                        file.truncate(len(whole))
                    raise
            if fresh:
                flush_folder(home)
        except OSError as error:
            raise StoreError(
                f"{path}: cannot be written: {error.strerror}; check the disk and the permissions"
            ) from error
        return len(new)

    def _settled(self, home: Path) -> tuple[Line, ...]:
        """Read what the disk has: nobody is in the middle of writing a line that he may have to take back."""
        try:
            with (home / self.file).open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH)
                os.fsync(file.fileno())
                return self.read(home)
        except FileNotFoundError:
            return ()

    def _text(self, line: Line) -> bytes:
        return json.dumps(self.fields(line), separators=(",", ":")).encode() + b"\n"

    def _parse(self, content: bytes, path: Path) -> tuple[Line, ...]:
        lines = []
        for number, text in enumerate(content.splitlines(), 1):
            try:
                lines.append(self.line(json.loads(text)))
            except (ValueError, KeyError, TypeError) as error:
                raise StoreError(
                    f"{path}: line {number} is no {self.noun}; restore the file from a backup: without it nobody can "
                    f"tell {self.loss}"
                ) from error
        return tuple(lines)


@lru_cache(maxsize=8)
def _read(journal: Journal[Any], path: Path, _stamp: tuple[int, ...]) -> tuple[Any, ...]:
    # The stamp is older than what is read, so a line that came in between is read once more, never missed.
    return journal._parse(_whole(path.read_bytes()), path)


def _write(file: FileIO, text: bytes) -> None:
    left = memoryview(text)
    while left:
        left = left[file.write(left) :]


def _whole(content: bytes) -> bytes:
    return content[: content.rfind(b"\n") + 1]


def subject_ref_of(text: str) -> bytes:
    """Read a subject reference back from its hex digits.

    Raises
    ------
    ValueError
        They are not 16 bytes.
    """
    ref = bytes.fromhex(text)
    if len(ref) != 16:
        raise ValueError
    return ref
