"""`pipelines/train.py` as a reader runs it: figures, one run, the JSON line; or one message and nothing written."""

import json
import os
import pty
import signal
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

import train
from considerate.evaluation.preparation import prepare
from considerate.settings.environment import Environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml
from considerate.tracking.client import mlflow_client
from considerate.tracking.runs import ARTEFACT_PATH

Run = Callable[..., "subprocess.CompletedProcess[str]"]
CANARY = "canary-customer-"


def last_line(done: "subprocess.CompletedProcess[str]") -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    read: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return read


def row(line: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [row for row in line["rows"] if row["name"] == name]
    return dict(found)


def runs_in(home: Path) -> list[Any]:
    with mlflow_client(Environment(home=home, data=None)) as client:
        return list(client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]))


def files_in(home: Path) -> set[Path]:
    return {path for path in (home / "mlartifacts").rglob("*") if path.is_file()}


@pytest.mark.slow
def test_a_run_ends_with_figures_beside_popularity_and_is_kept_in_mlflow(shop: Any, run: Run, tmp_path: Path) -> None:
    model = tmp_path / "neighbours.toml"
    model.write_text('algorithm = "item_knn"\n')
    done = run(shop, model=model)
    line = last_line(done)
    assert "\x1b" not in done.stderr  # progress and colours belong on a terminal
    found = row(line, "val/repeat/ndcg_at_5")
    assert found["value"] > found["baseline"] + 0.1  # tastes are there to be found
    assert found["low"] < found["value"] < found["high"]
    assert line["ok"] is True
    assert line["consent"]["source"] == "assumed"
    assert line["consent"]["n_included"] == "60"
    assert all(row(line, name)["value"] > 0 for name in ("fit_seconds", "evaluation_seconds", "peak_mb"))
    assert {"data_digest", "model_digest", "run_id"} <= line.keys()

    (kept,) = runs_in(shop.home)
    assert kept.info.run_id == line["run_id"]
    assert kept.info.status == "FINISHED"
    assert kept.data.metrics["val/repeat/ndcg_at_5"] == pytest.approx(found["value"], abs=1e-6)
    assert kept.data.params["algorithm"] == "item_knn"
    assert kept.data.tags["consent.source"] == "assumed"
    assert kept.data.tags["data_digest"] == line["data_digest"]
    (manifest,) = [path for path in files_in(shop.home) if path.name == "manifest.json"]
    assert manifest.parent.name == ARTEFACT_PATH


def test_final_reads_the_test_part_and_names_its_figures_so(shop: Any, invoke: Run) -> None:
    line = last_line(invoke(shop, "--final"))
    names = {row["name"] for row in line["rows"]}
    assert "test/new/ndcg_at_5" in names
    assert not any(name.startswith("val/") for name in names)
    assert row(line, "test/repeat/ndcg_at_5")["customers"] > 40


def test_rolling_cuts_have_a_figure_each_and_a_pooled_one(shop: Any, invoke: Run) -> None:
    shop.data.write_text(shop.data.read_text().replace("test_days = 7", "test_days = 7\ncuts = 3"))
    line = last_line(invoke(shop, "--threads", "1", "--memory-mb", "8"))
    whole = row(line, "val/repeat/ndcg_at_5")
    cuts = [row(line, f"val/cut_{place}/repeat/ndcg_at_5") for place in (1, 2, 3)]
    assert min(cut["value"] for cut in cuts) <= whole["value"] <= max(cut["value"] for cut in cuts)
    assert whole["baseline"] is not None
    assert whole["high"] - whole["low"] < max(cut["high"] - cut["low"] for cut in cuts)
    (kept,) = runs_in(shop.home)
    assert {"val/cut_1/repeat/ndcg_at_5", "val/repeat/ndcg_at_5"} <= kept.data.metrics.keys()


def test_threads_and_memory_change_no_figure(shop: Any, invoke: Run) -> None:
    one, other = (
        last_line(invoke(shop, "--threads", threads, "--memory-mb", memory))["rows"]
        for threads, memory in (("1", "64"), ("2", "1"))
    )
    measured = {"fit_seconds", "evaluation_seconds", "peak_mb"}
    assert [row for row in one if row["name"] not in measured] == [row for row in other if row["name"] not in measured]


OTHERS = {
    "leave_last_out": 'kind = "leave_last_out"',
    "held_out_customers": 'kind = "held_out_customers"\nheld_out = 15',
    "consented": 'kind = "consented"\ntest_days = 7',
}


@pytest.mark.parametrize("kind", OTHERS)
def test_every_protocol_runs_and_names_its_figures(shop: Any, invoke: Run, kind: str) -> None:
    table = f"\n[protocol.other]\n{OTHERS[kind]}\nk = [5]\n"
    shop.data.write_text(shop.data.read_text() + table)
    line = last_line(invoke(shop, "--protocol", "other"))
    found = row(line, "val/new/ndcg_at_5")
    assert 0 <= found["value"] <= 1
    assert found["customers"] > 5


def test_nothing_of_a_customer_reaches_mlflow_or_the_screen(shop: Any, invoke: Run) -> None:
    done = invoke(shop)
    last_line(done)
    written = [path for path in shop.home.rglob("*") if path.is_file() and "quarantine" not in path.parts]
    assert any(path.suffix == ".npy" or path.name == "manifest.json" for path in written)
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in done.stdout + done.stderr


def test_assumed_consent_is_refused_for_registration_before_anything_is_fitted(shop: Any, invoke: Run) -> None:
    done = invoke(shop, "--register")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert "corner_shop: consent.source = assumed; only models trained on consent from the ledger" in done.stderr
    assert runs_in(shop.home) == []


BAD: list[tuple[str, str, str, str]] = [
    ("model", 'algorithm = "popularity"', 'algorithm = "astrology"', "astrology"),
    ("model", 'algorithm = "popularity"', 'algorithm = "popularity"\nparam = 3', "param is not a known key"),
    ("model", 'algorithm = "popularity"', 'algorithm = "popularity"\nseed = -1', "seed = -1"),
    ("model", 'algorithm = "popularity"', 'algorithm = "popularity"\nseed = "one"', "seed = 'one'"),
    ("model", 'algorithm = "popularity"', 'algorithm = "popularity"\n[params]\nhalf_lives = 3', "half_lives"),
    (
        "model",
        'algorithm = "popularity"',
        'algorithm = "popularity"\n[params]\nhalf_life_days = -3',
        "half_life_days = -3",
    ),
    ("model", 'algorithm = "popularity"', "algorithm = popularity", "not valid TOML"),
    ("data", "k_item = 2", "k_items = 2", "consent -> k_items is not a known key"),
    ("data", "k_item = 2", "k_item = 0", "consent -> k_item = 0"),
    ("data", "test_days = 7", 'test_days = "week"', "test_days = 'week'"),
    ("data", "test_days = 7", "test_days = -7", "test_days = -7"),
    ("data", "test_days = 7", "test_days = 700", "leaves train empty"),
    ("data", "min_customers = 2", "min_customers = 2000", "no item has >= 2000 customers"),
    ("data", "k = [5]", 'k = [5]\ngoals = ["often"]', "'often'"),
    ("data", "[protocol.weekly]", "[protocols.weekly]", "protocols is not a known key"),
    ("data", 'timestamp = "when"', "", "needs timestamps"),
]


@pytest.mark.parametrize("case", BAD, ids=[message for *_, message in BAD])
def test_a_wrong_file_is_one_message_exit_code_2_and_nothing_written(
    shop: Any, invoke: Run, case: tuple[str, str, str, str]
) -> None:
    which, old, new, message = case
    path: Path = getattr(shop, which)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    done = invoke(shop)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert files_in(shop.home) == set()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--protocol", "monthly"), "protocol = 'monthly'; must be one of: weekly"),
        (("--set", "params.half_life_days=-1"), "half_life_days = -1"),
        (("--set", "params"), "must be key=value"),
        (("--threads", "0"), "--threads"),
        (("--memory-mb", "0"), "--memory-mb"),
    ],
)
def test_a_wrong_option_is_one_message_and_exit_code_2(
    shop: Any, invoke: Run, options: tuple[str, ...], message: str
) -> None:
    done = invoke(shop, *options)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr


def test_a_missing_file_is_named(shop: Any, run: Run, tmp_path: Path) -> None:
    done = run(shop, model=tmp_path / "nowhere.toml")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"{tmp_path}/nowhere.toml: no such file; check the path, or list the folder: ls {tmp_path}\n"


@pytest.mark.parametrize("step", ["fitting buyers", "judging buyers", "keeping buyers"])
def test_an_interruption_at_any_step_leaves_nothing(shop: Any, step: str) -> None:
    environment = Environment(home=shop.home, data=None)

    def interrupt_at(said: str) -> None:
        if said == step:
            signal.raise_signal(signal.SIGINT)

    prepared = prepare(shop.data, environment, None, final=False, at=datetime.now(UTC))
    model = read_toml(shop.model, ModelConfig)
    with pytest.raises(KeyboardInterrupt):
        train.train(model, shop.model, prepared, environment, register=False, say=interrupt_at)
    assert runs_in(shop.home) == []
    assert files_in(shop.home) == set()


@pytest.mark.slow
def test_ctrl_c_on_a_terminal_says_that_nothing_is_left_and_exits_with_130(
    shop: Any, start: Callable[..., "subprocess.Popen[str]"]
) -> None:
    ours, theirs = pty.openpty()
    with start(shop, theirs) as process:
        os.close(theirs)
        shown = ""
        while "reading corner_shop" not in shown:
            shown += os.read(ours, 4096).decode()
        process.send_signal(signal.SIGINT)
        while True:
            try:
                shown += os.read(ours, 4096).decode()
            except OSError:  # the terminal is gone with its process
                break
        assert process.stdout is not None
        assert process.stdout.read() == ""
    os.close(ours)
    assert process.returncode == 130
    assert "stopped; nothing half-written was left behind" in shown
    assert "Traceback" not in shown
    assert runs_in(shop.home) == []
    assert files_in(shop.home) == set()
