"""The tour must notice a service that breaks its promises: here it walks through scripted ones."""

import io
import json
from collections.abc import Callable, Iterator

import httpx
import pytest
from rich.console import Console

from considerate.demo.tour import Cast, Shop, walk
from considerate.errors import ServingError

Answer = dict[str, object]
CAST = Cast(consenting="agrees", withdrawing="withdraws", buying="buys", unasked=("unasked-1", "unasked-2"))


def listed(basis: str, reason: str, *items: str) -> Answer:
    entries = [{"item_id": item, "slot": slot} for slot, item in enumerate(items)]
    return {"decision_id": "d", "basis": basis, "reason": reason, "model_version": "demo-1", "items": entries}


class ScriptedService:
    """Keeps every promise, unless told to break one."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.withdrawn = False
        self.bought: list[str] = []
        self.asked: list[str] = []
        self.reads = 0

    def __call__(self, request: httpx.Request) -> httpx.Response:
        who = request.headers.get("Authorization", "").removeprefix("Bearer ")
        path = request.url.path
        if path == "/metrics":
            return httpx.Response(200, text=f"# HELP x\nconsiderate_history_reads_total {self.reads}.0\n")
        if request.method == "DELETE":
            self.withdrawn = self.broken != "withdrawal is forgotten"
            return httpx.Response(200, json={})
        if path == "/v1/events":
            self.bought += [event["item_id"] for event in json.loads(request.content)["events"]]
            return httpx.Response(202, json={"results": []})
        self.asked.append(who)
        return self.list_of(who)

    def list_of(self, who: str) -> httpx.Response:
        if self.broken == "service fails":
            return httpx.Response(500, text="out of order")
        basis, reason, items = "personalised", "ok", ["bread", "tea", "jam"]
        if self.broken == "empty":
            items = []
        elif who.startswith("unasked"):
            self.reads += self.broken == "unasked are read"
            if not (self.broken == "second unasked is personalised" and who == "unasked-2"):
                basis, reason = "non_personalised", "no_consent"
        elif who == "withdraws" and self.withdrawn:
            if not (self.broken == "withdrawal leaks later" and self.asked.count(who) > 50):
                basis, reason = "non_personalised", "withdrawn"
        elif self.broken != "nothing moves":
            items = [item for item in items if item not in self.bought]
        return httpx.Response(200, json=listed(basis, reason, *items))


@pytest.fixture
def walked() -> Iterator[Callable[[ScriptedService], str]]:
    clients = []

    def run(service: ScriptedService) -> str:
        said = io.StringIO()
        client = httpx.Client(transport=httpx.MockTransport(service), base_url="http://127.0.0.1")
        clients.append(client)
        shop = Shop(
            client=client,
            customer_token=lambda customer: customer,
            service_token=lambda: "orders",
            titles={"bread": "Rye bread"},
            bought={"agrees": ["tea"]},
        )
        walk(shop, CAST, Console(file=said, width=200))
        return said.getvalue()

    yield run
    for client in clients:
        client.close()


def test_a_service_that_keeps_its_promises_is_shown_with_titles(walked: Callable[[ScriptedService], str]) -> None:
    service = ScriptedService()
    said = walked(service)
    assert "Rye bread" in said
    assert "All 2 of them asked for a list: 0 personalised answers, 0 reads of a history." in said
    assert "200 more calls over both workers: 0 personalised answers." in said
    assert service.asked.count("withdraws") == 202
    assert service.bought == ["bread"]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        ("service fails", "answered 500: out of order"),
        ("empty", "answered an empty list with reason ok"),
        ("unasked are read", "0 personalised answers and 3 reads without consent; both must be 0"),
        ("second unasked is personalised", "1 personalised answers and 0 reads without consent"),
        (
            "withdrawal is forgotten",
            "answered basis personalised, reason ok where the demo expects non_personalised, withdrawn",
        ),
        ("withdrawal leaks later", "personalised answers after a withdrawal; there must be none"),
        ("nothing moves", "the list did not move after a purchase"),
    ],
)
def test_a_broken_promise_ends_the_tour(broken: str, message: str, walked: Callable[[ScriptedService], str]) -> None:
    with pytest.raises(ServingError) as caught:
        walked(ScriptedService(broken))
    assert message in str(caught.value)
