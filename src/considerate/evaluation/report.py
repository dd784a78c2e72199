"""What a pipeline says: its steps while it runs, then named figures beside popularity's, then one line of JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from considerate.evaluation.confidence import intervals
from considerate.evaluation.evaluate import SEGMENTS, Judged

_SHOWN = ("ndcg", "map", "recall", "hit_rate", "coverage", "novelty")
_MEASURED = ("fit_seconds", "evaluation_seconds", "peak_mb")


Say = Callable[[str], None]
"""Announces the next step of a pipeline."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of a report.

    Attributes
    ----------
    name
        As in MLflow: `test/repeat/ndcg_at_10`, or `test/repeat/heavy/ndcg_at_10` for a segment.
    value, baseline
        The model's figure and popularity's.
    low, high
        95 % bootstrap interval over customers, None where the figure is not a mean over customers.
    customers
        How many customers the figure is over.
    """

    name: str
    value: float
    baseline: float | None
    low: float | None
    high: float | None
    customers: int


def figures(
    part: str, judged: Sequence[Judged], baseline: Sequence[Judged] | None, rng: np.random.Generator
) -> tuple[Figure, ...]:
    """Name and sum up every figure of a model, beside those of the baseline on the same fold."""
    found: list[Figure] = []
    for place, mine in enumerate(judged):
        other = None if baseline is None else baseline[place]
        groups = {"": mine.with_history} | {f"{name}/": mine.segments[name] for name in SEGMENTS}
        for group, members in groups.items():
            size = int(members.sum())
            if not size:
                continue
            names = [name for name in mine.figures if not group or name.startswith("ndcg")]
            values = np.column_stack([mine.figures[name][members] for name in names])
            for name, got in zip(names, intervals(values, rng), strict=True):
                beside = None if other is None else float(other.figures[name][members].mean())
                found.append(Figure(f"{part}/{mine.goal}/{group}{name}", got.mean, beside, got.low, got.high, size))
        for name, value in mine.catalogue.items():
            beside = None if other is None else other.catalogue[name]
            size = int(mine.with_history.sum())
            found.append(Figure(f"{part}/{mine.goal}/{name}", value, beside, None, None, size))
    return tuple(found)


def metrics_to_log(found: Iterable[Figure]) -> dict[str, float]:
    """Give the figures as MLflow takes them; the ends of the intervals under `<name>_low` and `<name>_high`."""
    metrics: dict[str, float] = {}
    for figure in found:
        metrics[figure.name] = figure.value
        if figure.low is not None and figure.high is not None:
            metrics |= {f"{figure.name}_low": figure.low, f"{figure.name}_high": figure.high}
    return metrics


def print_figures(console: Console, title: str, found: Iterable[Figure]) -> None:
    """Print the figures as a table: model, interval, baseline (all-time popularity), customers."""
    table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for heading in ("figure", "model", "95 %", "baseline", "customers"):
        table.add_column(heading, justify="left" if heading == "figure" else "right", no_wrap=heading == "figure")
    for figure in found:
        if not figure.name.rpartition("/")[2].startswith(_SHOWN):
            continue
        span = "" if figure.low is None or figure.high is None else f"{figure.low:.3f}-{figure.high:.3f}"
        beside = "" if figure.baseline is None else f"{figure.baseline:.4f}"
        table.add_row(figure.name, f"{figure.value:.4f}", span, beside, f"{figure.customers:,}")
    console.print(table)


def print_report(screen: Console, title: str, found: Sequence[Figure], facts: Mapping[str, Any]) -> None:
    """End a pipeline: the table on `screen`, which is standard error, and the JSON line on standard output."""
    print_figures(screen, title, found)
    print(json_line(found, facts))


def json_line(found: Iterable[Figure], more: Mapping[str, Any]) -> str:
    """Give the one line that ends a pipeline's output: rows, ok, and what else is worth keeping.

    Seconds and memory among `more` become rows too, under their names in MLflow. A training run has no reach to meet,
    so `reach` is null and `ok` true.
    """
    rows = [
        {
            "name": figure.name,
            "value": round(figure.value, 6),
            "baseline": None if figure.baseline is None else round(figure.baseline, 6),
            "reach": None,
            "ok": True,
            "low": None if figure.low is None else round(figure.low, 6),
            "high": None if figure.high is None else round(figure.high, 6),
            "customers": figure.customers,
        }
        for figure in found
    ]
    rows += [
        {"name": name, "value": more[name], "baseline": None, "reach": None, "ok": True}
        for name in _MEASURED
        if name in more
    ]
    others = {name: value for name, value in more.items() if name not in _MEASURED}
    return json.dumps({"rows": rows, "ok": True, **others}, allow_nan=False)


@contextmanager
def steps(console: Console, first: str, *, total: int) -> Iterator[Say]:
    """Show a bar of `total` steps on a terminal, and nothing anywhere else.

    Yields a function that announces each step after the `first`.
    """
    columns = (SpinnerColumn(), TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(first, total=total)

        def say(step: str) -> None:
            progress.update(bar, description=step, advance=1, refresh=True)

        yield say
