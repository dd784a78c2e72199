"""Finished exports on disk: for their owner's eyes, once, and for a day."""

import os
import re
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Connection, Engine

from considerate.errors import StoreError
from considerate.privacy.requests import OPEN, PrivacyRequest, find_request, read_requests
from considerate.store.engine import reading
from considerate.store.files import drafted

FOLDER = "exports"
KEPT = timedelta(hours=24)
"""How long a finished export can be fetched."""
_OF_REQUEST = re.compile(r"\.?([0-9a-f]{32})\.zip(?:\.[0-9a-f]+)?")
"""An export, or a part of one that is being written or taken, by the id of its request."""


def export_path(home: Path, request_id: bytes) -> Path:
    """Give where the export of a request lies."""
    return home / FOLDER / f"{request_id.hex()}.zip"


def fetched_until(request: PrivacyRequest) -> datetime | None:
    """Give until when the export of a finished request may be fetched, None where there is none to fetch."""
    finished = request.type == "access" and request.status == "completed" and "fetched_at" not in request.steps
    return request.completed_at + KEPT if finished and request.completed_at is not None else None


def read_export(home: Path, request_id: bytes) -> bytes | None:
    """Give an export; None where it is gone.

    Raises
    ------
    StoreError
        It cannot be read.
    """
    path = export_path(home, request_id)
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; check the folder's permissions") from error


def remove_exports(conn: Connection, home: Path, subject_ref: bytes) -> None:
    """Remove every export of one person, and what a crash left of one.

    Raises
    ------
    StoreError
        One cannot be removed.
    """
    hers = {request.request_id for request in read_requests(conn, subject_ref=subject_ref, kind="access")}
    for path, request_id in _lying(home):
        if request_id in hers:
            _remove(path)


def remove_export(home: Path, request_id: bytes) -> None:
    """Remove the export of one request, if it is there.

    Raises
    ------
    StoreError
        It cannot be removed.
    """
    _remove(export_path(home, request_id))


def remove_stray_exports(engine: Engine, home: Path) -> int:
    """Remove exports that nobody may fetch: of a request that is gone, or done; give how many.

    A process that dies as it writes an export, while its owner is erased by another, leaves one of somebody erased.

    Raises
    ------
    StoreError
        One cannot be removed.
    """
    # The files first: one that is being written belongs to a request that was committed before it.
    lying, gone = _lying(home), 0
    if not lying:
        return 0
    with reading(engine) as conn:
        found = {request_id: find_request(conn, request_id) for _, request_id in lying}
    for path, request_id in lying:
        request = found[request_id]
        if request is None or (request.status not in OPEN and fetched_until(request) is None):
            _remove(path)
            gone += 1
    return gone


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
    try:
        with drafted(path, content, private=True) as draft:
            os.replace(draft, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}; check the disk and the folder") from error
    return path


def _lying(home: Path) -> list[tuple[Path, bytes]]:
    """Give the files of requests that are there, drafts too, each with the id of its request."""
    folder = home / FOLDER
    try:
        names = sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []  # where there is no folder, there is no export
    except OSError as error:
        raise StoreError(f"{folder}: cannot be read: {error.strerror}; check the folder's permissions") from error
    found = ((name, _OF_REQUEST.fullmatch(name)) for name in names)
    return [(folder / name, bytes.fromhex(match[1])) for name, match in found if match is not None]


def _remove(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except NotADirectoryError:
        return  # where there is no folder, there is no export
    except OSError as error:
        raise StoreError(f"{path}: cannot be removed: {error.strerror}; check the folder's permissions") from error
