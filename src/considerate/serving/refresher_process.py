"""The refresher's process: the only one of the service that imports MLflow. `considerate serve` starts it.

It also works off privacy requests, whose copies are written with libraries that a worker does not import, and signs the
ledger's head whenever it moved.
"""

import logging
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

from considerate.privacy.running import keep_running
from considerate.ranking.manifest import read_manifest
from considerate.serving.head_signing import keep_signing
from considerate.serving.models import Pointer
from considerate.serving.refresher import follow, stop_on_signals
from considerate.serving.run_file import RunFile, read_run_file
from considerate.settings.environment import Environment
from considerate.tracking.registry import RegisteredVersion, champion, champion_artefact

PARENT_SECONDS = 1.0
RIGHTS_SECONDS = 2.0
"""Pause between two looks at the privacy requests."""
RIGHTS_STOP_SECONDS = 5.0
SIGN_SECONDS = 2.0
"""How much of the ledger's end a restored database may lack unnoticed."""


class MlflowRegistry:
    """The registry of this installation."""

    def __init__(self, run: RunFile) -> None:
        self._environment = Environment(home=run.home, data=None)
        self._name = run.config.model.name
        self._max_age = timedelta(days=run.config.model.max_age_days)

    def champion(self) -> Pointer | None:
        """Name the promoted version; where nobody has tracked anything yet, nothing is, and no database is made."""
        if not (self._environment.home / "mlflow.db").exists():
            return None
        return self._pointer(champion(self._environment, name=self._name))

    def download(self, destination: Path) -> Pointer | None:
        """Write its files into `destination`."""
        return self._pointer(champion_artefact(self._environment, destination, name=self._name))

    def _pointer(self, version: RegisteredVersion | None) -> Pointer | None:
        if version is None:
            return None
        until = datetime.fromisoformat(version.as_of) + self._max_age
        return Pointer(version.label, version.run_id, until.timestamp())


def main() -> None:
    """Follow the registry until told to stop, or until nobody is there who could tell."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s refresher %(levelname)s %(message)s", force=True)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    run = read_run_file(Path(sys.argv[1]))
    stop = stop_on_signals()
    threading.Thread(target=_stop_without_parent, args=(os.getppid(), stop), daemon=True).start()
    rights = threading.Thread(target=_keep_rights, args=(run, stop), daemon=True)
    rights.start()
    # Beside it: no withdrawal waits unsigned while a copy is written or the database rewritten.
    threading.Thread(target=_keep_signing, args=(run, stop), daemon=True).start()
    follow(MlflowRegistry(run), run.models, check=read_manifest, seconds=run.config.model.poll_seconds, stop=stop)
    # What it does not end by then, it ends after the next start.
    rights.join(RIGHTS_STOP_SECONDS)


def _keep_rights(run: RunFile, stop: threading.Event) -> None:
    keep_running(
        run.database_url, run.home, run.config, now=lambda: datetime.now(UTC), seconds=RIGHTS_SECONDS, stop=stop
    )


def _keep_signing(run: RunFile, stop: threading.Event) -> None:
    keep_signing(run, now=lambda: datetime.now(UTC), seconds=SIGN_SECONDS, stop=stop)


def _stop_without_parent(parent: int, stop: threading.Event) -> None:
    while not stop.wait(PARENT_SECONDS):
        if os.getppid() != parent:
            stop.set()


if __name__ == "__main__":
    main()
