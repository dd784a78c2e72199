"""Errors as `application/problem+json` (RFC 9457). None repeats what the caller sent, none names a person."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import iter_route_contexts
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"
_SHOWN_CHARACTERS = 60
UNKNOWN_FIELDS = "considerate.unknown_fields"
"""Under this key a request's scope has the names of fields that were refused."""
_UNREADABLE = "The body is nested too deeply, holds a number too long, or is not UTF-8; send plain JSON."
_UNROUTED = (HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED)


class Problem(Exception):
    """An answer that is not the one asked for.

    Parameters
    ----------
    status
        HTTP status.
    kind
        Slug of the problem's type, such as `stale-notice`.
    detail
        What is wrong and what to do.
    headers
        More headers.
    """

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(kind)
        self.status, self.kind, self.detail, self.headers = status, kind, detail, headers or {}


class FieldError(BaseModel):
    """One wrong field: where it is and which rule it breaks, without its value."""

    where: str
    rule: str


class ProblemDocument(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError] | None = None


UNAUTHORIZED = Problem(
    HTTPStatus.UNAUTHORIZED,
    "unauthorized",
    "A valid login token is needed: Authorization: Bearer <token>.",
    {"WWW-Authenticate": 'Bearer realm="considerate"'},
)


def forbidden_scope(scope: str) -> Problem:
    """Refuse a token that holds but does not open this route."""
    return Problem(HTTPStatus.FORBIDDEN, "wrong-scope", f"This route is open to tokens with the scope {scope} only.")


def store_busy() -> Problem:
    """Say that the store did not answer; a commit that no answer came to may stand all the same."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "store-unavailable",
        "The store did not answer; this may have been done or not. Send it again; an Idempotency-Key keeps what adds "
        "something from being done twice.",
        {"Retry-After": "1"},
    )


def erasure_in_progress() -> Problem:
    """Say that nothing new begins for someone who is being erased."""
    return Problem(
        HTTPStatus.CONFLICT,
        "erasure-in-progress",
        "What was known of this customer is being erased; nothing was written. Send it again once that is done.",
        {"Retry-After": "60"},
    )


def problem_response(problem: Problem, errors: list[FieldError] | None = None) -> JSONResponse:
    """Give the answer for a problem."""
    document = ProblemDocument(
        type=f"urn:considerate:problem:{problem.kind}",
        title=HTTPStatus(problem.status).phrase,
        status=problem.status,
        detail=problem.detail,
        errors=errors,
    )
    headers = {"Cache-Control": "no-store", **problem.headers}
    return JSONResponse(document.model_dump(exclude_none=True), problem.status, headers, MEDIA_TYPE)


class TurnedAway(Protocol):
    """Counts a request that is answered before any route was asked."""

    def __call__(self, request: Request, *, routed: bool) -> None:
        """Count it; raises the Problem to answer instead."""


def add_problem_answers(app: FastAPI, count: TurnedAway) -> None:
    """Let every error of `app` answer as a problem, once `count` has let it pass."""

    def on_problem(_: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, Problem)  # noqa: S101 - registered for it alone
        return problem_response(error)

    def on_http(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, HTTPException)  # noqa: S101 - registered for it alone
        status = HTTPStatus(error.status_code)
        try:
            count(request, routed=status not in _UNROUTED)
        except Problem as problem:
            return problem_response(problem)
        if status is HTTPStatus.BAD_REQUEST:
            # The parser gave up on the body for another reason than its grammar.
            return problem_response(Problem(status, "malformed", _UNREADABLE))
        detail = "There is nothing here; see /openapi.json." if status is HTTPStatus.NOT_FOUND else status.description
        headers = {**(error.headers or {})}
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods_of(request))
        return problem_response(Problem(status, status.name.lower().replace("_", "-"), detail, headers))

    def on_invalid(request: Request, error: Exception) -> JSONResponse:
        assert isinstance(error, RequestValidationError)  # noqa: S101 - registered for it alone
        try:
            # A body is parsed before anybody is asked for a token.
            count(request, routed=True)
        except Problem as problem:
            return problem_response(problem)
        found = error.errors()
        if any(one["type"] == "json_invalid" for one in found):
            return problem_response(Problem(HTTPStatus.BAD_REQUEST, "malformed", "The body is not valid JSON."))
        request.scope[UNKNOWN_FIELDS] = {str(one["loc"][-1]) for one in found if one["type"] == "extra_forbidden"}
        fields = [FieldError(where=_where(one), rule=_rule(one)) for one in found[:20]]
        return problem_response(
            Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "The request breaks a rule of its schema."), fields
        )

    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, on_http)
    app.add_exception_handler(RequestValidationError, on_invalid)


class LastResort:
    """ASGI middleware: an error nobody foresaw is a plain 500, and its log line holds no value of the request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except Exception as error:
            if scope["type"] != "http":
                raise
            log.error("unforeseen %s", place_of(error))
            if not started:
                problem = Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "Something failed here; it is logged.")
                await problem_response(problem)(scope, receive, send)


def place_of(error: BaseException) -> str:
    """Name an error by its type and the line that raised it: its message could hold what a customer sent."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else f" at {trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
    return f"{type(error).__name__}{where}"


def _methods_of(request: Request) -> list[str]:
    """Every method of the path that was asked for: a route knows its own alone (RFC 9110, 10.2.1)."""
    contexts = iter_route_contexts(request.app.routes)
    return sorted(
        {method for one in contexts if one.matches(request.scope)[0] is not Match.NONE for method in one.methods or ()}
    )


def _where(error: Mapping[str, Any]) -> str:
    """Path to the field; a name of the caller's own invention is cut short."""
    return " -> ".join(str(part)[:_SHOWN_CHARACTERS] for part in error["loc"])


def _rule(error: Mapping[str, Any]) -> str:
    """The rule in words, which pydantic writes without the value, except where a value error of ours speaks."""
    if error["type"] == "extra_forbidden":
        return "is not a known field"
    return str(error["msg"]).removeprefix("Value error, ")
