"""The decision log: an answer that used personal data leaves only once the log has taken it.

The request hands a row over in memory and goes on; a thread writes what has gathered, at least every quarter of a
second. The queue is bounded: what a crash may lose is at most what it holds, and where it is full no more personal
data is used until it has room again.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, Engine, make_url

from considerate.errors import StoreError
from considerate.serving.decision_tally import Tally, lost_by_the_dead
from considerate.serving.problems import place_of
from considerate.store.decisions import (
    ServedDecision,
    decisions_of,
    find_decision,
    has_decision,
    insert_decisions,
    open_decisions,
)
from considerate.store.engine import reading, recording

log = logging.getLogger(__name__)

BATCH = 500
"""Rows of one transaction: few enough that no other worker waits long for its turn."""
CLOSE_SECONDS = 5.0


class DecisionLog(Protocol):
    """Where a served decision is written down."""

    def ready(self) -> bool:
        """Say whether it would take a decision now: asked before personal data is touched."""

    def take(self, decision: ServedDecision) -> bool:
        """Take a decision, at once or not at all; True means that it will be written."""

    def find(self, subject_ref: bytes, decision_id: UUID, *, since: datetime) -> ServedDecision | None:
        """Find one of a person's own decisions, from `since` on; StoreError where it cannot be read."""

    def of(self, subject_ref: bytes, *, limit: int, before: UUID | None, since: datetime) -> list[ServedDecision]:
        """Give a person's own decisions from `since` on, newest first; StoreError where they cannot be read."""


class NoDecisionLog:
    """A log that takes nothing: whatever is asked, no list is personalised."""

    def ready(self) -> bool:
        """Say no."""
        return False

    def take(self, decision: ServedDecision) -> bool:
        """Refuse it."""
        return False

    def find(self, subject_ref: bytes, decision_id: UUID, *, since: datetime) -> ServedDecision | None:
        """Find none."""
        return None

    def of(self, subject_ref: bytes, *, limit: int, before: UUID | None, since: datetime) -> list[ServedDecision]:
        """Give none."""
        return []


class QueuedDecisions:
    """The log of one worker.

    Parameters
    ----------
    url
        From `store.decisions.decisions_url`.
    tallies
        Folder in which the workers count what they took and wrote.
    capacity
        Rows that may wait to be written: what a crash may lose at most.
    flush_seconds
        Longest pause between two writes.
    on_written, on_refused, on_lost
        Called with a number of rows, for the metrics. Lost is what other workers, killed before, had taken.
    """

    def __init__(
        self,
        url: str,
        tallies: Path,
        *,
        capacity: int,
        flush_seconds: float,
        on_written: Callable[[int], object] = lambda _: None,
        on_refused: Callable[[int], object] = lambda _: None,
        on_lost: Callable[[int], object] = lambda _: None,
    ) -> None:
        self._url, self._tallies = url, tallies
        self._capacity, self._flush_seconds = capacity, flush_seconds
        self._on_written, self._on_refused, self._on_lost = on_written, on_refused, on_lost
        self._waiting: list[tuple[Any, ...]] = []
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None
        self._tally: Tally | None = None
        self._failing = False
        self._writer = _Opened(url, busy_timeout_ms=2000, limit_ms=2000)
        self._reader = _Opened(url, busy_timeout_ms=100, limit_ms=500)

    def start(self) -> None:
        """Start the thread that writes, unless it runs; where that fails nothing is taken."""
        with self._lock:
            if self._thread is not None or self._closing:
                return
            try:
                self._tally = Tally(self._tallies)
            except OSError as error:
                log.error("%s: no decision can be counted there: %s; nothing is logged", self._tallies, error.strerror)
                return
            thread = threading.Thread(target=self._run, name="decision log", daemon=True)
            thread.start()
            self._thread = thread  # once it runs: others look at it without the lock

    def ready(self) -> bool:
        """Say whether there is room, and somebody to write."""
        if self._thread is None:
            self.start()
        alive = self._thread is not None and self._thread.is_alive() and not self._closing
        return alive and len(self._waiting) < self._capacity

    def take(self, decision: ServedDecision) -> bool:
        """Take a decision if there is room."""
        if self.ready():
            row = decision.row()
            with self._lock:
                if self._tally is not None and not self._closing and len(self._waiting) < self._capacity:
                    self._tally.take()
                    self._waiting.append(row)
                    if 2 * len(self._waiting) >= self._capacity:
                        self._wake.set()
                    return True
        self._on_refused(1)
        return False

    def find(self, subject_ref: bytes, decision_id: UUID, *, since: datetime) -> ServedDecision | None:
        """Find one of a person's own decisions, from `since` on."""
        with self._reader.connection() as conn:
            return find_decision(conn, subject_ref, decision_id, since=since)

    def of(self, subject_ref: bytes, *, limit: int, before: UUID | None, since: datetime) -> list[ServedDecision]:
        """Give a person's own decisions from `since` on, newest first."""
        with self._reader.connection() as conn:
            return decisions_of(conn, subject_ref, limit=limit, before=before, since=since)

    def close(self) -> None:
        """Take nothing more, write what is waiting, and stop; what cannot be written by then counts as lost."""
        with self._lock:
            self._closing = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)
        if self._tally is not None:
            if self._waiting:
                log.error("%d decisions could not be written; the next start counts them as lost", len(self._waiting))
            self._tally.close(forget=not self._waiting)
            self._tally = None
        self._reader.close()

    def _run(self) -> None:
        counted = False
        while True:
            self._wake.wait(self._flush_seconds)
            self._wake.clear()
            last = self._closing
            try:
                self._flush()
                counted = counted or self._count_lost()
                self._failing = False
            except Exception as error:  # the thread must outlive whatever one write meets
                if not self._failing:
                    why = str(error) if isinstance(error, StoreError) else place_of(error)
                    log.error("decisions cannot be written, %d wait: %s", len(self._waiting), why)
                self._failing = True
            if last:
                self._writer.close()
                return

    def _count_lost(self) -> bool:
        with self._writer.connection() as conn:
            # Each at once: its file is gone, and with it whatever a later one makes fail.
            for lost in lost_by_the_dead(self._tallies, lambda decision_id: has_decision(conn, decision_id)):
                if lost:
                    log.warning("a worker that was killed had taken %d decisions and not yet written them", lost)
                    self._on_lost(lost)
        return True

    def _flush(self) -> None:
        tally = self._tally
        while self._waiting and tally is not None:
            batch = self._waiting[:BATCH]
            with self._writer.transaction() as conn:
                insert_decisions(conn, batch)
                # Last before the commit: if this process dies now, the first row tells whether it came through.
                tally.begin(batch[0][0], len(batch))
            tally.wrote(len(batch))
            with self._lock:
                del self._waiting[: len(batch)]
            self._on_written(len(batch))


class _Opened:
    """The decisions' database, opened at its first use, and anew where its file was replaced."""

    def __init__(self, url: str, *, busy_timeout_ms: int, limit_ms: int) -> None:
        self._url, self._busy_timeout_ms, self._limit_ms = url, busy_timeout_ms, limit_ms
        address = make_url(url)
        self._file = Path(str(address.database)) if address.get_backend_name() == "sqlite" else None
        self._engine: Engine | None = None
        self._identity: tuple[int, int] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        with reading(self._current()) as conn:
            yield conn

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with recording(self._current()) as conn:
            yield conn

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
            self._engine = None

    def _current(self) -> Engine:
        with self._lock:
            if self._engine is not None and self._file is not None and self._identity != _identity(self._file):
                self._engine.dispose()
                self._engine = None
            if self._engine is None:
                self._engine = open_decisions(self._url, busy_timeout_ms=self._busy_timeout_ms, limit_ms=self._limit_ms)
                self._identity = None if self._file is None else _identity(self._file)
            return self._engine


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        stat = path.stat()
    except OSError:
        return None
    return stat.st_dev, stat.st_ino
