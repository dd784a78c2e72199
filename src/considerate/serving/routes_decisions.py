"""What was decided for the caller, and why: her own decisions, and the evidence behind each."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Annotated, TypeVar
from urllib.parse import quote
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request

from considerate.consent.decision import Reason
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.serving.explanation import Explanation, OwnRow, explain_decision
from considerate.serving.problems import Problem, store_busy
from considerate.serving.resources import BEARER, Resources, door, gpc_of
from considerate.serving.schemas_decisions import (
    Decision,
    DecisionQuery,
    Decisions,
    Evidence,
    ExplainedItem,
    ExplanationAnswer,
    Link,
)
from considerate.serving.suggest import Counter
from considerate.serving.tokens import Caller, Scope
from considerate.store.decisions import ServedDecision
from considerate.store.subjects import NO_REF

T = TypeVar("T")

NOT_FOUND = Problem(404, "not-found", "There is no such decision of yours, or it is past its time.")


def decision_routes(resources: Resources) -> APIRouter:
    """Routes of the decisions."""
    router = APIRouter(prefix="/v1/me", tags=["decisions"], dependencies=[Depends(BEARER)])
    me = door(resources.verifier, Scope.ME)
    config, decisions = resources.config, resources.decisions
    policy = resources.policy
    counter = Counter(resources.customers, resources.models, resources.shelves, policy, decisions)
    # Longer than the log takes to write: what this or another worker took a moment ago is found at the second look.
    patience = 1.4 * config.decisions.flush_ms / 1000
    # Past it a decision is nobody's to see, although it goes from the disk with the next deletion alone.
    kept_for = timedelta(days=config.retention.decisions_days)

    async def read(question: Callable[[], T]) -> T:
        try:
            return await resources.read(question)
        except StoreError:
            raise store_busy() from None

    async def find(caller: Caller, decision_id: UUID) -> ServedDecision:
        def look() -> ServedDecision | None:
            reference = resources.customers.standing(caller.subject).subject_ref or NO_REF
            return decisions.find(reference, decision_id, since=resources.clock() - kept_for)

        found = await read(look)
        if found is None:
            await asyncio.sleep(patience)
            found = await read(look)
        if found is None:
            raise NOT_FOUND
        return found

    @router.get("/decisions", summary="The lists that were served to the caller")
    async def my_decisions(
        caller: Annotated[Caller, Depends(me)], query: Annotated[DecisionQuery, Query()]
    ) -> Decisions:
        """Newest first, as long as they are kept; the newest appear within a quarter of a second."""

        def look() -> list[ServedDecision]:
            reference = resources.customers.standing(caller.subject).subject_ref or NO_REF
            since = resources.clock() - kept_for
            return decisions.of(reference, limit=query.limit + 1, before=query.before, since=since)

        found = await read(look)
        page = found[: query.limit]
        more = len(found) > query.limit
        return Decisions(decisions=[_shown(one) for one in page], next=page[-1].decision_id if more else None)

    @router.get("/recommendations/{decision_id}/explanation", summary="Why a list was as it was")
    async def explanation(
        request: Request, decision_id: UUID, caller: Annotated[Caller, Depends(me)]
    ) -> ExplanationAnswer:
        """The caller's own acts behind each item, as far as she still lets them be read, with links to exclude them."""
        decision = await find(caller, decision_id)
        gpc, at = gpc_of(request), resources.clock()
        why = await read(lambda: explain_decision(counter, caller.subject, decision, gpc=gpc, at=at))
        return ExplanationAnswer(
            decision=_shown(decision),
            evidence=why.shown,
            why=why.why,
            explained=_sentence(why),
            items=[
                ExplainedItem(
                    item_id=item.item_id,
                    slot=slot,
                    evidence=[_evidence(row) for row in why.rows.get(item.item_id, ())],
                )
                for slot, item in enumerate(decision.items)
            ],
            change=list(CHANGES),
        )

    return router


def _shown(decision: ServedDecision) -> Decision:
    return Decision(
        decision_id=decision.decision_id,
        at=decision.at,
        surface=decision.surface,
        basis="personalised" if decision.basis == "personalised" else "non_personalised",
        reason=Reason(decision.reason),
        purposes=[Purpose(purpose) for purpose in decision.purposes],
        consent_epoch=decision.consent_epoch,
        consent_seq=decision.consent_seq,
        notice_version=decision.notice_version,
        model_version=decision.model_version,
        catalogue_version=decision.catalogue_version,
        items=[item.item_id for item in decision.items],
        explanation=f"/v1/me/recommendations/{decision.decision_id}/explanation",
    )


def _evidence(row: OwnRow) -> Evidence:
    line = row.order_line or None
    return Evidence(
        item_id=row.item_id,
        kind=row.kind.name.lower(),
        at=row.at,
        order_line=line,
        exclude=None if line is None else f"/v1/me/exclusions/{quote(line, safe='')}",
    )


CHANGES = (
    Link(method="DELETE", href="/v1/me/consents/personalise_onsite", effect="Your own history is no longer read."),
    Link(
        method="DELETE",
        href="/v1/me/consents/link_in_store",
        effect="Purchases in our stores are no longer read for your lists.",
    ),
    Link(
        method="GET",
        href="/v1/me/recommendations?mode=non_personalised",
        effect="This one list without anything of yours.",
    ),
)

_SENTENCES = {
    Reason.OK: "You allow us to read your own history; these are your acts that spoke most for each item.",
    Reason.NO_CONSENT: "You have not allowed us to read your history, so nothing of yours was used.",
    Reason.WITHDRAWN: "You ended your permission to read your history, so it stays unread.",
    Reason.EXPIRED: "Your permission to read your history has expired, so it stays unread.",
    Reason.NOTICE_CHANGED: "Our notice has changed since you gave permission, so your history stays unread.",
    Reason.OBJECTED: "You object to the use of your data, so your history stays unread.",
    Reason.RESTRICTED: "You have restricted the use of your data, so your history stays unread.",
    Reason.MINOR_OR_AGE_UNKNOWN: "We read no history of anyone who is, or may be, under 18.",
    Reason.GPC: "Your browser's privacy signal speaks against it, so your history stays unread.",
    Reason.MODE_REQUESTED: "A list without anything of yours was asked for.",
    Reason.NO_HISTORY: "You have done nothing here yet that we may read.",
    Reason.CONSENT_UNAVAILABLE: "We could not make sure of your permission at that moment, so nothing was used.",
    Reason.MODEL_UNAVAILABLE: "Personal suggestions are out of service, so nothing of yours is used.",
}


def _sentence(why: Explanation) -> str:
    return _SENTENCES[why.why]
