"""MLflow's database: laid out once, whoever comes first, and complete or not there at all."""

import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from considerate.errors import TrackingError
from considerate.settings.environment import Environment
from considerate.tracking.client import mlflow_client
from considerate.tracking.runs import track_run

PROGRAM = """
import sys, time
from pathlib import Path
import mlflow.tracking
from considerate.settings.environment import Environment
from considerate.tracking.registry import champion
from considerate.tracking.runs import track_run

environment = Environment(home=Path(sys.argv[1]), data=None)
print("ready", flush=True)
sys.stdin.readline()
if sys.argv[2] == "train":
    with track_run(environment, experiment="shop", name="first"):
        pass
else:
    while not (environment.home / "mlflow.db").exists():
        time.sleep(0.001)
    assert champion(environment, name="shop") is None
"""


def start(home: Path, what: str) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", PROGRAM, str(home), what]
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdin is not None
    return process


def let_go(process: "subprocess.Popen[str]") -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def await_ready(process: "subprocess.Popen[str]") -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"


@pytest.mark.slow
def test_two_first_trainings_and_a_refresher_may_come_at_the_same_time(tmp_path: Path) -> None:
    processes = [start(tmp_path / "home", what) for what in ("train", "train", "refresh")]
    for process in processes:
        await_ready(process)
    for process in processes:
        let_go(process)
    said = [process.communicate(timeout=120) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    with mlflow_client(Environment(home=tmp_path / "home", data=None)) as client:
        experiment = client.get_experiment_by_name("shop")
        assert experiment is not None
        assert len(client.search_runs([experiment.experiment_id])) == 2


@pytest.mark.slow
def test_tables_that_were_interrupted_are_taken_back_and_can_be_laid_out_again(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with start(home, "train") as process:
        await_ready(process)
        let_go(process)
        while not (home / "mlflow.db").exists() and process.poll() is None:
            time.sleep(0.001)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode != 0
    assert not (home / "mlflow.db").exists()
    with track_run(Environment(home=home, data=None), experiment="shop", name="second"):
        pass


def test_a_database_of_an_unknown_mlflow_is_one_clear_error_and_stays(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as connection:
        connection.execute("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)")
        connection.execute("INSERT INTO alembic_version VALUES ('of a later day')")
        connection.commit()
    with (
        pytest.raises(TrackingError, match=r"of a later day.*; check that the file .* was made by this MLflow"),
        mlflow_client(Environment(home=tmp_path, data=None)),
    ):
        pass
    assert (tmp_path / "mlflow.db").exists()


def test_a_home_in_which_nothing_can_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "mlflow.lock").mkdir()
    with (
        pytest.raises(TrackingError, match=r"mlflow\.lock: Is a directory; make .* a folder that can be written to"),
        mlflow_client(Environment(home=tmp_path, data=None)),
    ):
        pass
