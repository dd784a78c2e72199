"""A shop with a real service of several workers, on SQLite or PostgreSQL, for the consent report."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import httpx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine
from tests.serving.conftest import catalogue, make_model

from considerate.consent.decision import Policy, Reason
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.serving.development import create_development_key, mint_token, read_development_key
from considerate.serving.metrics import KEPT_SECONDS
from considerate.serving.models import Pointer, write_pointer
from considerate.settings.environment import child_environment
from considerate.settings.service import AuthConfig
from considerate.store.catalogue import upsert_items
from considerate.store.engine import open_store, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import ensure_subjects

ROOT = Path(__file__).parents[2]
Kind = Literal["sqlite", "postgresql"]
AUTH = AuthConfig(issuer="https://shop.test", audience="considerate", development_key=Path("keys/development.pem"))
SERVICE = """
port = {port}
workers = {workers}
[auth]
issuer = "https://shop.test"
audience = "considerate"
development_key = "keys/development.pem"
[model]
name = "considerate"
watch_seconds = 0.2
[surfaces]
home = "all"
discover = "new"
again = "repeat"
[store]
url = "{url}"
[rates]
customer_per_minute = {per_minute}
service_per_minute = {per_minute}
address_per_minute = {per_minute}
"""
STRICT = "[policy]\ngpc_strict = true\n"
TIGHT = 30
"""Requests a minute in the row about limits."""
START_SECONDS = 120.0
MODEL = "considerate-1"


@dataclass
class Shop:
    """A running service and everything a shop would use to talk to it.

    Attributes
    ----------
    kind, url
        The database.
    home
        Folder of everything that the service writes.
    port
        Where it answers on this machine.
    more
        Lines that the service TOML ends with.
    per_minute
        Requests of one caller a minute.
    """

    kind: Kind
    url: str
    home: Path
    port: int
    workers: int
    more: str = ""
    per_minute: int = 1_000_000
    process: subprocess.Popen[bytes] | None = None
    _engine: Engine | None = None
    _signing: Ed25519PrivateKey | None = None
    _clients: list[httpx.Client] = field(default_factory=list)

    @property
    def keys(self) -> Keys:
        return load_keys(self.home / "keys", create=False)

    @property
    def engine(self) -> Engine:
        if self._engine is None:
            self._engine = open_store(self.url, create=False)
        return self._engine

    @property
    def log(self) -> Path:
        return self.home / "serve.log"

    def lay_out(self) -> None:
        """Make keys, store, catalogue and model."""
        create_development_key(self.home / "keys" / "development.pem")
        load_keys(self.home / "keys", create=True)
        engine = open_store(self.url, create=True)
        with writing(engine) as conn:
            upsert_items(conn, catalogue())
        engine.dispose()
        models = self.home / "models"
        models.mkdir()
        make_model().save(models / MODEL)
        write_pointer(models, Pointer(MODEL, "report"))

    def start(self) -> None:
        """Start the service and wait until it answers."""
        toml = self.home / "service.toml"
        said = {"port": self.port, "workers": self.workers, "url": self.url, "per_minute": self.per_minute}
        toml.write_text(SERVICE.format(**said) + self.more)
        command = [sys.executable, "-m", "considerate.cli.main", "serve", "--config", str(toml)]
        with self.log.open("ab") as stream:
            before = self.log.stat().st_size
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=child_environment({"CONSIDERATE_HOME": str(self.home)}),
                stdout=stream,
                stderr=stream,
            )
        deadline = time.monotonic() + START_SECONDS
        while b"answers at" not in self.log.read_bytes()[before:]:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"consent-report: the service does not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.1)

    def stop(self) -> None:
        """Stop it in order."""
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(30)
            self.process = None

    def kill(self) -> None:
        """Kill every process of the service, as a power cut would."""
        if self.process is None:
            return
        # From the top: nobody is left who would start another in the place of one that ended.
        pids = [self.process.pid, *reversed(children_of(self.process.pid))]
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        while any(is_running(pid) for pid in pids):
            time.sleep(0.01)

    def close(self) -> None:
        """Stop and close everything."""
        self.stop()
        for client in self._clients:
            client.close()
        if self._engine is not None:
            self._engine.dispose()

    def token(self, subject: str, *scopes: str, logged_in_at: datetime | None = None) -> dict[str, str]:
        """Give the headers of a caller; without scopes, a customer who logged in just now."""
        if self._signing is None:
            self._signing = read_development_key(self.home / "keys" / "development.pem")
        now = datetime.now(UTC)
        token = mint_token(subject, scopes or ("me",), AUTH, self._signing, at=now, logged_in_at=logged_in_at or now)
        return {"Authorization": f"Bearer {token}"}

    def client(self) -> httpx.Client:
        """Give a client whose every call is on a connection of its own, so that any worker may take it."""
        made = httpx.Client(
            base_url=f"http://127.0.0.1:{self.port}", timeout=10, limits=httpx.Limits(max_keepalive_connections=0)
        )
        self._clients.append(made)
        return made

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Call once."""
        if not self._clients:
            self.client()
        return self._clients[0].request(method, path, **more)

    def ask(self, customer: str, path: str = "/v1/me/recommendations", **headers: str) -> dict[str, Any]:
        """Ask for a customer's list; anything but 200 is shown as its basis, so that it counts as a violation."""
        answer = self.call("GET", path, headers={**self.token(customer), **headers})
        if answer.status_code != 200:
            return {"basis": f"status {answer.status_code}", "reason": answer.text[:200], "items": []}
        body: dict[str, Any] = answer.json()
        return body

    def settled(self, customer: str) -> dict[str, Any]:
        """Ask for a list, and again while the store does not answer in time, as after a start; never personalised."""
        for _ in range(50):
            told = self.ask(customer)
            if told["reason"] != Reason.CONSENT_UNAVAILABLE or told["basis"] != "non_personalised":
                break
            time.sleep(0.2)
        return told

    def know(self, customer: str, *purposes: Purpose, age_band: str = "adult") -> bytes:
        """Let the store know a customer who allows `purposes`."""
        at = datetime.now(UTC) - timedelta(minutes=1)
        with writing(self.engine) as conn:
            bands = {customer: age_band}
            ref = ensure_subjects(conn, self.keys, [customer], age_bands=bands, at=at)[customer]
            for purpose in purposes:
                grant(conn, self.keys, ref, purpose, notice=current_notice(), at=at, policy=Policy("adult"))
        return ref

    def buy(self, customer: str, items: Sequence[str], *, channel: str = "online", more: str = "") -> httpx.Response:
        """Let the order system report purchases."""
        now = datetime.now(UTC) - timedelta(hours=1)
        events = [
            {
                "customer_id": customer,
                "event_id": f"{channel}-{more}{place}",
                "kind": "purchase",
                "item_id": item,
                "channel": channel,
                "order_line": f"{channel}-{more}{place}",
                "timestamp": (now + timedelta(minutes=place)).isoformat(),
            }
            for place, item in enumerate(items)
        ]
        return self.insist("POST", "/v1/events", json={"events": events}, headers=self.token("till", "events:write"))

    def insist(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Call, and again where the store is busy, as the answer says; for what a row needs and does not judge."""
        for _ in range(20):
            answer = self.call(method, path, **more)
            if answer.status_code != 503:
                break
            time.sleep(0.2)
        return answer

    def paths(self) -> dict[str, Any]:
        """Give the routes as the service describes them; at the first time that may take it longer than it may."""
        deadline = time.monotonic() + START_SECONDS
        while (answer := self.call("GET", "/openapi.json")).status_code != 200 and time.monotonic() < deadline:
            time.sleep(0.1)
        found: dict[str, Any] = answer.json()["paths"]
        return found

    def metric(self, name: str) -> float:
        """Sum a counter over its labels.

        Raises
        ------
        LookupError
            The service counts nothing of that name.
        """
        # A worker shows what it showed a moment ago.
        time.sleep(KEPT_SECONDS)
        lines = self.call("GET", "/metrics").text.splitlines()
        found = [float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name)]
        if not found:
            raise LookupError(f"{name}: no such figure in /metrics; see considerate.serving.metrics")
        return sum(found)


def children_of(pid: int) -> list[int]:
    """Process ids of all descendants."""
    found: list[int] = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except (OSError, IndexError):
                continue
            if parent == pid:
                found += [*children_of(int(folder.name)), int(folder.name)]
    return found


def is_running(pid: int) -> bool:
    """Whether a process still does anything; one that ended and was not yet waited for does not."""
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def open_shop(
    kind: Kind, url: str, home: Path, *, workers: int = 4, more: str = "", made: type[Shop] = Shop
) -> Iterator[Shop]:
    """Lay out a shop, start its service, and stop it again."""
    shop = made(kind, url, home, free_port(), workers, more)
    shop.lay_out()
    try:
        shop.start()
        yield shop
    finally:
        shop.close()
