"""The model that a worker answers from: read from the folder the pointer names, warmed up, then swapped in.

The refresher writes `models/<version>/` and replaces the pointer in one step; each worker sees that, maps the arrays
(workers share the pages) and swaps. A model that is damaged, of another schema, or fitted on assumed consent is refused
and the one before stays. None is served beyond the age that the pointer allows: what was withdrawn since its fit must
fade.
"""

import json
import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

import numpy as np

from considerate.errors import ArtefactError
from considerate.ranking.history import Channel, History, Kind
from considerate.ranking.scores import Artefact, Goal
from considerate.serving.problems import place_of
from considerate.store.files import drafted

log = logging.getLogger(__name__)

POINTER = "current.json"
Outcome = Literal["unchanged", "swapped", "refused"]
Load = Callable[[Path], Artefact]


@dataclass(frozen=True, slots=True)
class Served:
    """A model in use.

    Attributes
    ----------
    version
        How answers and metrics call it.
    artefact
        The model.
    index
        Item id -> item index.
    until
        Seconds since 1970-01-01 UTC from which on it is too old to be served, None for never.
    """

    version: str
    artefact: Artefact
    index: Mapping[str, int]
    until: float | None = None


class Models(Protocol):
    """Where a request finds the model."""

    def current(self) -> Served | None:
        """Give the model in use, None where there is none."""


class OneModel:
    """A model that never changes, for tests and tools."""

    def __init__(self, served: Served | None) -> None:
        self._served = served

    def current(self) -> Served | None:
        """Give it."""
        return self._served


class WatchedModels:
    """Follows the pointer in a folder.

    Parameters
    ----------
    folder
        Holds the pointer and one folder per version.
    load
        Reads an artefact folder and checks its hashes; raises ArtefactError.
    now
        The clock, for the warm-up.
    """

    def __init__(self, folder: Path, *, load: Load, now: Callable[[], datetime]) -> None:
        self._folder, self._load, self._now = folder, load, now
        self._seen: tuple[int, int] | None = None
        self._current: Served | None = None
        self._expired = ""

    def current(self) -> Served | None:
        """Give the model in use; None before the first one, and once it is too old."""
        served = self._current
        if served is None or served.until is None or self._now().timestamp() < served.until:
            return served
        if served.version != self._expired:
            self._expired = served.version
            log.error("model %s is too old and no longer served: fit and promote a new one", served.version)
        return None

    def look(self) -> Outcome:
        """Take the model that the pointer names, if that changed since the last look; may take seconds."""
        stamp = _stamp(self._folder / POINTER)
        if stamp is None or stamp == self._seen:
            return "unchanged"
        self._seen = stamp
        kept = "none" if self._current is None else self._current.version
        try:
            pointer = read_pointer(self._folder)
            version, folder = pointer.version, self._folder / pointer.version
            artefact = self._load(folder)
            if artefact.manifest.consent.source == "assumed":
                raise ArtefactError(f"{folder}: fitted on assumed consent, which is never served; fit it on the ledger")
            warm_up(artefact, at=self._now())
        except ArtefactError as error:
            log.error("model refused, kept %s: %s", kept, error)
            return "refused"
        except Exception as error:  # its files are intact and yet it fails at its first score: a worker must not
            log.error("model refused, kept %s: %s", kept, place_of(error))
            return "refused"
        index = {item: row for row, item in enumerate(artefact.item_ids)}
        self._current = Served(version, artefact, index, pointer.until)
        log.info("model %s in use, %d items", version, len(artefact.item_ids))
        return "swapped"


def warm_up(artefact: Artefact, *, at: datetime) -> None:
    """Score once for every goal, so that the first customer does not wait for pages and compiled kernels."""
    n_events = min(3, len(artefact.item_ids))
    history = History(
        item=np.arange(n_events, dtype=np.int32),
        kind=np.full(n_events, Kind.PURCHASE, np.int8),
        value=np.full(n_events, np.nan, np.float32),
        time=np.full(n_events, at.timestamp() - 86_400.0),
        position=np.full(n_events, -1, np.int64),
        channel=np.full(n_events, Channel.ONLINE, np.int8),
        order_line=("",) * n_events,
    )
    goals: tuple[Goal, ...] = artefact.manifest.goals
    for goal in goals:
        artefact.score(history, at=at, goal=goal)
        if n_events:
            artefact.explain(history, 0, at=at, goal=goal)


@dataclass(frozen=True, slots=True)
class Pointer:
    """What the pointer file says.

    Attributes
    ----------
    version
        Name of the model and of its folder.
    run
        The run that made it: a registry that was set up anew counts its versions from 1 again.
    until
        Seconds since 1970-01-01 UTC from which on it is too old to be served, None for never.
    """

    version: str
    run: str
    until: float | None = None


def read_pointer(folder: Path) -> Pointer:
    """Read the pointer in `folder`.

    Raises
    ------
    ArtefactError
        It is missing, not what the refresher writes, or names a folder elsewhere.
    """
    path = folder / POINTER
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        until = values.get("until")
        pointer = Pointer(values["version"], values["run"], None if until is None else float(until))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ArtefactError(f"{path}: not a pointer to a model; remove it, the refresher writes it again") from error
    version = pointer.version
    if not isinstance(version, str) or version in ("", ".", "..") or Path(version).name != version:
        raise ArtefactError(f"{path}: version = {version!r} must name a folder beside it; remove the pointer")
    return pointer


def write_pointer(folder: Path, pointer: Pointer) -> None:
    """Replace the pointer in `folder`, in one step that no reader sees half-done."""
    path = folder / POINTER
    with drafted(path, f"{json.dumps(asdict(pointer))}\n".encode(), private=False) as draft:
        os.replace(draft, path)


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_ino, stat.st_mtime_ns
