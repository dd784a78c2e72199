"""The Makefile: its help is complete, and its environment is made as it says."""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "Makefile").read_text(encoding="utf-8")
TARGETS = re.findall(r"^([a-z][a-z-]*):", TEXT, flags=re.MULTILINE)


def make(*arguments: str) -> str:
    done = subprocess.run(["make", "-C", ROOT, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_help_lists_every_target_and_needs_no_environment() -> None:
    listed = re.findall(r"^  ([a-z-]+) +\S", make("VENV=/nonexistent", "help"), flags=re.MULTILINE)
    assert listed == TARGETS


def test_plain_make_is_help() -> None:
    assert "list the targets" in make("--no-print-directory")


def test_every_target_is_phony() -> None:
    (phony,) = re.findall(r"^\.PHONY: (.+)$", TEXT.replace("\\\n", " "), flags=re.MULTILINE)
    assert sorted(phony.split()) == sorted(TARGETS)


def test_every_target_that_runs_our_code_brings_the_environment_up_to_date_first() -> None:
    recipes = re.findall(r"^([a-z-]+):( env)?.*\n((?:\t.*\n)+)", TEXT, flags=re.MULTILINE)
    assert [target for target, env, recipe in recipes if "$(BIN)" in recipe and not env] == []


def test_arguments_are_passed_on() -> None:
    planned = make("--dry-run", "-o", "env", "demo", "serve", "test", "bench-load", "ARGS=--once")
    assert len([line for line in planned.splitlines() if line.endswith("--once")]) == 4
