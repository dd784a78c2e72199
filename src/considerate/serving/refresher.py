"""The refresher: the one process beside the workers that knows the registry.

It follows the alias `champion`, downloads a new version, checks its hashes, puts the folder in place and only then
moves the pointer. Whatever goes wrong, the workers keep what they have and the next look tries again.
"""

import logging
import os
import shutil
import signal
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from considerate.errors import ArtefactError, ConsiderateError
from considerate.serving.models import Pointer, read_pointer, write_pointer

log = logging.getLogger(__name__)

KEPT_VERSIONS = 3
"""Versions that stay on disk: the one in use, and those that a slow worker may still be opening."""


class Registry(Protocol):
    """Where promoted models come from."""

    def champion(self) -> Pointer | None:
        """Name the promoted version, None before the first promotion."""

    def download(self, destination: Path) -> Pointer | None:
        """Write its files into the new folder `destination` and name the version they belong to."""


def refresh(
    registry: Registry,
    folder: Path,
    *,
    check: Callable[[Path], object],
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> str | None:
    """Bring the promoted version into `folder`, if it is not there yet, and let the pointer name it.

    Parameters
    ----------
    registry
        Names and downloads versions.
    folder
        Where the workers look.
    check
        Reads the manifest of an artefact folder and holds its files against it.
    now
        The clock.

    Returns
    -------
        The version that the pointer was moved to, None where it stays.

    Raises
    ------
    ConsiderateError
        The registry refuses, or the download is damaged or too old to be served. The pointer stays.
    """
    wanted = registry.champion()
    if wanted is None:
        return None
    if wanted.until is not None and now().timestamp() >= wanted.until:
        raise ArtefactError(
            f"{wanted.version}: its fit is longer ago than [model] max_age_days of the service TOML allows; fit and "
            "promote a new one: pipelines/train.py MODEL.toml DATA.toml --promote"
        )
    if wanted == _pointed(folder):
        return None
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f".download-{os.getpid()}"
    shutil.rmtree(draft, ignore_errors=True)
    try:
        fetched = registry.download(draft)
        if fetched is None:
            return None
        check(draft)
        shutil.rmtree(folder / fetched.version, ignore_errors=True)
        draft.rename(folder / fetched.version)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    write_pointer(folder, fetched)
    _forget_old(folder, fetched.version)
    return fetched.version


def _pointed(folder: Path) -> Pointer | None:
    try:
        pointer = read_pointer(folder)
    except ArtefactError:
        return None
    return pointer if (folder / pointer.version).is_dir() else None


def _forget_old(folder: Path, current: str) -> None:
    # A worker that still maps a removed file keeps its pages until it has swapped.
    versions = [path for path in folder.iterdir() if path.is_dir() and path.name != current]
    versions.sort(key=lambda path: path.stat().st_mtime_ns, reverse=True)
    for path in versions[KEPT_VERSIONS - 1 :]:
        shutil.rmtree(path, ignore_errors=True)


def follow(
    registry: Registry, folder: Path, *, check: Callable[[Path], object], seconds: float, stop: threading.Event
) -> None:
    """Look again and again until `stop`; each new reason for failing is logged once."""
    complaint = ""
    while not stop.is_set():
        try:
            if (version := refresh(registry, folder, check=check)) is not None:
                log.info("model %s is in place", version)
            complaint = ""
        except (ConsiderateError, OSError) as error:
            if str(error) != complaint:
                log.error("the model stays as it is: %s", error)
            complaint = str(error)
        stop.wait(seconds)


def stop_on_signals() -> threading.Event:
    """Give an event that SIGTERM and SIGINT set."""
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop
