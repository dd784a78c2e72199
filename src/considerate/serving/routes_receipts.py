"""The caller's receipts and her part of the ledger."""

import logging
from collections.abc import Callable
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Response

from considerate.errors import ConsentError, StoreError
from considerate.serving.problems import Problem, store_busy
from considerate.serving.proofs import Proofs
from considerate.serving.resources import BEARER, Resources, door
from considerate.serving.schemas_receipts import ConsentHistory, HistoryQuery, Receipt
from considerate.serving.tokens import Caller, Scope

log = logging.getLogger(__name__)

T = TypeVar("T")

NOT_FOUND = Problem(404, "not-found", "There is no such receipt of yours.")
UNSOUND = Problem(
    503, "ledger-unsound", "This entry is not as it was recorded, so no receipt of it is signed. The shop has to act."
)


def receipt_routes(resources: Resources) -> APIRouter:
    """Routes of receipts and consent history."""
    router = APIRouter(prefix="/v1/me", tags=["consent"], dependencies=[Depends(BEARER)])
    me = door(resources.verifier, Scope.ME)

    async def ask(question: Callable[[Proofs], T]) -> T:
        if (proofs := resources.proofs) is None:
            raise store_busy()
        try:
            return await resources.read(lambda: question(proofs))
        except StoreError:
            raise store_busy() from None

    @router.get("/receipts/{receipt_id}", summary="One receipt, signed", response_model=Receipt)
    async def receipt(receipt_id: UUID, caller: Annotated[Caller, Depends(me)]) -> Response:
        """What was decided, in the fields of ISO/IEC TS 27560, and `jws`: the same, signed. Keep it byte for byte."""
        try:
            found = await ask(lambda proofs: proofs.receipt(caller.subject, receipt_id))
        except ConsentError as error:
            log.error("no receipt is signed: %s", error)
            raise UNSOUND from None
        if found is None:
            raise NOT_FOUND
        # As it was signed: written anew by a serialiser, it could not be checked byte for byte.
        return Response(found, media_type="application/json")

    @router.get("/consent-history", summary="Every decision of the caller")
    async def history(
        caller: Annotated[Caller, Depends(me)], query: Annotated[HistoryQuery, Query()]
    ) -> ConsentHistory:
        """The caller's part of the ledger, newest first, with what it takes to check each hash."""
        found = await ask(lambda proofs: proofs.history(caller.subject, limit=query.limit + 1, before=query.before))
        page = found[: query.limit]
        return ConsentHistory(events=page, next=page[-1].seq if len(found) > query.limit else None)

    return router
