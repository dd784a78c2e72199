"""The marker `data(name)`: skipped with a message where the set is not at hand, a failure in CI."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEST = """
import pytest

@pytest.mark.data("ml_1m")
def test_that_needs_it():
    assert True
"""


def run(folder: Path, **variables: str) -> str:
    """Run one test that needs MovieLens 1M, in a tree without a data folder."""
    (folder / "tests").mkdir()
    for name in ("configs", "pyproject.toml"):
        (folder / name).symlink_to(ROOT / name)
    for name in ("conftest.py", "databases.py"):
        (folder / "tests" / name).write_text((ROOT / "tests" / name).read_text(encoding="utf-8"))
    (folder / "tests" / "test_one.py").write_text(TEST, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if name not in ("CI", "CONSIDERATE_DATA")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "tests"],
        cwd=folder,
        # Without plugins, which take longer to import than this to run.
        env={**kept, **variables, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout


def test_a_missing_set_skips_and_says_where_it_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    output = run(tmp_path, CONSIDERATE_DATA=str(tmp_path / "empty"))
    assert "1 skipped" in output
    assert "CONSIDERATE_DATA" in output


def test_a_missing_set_fails_in_ci(tmp_path: Path) -> None:
    output = run(tmp_path, CI="true")
    assert "1 failed" not in output  # an error at setup, which counts as one all the same
    assert "1 error" in output
    assert "in CI every data set is at hand" in output


@pytest.mark.data("ml_1m")
def test_a_set_that_is_there_is_used(tmp_path: Path) -> None:
    output = run(tmp_path, CI="true", CONSIDERATE_DATA=os.environ.get("CONSIDERATE_DATA", str(ROOT / "data")))
    assert "1 passed" in output
