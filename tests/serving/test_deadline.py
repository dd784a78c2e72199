"""A request that takes too long is answered by us, under the server that would cut it off otherwise."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from bentoml._internal.server.http.traffic import TimeoutMiddleware
from starlette.types import Receive, Scope, Send

from considerate.serving.app import create_app
from considerate.serving.deadline import Deadline

if TYPE_CHECKING:
    from tests.serving.conftest import World

on_sqlite = pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)

CUT_OFF = 0.4
WITHDRAWAL = "/v1/me/consents/train_models"


class Slow:
    """A store whose withdrawals take their time."""

    def __init__(self, customers: Any) -> None:
        self._customers, self.done = customers, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._customers, name)

    def withdraw(self, *given: Any, **more: Any) -> Any:
        time.sleep(1.5 * CUT_OFF)
        recorded = self._customers.withdraw(*given, **more)
        self.done += 1
        return recorded


@pytest.fixture
def call(world: "World") -> Callable[..., httpx.Response]:
    """Give a client of a service that is cut off after `CUT_OFF` seconds, as BentoML does it."""
    config = world.config.model_copy(update={"request_seconds": CUT_OFF})

    def called(method: str, path: str, wait: float = 0.0, **more: Any) -> httpx.Response:
        customers = more.pop("customers", world.customers)
        app = TimeoutMiddleware(create_app(replace(world.resources, config=config, customers=customers)), CUT_OFF)

        async def ask() -> httpx.Response:
            async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://service") as client:
                answer = await client.request(method, path, headers=world.token("ann"), **more)
                await asyncio.sleep(wait)
                return answer

        return asyncio.run(ask())

    return called


def is_problem(answer: httpx.Response, kind: str) -> bool:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers.get_list("cache-control") == ["no-store"]
    return bool(answer.json()["type"] == f"urn:considerate:problem:{kind}")


@on_sqlite
def test_a_body_that_does_not_arrive_in_time_is_a_408(call: Callable[..., httpx.Response]) -> None:
    async def dribble() -> AsyncIterator[bytes]:
        yield b'{"events": ['
        await asyncio.sleep(2 * CUT_OFF)
        yield b"]}"

    answer = call("POST", "/v1/me/events", content=dribble())
    assert (answer.status_code, answer.headers["connection"]) == (408, "close")
    assert is_problem(answer, "request-timeout")
    assert "nothing was done" in answer.json()["detail"]


@on_sqlite
def test_work_that_is_not_done_in_time_is_a_503_that_does_not_say_it_was_not_done(
    world: "World", call: Callable[..., httpx.Response]
) -> None:
    slow = Slow(world.customers)
    answer = call("DELETE", WITHDRAWAL, customers=slow, wait=5 * CUT_OFF)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert is_problem(answer, "not-in-time")
    assert "may have been done or not" in answer.json()["detail"]
    assert slow.done == 1, "what was begun is done to its end"
    assert world.client()("DELETE", WITHDRAWAL, headers=world.token("ann")).status_code == 200


@on_sqlite
def test_it_is_counted_with_its_route(world: "World", call: Callable[..., httpx.Response]) -> None:
    # Waits for the thread that goes on: it would open again the store of a shop that was closed.
    call("DELETE", WITHDRAWAL, customers=Slow(world.customers), wait=5 * CUT_OFF)
    text = world.client()("GET", "/metrics").text
    assert 'considerate_requests_total{method="DELETE",route="/v1/me/consents/{purpose}",status="503"} 1.0' in text, (
        text
    )


def test_an_answer_that_has_begun_is_not_cut_off_and_an_error_of_the_application_passes() -> None:
    sent: list[Any] = []

    async def begins_in_time(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await asyncio.sleep(2 * CUT_OFF)
        await send({"type": "http.response.body", "body": b"all of it"})

    async def fails(*_: Any) -> None:
        raise TimeoutError("its own")

    async def keep(message: Any) -> None:
        sent.append(message)

    async def nothing() -> Any:
        await asyncio.Event().wait()

    asyncio.run(Deadline(begins_in_time, CUT_OFF)({"type": "http"}, nothing, keep))
    assert sent[-1]["body"] == b"all of it"
    with pytest.raises(TimeoutError, match="its own"):
        asyncio.run(Deadline(fails, CUT_OFF)({"type": "http"}, nothing, keep))
