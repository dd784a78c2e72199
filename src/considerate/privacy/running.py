"""Working off what customers asked for: behind the service, `considerate rights run`, and after every crash."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from sqlalchemy import Engine

from considerate.errors import ConsiderateError
from considerate.privacy.erasure import begin_erasure, finish_erasure, sweep, unfinished
from considerate.privacy.export import export_person
from considerate.privacy.exports import (
    export_path,
    fetched_until,
    remove_export,
    remove_old_exports,
    remove_stray_exports,
    write_export,
)
from considerate.privacy.installation import Installation, installation_of
from considerate.privacy.requests import (
    PrivacyRequest,
    complete_request,
    find_request,
    open_request,
    read_requests,
    start_request,
)
from considerate.privacy.scrubbing import scrub_if_due
from considerate.privacy.tombstones import keep_outside, read_tombstones, rebuild_due, set_tombstone, unapplied
from considerate.settings.service import ServiceConfig
from considerate.store.engine import open_store, reading
from considerate.store.keys import load_keys
from considerate.store.subjects import find_subject, subject_by_ref

log = logging.getLogger(__name__)

LATE = timedelta(hours=1)
"""For so long after an erasure, rows that were under way when it came are looked for."""
SWEEP_EVERY = 10
"""Looks of the service between two sweeps."""


@dataclass(slots=True)
class Done:
    """What one run did; counts only.

    Attributes
    ----------
    erased, exported, expired
        Erasures ended, exports written, exports removed because their day was over or nobody may have them.
    failures
        Why something could not be done; the next run tries it again.
    """

    erased: int = 0
    exported: int = 0
    expired: int = 0
    failures: list[str] = field(default_factory=list)

    @contextmanager
    def noting_failure(self) -> Iterator[None]:
        """Let what fails not stop the rest."""
        try:
            yield
        except ConsiderateError as error:
            self.failures.append(str(error))
        except (ArithmeticError, TypeError, ValueError) as error:
            # Without its text, which may hold a value.
            self.failures.append(
                f"{type(error).__name__}: the database holds a value that was never written there; see: considerate "
                "ledger verify, and restore a backup"
            )


def run_requests(engine: Engine, place: Installation, *, at: datetime, sweeping: bool = True) -> Done:
    """Do everything that is due: end erasures, write exports, remove old ones, make the disk forget.

    Parameters
    ----------
    engine
        The store, writable.
    place
        The installation that it belongs to.
    at
        Now.
    sweeping
        Look for rows that came late for people erased within the hour, too.

    Raises
    ------
    StoreError
        The store cannot be read. What fails later is among the failures.
    """
    done, home = Done(), place.home
    with reading(engine) as conn:
        stones, erasing = read_tombstones(conn), unfinished(conn)
        asked = read_requests(conn, kind="access", open_only=True)
    durable = False
    with done.noting_failure():
        # After a crash between the database and the file, or on a second host, whose own file does not know it yet.
        keep_outside(home, stones)
        durable = True
    # Asked again, the erasure of somebody purged is done: nobody is purged whom an older backup would bring back.
    for ref in erasing if durable else ():
        with done.noting_failure():
            finish_erasure(place, ref, at=at)
            done.erased += 1
    if sweeping and any(stone.erased_at >= at - LATE for stone in stones):
        with done.noting_failure():
            sweep(place, since=at - LATE)
    for request in asked:
        if request.subject_ref in erasing:
            continue
        with done.noting_failure():
            done.exported += write_asked(place, request, at=at)
    with done.noting_failure():
        done.expired = remove_old_exports(home, at=at)
    with done.noting_failure():
        done.expired += remove_stray_exports(engine, home)
    with done.noting_failure():
        scrub_if_due(engine, home)
    return done


def write_asked(place: Installation, request: PrivacyRequest, *, at: datetime) -> bool:
    """Write the export that somebody asked for; False where she took it back, fetched it, or was erased, meanwhile.

    Raises
    ------
    StoreError
        It cannot be read or written. The request stays open.
    """
    with place.transaction() as conn:
        if not start_request(conn, request.request_id) and request.status == "pending":
            return False
    content = export_person(place, request.subject_ref, at=at)
    if content is None:
        return False
    write_export(place.home, request.request_id, content)
    with place.transaction() as conn:
        if complete_request(conn, request.request_id, at=at, steps={"written_at": at.isoformat()}):
            return True
        found = find_request(conn, request.request_id)
    if found is not None and fetched_until(found) is not None:
        # Another process took this one for crashed and was first: what lies there is the copy that it announced.
        return True
    # Erased while her data was read, or fetched already: nobody may fetch it.
    remove_export(place.home, request.request_id)
    return False


def copy_for(place: Installation, customer_id: str, *, at: datetime) -> Path | None:
    """Write the copy of a customer's data that the shop hands out itself, as a request of hers like any other.

    An erasure finds the copies of requests, so there are no others.

    Returns
    -------
        Where it lies; None for somebody who is not known, or no longer.

    Raises
    ------
    StoreError
        It cannot be read or written.
    """
    with place.transaction() as conn:
        known = find_subject(conn, place.keys.lookup(customer_id))
        if known is None:
            return None
        asked = open_request(conn, known.subject_ref, "access", at=at)
        # At once, so that a service beside this command does not begin with it too.
        start_request(conn, asked.request_id)
    written = write_asked(place, replace(asked, status="in_progress"), at=at)
    return export_path(place.home, asked.request_id) if written else None


def replay_tombstones(engine: Engine, place: Installation, *, at: datetime) -> tuple[int, Done]:
    """Erase once more those whom an older backup brought back; give how many, and what else was done.

    Raises
    ------
    StoreError
        The database or a file cannot be read or written; what was done stays done, call it again.
    """
    with reading(engine) as conn:
        back = unapplied(conn, place.home)
    for stone in back:
        with place.transaction() as conn:
            known = subject_by_ref(conn, stone.subject_ref)
            if known is not None and known.state == "active":
                begin_erasure(conn, place.keys, stone.subject_ref, at=at)
            else:
                set_tombstone(conn, stone)
    return len(back), run_requests(engine, place, at=at)


def keep_running(
    url: str,
    home: Path,
    config: ServiceConfig,
    *,
    now: Callable[[], datetime],
    seconds: float,
    stop: threading.Event,
) -> None:
    """Work off requests again and again until `stop`; each new reason for failing is logged once.

    Parameters
    ----------
    url
        SQLAlchemy URL of the store.
    home
        Folder of everything written at run time.
    config
        The service TOML.
    now
        Gives the time.
    seconds
        Pause between two looks.
    """
    complaints: list[str] = []
    look, overdue = 0, False
    while not stop.is_set():
        try:
            engine = open_store(url, create=False)
            try:
                place = installation_of(engine, load_keys(home / "keys", create=False), home, config)
                at = now()
                done = run_requests(engine, place, at=at, sweeping=look % SWEEP_EVERY == 0)
                if done.erased or done.exported:
                    log.info("%d erasures ended, %d exports written", done.erased, done.exported)
                with reading(engine) as conn:
                    rebuild = rebuild_due(conn)
            finally:
                engine.dispose()
            failures, was_overdue = done.failures, overdue
            if (overdue := rebuild.by is not None and rebuild.by < at) and not was_overdue:
                log.warning("%s: overdue; fit and promote a model: pipelines/train.py ... --promote", rebuild)
        except (ConsiderateError, OSError) as error:
            failures = [str(error)]
        for failure in failures:
            if failure not in complaints:
                log.error("a request waits: %s", failure)
        complaints, look = failures, look + 1
        stop.wait(seconds)
