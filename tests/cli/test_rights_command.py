"""`considerate rights`, as an operator runs it: it names nobody, and says what it did."""

import os
import re
import sqlite3
import subprocess
import sys
import zipfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from considerate.consent.decision import Policy
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.privacy.record import record_of_processing
from considerate.privacy.requests import open_request
from considerate.privacy.tombstones import FILE
from considerate.ranking.history import Kind
from considerate.store.engine import open_store, writing
from considerate.store.interactions import NewEvent, append_events
from considerate.store.keys import load_keys
from considerate.store.subjects import ensure_subjects

CANARY = "canary-7@shop.example"
ROOT = Path(__file__).parents[2]


def run(home: Path, *arguments: str, said: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "considerate.cli.main", "rights", *arguments],
        env={**os.environ, "CONSIDERATE_HOME": str(home)},
        cwd=home,
        input=said,
        capture_output=True,
        text=True,
        check=False,
    )
    assert CANARY not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """An installation that knows one customer, who asked for a copy."""
    at = datetime.now(UTC)
    engine = open_store(f"sqlite:///{tmp_path / 'considerate.db'}", create=True)
    keys = load_keys(tmp_path / "keys", create=True)
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, [CANARY], age_bands={CANARY: "adult"}, at=at)[CANARY]
        grant(conn, keys, ref, Purpose.TRAIN_MODELS, notice=current_notice(), at=at, policy=Policy())
        append_events(conn, ref, [NewEvent("e1", f"gift for {CANARY}", Kind.PURCHASE, at)], at=at)
        open_request(conn, ref, "access", at=at)
    engine.dispose()
    return tmp_path


def test_requests_are_listed_done_and_listed_no_longer(home: Path) -> None:
    listed = run(home, "list")
    assert listed.returncode == 0, listed.stderr
    assert "access   pending" in listed.stdout
    assert "1 requests open; 0 erasures wait for the next fit" in listed.stdout
    done = run(home, "run")
    assert "0 erasures ended, 1 copies written, 0 old copies removed" in done.stdout
    assert "0 requests open" in run(home, "list").stdout
    assert "access   completed" in run(home, "list", "--all").stdout


def test_a_copy_is_written_for_the_shop_to_hand_out(home: Path) -> None:
    done = run(home, "export", said=f"{CANARY}\n")
    assert done.returncode == 0, done.stderr
    path = Path(done.stdout.strip())
    assert path.stat().st_mode & 0o777 == 0o600
    with zipfile.ZipFile(path) as archive:
        assert CANARY.encode() in archive.read("subject.json")
    # It answers the request that was open, as an erasure removes the copies of requests.
    assert "access   completed" in run(home, "list", "--all").stdout
    assert run(home, "erase", said=f"{CANARY}\n").returncode == 0
    assert list((home / "exports").iterdir()) == []
    two = run(home, "export", said="nobody\nsomebody\n")
    assert (two.returncode, two.stdout) == (2, "")
    assert "2 lines where one customer id is expected: one at a time; nothing was done" in two.stderr
    unknown = run(home, "export", said="nobody\n")
    assert unknown.returncode == 2
    assert "nobody of this customer id is known here; check the id" in unknown.stderr


def test_an_erasure_is_done_and_leaves_no_byte(home: Path) -> None:
    done = run(home, "erase", said=f"{CANARY}\n")
    assert done.returncode == 0, done.stderr
    assert "1 erasures ended" in done.stdout
    assert "fit the models anew by " in done.stdout
    assert done.stdout.endswith("UTC: pipelines/train.py ... --promote\n")
    assert (home / FILE).exists()
    assert [path.name for path in home.rglob("*") if path.is_file() and CANARY.encode() in path.read_bytes()] == []
    assert re.search(r"; 1 erasures wait for the next fit, due by \S+ \S+ UTC\n", run(home, "list").stdout)
    with closing(sqlite3.connect(home / "considerate.db")) as store, store:
        store.execute("UPDATE tombstone SET erased_at = erased_at - 25 * 3600 * 1000000")
    assert run(home, "list").stdout.endswith(" UTC (overdue)\n")
    again = run(home, "erase", "--customer", "canary-7")
    assert (again.returncode, again.stdout) == (0, "nobody of this customer id is known here: nothing to erase\n")
    assert "nobody who was erased is in this database" in run(home, "replay").stdout


def test_a_customer_must_be_named(home: Path) -> None:
    done = run(home, "erase")
    assert done.returncode == 2
    assert "no customer id: write it to standard input, or give --customer" in done.stderr


def test_retention_says_what_went(home: Path) -> None:
    done = run(home, "retention")
    assert done.returncode == 0, done.stderr
    assert "deleted: 0 events, 0 decisions, 0 requests, 0 kept answers, 0 quarantined files" in done.stdout
    missing = run(home, "retention", "--config", "elsewhere.toml")
    assert missing.returncode == 2
    assert "elsewhere.toml" in missing.stderr


def test_what_cannot_be_done_now_is_named(home: Path) -> None:
    (home / "exports").write_text("in the way")
    done = run(home, "run")
    assert done.returncode == 2
    assert "cannot be written" in done.stderr
    assert "run again: considerate rights run" in done.stderr


def test_the_record_of_processing_needs_no_store_and_follows_the_settings(tmp_path: Path) -> None:
    done = run(tmp_path, "record")
    assert (done.returncode, done.stdout) == (0, record_of_processing())
    toml = (ROOT / "configs" / "service.toml").read_text(encoding="utf-8")
    (tmp_path / "mine.toml").write_text(toml.replace("decisions_days = 90", "decisions_days = 30"), encoding="utf-8")
    assert run(tmp_path, "record", "--config", "mine.toml").stdout == done.stdout.replace("| 90 days; ", "| 30 days; ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.toml"]
