"""The use case: consent, history, scores, filters, list. Each step that fails closes the door to the next."""

import logging
from dataclasses import dataclass
from datetime import datetime

from considerate.consent.decision import Decision, Policy, Reason, age_allowed, effective
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.ranking.history import Channel, History
from considerate.ranking.returns import cancel_returns_of
from considerate.serving.customers import Customers, Standing
from considerate.serving.lists import Listed, Wish, everybodys_list, own_list
from considerate.serving.models import Models, Served
from considerate.serving.problems import place_of
from considerate.serving.shelves import Age, Audience, Shelf, Shelves

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Suggestions:
    """A list and what it rests on.

    Attributes
    ----------
    personalised
        Whether the caller's own history was used.
    reason
        Why not, or ok.
    model_version
        The model behind it, None where there was none.
    consent_epoch
        The caller's epoch at which consent was read, None where it could not be read.
    items
        Best first.
    """

    personalised: bool
    reason: Reason
    model_version: str | None
    consent_epoch: int | None
    items: tuple[Listed, ...]


@dataclass(frozen=True, slots=True)
class Counter:
    """Where lists come from: store, model, shelf and the shop's policy."""

    customers: Customers
    models: Models
    shelves: Shelves
    policy: Policy


def suggest(counter: Counter, customer_id: str, wish: Wish, *, at: datetime) -> Suggestions:
    """Make the list of a logged-in customer. Never raises for what fails behind it: then the list is nobody's own.

    Parameters
    ----------
    counter
        Where lists come from.
    customer_id
        From the login token.
    wish
        What the page asks for.
    at
        Now.
    """
    served = counter.models.current()
    everybody = _Everybody(_unreadable_age(counter.policy), None)
    try:
        standing = counter.customers.standing(customer_id)
        age = Age.ADULT if age_allowed(standing.facts.age_band, counter.policy) else Age.MINOR
        everybody = _Everybody(age, standing.consent_epoch)
        return _suggest_own(counter, served, standing, wish, age=age, at=at)
    except _Closed as closed:
        reason = closed.reason
    except StoreError as error:
        log.warning("the store cannot be read: %s", error)
        reason = Reason.CONSENT_UNAVAILABLE
    except Exception as error:  # whatever fails behind it, the page gets a list
        log.error("a list cannot be made: %s", place_of(error))
        reason = Reason.CONSENT_UNAVAILABLE
    return _suggest_to_all(counter, served, wish, reason, everybody, at=at)


def suggest_default(counter: Counter, wish: Wish, *, at: datetime) -> Suggestions:
    """Make the list of someone who is logged out: nothing is known, nothing is kept."""
    age = Age.ADULT if counter.policy.unknown_age == "adult" else Age.MINOR
    everybody = _Everybody(age, None)
    return _suggest_to_all(counter, counter.models.current(), wish, Reason.NO_CONSENT, everybody, at=at)


class _Closed(Exception):
    """The history stays unread, or cannot be used."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Everybody:
    """All that a list without profiling may know of its reader."""

    age: Age
    consent_epoch: int | None


def _suggest_own(
    counter: Counter, served: Served | None, standing: Standing, wish: Wish, *, age: Age, at: datetime
) -> Suggestions:
    if not wish.personalised:
        raise _Closed(Reason.MODE_REQUESTED)
    decision = _decide(standing, Purpose.PERSONALISE_ONSITE, counter.policy, wish, at)
    if not decision.allowed:
        raise _Closed(decision.reason)
    if served is None:
        raise _Closed(Reason.MODEL_UNAVAILABLE)
    sensitive = _decide(standing, Purpose.SENSITIVE_CATEGORIES, counter.policy, wish, at).allowed
    shelf = counter.shelves.shelf(counter.customers.catalogue(), served)
    history = _own_history(counter, standing, served, shelf, wish, sensitive=sensitive, at=at)
    if len(history) == 0:
        raise _Closed(Reason.NO_HISTORY)
    try:
        items = own_list(served, shelf, history, wish, Audience(age, sensitive), at=at)
    except Exception as error:
        log.error("model %s cannot score: %s", served.version, place_of(error))
        raise _Closed(Reason.MODEL_UNAVAILABLE) from None
    return Suggestions(True, Reason.OK, served.version, standing.consent_epoch, items)


def _decide(standing: Standing, purpose: Purpose, policy: Policy, wish: Wish, at: datetime) -> Decision:
    return effective(standing.facts, purpose, at=at, policy=policy, gpc=wish.gpc)


def _unreadable_age(policy: Policy) -> Age:
    return Age.UNREADABLE if policy.unknown_age == "adult" else Age.MINOR


def _own_history(
    counter: Counter, standing: Standing, served: Served, shelf: Shelf, wish: Wish, *, sensitive: bool, at: datetime
) -> History:
    link = _decide(standing, Purpose.LINK_IN_STORE, counter.policy, wish, at).allowed
    channels = frozenset({Channel.ONLINE, Channel.STORE} if link else {Channel.ONLINE})
    history = counter.customers.history(standing, served.index, channels)
    if not sensitive:
        history = history.take(~shelf.sensitive[history.item])
    return cancel_returns_of(history)


def _suggest_to_all(
    counter: Counter, served: Served | None, wish: Wish, reason: Reason, reader: _Everybody, *, at: datetime
) -> Suggestions:
    try:
        shelf = counter.shelves.shelf(counter.customers.catalogue(), served)
        items = everybodys_list(served, shelf, wish, reader.age, at=at)
    except Exception as error:  # the page gets an answer, and nothing that could not be checked
        log.error("no list at all can be made: %s", place_of(error))
        items = ()
    return Suggestions(False, reason, served.version if served else None, reader.consent_epoch, items)
