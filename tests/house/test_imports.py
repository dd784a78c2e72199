"""Importing any module of considerate makes no file, no connection and no thread."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src"

# Runs in a fresh interpreter: an audit hook cannot be taken off again.
WATCH = """
import importlib, json, os, sys, threading
from pathlib import Path

deeds, current = [], "?"

def watch(event, arguments):
    if event == "open" and isinstance(arguments[0], (str, bytes, os.PathLike)):
        path, flags = os.fsdecode(arguments[0]), arguments[2] or 0
        if flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and "__pycache__" not in path and path != os.devnull:
            deeds.append([current, "opened for writing", path])
    elif event in ("os.mkdir", "os.remove", "os.rename", "socket.connect", "socket.bind", "sqlite3.connect"):
        # Byte code, and kernels that numba compiles, are the interpreter's own business.
        if "__pycache__" not in str(arguments[:1]):
            deeds.append([current, event, str(arguments[:1])])
    elif event == "subprocess.Popen":
        deeds.append([current, event, str(arguments[0])])

sys.addaudithook(watch)
for current in sys.argv[1:]:
    importlib.import_module(current)
    if threading.active_count() > 1:
        deeds.append([current, "started a thread", str(threading.enumerate()[1:])])
print(json.dumps(deeds))
"""


ENTRY_POINTS = {"considerate.serving.service"}  # BentoML runs this file with the arguments of a service, as a script


def modules() -> list[str]:
    """Every module but the migrations, which alembic alone may run, and the scripts of others."""
    paths = (path for path in (SRC / "considerate").rglob("*.py") if "migrations" not in path.parts)
    names = (".".join(path.relative_to(SRC).with_suffix("").parts).removesuffix(".__init__") for path in paths)
    return sorted(set(names) - ENTRY_POINTS)


def deeds_of(names: list[str], folder: Path, *, source: Path = SRC) -> list[list[str]]:
    environment = {
        **os.environ,
        "HOME": str(folder),
        "CONSIDERATE_HOME": str(folder / "var"),
        "PYTHONPATH": str(source),
    }
    done = subprocess.run(
        [sys.executable, "-c", WATCH, *names], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    deeds: list[list[str]] = json.loads(done.stdout.splitlines()[-1])
    return deeds


def test_importing_every_module_does_nothing(tmp_path: Path) -> None:
    assert deeds_of(modules(), tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def test_the_watch_sees_a_file_a_database_and_a_thread(tmp_path: Path) -> None:
    (tmp_path / "guilty.py").write_text(
        "import sqlite3, threading, time\n"
        "open('left.txt', 'w').close()\n"
        "sqlite3.connect(':memory:').close()\n"
        "threading.Thread(target=time.sleep, args=(30,), daemon=True).start()\n",
        encoding="utf-8",
    )
    found = {deed for _, deed, _ in deeds_of(["guilty"], tmp_path, source=tmp_path)}
    assert found == {"opened for writing", "sqlite3.connect", "started a thread"}
