import io
import socket
from pathlib import Path

import pytest
from rich.console import Console

from considerate.demo.processes import free_port, running
from considerate.demo.stage import empty_home
from considerate.errors import ServingError, StoreError


def test_a_taken_port_is_left_alone_and_the_next_free_one_is_named() -> None:
    said = io.StringIO()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = free_port(port, Console(file=said))
    assert found > port
    assert f"Port {port} is taken; using {found}." in said.getvalue()


def test_two_servers_never_get_one_port() -> None:
    console = Console(file=io.StringIO())
    first = free_port(18_500, console)
    assert free_port(first, console, besides=first) > first


def test_where_every_port_is_taken_the_range_is_named() -> None:
    with pytest.raises(ServingError, match="ports 65536 to 65585 are all taken; stop a server or choose another"):
        free_port(65_536, Console(file=io.StringIO()))


def test_a_server_is_awaited_and_stopped_by_its_own_process_id(tmp_path: Path) -> None:
    port = free_port(18_000, Console(file=io.StringIO()))
    command = ["python", "-m", "http.server", str(port), "--bind", "127.0.0.1"]
    url = f"http://127.0.0.1:{port}/"
    with running(command, log=tmp_path / "log", ready_url=url, environment={}, seconds=30) as server:
        assert server.poll() is None
    assert server.poll() is not None


def test_a_server_that_ends_at_once_is_reported_with_its_own_words(tmp_path: Path) -> None:
    command = ["python", "-c", "print('no keys at hand'); raise SystemExit(3)"]
    url = "http://127.0.0.1:9/"
    with (
        pytest.raises(ServingError, match=r"(?s)ended with code 3.*no keys at hand"),
        running(command, log=tmp_path / "log", ready_url=url, environment={}, seconds=30),
    ):
        pass


def test_a_server_that_never_answers_is_stopped_and_reported(tmp_path: Path) -> None:
    command = ["python", "-c", "import time; time.sleep(60)"]
    url = "http://127.0.0.1:9/"
    with (
        pytest.raises(ServingError, match="not ready after 1 s"),
        running(command, log=tmp_path / "log", ready_url=url, environment={}, seconds=1),
    ):
        pass


def test_each_demo_starts_from_an_empty_folder(tmp_path: Path) -> None:
    home = tmp_path / "var" / "demo"
    with empty_home(home) as folder:
        (folder / "left-over").touch()
    with empty_home(home) as folder:
        assert list(folder.iterdir()) == []


def test_a_second_demo_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (
        empty_home(tmp_path / "demo"),
        pytest.raises(StoreError, match="another demo is running in it; stop that one with Ctrl-C first"),
        empty_home(tmp_path / "demo"),
    ):
        pass
