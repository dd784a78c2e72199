"""Who may do what: every route of the description against every kind of token, and against another customer's."""

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from tests.serving.attack_table import ME, NOBODYS, NOTICE, PUBLIC, PURCHASE, ROUTES, Route

from considerate.consent.purposes import Purpose
from considerate.serving.development import mint_token
from considerate.serving.tokens import SERVICE_SCOPES

if TYPE_CHECKING:
    from tests.serving.conftest import Client, World

ALL = [pytest.param(key, route, id=" ".join(key)) for key, route in ROUTES.items()]
CANARY = "canary-7f3a"


def described(client: "Client") -> dict[tuple[str, str], dict[str, Any]]:
    paths = client("GET", "/openapi.json").json()["paths"]
    return {(method.upper(), path): one for path, methods in paths.items() for method, one in methods.items()}


def call(client: "Client", key: tuple[str, str], route: Route, headers: dict[str, str], **names: str) -> httpx.Response:
    method, path = key
    filled = path.format(**{name: quote(value, safe="") for name, value in {**NOBODYS, **names}.items()})
    return client(method, filled, headers=headers, **({} if route.body is None else {"json": route.body}))


def kinds(world: "World") -> dict[str, dict[str, str]]:
    """Give the headers of every kind of caller, by name."""
    auth, now = world.config.auth, datetime.now(UTC)
    expired = mint_token("ann", ["me"], auth, world.signing_key, at=now - timedelta(hours=2))
    good = world.token("ann")["Authorization"].removeprefix("Bearer ")
    claims = jwt.decode(good, options={"verify_signature": False})
    header = jwt.get_unverified_header(good)
    forged = jwt.encode(claims, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=header)
    identity = jwt.encode(claims, world.signing_key, algorithm="EdDSA", headers={**header, "typ": "JWT"})
    return {
        "none": {},
        "forged": {"Authorization": f"Bearer {forged}"},
        "expired": {"Authorization": f"Bearer {expired}"},
        "ID token": {"Authorization": f"Bearer {identity}"},
        "customer": world.token("ann"),
        **{str(scope): world.token("ann", scope) for scope in SERVICE_SCOPES},
        "every scope": world.token("ann", "me", *SERVICE_SCOPES),
        "unknown scope": world.token("ann", "admin", "me:write", "*"),
    }


UNBELIEVED = ("none", "forged", "expired", "ID token")


def expected(route: Route, kind: str) -> int | None:
    """Give the status of a refusal, None where the caller is let in."""
    if route.opens == PUBLIC:
        return None
    if kind in UNBELIEVED:
        return 401
    if route.opens == ME:
        return None if kind == "customer" else 403
    return None if kind in (route.opens, "every scope") else 403


def test_every_route_of_the_service_stands_in_the_table(world: "World") -> None:
    routes = described(world.client())
    assert routes.keys() == ROUTES.keys()
    for key, operation in routes.items():
        assert ("security" in operation) == (ROUTES[key].opens != PUBLIC), key


@pytest.mark.parametrize(("key", "route"), ALL)
def test_a_route_opens_to_its_own_kind_of_token_alone(world: "World", key: tuple[str, str], route: Route) -> None:
    world.know("ann")
    client = world.client()
    answers = {kind: call(client, key, route, headers) for kind, headers in kinds(world).items()}
    for kind, answer in answers.items():
        refusal = expected(route, kind)
        if refusal is None:
            assert answer.status_code not in (401, 403), f"{kind}: {answer.text}"
            assert answer.status_code < 500, f"{kind}: {answer.text}"
        else:
            assert answer.status_code == refusal, f"{kind}: {answer.text}"
            assert answer.headers["content-type"] == "application/problem+json"
    for status in (401, 403):
        assert len({answer.content for kind, answer in answers.items() if expected(route, kind) == status}) <= 1
    for kind in UNBELIEVED:
        assert route.opens == PUBLIC or answers[kind].headers["www-authenticate"].startswith("Bearer")


class Ann:
    """A customer with something of everything that the service keeps, and where it is found."""

    def __init__(self, world: "World", client: "Client") -> None:
        self.world, self.client, self.headers = world, client, world.token("ann")
        world.know("ann", Purpose.PERSONALISE_ONSITE)
        lines = [f"{CANARY}-bought", f"{CANARY}-excluded"]
        events = [
            {
                "customer_id": "ann",
                "event_id": line,
                "kind": "purchase",
                "item_id": "milk",
                "order_line": line,
                "timestamp": (world.clock.now - timedelta(hours=1)).isoformat(),
            }
            for line in lines
        ]
        till = client("POST", "/v1/events", json={"events": events}, headers=world.token("till", "events:write"))
        assert till.status_code == 202, till.text
        receipt = self.ask("PUT", "/v1/me/consents/train_models", NOTICE)["receipt_id"]
        self.ask("PUT", "/v1/me/preferences", {"likes": {"brands": [f"{CANARY}-brand"]}})
        self.ask("PUT", f"/v1/me/exclusions/{lines[1]}", {"reason": "gift"})
        decision = self.ask("GET", "/v1/me/recommendations")
        assert decision["basis"] == "personalised"
        self.names = {
            "receipt_id": receipt,
            "order_line": lines[0],
            "decision_id": decision["decision_id"],
            "request_id": self.ask("POST", "/v1/me/privacy-requests", {"type": "access"})["request_id"],
        }
        self.secrets = [CANARY, *(value for name, value in self.names.items() if name != "order_line")]
        deadline = time.monotonic() + 10
        while not self.ask("GET", "/v1/me/decisions")["decisions"]:
            assert time.monotonic() < deadline, "the log is written behind the answers"

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.client(method, path, headers=self.headers, **({} if body is None else {"json": body}))
        assert answer.status_code in (200, 202), f"{method} {path}: {answer.text}"
        read: dict[str, Any] = answer.json()
        return read

    def everything(self) -> dict[str, Any]:
        """Give what she sees of herself."""
        kept = ("consents", "consent-history", "preferences", "exclusions", "decisions")
        shown = {name: self.ask("GET", f"/v1/me/{name}") for name in kept}
        shown["request"] = self.ask("GET", f"/v1/me/privacy-requests/{self.names['request_id']}")
        return shown


@pytest.fixture
def ann(world: "World") -> Ann:
    world.know("bob", Purpose.PERSONALISE_ONSITE)
    return Ann(world, world.client())


CLAIMS_TO_BE_ANN = {"X-User-Id": "ann", "X-Customer-Id": "ann", "X-Forwarded-User": "ann", "Cookie": "sub=ann"}


def test_what_is_looked_for_is_there_to_be_found(ann: Ann) -> None:
    shown = json.dumps(ann.everything())
    assert not [secret for secret in ann.secrets if secret not in shown]


@pytest.mark.parametrize("disguise", ["none", "headers", "query"])
def test_another_customer_reads_and_changes_nothing_of_hers(world: "World", ann: Ann, disguise: str) -> None:
    before = ann.everything()
    headers = {**world.token("bob"), **(CLAIMS_TO_BE_ANN if disguise == "headers" else {})}
    for key, route in ROUTES.items():
        if route.opens != ME:
            continue
        method, path = key
        wanted = (method, f"{path}?customer_id=ann&sub=ann") if disguise == "query" else key
        answer = call(ann.client, wanted, route, headers, **ann.names)
        assert answer.status_code < 500, key
        told = answer.text + str(answer.headers)
        assert not [secret for secret in ann.secrets if secret in told], key
        if route.foreign and disguise != "query":
            unknown = call(ann.client, key, route, headers)
            assert (answer.status_code, answer.content) == (404, unknown.content), key
    assert ann.everything() == before


@pytest.mark.parametrize("place", ["header", "query", "body"])
def test_whoever_names_another_customer_is_counted_and_logged_without_the_name(
    world: "World", caplog: pytest.LogCaptureFixture, place: str
) -> None:
    view = {"events": [{"event_id": "1", "kind": "view", "item_id": "milk"}]}
    client, headers = world.client(), world.token("bob")
    assert client("POST", "/v1/me/events", json=view, headers=headers).status_code == 202
    till = {"events": [{**PURCHASE, "customer_id": "ann"}]}
    assert client("POST", "/v1/events", json=till, headers=world.token("till", "events:write")).status_code == 202
    assert caplog.text == ""
    query = "?customer_id=ann-of-the-shop" if place == "query" else ""
    if place == "header":
        headers["X-User-Id"] = "ann-of-the-shop"
    body = {**view, "customer_id": "ann-of-the-shop"} if place == "body" else view
    for _ in range(3):
        client("POST", f"/v1/me/events{query}", json=body, headers=headers)
    (counter,) = world.resources.metrics.foreign_names.collect()
    counted = {one.labels["place"]: one.value for one in counter.samples if one.name.endswith("_total")}
    assert counted == {place: 3}
    assert caplog.text.count(f"names a customer in its {place}, which opens nothing") == 1
    assert "ann-of-the-shop" not in caplog.text


def test_whoever_walks_through_ids_meets_equal_404s_and_then_a_limit(world: "World") -> None:
    rates = world.config.rates.model_copy(update={"customer_per_minute": 20})
    client = world.client(config=world.config.model_copy(update={"rates": rates}))
    key = ("GET", "/v1/me/receipts/{receipt_id}")
    answers = [call(client, key, ROUTES[key], world.token("bob"), receipt_id=f"{number:032x}") for number in range(25)]
    assert [answer.status_code for answer in answers] == [404] * 20 + [429] * 5
    assert len({answer.content for answer in answers[:20]}) == 1


WITH_BODY = [pytest.param(key, route, id=" ".join(key)) for key, route in ROUTES.items() if route.body]


@pytest.mark.parametrize(("key", "route"), WITH_BODY)
def test_a_field_that_is_not_the_callers_to_set_is_refused_wherever_it_stands(
    world: "World", key: tuple[str, str], route: Route
) -> None:
    client, headers = world.client(), world.token("ann", route.opens)
    facts = {"age_band": "adult", "consent_epoch": 0, "state": "active", "subject_ref": "ann"}
    for field, value in facts.items():
        for body in () if field in route.takes else _with_field(route.body, field, value):
            answer = call(client, key, Route(route.opens, body), headers)
            assert answer.status_code == 422, f"{body}: {answer.text}"
            assert answer.headers["content-type"] == "application/problem+json"
    assert world.customers.standing("ann").subject_ref is None, "nobody was made known by it"


def _with_field(body: Any, field: str, value: Any) -> Iterator[dict[str, Any]]:
    """Give the body with the field added to each of its objects in turn."""
    yield {**body, field: value}
    for name, inner in body.items():
        if isinstance(inner, dict):
            yield from ({**body, name: changed} for changed in _with_field(inner, field, value))
        elif isinstance(inner, list) and inner and isinstance(inner[0], dict):
            yield from ({**body, name: [changed, *inner[1:]]} for changed in _with_field(inner[0], field, value))


def test_every_object_that_a_body_may_hold_is_closed(world: "World") -> None:
    document = world.client()("GET", "/openapi.json").json()
    schemas = document["components"]["schemas"]
    asked = [operation["requestBody"] for operation in described(world.client()).values() if "requestBody" in operation]
    waiting, seen = [json.dumps(asked)], set()
    while waiting:
        text = waiting.pop()
        for name in [part.split('"')[0] for part in text.split("#/components/schemas/")[1:]]:
            if name not in seen:
                seen.add(name)
                waiting.append(json.dumps(schemas[name]))
    objects = {name: schemas[name] for name in seen if schemas[name].get("type") == "object"}
    assert len(objects) > 5
    assert [name for name, schema in objects.items() if schema.get("additionalProperties") is not False] == []


@pytest.mark.parametrize("odd", ["\x00", "\n", "\x1b[2J", "ann\r\nX-Injected: 1", "\x7f"])
def test_a_subject_with_a_control_character_is_nobody(world: "World", odd: str) -> None:
    answer = world.client()("GET", "/v1/me/recommendations", headers=world.token(f"ann{odd}"))
    assert answer.status_code == 401


@pytest.mark.parametrize(("key", "route"), ALL)
def test_no_refusal_no_log_line_and_no_label_holds_what_was_sent(
    world: "World", caplog: pytest.LogCaptureFixture, key: tuple[str, str], route: Route
) -> None:
    client = world.client()
    method, path = key
    scope = "me" if route.opens == PUBLIC else route.opens
    filled = path.format(**dict.fromkeys(NOBODYS, f"{CANARY} %0A"))
    for headers in (world.token(CANARY, scope), {"Authorization": f"Bearer {CANARY}"}, {"X-Request-Id": CANARY}):
        for more in ({}, {"json": {CANARY: CANARY}}, {"content": f'{{"{CANARY}'}):
            answer = client(method, f"{filled}?{CANARY}={CANARY}", headers=headers, **more)
            assert answer.status_code < 500, answer.text
            refused = answer.status_code >= 400
            # The name of an unknown field is told, cut short; what stands in it is not.
            told = answer.text.replace(f'-> {CANARY}"', "")
            assert not (refused and CANARY in told + str(answer.headers)), f"{headers} {more}"
    assert CANARY not in caplog.text
    assert CANARY not in client("GET", "/metrics").text
