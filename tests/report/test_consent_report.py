"""The consent report runs, tries every behaviour on both databases, and finds no violation."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from tests.report.consent_report import MODULES
from tests.report.rows import ROWS

ROOT = Path(__file__).parents[2]
DATABASES = ("sqlite", "postgresql")


def test_every_row_has_a_number_of_its_own() -> None:
    numbers = [row.number for row in ROWS]
    assert sorted(set(numbers)) == sorted(numbers)
    assert all(module.__name__ in {row.attempt.__module__ for row in ROWS} for module in MODULES)


@pytest.mark.slow
def test_the_quick_report_finds_no_violation_on_either_database() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.report.consent_report", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ok"]
    assert {line["name"] for line in found["rows"]} == {
        f"row_{row.number}/{kind}" for row in ROWS for kind in DATABASES
    }
    assert [line["name"] for line in found["rows"] if line["value"]] == []
    # One row alone cannot be tried on a server: the file of the database is moved away in it.
    assert [line["name"] for line in found["rows"] if not line["baseline"]] == ["row_9/postgresql"]
