"""Every command in a document runs: the README, the pages of docs/, CONTRIBUTING.md and the model cards.

A document is read from top to bottom, as its reader does, in a scratch copy of the project with an empty var/. What
cannot run as it stands is in commands.toml, with the reason.
"""

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("models/*.md")]
)
BLOCK = re.compile(r"^```(sh|console)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SHELL_LIKE = re.compile(r"^```(bash|shell|zsh|terminal|shell-session)$", re.MULTILINE)
PORT = 3000
TABLE = tomllib.loads((ROOT / "tests" / "house" / "commands.toml").read_text(encoding="utf-8"))
ELSEWHERE = {entry["command"]: entry["run_by"] for entry in TABLE.get("elsewhere", [])}
INSTEAD = {entry["command"]: entry["run"] for entry in TABLE.get("instead", [])}
SERVICES = {entry["command"]: entry["ready"] for entry in TABLE.get("service", [])}


def commands(text: str) -> Iterator[str]:
    """The commands of a document in order, without comments; a backslash or an open quote continues a line."""
    for language, block in BLOCK.findall(text):
        lines = block.replace("\\\n", " ").splitlines()
        if language == "console":
            lines = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
        command = ""
        for line in lines:
            command = f"{command} {line.strip()}".strip()
            with suppress(ValueError):
                if shlex.split(command, comments=True):
                    yield " ".join(re.sub(r"\s#[^'\"]*$", "", command).split())
                command = ""


ALL = [command for path in DOCUMENTS for command in commands(path.read_text(encoding="utf-8"))]


@dataclass(frozen=True, slots=True)
class Scratch:
    """A copy of the project in which commands run, and the port its service listens on."""

    folder: Path
    port: int

    def here(self, command: str) -> str:
        """The command as it runs here: on our own port, in the environment that runs the tests."""
        # make would bring the environment up to date first: `-o env` takes it as it is.
        return re.sub(r"\bmake (?=[a-z])", "make -o env ", re.sub(rf"\b{PORT}\b", str(self.port), command))

    def script(self, listed: list[str]) -> str:
        """One shell for a whole document, as a reader keeps one: variables live on, services run in the background."""
        lines = ["set -euo pipefail"]
        for command in listed:
            if command in ELSEWHERE:
                continue
            lines.append(f"echo {shlex.quote('$ ' + command)}")
            run = self.here(INSTEAD.get(command, command))
            ready = f"curl -sf --retry 120 --retry-delay 1 --retry-all-errors -o /dev/null {SERVICES.get(command)}"
            lines += [f"{run} &", self.here(ready)] if command in SERVICES else [run]
        return "\n".join(lines)

    @property
    def environment(self) -> dict[str, str]:
        programs = Path(sys.executable).parent
        kept = {name: value for name, value in os.environ.items() if name not in ("CONSIDERATE_HOME", "MAKEFLAGS")}
        data = Path(os.environ.get("CONSIDERATE_DATA", ROOT / "data")).resolve()
        return {**kept, "PATH": f"{programs}:{os.environ['PATH']}", "CONSIDERATE_DATA": str(data)}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    for name in ("configs", "models"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("Makefile", "README.md", "pyproject.toml", "requirements", "pipelines", "src", "tests", "docs"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / ".venv").symlink_to(sys.prefix)
    port = free_port()
    for config in (tmp_path / "configs").glob("*.toml"):
        text = config.read_text(encoding="utf-8")
        config.write_text(re.sub(rf"^port = {PORT}\b", f"port = {port}", text, flags=re.MULTILINE), encoding="utf-8")
    return Scratch(tmp_path, port)


@pytest.mark.slow
@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_of_a_document_runs(document: Path, scratch: Scratch) -> None:
    listed = list(commands(document.read_text(encoding="utf-8")))
    if any("curl" in command for command in listed) and not shutil.which("curl") and not os.environ.get("CI"):
        pytest.skip("this document asks the service with curl, which is not installed")
    script = scratch.script(listed)
    log = scratch.folder / "terminal.log"
    with log.open("w") as terminal:
        shell = subprocess.Popen(
            ["bash", "-c", script],
            cwd=scratch.folder,
            env=scratch.environment,
            stdout=terminal,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            status = shell.wait(timeout=600)
        finally:
            # The services too: a session of their own holds them together.
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
    assert status == 0, log.read_text(encoding="utf-8")


def test_shell_blocks_are_written_so_that_they_are_found() -> None:
    assert [path.name for path in DOCUMENTS if SHELL_LIKE.search(path.read_text(encoding="utf-8"))] == []


def test_no_exception_outlives_its_command() -> None:
    assert sorted({*ELSEWHERE, *INSTEAD, *SERVICES} - set(ALL)) == []


@pytest.mark.parametrize("command", ELSEWHERE)
def test_a_command_run_elsewhere_is_run_there(command: str) -> None:
    path, _, test = ELSEWHERE[command].partition("::")
    text = (ROOT / path).read_text(encoding="utf-8")
    assert (f"def {test}(" in text) if test else (command in text)


def test_every_make_target_in_a_document_is_in_the_help() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):.*## ", makefile, flags=re.MULTILINE))
    named = {found for command in ALL for found in re.findall(r"\bmake ([a-z][a-z-]*)", command)}
    assert named <= targets


def test_commands_are_read_as_a_reader_types_them() -> None:
    shell = "```sh\n# first\nmake demo \\\n  ARGS=--once\n\nmake test  # all of them\ncurl -d '{\n  }'\n```\n"
    others = "```console\n$ ls a\na\n```\n```toml\nx = 1\n```\n"
    assert list(commands(shell + others)) == ["make demo ARGS=--once", "make test", "curl -d '{ }'", "ls a"]


def test_a_document_is_one_shell_and_a_failing_command_fails_it(tmp_path: Path) -> None:
    scratch = Scratch(tmp_path, 1)
    assert subprocess.run(["bash", "-c", scratch.script(["A=1", 'test "$A" = 1'])], check=False).returncode == 0
    assert subprocess.run(["bash", "-c", scratch.script(["false", "true"])], check=False).returncode != 0
