"""Requests of `/v1/me` that name a customer themselves: the name opens nothing, and somebody should look who tries."""

import logging
import time
from collections.abc import Callable
from urllib.parse import parse_qsl

from starlette.types import ASGIApp, Receive, Scope, Send

from considerate.serving.metrics import Metrics
from considerate.serving.problems import UNKNOWN_FIELDS

log = logging.getLogger(__name__)

HEADERS = frozenset({b"x-user-id", b"x-customer-id"})
FIELDS = frozenset({"customer_id", "user_id", "sub", "subject_ref"})
"""Of a query or a body."""
PAUSE_SECONDS = 60.0
"""Between two lines of the log; the counter counts each."""


class ForeignNames:
    """ASGI middleware: counts each such request and logs that they come, without any name.

    Parameters
    ----------
    app
        What answers.
    metrics
        Where they are counted.
    now
        Seconds that only rise.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, now: Callable[[], float] = time.monotonic) -> None:
        self._app, self._metrics, self._now = app, metrics, now
        self._logged_at: float | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        await self._app(scope, receive, send)
        if scope["type"] != "http" or not scope["path"].startswith("/v1/me"):
            return
        query = {name for name, _ in parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)}
        found = {
            "header": HEADERS.intersection(name for name, _ in scope["headers"]),
            "query": FIELDS & query,
            "body": FIELDS.intersection(scope.get(UNKNOWN_FIELDS, ())) - query,
        }
        for place in (place for place, names in found.items() if names):
            self._metrics.foreign_names.labels(place).inc()
            self._log(place)

    def _log(self, place: str) -> None:
        now = self._now()
        if self._logged_at is None or now - self._logged_at >= PAUSE_SECONDS:
            self._logged_at = now
            log.warning(
                "a request of /v1/me names a customer in its %s, which opens nothing: see who sends it; "
                "considerate_foreign_names_total counts them",
                place,
            )
