"""Retention: what is past its time goes, what is not stays."""

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine
from tests.privacy.known_people import ANNA, AT, BEN, rows_of

from considerate.privacy.installation import Installation
from considerate.privacy.retention import QUARANTINE, Retired, retire
from considerate.privacy.scrubbing import DUE
from considerate.settings.service import RetentionConfig
from considerate.store.wishes import exercise

DAY = timedelta(days=1)


def test_the_defaults_are_two_years_for_events_and_a_quarter_for_decisions() -> None:
    config = RetentionConfig()
    assert (config.events_days, config.decisions_days) == (730, 90)


def test_rows_go_when_their_day_is_over(place: Installation, people: dict[str, bytes]) -> None:
    """Each customer bought one thing a day for forty days, and was shown one list on the last."""
    config = RetentionConfig(events_days=60, decisions_days=30)

    def retire_at(at: datetime) -> Retired:
        with time_machine.travel(at, tick=False):
            return retire(place, config, at=datetime.now(UTC))

    # Kept answers live for a day in any case.
    assert retire_at(AT + 20 * DAY) == Retired(0, 0, 0, 2, 0)
    (place.home / DUE).unlink()
    assert retire_at(AT + 21 * DAY) == Retired(0, 0, 0, 0, 0)
    assert not (place.home / DUE).exists()
    assert retire_at(AT + 21 * DAY + timedelta(seconds=1)) == Retired(2, 0, 0, 0, 0)
    assert (place.home / DUE).exists()
    assert retire_at(AT + 30 * DAY).decisions == 0
    assert retire_at(AT + 30 * DAY + timedelta(seconds=1)).decisions == 2
    retire_at(AT + 60 * DAY)
    for ref in people.values():
        left = rows_of(place, ref)
        assert (left["interaction"], left["served_decision"], left["privacy_request"]) == (1, 0, 1)


def test_what_goes_is_scrubbed_whichever_table_it_was_in(place: Installation, people: dict[str, bytes]) -> None:
    answers, decisions = Retired(0, 0, 0, 2, 0), Retired(0, 2, 0, 0, 0)
    for days, gone in ((0, Retired(0, 0, 0, 0, 0)), (2, answers), (91, decisions)):
        with time_machine.travel(AT + days * DAY, tick=False):
            assert retire(place, RetentionConfig(), at=AT + days * DAY) == gone
        assert (place.home / DUE).exists() == (days > 0)
        (place.home / DUE).unlink(missing_ok=True)


def test_what_is_known_of_her_who_restricts_its_use_is_kept(place: Installation, people: dict[str, bytes]) -> None:
    with place.transaction() as conn:
        exercise(conn, people[ANNA], "restriction", at=AT)
    late = AT + 800 * DAY
    gone = retire(place, RetentionConfig(), at=late)
    assert (gone.events, gone.decisions) == (40, 1)
    kept, left = rows_of(place, people[ANNA]), rows_of(place, people[BEN])
    assert (kept["interaction"], kept["served_decision"]) == (40, 1)
    assert (left["interaction"], left["served_decision"]) == (0, 0)
    with place.transaction() as conn:
        exercise(conn, people[ANNA], "restriction", at=None)
    gone = retire(place, RetentionConfig(), at=late)
    assert (gone.events, gone.decisions) == (40, 1)


def test_quarantined_rows_do_not_outlive_their_time(place: Installation) -> None:
    folder = place.home / QUARANTINE / "shop"
    folder.mkdir(parents=True)
    for name, days in (("old", 31), ("new", 29)):
        path = folder / f"{name}.parquet"
        path.write_bytes(b"rows")
        os.utime(path, ((AT - days * DAY).timestamp(),) * 2)
    assert retire(place, RetentionConfig(), at=AT).quarantined_files == 1
    assert [path.name for path in folder.iterdir()] == ["new.parquet"]


def test_a_folder_is_optional(tmp_path: Path, place: Installation) -> None:
    assert retire(place, RetentionConfig(), at=AT) == Retired(0, 0, 0, 0, 0)
