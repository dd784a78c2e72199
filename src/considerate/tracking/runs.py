"""Runs: what was fitted, on which data and consent, and how good it was."""

import math
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from considerate.errors import TrackingError
from considerate.settings.environment import Environment
from considerate.tracking.client import local_path, mlflow_client

if TYPE_CHECKING:
    from mlflow.entities import RunInfo
    from mlflow.tracking import MlflowClient

ARTEFACT_PATH = "artefact"
"""Folder of the artefact's files inside a run."""

_LONGEST_PARAM = 6_000
_LONGEST_TAG = 5_000


@dataclass(frozen=True, slots=True)
class Run:
    """An open run; it takes params, metrics, tags and files until the `with` block ends.

    Attributes
    ----------
    run_id
        MLflow's id.
    """

    run_id: str
    _client: "MlflowClient"

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log nested parameters under dotted names; None and empty tables are left out."""
        from mlflow.entities import Param  # noqa: PLC0415 - mlflow is imported where it is used, not before

        flat = {name: str(value)[:_LONGEST_PARAM] for name, value in flatten(params).items()}
        self._client.log_batch(self.run_id, params=[Param(name, value) for name, value in flat.items()])

    def log_metrics(self, metrics: Mapping[str, float]) -> None:
        """Log figures; NaN is left out, since MLflow's database refuses it."""
        from mlflow.entities import Metric  # noqa: PLC0415

        now = time.time_ns() // 1_000_000
        batch = [Metric(name, value, now, 0) for name, value in metrics.items() if not math.isnan(value)]
        for start in range(0, len(batch), 1_000):
            self._client.log_batch(self.run_id, metrics=batch[start : start + 1_000])

    def log_tags(self, tags: Mapping[str, object]) -> None:
        """Log tags: digests, counts, consent; never anything about one customer."""
        from mlflow.entities import RunTag  # noqa: PLC0415

        batch = [RunTag(name, str(value)[:_LONGEST_TAG]) for name, value in tags.items() if value is not None]
        self._client.log_batch(self.run_id, tags=batch)

    def log_artefact(self, directory: Path) -> None:
        """Copy the files of a saved artefact into the run, where the registry finds them."""
        self.log_folder(directory, ARTEFACT_PATH)

    def log_folder(self, directory: Path, path: str) -> None:
        """Copy every file of `directory` into the run, under `path`."""
        self._client.log_artifacts(self.run_id, str(directory), path)


@contextmanager
def track_run(environment: Environment, *, experiment: str, name: str) -> Iterator[Run]:
    """Open a run in the experiment of a data set; a run that does not reach the end of the block is removed.

    Parameters
    ----------
    environment
        Where the tracking database and the artefacts live.
    experiment
        Name of the data set; made where there is none.
    name
        Shown in MLflow's list of runs.
    """
    with mlflow_client(environment) as client:
        run = client.create_run(experiment_id(client, environment, experiment), run_name=name)
        try:
            yield Run(run.info.run_id, client)
        except BaseException:  # Ctrl-C too must leave no half run
            _delete(client, run.info)
            raise
        client.set_terminated(run.info.run_id)


def delete_run(environment: Environment, run_id: str) -> None:
    """Take a finished run back: it leaves MLflow's list, and its files the disk.

    Raises
    ------
    TrackingError
        There is no such run.
    """
    with mlflow_client(environment) as client:
        _delete(client, client.get_run(run_id).info)


def _delete(client: "MlflowClient", info: "RunInfo") -> None:
    client.delete_run(info.run_id)
    folder = local_path(info.artifact_uri)
    if folder is not None:
        shutil.rmtree(Path(folder).parent, ignore_errors=True)


def standard_tags() -> dict[str, str]:
    """Give the tags every run carries: which considerate wrote it."""
    return {"considerate.version": version("considerate")}


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested tables into dotted names.

    >>> flatten({"params": {"factors": 64, "weighting": {}}, "seed": 0})
    {'params.factors': 64, 'seed': 0}
    """
    flat: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{name}.")
        elif value is not None:
            flat[f"{prefix}{name}"] = value
    return flat


def experiment_id(client: "MlflowClient", environment: Environment, name: str) -> str:
    """Give the id of the experiment of a data set; made where there is none.

    Raises
    ------
    TrackingError
        It was deleted.
    """
    from mlflow.exceptions import MlflowException  # noqa: PLC0415 - MLflow is loaded where it is used

    found = client.get_experiment_by_name(name)
    if found is None:
        location = (environment.home / "mlartifacts").resolve().as_uri()
        try:
            return client.create_experiment(name, artifact_location=location)
        except MlflowException:
            # Another training may have made it meanwhile.
            found = client.get_experiment_by_name(name)
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise TrackingError(
            f"experiment {name} is deleted; restore it: "
            f"mlflow experiments restore --experiment-id {found.experiment_id}"
        )
    return str(found.experiment_id)
