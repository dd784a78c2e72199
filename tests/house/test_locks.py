"""The locks: hashed, complete, for every supported Python, and silent about where they were made."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^\s;]+)( ; .+)? \\$")
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def pins(lock: Path) -> dict[str, list[Requirement]]:
    """The pinned requirements of a lock by name; a name may have one pin per Python."""
    found: dict[str, list[Requirement]] = {}
    for line in lock.read_text(encoding="utf-8").splitlines():
        if not line.startswith(" "):
            requirement = Requirement(line.removesuffix(" \\"))
            found.setdefault(canonicalize_name(requirement.name), []).append(requirement)
    return found


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.name)
def test_a_lock_holds_pins_and_hashes_and_nothing_else(lock: Path) -> None:
    lines = lock.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not (PIN.match(line) or HASH.match(line))] == []
    unhashed = [
        line for line, after in zip(lines, [*lines[1:], ""], strict=True) if PIN.match(line) and not HASH.match(after)
    ]
    assert unhashed == []


@pytest.mark.parametrize("python", ["3.11", "3.12", "3.13"])
def test_the_lock_answers_every_requirement_of_the_project(python: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    environment = {"python_version": python, "python_full_version": f"{python}.1", "sys_platform": "linux"}
    locked = {
        name: [pin for pin in versions if pin.marker is None or pin.marker.evaluate(dict(environment))]
        for name, versions in pins(ROOT / "requirements" / "dev.txt").items()
    }
    for text in project["dependencies"] + extras:
        wanted = Requirement(text)
        (pin,) = locked.get(canonicalize_name(wanted.name), [None])
        assert pin is not None, f"{text} is in pyproject.toml, not in the lock; run: make lock"
        (version,) = (spec.version for spec in pin.specifier)
        assert wanted.specifier.contains(version), f"{text} does not allow the locked {pin}; run: make lock"


def test_every_requirement_has_a_lower_bound() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [requirement for extra in project["optional-dependencies"].values() for requirement in extra]
    unbounded = [text for text in project["dependencies"] + extras if ">=" not in text]
    assert unbounded == []
