"""No file of the project names a machine, a package index, or how it was written."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

RULES = {
    # A home folder or a build folder: the character before it tells it from the end of a longer path or of an address.
    "path of a machine": re.compile(r"(?<![\w.~/-])/(?:work|root|home/\w+|Users/\w+|opt/\w+)/"),
    "package index": re.compile(r"--(?:extra-)?index-url|/simple/"),
}
BINARY = {".png", ".ico", ".parquet", ".npz", ".npy"}


def project_files() -> list[Path]:
    """What git tracks, and what it would track; without git (an unpacked archive), what lies in the known folders."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert listed.returncode == 0, "this test reads the list of files from git"
    paths = (ROOT / name for name in listed.stdout.split("\0") if name)
    return [path for path in paths if path.is_file() and path.suffix not in BINARY and path != Path(__file__)]


@pytest.mark.parametrize("rule", RULES)
def test_no_file_names(rule: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in project_files()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if RULES[rule].search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        ("path of a machine", "see |home|ada|x"),
        ("path of a machine", "open('|Users|ada|x')"),
        ("path of a machine", "file:|home|ada|x"),
        ("package index", "--extra-|index-|url https:||example.org"),
        ("package index", "https:||example.org|simple|x"),
    ],
)
def test_a_rule_finds_what_it_is_for(rule: str, line: str) -> None:
    # Written with bars, so that a search for such lines does not find this one.
    path = line.replace("-|", "-").replace("|", "/")
    assert RULES[rule].search(path)
