"""The BentoML service: the program of each worker. Importing it reads the run file that `considerate serve` names.

BentoML supervises the workers and the shared socket; the API is the mounted FastAPI application alone. BentoML's own
metrics and access log carry raw paths, so both are off, and its own pages are closed.
"""

import asyncio
import logging
from pathlib import Path

import bentoml
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from considerate.serving.app import create_app
from considerate.serving.run_file import read_run_file
from considerate.serving.worker import Worker
from considerate.settings.environment import shared_metrics_folder


class Arguments(BaseModel):
    """Arguments of `bentoml serve`."""

    run_file: Path


class OnlyOurs:
    """ASGI middleware: every request goes straight to our application; BentoML's own pages and routes stay closed."""

    def __init__(self, app: ASGIApp, ours: ASGIApp) -> None:
        self._app, self._ours = app, ours

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        await (self._ours if scope["type"] == "http" else self._app)(scope, receive, send)


run = read_run_file(bentoml.use_arguments(Arguments).run_file)
worker = Worker(run, metrics_folder=shared_metrics_folder())
api = create_app(worker.resources)


@bentoml.service(
    name="considerate",
    workers=run.config.workers,
    # BentoML keeps what belongs to a request in memory for this long, whatever it answers.
    traffic={"timeout": run.config.request_seconds},
    http={"host": run.config.host, "port": run.config.port},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    endpoints={"livez": "/livez", "readyz": "/readyz"},
)
@bentoml.asgi_app(api)
class Considerate:
    """Recommendations that ask first."""

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # untyped in the library
    async def start(self) -> None:
        """Get ready."""
        logging.getLogger("considerate").setLevel(logging.INFO)
        await worker.start()
        # Worked out once and kept; at the first request for it, it would hold up every other.
        await asyncio.to_thread(api.openapi)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]  # untyped in the library
    async def stop(self) -> None:
        """Let go."""
        await worker.stop()


Considerate.add_asgi_middleware(OnlyOurs, ours=api)  # type: ignore[attr-defined]  # the decorator makes it a Service
