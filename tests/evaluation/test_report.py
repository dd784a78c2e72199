"""What a pipeline prints: named figures beside popularity's, a table and one line of JSON."""

import io
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError
from considerate.evaluation.evaluate import evaluate
from considerate.evaluation.protocols import make_folds
from considerate.evaluation.report import (
    Figure,
    figures,
    json_line,
    metrics_to_log,
    print_figures,
    print_report,
    steps,
    with_reach,
)
from considerate.settings.protocols import TemporalProtocol

ROWS = [
    ("ann", "apple", 0.0),
    ("ann", "bread", 1.0),
    ("bob", "cider", 2.0),
    ("ann", "apple", 12.0),
    ("bob", "apple", 14.0),
    ("dan", "bread", 14.0),
]


@pytest.fixture
def found(world: Callable[..., Dataset], parrot: Callable[..., Any]) -> tuple[Figure, ...]:
    (fold,) = make_folds(world(ROWS), TemporalProtocol(test_days=7, k=[1]), final=True, rng=np.random.default_rng(0))
    mine = evaluate(parrot(["apple", "bread", "cider"]), fold)
    popular = evaluate(parrot(["bread", "apple", "cider"]), fold)
    return figures(mine, popular, np.random.default_rng(0))


def by_name(found: tuple[Figure, ...]) -> dict[str, Figure]:
    return {figure.name: figure for figure in found}


def test_names_hold_part_goal_and_metric(found: tuple[Figure, ...]) -> None:
    names = by_name(found)
    assert {"test/repeat/ndcg_at_1", "test/new/map_at_1", "test/repeat/coverage_at_1", "test/new/gini_at_1"} <= set(
        names
    )
    assert len(names) == len(found)


def test_totals_are_over_customers_with_history_and_newcomers_stand_apart(found: tuple[Figure, ...]) -> None:
    names = by_name(found)
    total, newcomers = names["test/repeat/ndcg_at_1"], names["test/repeat/no_history/ndcg_at_1"]
    assert (total.value, total.baseline, total.customers) == (1.0, 0.0, 2)
    assert (newcomers.value, newcomers.baseline, newcomers.customers) == (0.0, 1.0, 1)


def test_a_segment_without_customers_is_left_out(found: tuple[Figure, ...]) -> None:
    assert "test/new/heavy/ndcg_at_1" not in by_name(found)


def test_the_json_line_is_one_line_with_rows_beside_the_baseline(found: tuple[Figure, ...]) -> None:
    line = json_line(found, {"fit_seconds": 1.5, "version": None})
    assert "\n" not in line
    read = json.loads(line)
    assert read["ok"] is True
    assert read.keys() == {"rows", "ok", "version"}
    assert read["rows"][-1] == {"name": "fit_seconds", "value": 1.5, "baseline": None, "reach": None, "ok": True}
    row = next(row for row in read["rows"] if row["name"] == "test/repeat/ndcg_at_1")
    assert {**row, "low": None, "high": None} == {
        "name": "test/repeat/ndcg_at_1",
        "value": 1.0,
        "baseline": 0.0,
        "reach": None,
        "ok": True,
        "low": None,
        "high": None,
        "customers": 2,
    }


def test_mlflow_gets_every_figure_and_the_ends_of_its_interval(found: tuple[Figure, ...]) -> None:
    metrics = metrics_to_log(found)
    assert metrics["test/repeat/ndcg_at_1"] == 1.0
    assert metrics["test/repeat/ndcg_at_1_low"] == 1.0
    assert "test/repeat/coverage_at_1_low" not in metrics


def test_the_table_shows_the_model_beside_popularity(found: tuple[Figure, ...]) -> None:
    written = io.StringIO()
    print_figures(Console(file=written, width=120), "parrot on test", found)
    line = next(line for line in written.getvalue().splitlines() if "test/repeat/ndcg_at_1" in line)
    assert "1.0000" in line
    assert "0.0000" in line


def test_steps_are_shown_on_a_terminal_only() -> None:
    for terminal in (True, False):
        written = io.StringIO()
        with steps(Console(file=written, force_terminal=terminal, width=80), "reading", total=2) as say:
            say("fitting")
        shown = [step for step in ("reading", "fitting") if step in written.getvalue()]
        assert shown == (["reading", "fitting"] if terminal else [])


def test_the_json_goes_to_standard_output_alone(found: tuple[Figure, ...], capsys: pytest.CaptureFixture[str]) -> None:
    screen = io.StringIO()
    print_report(Console(file=screen, width=60), "parrot", found, {"fit_seconds": 0.5})
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    assert json.loads(out)["rows"][-1]["value"] == 0.5
    assert "test/repeat/no_history/ndcg_at_1 " in screen.getvalue()  # names are whole on a narrow screen too


def rolling(world: Callable[..., Dataset], parrot: Callable[..., Any]) -> tuple[Figure, ...]:
    rows = [("ann", "apple", 0.0), ("bob", "bread", 1.0), ("ann", "apple", 8.0), ("ann", "apple", 20.0)]
    rows += [("bob", "apple", 19.0), ("bob", "apple", 21.0), ("ann", "bread", 21.0)]
    folds = make_folds(
        world(rows), TemporalProtocol(test_days=7, cuts=2, k=[1]), final=True, rng=np.random.default_rng(0)
    )
    mine = [one for fold in folds for one in evaluate(parrot(["apple", "bread"]), fold)]
    return figures(mine, mine, np.random.default_rng(0))


def test_several_cuts_have_a_figure_each_and_a_pooled_one(
    world: Callable[..., Dataset], parrot: Callable[..., Any]
) -> None:
    names = by_name(rolling(world, parrot))
    first, second = (names[f"test/cut_{place}/repeat/hit_rate_at_1"] for place in (1, 2))
    whole = names["test/repeat/hit_rate_at_1"]
    assert (first.value, first.customers) == (1.0, 1)  # ann alone bought anything in the first week that is judged
    assert (second.value, second.customers) == (1.0, 2)
    assert (whole.value, whole.customers) == (1.0, 2)  # three answers of two people
    recall = names["test/repeat/recall_at_1"]
    assert recall.value == pytest.approx((1.0 + 0.5 + 1.0) / 3)
    assert "test/cut_1/repeat/heavy/ndcg_at_1" not in names
    assert "test/cut_2/new/coverage_at_1" in names


def test_what_was_promised_stands_beside_the_figure_and_decides_ok(found: tuple[Figure, ...]) -> None:
    kept = with_reach(found, {"test/repeat/ndcg_at_1": 0.9})
    read = json.loads(json_line(kept, {}))
    row = next(row for row in read["rows"] if row["name"] == "test/repeat/ndcg_at_1")
    assert (row["reach"], row["ok"], read["ok"]) == (0.9, True, True)
    missed = json.loads(json_line(with_reach(found, {"test/repeat/ndcg_at_1": 1.1}), {}))
    assert missed["ok"] is False


def test_a_promise_about_no_figure_is_refused(found: tuple[Figure, ...]) -> None:
    with pytest.raises(ConfigError, match="reach -> test/often/ndcg is no figure of this run; name one of its rows"):
        with_reach(found, {"test/often/ndcg": 0.5})
