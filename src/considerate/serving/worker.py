"""One worker: its resources, and what it does besides answering."""

import asyncio
import gc
import logging
import sys
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from considerate.errors import ConfigError, StoreError
from considerate.ranking.loading import load
from considerate.serving.admission import Admission
from considerate.serving.customers import StoredCustomers
from considerate.serving.decision_log import QueuedDecisions
from considerate.serving.metrics import Metrics
from considerate.serving.models import WatchedModels
from considerate.serving.proofs import Proofs
from considerate.serving.resources import Resources
from considerate.serving.rights import Rights
from considerate.serving.run_file import RunFile
from considerate.serving.shelves import Shelves
from considerate.serving.tokens import Verifier, open_verifier
from considerate.store.decisions import decisions_url

log = logging.getLogger(__name__)

TRAINING_MODULES = ("duckdb", "implicit", "lightfm", "mlflow", "optuna", "pandas")
"""A worker that imports one of these is too heavy and knows too much."""


KEYLESS_SECONDS = 2.0
"""Pause between two attempts to get the shop's public keys while there are none."""

ANSWERS_SECONDS = 3600.0
"""Pause between two looks for answers to repeatable requests whose day is over."""


def utc_now() -> datetime:
    """Give the time."""
    return datetime.now(UTC)


class Worker:
    """Holds what the routes use and keeps it fresh: the model that the pointer names, the shop's public keys.

    Parameters
    ----------
    run
        What `considerate serve` handed over.
    metrics_folder
        Where the workers share their counters.
    """

    def __init__(self, run: RunFile, *, metrics_folder: Path | None) -> None:
        config = run.config
        self._metrics = Metrics(metrics_folder)
        self._customers = StoredCustomers(
            run.database_url,
            run.keys,
            read_timeout_ms=config.store.read_timeout_ms,
            write_timeout_ms=config.store.write_timeout_ms,
            on_history_read=self._metrics.history_reads.inc,
            events_for=timedelta(days=config.retention.events_days),
            admit=Admission(run.home),
        )
        self._models = WatchedModels(run.models, load=load, now=utc_now)
        self._verifier: Verifier = open_verifier(config.auth, run.home, max_subject=config.limits.id_characters)
        self._decisions = QueuedDecisions(
            decisions_url(run.database_url, run.home),
            run.tallies,
            capacity=config.decisions.queue,
            flush_seconds=config.decisions.flush_ms / 1000,
            on_written=self._metrics.decisions.labels("written").inc,
            on_refused=self._metrics.decisions.labels("refused").inc,
            on_lost=self._metrics.decisions.labels("lost").inc,
        )
        self._config = config
        self.resources = Resources(
            config,
            self._verifier,
            self._customers,
            self._models,
            Shelves(),
            self._metrics,
            utc_now,
            decisions=self._decisions,
            rights=Rights(self._customers, run.database_url, run.home),
            proofs=Proofs(self._customers, run.keys, config),
            notices={run.notice.notice_id: run.notice},
        )
        self._shown = ""
        self._tasks: set[asyncio.Task[None]] = set()
        self._readers: set[asyncio.Task[object]] = set()

    async def start(self) -> None:
        """Get ready: keys, catalogue, model. What is missing comes later; nobody's list waits for it."""
        self._decisions.start()
        self._refresh_keys()
        await self._look()
        if self._models.current() is None:
            await self._settle()
        for job in (self._watch_model(), self._watch_keys(), self._watch_answers()):
            self._tasks.add(asyncio.create_task(job))

    async def stop(self) -> None:
        """Let go of everything."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        # Their threads go on all the same, and would open again what is closed below.
        await asyncio.gather(*self._readers, return_exceptions=True)
        await asyncio.to_thread(self._decisions.close)
        self._customers.close()

    async def _beside(self, use: Callable[[], object]) -> None:
        """Use the store in a thread, which `stop` waits for."""
        reader = asyncio.create_task(asyncio.to_thread(use))
        self._readers.add(reader)
        reader.add_done_callback(self._readers.discard)
        await asyncio.shield(reader)

    async def _look(self) -> None:
        outcome = await asyncio.to_thread(self._models.look)
        self._show_model()
        if outcome == "unchanged":
            return
        self._metrics.swaps.labels(outcome).inc()
        if outcome == "swapped":
            await self._settle()

    def _show_model(self) -> None:
        """Name the version in use: none before the first one, and none any more once it is too old."""
        served = self._models.current()
        version = "" if served is None else served.version
        if version == self._shown:
            return
        if self._shown:
            self._metrics.model.labels(self._shown).set(0)
        if version:
            self._metrics.model.labels(version).set(1)
        self._shown = version

    async def _settle(self) -> None:
        """Lay out the shelf before the next customer needs it, and take stock."""
        served = self._models.current()
        await self._beside(lambda: self.resources.shelves.shelf(self._customers.catalogue(), served))
        self._metrics.training_modules.set(len(loaded(TRAINING_MODULES)))
        # What was built so far stays for good: the collector need not walk it again with every request.
        gc.collect()
        gc.freeze()

    async def _watch_model(self) -> None:
        while True:
            await asyncio.sleep(self._config.model.watch_seconds)
            try:
                await self._look()
            except Exception as error:  # the watch must outlive whatever one look meets
                log.error("looking for a new model failed: %s", type(error).__name__)

    async def _watch_keys(self) -> None:
        while True:
            often = self._config.auth.jwks_seconds
            # Without keys everybody gets a 401: that must not outlast the fault of a moment.
            await asyncio.sleep(often if self._verifier.ready else min(often, KEYLESS_SECONDS))
            await asyncio.to_thread(self._refresh_keys)

    async def _watch_answers(self) -> None:
        """Kept answers are of no use after their day; whichever worker comes first deletes them."""
        while True:
            # At once: the first look also opens the store for writing, and what opens it later may wait for seconds.
            try:
                await self._beside(lambda: self._customers.forget_old_answers(at=utc_now()))
            except StoreError as error:
                log.warning("answers whose day is over stay for now: %s", error)
            await asyncio.sleep(ANSWERS_SECONDS)

    def _refresh_keys(self) -> None:
        try:
            self._verifier.refresh()
        except ConfigError as error:
            log.error("keys %s: %s", "stay as they are" if self._verifier.ready else "are missing", error)
        except Exception as error:  # the watch must outlive whatever one answer holds: a revoked key must go
            log.error("keys stay as they are: %s", type(error).__name__)


def loaded(names: Iterable[str]) -> list[str]:
    """Name those modules that this process has imported."""
    return [name for name in names if name in sys.modules]
