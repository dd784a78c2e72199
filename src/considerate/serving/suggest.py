"""The use case: consent, history, scores, filters, list, log. Each step that fails closes the door to the next."""

import logging
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal
from uuid import UUID, uuid4

from considerate.consent.decision import Decision, Policy, Reason, age_allowed, effective
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Channel
from considerate.ranking.returns import cancel_returns_of
from considerate.serving.decision_log import DecisionLog, NoDecisionLog
from considerate.serving.lists import Listed, Wish, everybodys_list, own_list
from considerate.serving.models import Models, Served
from considerate.serving.problems import place_of
from considerate.serving.shelves import Age, Audience, Shelves
from considerate.serving.standing import Customers, Standing
from considerate.store.decisions import DecidedItem, ServedDecision

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Ground:
    """What a list may know of its reader, and on what ground.

    Attributes
    ----------
    age
        Which age limits apply.
    standing
        The caller as the store knows them, None where they could not be read or are logged out.
    gpc
        A Global Privacy Control signal came with this request, or with an earlier one of this account.
    purposes
        Consents in force that the list rests on.
    """

    age: Age
    standing: Standing | None = None
    gpc: bool = False
    purposes: tuple[Purpose, ...] = ()


@dataclass(frozen=True, slots=True)
class Suggestions:
    """A list and what it rests on.

    Attributes
    ----------
    reason
        Why it is not the caller's own, or ok.
    model_version
        The model behind it, None where there was none.
    items
        Best first.
    ground
        What was known of the caller.
    catalogue_version
        The catalogue behind it, None where there was none.
    decision_id
        Under which the log has it, None where it does not.
    """

    reason: Reason
    model_version: str | None
    items: tuple[Listed, ...]
    ground: Ground
    catalogue_version: int | None = None
    decision_id: UUID | None = None

    @property
    def personalised(self) -> bool:
        """Whether the caller's own history was used."""
        return self.reason is Reason.OK

    @property
    def basis(self) -> Literal["personalised", "non_personalised"]:
        """What the list rests on, in a word."""
        return "personalised" if self.personalised else "non_personalised"

    @property
    def consent_epoch(self) -> int | None:
        """The caller's epoch at which consent was read, None where it could not be read."""
        return None if self.ground.standing is None else self.ground.standing.consent_epoch


@dataclass(frozen=True, slots=True)
class Counter:
    """Where lists come from and go: store, model, shelf, the shop's policy, and the log."""

    customers: Customers
    models: Models
    shelves: Shelves
    policy: Policy
    decisions: DecisionLog = field(default_factory=NoDecisionLog)


def suggest(counter: Counter, customer_id: str, wish: Wish, *, surface: str, at: datetime) -> Suggestions:
    """Make the list of a logged-in customer. Never raises for what fails behind it: then the list is nobody's own.

    A list of her own is given only once the log has taken it.

    Parameters
    ----------
    counter
        Where lists come from.
    customer_id
        From the login token.
    wish
        What the page asks for.
    surface
        Place on the shop's pages, for the log.
    at
        Now.
    """
    served = counter.models.current()
    made = _suggest(counter, served, customer_id, wish, at=at)
    decision = _decision(made, wish, surface, at)
    if counter.decisions.take(decision):
        return replace(made, decision_id=decision.decision_id)
    if made.personalised:
        return _suggest_to_all(counter, served, wish, Reason.CONSENT_UNAVAILABLE, made.ground, at=at)
    return made


def _suggest(counter: Counter, served: Served | None, customer_id: str, wish: Wish, *, at: datetime) -> Suggestions:
    ground = Ground(_unreadable_age(counter.policy), gpc=wish.gpc)
    try:
        standing = counter.customers.standing(customer_id)
        facts = standing.facts
        age = Age.ADULT if age_allowed(facts.age_band, counter.policy) else Age.MINOR
        ground = Ground(age, standing, gpc=wish.gpc or facts.gpc_at is not None)
        return _suggest_own(counter, served, standing, wish, ground, at=at)
    except _Closed as closed:
        reason = closed.reason
    except StoreError:
        # Said where it is read, once for all lists.
        reason = Reason.CONSENT_UNAVAILABLE
    except Exception as error:  # whatever fails behind it, the page gets a list
        log.error("a list cannot be made: %s", place_of(error))
        reason = Reason.CONSENT_UNAVAILABLE
    return _suggest_to_all(counter, served, wish, reason, ground, at=at)


def suggest_default(counter: Counter, wish: Wish, *, at: datetime) -> Suggestions:
    """Make the list of someone who is logged out: nothing is known, nothing is kept."""
    age = Age.ADULT if counter.policy.unknown_age == "adult" else Age.MINOR
    return _suggest_to_all(counter, counter.models.current(), wish, Reason.NO_CONSENT, Ground(age), at=at)


class _Closed(Exception):
    """The history stays unread, or cannot be used."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def _suggest_own(
    counter: Counter, served: Served | None, standing: Standing, wish: Wish, ground: Ground, *, at: datetime
) -> Suggestions:
    if not wish.personalised:
        raise _Closed(Reason.MODE_REQUESTED)
    used = permitted(standing, counter.policy, gpc=wish.gpc, at=at)
    if isinstance(used, Reason):
        raise _Closed(used)
    if served is None:
        raise _Closed(Reason.MODEL_UNAVAILABLE)
    if not counter.decisions.ready():
        # A use that cannot be shown later must not happen: the history is not even read.
        raise _Closed(Reason.CONSENT_UNAVAILABLE)
    catalogue = counter.customers.catalogue()
    shelf = counter.shelves.shelf(catalogue, served)
    history = counter.customers.history(standing, served.index, channels_of(used))
    sensitive = Purpose.SENSITIVE_CATEGORIES in used
    if not sensitive:
        history = history.take(~shelf.sensitive[history.item])
    history = cancel_returns_of(history)
    if len(history) == 0:
        raise _Closed(Reason.NO_HISTORY)
    try:
        items = own_list(served, shelf, history, wish, Audience(ground.age, sensitive), at=at)
    except Exception as error:
        log.error("model %s cannot score: %s", served.version, place_of(error))
        raise _Closed(Reason.MODEL_UNAVAILABLE) from None
    version = counter.customers.version_of(catalogue)
    return Suggestions(Reason.OK, served.version, items, replace(ground, purposes=used), version)


def permitted(standing: Standing, policy: Policy, *, gpc: bool, at: datetime) -> tuple[Purpose, ...] | Reason:
    """Give the purposes under which this person's own history may be read now, or the reason why it may not."""

    def decide(purpose: Purpose) -> Decision:
        return effective(standing.facts, purpose, at=at, policy=policy, gpc=gpc)

    on_site = decide(Purpose.PERSONALISE_ONSITE)
    if not on_site.allowed:
        return on_site.reason
    return (Purpose.PERSONALISE_ONSITE, *(wider for wider in _WIDER if decide(wider).allowed))


def channels_of(purposes: tuple[Purpose, ...]) -> frozenset[Channel]:
    """Channels whose rows may be read under these purposes."""
    return frozenset(Channel) if Purpose.LINK_IN_STORE in purposes else frozenset({Channel.ONLINE})


_WIDER = (Purpose.LINK_IN_STORE, Purpose.SENSITIVE_CATEGORIES)


def _unreadable_age(policy: Policy) -> Age:
    return Age.UNREADABLE if policy.unknown_age == "adult" else Age.MINOR


def _suggest_to_all(
    counter: Counter, served: Served | None, wish: Wish, reason: Reason, ground: Ground, *, at: datetime
) -> Suggestions:
    version = None
    try:
        catalogue: Catalogue | None = counter.customers.catalogue()
        version = counter.customers.version_of(catalogue)
        shelf = counter.shelves.shelf(catalogue, served)
        items = everybodys_list(served, shelf, wish, ground.age, at=at)
    except Exception as error:  # the page gets an answer, and nothing that could not be checked
        log.error("no list at all can be made: %s", place_of(error))
        items = ()
    return Suggestions(reason, served.version if served else None, items, ground, version)


def _decision(made: Suggestions, wish: Wish, surface: str, at: datetime) -> ServedDecision:
    """What the log keeps: of the page neither what was on it, nor a list that would tell."""
    standing = made.ground.standing
    consent = None
    if standing is not None and made.personalised:
        consent = standing.facts.consents.get(Purpose.PERSONALISE_ONSITE)
    follows_page = not made.personalised and bool(wish.context or wish.exclude or wish.category)
    facts: dict[str, object] = {"goal": wish.goal, "n": wish.n, "age": made.ground.age.value}
    if made.ground.gpc:
        facts["gpc"] = True
    if wish.context or wish.exclude or wish.category:
        facts["page"] = True
    return ServedDecision(
        decision_id=uuid4(),
        # Of somebody who is being erased nothing new may point to her.
        subject_ref=standing.subject_ref if standing is not None and standing.facts.state == "active" else None,
        at=at,
        surface=surface,
        basis=made.basis,
        reason=made.reason.value,
        purposes=tuple(purpose.value for purpose in made.ground.purposes) if made.personalised else (),
        consent_epoch=made.consent_epoch,
        consent_seq=None if consent is None else consent.seq,
        notice_version=None if consent is None else consent.notice_version,
        model_version=made.model_version,
        catalogue_version=made.catalogue_version,
        items=() if follows_page else tuple(DecidedItem(item.item_id, item.because) for item in made.items),
        facts=facts,
    )
