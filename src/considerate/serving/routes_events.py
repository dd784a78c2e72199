"""What happened: on the page (by the customer), and at the order system or till (by the shop)."""

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import partial
from itertools import repeat
from typing import Annotated

from fastapi import APIRouter, BackgroundTasks, Depends, Request, Response
from fastapi.concurrency import run_in_threadpool

from considerate.consent.decision import SubjectFacts, effective
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.ranking.history import Channel, Kind
from considerate.serving.gpc import gpc_note
from considerate.serving.idempotency import REPLAYED, repeatable
from considerate.serving.problems import Problem, store_busy
from considerate.serving.resources import BEARER, Resources, door, gpc_of
from considerate.serving.schemas import (
    CLOCK_SKEW,
    EventResult,
    EventResults,
    EventStatus,
    PageEvent,
    PageEvents,
    ShopEvent,
    ShopEvents,
)
from considerate.serving.tokens import Caller, Scope
from considerate.store.answers import CUSTOMER, SERVICE, AnsweredBefore, Once, Repeatable
from considerate.store.interactions import NewEvent

RECORDED_UNDER = (Purpose.PERSONALISE_ONSITE, Purpose.TRAIN_MODELS)
"""What a customer does on a page is kept only for a purpose that she allows."""

PAGE = "page:"
"""Opens the stored id of a page event: a browser's ids must not stand in the way of an order system's."""


def event_routes(resources: Resources) -> APIRouter:
    """Routes of the events."""
    router = APIRouter(tags=["events"], dependencies=[Depends(BEARER)])
    me, shop = door(resources.verifier, Scope.ME), door(resources.verifier, Scope.EVENTS_WRITE)
    customers, config = resources.customers, resources.config
    policy = resources.policy

    def allows_recording(facts: SubjectFacts, *, at: datetime, gpc: bool) -> bool:
        return any(effective(facts, p, at=at, policy=policy, gpc=gpc).allowed for p in RECORDED_UNDER)

    @router.post("/v1/me/events", status_code=202, summary="What the caller did on the page")
    async def my_events(
        request: Request,
        response: Response,
        after: BackgroundTasks,
        *,
        body: PageEvents,
        caller: Annotated[Caller, Depends(me)],
        asked: Annotated[Repeatable | None, Depends(repeatable(me, CUSTOMER))],
    ) -> EventResults:
        """Views, clicks, carts, ratings, likes and dismissals; the very next list sees them.

        Of a caller who allows neither suggestions nor training, nothing is stored: `not_recorded`.
        """
        at, gpc = resources.clock(), gpc_of(request)
        _check_events(body.events, config.limits.events, at)
        events = [_page_event(place, event, at) for place, event in enumerate(body.events)]
        ids = [event.event_id for event in body.events]
        allows = partial(allows_recording, at=at, gpc=gpc)
        statuses: Sequence[EventStatus] | None = None
        try:
            standing = customers.standing(caller.subject)
            if noted := gpc_note(customers, caller.subject, standing, signalled=gpc, at=at):
                after.add_task(noted)
            # Asked here already, so that those who allow nothing never wait for the write lock.
            if asked is not None or allows(standing.facts):
                record = partial(customers.record_own, once=_once(asked))
                statuses = await run_in_threadpool(record, caller.subject, events, allows, at=at)
        except AnsweredBefore as before:
            statuses = _again(before, response)
        except StoreError:
            raise store_busy() from None
        return _results(zip(ids, statuses or repeat("not_recorded", len(ids)), strict=True))

    @router.post("/v1/events", status_code=202, summary="Purchases and returns, from the shop's own systems")
    async def shop_events(
        response: Response,
        body: ShopEvents,
        _: Annotated[Caller, Depends(shop)],
        asked: Annotated[Repeatable | None, Depends(repeatable(shop, SERVICE))],
    ) -> EventResults:
        """Needs the scope `events:write`: a browser cannot assert a purchase. The same event again changes nothing."""
        at = resources.clock()
        _check_events(body.events, config.limits.events, at)
        events = [(event.customer_id, _shop_event(event, at)) for event in body.events]
        try:
            statuses: Sequence[EventStatus] = await run_in_threadpool(
                customers.record, events, at=at, once=_once(asked)
            )
        except AnsweredBefore as before:
            statuses = _again(before, response)
        except StoreError:
            raise store_busy() from None
        return _results(zip((event.event_id for _, event in events), statuses, strict=True))

    return router


def _once(asked: Repeatable | None) -> Once[list[EventStatus]] | None:
    # The statuses alone are kept: the ids stand in the repeated request too, and some may be of people erased since.
    return None if asked is None else Once(asked, json.dumps, 202)


def _again(before: AnsweredBefore, response: Response) -> Sequence[EventStatus]:
    response.headers.update(REPLAYED)
    statuses: list[EventStatus] = json.loads(before.answer)
    return statuses


def _check_events(events: Sequence[PageEvent | ShopEvent], most: int, at: datetime) -> None:
    if len(events) > most:
        raise Problem(413, "too-many-events", f"At most {most} events in one request; send them in parts.")
    for place, event in enumerate(events):
        if event.timestamp is not None and event.timestamp > at + CLOCK_SKEW:
            raise Problem(
                422,
                "time-in-the-future",
                f"events -> {place} -> timestamp lies ahead of this server's clock: set the sender's clock, or leave "
                "timestamp out for now.",
            )
        if event.timestamp is not None and event.timestamp.year < 1970:
            raise Problem(
                422,
                "time-out-of-range",
                f"events -> {place} -> timestamp lies before 1970: send when it happened, or leave timestamp out for "
                "now.",
            )
        if isinstance(event, ShopEvent) and event.event_id.startswith(PAGE):
            raise Problem(
                422,
                "reserved-event-id",
                f"events -> {place} -> event_id begins with {PAGE}, which stands for events of a page: send it under "
                "another id.",
            )


def _page_event(place: int, event: PageEvent, at: datetime) -> NewEvent:
    if event.value is None and event.kind == "rating":
        raise Problem(422, "invalid", f"events -> {place} -> value is missing: send the rating.")
    if event.value is not None and event.kind != "rating":
        raise Problem(
            422, "invalid", f"events -> {place} -> value is for kind rating alone: leave it out, or send a rating."
        )
    return NewEvent(
        event_id=PAGE + event.event_id,
        item_id=event.item_id,
        kind=Kind[event.kind.upper()],
        value=event.value,
        timestamp=event.timestamp or at,
        channel=Channel.ONLINE,
        decision_id=None if event.decision_id is None else str(event.decision_id),
        surface=event.surface,
    )


def _shop_event(event: ShopEvent, at: datetime) -> NewEvent:
    return NewEvent(
        event_id=event.event_id,
        item_id=event.item_id,
        kind=Kind[event.kind.upper()],
        value=event.value,
        timestamp=event.timestamp or at,
        channel=Channel[event.channel.upper()],
        order_line=event.order_line,
        decision_id=None if event.decision_id is None else str(event.decision_id),
        surface=event.surface,
    )


def _results(results: Iterable[tuple[str, EventStatus]]) -> EventResults:
    return EventResults(results=[EventResult(event_id=event_id, status=status) for event_id, status in results])
