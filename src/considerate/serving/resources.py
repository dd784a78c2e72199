"""What one service process holds, and who is allowed through its doors."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from fastapi import Request
from fastapi.security import HTTPBearer

from considerate.serving.customers import Customers
from considerate.serving.gpc import signals_gpc
from considerate.serving.metrics import Metrics
from considerate.serving.models import Models
from considerate.serving.problems import UNAUTHORIZED, forbidden_scope
from considerate.serving.shelves import Shelves
from considerate.serving.tokens import SERVICE_SCOPES, Caller, InvalidToken, Scope, Verifier
from considerate.settings.service import ServiceConfig

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
    """

    config: ServiceConfig
    verifier: Verifier
    customers: Customers
    models: Models
    shelves: Shelves
    metrics: Metrics
    clock: Callable[[], datetime]


Door = Callable[[Request], Awaitable[Caller]]


def door(verifier: Verifier, scope: Scope) -> Door:
    """Give the dependency that lets callers with `scope` through: 401 for a token that does not hold, else 403."""

    async def enter(request: Request) -> Caller:
        caller = verified(request, verifier)
        if scope not in caller.scopes or (scope is Scope.ME and caller.scopes & SERVICE_SCOPES):
            raise forbidden_scope(scope)
        return caller

    return enter


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
