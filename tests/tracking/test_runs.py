"""Runs in MLflow: complete or not at all, quiet, and offline."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from considerate.errors import TrackingError
from considerate.settings.environment import Environment
from considerate.tracking.client import mlflow_client
from considerate.tracking.runs import ARTEFACT_PATH, experiment_id, track_run


def test_a_run_keeps_params_figures_tags_and_files(environment: Environment, artefact: Path) -> None:
    with track_run(environment, experiment="shop", name="als") as run:
        run.log_params({"algorithm": "als", "params": {"factors": 64, "weighting": {"half_life_days": None}}})
        run.log_metrics({"test/repeat/ndcg_at_10": 0.41, "test/new/ndcg_at_10": float("nan")})
        run.log_tags({"digest.data": "ab" * 32, "left.out": None})
        run.log_artefact(artefact)
    with mlflow_client(environment) as client:
        kept = client.get_run(run.run_id)
        files = {file.path for file in client.list_artifacts(run.run_id, ARTEFACT_PATH)}
        assert client.get_experiment(kept.info.experiment_id).name == "shop"
    assert kept.info.status == "FINISHED"
    assert kept.data.params == {"algorithm": "als", "params.factors": "64"}
    assert kept.data.metrics == {"test/repeat/ndcg_at_10": 0.41}
    assert kept.data.tags["digest.data"] == "ab" * 32
    assert "left.out" not in kept.data.tags
    assert files == {f"{ARTEFACT_PATH}/manifest.json", f"{ARTEFACT_PATH}/parts"}


@pytest.mark.parametrize("interruption", [KeyboardInterrupt, ValueError])
def test_an_interrupted_run_leaves_nothing_behind(
    environment: Environment, artefact: Path, interruption: type[BaseException]
) -> None:
    def files() -> set[Path]:
        return {path for path in (environment.home / "mlartifacts").rglob("*") if path.is_file()}

    ids: list[str] = []

    def half_a_run() -> None:
        with track_run(environment, experiment="shop", name="half") as run:
            ids.append(run.run_id)
            run.log_artefact(artefact)
            raise interruption

    before = files()
    with pytest.raises(interruption):
        half_a_run()
    assert files() == before
    with mlflow_client(environment) as client:
        experiment = client.get_experiment_by_name("shop")
        assert experiment is not None
        assert ids[0] not in {found.info.run_id for found in client.search_runs([experiment.experiment_id])}


def test_a_deleted_experiment_says_how_to_restore_it(environment: Environment) -> None:
    with track_run(environment, experiment="gone", name="a"):
        pass
    with mlflow_client(environment) as client:
        found = client.get_experiment_by_name("gone")
        assert found is not None
        client.delete_experiment(found.experiment_id)
    with (
        pytest.raises(TrackingError, match="experiment gone is deleted; restore it: mlflow experiments restore"),
        track_run(environment, experiment="gone", name="b"),
    ):
        pass


def test_a_database_that_is_none_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"this is no database, whatever its name says" * 40)
    broken = Environment(home=tmp_path, data=None)
    with (
        pytest.raises(TrackingError, match="choose another folder with CONSIDERATE_HOME"),
        track_run(broken, experiment="shop", name="a"),
    ):
        pass


@pytest.mark.slow
def test_tracking_prints_nothing_and_calls_nobody(tmp_path: Path) -> None:
    program = f"""
import socket
def refuse(*a, **k): raise AssertionError("a connection was attempted")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
from pathlib import Path
from considerate.settings.environment import Environment
from considerate.tracking.runs import track_run
with track_run(Environment(home=Path({str(tmp_path / "home")!r}), data=None), experiment="shop", name="quiet") as run:
    run.log_metrics({{"a": 1.0}})
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_importing_the_room_does_not_import_mlflow() -> None:
    program = "import sys, considerate.tracking.registry, considerate.tracking.runs; sys.exit('mlflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


class MadeMeanwhile:
    """MLflow to whom another training says the name first."""

    def __init__(self, client: Any) -> None:
        self._client, self._asked = client, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def get_experiment_by_name(self, name: str) -> Any:
        self._asked += 1
        if self._asked == 1:
            assert self._client.get_experiment_by_name(name) is None
            self.made = self._client.create_experiment(name)
            return None
        return self._client.get_experiment_by_name(name)


def test_an_experiment_that_another_training_makes_meanwhile_is_used(environment: Environment) -> None:
    with mlflow_client(environment) as client:
        both = MadeMeanwhile(client)
        assert experiment_id(both, environment, "meanwhile") == both.made  # type: ignore[arg-type]


def test_a_name_that_mlflow_does_not_take_is_no_other_trainings(environment: Environment) -> None:
    with pytest.raises(TrackingError, match="MLflow at"), mlflow_client(environment) as client:
        experiment_id(client, environment, "")
