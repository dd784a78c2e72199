"""What one service process holds, and who is allowed through its doors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from anyio import CapacityLimiter
from anyio.to_thread import run_sync
from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.security import HTTPBearer

from considerate.consent.decision import Policy
from considerate.consent.notices import NOTICES, Notice
from considerate.serving.decision_log import DecisionLog, NoDecisionLog
from considerate.serving.gpc import signals_gpc
from considerate.serving.metrics import Metrics
from considerate.serving.models import Models
from considerate.serving.problems import UNAUTHORIZED, Problem, forbidden_scope
from considerate.serving.proofs import Proofs
from considerate.serving.rates import Rates
from considerate.serving.rights import Rights
from considerate.serving.shelves import Shelves
from considerate.serving.standing import Customers
from considerate.serving.tokens import SERVICE_SCOPES, Caller, InvalidToken, Scope, Verifier
from considerate.settings.service import ServiceConfig

T = TypeVar("T")

READERS = 3
"""Threads of a worker that read at once: together with a list, they find one of the four connections each."""

BEARER = HTTPBearer(
    scheme_name="login token",
    bearerFormat="JWT",
    description="at+jwt that the shop mints from its own session; `sub` is the customer or the calling service.",
    auto_error=False,
)


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything the routes need.

    Attributes
    ----------
    config
        The service TOML.
    verifier
        Believes or refuses tokens.
    customers
        Consent, history and events: the store.
    models
        The model in use.
    shelves
        What may be shown to whom.
    metrics
        Counters.
    clock
        Gives the time, aware, UTC.
    decisions
        Where served decisions are written down; without one, no list is personalised.
    rights
        What a customer may ask for; without it, nothing can be asked for now.
    proofs
        Receipts and consent histories; without it, none can be had now.
    notices
        The notice in force, by its id.
    readers
        How many may read beside the lists.
    """

    config: ServiceConfig
    verifier: Verifier
    customers: Customers
    models: Models
    shelves: Shelves
    metrics: Metrics
    clock: Callable[[], datetime]
    decisions: DecisionLog = field(default_factory=NoDecisionLog)
    rights: Rights | None = None
    proofs: Proofs | None = None
    notices: Mapping[str, Notice] = field(default_factory=lambda: NOTICES)
    readers: CapacityLimiter = field(default_factory=lambda: CapacityLimiter(READERS))

    async def read(self, question: Callable[[], T]) -> T:
        """Let the store answer in one of a few threads: what is read there may take long, and no list waits for it."""
        return await run_sync(question, limiter=self.readers)

    @property
    def policy(self) -> Policy:
        """What the shop, not the customer, decides."""
        return Policy(self.config.policy.unknown_age, self.config.policy.gpc_strict, self.notices)


@dataclass(frozen=True, slots=True)
class Door:
    """The dependency of a route that lets callers with `scope` through; a service scope opens nothing of `/v1/me`."""

    verifier: Verifier
    scope: Scope

    async def __call__(self, request: Request) -> Caller:
        """Give the caller: 401 for a token that does not hold, 429 for too many requests, 403 for another scope."""
        return self.enter(request)

    def enter(self, request: Request) -> Caller:
        """Do so."""
        # From the application: a door is made by every router, and counting is everybody's together.
        rates: Rates = request.app.state.rates
        request.state.counted = True
        try:
            caller = verified(request, self.verifier)
        except Problem:
            rates.admit_stranger(request)
            raise
        rates.admit(caller)
        if self.scope not in caller.scopes or (self.scope is Scope.ME and caller.scopes & SERVICE_SCOPES):
            raise forbidden_scope(self.scope)
        return caller


def door(verifier: Verifier, scope: Scope) -> Door:
    """Give the dependency that lets callers with `scope` through."""
    return Door(verifier, scope)


FREE = frozenset({"/livez", "/readyz", "/metrics"})
"""What a supervisor, a load balancer and the operator ask; never counted."""


async def count_strangers(request: Request) -> None:
    """Count a request for a route that has no door, by its address; a dependency of every route.

    Raises
    ------
    Problem
        429: too many in this minute.
    """
    route = request.scope["route"]
    if route.path not in FREE and door_of(route.dependant) is None:
        request.state.counted = True
        request.app.state.rates.admit_stranger(request)


def count_turned_away(request: Request, *, routed: bool) -> None:
    """Count a request that is answered before any route was asked: nobody sends malformed bodies without end.

    Parameters
    ----------
    request
        Its body is not JSON or too large, or no route takes it.
    routed
        A route takes it: then its token is looked at first, as if the body had been fine.

    Raises
    ------
    Problem
        401, 403 or 429: what the request is answered with instead.
    """
    if getattr(request.state, "counted", False):
        return
    found = door_of(request.scope["route"].dependant) if routed else None
    if found is not None:
        found.enter(request)
    else:
        request.app.state.rates.admit_stranger(request)


def door_of(dependant: Dependant) -> Door | None:
    """Find the door of a route that asks for a token."""
    if isinstance(dependant.call, Door):
        return dependant.call
    return next((found for one in dependant.dependencies if (found := door_of(one)) is not None), None)


def verified(request: Request, verifier: Verifier) -> Caller:
    """Give the caller behind the one `Authorization` header; whatever is wrong with it, the answer is the same."""
    headers = request.headers.getlist("authorization")
    scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
    if scheme.lower() != "bearer":
        raise UNAUTHORIZED
    try:
        return verifier.verify(token)
    except InvalidToken:
        raise UNAUTHORIZED from None


def gpc_of(request: Request) -> bool:
    """Whether the request carries a Global Privacy Control signal."""
    return signals_gpc(request.headers.getlist("sec-gpc"))
