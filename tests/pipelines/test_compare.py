"""`pipelines/compare.py` as a reader runs it: one table, three pages, one run; or one message and nothing written."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

import compare
from considerate.settings.environment import Environment
from considerate.tracking.client import mlflow_client
from considerate.tracking.comparisons import COMPARISON_PATH

CANARY = "canary-customer-"
Compare = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def models(shop: Any) -> list[Path]:
    odd = shop.model.with_name("neighbours @ 10 & <b>.toml")
    odd.write_text('algorithm = "item_knn"\n[params]\nneighbours = 10\n')
    return [odd, shop.model]


@pytest.fixture
def run_compare(shop: Any) -> Compare:
    app = typer.Typer()
    app.command()(compare.main)

    def run(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
        said = [str(shop.data), *map(str, arguments)]
        done = CliRunner().invoke(app, said, env={"CONSIDERATE_HOME": str(shop.home)})
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return subprocess.CompletedProcess(said, done.exit_code, done.stdout, done.stderr)

    return run


@pytest.mark.slow
def test_models_are_put_side_by_side_and_kept(shop: Any, models: list[Path], run_compare: Compare) -> None:
    done = run_compare(*models)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    rows = {(row["name"], row["model"]): row for row in line["rows"]}
    assert len(rows) == 6
    knn = rows["val/repeat/ndcg_at_5", models[0].stem]
    assert knn["gain_low"] > 0.1
    assert knn["p_value"] < 0.01
    assert knn["baseline"] == rows["val/repeat/ndcg_at_5", "all-time popularity"]["value"]
    assert rows["val/repeat/ndcg_at_5", "buyers"]["gain"] == 0  # popularity.toml without a half-life is the baseline
    assert all(row["ms_per_request"] > 0 and row["artefact_mb"] > 0 for row in rows.values())

    page = Path(line["page"])
    assert page == shop.home / "comparisons" / "corner_shop.weekly.val" / "comparison.html"
    assert "&lt;b&gt;" in page.read_text()
    with mlflow_client(Environment(home=shop.home, data=None)) as client:
        kept = client.get_run(line["run_id"])
        files = {file.path for file in client.list_artifacts(line["run_id"], COMPARISON_PATH)}
    assert files == {f"{COMPARISON_PATH}/comparison.{suffix}" for suffix in ("md", "json", "html")}
    assert kept.data.metrics["buyers/val/new/ndcg_at_5"] == pytest.approx(
        rows["val/new/ndcg_at_5", "buyers"]["value"], abs=1e-6
    )
    written = [path for path in shop.home.rglob("*") if path.is_file() and "quarantine" not in path.parts]
    assert [path for path in written if CANARY.encode() in path.read_bytes()] == []


@pytest.mark.slow
def test_a_baseline_a_figure_and_a_folder_may_be_named(
    shop: Any, models: list[Path], run_compare: Compare, tmp_path: Path
) -> None:
    out = tmp_path / "pages"
    options = ("--baseline", models[1], "--metric", "recall_at_5", "--final", "--out", out)
    done = run_compare(models[0], *options)
    assert done.returncode == 0, done.stderr
    line = json.loads(done.stdout.splitlines()[-1])
    assert {row["name"] for row in line["rows"]} == {"test/repeat/recall_at_5", "test/new/recall_at_5"}
    assert [row["model"] for row in line["rows"] if row["gain"] is None] == ["buyers", "buyers"]
    assert sorted(path.name for path in out.iterdir()) == ["comparison.html", "comparison.json", "comparison.md"]


def test_what_cannot_be_compared_is_one_message_and_nothing_written(
    shop: Any, models: list[Path], run_compare: Compare
) -> None:
    for arguments, message in (
        ((shop.model, "--metric", "ndcg"), "--metric ndcg: not a figure of this protocol; name one of: ndcg_at_5"),
        ((shop.model.with_name("nowhere.toml"),), "nowhere.toml: no such file"),
        ((shop.model, "--protocol", "monthly"), "protocol = 'monthly'; must be one of: weekly"),
    ):
        done = run_compare(*arguments)
        assert (done.returncode, done.stdout) == (2, "")
        assert message in done.stderr
    assert not (shop.home / "comparisons").exists()
