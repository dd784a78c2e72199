"""Decisions that customers made in the shop's own consent platform, by the rules of `considerate consent import`."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool

from considerate.consent.records import (
    OPTIONAL,
    REQUIRED,
    RULES,
    ConsentRecord,
    RejectedRow,
    check_record,
    may_be_a_lost_no,
)
from considerate.errors import ConsentError, StoreError
from considerate.serving.problems import Problem, store_busy
from considerate.serving.resources import BEARER, Resources, door
from considerate.serving.schemas_receipts import PlatformRecord, PlatformRecords, PlatformResult, PlatformResults
from considerate.serving.tokens import Caller, Scope


def platform_routes(resources: Resources) -> APIRouter:
    """Routes of a consent platform."""
    router = APIRouter(tags=["consent"], dependencies=[Depends(BEARER)])
    platform = door(resources.verifier, Scope.CONSENTS_WRITE)
    most = resources.config.limits.events

    @router.post("/v1/consents", summary="What customers decided in the shop's own consent platform")
    async def bring_in(body: PlatformRecords, _: Annotated[Caller, Depends(platform)]) -> PlatformResults:
        """Needs the scope `consents:write`. The same decision again changes nothing, and a later one stands.

        A yes that breaks a rule is left out. A no that does could leave a withdrawn consent standing, so the whole
        request is refused.
        """
        if len(body.consents) > most:
            raise Problem(413, "too-many-consents", f"At most {most} decisions in one request; send them in parts.")
        if resources.proofs is None:
            raise store_busy()
        at = resources.clock()
        checked = [_check(row, record, resources, at) for row, record in enumerate(body.consents)]
        rejected = [one for one in checked if isinstance(one, RejectedRow)]
        for one in rejected:
            if may_be_a_lost_no(one):
                detail = f"consents -> {one.row}: {RULES[one.rule]}. It may withdraw a consent; nothing was recorded."
                raise Problem(422, "withdrawal-not-understood", detail)
        records = [one for one in checked if isinstance(one, ConsentRecord)]
        try:
            done = await run_in_threadpool(resources.proofs.take_in, records, rejected, resources.policy, at=at)
        except ConsentError:
            detail = "A text of the request cannot be kept: send plain, printable text without line breaks."
            raise Problem(422, "invalid", detail) from None
        except StoreError:
            raise store_busy() from None
        results = {one.row: PlatformResult(status="left_out", rule=one.rule) for one in rejected}
        for row, outcome, receipt_id in done:
            results[row] = (
                PlatformResult(status="left_out", rule="minor")
                if outcome == "minor"
                else PlatformResult(status=outcome, receipt_id=receipt_id)
            )
        return PlatformResults(results=[results[row] for row in range(len(checked))])

    return router


def _check(row: int, record: PlatformRecord, resources: Resources, at: datetime) -> ConsentRecord | RejectedRow:
    named = record.model_dump(exclude={"evidence"})
    values = {name: "" if value is None else str(value) for name, value in named.items()}
    # Evidence of such a name would speak for the column.
    reserved = (*REQUIRED, *OPTIONAL)
    if clash := [name for name in record.evidence if name in reserved]:
        raise Problem(422, "invalid", f"consents -> {row} -> evidence: {clash[0]} has a field of its own.")
    checked = check_record(row, {**record.evidence, **values}, resources.notices, at)
    return RejectedRow(row, checked, values) if isinstance(checked, str) else checked
