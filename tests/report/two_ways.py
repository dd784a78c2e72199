"""One worker that answers in two ways, to measure what the consent check costs: as always, and without the look-up.

`python -m tests.report.two_ways RUN_FILE PORT`: a request with the header `X-Unchecked` is answered by the same routes,
resources and database, except that who asks was looked up once and never again.
"""

import asyncio
import logging
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import uvicorn
from starlette.types import Receive, Scope, Send

from considerate.serving.app import create_app
from considerate.serving.customers import StoredCustomers
from considerate.serving.run_file import RunFile, read_run_file
from considerate.serving.standing import Standing
from considerate.serving.worker import Worker

UNCHECKED = "X-Unchecked"


class LookedUpOnce(StoredCustomers):
    """Does what no service may do: goes on believing what it read of a customer at her first request."""

    def __init__(self, run: RunFile) -> None:
        store = run.config.store
        super().__init__(
            run.database_url,
            run.keys,
            read_timeout_ms=store.read_timeout_ms,
            write_timeout_ms=store.write_timeout_ms,
        )
        self._found: dict[str, Standing] = {}

    def standing(self, customer_id: str) -> Standing:
        """Give what was read at the first time."""
        if customer_id not in self._found:
            self._found[customer_id] = super().standing(customer_id)
        return self._found[customer_id]


async def serve(run: RunFile, port: int) -> None:
    """Answer until interrupted."""
    worker = Worker(run, metrics_folder=None)
    as_always = create_app(worker.resources)
    unchecked = create_app(replace(worker.resources, customers=LookedUpOnce(run)))

    async def either(scope: Scope, receive: Receive, send: Send) -> None:
        marked = any(name == UNCHECKED.lower().encode() for name, _ in scope["headers"])
        await (unchecked if marked else as_always)(scope, receive, send)

    await worker.start()
    try:
        config = uvicorn.Config(either, port=port, lifespan="off", log_level=logging.WARNING, access_log=False)
        await uvicorn.Server(config).serve()
    finally:
        await worker.stop()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(serve(read_run_file(Path(sys.argv[1])), int(sys.argv[2])))
