"""Rate limits: per customer, per service and per address; probes are free, and nobody's address is kept."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from considerate.serving.app import create_app
from considerate.serving.problems import Problem
from considerate.serving.rates import Counts, Rates, network_of
from considerate.serving.tokens import Caller
from considerate.settings.service import RatesConfig

if TYPE_CHECKING:
    from tests.serving.conftest import Client, World

OWN = "/v1/me/recommendations"
ANYBODYS = "/v1/recommendations/default"


def limited(world: "World", **quotas: int) -> "Client":
    config = world.config.model_copy(update={"rates": RatesConfig(**quotas)})
    return world.client(config=config)


def refused(answer: httpx.Response) -> bool:
    if answer.status_code != 429:
        return False
    assert 1 <= int(answer.headers["retry-after"]) <= 60
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:considerate:problem:too-many-requests"
    return True


def test_a_customer_who_asks_too_often_waits_and_nobody_else_does(world: "World") -> None:
    client = limited(world, customer_per_minute=3)
    assert [refused(client("GET", OWN, headers=world.token("ann"))) for _ in range(5)] == [False] * 3 + [True] * 2
    assert not refused(client("GET", OWN, headers=world.token("bob")))
    assert refused(client("DELETE", "/v1/me/consents", headers=world.token("ann")))
    answer = client("GET", OWN, headers=world.token("ann"))
    assert (answer.headers["cache-control"], answer.headers["vary"]) == ("no-store", "Authorization, Sec-GPC")


def test_a_service_has_a_quota_of_its_own_though_it_is_called_like_a_customer(world: "World") -> None:
    client = limited(world, service_per_minute=2, customer_per_minute=1)
    body = {"events": [{"customer_id": "x", "event_id": "1", "kind": "purchase", "item_id": "milk"}]}
    till = world.token("ann", "events:write")
    assert [refused(client("POST", "/v1/events", json=body, headers=till)) for _ in range(3)] == [False, False, True]
    assert not refused(client("GET", OWN, headers=world.token("ann")))


def test_wrong_routes_count_too(world: "World") -> None:
    client = limited(world, service_per_minute=2)
    answers = [client("GET", OWN, headers=world.token("batch", "export")).status_code for _ in range(3)]
    assert answers == [403, 403, 429]


@pytest.mark.parametrize("path", [ANYBODYS, "/openapi.json"])
def test_whoever_needs_no_token_is_counted_by_address_whatever_token_they_show(world: "World", path: str) -> None:
    client = limited(world, address_per_minute=2)
    headers = [{}, {"Authorization": "Bearer x"}, world.token("ann")]
    assert [refused(client("GET", path, headers=one)) for one in headers] == [False, False, True]


def test_tokens_that_do_not_hold_are_counted_by_address(world: "World") -> None:
    client = limited(world, address_per_minute=2)
    answers = [client("GET", OWN, headers={"Authorization": f"Bearer {n}"}).status_code for n in range(4)]
    assert answers == [401, 401, 429, 429]
    assert not refused(client("GET", OWN, headers=world.token("ann"))), "a token that holds is let through"


@pytest.mark.parametrize("body", [b"{", b"[" * 5_000])
def test_a_malformed_body_comes_after_the_token_and_counts(world: "World", body: bytes) -> None:
    client = limited(world, address_per_minute=2, customer_per_minute=2)
    path, json = "/v1/me/events", {"Content-Type": "application/json"}

    def sent(headers: dict[str, str]) -> int:
        return client("POST", path, content=body, headers={**json, **headers}).status_code

    assert [sent({}), sent({"Authorization": "Bearer x"}), sent({})] == [401, 401, 429]
    ann = world.token("ann")
    assert [sent(ann) for _ in range(3)] == [400, 400, 429]
    assert refused(client("GET", OWN, headers=ann)), "they are counted together with all else"
    assert sent(world.token("till", "events:write")) == 403


def test_a_body_that_turns_out_too_large_comes_after_the_token_and_counts(world: "World") -> None:
    client = limited(world, address_per_minute=1)

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b" " * 10_000

    answers = [client("POST", "/v1/me/events", content=chunks()).status_code for _ in range(2)]
    assert answers == [401, 429]
    assert client("POST", "/v1/me/events", content=chunks(), headers=world.token("ann")).status_code == 413


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/v2/anything", 404), ("PATCH", "/v1/events", 405)])
def test_what_no_route_takes_is_counted_by_address(world: "World", method: str, path: str, status: int) -> None:
    client = limited(world, address_per_minute=2)
    assert [client(method, path).status_code for _ in range(3)] == [status, status, 429]
    assert refused(client(method, path, headers=world.token("ann")))


def test_a_request_is_counted_once_whatever_is_wrong_with_it(world: "World") -> None:
    client = limited(world, customer_per_minute=2)
    answers = [client("POST", "/v1/me/events", json={}, headers=world.token("ann")).status_code for _ in range(3)]
    assert answers == [422, 422, 429]


def test_probes_are_free(world: "World") -> None:
    client = limited(world, address_per_minute=1)
    for path in ("/livez", "/readyz", "/metrics") * 3:
        assert client("GET", path).status_code == 200


def test_another_address_has_a_quota_of_its_own(world: "World") -> None:
    config = world.config.model_copy(update={"rates": RatesConfig(address_per_minute=1)})
    app = create_app(replace(world.resources, config=config))

    async def ask(host: str) -> int:
        transport = httpx.ASGITransport(app, client=(host, 1))
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            return (await client.get(ANYBODYS)).status_code

    hosts = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
    assert [asyncio.run(ask(host)) for host in hosts] == [200, 429, 200, 200, 429, 200]


class Clock:
    """Seconds that tests set."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def tried(admit: Callable[[], None]) -> int | None:
    """Give after how many seconds to come back, None where it was let through."""
    try:
        admit()
    except Problem as problem:
        return int(problem.headers["Retry-After"])
    return None


def test_the_wait_that_is_asked_for_is_long_enough_and_no_longer() -> None:
    clock = Clock()
    rates = Rates(RatesConfig(customer_per_minute=2), workers=1, now=clock)
    ann = Caller("ann", frozenset({"me"}))
    assert [tried(lambda: rates.admit(ann)) for _ in range(2)] == [None, None]
    clock.now += 12.5
    wait = tried(lambda: rates.admit(ann))
    assert wait == 48
    clock.now += wait - 1
    assert tried(lambda: rates.admit(ann)) == 1
    clock.now += 1
    assert tried(lambda: rates.admit(ann)) is None


@given(quota=st.integers(1, 50), workers=st.integers(1, 8))
def test_each_worker_takes_its_share_and_together_they_take_no_more_than_the_quota(quota: int, workers: int) -> None:
    ann = Caller("ann", frozenset({"me"}))
    taken = 0
    for _ in range(workers):
        rates = Rates(RatesConfig(customer_per_minute=quota), workers=workers, now=Clock())
        taken += sum(tried(lambda rates=rates: rates.admit(ann)) is None for _ in range(quota + 1))  # type: ignore[misc]
    # Where there are more workers than requests to take, each takes one.
    assert max(quota - workers, workers - 1) < taken <= max(quota, workers)


def test_no_id_and_no_address_is_held_and_two_processes_count_under_different_keys() -> None:
    counted = []
    for rates in (Rates(RatesConfig(), workers=1), Rates(RatesConfig(), workers=1)):
        rates.admit(Caller("canary-7f3a", frozenset({"me"})))
        rates.admit_stranger(Request({"type": "http", "client": ("192.0.2.77", 1), "headers": []}))
        counted.append(rates._counts._counts)
        held = repr(vars(rates)) + repr(vars(rates._counts))
        assert "canary" not in held
        assert "192.0.2" not in held
    assert [len(keys) for keys in counted] == [2, 2]
    assert not counted[0].keys() & counted[1].keys()


def test_counts_that_are_over_do_not_pile_up() -> None:
    clock = Clock()
    counts = Counts(clock)
    for number in range(9_999):
        counts.incr(f"old {number}", 60)
    clock.now += 61
    counts.incr("new", 60)
    assert len(counts) == 1
    assert (counts.get("new"), counts.get("old 1"), counts.check()) == (1, 0, True)
    counts.clear("new")
    counts.incr("new", 60, amount=2)
    assert (counts.get("new"), counts.reset(), len(counts)) == (2, 1, 0)


@pytest.mark.parametrize(
    ("host", "network"),
    [("192.0.2.7", "192.0.2.7"), ("::ffff:192.0.2.7", "192.0.2.7"), ("testclient", "testclient"), ("", "")],
)
def test_what_counts_as_one_sender(host: str, network: str) -> None:
    assert network_of(host) == network


def test_every_route_without_a_token_but_the_probes_is_limited(world: "World") -> None:
    document: dict[str, Any] = world.client()("GET", "/openapi.json").json()
    free = {"/livez", "/readyz", "/metrics"}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            if "security" in operation or path in free:
                continue
            client = limited(world, address_per_minute=1)
            target = path.replace("{", "").replace("}", "")
            assert client(method, target).status_code != 429, path
            assert refused(client(method, target)), path
