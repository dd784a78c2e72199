"""The consent report tries every behaviour that was promised, finds no violation, and cannot pass by trying nothing."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from tests.report import fuzz
from tests.report.consent_report import MODULES, attempt, chosen_rows, main
from tests.report.empty_databases import KINDS, chosen_kinds
from tests.report.ledger_rows import names
from tests.report.promised import ATTACKS, BEHAVIOURS, PROMISED
from tests.report.rows import ROWS, Outcome, Row, outcome
from tests.report.shop import Shop

ROOT = Path(__file__).parents[2]
NOBODYS_SHOP: Any = None


def test_every_promise_and_every_attack_has_a_row_and_every_row_is_one() -> None:
    numbers = [row.number for row in ROWS]
    assert sorted(set(numbers)) == sorted(numbers)
    assert {*numbers} == PROMISED
    assert {*BEHAVIOURS, *ATTACKS.values()} <= {*numbers}
    assert all(module.__name__ in {row.attempt.__module__ for row in ROWS} for module in MODULES)


def test_what_the_quick_form_leaves_out_on_both_databases_is_said_here() -> None:
    left_out = {row.number for row in ROWS if not any(row.takes_part(kind, quick=True) for kind in KINDS)}
    assert left_out == {"25 apart", "36 time", "kill", "restore"}
    assert all(row.takes_part(kind, quick=False) for row in ROWS for kind in KINDS)


@pytest.mark.parametrize("only", [["99"], ["1", "01"], ["attack"]])
def test_a_row_that_does_not_exist_is_refused(only: list[str]) -> None:
    with pytest.raises(typer.BadParameter, match=rf"--row {only[-1]}: no such row; there are 1, 10, 11"):
        chosen_rows(only)


def test_a_database_that_does_not_exist_is_refused_by_the_report_and_by_the_fuzzer() -> None:
    for run in (main, fuzz.main):
        with pytest.raises(typer.BadParameter, match="--database postgres: must be one of sqlite, postgresql"):
            run(quick=True, kinds=["postgres"])
    assert chosen_kinds(["postgresql"]) == ["postgresql"]
    assert chosen_kinds(None) == [*KINDS]


def fails(shop: Shop, quick: bool) -> Outcome:
    raise RuntimeError("the service is gone")


@pytest.mark.parametrize(
    ("tried", "found"),
    [
        (lambda shop, quick: Outcome(0, 0), Outcome(1, 1, "nothing was tried")),
        (lambda shop, quick: outcome([]), Outcome(1, 1, "nothing was tried")),
        (fails, Outcome(1, 1, "RuntimeError: the service is gone")),
        (
            lambda shop, quick: outcome([True, False, False]),
            Outcome(3, 2, "did not hold: number 1, 2 of 3"),
        ),
        (lambda shop, quick: outcome([True], "a note"), Outcome(1, 0, "a note")),
    ],
)
def test_a_row_that_tried_nothing_or_broke_off_is_a_violation(tried: Any, found: Outcome) -> None:
    assert attempt(Row("1", "a promise", tried), NOBODYS_SHOP, True) == found


@pytest.mark.slow
def test_the_quick_report_finds_no_violation_on_either_database() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.report.consent_report", "--quick"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["ok"]
    assert {line["name"] for line in found["rows"]} == {
        f"row_{row.number.replace(' ', '_')}/{kind}"
        for row in ROWS
        for kind in KINDS
        if row.takes_part(kind, quick=True)
    }
    assert [line["name"] for line in found["rows"] if line["value"] or not line["baseline"]] == []


@pytest.mark.parametrize(
    ("problem", "right"),
    [
        ("ledger position 5: not what was once appended", True),
        ("ledger position 8: missing; the ledger ends at 7 but once went on", True),
        ("ledger position 4: not what was once appended", False),
        ("ledger position 9: not what was once appended", False),
        ("ledger positions 5 to 8: rewritten throughout", True),
        ("ledger positions 9 to 12: rewritten throughout", False),
        ("ledger positions 5 to 12: rewritten throughout", False),
    ],
)
def test_a_rewritten_chain_must_be_named_no_later_than_the_first_checkpoint_after_the_change(
    problem: str, *, right: bool
) -> None:
    assert names(problem, 5, [4, 8, 12], exactly=False) is right
    assert names("ledger position 13: missing", 13, [4, 8, 12], exactly=False)
    assert names(problem, 5, [4, 8, 12], exactly=True) is problem.startswith("ledger position 5:")
