"""The door to MLflow: quiet, offline, and opened only when somebody tracks something.

MLflow takes seconds and 90 MB to import, so nothing here imports it before it is needed. Its telemetry is off, its
progress bars are off, and the deprecation warnings that it raises inside SQLAlchemy stay inside.
"""

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
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

    Raises
    ------
    TrackingError
        MLflow refused, in its own words and ours.
    """
    environment.home.mkdir(parents=True, exist_ok=True)
    for name, value in _SWITCHES.items():
        os.environ.setdefault(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Here and not above: who never tracks never pays for the import, and its warnings are silenced.
        from mlflow.exceptions import MlflowException  # noqa: PLC0415
        from mlflow.tracking import MlflowClient  # noqa: PLC0415
        from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.WARNING)
        uri = environment.tracking_uri
        try:
            yield MlflowClient(tracking_uri=uri, registry_uri=uri)
        except (MlflowException, SQLAlchemyError) as error:
            reason = str(error).splitlines()[0]
            raise TrackingError(
                f"MLflow at {uri}: {reason}; check that the file is writable and was made by this MLflow, "
                "or choose another folder with CONSIDERATE_HOME"
            ) from error


def local_path(uri: str) -> str | None:
    """Give the folder that a `file:` URI or a plain path names, None for anything remote.

    >>> local_path("file:///var/ml%20artifacts"), local_path("s3://bucket/x")
    ('/var/ml artifacts', None)
    """
    parts = urlsplit(uri)
    return unquote(parts.path) if parts.scheme in ("", "file") else None
