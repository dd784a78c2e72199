"""Signing the ledger's head within seconds of every event, so that no older database passes for the newest."""

import logging
import threading
from collections.abc import Callable
from datetime import datetime

from considerate.consent.checkpoints import sign_head
from considerate.errors import ConsiderateError
from considerate.serving.run_file import RunFile
from considerate.store.engine import open_store

log = logging.getLogger(__name__)


def keep_signing(run: RunFile, *, now: Callable[[], datetime], seconds: float, stop: threading.Event) -> None:
    """Sign the ledger's head whenever it moved until `stop`; a new reason for not signing it is logged once.

    Parameters
    ----------
    run
        Of the service.
    now
        Gives the time.
    seconds
        Pause between two looks.
    """
    complaint = ""
    while not stop.is_set():
        try:
            engine = open_store(run.database_url, create=False)
            try:
                sign_head(engine, run.checkpoints, run.keys, at=now())
            finally:
                engine.dispose()
            complaint = ""
        except (ConsiderateError, OSError) as error:
            if str(error) != complaint:
                log.error("the ledger's head is not signed: %s", error)
            complaint = str(error)
        stop.wait(seconds)
