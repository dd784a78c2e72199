"""Lists: for the caller, and for everyone who is logged out."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from considerate.serving.gpc import gpc_note
from considerate.serving.lists import Wish
from considerate.serving.problems import Problem
from considerate.serving.resources import BEARER, Resources, door, gpc_of
from considerate.serving.schemas import DefaultAnswer, ListedItem, ListQuery, MyListQuery, RecommendationAnswer
from considerate.serving.suggest import Counter, Suggestions, suggest, suggest_default
from considerate.serving.tokens import Caller, Scope

JSON = "application/json"
DEFAULT_SECONDS = 60


def recommendation_routes(resources: Resources) -> APIRouter:
    """Routes of the lists."""
    router = APIRouter(tags=["recommendations"])
    me = door(resources.verifier, Scope.ME)
    config = resources.config
    policy = resources.policy
    counter = Counter(resources.customers, resources.models, resources.shelves, policy, resources.decisions)

    def wish(query: ListQuery, request: Request, *, personalised: bool) -> Wish:
        goal = config.surfaces.get(query.surface)
        if goal is None:
            known = ", ".join(sorted(config.surfaces))
            raise Problem(422, "unknown-surface", f"surface must be one of: {known}; they are set in service.toml.")
        return Wish(
            goal=goal,
            n=min(query.n or config.lists.default_n, config.lists.max_n),
            context=tuple(query.context),
            exclude=tuple(query.exclude),
            category=query.category,
            personalised=personalised,
            gpc=gpc_of(request),
            because=config.lists.because,
        )

    def count(surface: str, made: Suggestions) -> None:
        labels = (surface, made.basis, made.reason.value, made.model_version or "none")
        resources.metrics.answers.labels(*labels).inc()

    @router.get(
        "/v1/me/recommendations",
        response_model=RecommendationAnswer,
        summary="The caller's list",
        dependencies=[Depends(BEARER)],
    )
    async def my_recommendations(
        request: Request, caller: Annotated[Caller, Depends(me)], query: Annotated[MyListQuery, Query()]
    ) -> Response:
        """Personalised as far as the caller's consent goes; always 200 for a logged-in caller."""
        wanted = wish(query, request, personalised=query.mode == "personalised")
        at = resources.clock()
        made = suggest(counter, caller.subject, wanted, surface=query.surface, at=at)
        count(query.surface, made)
        answer = RecommendationAnswer(
            decision_id=made.decision_id,
            basis=made.basis,
            reason=made.reason,
            model_version=made.model_version,
            consent_epoch=made.consent_epoch,
            gpc="honoured" if made.ground.gpc else "not_signalled",
            items=_listed(made),
        )
        noted = gpc_note(resources.customers, caller.subject, made.ground.standing, signalled=wanted.gpc, at=at)
        return Response(answer.model_dump_json(), media_type=JSON, background=noted)

    @router.get(
        "/v1/recommendations/default", response_model=DefaultAnswer, summary="The list of everyone who is logged out"
    )
    async def default_recommendations(request: Request, query: Annotated[ListQuery, Query()]) -> Response:
        """Popular items, or items that go with `context`. Nothing is read of the visitor and nothing is kept."""
        made = suggest_default(counter, wish(query, request, personalised=False), at=resources.clock())
        count(query.surface, made)
        answer = DefaultAnswer(basis="non_personalised", model_version=made.model_version, items=_listed(made))
        # A list made without a model, or an empty one, may be a fault of this moment: no cache prolongs it.
        whole = made.items and made.model_version is not None
        headers = {"Cache-Control": f"public, max-age={DEFAULT_SECONDS}" if whole else "no-store"}
        return Response(answer.model_dump_json(), media_type=JSON, headers=headers)

    return router


def _listed(made: Suggestions) -> list[ListedItem]:
    return [
        ListedItem(item_id=item.item_id, slot=slot, because=list(item.because) or None)
        for slot, item in enumerate(made.items)
    ]
