"""A shop whose every customer is a canary, and the way to walk the whole road with it as separate processes."""

import csv
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
from tests.report.rows import within

from considerate.serving.development import development_key_path, mint_token, read_development_key
from considerate.settings.service import ServiceConfig
from considerate.settings.toml import read_toml

ROOT = Path(__file__).parents[2]
SERVICE_TOML = ROOT / "configs" / "service.toml"
N_CUSTOMERS, N_ITEMS = 53, 41  # primes, and unlike: an array with 53 rows is an array of people
PURPOSES = ("personalise_onsite", "train_models", "link_in_store")
CUSTOMERS = [f"canary.{n:02d}.{random.Random(n).getrandbits(40):010x}@shop.example" for n in range(N_CUSTOMERS)]
SILENT = CUSTOMERS[-5:]  # never said anything
AT = datetime.now(UTC).replace(microsecond=0)

FILE_TOML = """
name = "canary"
[source]
format = "csv"
path = "rows.csv"
max_rejected = 0.5
columns = {customer_id = "who", item_id = "what", timestamp = "when", order_line = "line"}
values = {kind = "purchase", channel = "online"}
[consent]
unknown_age = "adult"
k_item = 5
[protocol.temporal_28d]
kind = "temporal"
"""

STORE_TOML = """
name = "canary"
[source]
format = "store"
[consent]
unknown_age = "adult"
k_item = 5
[protocol.temporal_28d]
kind = "temporal"
"""

PROMOTE = """
from datetime import UTC, datetime
from considerate.settings.environment import read_environment
from considerate.tracking.promotion import promote
promote(read_environment(), name="canary", version=1, at=datetime.now(UTC))
"""


CONSIDERATE = [sys.executable, "-m", "considerate.cli.main"]


def write_shop(folder: Path) -> None:
    """Write what the shop brings: rows, two of them bad, and the consents it already has."""
    rng = random.Random(7)
    with (folder / "rows.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["who", "what", "when", "line"])
        for number, customer in enumerate(CUSTOMERS):
            for bought in range(14):
                when = AT - timedelta(days=rng.uniform(0.1, 90))
                writer.writerow(
                    [customer, f"item-{rng.randrange(N_ITEMS):02d}", when.isoformat(), f"{number}-{bought}"]
                )
        writer.writerow([CUSTOMERS[0], "", AT.isoformat(), "bad-1"])
        writer.writerow([CUSTOMERS[1], "item-01", (AT + timedelta(days=400)).isoformat(), "bad-2"])
    with (folder / "consents.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["customer_id", "purpose", "state", "event_time", "notice_id", "notice_version", "form"])
        given = (AT - timedelta(days=5)).isoformat()
        for customer in CUSTOMERS[:-5]:
            for purpose in PURPOSES:
                writer.writerow(
                    [customer, purpose, "given", given, "considerate-suggestions", 1, f"signed by {customer}"]
                )
    (folder / "file.toml").write_text(FILE_TOML, encoding="utf-8")
    (folder / "store.toml").write_text(STORE_TOML, encoding="utf-8")


@dataclass(frozen=True, slots=True)
class Shop:
    """The folders in which commands run, and the way to run one."""

    brought: Path
    kept: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "CONSIDERATE_HOME": str(self.kept / "var"),
            "HOME": str(self.kept / "home"),
            "TMPDIR": str(self.kept / "temporary"),
        }

    def run(self, *command: str | Path) -> str:
        """Run a command to its good end; what it prints is kept to be searched."""
        done = subprocess.run(
            [sys.executable, *command],
            cwd=self.brought,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        with (self.kept / "printed" / "commands.txt").open("a", encoding="utf-8") as printed:
            printed.write(done.stdout + done.stderr)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def considerate(self, *arguments: str | Path) -> str:
        return self.run(*CONSIDERATE[1:], *arguments)

    def token(self, customer: str, scope: str = "me") -> dict[str, str]:
        """An Authorization header, as the shop's login would mint it."""
        auth = read_toml(SERVICE_TOML, ServiceConfig).auth
        key = read_development_key(development_key_path(auth, self.kept / "var"))
        token = mint_token(customer, [scope], auth, key, at=datetime.now(UTC), seconds=900)
        return {"Authorization": f"Bearer {token}"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def serving(shop: Shop) -> Iterator[str]:
    """Keep two workers running; their log is kept to be searched."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = ["--set", "model.name=canary", "--set", "policy.unknown_age=adult", "--port", str(port)]
    with (shop.kept / "printed" / "service.txt").open("w") as log:
        process = subprocess.Popen(
            [*CONSIDERATE, "serve", "--workers", "2", "--config", SERVICE_TOML, *settings],
            cwd=shop.brought,
            env=shop.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        wait_until_ready(url, process)
        wait_for_her_list(shop, url)
        yield url
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGINT)
        process.wait(timeout=60)


def wait_until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        assert process.poll() is None, "the service ended"
        with suppress(httpx.HTTPError):
            if httpx.get(f"{url}/readyz", timeout=2).status_code == 200:
                return
        time.sleep(0.1)
    raise AssertionError("the service is not ready after a minute")


def wait_for_her_list(shop: Shop, url: str) -> None:
    """A service is ready as soon as it answers; its model comes when the refresher has fetched it."""

    def reason() -> object:
        path, headers = f"{url}/v1/me/recommendations", shop.token(CUSTOMERS[0])
        return httpx.get(path, headers=headers, timeout=30).json().get("reason")

    assert within(60, lambda: reason() == "ok"), f"no list of her own after a minute: {reason()}"


def ask_well_and_badly(shop: Shop, url: str) -> dict[str, dict[str, object]]:
    """Everything a page, a till and an intruder send; each with a canary in every place where one fits."""
    answers: dict[str, dict[str, object]] = {}
    allowed, silent, leaving = CUSTOMERS[0], SILENT[0], CUSTOMERS[2]
    mine, till = shop.token(allowed), shop.token("till", "events:write")
    with httpx.Client(base_url=url, timeout=30) as http:
        lists = "/v1/me/recommendations"
        answers["allowed"] = http.get(lists, headers=mine).json()
        answers["silent"] = http.get(lists, headers=shop.token(silent)).json()
        purchase = {"customer_id": allowed, "event_id": "till-1", "kind": "purchase", "item_id": "item-03"}
        answers["purchase"] = http.post("/v1/events", headers=till, json={"events": [purchase]}).json()
        click = {"event_id": "page-1", "kind": "click", "item_id": "item-04"}
        answers["click"] = http.post("/v1/me/events", headers=mine, json={"events": [click]}).json()
        away = shop.token(leaving)
        http.delete("/v1/me/consents/personalise_onsite", headers=away).raise_for_status()
        answers["withdrawn"] = http.get(lists, headers=away).json()
        answers["consents"] = http.get("/v1/me/consents", headers=away).json()

        refused = [
            http.post("/v1/events", headers=mine, json={"events": [purchase]}),
            http.post("/v1/events", headers=till, json={"events": [{**purchase, allowed: allowed}]}),
            http.post("/v1/events", headers=till, json={"events": [{**purchase, "kind": allowed}]}),
            http.post("/v1/events", headers=till, content=f'{{"events": [{{"customer_id": "{allowed}", '),
            http.post("/v1/events", headers=till, json={"events": [{**purchase, "item_id": allowed * 400}]}),
            http.post("/v1/me/events", headers=mine, json={"events": [{**click, "customer_id": allowed}]}),
            http.get(lists, headers=mine, params={"customer_id": allowed}),
            http.get(lists, headers=mine, params={"surface": allowed}),
            http.get(f"/v1/customers/{allowed}"),
            http.get(lists, headers={"Authorization": f"Bearer {allowed}"}),
            http.get(lists, headers={"Authorization": mine["Authorization"][:-4] + "AAAA"}),
            http.put(f"/v1/me/consents/{allowed}", headers=mine, json={}),
        ]
        assert all(400 <= answer.status_code < 500 for answer in refused), [answer.status_code for answer in refused]
        (shop.kept / "printed" / "metrics.txt").write_text(http.get("/metrics").text, encoding="utf-8")
        (shop.kept / "printed" / "answers.json").write_text(json.dumps(answers), encoding="utf-8")
    return answers
