"""Files that a crash leaves whole: on the disk before they take their place, and in it for good afterwards."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def drafted(path: Path, content: bytes, *, private: bool) -> Iterator[Path]:
    """Give a file beside `path` that holds `content` and is on the disk; where it was put is so as well, afterwards.

    `os.replace` puts it in the place of what is there, and `os.link` only where nothing is: of two processes that start
    at once, the first one's file stands for both. A draft that was put nowhere is gone at the end.

    Parameters
    ----------
    path
        Where it is to be; a missing folder is created.
    content
        All of it.
    private
        File and folder are for their owner alone (0600, 0700).

    Raises
    ------
    OSError
        It cannot be written, or not be put there.
    """
    new = not path.parent.exists()
    path.parent.mkdir(mode=0o700 if private else 0o777, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600 if private else 0o666)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield draft
    finally:
        draft.unlink(missing_ok=True)
    flush_folder(path.parent)
    if new:
        flush_folder(path.parent.parent)


def flush_folder(folder: Path) -> None:
    """Wait until the disk has the names of a folder: those of new files, and those gone."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
