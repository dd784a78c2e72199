"""Prometheus metrics: labels are route templates, reasons and versions; no path, no id, nothing that a caller chose."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"})
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
KEPT_SECONDS = 0.25
"""Merging the counters of all workers takes a core some time: it is done so often at most."""

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Routed(Protocol):
    path: str


class Metrics:
    """The counters of one worker, shown together with those of all others.

    Parameters
    ----------
    folder
        Where the workers share their counters (prometheus_client's multiprocess mode), None for one process alone.
        BentoML's supervisor names the folder in the environment that it starts the workers with.
    now
        Seconds of a clock that never goes back.
    """

    def __init__(self, folder: Path | None = None, now: Callable[[], float] = time.monotonic) -> None:
        self._folder, self._now = folder, now
        self._lock, self._text, self._fresh_until = threading.Lock(), b"", float("-inf")
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "considerate_requests",
            "Requests by route template.",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self.seconds = Histogram(
            "considerate_request_seconds",
            "Time to the last byte of the answer.",
            ["method", "route"],
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self.answers = Counter(
            "considerate_recommendations",
            "Lists served, by what they rest on.",
            ["surface", "basis", "reason", "model_version"],
            registry=self._registry,
        )
        self.history_reads = Counter(
            "considerate_history_reads", "Reads of a customer's history for a list.", registry=self._registry
        )
        self.decisions = Counter(
            "considerate_decisions",
            "Served decisions: written to the log, refused by it, or taken and lost by a worker that was killed.",
            ["outcome"],
            registry=self._registry,
        )
        for outcome in ("written", "refused", "lost"):
            self.decisions.labels(outcome)  # shown from the start: a missing line could mean anything
        self.foreign_names = Counter(
            "considerate_foreign_names",
            "Requests of /v1/me that named a customer besides the token.",
            ["place"],
            registry=self._registry,
        )
        self.swaps = Counter(
            "considerate_model_swaps", "Models taken or refused.", ["outcome"], registry=self._registry
        )
        self.model = Gauge(
            "considerate_model_loaded",
            "Workers that answer from this version.",
            ["model_version"],
            registry=self._registry,
            multiprocess_mode="livesum",
        )
        self.training_modules = Gauge(
            "considerate_training_modules_loaded",
            "Libraries for fitting that a worker has imported; anything but 0 is a defect.",
            registry=self._registry,
            multiprocess_mode="livemax",
        )

    def exposition(self) -> bytes:
        """Everything, in Prometheus' text format; may take 20 ms for each worker, and is made anew after a moment."""
        if self._folder is None:
            return generate_latest(self._collected())
        # One at a time: whoever asks meanwhile gets the same.
        with self._lock:
            asked = self._now()
            if asked >= self._fresh_until:
                self._text = generate_latest(self._collected())
                # From the beginning of the merge on: what was counted during it may be missing.
                self._fresh_until = asked + KEPT_SECONDS
            return self._text

    def _collected(self) -> CollectorRegistry:
        if self._folder is None:
            return self._registry
        shared = CollectorRegistry()
        MultiProcessCollector(shared, str(self._folder))  # type: ignore[no-untyped-call]  # untyped in the library
        return shared


class Measured:
    """ASGI middleware around the application: counts each request under its route template."""

    def __init__(self, app: ASGIApp, metrics: Metrics, now: Callable[[], float] = time.perf_counter) -> None:
        self._app, self._metrics, self._now = app, metrics, now

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        started, status = self._now(), 500

        async def watched(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, watched)
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "other"
            route = template(scope.get("route"))
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.seconds.labels(method, route).observe(self._now() - started)
        return None


def template(route: _Routed | None) -> str:
    """The route's template; whatever no route matched is one label."""
    return "unmatched" if route is None else route.path
