"""Finished exports on disk: for their owner's eyes, once, and for a day."""

import os
import secrets
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection

from considerate.errors import StoreError
from considerate.privacy.requests import PrivacyRequest, read_requests

FOLDER = "exports"
KEPT = timedelta(hours=24)
"""How long a finished export can be fetched."""


def export_path(home: Path, request_id: bytes) -> Path:
    """Give where the export of a request lies."""
    return home / FOLDER / f"{request_id.hex()}.zip"


def fetched_until(request: PrivacyRequest) -> datetime | None:
    """Give until when the export of a finished request may be fetched, None where there is none to fetch."""
    finished = request.type == "access" and request.status == "completed" and "fetched_at" not in request.steps
    return request.completed_at + KEPT if finished and request.completed_at is not None else None


def take_export(home: Path, request_id: bytes) -> bytes | None:
    """Give an export and remove it: of several who ask at once, one gets it. None where it is gone.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    path = export_path(home, request_id)
    # A rename succeeds once, in whichever process comes first.
    taken = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.rename(taken)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be taken: {error.strerror}; check the folder's permissions") from error
    try:
        return taken.read_bytes()
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; ask for a new export") from error
    finally:
        taken.unlink(missing_ok=True)


def remove_exports(conn: Connection, home: Path, subject_ref: bytes) -> None:
    """Remove every export of one person.

    Raises
    ------
    StoreError
        One cannot be removed.
    """
    for request in read_requests(conn, subject_ref=subject_ref, kind="access"):
        _remove(export_path(home, request.request_id))


def remove_old_exports(home: Path, *, at: datetime) -> int:
    """Remove exports whose day is over, and what a crash left of one; give how many.

    Raises
    ------
    StoreError
        One cannot be removed.
    """
    folder, gone = home / FOLDER, 0
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        try:
            written = path.stat().st_mtime
        except FileNotFoundError:
            continue  # fetched a moment ago
        if written + KEPT.total_seconds() <= at.timestamp():
            _remove(path)
            gone += 1
    return gone


def write_export(home: Path, request_id: bytes, content: bytes) -> Path:
    """Write an export for its owner alone (0600), whole or not at all.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    path = export_path(home, request_id)
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}; check the disk and the folder") from error
    return path


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return  # where there is no folder, there is no export
    except OSError as error:
        raise StoreError(f"{path}: cannot be removed: {error.strerror}; check the folder's permissions") from error
