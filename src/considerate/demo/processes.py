"""The two servers of the demo: started, awaited and stopped by their own process ids."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
from rich.console import Console

from considerate.errors import ServingError
from considerate.serving.development import create_development_key, development_key_path
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment, child_environment
from considerate.settings.service import ServiceConfig
from considerate.settings.toml import read_toml

HOST = "127.0.0.1"
STOP_SECONDS = 15.0
SERVICE = Path("configs/service.toml")
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "BENTOML_DO_NOT_TRACK": "True"}


@contextmanager
def service(home: Path, port: int, shop: Path) -> Iterator[str]:
    """Run `considerate serve` with two workers on the demo's store; gives its URL.

    Parameters
    ----------
    home
        The demo's folder.
    port
        Where it listens.
    shop
        The data TOML, which names the registered model and what an unknown age counts as.
    """
    data = read_toml(shop, DataConfig)
    auth = read_toml(SERVICE, ServiceConfig).auth
    create_development_key(development_key_path(auth, home))
    url = f"http://{HOST}:{port}"
    policy, model = f'policy.unknown_age="{data.consent.unknown_age}"', f'model.name="{data.name}"'
    command = ["python", "-m", "considerate.cli.main", "serve", "--config", str(SERVICE), "--workers", "2"]
    command += ["--port", str(port), "--set", policy, "--set", model]
    added = {"CONSIDERATE_HOME": str(home)}
    with running(command, log=home / "service.log", ready_url=f"{url}/readyz", environment=added, seconds=60):
        yield url


@contextmanager
def mlflow_ui(environment: Environment, port: int) -> Iterator[str]:
    """Run the MLflow UI on the demo's runs; gives its URL."""
    url = f"http://{HOST}:{port}"
    command = ["python", "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", environment.tracking_uri, "--no-serve-artifacts"]
    log = environment.home / "mlflow.log"
    with running(command, log=log, ready_url=f"{url}/health", environment=QUIET, seconds=90):
        yield url


def wait_for_ctrl_c() -> None:
    """Sleep until somebody ends the demo, which is then no error."""
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def stop_on_sigterm() -> None:
    """Let SIGTERM end the program as Ctrl-C does, so that what it started is stopped too."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, stop)


def free_port(wanted: int, console: Console, *, besides: int | None = None) -> int:
    """Give `wanted`, or the next port of this machine's loopback that nobody listens on, and say so.

    Parameters
    ----------
    wanted
        Where to start.
    console
        Told where another port is taken.
    besides
        A port that is free now and promised to another server.

    Raises
    ------
    ServingError
        50 ports in a row are taken.
    """
    for port in range(wanted, min(wanted + 50, 65_536)):
        if port == besides:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((HOST, port))
            except OSError:
                continue
        if port != wanted:
            console.print(f"Port {wanted} is taken; using {port}.")
        return port
    raise ServingError(f"ports {wanted} to {wanted + 49} are all taken; stop a server or choose another with --port")


@contextmanager
def running(
    command: Sequence[str], *, log: Path, ready_url: str, environment: Mapping[str, str], seconds: float
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server until the block ends.

    Parameters
    ----------
    command
        Program and arguments; `python` stands for this interpreter.
    log
        File that takes what it prints.
    ready_url
        Answers 200 once the server is up.
    environment
        Added to this process's own.
    seconds
        How long it may take to come up.

    Raises
    ------
    ServingError
        It ended or did not come up in time; names the log and shows its last lines.
    """
    words = [sys.executable if word == "python" else word for word in command]
    with log.open("wb") as stream:
        server = subprocess.Popen(  # noqa: S603 - our own commands, no shell
            words, stdout=stream, stderr=subprocess.STDOUT, env=child_environment(environment), start_new_session=True
        )
    try:
        _await_ready(server, ready_url, log, seconds)
        yield server
    finally:
        server.terminate()
        try:
            server.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()


def _await_ready(server: subprocess.Popen[bytes], url: str, log: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ServingError(
                f"{url}: the server ended with code {server.returncode}; its log {log} says:\n{_tail(log)}"
            )
        try:
            if httpx.get(url, timeout=2).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise ServingError(f"{url}: not ready after {seconds:.0f} s; its log {log} says:\n{_tail(log)}")


def _tail(log: Path, lines: int = 12) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
