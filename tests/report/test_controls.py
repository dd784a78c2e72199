"""No row of the report holds where the service answers errors alone, or lists with nothing on them."""

import itertools
import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import update
from tests.report import (
    attack_rows,
    caching_rows,
    identity_rows,
    kept_rows,
    ledger_rows,
    promotion_rows,
    rights_rows,
    serving_rows,
    training_rows,
)
from tests.report.acting import Acknowledged, in_vain
from tests.report.consent_report import attempt
from tests.report.identity_rows import outputs, told_of
from tests.report.rows import ROWS
from tests.report.shop import Shop, free_port
from tests.report.timing_rows import SAME_TIME, cost, likeness

from considerate.consent.purposes import Purpose
from considerate.ranking.history import Channel, Kind
from considerate.store.engine import writing
from considerate.store.interactions import NewEvent, append_events
from considerate.store.tables import subject

MODULES = {
    part.__name__
    for part in (
        serving_rows,
        identity_rows,
        attack_rows,
        kept_rows,
        rights_rows,
        caching_rows,
        ledger_rows,
        training_rows,
        promotion_rows,
    )
}
ASK_NOBODY = {"attack 24", "43", "6", "10", "13", "25", "24 pinned", "25 apart"}
"""Rows that look at files and tables alone."""
ASKING = [one for one in ROWS if one.attempt.__module__ in MODULES and one.number not in ASK_NOBODY]
HEADERS = {"Cache-Control": "no-store", "Vary": "Authorization, Sec-GPC"}


def always(status: int, body: Any) -> type[BaseHTTPRequestHandler]:
    """Make what answers every request alike."""
    content = json.dumps(body).encode()

    class Always(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        do_PUT = do_POST = do_DELETE = do_GET

        def log_message(self, *_: Any) -> None: ...

    return Always


class Useless(Shop):
    """A shop whose store is as it should be, before which stands a service that gives every caller one answer."""

    answer: tuple[int, Any] = (503, {"type": "about:blank", "status": 503})
    server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        """Give everybody who comes by the network that answer too."""
        self.log.touch()
        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), always(*self.answer))
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def stop(self) -> None:
        if self.server is not None:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def kill(self) -> None:
        self.stop()

    def metric(self, name: str) -> float:
        return 0.0

    def call(self, method: str, path: str, **more: Any) -> httpx.Response:
        status, body = self.answer
        return httpx.Response(status, json=body, headers=HEADERS, request=httpx.Request(method, f"http://shop{path}"))

    def buy(self, customer: str, items: Sequence[str], *, channel: str = "online", more: str = "") -> httpx.Response:
        at = datetime.now(UTC) - timedelta(hours=1)
        where = Channel.ONLINE if channel == "online" else Channel.STORE
        lines = [f"{channel}-{more}{place}" for place in range(len(items))]
        events = [
            NewEvent(line, item, Kind.PURCHASE, at, channel=where, order_line=line)
            for line, item in zip(lines, items, strict=True)
        ]
        ref = self.know(customer)
        with writing(self.engine) as conn:
            append_events(conn, ref, events, at=at)
        return httpx.Response(202)

    def paths(self) -> dict[str, Any]:
        return {"/v1/me/recommendations": {"get": {}}, "/v1/me/consents/{purpose}": {"put": {}, "delete": {}}}


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Useless]:
    home: Path = tmp_path_factory.mktemp("useless")
    (home / "keys").mkdir()
    laid_out = Useless("sqlite", f"sqlite:///{home / 'considerate.db'}", home, free_port(), 1)
    laid_out.lay_out()
    laid_out.start()
    yield laid_out
    laid_out.close()


@pytest.mark.parametrize("one", ASKING, ids=lambda one: one.number)
def test_no_row_holds_where_every_answer_is_an_error(shop: Useless, one: Any) -> None:
    shop.answer = Useless.answer
    assert attempt(one, shop, True).violations


@pytest.mark.parametrize("number", ["1", "21", "22", "29", "30", "38", "41"])
@pytest.mark.parametrize("basis", ["personalised", "non_personalised"])
def test_no_row_about_lists_holds_where_every_list_is_empty(shop: Useless, number: str, basis: str) -> None:
    shop.answer = (200, {"basis": basis, "reason": "mode_requested", "items": [], "decision_id": None})
    (one,) = (row for row in ROWS if row.number == number)
    assert attempt(one, shop, True).violations


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody wait for what will not come."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))


class Blank(Useless):
    """One that agrees to everything and says nothing."""

    answer = (200, {})


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (Useless, "no receipt was acknowledged; no event was acknowledged; no erasure"),
        (Blank, "actor-[0-3]: KeyError: "),
    ],
)
def test_no_kill_is_survived_by_a_service_that_acknowledged_nothing(
    shop: Useless, kind: type[Useless], why: str
) -> None:
    (one,) = (row for row in ROWS if row.number == "kill")
    came = attempt(one, kind(shop.kind, shop.url, shop.home, shop.port, 1), True)
    assert came.violations
    assert re.search(why, came.note)


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({}, []),
        ({"ledger": {}}, ["no receipt was acknowledged"]),
        ({"events": set()}, ["no event was acknowledged"]),
        ({"erased": []}, ["no erasure was acknowledged"]),
        ({"lists": 0}, ["no list was acknowledged"]),
        ({"refused": 6}, ["6 of 10 acts were refused"]),
    ],
)
def test_an_act_that_was_never_acknowledged_and_refusals_of_most_are_told(
    change: dict[str, Any], wrong: list[str]
) -> None:
    told = {
        "ledger": {1: "aa"},
        "events": {("a", "b")},
        "erased": [b"r"],
        "asked": 10,
        "refused": 5,
        "lists": 1,
        **change,
    }
    lists = told.pop("lists")
    assert in_vain(Acknowledged(**told), lists) == wrong


@pytest.mark.parametrize("number", ["9", "slow"])
def test_no_row_about_a_broken_store_holds_where_the_service_does_not_notice(shop: Useless, number: str) -> None:
    shop.answer = (200, {"basis": "personalised", "reason": "ok", "items": [], "decision_id": None})
    (one,) = (row for row in ROWS if row.number == number)
    assert "did not hold: number 1, 2, 3" in attempt(one, shop, True).note


@pytest.mark.parametrize("status", [401, 403, 404, 429, 500])
@pytest.mark.parametrize("path", SAME_TIME)
def test_times_are_not_compared_of_answers_that_are_not_those_of_the_route(path: str, status: int) -> None:
    said = re.escape(f"{path}: answered {{({status}, 'about:blank')}}, not {SAME_TIME[path]} alone")
    client = client_of(lambda _: httpx.Response(status, json={"type": "about:blank"}))
    with client, pytest.raises(RuntimeError, match=said):
        likeness(client, {"unknown": {}, "minor": {}}, path, calls=1)


@pytest.mark.parametrize(("after", "wrong"), [("personalised", 2), ("non_personalised", 3)])
def test_a_check_costs_nothing_that_is_made_in_neither_way_or_in_both(shop: Useless, after: str, wrong: int) -> None:
    shop.answer, measured = (200, {}), itertools.count(1)

    def answer(_: httpx.Request) -> httpx.Response:
        # Sixty calls of each way, twenty of them to warm up.
        return httpx.Response(200, json={"basis": "personalised" if next(measured) <= 2 * 60 else after})

    with client_of(answer) as client:
        assert f"did not hold: number {wrong} of 4" in cost(shop, client, "row-check", quick=True).note


def client_of(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.Client:
    """Give a client who hears what a function says."""
    return httpx.Client(transport=httpx.MockTransport(answer), base_url="http://shop")


def test_an_id_that_is_stored_unsealed_is_found_in_every_guise(shop: Useless) -> None:
    customer = "row-33-unsealed"
    ref = shop.know(customer, Purpose.PERSONALISE_ONSITE)
    assert told_of(outputs(shop), ["row-33-", customer]) == []
    for plain in (customer.encode(), customer.encode("utf-16-le"), customer.encode().hex().encode()):
        with writing(shop.engine) as conn:
            conn.execute(update(subject).where(subject.c.subject_ref == ref).values(customer_id_enc=plain))
        assert {found.split(":")[0] for found in told_of(outputs(shop), ["row-33-", customer])} == {"row-33-", customer}
