"""The promises over real HTTP: `considerate serve` in a process of its own, two workers and the refresher."""

import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from tests.proofs import proof_now

from considerate.consent.purposes import Purpose
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.manifest import artefact_digest
from considerate.serving.metrics import KEPT_SECONDS
from considerate.serving.models import Pointer, write_pointer
from considerate.settings.environment import Environment, child_environment
from considerate.settings.promotion import PromotionRules
from considerate.store.engine import open_store, writing
from considerate.tracking.promotion import promote
from considerate.tracking.registry import register_version
from considerate.tracking.runs import track_run

if TYPE_CHECKING:
    from tests.serving.conftest import World

# One service for all of them, which takes seconds to start.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("http")]

ROOT = Path(__file__).parents[2]
CONSIDERATE = [sys.executable, "-m", "considerate.cli.main"]
CANARY = "canary customer 客户 7f3a"
TRAINING_LIBRARIES = ("implicit", "lightfm", "pandas", "duckdb", "mlflow", "optuna")
START_SECONDS = 180
SETTLE_SECONDS = 20


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def service_toml(home: Path, port: int) -> Path:
    path = home / "service.toml"
    path.write_text(
        f"""
        port = {port}
        workers = 2
        [auth]
        issuer = "https://shop.test"
        audience = "considerate"
        development_key = "keys/development.pem"
        [model]
        name = "considerate"
        poll_seconds = 0.5
        watch_seconds = 0.2
        [surfaces]
        home = "all"
        discover = "new"
        """
    )
    return path


@dataclass
class Running:
    """A service in a process of its own."""

    world: "World"
    process: subprocess.Popen[bytes]
    url: str
    log: Path
    client: httpx.Client = field(
        default_factory=lambda: httpx.Client(timeout=5, limits=httpx.Limits(max_keepalive_connections=0))
    )

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Call on a connection of its own, so that either worker may take it."""
        return self.client.request(method, self.url + path, **more)

    def ask(self, customer: str, path: str = "/v1/me/recommendations") -> dict[str, Any]:
        answer = self.call("GET", path, headers=self.world.token(customer))
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body

    def metric(self, name: str) -> float:
        time.sleep(KEPT_SECONDS)  # a worker shows what it gathered up to that long ago
        lines = self.call("GET", "/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))

    def buy(self, customer: str, *items: str) -> None:
        events = [
            {"customer_id": customer, "event_id": f"{place}", "kind": "purchase", "item_id": item}
            for place, item in enumerate(items)
        ]
        answer = self.call(
            "POST", "/v1/events", json={"events": events}, headers=self.world.token("till", "events:write")
        )
        assert answer.status_code == 202, answer.text

    def workers(self) -> list[int]:
        """Process ids of the workers: whoever has the service loaded and is a child of BentoML's supervisor."""
        found = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    command = (folder / "cmdline").read_bytes()
                except OSError:
                    continue
                if b"_bentoml_impl.worker.service" in command and str(self.world.home).encode() in command:
                    found.append(int(folder.name))
        return found


def await_(condition: Callable[[], bool], what: str, seconds: float = SETTLE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.1)


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory, empty_home: Path, set_up_in: "Callable[[Path], World]"
) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("service")
    world = set_up_in(home)
    port = free_port()
    log = home / "serve.log"
    command = [*CONSIDERATE, "serve", "--config", str(service_toml(home, port))]
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env=child_environment({"CONSIDERATE_HOME": str(home)}), stdout=stream, stderr=stream
        )
    try:
        await_(
            lambda: b"answers at" in log.read_bytes() or process.poll() is not None, "the service starts", START_SECONDS
        )
        assert process.poll() is None, log.read_text()
        service = Running(world, process, f"http://127.0.0.1:{port}", log)
        yield service
        service.client.close()
        process.terminate()
        assert process.wait(30) == 0, "SIGTERM is a proper end"
    finally:
        process.kill()
        process.wait()
        world.customers.close()


@pytest.fixture(scope="module")
def promoted(
    running: Running, tmp_path_factory: pytest.TempPathFactory, build_model: Callable[..., LinearItems]
) -> str:
    """A model on its whole way: a tracked run, registered, promoted, fetched by the refresher, swapped in."""
    return publish(running, build_model(), tmp_path_factory.mktemp("fit"))


def publish(running: Running, artefact: LinearItems, folder: Path) -> str:
    environment = Environment(home=running.world.home, data=None)
    artefact.save(folder / "artefact")
    with track_run(environment, experiment="shop", name="item_knn") as run:
        run.log_tags({**proof_now(environment), "model_digest": artefact_digest(folder / "artefact")})
        run.log_artefact(folder / "artefact")
    version = register_version(environment, name="considerate", run_id=run.run_id)
    rules = PromotionRules(min_publish_hours=0)
    promote(environment, name="considerate", version=version.version, at=datetime.now(UTC), rules=rules)
    await_(
        lambda: running.metric(f'considerate_model_loaded{{model_version="{version.label}"}}') == 2, "both workers swap"
    )
    return version.label


def test_a_promoted_model_reaches_both_workers_and_no_worker_holds_a_training_library(
    running: Running, promoted: str, tmp_path: Path, build_model: Callable[..., LinearItems]
) -> None:
    assert running.ask("nobody")["model_version"] == promoted
    second = publish(running, build_model(reverse=True), tmp_path)
    assert {running.ask("nobody")["model_version"] for _ in range(20)} == {second}
    assert running.metric("considerate_model_swaps_total") >= 4
    # What each worker finds in its own sys.modules after start and after every swap ...
    assert "considerate_training_modules_loaded 0.0" in running.call("GET", "/metrics").text
    # ... and what the kernel sees of their compiled parts.
    workers = running.workers()
    assert len(workers) == 2
    for worker in workers:
        maps = Path(f"/proc/{worker}/maps").read_text()
        assert "numpy" in maps
        assert not [name for name in TRAINING_LIBRARIES if f"/{name}/" in maps]


def test_without_consent_nobody_is_personalised_and_no_history_is_read(running: Running, promoted: str) -> None:
    customers = [f"{CANARY} {number}" for number in range(100)]
    for customer in customers[:10]:
        running.world.know(customer)
        running.buy(customer, "milk")
    reads = running.metric("considerate_history_reads_total")
    answers = [running.ask(customer) for customer in customers]
    assert {(answer["basis"], answer["reason"]) for answer in answers} == {("non_personalised", "no_consent")}
    assert running.metric("considerate_history_reads_total") == reads


def test_withdrawal_holds_for_every_later_call_on_every_worker(running: Running, promoted: str) -> None:
    customer = f"{CANARY} ann"
    running.world.know(customer, Purpose.PERSONALISE_ONSITE)
    running.buy(customer, "milk")
    headers = running.world.token(customer)

    def call(_: int) -> tuple[str, str]:
        body = running.call("GET", "/v1/me/recommendations", headers=headers).json()
        return body["basis"], body["reason"]

    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(call, range(50))) == {("personalised", "ok")}
        withdrawn = running.call("DELETE", "/v1/me/consents/personalise_onsite", headers=headers)
        assert withdrawn.status_code == 200
        reads = running.metric("considerate_history_reads_total")
        assert set(pool.map(call, range(200))) == {("non_personalised", "withdrawn")}
    assert running.metric("considerate_history_reads_total") == reads


def test_every_answer_of_every_worker_is_a_row_that_its_caller_finds(running: Running, promoted: str) -> None:
    customer = f"{CANARY} logged"
    running.world.know(customer, Purpose.PERSONALISE_ONSITE)
    running.buy(customer, "milk")
    written = 'considerate_decisions_total{outcome="written"}'
    before = running.metric(written)
    served = [running.ask(customer)["decision_id"] for _ in range(40)]
    headers = running.world.token(customer)

    def listed() -> list[str]:
        rows = running.call("GET", "/v1/me/decisions", headers=headers).json()["decisions"]
        return sorted(row["decision_id"] for row in rows)

    await_(lambda: len(listed()) >= len(served), "the rows of both workers")
    assert listed() == sorted(served)
    assert running.metric(written) >= before + len(served)
    for decision in (served[0], served[-1], running.ask(customer)["decision_id"]):
        why = running.call("GET", f"/v1/me/recommendations/{decision}/explanation", headers=headers).json()
        assert why["items"][0]["evidence"][0]["item_id"] == "milk"
    assert running.metric('considerate_decisions_total{outcome="refused"}') == 0


def test_what_one_worker_stores_the_other_sees_at_once(running: Running, promoted: str) -> None:
    customer = f"{CANARY} bea"
    running.world.know(customer, Purpose.PERSONALISE_ONSITE)
    for number, item in enumerate(["milk", "bread", "tea", "honey"] * 5):
        event = {"event_id": str(number), "kind": "dismiss" if number % 8 < 4 else "like", "item_id": item}
        answer = running.call("POST", "/v1/me/events", json={"events": [event]}, headers=running.world.token(customer))
        assert answer.json()["results"][0]["status"] == "stored"
        listed = [entry["item_id"] for entry in running.ask(customer)["items"]]
        assert (item in listed) == (event["kind"] == "like"), number


def test_a_damaged_model_changes_nothing(
    running: Running, promoted: str, build_model: Callable[..., LinearItems]
) -> None:
    before = running.ask("nobody")["model_version"]
    refused = running.metric('considerate_model_swaps_total{outcome="refused"}')
    models = running.world.home / "models"
    broken = models / "considerate-99"
    build_model().save(broken)
    content = bytearray((broken / "base.npy").read_bytes())
    content[-1] ^= 1
    (broken / "base.npy").write_bytes(content)

    def a_worker_refuses_it() -> bool:
        # The refresher puts the pointer right again, and may be faster than any worker looks.
        write_pointer(models, Pointer("considerate-99", "x"))
        return running.metric('considerate_model_swaps_total{outcome="refused"}') >= refused + 1

    await_(a_worker_refuses_it, "a worker refuses it")
    assert {running.ask("nobody")["model_version"] for _ in range(20)} == {before}
    assert "model refused, kept" in running.log.read_text()


def test_while_the_store_is_gone_or_broken_every_page_gets_its_list_and_writes_are_refused(
    running: Running, promoted: str
) -> None:
    customer = f"{CANARY} cem"
    running.world.know(customer, Purpose.PERSONALISE_ONSITE)
    running.buy(customer, "milk")
    assert running.ask(customer)["basis"] == "personalised"
    database = running.world.home / "considerate.db"
    aside = running.world.home / "aside"

    def move(source: Path, target: Path) -> None:
        # The log and its index belong to the database: SQLite loses what they hold if they are parted.
        for ending in ("", "-wal", "-shm"):
            file = source.with_name(source.name + ending)
            if file.exists():
                file.rename(target.with_name(target.name + ending))

    def closed() -> None:
        answers = [running.ask(customer) for _ in range(20)]
        assert {(answer["basis"], answer["reason"]) for answer in answers} == {
            ("non_personalised", "consent_unavailable")
        }
        assert all(answer["items"] for answer in answers)
        for method, path, body in (
            ("DELETE", "/v1/me/consents/personalise_onsite", None),
            ("GET", "/v1/me/consents", None),
            ("POST", "/v1/me/events", {"events": [{"event_id": "9", "kind": "view", "item_id": "tea"}]}),
        ):
            answer = running.call(method, path, json=body, headers=running.world.token(customer))
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")

    move(database, aside)
    try:
        closed()
        database.write_bytes(b"this is no database" * 1000)
        closed()
    finally:
        database.unlink(missing_ok=True)
        move(aside, database)
    await_(lambda: {running.ask(customer)["basis"] for _ in range(20)} == {"personalised"}, "every list personal again")


def test_while_another_process_writes_for_long_lists_go_on_and_writes_say_so(running: Running, promoted: str) -> None:
    customer = f"{CANARY} dan"
    running.world.know(customer, Purpose.PERSONALISE_ONSITE)
    running.buy(customer, "milk")
    engine = open_store(running.world.url, create=False)
    with writing(engine) as conn:
        conn.execute(text("UPDATE subject SET age_source = age_source"))
        assert running.ask(customer)["basis"] == "personalised"
        headers = running.world.token(customer)
        answer = running.call("DELETE", "/v1/me/consents/personalise_onsite", headers=headers)
        assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
    engine.dispose()
    assert running.call("DELETE", "/v1/me/consents/personalise_onsite", headers=headers).status_code == 200


def test_forged_tokens_all_get_the_same_401(running: Running) -> None:
    stranger = Ed25519PrivateKey.generate()
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": "https://shop.test", "aud": "considerate", "sub": CANARY, "iat": now, "exp": now + 60, "jti": "1"}
    good = running.world.token(CANARY)["Authorization"].removeprefix("Bearer ")
    head, body, signature = good.split(".")
    tokens = [
        "x",
        f"x{head}.{body}.{signature}",
        f"{head}.{body}.",
        f"{head}.{body}.{signature[:-4]}AAAA",
        f"{head}.{body[:-4]}AAAA.{signature}",
        *(jwt.encode({**claims, "sub": f"{CANARY}{n}"}, stranger, algorithm="EdDSA") for n in range(15)),
    ]
    assert len(tokens) == 20
    answers = [
        running.call("GET", "/v1/me/recommendations", headers={"Authorization": f"Bearer {token}"}) for token in tokens
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


def test_too_much_and_malformed_input_is_refused_as_a_problem(running: Running) -> None:
    headers = {**running.world.token(CANARY), "Content-Type": "application/json"}

    def chunks() -> Iterator[bytes]:
        for _ in range(40):
            yield b" " * 10_000

    answers = [
        (413, running.call("POST", "/v1/me/events", content=b" " * 300_000, headers=headers)),
        (413, running.call("POST", "/v1/me/events", content=chunks(), headers=headers)),
        (400, running.call("POST", "/v1/me/events", content=b'{"events": ' + CANARY.encode(), headers=headers)),
        (422, running.call("POST", "/v1/me/events", json={"events": [], "who": CANARY}, headers=headers)),
        (422, running.call("PUT", "/v1/me/consents/everything", json={}, headers=headers)),
        (403, running.call("POST", "/v1/events", json={"events": []}, headers=running.world.token(CANARY))),
        (404, running.call("GET", f"/{CANARY}")),
    ]
    assert [answer.status_code for _, answer in answers] == [status for status, _ in answers]
    assert {answer.headers["content-type"] for _, answer in answers} == {"application/problem+json"}
    assert not [answer.text for _, answer in answers if CANARY in answer.text]


@pytest.mark.parametrize("length", [1, 1_000, 10_000])
def test_long_ids_are_answered(running: Running, promoted: str, length: int) -> None:
    customer = "ü" * length
    running.world.know(customer, Purpose.PERSONALISE_ONSITE)
    running.buy(customer, "milk", "i" * length)
    assert running.ask(customer)["basis"] == "personalised"


@pytest.mark.parametrize("path", ["/", "/docs.json", "/schema.json", "/static_content/index.css", "/healthz", "/docs"])
def test_no_page_of_the_server_underneath_is_open(running: Running, path: str) -> None:
    answer = running.call("GET", path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")


def test_probes_and_description_answer(running: Running) -> None:
    assert running.call("GET", "/livez").json() == {"status": "ok"}
    assert running.call("GET", "/readyz").json() == {"status": "ok"}
    assert "/v1/me/consents/{purpose}" in running.call("GET", "/openapi.json").json()["paths"]


def test_a_second_service_on_the_same_port_is_one_clear_error(running: Running) -> None:
    command = [*CONSIDERATE, "serve", "--config", str(running.world.home / "service.toml")]
    environment = child_environment({"CONSIDERATE_HOME": str(running.world.home)})
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "cannot listen there: Address already in use" in ended.stderr
    assert "--port" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_nothing_that_the_service_wrote_outside_the_store_names_a_customer(running: Running, promoted: str) -> None:
    """Runs after the others: it searches what they have left."""
    store = {"considerate.db", "considerate.db-wal", "considerate.db-shm"}
    files = [path for path in running.world.home.rglob("*") if path.is_file() and path.name not in store]
    assert running.log in files
    needles = [CANARY.encode(), json.dumps(CANARY)[1:-1].encode(), b"canary"]
    assert not [path for path in files if any(needle in path.read_bytes() for needle in needles)]
    assert "canary" not in running.call("GET", "/metrics").text


def test_ctrl_c_stops_everything_that_was_started(tmp_path: Path, set_up_in: "Callable[[Path], World]") -> None:
    world, port = set_up_in(tmp_path), free_port()
    command = [*CONSIDERATE, "serve", "--config", str(service_toml(tmp_path, port)), "--workers", "1"]
    log = tmp_path / "serve.log"
    with log.open("wb") as stream:
        process = subprocess.Popen(
            command, cwd=ROOT, env=child_environment({"CONSIDERATE_HOME": str(tmp_path)}), stdout=stream, stderr=stream
        )
    running = Running(world, process, f"http://127.0.0.1:{port}", log)
    try:
        await_(lambda: b"answers at" in log.read_bytes(), "the service starts", START_SECONDS)
        assert len(running.workers()) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    finally:
        process.kill()
        running.client.close()
        world.customers.close()
    assert running.workers() == []
    assert not [p for p in Path("/proc").iterdir() if _is_refresher(p, tmp_path)]
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
    assert log.read_text().count("\n") <= 6, "a start and a stop are a few lines"
    assert not list((tmp_path / "run").rglob("service.json"))


def _is_refresher(folder: Path, home: Path) -> bool:
    try:
        command = (folder / "cmdline").read_bytes()
    except OSError:
        return False
    return b"refresher_process" in command and str(home).encode() in command
