"""A small shop whose right answers are known: nine items, one model, three customers."""

import asyncio
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scipy.sparse import csr_matrix
from starlette.types import ASGIApp
from tests.databases import KINDS, PostgresServer

from considerate.consent.decision import Policy
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.items.catalogue import Catalogue
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.manifest import ConsentBasis, Manifest
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import Weighting
from considerate.serving.admission import Admission
from considerate.serving.app import create_app
from considerate.serving.customers import StoredCustomers
from considerate.serving.decision_log import QueuedDecisions
from considerate.serving.development import create_development_key, mint_token, read_development_key
from considerate.serving.metrics import Metrics
from considerate.serving.models import OneModel, Served
from considerate.serving.proofs import Proofs
from considerate.serving.resources import Resources
from considerate.serving.rights import Rights
from considerate.serving.shelves import Shelves
from considerate.serving.tokens import open_verifier
from considerate.settings.service import AuthConfig, ModelSource, PolicyConfig, ServiceConfig
from considerate.store.catalogue import upsert_items
from considerate.store.decisions import decisions_url
from considerate.store.engine import open_store, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import ensure_subjects

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)

#            id            group    min_age sensitive in_stock  popular
ITEMS = [
    ("aspirin-test", "",      0, "health", True,  0.90),
    ("beer",         "",     18, "",       True,  0.80),
    ("bread",        "",      0, "",       True,  0.70),
    ("gone-jam",     "",      0, "",       False, 0.60),
    ("honey",        "",      0, "",       True,  0.50),
    ("milk",         "",      0, "",       True,  0.40),
    ("shirt-m",      "shirt", 0, "",       True,  0.35),
    ("shirt-s",      "shirt", 0, "",       True,  0.30),
    ("tea",          "",      0, "",       True,  0.20),
]  # fmt: skip
IDS = tuple(row[0] for row in ITEMS)
POPULAR_FOR_ADULTS = ["beer", "bread", "honey", "milk", "shirt-m", "tea"]
POPULAR_FOR_MINORS = ["bread", "honey", "milk", "shirt-m", "tea"]
GOES_WITH = {
    "milk": {"tea": 5.0, "honey": 3.0},
    "bread": {"honey": 4.0, "gone-jam": 9.0},
    "aspirin-test": {"tea": 50.0},
}


def catalogue() -> Catalogue:
    """Give the nine items."""
    n = len(ITEMS)

    def text(values: list[str]) -> Any:
        return np.array(values, dtype=object)

    return Catalogue(
        item_ids=IDS,
        group_id=text([row[1] for row in ITEMS]),
        title=text([row[0].title() for row in ITEMS]),
        category=text(["FOOD > DRINKS" if row[0] in ("beer", "milk", "tea") else "FOODSTUFF" for row in ITEMS]),
        brand=text([""] * n),
        image_url=text([""] * n),
        price=np.ones(n, np.float32),
        min_age=np.array([row[2] for row in ITEMS], np.int16),
        sensitive=text([row[3] for row in ITEMS]),
        in_stock=np.array([row[4] for row in ITEMS], np.bool_),
    )


def make_model(*, source: str = "ledger", reverse: bool = False) -> LinearItems:
    """Give a model of the nine items: popularity, and what goes with what."""
    n = len(IDS)
    popular = np.array([row[5] for row in ITEMS], np.float32)
    similarity = np.zeros((n, n), np.float32)
    for item, others in GOES_WITH.items():
        for other, value in others.items():
            similarity[IDS.index(item), IDS.index(other)] = value
    manifest = Manifest(
        kind="linear_items",
        algorithm="item_knn",
        weighting=Weighting(),
        items=n,
        data_digest="0" * 64,
        consent=ConsentBasis(source=source, k_item=10, k_pair=5, customers=100, rows=1000),
    )
    base = base_of(-popular if reverse else popular)
    return LinearItems(manifest, IDS, base, base, csr_matrix(similarity))


def served(artefact: LinearItems | None = None, version: str = "considerate-1") -> Served:
    """Put a model into service."""
    artefact = artefact or make_model()
    return Served(version, artefact, {item: row for row, item in enumerate(artefact.item_ids)})


class Clock:
    """A clock that tests set."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now


class Client:
    """Calls an ASGI application as HTTP would."""

    def __init__(self, app: ASGIApp) -> None:
        self._runner = asyncio.Runner()
        self._client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service")

    def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **more))

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


@dataclass
class World:
    """The shop, its service in this process, and the key with which it mints tokens."""

    home: Path
    url: str
    config: ServiceConfig
    keys: Keys
    signing_key: Ed25519PrivateKey
    resources: Resources
    customers: StoredCustomers
    clock: Clock
    log: QueuedDecisions
    clients: dict[tuple[int, ...], Client] = field(default_factory=dict)

    def client(self, **changes: Any) -> Client:
        """Give a client of the service, with some resources exchanged."""
        # Laying out an application takes longer than most tests: the same resources share one.
        resources = replace(self.resources, **changes)
        parts = tuple(id(getattr(resources, each.name)) for each in fields(resources))
        if parts not in self.clients:
            self.clients[parts] = Client(create_app(resources))
        return self.clients[parts]

    def token(self, subject: str, *scopes: str) -> dict[str, str]:
        """Give the headers of a caller; without scopes, a customer."""
        token = mint_token(subject, scopes or ("me",), self.config.auth, self.signing_key, at=datetime.now(UTC))
        return {"Authorization": f"Bearer {token}"}

    def know(self, customer: str, *purposes: Purpose, age_band: str = "adult") -> bytes:
        """Let the store know a customer who allows `purposes`."""
        engine = open_store(self.url, create=False)
        with writing(engine) as conn:
            ref = ensure_subjects(conn, self.keys, [customer], age_bands={customer: age_band}, at=NOW)[customer]
            for purpose in purposes:
                at = NOW - timedelta(days=1)
                # A policy that takes everyone for an adult: some tests need grants that must not have an effect.
                ensure_subjects(conn, self.keys, [customer], age_bands={customer: "adult"}, at=NOW)
                grant(conn, self.keys, ref, purpose, notice=current_notice(), at=at, policy=Policy())
            ensure_subjects(conn, self.keys, [customer], age_bands={customer: age_band}, at=NOW)
        engine.dispose()
        return ref

    def buy(self, customer: str, *items: str, channel: str = "online") -> None:
        """Let the order system report purchases, a minute apart."""
        events = [
            {
                "customer_id": customer,
                "event_id": f"{item}-{place}",
                "kind": "purchase",
                "item_id": item,
                "channel": channel,
                "timestamp": (NOW - timedelta(hours=1) + timedelta(minutes=place)).isoformat(),
            }
            for place, item in enumerate(items)
        ]
        answer = self.client()(
            "POST", "/v1/events", json={"events": events}, headers=self.token("till", "events:write")
        )
        assert answer.status_code == 202, answer.text

    def ask(self, customer: str, path: str = "/v1/me/recommendations", **more: Any) -> dict[str, Any]:
        """Ask for a list; must be answered with 200."""
        headers = {**self.token(customer), **more.pop("headers", {})}
        answer = self.client(**more)("GET", path, headers=headers)
        assert answer.status_code == 200, answer.text
        body: dict[str, Any] = answer.json()
        return body


@pytest.fixture(scope="session")
def empty_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with store, catalogue and keys, made once and copied for each shop."""
    home = tmp_path_factory.mktemp("home")
    create_development_key(home / "keys" / "development.pem")
    load_keys(home / "keys", create=True)
    stock(f"sqlite:///{home / 'considerate.db'}")
    return home


def stock(url: str) -> None:
    """Put the nine items into a store."""
    engine = open_store(url, create=True)
    with writing(engine) as conn:
        upsert_items(conn, catalogue())
    engine.dispose()


@pytest.fixture(scope="session")
def stocked_postgresql(postgres_server: PostgresServer) -> str:
    """Give the name of a PostgreSQL database that holds the catalogue, to be copied."""
    template = postgres_server.create()
    stock(postgres_server.url_of(template))
    return template


@pytest.fixture(params=KINDS)
def store_kind(request: pytest.FixtureRequest) -> str:
    """Every shop stands on SQLite and on PostgreSQL; parametrize it indirectly with one alone for tests on a file."""
    kind: str = request.param
    return kind


@pytest.fixture
def build_world(empty_home: Path, store_kind: str, request: pytest.FixtureRequest) -> Iterator[Callable[..., World]]:
    """Give a builder of shops, all closed at the end."""
    worlds: list[World] = []
    databases: list[str] = []

    def build(home: Path, *, unknown_age: str = "deny") -> World:
        shutil.copytree(empty_home, home, dirs_exist_ok=True)
        url = None
        if store_kind == "postgresql":
            (home / "considerate.db").unlink()
            template = request.getfixturevalue("stocked_postgresql")
            server: PostgresServer = request.getfixturevalue("postgres_server")
            databases.append(server.create(template=template))
            url = server.url_of(databases[-1])
        worlds.append(set_up(home, unknown_age=unknown_age, url=url))
        return worlds[-1]

    yield build
    for made in worlds:
        for client in made.clients.values():
            client.close()
        made.log.close()
        made.customers.close()
    for name in databases:
        request.getfixturevalue("postgres_server").drop(name)


@pytest.fixture(scope="session")
def set_up_in(empty_home: Path) -> Callable[[Path], World]:
    """Give a builder of shops that the caller closes."""

    def build(home: Path) -> World:
        shutil.copytree(empty_home, home, dirs_exist_ok=True)
        return set_up(home, unknown_age="deny")

    return build


@pytest.fixture(scope="session")
def build_model() -> Callable[..., LinearItems]:
    """Give a builder of models: `source` of its consent, popularity in `reverse`."""
    return make_model


@pytest.fixture
def world(tmp_path: Path, build_world: Callable[..., World]) -> World:
    """Give a shop that takes unknown ages for minors."""
    return build_world(tmp_path)


def set_up(home: Path, *, unknown_age: str, url: str | None = None) -> World:
    """Start a shop's service, in this process, on a folder that has keys, and the store if `url` names no other."""
    url = url or f"sqlite:///{home / 'considerate.db'}"
    auth = AuthConfig(issuer="https://shop.test", audience="considerate", development_key=Path("keys/development.pem"))
    config = ServiceConfig(
        auth=auth,
        model=ModelSource(name="considerate"),
        surfaces={"home": "all", "discover": "new", "again": "repeat"},
        policy=PolicyConfig.model_validate({"unknown_age": unknown_age}),
    )
    # On a busy machine a test waits for its answer; tests/serving/test_deadline.py holds the bound.
    config = config.model_copy(update={"request_seconds": 60.0})
    metrics, clock = Metrics(), Clock()
    customers = StoredCustomers(
        url,
        home / "keys",
        # A server that shares a busy machine with other tests may take its time; tests/store holds the bound itself.
        read_timeout_ms=100 if url.startswith("sqlite") else 5_000,
        write_timeout_ms=2_000,
        on_history_read=metrics.history_reads.inc,
        events_for=timedelta(days=config.retention.events_days),
        now=clock,
        admit=Admission(home),
    )
    verifier = open_verifier(auth, home, max_subject=config.limits.id_characters)
    verifier.refresh()
    log = QueuedDecisions(decisions_url(url, home), home / "tallies", capacity=100, flush_seconds=0.05)
    rights = Rights(customers, url, home, quick_seconds=60)  # as on a machine that has nothing else to do
    resources = Resources(
        config,
        verifier,
        customers,
        OneModel(served()),
        Shelves(),
        metrics,
        clock,
        decisions=log,
        rights=rights,
        proofs=Proofs(customers, home / "keys", config),
    )
    keys = load_keys(home / "keys", create=False)
    signing_key = read_development_key(home / "keys" / "development.pem")
    return World(home, url, config, keys, signing_key, resources, customers, clock, log)
