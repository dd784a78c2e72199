"""`pipelines/tune.py` as a reader runs it: a better model as a TOML to commit, nested runs, nothing lost to a kill."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import tune
from considerate.settings.environment import Environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml
from considerate.tracking.client import mlflow_client
from considerate.tracking.studies import STUDY_PATH

ROOT = Path(__file__).parents[2]
CANARY = "canary-customer-"
METRIC = ("--metric", "repeat/ndcg_at_5")
MODEL = """
algorithm = "item_knn"
seed = 3

[params]
neighbours = 1

[search]
neighbours = { low = 1, high = 30, log = true }
similarity = { choices = ["tfidf", "cosine"] }
weighting.half_life_days = { low = 3.0, high = 90.0, log = true, optional = true }
"""


Tune = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def model(shop: Any) -> Path:
    path = shop.model.with_name("neighbours.toml")
    path.write_text(MODEL)
    return Path(path)


@pytest.fixture
def run_tune(shop: Any, model: Path) -> Tune:
    """Run tune.py within this process, where any warning is an error."""
    app = typer.Typer()
    app.command()(tune.main)

    def run(*options: str) -> "subprocess.CompletedProcess[str]":
        arguments = [str(model), str(shop.data), *options]
        done = CliRunner().invoke(app, arguments, env={"CONSIDERATE_HOME": str(shop.home)})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return run


def line_of(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


def runs_in(home: Path) -> list[Any]:
    with mlflow_client(Environment(home=home, data=None)) as client:
        return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def states_in(home: Path) -> list[str]:
    with suppress(sqlite3.OperationalError), closing(sqlite3.connect(home / "optuna.db")) as database:
        return [state for (state,) in database.execute("SELECT state FROM trials ORDER BY trial_id")]
    return []


@pytest.mark.slow
def test_a_study_leaves_a_better_model_a_run_per_trial_and_pictures(shop: Any, model: Path, run_tune: Tune) -> None:
    done = run_tune(*METRIC, "--trials", "8")
    line = line_of(done)
    assert "\x1b" not in done.stderr
    (row,) = line["rows"]
    assert row["name"] == "val/repeat/ndcg_at_5"
    assert row["value"] > row["baseline"] + 0.05  # one neighbour is too few: there is something to find
    assert sum(line["trials"].values()) == 8

    tuned = read_toml(Path(line["out"]), ModelConfig)
    begun = read_toml(model, ModelConfig)
    assert Path(line["out"]) == model.with_name("neighbours.corner_shop.toml")
    assert (tuned.algorithm, tuned.seed, tuned.search) == ("item_knn", 3, begun.search)
    assert tuned.params["neighbours"] == line["params"]["neighbours"]

    runs = {run.data.tags.get("trial", "study"): run for run in runs_in(shop.home)}
    assert set(runs) == {"study", *map(str, range(8))}
    parent = runs.pop("study")
    assert parent.info.run_id == line["run_id"]
    assert parent.info.status == "FINISHED"
    assert all(run.data.tags["mlflow.parentRunId"] == line["run_id"] for run in runs.values())
    assert runs["0"].data.params["neighbours"] == "1"
    assert runs["0"].data.metrics["val/repeat/ndcg_at_5"] == pytest.approx(row["baseline"], abs=1e-6)
    assert parent.data.metrics["val/repeat/ndcg_at_5"] == pytest.approx(row["value"], abs=1e-6)
    statuses = [run.info.status for run in runs.values()]
    assert statuses.count("KILLED") == line["trials"]["pruned"]

    pictures = {path.name for path in (shop.home / "mlartifacts").rglob(f"{STUDY_PATH}/*")}
    assert pictures == {"history.png", "slices.png", "importance.png", "neighbours.corner_shop.toml"}
    written = [path for path in shop.home.rglob("*") if path.is_file() and "quarantine" not in path.parts]
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in done.stdout + done.stderr


@pytest.mark.slow
def test_the_same_command_again_goes_on_and_tries_nothing_twice(shop: Any, run_tune: Tune) -> None:
    first, again, more = (line_of(run_tune(*METRIC, "--trials", trials)) for trials in ("3", "3", "5"))
    assert (again["trial"], again["rows"]) == (first["trial"], first["rows"])
    assert sum(more["trials"].values()) == 5
    assert first["run_id"] == again["run_id"] == more["run_id"]
    assert len(runs_in(shop.home)) == 6


@pytest.mark.slow
def test_a_study_opened_with_another_search_space_names_the_difference(shop: Any, model: Path, run_tune: Tune) -> None:
    line_of(run_tune(*METRIC, "--trials", "1"))
    model.write_text(MODEL.replace("high = 30", "high = 40"))
    done = run_tune(*METRIC, "--trials", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "study neighbours.corner_shop in" in done.stderr
    assert (
        "search.neighbours: was { low = 1, high = 30, log = true }, is { low = 1, high = 40, log = true }"
        in done.stderr
    )
    assert "begin another: --study NAME" in done.stderr
    assert sum(line_of(run_tune(*METRIC, "--trials", "1", "--study", "wider"))["trials"].values()) == 1


@pytest.mark.slow
def test_a_study_opened_on_other_data_names_the_difference(
    shop: Any, tmp_path: Path, csv: Path, run_tune: Tune
) -> None:
    line_of(run_tune(*METRIC, "--trials", "1"))
    longer = tmp_path / "longer.csv"
    longer.write_text(csv.read_text() + f"{CANARY}000,product-01,2026-01-06 09:00:00\n")
    shop.data.write_text(shop.data.read_text().replace(str(csv), str(longer)))
    done = run_tune(*METRIC, "--trials", "2")
    assert (done.returncode, done.stdout) == (2, "")
    assert "data_digest: was " in done.stderr


@pytest.mark.slow
def test_several_aims_give_a_front_from_which_one_is_picked(shop: Any, model: Path, run_tune: Tune) -> None:
    out = model.with_name("picked.toml")
    options = (*METRIC, "--metric", "new/coverage_at_5", "--metric", "artefact_mb", "--trials", "6", "--out", str(out))
    line = line_of(run_tune(*options))
    assert [row["name"] for row in line["rows"]] == ["val/repeat/ndcg_at_5", "val/new/coverage_at_5", "artefact_mb"]
    assert line["trials"]["pruned"] == 0
    front = {one["trial"] for one in line["front"]}
    assert 0 in front  # one neighbour: nothing is smaller
    assert line["trial"] in front
    assert any(path.name == "front.png" for path in (shop.home / "mlartifacts").rglob("*.png"))
    picked = line_of(run_tune(*options, "--pick", "0"))
    assert picked["params"] == {"neighbours": 1, "similarity": "tfidf", "weighting.half_life_days": None}
    assert read_toml(out, ModelConfig).params["neighbours"] == 1
    assert "--pick 77: no complete trial; name one of: 0, 1" in run_tune(*options, "--pick", "77").stderr


@pytest.mark.slow
def test_a_trial_that_cannot_be_fitted_fails_alone_and_says_why(shop: Any, model: Path, run_tune: Tune) -> None:
    (model.with_name("base.toml")).write_text('algorithm = "popularity"\n')
    model.write_text(
        'algorithm = "blend"\ncomponents = { base = "base.toml" }\n'
        "[params.weights]\nrepeat = { base = 1.0 }\nnew = { base = 1.0 }\nall = { base = 1.0 }\n"
        "[search]\nweights.new.base = { choices = [0.0, 1.0] }\n"
    )
    line = line_of(run_tune(*METRIC, "--trials", "8"))
    assert line["trials"]["failed"] > 0
    assert line["params"] == {"weights.new.base": 1.0}
    tuned = read_toml(Path(line["out"]), ModelConfig)
    assert tuned.components == {"base": "base.toml"}
    failures = [run.data.tags["failure"] for run in runs_in(shop.home) if run.info.status == "FAILED"]
    assert len(failures) == line["trials"]["failed"]
    assert all("must hold a weight above 0" in failure for failure in failures)


@pytest.mark.parametrize(
    ("old", "new", "options", "message"),
    [
        ("[search]", "[searching]", (), "searching is not a known key"),
        ("neighbours = { low = 1", "neighbors = { low = 1", (), "search -> neighbors: no such parameter of item_knn"),
        ("neighbours = 1", "neighbours = 31", (), "begins with its value 31, which is not among { low = 1, high = 30"),
        ("low = 3.0, high = 90.0", "low = 90.0, high = 3.0", (), "low = 90.0 must be below high = 3.0"),
        ("seed = 3", "seed = 3", ("--metric", "often/ndcg_at_5"), "--metric often/ndcg_at_5: not a figure of this"),
        ("seed = 3", "seed = 3", ("--protocol", "monthly"), "protocol = 'monthly'; must be one of: weekly"),
        ("seed = 3", "seed = 3", ("--seconds", "0"), "none of 0 trials came to its end"),
        ("seed = 3", "seed = 3", ("--study", "a/b"), "--study 'a/b': must be letters, digits"),
    ],
)
def test_what_cannot_be_tuned_is_one_message_and_exit_code_2(
    shop: Any, model: Path, run_tune: Tune, *, old: str, new: str, options: tuple[str, ...], message: str
) -> None:
    assert old in MODEL
    model.write_text(MODEL.replace(old, new))
    done = run_tune(*options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert not model.with_name("neighbours.corner_shop.toml").exists()


def start(shop: Any, model: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-W", "error", "pipelines/tune.py", str(model), str(shop.data), *METRIC, *options]
    environment = {**os.environ, "CONSIDERATE_HOME": str(shop.home)}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def wait_for_trials(process: "subprocess.Popen[str]", home: Path, complete: int) -> None:
    """Wait until so many trials are done and another is on its way."""
    for _ in range(6_000):
        states = states_in(home)
        if len(states) - states.count("RUNNING") >= complete and "RUNNING" in states:
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    raise AssertionError("no trial within two minutes")


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_killed_study_goes_on_where_it_was(shop: Any, model: Path, run_tune: Tune, workers: str) -> None:
    with start(shop, model, "--trials", "500", "--workers", workers) as process:
        wait_for_trials(process, shop.home, complete=2)
        process.send_signal(signal.SIGKILL)
    time.sleep(2)  # workers end with the command that started them
    before = states_in(shop.home)
    time.sleep(1)
    assert states_in(shop.home) == before
    left, done = before.count("RUNNING"), len(before) - before.count("RUNNING") - before.count("WAITING")
    assert not model.with_name("neighbours.corner_shop.toml").exists()

    line = line_of(run_tune(*METRIC, "--trials", str(done + left + 1)))
    assert sum(line["trials"].values()) == done + left + 1
    after = states_in(shop.home)
    assert after.count("RUNNING") == after.count("WAITING") == 0
    trials = [run for run in runs_in(shop.home) if "trial" in run.data.tags]
    assert len({run.data.tags["trial"] for run in trials}) == len(trials) == done + left + 1
    assert {run.info.status for run in trials} <= {"FINISHED", "KILLED"}


@pytest.mark.slow
def test_two_workers_share_a_study(shop: Any, model: Path) -> None:
    with start(shop, model, "--trials", "6", "--workers", "2") as process:
        said, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    line = json.loads(said.splitlines()[-1])
    assert sum(line["trials"].values()) == 6
    assert line["rows"][0]["baseline"] is not None
    assert len(runs_in(shop.home)) == 7


@pytest.mark.slow
def test_one_seed_gives_one_tuned_model(shop: Any, model: Path, run_tune: Tune) -> None:
    first = line_of(run_tune(*METRIC, "--trials", "4"))
    text = Path(first["out"]).read_text()
    (shop.home / "optuna.db").unlink()
    shutil.rmtree(shop.home / "mlartifacts")
    again = line_of(run_tune(*METRIC, "--trials", "4"))
    assert Path(again["out"]).read_text() == text
    assert again["run_id"] != first["run_id"]  # another study of that name has a run of its own
