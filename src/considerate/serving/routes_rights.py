"""The caller's rights: to object, to restrict, to state and to take back, to have a copy, to be erased."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Response
from fastapi.concurrency import run_in_threadpool

from considerate.errors import StoreError, UnknownSubject
from considerate.serving.problems import Problem, erasure_in_progress, store_busy
from considerate.serving.resources import BEARER, Resources, door
from considerate.serving.rights import Asked, Rights
from considerate.serving.rights_schemas import (
    ExclusionAnswer,
    ExclusionsAnswer,
    ExclusionWish,
    Preferences,
    RequestAnswer,
    RequestWish,
    RightAnswer,
    StatedKeys,
)
from considerate.serving.schemas import MAX_ID, PLAIN_TEXT
from considerate.serving.tokens import Caller, Scope
from considerate.store.wishes import Exclusion, Polarity, Preference, PreferenceKind, Right

FRESH = timedelta(minutes=15)
"""How long ago a login may be for everything that is known to be handed out."""
REQUESTS = "/v1/me/privacy-requests"
T = TypeVar("T")
OrderLine = Annotated[
    str, Path(min_length=1, max_length=MAX_ID, pattern=PLAIN_TEXT, description="The purchase, as the shop names it.")
]
_KINDS: tuple[tuple[PreferenceKind, str], ...] = (("item", "items"), ("category", "categories"), ("brand", "brands"))
_SIDES: tuple[tuple[Polarity, str], ...] = (("like", "likes"), ("dislike", "dislikes"))


def right_routes(resources: Resources) -> APIRouter:
    """Routes of the rights."""
    router = APIRouter(tags=["rights"], dependencies=[Depends(BEARER)])
    _add_standing_routes(router, resources)
    _add_preference_routes(router, resources)
    _add_exclusion_routes(router, resources)
    _add_request_routes(router, resources)
    return router


def _add_standing_routes(router: APIRouter, resources: Resources) -> None:
    Me = Annotated[Caller, Depends(door(resources.verifier, Scope.ME))]

    async def exercise(caller: Caller, right: Right, *, on: bool) -> RightAnswer:
        at = resources.clock()
        since, epoch = await _ask(resources, lambda rights: rights.exercise(caller.subject, right, on=on, at=at))
        return RightAnswer(right=right, active=since is not None, since=since, consent_epoch=epoch)

    @router.put("/v1/me/objection", summary="Object to profiling")
    async def object_to_profiling(caller: Me) -> RightAnswer:
        """No weighing, no reason (GDPR 21): from the next request on nothing of hers is used, whatever she allowed."""
        return await exercise(caller, "objection", on=True)

    @router.delete("/v1/me/objection", summary="Lift the objection")
    async def lift_objection(caller: Me) -> RightAnswer:
        """What she allows counts again; no grant of a consent does this by itself."""
        return await exercise(caller, "objection", on=False)

    @router.put("/v1/me/restriction", summary="Keep my data, but do not use it")
    async def restrict(caller: Me) -> RightAnswer:
        """GDPR 18: it stays, is in an export, and is used for nothing."""
        return await exercise(caller, "restriction", on=True)

    @router.delete("/v1/me/restriction", summary="Lift the restriction")
    async def lift_restriction(caller: Me) -> RightAnswer:
        """What she allows counts again."""
        return await exercise(caller, "restriction", on=False)


def _add_preference_routes(router: APIRouter, resources: Resources) -> None:
    Me = Annotated[Caller, Depends(door(resources.verifier, Scope.ME))]

    @router.get("/v1/me/preferences", summary="What I said I like")
    async def preferences(caller: Me) -> Preferences:
        """Items, categories and brands, liked and not liked."""
        return _preferences(await _look(resources, lambda rights: rights.preferences(caller.subject)))

    @router.put("/v1/me/preferences", summary="Say what I like")
    async def state_preferences(wish: Preferences, caller: Me) -> Preferences:
        """Replaces what was said before."""
        stated = _stated(wish)
        at = resources.clock()
        await _ask(resources, lambda rights: rights.state_preferences(caller.subject, stated, at=at))
        return _preferences(stated)

    @router.delete("/v1/me/preferences", summary="Take back what I said I like")
    async def take_back_preferences(caller: Me) -> Preferences:
        """All of it."""
        at = resources.clock()
        await _ask(resources, lambda rights: rights.state_preferences(caller.subject, (), at=at))
        return Preferences()


def _add_exclusion_routes(router: APIRouter, resources: Resources) -> None:
    Me = Annotated[Caller, Depends(door(resources.verifier, Scope.ME))]

    @router.get("/v1/me/exclusions", summary="Purchases that must not count")
    async def exclusions(caller: Me) -> ExclusionsAnswer:
        """All of them, by order line."""
        found = await _look(resources, lambda rights: rights.exclusions(caller.subject))
        return ExclusionsAnswer(exclusions=[_exclusion(one) for one in found])

    # An order line is the shop's own name and may hold a slash.
    @router.put("/v1/me/exclusions/{order_line:path}", summary="Let a purchase count for nothing")
    async def exclude(order_line: OrderLine, caller: Me, wish: ExclusionWish | None = None) -> ExclusionAnswer:
        """A gift, or not hers: the next list is the one she would have had without it, and no later fit sees it."""
        at, reason = resources.clock(), (wish or ExclusionWish()).reason
        found = await _ask(resources, lambda rights: rights.exclude(caller.subject, order_line, reason, at=at))
        if found is None:
            raise _not_yours()
        return _exclusion(found)

    @router.delete("/v1/me/exclusions/{order_line:path}", status_code=204, summary="Let a purchase count again")
    async def include(order_line: OrderLine, caller: Me) -> Response:
        """Any number of times."""
        if not await _ask(resources, lambda rights: rights.include(caller.subject, order_line)):
            raise _not_yours()
        return Response(status_code=204)


def _add_request_routes(router: APIRouter, resources: Resources) -> None:
    Me = Annotated[Caller, Depends(door(resources.verifier, Scope.ME))]

    @router.post(REQUESTS, status_code=202, summary="Ask for a copy of my data, or for erasure")
    async def ask(wish: RequestWish, caller: Me, response: Response) -> RequestAnswer:
        """Asked twice, it is one request. An erasure cannot be taken back once it is acknowledged."""
        at = resources.clock()

        def act(rights: Rights) -> Asked:
            if wish.type == "erasure":
                return rights.ask_erasure(caller.subject, at=at)
            return rights.ask_access(caller.subject, at=at)

        asked = await _ask(resources, act)
        response.headers["Location"] = f"{REQUESTS}/{asked.request_id}"
        return _request(asked)

    @router.get(f"{REQUESTS}/{{request_id}}", summary="How far a request is")
    async def status(request_id: UUID, caller: Me) -> RequestAnswer:
        """One of the caller's own."""
        at = resources.clock()
        asked = await _look(resources, lambda rights: rights.asked(caller.subject, request_id, at=at))
        if asked is None:
            raise _not_yours()
        return _request(asked)

    @router.delete(f"{REQUESTS}/{{request_id}}", status_code=202, summary="Take a request back")
    async def cancel(request_id: UUID, caller: Me) -> RequestAnswer:
        """While it is pending."""
        at = resources.clock()
        cancelled = await _ask(resources, lambda rights: rights.cancel(caller.subject, request_id, at=at))
        if cancelled is False:
            raise Problem(409, "request-not-pending", "Work on this request has begun, or it is answered already.")
        asked = await _look(resources, lambda rights: rights.asked(caller.subject, request_id, at=at))
        if cancelled is None or asked is None:
            raise _not_yours()
        return _request(asked)

    @router.get(
        f"{REQUESTS}/{{request_id}}/export",
        summary="Fetch the copy of my data",
        response_class=Response,
        responses={200: {"content": {"application/zip": {}}, "description": "A zip archive; see docs/export.md."}},
    )
    async def fetch(request_id: UUID, caller: Me) -> Response:
        """Once, within 24 hours, after a login of the last 15 minutes (claim `auth_time`)."""
        at = resources.clock()
        asked = await _look(resources, lambda rights: rights.asked(caller.subject, request_id, at=at))
        if asked is None or asked.type != "access":
            raise _not_yours()
        _refuse_old_login(caller, at)
        if asked.status in ("pending", "in_progress"):
            raise Problem(409, "request-not-finished", "The copy is still being made; ask for the status again.")
        content = await _ask(resources, lambda rights: rights.fetch_export(caller.subject, request_id, at=at))
        if content is None:
            raise Problem(410, "export-gone", "This copy was fetched, or its day is over; ask for a new one.")
        name = f"considerate-{at:%Y-%m-%d}.zip"
        return Response(
            content, media_type="application/zip", headers={"Content-Disposition": f'attachment; filename="{name}"'}
        )


async def _ask(resources: Resources, act: Callable[[Rights], T]) -> T:
    """Exercise a right in a thread of its own: what it writes may wait for a lock."""
    return await _answered(resources.rights, act, run_in_threadpool)


async def _look(resources: Resources, act: Callable[[Rights], T]) -> T:
    """Read what a right has left, beside the lists."""
    return await _answered(resources.rights, act, resources.read)


async def _answered(
    rights: Rights | None, act: Callable[[Rights], T], run: Callable[[Callable[[], T]], Awaitable[T]]
) -> T:
    if rights is None:
        raise store_busy()
    try:
        return await run(lambda: act(rights))
    except UnknownSubject:
        raise erasure_in_progress() from None
    except StoreError:
        raise store_busy() from None


def _not_yours() -> Problem:
    return Problem(404, "not-found", "There is nothing of yours under this id.")


def _refuse_old_login(caller: Caller, at: datetime) -> None:
    if caller.logged_in_at is None or at.timestamp() - caller.logged_in_at > FRESH.total_seconds():
        raise Problem(
            403,
            "fresh-login-needed",
            "A copy of everything needs a login of the last 15 minutes: log in again, and send a token whose auth_time "
            "says so.",
        )


def _stated(wish: Preferences) -> tuple[Preference, ...]:
    stated: dict[tuple[str, str], Preference] = {}
    for polarity, side in _SIDES:
        for kind, field in _KINDS:
            for key in getattr(getattr(wish, side), field):
                known = stated.setdefault((kind, key), Preference(kind, key, polarity))
                if known.polarity != polarity:
                    raise Problem(422, "contradicting-preferences", f"One of {field} is both liked and not liked.")
    return tuple(stated.values())


def _preferences(stated: tuple[Preference, ...]) -> Preferences:
    def side(polarity: Polarity) -> StatedKeys:
        return StatedKeys(
            **{
                field: sorted(one.key for one in stated if one.kind == kind and one.polarity == polarity)
                for kind, field in _KINDS
            }
        )

    return Preferences(likes=side("like"), dislikes=side("dislike"))


def _exclusion(one: Exclusion) -> ExclusionAnswer:
    return ExclusionAnswer(
        order_line=one.order_line, item_ids=list(one.item_ids), reason=one.reason, excluded_at=one.excluded_at
    )


def _request(asked: Asked) -> RequestAnswer:
    return RequestAnswer(
        request_id=asked.request_id,
        type=asked.type,
        status=asked.status,
        received_at=asked.received_at,
        due_at=asked.due_at,
        completed_at=asked.completed_at,
        export=None if asked.fetch_until is None else f"{REQUESTS}/{asked.request_id}/export",
        export_until=asked.fetch_until,
        next_rebuild_by=asked.rebuilt_by,
    )
