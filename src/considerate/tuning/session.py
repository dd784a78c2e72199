"""What whoever tunes sees: a bar with the best so far, and at the end a table and one line of JSON."""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from considerate.settings.writing import toml_value
from considerate.tuning.aims import Aim
from considerate.tuning.studies import Plan, best_of, front_of
from considerate.tuning.tried import Keep, Tried

_SHOWN = 5


@contextmanager
def bar(console: Console, plan: Plan, trials: int) -> Iterator[Callable[[Keep], Keep]]:
    """Show how many trials are finished and the best so far, on a terminal alone.

    Yields a function that puts the bar before whatever else is told of a finished trial.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(f"{plan.name}: the model as it stands", total=trials)
        seen: list[Tried] = []

        def with_bar(keep: Keep) -> Keep:
            def told(tried: Tried) -> None:
                keep(tried)
                seen.append(tried)
                progress.update(task, advance=1, description=f"{plan.name}: {so_far(seen, plan.aims)}", refresh=True)

            return told

        yield with_bar


def so_far(tried: Sequence[Tried], aims: Sequence[Aim]) -> str:
    """Say the best trial so far, and what the model came to as it stood.

    >>> so_far([], [Aim("new/ndcg_at_10", True)])
    'nothing complete yet'
    """
    best = best_of(tried, aims)
    if best is None:
        return "nothing complete yet"
    begun = next((one for one in tried if one.begun_with and one.values), None)
    before = "" if begun is None else f" (as it stood {begun.values[0]:.4f})"
    return f"{aims[0].name} {best.values[0]:.4f} in trial {best.number}{before}"


def print_outcome(screen: Console, plan: Plan, tried: Sequence[Tried], chosen: Tried) -> None:
    """Print the best trials, or the Pareto front, with the one that was kept marked."""
    several = len(plan.aims) > 1
    rows = list(front_of(tried, plan.aims)) if several else [one for one in tried if one.values]
    rows.sort(key=lambda one: one.values[0], reverse=plan.aims[0].larger)
    rows = rows if several else rows[:_SHOWN]
    rows += [one for one in tried if one.values and one.begun_with and one not in rows]
    heading = "no other trial beats these in every figure" if several else "best trials"
    table = Table(title=f"{plan.name}: {heading}", title_justify="left", box=SIMPLE, padding=(0, 1, 0, 0))
    for name in ("trial", *(aim.name for aim in plan.aims), "with"):
        table.add_column(name, justify="left" if name == "with" else "right")
    for one in rows:
        mark = " *" if one is chosen else ""
        note = "as it stood" if one.begun_with else ", ".join(f"{key}={shown(one, key)}" for key in one.chosen)
        table.add_row(f"{one.number}{mark}", *(f"{value:.4f}" for value in one.values), note)
    screen.print(table)


def shown(tried: Tried, key: str) -> str:
    """Say the value of a key, short enough for a table."""
    value = tried.chosen[key]
    if value is None:
        return "left out"
    return f"{value:.4g}" if isinstance(value, float) else toml_value(value)


def json_line(plan: Plan, tried: Sequence[Tried], chosen: Tried, part: str, **more: Any) -> str:
    """Give the line that ends the command: the figures of the chosen trial beside those of the model as it stood."""
    begun = next((one for one in tried if one.begun_with and one.values), None)
    rows = [
        {
            "name": f"{part}/{aim.name}" if "/" in aim.name else aim.name,
            "value": round(chosen.values[place], 6),
            "baseline": None if begun is None else round(begun.values[place], 6),
            "reach": None,
            "ok": True,
        }
        for place, aim in enumerate(plan.aims)
    ]
    counts = {state: sum(one.state == state for one in tried) for state in ("complete", "pruned", "failed")}
    found: dict[str, Any] = {
        "rows": rows,
        "ok": True,
        "study": plan.name,
        "trials": counts,
        "trial": chosen.number,
        "params": dict(chosen.chosen),
    }
    if len(plan.aims) > 1:
        found["front"] = [{"trial": one.number, "values": list(one.values)} for one in front_of(tried, plan.aims)]
    plain = {name: str(value) if isinstance(value, Path) else value for name, value in more.items()}
    return json.dumps({**found, **plain}, allow_nan=False)
