"""The API as a plain FastAPI application: everything it needs comes in as `Resources`."""

from importlib.metadata import version
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Send
from starlette.types import Scope as AsgiScope

from considerate.serving.deadline import Deadline
from considerate.serving.foreign_names import ForeignNames
from considerate.serving.idempotency import add_repeated_answers
from considerate.serving.limits import BodyLimit
from considerate.serving.metrics import CONTENT_TYPE, Measured
from considerate.serving.problems import MEDIA_TYPE, LastResort, Problem, ProblemDocument, add_problem_answers
from considerate.serving.rates import Rates
from considerate.serving.resources import Resources, count_strangers, count_turned_away
from considerate.serving.routes_consents import consent_routes
from considerate.serving.routes_decisions import decision_routes
from considerate.serving.routes_events import event_routes
from considerate.serving.routes_items import item_routes
from considerate.serving.routes_platform import platform_routes
from considerate.serving.routes_public import public_routes
from considerate.serving.routes_receipts import receipt_routes
from considerate.serving.routes_recommendations import recommendation_routes
from considerate.serving.routes_rights import right_routes
from considerate.serving.schemas import Health

JSON = "application/json"
_ANSWERS: dict[int, str] = {
    400: "The body is not valid JSON.",
    401: "No valid login token.",
    403: "The token does not open this route, or the caller may not do this.",
    409: "The notice shown is not the current one.",
    410: "It was there, and can be fetched no longer.",
    413: "The request brings too much.",
    429: "Too many requests in this minute; `Retry-After` says when to come back.",
    422: "The request breaks a rule; the rule is named, what was sent is not repeated.",
    404: "There is nothing of this id that the caller may know of.",
    408: "The body did not arrive in time; nothing was done.",
    503: "The store did not answer, or this service did not in time (`not-in-time`): it may have been done or not.",
}


_HEAD_TOO_LARGE = (
    "A head (path, query, headers) of more than 64 KiB is refused before anything reads it, in plain text."
)


NO_KEYS = Problem(
    503,
    "no-keys",
    "The public keys of the login tokens could not be read yet; see the log, and check [auth] jwks.",
    {"Retry-After": "2"},
)


class Api(FastAPI):
    """FastAPI whose description says that errors are problems; left alone it files them under plain JSON."""

    def openapi(self) -> dict[str, Any]:
        """Give the OpenAPI document."""
        document = super().openapi()
        for methods in document["paths"].values():
            for operation in methods.values():
                for status, answer in operation["responses"].items():
                    if status.startswith(("4", "5")) and JSON in answer["content"]:
                        answer["content"] = {MEDIA_TYPE: answer["content"][JSON]}
                refused = operation["responses"].setdefault("400", {"description": "", "content": {}})
                refused["content"] = dict(refused["content"])
                if "text/plain" not in refused["content"]:
                    refused["description"] = f"{refused['description']} {_HEAD_TOO_LARGE}".strip()
                    refused["content"]["text/plain"] = {"schema": {"type": "string"}}
        return document


def create_app(resources: Resources) -> FastAPI:
    """Build the application of one worker.

    Parameters
    ----------
    resources
        Used by the routes; need not be open yet.
    """
    app = Api(
        title="considerate",
        version=version("considerate"),
        summary="Recommendations that ask first.",
        docs_url=None,
        # Below among the other routes, where it is counted as they are.
        openapi_url=None,
        redoc_url=None,
        # A redirect would repeat the path, and lead to whatever host the caller named.
        redirect_slashes=False,
        dependencies=[Depends(count_strangers)],
    )
    app.state.rates = Rates(resources.config.rates, workers=resources.config.workers)
    add_problem_answers(app, count_turned_away)
    add_repeated_answers(app)

    def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
        # Named, and not given as a model: FastAPI would build a model of its own for each status of each route.
        named = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}
        return {status: {"content": named, "description": _ANSWERS[status]} for status in statuses}

    app.include_router(recommendation_routes(resources), responses=problems(401, 403, 422, 429, 503))
    app.include_router(consent_routes(resources), responses=problems(400, 401, 403, 408, 409, 413, 422, 429, 503))
    app.include_router(event_routes(resources), responses=problems(400, 401, 403, 408, 413, 422, 429, 503))
    app.include_router(item_routes(resources), responses=problems(400, 401, 403, 404, 408, 413, 422, 429, 503))
    app.include_router(decision_routes(resources), responses=problems(401, 403, 404, 422, 429, 503))
    app.include_router(public_routes(resources), responses=problems(429, 503))
    app.include_router(
        right_routes(resources), responses=problems(400, 401, 403, 404, 408, 409, 410, 413, 422, 429, 503)
    )
    app.include_router(receipt_routes(resources), responses=problems(401, 403, 404, 422, 429, 503))
    app.include_router(platform_routes(resources), responses=problems(400, 401, 403, 408, 413, 422, 429, 503))
    app.include_router(_operator_routes(resources))
    # The last one added is outermost: what a limit refuses and what nobody foresaw is counted too.
    app.add_middleware(BodyLimit, limit=resources.config.limits.body_bytes)
    app.add_middleware(Deadline, cut_off_seconds=resources.config.request_seconds)
    app.add_middleware(NoStore)
    app.add_middleware(LastResort)
    app.add_middleware(ForeignNames, metrics=resources.metrics)
    app.add_middleware(Measured, metrics=resources.metrics)
    return app


def _operator_routes(resources: Resources) -> APIRouter:
    router = APIRouter(tags=["operation"])

    @router.get("/livez", summary="The process runs")
    async def livez() -> Health:
        """For a supervisor."""
        return Health(status="ok")

    @router.get(
        "/readyz",
        summary="The worker answers",
        responses={503: {"model": ProblemDocument, "description": "No login token can be checked yet."}},
    )
    async def readyz() -> Health:
        """For a load balancer. A worker answers without model and without store, then nobody's list is personal.

        Until it has the keys of the login tokens it is not ready: it would take everybody for a stranger.
        """
        if not resources.verifier.ready:
            raise NO_KEYS
        return Health(status="ok")

    @router.get("/metrics", summary="Counters of all workers", response_class=Response)
    def metrics() -> Response:
        """Prometheus' text format. For the operator: keep it behind the proxy."""
        return Response(resources.metrics.exposition(), headers={"Content-Type": CONTENT_TYPE})

    @router.get("/openapi.json", include_in_schema=False)
    def description(request: Request) -> JSONResponse:
        """Every route, what it takes and what it gives; no coroutine, as making it anew takes most of a second."""
        return JSONResponse(request.app.openapi())

    return router


class NoStore:
    """ASGI middleware: no cache between here and the caller keeps an answer of `/v1/me` (RFC 9111)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: AsgiScope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or not scope["path"].startswith("/v1/me"):
            return await self._app(scope, receive, send)

        async def marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [(name, value) for name, value in message["headers"] if name not in (b"cache-control", b"vary")]
                marks = [(b"cache-control", b"no-store"), (b"vary", b"Authorization, Sec-GPC")]
                message = {**message, "headers": kept + marks}
            await send(message)

        await self._app(scope, receive, marked)
        return None
