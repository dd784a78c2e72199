"""The door to MLflow: quiet, offline, and opened only when somebody tracks something.

MLflow takes seconds and 90 MB to import, so nothing here imports it before it is needed. Its telemetry is off, its
progress bars are off, and the deprecation warnings that it raises inside SQLAlchemy stay inside.
"""

import fcntl
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from considerate.errors import TrackingError
from considerate.settings.environment import Environment

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_SWITCHES = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "GIT_PYTHON_REFRESH": "quiet",
}


@contextmanager
def mlflow_client(environment: Environment) -> Iterator["MlflowClient"]:
    """Open MLflow's client on the tracking database of `environment`; the database is made where there is none.

    One process at a time lays the tables out, the others wait for it. Where that fails or is interrupted, no
    database stays.

    Raises
    ------
    TrackingError
        MLflow refused, in its own words and ours.
    """
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Here and not above: who never tracks never pays for the import, and its warnings are silenced.
        from alembic.util.exc import CommandError  # noqa: PLC0415
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        uri = environment.tracking_uri
        try:
            with _laying_out(environment.home):
                client = _client(uri)
            yield client
        except (MlflowException, SQLAlchemyError, CommandError) as error:
            reason = str(error).splitlines()[0]
            raise TrackingError(
                f"MLflow at {uri}: {reason}; check that the file is writable and was made by this MLflow, "
                "or choose another folder with CONSIDERATE_HOME"
            ) from error


def _client(uri: str) -> "MlflowClient":
    from mlflow.tracking import MlflowClient  # noqa: PLC0415

    # MLflow opens the tracking store here and not at the first question: this lays the registry's tables out too.
    return MlflowClient(tracking_uri=uri, registry_uri=uri)


@contextmanager
def _laying_out(home: Path) -> Iterator[None]:
    """Let nobody else of this machine open MLflow's database meanwhile; take a new one back that is not finished.

    MLflow lays its tables out over seconds and without a lock, so two processes would each make half of them. The
    lock belongs to an open file: the kernel ends it with the process, and where the tables exist it is held for
    milliseconds.
    """
    try:
        home.mkdir(parents=True, exist_ok=True)
        lock = (home / "mlflow.lock").open("w")
    except OSError as error:
        raise TrackingError(
            f"{error.filename}: {error.strerror}; make {home} a folder that can be written to, "
            "or choose another with CONSIDERATE_HOME"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        database = home / "mlflow.db"
        new = not database.exists()
        try:
            yield
        except BaseException:  # Ctrl-C too: MLflow cannot finish tables that it has begun
            if new:
                for file in (database, home / "mlflow.db-journal"):
                    file.unlink(missing_ok=True)
            raise


def local_path(uri: str) -> str | None:
    """Give the folder that a `file:` URI or a plain path names, None for anything remote.

    >>> local_path("file:///var/ml%20artifacts"), local_path("s3://bucket/x")
    ('/var/ml artifacts', None)
    """
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.scheme in ("", "file") else None
