"""Pictures of a study: how the best rose, which parameters matter, what each value came to, the Pareto front."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from considerate.settings.model import Between
from considerate.tuning.aims import Aim
from considerate.tuning.studies import Plan, front_of
from considerate.tuning.tried import Tried

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_DPI = 120
_COLUMNS = 3
_BLUE, _GREY, _RED = "#2563a8", "#b0b7c0", "#c2410c"


def draw(study: optuna.Study, tried: Sequence[Tried], plan: Plan, folder: Path) -> tuple[Path, ...]:
    """Write `history.png`, `slices.png`, `importance.png` and, for several aims, `front.png` into `folder`.

    Importance needs at least two complete trials that differ, and is left out without them.
    """
    pictures = {"history": _history(tried, plan.aims), "slices": _slices(tried, plan)}
    importance = _importance(study, plan)
    if importance is not None:
        pictures["importance"] = importance
    if len(plan.aims) > 1:
        pictures["front"] = _front(tried, plan.aims)
    paths = []
    for name, picture in pictures.items():
        paths.append(folder / f"{name}.png")
        picture.savefig(paths[-1], dpi=_DPI, metadata={"Software": None})
    return tuple(paths)


def _history(tried: Sequence[Tried], aims: Sequence[Aim]) -> "Figure":
    figure, panels = _panels(len(aims), 1, width=7.0, height=2.6)
    complete = [one for one in tried if one.values]
    for place, (aim, panel) in enumerate(zip(aims, panels, strict=True)):
        numbers, values = [one.number for one in complete], [one.values[place] for one in complete]
        best = np.maximum.accumulate(values) if aim.larger else np.minimum.accumulate(values)
        panel.plot(numbers, values, "o", color=_GREY, label="trial")
        panel.step(numbers, best, where="post", color=_BLUE, label="best so far")
        begun = [(one.number, one.values[place]) for one in complete if one.begun_with]
        panel.plot(*zip(*begun, strict=True) if begun else ([], []), "D", color=_RED, label="as it stood")
        panel.set(xlabel="trial", ylabel=aim.name)
        panel.legend(fontsize="small")
    return figure


def _slices(tried: Sequence[Tried], plan: Plan) -> "Figure":
    figure, panels = _panels(len(plan.model.search), _COLUMNS, width=3.2, height=2.6)
    for panel, (key, space) in zip(panels, plan.model.search.items(), strict=True):
        points = [(one.chosen[key], one.values[0]) for one in tried if one.values and key in one.chosen]
        if isinstance(space, Between):
            for y in [y for x, y in points if x is None]:
                panel.axhline(y, color=_GREY, linestyle="--", linewidth=1)  # the key was left out
            points = [(x, y) for x, y in points if x is not None]
            panel.set_xscale("log" if space.log else "linear")
        else:
            points = [("left out" if x is None else str(x), y) for x, y in points]
        panel.plot([x for x, _ in points], [y for _, y in points], "o", color=_BLUE)
        panel.set_xlabel(key, parse_math=False)
        panel.set_ylabel(plan.aims[0].name)
    return figure


def _importance(study: optuna.Study, plan: Plan) -> "Figure | None":
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({tuple(sorted(trial.params.items(), key=str)) for trial in complete}) < 2:
        return None
    if len({trial.values[0] for trial in complete}) < 2:
        return None
    evaluator = FanovaImportanceEvaluator(seed=plan.model.seed)
    found = get_param_importances(study, evaluator=evaluator, target=lambda trial: float(trial.values[0]))
    if not found:
        return None
    figure, (panel,) = _panels(1, 1, width=7.0, height=1.0 + 0.35 * len(found))
    names = list(found)[::-1]
    panel.barh(range(len(names)), [found[name] for name in names], color=_BLUE)
    panel.set_yticks(range(len(names)), names, parse_math=False)
    panel.set_xlabel(f"share of the variance of {plan.aims[0].name} (fANOVA)")
    return figure


def _front(tried: Sequence[Tried], aims: Sequence[Aim]) -> "Figure":
    figure, (panel,) = _panels(1, 1, width=6.0, height=4.2)
    best = {one.number for one in front_of(tried, aims)}
    for one in tried:
        if one.values:
            on_front = one.number in best
            panel.plot(one.values[0], one.values[1], "o", color=_BLUE if on_front else _GREY)
            if on_front:
                panel.annotate(str(one.number), one.values[:2], xytext=(4, 4), textcoords="offset points")
    panel.set(xlabel=aims[0].name, ylabel=aims[1].name, title="blue: no other trial beats it in both")
    return figure


def _panels(n: int, columns: int, *, width: float, height: float) -> "tuple[Figure, list[Any]]":
    from matplotlib.figure import Figure  # noqa: PLC0415 - importing it makes folders in the user's home

    columns = min(columns, max(n, 1))
    rows = max(1, math.ceil(n / columns))
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in grid[n:]:
        panel.axis("off")
    return figure, list(grid[:n])
