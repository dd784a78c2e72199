"""A bound on how long an answer takes: ours, so that whoever waited in vain is told what may have happened."""

import asyncio
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from considerate.serving.problems import Problem, problem_response

MARGIN_SECONDS = 0.05
"""How much sooner than the server below: its own answer is none of ours, and may be kept by a cache."""

TOO_SLOW = Problem(
    HTTPStatus.REQUEST_TIMEOUT,
    "request-timeout",
    "The body did not arrive in time; nothing was done. Send it again, in parts if it is long.",
    {"Connection": "close"},
)
NOT_IN_TIME = Problem(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "not-in-time",
    "This was not answered in time, and may have been done or not. Send it again; an Idempotency-Key keeps what adds "
    "something from being done twice.",
    {"Retry-After": "1"},
)


class Deadline:
    """ASGI middleware: an answer that has not begun in time is 408 if the body is still to come, else 503.

    An answer that has begun is never cut off. What a thread or the database does meanwhile goes on to its end.

    Parameters
    ----------
    app
        The application.
    cut_off_seconds
        After so long the server below cuts the request off.
    """

    def __init__(self, app: ASGIApp, cut_off_seconds: float) -> None:
        self._app = app
        self._seconds = max(cut_off_seconds / 2, cut_off_seconds - MARGIN_SECONDS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        awaits_body = False

        async def watched_receive() -> Message:
            nonlocal awaits_body
            awaits_body = True
            message = await receive()
            awaits_body = False
            return message

        async def watched_send(message: Message) -> None:
            limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(self._seconds) as limit:
                await self._app(scope, watched_receive, watched_send)
        except TimeoutError:
            if not limit.expired():
                raise
            await problem_response(TOO_SLOW if awaits_body else NOT_IN_TIME)(scope, receive, send)
        return None
