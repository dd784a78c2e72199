"""What a pipeline says: its steps while it runs, then named figures beside popularity's, then one line of JSON."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from considerate.errors import ConfigError
from considerate.evaluation.confidence import intervals
from considerate.evaluation.evaluate import SEGMENTS, Judged, pooled
from considerate.ranking.scores import Goal

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
        As in MLflow: `test/repeat/ndcg_at_10`; with a segment `test/repeat/heavy/ndcg_at_10`; at one of several cuts
        `test/cut_1/repeat/ndcg_at_10`.
    value, baseline
        The model's figure and popularity's.
    low, high
        95 % bootstrap interval over customers, None where the figure is not a mean over customers.
    customers
        How many customers the figure is over; who is asked at several cuts counts once.
    reach
        What the figure must come to at least; None where nothing was promised.
    """

    name: str
    value: float
    baseline: float | None
    low: float | None
    high: float | None
    customers: int
    reach: float | None = None

    @property
    def ok(self) -> bool:
        """Whether what was promised is met."""
        return self.reach is None or self.value >= self.reach


def figures(
    judged: Sequence[Judged], baseline: Sequence[Judged] | None, rng: np.random.Generator
) -> tuple[Figure, ...]:
    """Name and sum up every figure of a model, beside those of the baseline on the same folds.

    Several cuts have figures of their own, after the pooled ones: means over every answer asked for, with intervals
    that draw a customer with all her answers.
    """
    goals = list(dict.fromkeys(one.goal for one in judged))
    labels = list(dict.fromkeys(one.label for one in judged))
    found: list[Figure] = []
    for goal in goals:
        prefix = f"{judged[0].part}/{goal}/"
        found += _figures(judged, baseline, goal, rng, prefix=prefix, segments=(None, *SEGMENTS))
    for label in labels if len(labels) > 1 else ():
        mine = [one for one in judged if one.label == label]
        other = None if baseline is None else [one for one in baseline if one.label == label]
        for goal in goals:
            prefix = f"{judged[0].part}/{label}/{goal}/"
            found += _figures(mine, other, goal, rng, prefix=prefix, segments=(None,))
    return tuple(found)


def _figures(
    judged: Sequence[Judged],
    baseline: Sequence[Judged] | None,
    goal: Goal,
    rng: np.random.Generator,
    *,
    prefix: str,
    segments: Sequence[str | None],
) -> Iterator[Figure]:
    mine = [one for one in judged if one.goal == goal]
    other = None if baseline is None else [one for one in baseline if one.goal == goal]
    for segment in segments:
        names = [name for name in mine[0].figures if segment is None or name.startswith("ndcg")]
        columns = [pooled(mine, goal, name, segment) for name in names]
        people = columns[0][1]
        if not len(people):
            continue
        clusters = people if len(mine) > 1 else None
        size = len(np.unique(people))
        spans = intervals(np.column_stack([values for values, _ in columns]), rng, clusters=clusters)
        for name, got in zip(names, spans, strict=True):
            beside = None if other is None else float(pooled(other, goal, name, segment)[0].mean())
            full = f"{prefix}{'' if segment is None else f'{segment}/'}{name}"
            yield Figure(full, got.mean, beside, got.low, got.high, size)
    size = len(np.unique(np.concatenate([one.customer[one.counted] for one in mine])))
    for name in mine[0].catalogue:
        beside = None if other is None else float(np.mean([one.catalogue[name] for one in other]))
        value = float(np.mean([one.catalogue[name] for one in mine]))
        yield Figure(f"{prefix}{name}", value, beside, None, None, size)


def with_reach(found: Iterable[Figure], reach: Mapping[str, float]) -> tuple[Figure, ...]:
    """Say what some figures, by name, must come to.

    Raises
    ------
    ConfigError
        There is no figure of a name.
    """
    found = tuple(found)
    missing = sorted(set(reach) - {figure.name for figure in found})
    if missing:
        raise ConfigError(f"reach -> {missing[0]} is no figure of this run; name one of its rows")
    return tuple(replace(figure, reach=reach.get(figure.name)) for figure in found)


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
    table.add_column("figure", no_wrap=True)
    for heading, width in (("model", 6), ("95 %", 11), ("baseline", 8), ("customers", 7)):
        table.add_column(heading, justify="right", min_width=width)
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

    Seconds and memory among `more` become rows too, under their names in MLflow. Where nothing was promised, `reach` is
    null and `ok` true; the line is ok if every row is.
    """
    found = tuple(found)
    rows = [
        {
            "name": figure.name,
            "value": round(figure.value, 6),
            "baseline": None if figure.baseline is None else round(figure.baseline, 6),
            "reach": figure.reach,
            "ok": figure.ok,
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
    return json.dumps({"rows": rows, "ok": all(figure.ok for figure in found), **others}, allow_nan=False)


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
