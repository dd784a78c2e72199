"""What a newcomer is told when something is missing, before anything is installed."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "requirements" / "preflight.sh"
TOOLS = ("sh", "mktemp", "rm", "cat", "printf")
WHOLE = "3.11 venv headers"


def machine(folder: Path, *, pythons: dict[str, str], git: bool = True, compiler: int | None = 0) -> Path:
    """Make a folder of programs: the shell's, Pythons that answer the probe, git, and a cc with an exit code."""
    folder.mkdir()
    for tool in TOOLS:
        (folder / tool).symlink_to(shutil.which(tool) or f"/bin/{tool}")
    fakes = {name: f"echo '{answer}'" for name, answer in pythons.items()}
    if git:
        fakes["git"] = "exit 0"
    if compiler is not None:
        fakes["cc"] = f"exit {compiler}"
    for name, body in fakes.items():
        (folder / name).write_text(f"#!/bin/sh\n{body}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def preflight(path: Path | str, **variables: str) -> subprocess.CompletedProcess[str]:
    shell = shutil.which("sh")
    assert shell
    environment = {"PATH": str(path), **variables}
    return subprocess.run([shell, SCRIPT], env=environment, capture_output=True, text=True, check=False)


def test_a_whole_machine_passes_and_its_python_is_named(tmp_path: Path) -> None:
    done = preflight(
        machine(tmp_path / "bin", pythons={"python3": "3.9 venv headers", "python3.12": "3.12 venv headers"})
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "python3.12\n", "")


def test_python3_is_taken_before_a_newer_one(tmp_path: Path) -> None:
    done = preflight(machine(tmp_path / "bin", pythons={"python3": WHOLE, "python3.13": "3.13 venv headers"}))
    assert done.stdout == "python3\n"


def test_a_python_without_its_headers_is_passed_over_for_a_whole_one(tmp_path: Path) -> None:
    done = preflight(machine(tmp_path / "bin", pythons={"python3": "3.13 venv", "python3.11": WHOLE}))
    assert done.stdout == "python3.11\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"git": False}, ["git is missing", "apt-get install git"]),
        ({"compiler": None}, ["C compiler is missing", "apt-get install build-essential"]),
        ({"compiler": 1}, ["cannot compile a program", "apt-get install build-essential"]),
        (
            {"pythons": {"python3": "3.11 headers"}},
            ["3.11 is there, but without venv", "apt-get install python3.11-venv"],
        ),
        (
            {"pythons": {"python3": "3.12 venv"}},
            ["3.12 is there, but without its headers", "apt-get install python3.12-dev"],
        ),
        (
            {"pythons": {"python3": "3.10 venv headers"}},
            ["3.11, 3.12 or 3.13 is missing", "python3 (3.10)", "python3-dev"],
        ),
        ({"pythons": {"python3": "2.7"}}, ["3.11, 3.12 or 3.13 is missing", "python3 (2.7)"]),
        ({"pythons": {}}, ["3.11, 3.12 or 3.13 is missing", "found: none", "make PYTHON="]),
    ],
)
def test_what_is_missing_is_named_with_its_package(tmp_path: Path, change: dict[str, object], says: list[str]) -> None:
    done = preflight(machine(tmp_path / "bin", **{"pythons": {"python3": WHOLE}, **change}))  # type: ignore[arg-type]
    assert done.returncode == 1
    assert done.stdout == ""
    for part in says:
        assert part in done.stderr


def test_everything_missing_is_said_at_once(tmp_path: Path) -> None:
    done = preflight(machine(tmp_path / "bin", pythons={"python3": "3.11"}, git=False, compiler=None))
    assert done.stderr.count("apt-get install") == 4


def test_a_named_python_is_the_only_one_tried(tmp_path: Path) -> None:
    path = machine(tmp_path / "bin", pythons={"python3": WHOLE, "python3.10": "3.10 venv headers"})
    done = preflight(path, PYTHON="python3.10")
    assert done.returncode == 1
    assert "found: python3.10 (3.10)" in done.stderr


def test_the_probe_finds_this_python_whole() -> None:
    done = preflight(os.environ["PATH"], PYTHON=sys.executable)
    assert (done.returncode, done.stdout) == (0, f"{sys.executable}\n"), done.stderr
