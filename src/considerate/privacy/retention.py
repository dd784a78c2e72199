"""What is kept for how long: rows past their time are not used any more, and deleted when this runs."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from considerate.errors import StoreError
from considerate.privacy.installation import Installation
from considerate.privacy.requests import delete_answered
from considerate.privacy.rolled_back import check_not_rolled_back, read_what_is_outside
from considerate.privacy.scrubbing import call_for_scrub
from considerate.settings.service import RetentionConfig
from considerate.store.answers import purge_answers
from considerate.store.decisions import delete_decisions_before
from considerate.store.interactions import delete_interactions_before
from considerate.store.wishes import restricted_subjects

QUARANTINE = "quarantine"


@dataclass(frozen=True, slots=True)
class Retired:
    """How many rows and files were deleted because their time was over."""

    events: int
    decisions: int
    requests: int
    answers: int
    quarantined_files: int


def retire(place: Installation, config: RetentionConfig, *, at: datetime) -> Retired:
    """Delete what is past its time; events and decisions of customers who restrict their use are kept (GDPR 18).

    Parameters
    ----------
    place
        Where it lies.
    config
        How long what is kept, in days.
    at
        Now.

    Raises
    ------
    StoreError
        A database is locked or damaged, or a file cannot be removed. Call it again.
    StoreError, ConsentError
        The database is older than what its customers took back; nothing is deleted.
    """
    outside = read_what_is_outside(place.home)
    with place.transaction() as conn:
        # A restored backup does not know who restricts the use of what would be deleted.
        check_not_rolled_back(conn, outside, place.home / "keys")
        restricted = restricted_subjects(conn)
        events = delete_interactions_before(conn, at - timedelta(days=config.events_days))
        requests = delete_answered(conn, at - timedelta(days=config.requests_days))
        answers = purge_answers(conn, at=at)
        # Before the commit: after a crash nothing would be left to delete, and nobody would call.
        if events or requests or answers:
            call_for_scrub(place.home)
    with place.decisions() as log:
        before = at - timedelta(days=config.decisions_days)
        decisions = delete_decisions_before(log, before, kept_for=restricted)
        if decisions:
            call_for_scrub(place.home)
    files = _old_files(place.home / QUARANTINE, at - timedelta(days=config.quarantine_days))
    return Retired(events, decisions, requests, answers, files)


def _old_files(folder: Path, before: datetime) -> int:
    gone = 0
    try:
        for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
            if path.is_file() and path.stat().st_mtime < before.timestamp():
                path.unlink()
                gone += 1
    except OSError as error:
        raise StoreError(f"{folder}: cannot be tidied: {error.strerror}; check the folder's permissions") from error
    return gone
