"""`considerate consent import` and `considerate db upgrade`, as an operator runs them."""

import os
import subprocess
import sys
from pathlib import Path

from considerate.consent.notices import NOTICE

HEADER = "customer_id,purpose,state,event_time,notice_id,notice_version,locale,age_band,form\n"
YES = f"canary-7,train_models,given,2026-03-01T09:30:00Z,{NOTICE.notice_id},1,en,adult,form 17\n"


def run(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "considerate.cli.main", *arguments],
        env={**os.environ, "CONSIDERATE_HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_an_import_prints_what_became_of_every_row_and_no_id(tmp_path: Path) -> None:
    file = tmp_path / "consents.csv"
    file.write_text(HEADER + YES + YES.replace("form 17", ""), encoding="utf-8")
    made = run(tmp_path / "home", "db", "upgrade")
    assert made.returncode == 0, made.stderr
    assert "schema 0002, master key" in made.stdout
    done = run(tmp_path / "home", "consent", "import", str(file))
    assert done.returncode == 0, done.stderr
    for line in ("2 consent records", "recorded: given", "left out: no_evidence", "ledger: 1 events, head "):
        assert line in done.stdout
    assert "canary-7" not in done.stdout + done.stderr


def test_an_import_of_which_nothing_is_recorded_exits_with_2_and_shows_the_reasons(tmp_path: Path) -> None:
    file = tmp_path / "consents.csv"
    file.write_text(HEADER + YES.replace("adult", "35-44"), encoding="utf-8")
    done = run(tmp_path / "home", "consent", "import", str(file))
    assert done.returncode == 2
    assert "left out: unknown_age_band" in done.stdout
    assert "all 1 records are left out, each for the reason above; correct them and import again" in done.stderr


def test_an_import_that_fails_says_so_in_one_message_and_exits_with_2(tmp_path: Path) -> None:
    file = tmp_path / "consents.csv"
    file.write_text(HEADER + YES.replace("given", "revoked"), encoding="utf-8")
    done = run(tmp_path / "home", "consent", "import", str(file))
    assert done.returncode == 2
    assert "cannot be understood (unknown_state 1)" in done.stderr
    assert "Traceback" not in done.stderr
    assert "canary-7" not in done.stdout + done.stderr


def test_a_yes_from_before_a_loss_of_the_ledger_is_older(tmp_path: Path) -> None:
    file, home = tmp_path / "consents.csv", tmp_path / "home"
    file.write_text(HEADER + YES, encoding="utf-8")
    (home / "checkpoints" / "set-aside" / "20260301T093000Z").mkdir(parents=True)
    done = run(home, "consent", "import", str(file))
    assert done.returncode == 0, done.stderr
    assert "recorded" not in done.stdout
    assert "ledger: 0 events" in done.stdout


def test_a_service_toml_that_was_named_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "consents.csv"
    file.write_text(HEADER + YES, encoding="utf-8")
    done = run(tmp_path / "home", "consent", "import", str(file), "--config", str(tmp_path / "none.toml"))
    assert done.returncode == 2
    assert "none.toml" in done.stderr
    assert "Traceback" not in done.stderr


def test_under_notices_older_than_those_of_the_store_nothing_is_imported(tmp_path: Path) -> None:
    home, file = tmp_path / "home", tmp_path / "consents.csv"
    file.write_text(HEADER + YES, encoding="utf-8")
    notices = home / "notices" / NOTICE.notice_id
    notices.mkdir(parents=True)
    (notices / "2.toml").write_text('valid_from = 2026-02-01T00:00:00Z\nmaterial = "all"\n', encoding="utf-8")
    (notices / "2.en.txt").write_text("What we do now.\n", encoding="utf-8")
    assert run(home, "consent", "import", str(file)).returncode == 0
    (home / "notices").rename(tmp_path / "lost")
    done = run(home, "consent", "import", str(file))
    assert done.returncode == 2
    assert "the store knows version 2, the folder `notices` ends at 1; copy that folder" in " ".join(
        done.stderr.split()
    )
