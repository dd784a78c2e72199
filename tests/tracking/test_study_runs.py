"""A study in MLflow: taken up again after a stop, complete or taken out, and its own where another had its name."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from considerate.settings.environment import Environment
from considerate.tracking.client import mlflow_client
from considerate.tracking.studies import track_study
from considerate.tuning.tried import Tried

PREPARED: Any = SimpleNamespace(
    data=SimpleNamespace(name="tuned_shop"),
    dataset=SimpleNamespace(consent=SimpleNamespace(tags=lambda: {"consent.source": "assumed"})),
    data_digest="ab" * 32,
    part="val",
)


def tried(number: int, value: float) -> Tried:
    return Tried(number, "complete", {"factors": 8, "half_life": None}, (value,), {"new/ndcg_at_5": value}, 1.0)


@pytest.fixture
def tracked(environment: Environment) -> Callable[..., Any]:
    def open_again(begun: str = "1 April") -> Any:
        return track_study(environment, PREPARED, name="als.shop", begun=begun, terms={"data": "tuned_shop"})

    return open_again


def children(environment: Environment, run_id: str) -> dict[str, Any]:
    with mlflow_client(environment) as client:
        experiment = client.get_experiment_by_name("tuned_shop")
        assert experiment is not None
        found = client.search_runs([experiment.experiment_id])
        return {run.data.tags["trial"]: run for run in found if run.data.tags.get("mlflow.parentRunId") == run_id}


def test_a_trial_is_kept_once_however_often_it_is_told(
    environment: Environment, tracked: Callable[..., Any], tmp_path: Any
) -> None:
    (tmp_path / "history.png").write_bytes(b"a picture")
    ids: list[str] = []

    def a_stopped_session() -> None:
        with tracked() as run:
            ids.append(run.run_id)
            run.keep(tried(0, 0.1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        a_stopped_session()
    (run_id,) = ids
    with mlflow_client(environment) as client:
        assert client.get_run(run_id).info.status == "KILLED"
    with tracked() as again:
        again.keep(tried(0, 0.1))
        again.keep(tried(1, 0.2))
        again.finish(tried(1, 0.2), tmp_path)
    assert again.run_id == run_id
    kept = children(environment, run_id)
    assert set(kept) == {"0", "1"}
    assert kept["1"].data.metrics["val/new/ndcg_at_5"] == 0.2
    assert kept["1"].data.params == {"factors": "8"}
    with mlflow_client(environment) as client:
        parent = client.get_run(run_id)
        files = [file.path for file in client.list_artifacts(run_id, "study")]
    assert parent.info.status == "FINISHED"
    assert (parent.data.tags["best.trial"], parent.data.tags["best.factors"]) == ("1", "8")
    assert files == ["study/history.png"]


def test_a_trial_whose_run_was_cut_short_is_kept_anew(environment: Environment, tracked: Callable[..., Any]) -> None:
    with tracked("2 April") as run, mlflow_client(environment) as client:
        experiment = client.get_run(run.run_id).info.experiment_id
        tags = {"mlflow.parentRunId": run.run_id, "trial": "0"}
        half = client.create_run(experiment, tags=tags).info.run_id
    with tracked("2 April") as again:
        again.keep(tried(0, 0.1))
    (only,) = children(environment, run.run_id).values()
    assert only.info.run_id != half
    assert only.info.status == "FINISHED"


def test_another_study_of_the_same_name_has_a_run_of_its_own(tracked: Callable[..., Any]) -> None:
    with tracked("3 April") as run:
        pass
    with tracked("4 April") as other:
        pass
    assert run.run_id != other.run_id
