"""`considerate serve`: checks what can be wrong, then starts the workers and the refresher, and stops them again."""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import ip_address
from pathlib import Path

from considerate.consent.checkpoints import take_checkpoint
from considerate.consent.notices import Notice
from considerate.consent.projection import check_projection
from considerate.consent.publishing import publish, read_versions
from considerate.errors import ConsiderateError, ServingError
from considerate.privacy.rolled_back import check_taken_back
from considerate.serving.run_file import RunFile, write_run_file
from considerate.serving.tokens import open_verifier
from considerate.settings.environment import Environment, child_environment
from considerate.settings.service import ServiceConfig
from considerate.store.decisions import decisions_url, open_decisions
from considerate.store.engine import open_store, reading, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import check_keys

log = logging.getLogger(__name__)

SERVICE = "considerate.serving.service:Considerate"
START_SECONDS = 120.0
STOP_SECONDS = 10.0
RESTART_SECONDS = 5.0
SIGN_SECONDS = 3600.0
_QUIET = {
    "BENTOML_DO_NOT_TRACK": "True",
    "DO_NOT_TRACK": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # One thread for each worker: two workers with several BLAS threads each only get in each other's way.
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
}


def prepare(config: ServiceConfig, environment: Environment, *, database_url: str | None = None) -> RunFile:
    """Check what a service needs, and make the store and the keys of a new installation.

    Raises
    ------
    ConsiderateError
        The port is taken, a key is missing, or the store cannot be opened or is older than what is known of it; names
        the next step.
    """
    home = environment.home.resolve()
    _refuse_open_development_key(config)
    open_verifier(config.auth, home, max_subject=config.limits.id_characters).refresh()
    url = database_url or environment.store or config.store.url or Environment(home, None).database_url
    notices = read_versions(home / "notices", at=datetime.now(UTC))
    run = RunFile(home=home, database_url=url, config=config, notice=notices[-1])
    _check_store(run, notices, load_keys(run.keys, create=True))
    _refuse_taken_port(config.host, config.port)
    return run


def _check_store(run: RunFile, notices: Sequence[Notice], keys: Keys) -> None:
    engine = open_store(run.database_url, create=True)
    try:
        with reading(engine) as conn:
            check_keys(conn, keys)
        check_taken_back(engine, run.home)
        with writing(engine) as conn:
            publish(conn, notices)
        # Refuses a ledger that was cut short, rewritten or restored from an older backup.
        take_checkpoint(engine, run.checkpoints, run.keys, at=datetime.now(UTC))
        # What is served is not the ledger but what is kept beside it.
        with reading(engine) as conn:
            check_projection(conn)
    finally:
        engine.dispose()
    # Made here, so that no worker has to while others start.
    open_decisions(decisions_url(run.database_url, run.home)).dispose()


def _refuse_open_development_key(config: ServiceConfig) -> None:
    if config.auth.development_key is not None and not _is_loopback(config.host):
        raise ServingError(
            f"host = {config.host} with [auth] development_key: whoever has that key can log in as anyone; "
            "set [auth] jwks to your shop's public keys and remove development_key, or listen on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _refuse_taken_port(host: str, port: int) -> None:
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except PermissionError as error:
        raise ServingError(f"port {port}: only root may listen there; choose one above 1023 with --port") from error
    except socket.gaierror as error:
        raise ServingError(f"host = {host}: not an address of this machine; use 127.0.0.1") from error
    except OSError as error:
        raise ServingError(
            f"{host}:{port}: cannot listen there: {error.strerror}; stop what listens there, "
            "or choose another port with --port"
        ) from error


class Service:
    """The processes of one service: BentoML's supervisor with the workers, and the refresher.

    Parameters
    ----------
    run
        From `prepare`.
    """

    def __init__(self, run: RunFile) -> None:
        self._run = run
        folder = run.home / "run" / str(run.config.port)
        shutil.rmtree(folder / "bentoml", ignore_errors=True)
        self._file = write_run_file(folder, run)
        self._environment = child_environment(
            {
                **_QUIET,
                "BENTOML_HOME": str(folder / "bentoml"),
                "CONSIDERATE_HOME": str(run.home),
                "OTEL_SDK_DISABLED": "true" if run.config.tracing.exporter == "none" else "false",
            }
        )
        self._stop = threading.Event()
        self._workers: subprocess.Popen[bytes] | None = None
        self._refresher: subprocess.Popen[bytes] | None = None

    def serve(self, on_ready: Callable[[str], None]) -> None:
        """Run until SIGINT or SIGTERM; whatever was started is stopped before this returns.

        Parameters
        ----------
        on_ready
            Called once with the URL, when the workers answer.

        Raises
        ------
        ServingError
            The workers ended by themselves, or did not come up.
        """
        before = {number: signal.signal(number, lambda *_: self._stop.set()) for number in _SIGNALS}
        try:
            self._workers = self._start(*self._bentoml())
            self._refresher = self._start("-m", "considerate.serving.refresher_process", str(self._file))
            if self._await_ready():
                on_ready(self.url)
                self._supervise()
        finally:
            self._end()
            sign_ledger(self._run)
            for number, handler in before.items():
                signal.signal(number, handler)

    @property
    def url(self) -> str:
        """Where the service answers on this machine."""
        host = self._run.config.host
        shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host  # noqa: S104 - compared, not bound
        return f"http://{f'[{shown}]' if ':' in shown else shown}:{self._run.config.port}"

    def _bentoml(self) -> tuple[str, ...]:
        config = self._run.config
        where = ("--host", config.host, "--port", str(config.port), "--working-dir", str(Path.cwd()))
        return ("-m", "bentoml", "serve", SERVICE, *where, "--arg", f"run_file={self._file}", "--quiet")

    def _start(self, *arguments: str) -> subprocess.Popen[bytes]:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the others in order.
        return subprocess.Popen(  # noqa: S603 - our own interpreter and modules, no shell
            [sys.executable, *arguments], env=self._environment, stdin=subprocess.DEVNULL, start_new_session=True
        )

    def _await_ready(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while not self._stop.wait(0.1):
            self._refuse_ended_workers()
            try:
                with urllib.request.urlopen(f"{self.url}/readyz", timeout=1) as answer:  # noqa: S310 - our own URL
                    if answer.status == 200:
                        return True
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise ServingError(
                    f"{self.url}: no worker answers after {START_SECONDS:.0f} s; see the log lines above"
                )
        return False

    def _supervise(self) -> None:
        signed = time.monotonic()
        while not self._stop.wait(0.5):
            if time.monotonic() - signed > SIGN_SECONDS:
                sign_ledger(self._run)
                signed = time.monotonic()
            self._refuse_ended_workers()
            if self._refresher is not None and self._refresher.poll() is not None:
                log.error("the refresher ended with code %s; it is started again", self._refresher.returncode)
                if self._stop.wait(RESTART_SECONDS):
                    return
                self._refresher = self._start("-m", "considerate.serving.refresher_process", str(self._file))

    def _refuse_ended_workers(self) -> None:
        if self._workers is not None and self._workers.poll() is not None:
            raise ServingError(f"the workers ended with code {self._workers.returncode}; see the log lines above")

    def _end(self) -> None:
        started = [process for process in (self._refresher, self._workers) if process is not None]
        for process in started:
            process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in started:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("process %d does not stop by itself; it is ended", process.pid)
            _end_group(process)
            process.wait()
        self._file.unlink(missing_ok=True)


def sign_ledger(run: RunFile) -> None:
    """Take a checkpoint while the service runs or as it stops; what prevents it is logged and ends nothing."""
    try:
        engine = open_store(run.database_url, create=False)
        try:
            take_checkpoint(engine, run.checkpoints, run.keys, at=datetime.now(UTC))
        finally:
            engine.dispose()
    except ConsiderateError as error:
        log.error("the ledger's head is not signed: %s", error)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    """End what is left of the session that `process` led: workers whose supervisor died."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)


def log_to_stderr() -> None:
    """Let this process log in one line each, without ids."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s serve %(levelname)s %(message)s")
    logging.getLogger("alembic").setLevel(logging.WARNING)
