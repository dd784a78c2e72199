"""A comparison on a terminal, and as the line of JSON that ends the command."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from considerate.evaluation.comparison import Comparison
from considerate.evaluation.comparison_page import cells, headings

_WIDE = 160


def print_comparison(screen: Console, comparison: Comparison) -> None:
    """Print one table per goal; into a file, as wide as it needs to be."""
    wide = screen if screen.is_terminal else Console(file=screen.file, width=_WIDE)
    for goal, customers in comparison.customers.items():
        title = f"{comparison.data}, {comparison.protocol}, {comparison.part}, {goal}: {customers:,} customers"
        table = Table(title=title, title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
        for number, name in enumerate(headings(comparison)):
            table.add_column(name, justify="right" if number else "left")
        for line in comparison.lines:
            if line.goal == goal:
                table.add_row(*cells(line))
        wide.print(table, markup=False)


def json_line(comparison: Comparison, **more: Any) -> str:
    """Give the line that ends the command: one row per model and goal, with its interval and its gain."""
    rows = []
    baselines = {line.goal: line.value.mean for line in comparison.lines if line.difference is None}
    for line in comparison.lines:
        change = line.difference
        rows.append(
            {
                "name": f"{comparison.part}/{line.goal}/{comparison.figure}",
                "model": line.name,
                "value": round(line.value.mean, 6),
                "baseline": round(baselines[line.goal], 6),
                "reach": None,
                "ok": True,
                "low": round(line.value.low, 6),
                "high": round(line.value.high, 6),
                "gain": None if change is None else round(change.mean, 6),
                "gain_low": None if change is None else round(change.low, 6),
                "gain_high": None if change is None else round(change.high, 6),
                "p_value": None if change is None else round(change.p_value, 6),
                "coverage": round(line.coverage, 6),
                "novelty": round(line.novelty, 6),
                "fit_seconds": round(line.fit_seconds, 3),
                "artefact_mb": round(line.artefact_mb, 3),
                "ms_per_request": round(line.ms_per_request, 4),
            }
        )
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in more.items()}
    return json.dumps({"rows": rows, "ok": True, **plain}, allow_nan=False)


def named(paths: Sequence[Path]) -> dict[str, Path]:
    """Call each model by its file, or by its path where two files have one name; one that is there twice comes once.

    >>> list(named([Path("a/als.toml"), Path("b/als.toml"), Path("ease.toml"), Path("a/als.toml")]))
    ['a/als', 'b/als', 'ease']
    """
    unique = list(dict.fromkeys(paths))
    stems = [path.stem for path in unique]
    return {path.stem if stems.count(path.stem) == 1 else path.with_suffix("").as_posix(): path for path in unique}
