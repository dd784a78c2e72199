"""May this purpose be pursued for this person now? One pure function, for serving, fitting, sending and exporting."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal

from considerate.consent.notices import NOTICES, Notice
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.store.subjects import AgeBand, State


class ConsentState(StrEnum):
    """State of a consent after a ledger event; only `GIVEN` permits anything."""

    REQUESTED = "requested"
    REFUSED = "refused"
    GIVEN = "given"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    INVALIDATED = "invalidated"
    SUPERSEDED = "superseded"
    ERASED = "erased"


class Reason(StrEnum):
    """Why a list is, or is not, personalised; for the caller's own eyes only."""

    OK = "ok"
    NO_CONSENT = "no_consent"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    NOTICE_CHANGED = "notice_changed"
    OBJECTED = "objected"
    RESTRICTED = "restricted"
    MINOR_OR_AGE_UNKNOWN = "minor_or_age_unknown"
    GPC = "gpc"
    MODE_REQUESTED = "mode_requested"
    NO_HISTORY = "no_history"
    CONSENT_UNAVAILABLE = "consent_unavailable"
    MODEL_UNAVAILABLE = "model_unavailable"


@dataclass(frozen=True, slots=True)
class Consent:
    """What a customer last said about one purpose.

    Attributes
    ----------
    state
        After her last act.
    seq
        Position of that act in the ledger.
    purpose_version, notice_id, notice_version
        The meaning and the words she decided on.
    event_time
        When she acted.
    expires_at
        When it ends by itself, None for never.
    """

    state: ConsentState
    seq: int
    purpose_version: int
    notice_id: str
    notice_version: int
    event_time: datetime
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class SubjectFacts:
    """All that a decision looks at; the defaults are those of a person of whom nothing is known.

    Attributes
    ----------
    consents
        What she last said about each purpose; purposes never decided on are absent.
    age_band, state
        As in `store.subjects.Subject`.
    objected, restricted
        She objects (GDPR 21), or has use restricted (GDPR 18).
    gpc_at
        When one of her devices first sent a Global Privacy Control signal, None for never. It holds on every device.
    """

    consents: Mapping[Purpose, Consent] = field(default_factory=dict)
    age_band: AgeBand = "unknown"
    state: State = "active"
    objected: bool = False
    restricted: bool = False
    gpc_at: datetime | None = None


NOBODY = SubjectFacts()
"""Facts of a customer whom the store does not know."""


@dataclass(frozen=True, slots=True)
class Policy:
    """What the shop, not the customer, decides.

    Attributes
    ----------
    unknown_age
        What an unknown age counts as. `adult` is for shops that do not sell to minors.
    gpc_strict
        A `Sec-GPC: 1` signal switches off every purpose, not only those that share data.
    notices
        Notice id -> notice in force.
    """

    unknown_age: Literal["deny", "adult"] = "deny"
    gpc_strict: bool = False
    notices: Mapping[str, Notice] = field(default_factory=lambda: NOTICES)


@dataclass(frozen=True, slots=True)
class Decision:
    """Allowed or not, and the first reason why not."""

    allowed: bool
    reason: Reason


def effective(facts: SubjectFacts, purpose: Purpose, *, at: datetime, policy: Policy, gpc: bool = False) -> Decision:
    """Decide whether `purpose` may be pursued at `at`.

    Parameters
    ----------
    facts
        Of the subject, read now.
    purpose
        What the data would be used for.
    at
        The moment of use, aware.
    policy
        Of the shop.
    gpc
        The request carries `Sec-GPC: 1`.

    Returns
    -------
        Allowed only if every test holds; the reason is that of the first that does not, in this order: given,
        notice and purpose unchanged, not expired, not objected, not restricted, age allowed, active, one of the
        purposes it widens effective (else the reason of the first of them), no GPC signal that denies it.
    """
    reason = _first_refusal(facts, purpose, at=at, policy=policy, gpc=gpc)
    return Decision(reason is Reason.OK, reason)


def effective_all(
    facts: SubjectFacts, purposes: tuple[Purpose, ...], *, at: datetime, policy: Policy, gpc: bool = False
) -> Decision:
    """Decide on a use that rests on several purposes at once, such as learning from till purchases."""
    for purpose in purposes:
        decision = effective(facts, purpose, at=at, policy=policy, gpc=gpc)
        if not decision.allowed:
            return decision
    return Decision(bool(purposes), Reason.OK if purposes else Reason.NO_CONSENT)


def gpc_denies(purpose: Purpose, policy: Policy) -> bool:
    """Whether a Global Privacy Control signal speaks against this purpose."""
    return policy.gpc_strict or PURPOSE_RULES[purpose].gpc_denies


def age_allowed(age_band: AgeBand, policy: Policy) -> bool:
    """Whether someone of this age may be profiled, and may consent to it: adults only."""
    return age_band == "adult" or (age_band == "unknown" and policy.unknown_age == "adult")


def _first_refusal(  # noqa: PLR0911 - a list of rules reads best as a list
    facts: SubjectFacts, purpose: Purpose, *, at: datetime, policy: Policy, gpc: bool
) -> Reason:
    consent = facts.consents.get(purpose)
    if consent is None:
        return Reason.NO_CONSENT
    if consent.state is not ConsentState.GIVEN:
        return _NOT_GIVEN.get(consent.state, Reason.NO_CONSENT)
    rule = PURPOSE_RULES[purpose]
    notice = policy.notices.get(consent.notice_id)
    if notice is None or consent.notice_version < notice.oldest_for(purpose) or consent.purpose_version != rule.version:
        return Reason.NOTICE_CHANGED
    if consent.expires_at is not None and at >= consent.expires_at:
        return Reason.EXPIRED
    if facts.objected:
        return Reason.OBJECTED
    if facts.restricted:
        return Reason.RESTRICTED
    if not age_allowed(facts.age_band, policy):
        return Reason.MINOR_OR_AGE_UNKNOWN
    if facts.state != "active":
        return Reason.NO_CONSENT
    if rule.requires:
        reasons = [_first_refusal(facts, wide, at=at, policy=policy, gpc=gpc) for wide in rule.requires]
        if Reason.OK not in reasons:
            return reasons[0]
    # A yes to this very purpose, given after the signal was first seen, is the later and the more specific word: it
    # wins over the signal that the same browser goes on sending. A signal seen for the first time has no such answer.
    answered = facts.gpc_at is not None and consent.event_time >= facts.gpc_at
    if (gpc or facts.gpc_at is not None) and not answered and gpc_denies(purpose, policy):
        return Reason.GPC
    return Reason.OK


_NOT_GIVEN = {
    ConsentState.WITHDRAWN: Reason.WITHDRAWN,
    ConsentState.EXPIRED: Reason.EXPIRED,
    ConsentState.SUPERSEDED: Reason.NOTICE_CHANGED,
}
