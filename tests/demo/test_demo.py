"""The demo as a newcomer runs it: a subprocess, the real year of purchases, real servers."""

import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from considerate.settings.environment import child_environment

ROOT = Path(__file__).parents[2]


def demo(home: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "pipelines/demo.py", *options],
        cwd=ROOT,
        env=child_environment({"CONSIDERATE_HOME": str(home)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def taken_port() -> tuple[socket.socket, int]:
    holder = socket.socket()
    holder.bind(("127.0.0.1", 0))
    holder.listen()
    return holder, holder.getsockname()[1]


@pytest.mark.slow
@pytest.mark.data("complete_journey")
@pytest.mark.xdist_group("demo")
def test_the_demo_keeps_its_promises_even_where_its_port_is_taken(tmp_path: Path) -> None:
    holder, port = taken_port()
    with holder:
        run = demo(tmp_path, "--once", "--port", str(port), "--mlflow-port", str(port))
        out, err = run.communicate(timeout=500)
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
    run = demo(tmp_path, "--once")
    deadline = time.monotonic() + 120
    while not (tmp_path / "demo").is_dir() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(1)
    run.send_signal(signal.SIGTERM)
    _, err = run.communicate(timeout=120)
    assert run.returncode == 130
    assert err.strip().splitlines()[-1] == "stopped; nothing half-written was left behind"
    assert "Traceback" not in err
