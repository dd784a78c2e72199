"""The caller's switches: one call to see them, one to turn one on, one to turn it off."""

from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.concurrency import run_in_threadpool

from considerate.consent.decision import Policy, effective
from considerate.consent.events import Recorded
from considerate.consent.notices import NOTICE, NoticeShown
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.errors import MinorCannotConsent, StaleNotice, StoreError
from considerate.serving.problems import Problem, store_busy
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

NOTICE_TEXT = NoticeText(
    notice_id=NOTICE.notice_id,
    version=NOTICE.version,
    locales=list(NOTICE.locales),
    text=dict(NOTICE.texts),
    text_sha256={locale: NOTICE.text_sha256(locale) for locale in NOTICE.locales},
)


def consent_routes(resources: Resources) -> APIRouter:
    """Routes of the switches."""
    router = APIRouter(prefix="/v1/me/consents", tags=["consent"], dependencies=[Depends(BEARER)])
    me = door(resources.verifier, Scope.ME)
    customers = resources.customers
    policy = Policy(resources.config.policy.unknown_age, resources.config.policy.gpc_strict)

    @router.get("", summary="Every switch, and the notice a new yes is bound to")
    async def consents(request: Request, caller: Annotated[Caller, Depends(me)]) -> ConsentsAnswer:
        """All five purposes, given or not. No record means no."""
        try:
            standing = customers.standing(caller.subject)
        except StoreError:
            raise store_busy() from None
        facts, gpc, at = standing.facts, gpc_of(request), resources.clock()

        def state(purpose: Purpose) -> PurposeState:
            consent = facts.consents.get(purpose)
            decision = effective(facts, purpose, at=at, policy=policy, gpc=gpc)
            return PurposeState(
                purpose=purpose,
                state="none" if consent is None else consent.state,
                effective=decision.allowed,
                reason=decision.reason,
                explicit=PURPOSE_RULES[purpose].explicit,
                decided_at=None if consent is None else consent.event_time,
                expires_at=None if consent is None else consent.expires_at,
            )

        return ConsentsAnswer(
            consent_epoch=standing.consent_epoch,
            gpc="honoured" if gpc else "not_signalled",
            consents=[state(purpose) for purpose in Purpose],
            notice=NOTICE_TEXT,
        )

    @router.put("/{purpose}", summary="Turn one switch on")
    async def give(purpose: Purpose, grant: Grant, caller: Annotated[Caller, Depends(me)]) -> ConsentReceipt:
        """A yes to one purpose, in the words of the current notice; in force with the next request."""
        shown = NoticeShown(grant.notice_id, grant.notice_version, grant.locale)
        at = resources.clock()
        try:
            recorded = await run_in_threadpool(customers.grant, caller.subject, purpose, shown, policy, at=at)
        except StaleNotice:
            current = f"{NOTICE.notice_id} version {NOTICE.version} in {', '.join(NOTICE.locales)}"
            raise Problem(409, "stale-notice", f"Show the current notice ({current}) and ask again.") from None
        except MinorCannotConsent:
            raise Problem(
                403, "minor-cannot-consent", "Consent needs an adult of known age; leave the switch off."
            ) from None
        except StoreError:
            raise store_busy() from None
        return _receipt(recorded)

    @router.delete("/{purpose}", summary="Turn one switch off")
    async def withdraw(purpose: Purpose, caller: Annotated[Caller, Depends(me)]) -> ConsentReceipt:
        """One call, no body, no reason, any number of times; in force with the next request."""
        return (await _withdraw(caller, (purpose,)))[0]

    @router.delete("", summary="Turn every switch off")
    async def withdraw_all(caller: Annotated[Caller, Depends(me)]) -> ConsentReceipts:
        """The same for all purposes at once."""
        return ConsentReceipts(receipts=await _withdraw(caller, tuple(Purpose)))

    async def _withdraw(caller: Caller, purposes: tuple[Purpose, ...]) -> list[ConsentReceipt]:
        try:
            recorded = await run_in_threadpool(customers.withdraw, caller.subject, purposes, at=resources.clock())
        except StoreError:
            raise store_busy() from None
        if recorded is None:
            return [_nothing_to_withdraw(purpose, resources) for purpose in purposes]
        return [_receipt(one) for one in recorded]

    return router


def _receipt(recorded: Recorded) -> ConsentReceipt:
    return ConsentReceipt(
        purpose=recorded.purpose,
        state=recorded.state,
        changed=recorded.new,
        consent_epoch=recorded.consent_epoch,
        recorded_at=recorded.event_time,
        ledger_seq=recorded.seq,
        ledger_hash=recorded.hash.hex(),
    )


def _nothing_to_withdraw(purpose: Purpose, resources: Resources) -> ConsentReceipt:
    return ConsentReceipt(
        purpose=purpose,
        state="none",
        changed=False,
        consent_epoch=0,
        recorded_at=resources.clock(),
        ledger_seq=None,
        ledger_hash=None,
    )
