"""The demo as a newcomer runs it: a subprocess, the real year of purchases, real servers."""

import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from considerate.settings.environment import child_environment

ROOT = Path(__file__).parents[2]


@contextmanager
def demo(home: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "pipelines/demo.py", *options],
        cwd=ROOT,
        env=child_environment({"CONSIDERATE_HOME": str(home)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as run:
        try:
            yield run
        finally:
            # Whatever became of it: its servers too.
            with suppress(ProcessLookupError):
                os.killpg(run.pid, signal.SIGKILL)


def taken_port() -> tuple[socket.socket, int]:
    """Give a port that is taken; below those of outgoing connections, which could take the one beside it any time."""
    while True:
        holder, port = socket.socket(), random.randrange(20_000, 32_000)
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        holder.listen()
        return holder, port


@pytest.mark.slow
@pytest.mark.data("complete_journey")
@pytest.mark.xdist_group("demo")
def test_the_demo_keeps_its_promises_even_where_its_port_is_taken(tmp_path: Path) -> None:
    holder, port = taken_port()
    with holder, demo(tmp_path, "--once", "--port", str(port), "--mlflow-port", str(port)) as run:
        out, err = run.communicate(timeout=1_500)
    assert run.returncode == 0, f"{out}\n{err}"
    assert f"Port {port} is taken" in out
    assert "Loaded 1,469,307 real till purchases of 2,469 households" in out
    assert "Consents are simulated: nobody in this data set was ever asked." in out
    words = re.sub(r"\s+", " ", out)
    assert "All 840 of them asked for a list: 0 personalised answers, 0 reads of a history." in words
    assert "200 more calls over both workers: 0 personalised answers." in words
    assert re.search(r"demo-\d is promoted", words)
    assert "the very next answer, without a refit" in words


@pytest.mark.slow
@pytest.mark.data("complete_journey")
@pytest.mark.xdist_group("demo")
def test_an_interrupted_demo_says_so_in_one_line_and_can_be_run_again(tmp_path: Path) -> None:
    with demo(tmp_path, "--once") as run:
        deadline = time.monotonic() + 120
        while not (tmp_path / "demo").is_dir() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        run.send_signal(signal.SIGTERM)
        _, err = run.communicate(timeout=300)
    assert run.returncode == 130
    assert err.strip().splitlines()[-1] == "stopped; nothing half-written was left behind"
    assert "Traceback" not in err
