"""A study in MLflow: one run for the study, and under it one for every trial."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from considerate.evaluation.preparation import Prepared
from considerate.settings.environment import Environment
from considerate.tracking.client import mlflow_client
from considerate.tracking.runs import Run, experiment_id, standard_tags
from considerate.tuning.tried import Tried

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

_PARENT = "mlflow.parentRunId"
_STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
STUDY_PATH = "study"
"""Folder of a study's pictures and tuned TOML inside its run."""


@dataclass(frozen=True, slots=True)
class StudyRun:
    """The open run of a study.

    Attributes
    ----------
    run_id
        MLflow's id.
    """

    run_id: str
    _client: "MlflowClient"
    _experiment: str
    _part: str
    _kept: set[int]

    def keep(self, tried: Tried) -> None:
        """Keep a finished trial as a run under the study's; one that is kept already is left alone."""
        if tried.number in self._kept:
            return
        name = f"trial {tried.number}"
        tags = {_PARENT: self.run_id, "kind": "trial", "trial": str(tried.number), "state": tried.state}
        made = self._client.create_run(self._experiment, run_name=name, tags={**standard_tags(), **tags})
        run = Run(made.info.run_id, self._client)
        run.log_params(tried.chosen)
        run.log_metrics({**self._named(tried.figures), "seconds": tried.seconds})
        if tried.failure:
            run.log_tags({"failure": tried.failure})
        self._client.set_terminated(run.run_id, _STATUS[tried.state])
        self._kept.add(tried.number)

    def finish(self, best: Tried, folder: Path) -> None:
        """Keep on the study's own run what it came to, and the files of `folder`."""
        run = Run(self.run_id, self._client)
        run.log_metrics({**self._named(best.figures), "trials": len(self._kept)})
        run.log_tags({"best.trial": best.number, **{f"best.{key}": value for key, value in best.chosen.items()}})
        run.log_folder(folder, STUDY_PATH)

    def _named(self, figures: Mapping[str, float]) -> dict[str, float]:
        return {f"{self._part}/{name}" if "/" in name else name: value for name, value in figures.items()}


@contextmanager
def track_study(
    environment: Environment, prepared: Prepared, *, name: str, begun: str, terms: Mapping[str, str]
) -> Iterator[StudyRun]:
    """Open the run of a study in the experiment of its data set: a new one, or the one it had before it was stopped.

    Parameters
    ----------
    environment, prepared
        Where runs are kept, and what is tuned on.
    name, begun
        Of the study, and when it was begun: another study of the same name has a run of its own.
    terms
        Logged as params.
    """
    with mlflow_client(environment) as client:
        experiment = experiment_id(client, environment, prepared.data.name)
        run_id = _known(client, experiment, name, begun)
        if run_id is None:
            tags = {**standard_tags(), "kind": "study", "study": name, "study.begun": begun}
            run_id = str(client.create_run(experiment, run_name=f"study {name}", tags=tags).info.run_id)
            run = Run(run_id, client)
            run.log_params(terms)
            run.log_tags({**prepared.dataset.consent.tags(), "data_digest": prepared.data_digest})
        else:
            client.update_run(run_id, status="RUNNING")
        try:
            yield StudyRun(run_id, client, experiment, prepared.part, _trials_of(client, experiment, run_id))
        except BaseException:  # a study that is stopped is taken up again, unlike a training
            client.set_terminated(run_id, "KILLED")
            raise
        client.set_terminated(run_id)


def _known(client: "MlflowClient", experiment: str, name: str, begun: str) -> str | None:
    wanted = f"tags.study = '{name}' and tags.`study.begun` = '{begun}'"
    found = client.search_runs([experiment], filter_string=wanted, max_results=1)
    return str(found[0].info.run_id) if found else None


def _trials_of(client: "MlflowClient", experiment: str, run_id: str) -> set[int]:
    """Give the trials that are kept; a run that a killed session left half written is taken out."""
    kept: set[int] = set()
    token: str | None = None
    while token != "":
        page = client.search_runs([experiment], filter_string=f"tags.`{_PARENT}` = '{run_id}'", page_token=token)
        for run in page:
            if run.info.status == "RUNNING":
                client.delete_run(run.info.run_id)
            else:
                kept.add(int(run.data.tags["trial"]))
        token = page.token or ""
    return kept
