"""The caller's switches: one call to see them, one to turn one on, one to turn it off."""

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, BackgroundTasks, Depends, Request
from fastapi.concurrency import run_in_threadpool

from considerate.consent.decision import Consent, ConsentState, Decision, Reason, effective
from considerate.consent.events import Recorded
from considerate.consent.notices import Notice, NoticeShown
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.errors import MinorCannotConsent, StaleNotice, StoreError, UnknownSubject
from considerate.serving.gpc import gpc_note
from considerate.serving.idempotency import repeatable
from considerate.serving.problems import Problem, erasure_in_progress, store_busy
from considerate.serving.resources import BEARER, Resources, door, gpc_of
from considerate.serving.schemas import (
    ConsentReceipt,
    ConsentReceipts,
    ConsentsAnswer,
    Grant,
    NoticeText,
    PurposeState,
)
from considerate.serving.tokens import Caller, Scope
from considerate.store.answers import CUSTOMER, Once, Repeatable

ASK_AGAIN = (Reason.NOTICE_CHANGED, Reason.EXPIRED)
"""Why a yes that was given does not count any more: to be asked about again, in the words of the current notice."""


def consent_routes(resources: Resources) -> APIRouter:
    """Routes of the switches."""
    router = APIRouter(prefix="/v1/me/consents", tags=["consent"], dependencies=[Depends(BEARER)])
    me = door(resources.verifier, Scope.ME)
    Asked = Annotated[Repeatable | None, Depends(repeatable(me, CUSTOMER))]
    customers = resources.customers
    policy = resources.policy
    (notice,) = policy.notices.values()
    shown_text = _notice_text(notice)

    @router.get("", summary="Every switch, and the notice a new yes is bound to")
    async def consents(
        request: Request, after: BackgroundTasks, caller: Annotated[Caller, Depends(me)]
    ) -> ConsentsAnswer:
        """All five purposes, given or not. No record means no."""
        try:
            standing = customers.standing(caller.subject)
        except StoreError:
            raise store_busy() from None
        facts, gpc, at = standing.facts, gpc_of(request), resources.clock()
        if noted := gpc_note(customers, caller.subject, standing, signalled=gpc, at=at):
            after.add_task(noted)

        decided = {purpose: effective(facts, purpose, at=at, policy=policy, gpc=gpc) for purpose in Purpose}
        switches = [_switch(purpose, facts.consents.get(purpose), decision) for purpose, decision in decided.items()]
        return ConsentsAnswer(
            consent_epoch=standing.consent_epoch,
            gpc="honoured" if gpc or facts.gpc_at is not None else "not_signalled",
            consents=switches,
            notice=shown_text,
            due=[one.purpose for one in switches if one.state == ConsentState.GIVEN and one.reason in ASK_AGAIN],
        )

    @router.put("/{purpose}", summary="Turn one switch on")
    async def give(
        request: Request, purpose: Purpose, grant: Grant, caller: Annotated[Caller, Depends(me)], asked: Asked
    ) -> ConsentReceipt:
        """A yes to one purpose, in the words of the current notice; in force with the next request."""
        shown = NoticeShown(grant.notice_id, grant.notice_version, grant.locale)
        at = resources.clock()
        try:
            once = None if asked is None else Once(asked, _kept)
            recorded = await run_in_threadpool(
                customers.grant, caller.subject, purpose, shown, policy, at=at, gpc=gpc_of(request), once=once
            )
        except StaleNotice:
            current = f"{notice.notice_id} version {notice.version} in {', '.join(notice.locales)}"
            raise Problem(409, "stale-notice", f"Show the current notice ({current}) and ask again.") from None
        except MinorCannotConsent:
            raise Problem(
                403, "minor-cannot-consent", "Consent needs an adult of known age; leave the switch off."
            ) from None
        except UnknownSubject:
            raise erasure_in_progress() from None
        except StoreError:
            raise store_busy() from None
        return _receipt(recorded)

    @router.delete("/{purpose}", summary="Turn one switch off")
    async def withdraw(purpose: Purpose, caller: Annotated[Caller, Depends(me)]) -> ConsentReceipt:
        """One call, no body, no reason, any number of times; in force with the next request.

        It is carried out each time it arrives: an Idempotency-Key is not looked at.
        """
        return (await _withdraw(caller, (purpose,)))[0]

    @router.delete("", summary="Turn every switch off")
    async def withdraw_all(caller: Annotated[Caller, Depends(me)]) -> ConsentReceipts:
        """The same for all purposes at once."""
        return ConsentReceipts(receipts=await _withdraw(caller, tuple(Purpose)))

    async def _withdraw(caller: Caller, purposes: tuple[Purpose, ...]) -> list[ConsentReceipt]:
        at = resources.clock()
        try:
            recorded = await run_in_threadpool(customers.withdraw, caller.subject, purposes, at=at)
        except StoreError:
            raise store_busy() from None
        if recorded is None:
            return [_nothing_to_withdraw(purpose, resources) for purpose in purposes]
        return [_receipt(one) for one in recorded]

    return router


def _switch(purpose: Purpose, consent: Consent | None, decision: Decision) -> PurposeState:
    return PurposeState(
        purpose=purpose,
        state="none" if consent is None else consent.state,
        effective=decision.allowed,
        reason=decision.reason,
        explicit=PURPOSE_RULES[purpose].explicit,
        decided_at=None if consent is None else consent.event_time,
        expires_at=None if consent is None else consent.expires_at,
    )


def _notice_text(notice: Notice) -> NoticeText:
    return NoticeText(
        notice_id=notice.notice_id,
        version=notice.version,
        locales=list(notice.locales),
        text=dict(notice.texts),
        text_sha256={locale: notice.text_sha256(locale) for locale in notice.locales},
    )


def _receipt(recorded: Recorded) -> ConsentReceipt:
    return ConsentReceipt(
        purpose=recorded.purpose,
        state=recorded.state,
        changed=recorded.changed,
        consent_epoch=recorded.consent_epoch,
        recorded_at=recorded.event_time,
        receipt_id=UUID(bytes=recorded.event_id),
        ledger_seq=recorded.seq,
        ledger_hash=recorded.hash.hex(),
    )


def _kept(recorded: Recorded) -> str:
    return _receipt(recorded).model_dump_json()


def _nothing_to_withdraw(purpose: Purpose, resources: Resources) -> ConsentReceipt:
    return ConsentReceipt(
        purpose=purpose,
        state="none",
        changed=False,
        consent_epoch=0,
        recorded_at=resources.clock(),
        receipt_id=None,
        ledger_seq=None,
        ledger_hash=None,
    )
