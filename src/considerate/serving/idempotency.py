"""Idempotency-Key: a request that its sender may repeat until it hears an answer is done once.

The key, method, path and body are compared; an answer stands for its key for a day. A captured yes that is sent again
after a withdrawal gets its old receipt, and the switch stays off.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from starlette.responses import Response

from considerate.serving.problems import Problem, problem_response
from considerate.serving.resources import Door
from considerate.serving.tokens import Caller
from considerate.store.answers import AnsweredBefore, KeyReused, Repeatable

HEADER = "Idempotency-Key"
REPLAYED = {"Idempotent-Replayed": "true"}
_MOST = 255

KeyHeader = Annotated[
    str | None,
    Header(
        alias=HEADER,
        min_length=1,
        max_length=_MOST,
        pattern=r"^[\x21-\x7e]+$",
        description="Any text of the sender's own, new for each request: sent again with it, a request is done once.",
    ),
]

Asked = Callable[..., Awaitable[Repeatable | None]]


def repeatable(enter: Door, kind: str) -> Asked:
    """Give the dependency that reads the key of a request, None where it has none.

    Parameters
    ----------
    enter
        The door of the route: a key is its caller's own.
    kind
        `store.answers.CUSTOMER` or `SERVICE`.
    """

    async def asked(
        request: Request, caller: Annotated[Caller, Depends(enter)], key: KeyHeader = None
    ) -> Repeatable | None:
        if key is None:
            return None
        if len(request.headers.getlist(HEADER)) > 1:
            raise Problem(422, "invalid", f"The header {HEADER} must come once.")
        digest = hashlib.sha256()
        for part in (request.method, request.url.path, request.url.query):
            digest.update(f"{part}\n".encode())
        digest.update(await request.body())
        return Repeatable(kind, caller.subject, key, digest.hexdigest())

    return asked


def add_repeated_answers(app: FastAPI) -> None:
    """Let a repeated request have its first answer, and a key that stands for another request a 422."""

    def on_repeated(_: Request, error: Exception) -> Response:
        assert isinstance(error, AnsweredBefore)  # noqa: S101 - registered for it alone
        return Response(error.answer, error.status, REPLAYED, media_type="application/json")

    def on_reused(_: Request, __: Exception) -> Response:
        detail = f"This {HEADER} stands for another request; give every request a key of its own."
        return problem_response(Problem(422, "idempotency-key-reused", detail))

    app.add_exception_handler(AnsweredBefore, on_repeated)
    app.add_exception_handler(KeyReused, on_reused)
