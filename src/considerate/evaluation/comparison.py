"""Several models on one data set: how good each is, how sure that is, and what it costs."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from considerate.errors import ConfigError
from considerate.evaluation.confidence import Difference, Interval, interval, paired
from considerate.evaluation.evaluate import BUDGET_MB, Judged, pooled
from considerate.evaluation.folds import Fold, Targets
from considerate.evaluation.judging import fit_and_judge
from considerate.evaluation.preparation import Prepared
from considerate.evaluation.report import Say
from considerate.ranking.scores import Artefact, Goal
from considerate.ranking.top_n import top_n
from considerate.settings.model import ModelConfig

REQUESTS = 200
"""Single histories that are timed, after a few that are not."""

_WARM_UP = 5


@dataclass(frozen=True, slots=True)
class Contender:
    """A model, fitted and judged, and what it costs.

    Attributes
    ----------
    name
        Of its TOML.
    judged
        On every fold, for every goal.
    fit_seconds
        Wall time of one fit.
    artefact_mb
        Its files on disk.
    ms_per_request
        Goal -> median milliseconds from one history to a list, `score` and `top_n` alone.
    """

    name: str
    judged: tuple[Judged, ...]
    fit_seconds: float
    artefact_mb: float
    ms_per_request: dict[Goal, float]


@dataclass(frozen=True, slots=True)
class Line:
    """One model at one goal.

    Attributes
    ----------
    name, goal
        Which model, and what the lists are for.
    value
        The figure with its 95 % interval over customers.
    difference
        To the baseline, customer by customer; None for the baseline itself.
    coverage, novelty
        Share of the items in at least one list; mean bits per suggestion.
    figures
        Every other figure.
    fit_seconds, artefact_mb, ms_per_request
        As in `Contender`.
    """

    name: str
    goal: Goal
    value: Interval
    difference: Difference | None
    coverage: float
    novelty: float
    figures: dict[str, float]
    fit_seconds: float
    artefact_mb: float
    ms_per_request: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """Models side by side.

    Attributes
    ----------
    data, protocol, part
        What they were fitted and judged on.
    figure
        What they are compared by: `ndcg_at_10`.
    baseline
        Name of the model that the others are held against.
    customers
        Goal -> how many people were asked for.
    lines
        Per goal: the baseline, then the others in the order given.
    """

    data: str
    protocol: str
    part: str
    figure: str
    baseline: str
    customers: dict[Goal, int]
    lines: tuple[Line, ...]


def contend(
    name: str,
    model: ModelConfig,
    path: Path,
    prepared: Prepared,
    *,
    say: Say,
    threads: int | None = None,
    budget_mb: int = BUDGET_MB,
) -> Contender:
    """Fit and judge a model on every fold; time single requests on the newest."""
    consent, fold = prepared.data.consent, prepared.folds[-1]
    fitted = fit_and_judge(model, path, prepared.folds, consent, say=say, threads=threads, budget_mb=budget_mb)
    per_goal = {
        targets.goal: ms_per_request(fitted.artefact, replace(fold, targets=(targets,))) for targets in fold.targets
    }
    return Contender(name, fitted.judged, fitted.fit_seconds, artefact_mb(fitted.artefact), per_goal)


def compare(
    contenders: Sequence[Contender], prepared: Prepared, rng: np.random.Generator, *, figure: str
) -> Comparison:
    """Hold every contender against the first.

    Parameters
    ----------
    contenders
        The baseline and at least one other, judged on the folds of `prepared`.
    prepared
        What they were judged on.
    rng
        Draws the resamples.
    figure
        What to compare by, from `check_figure`.
    """
    baseline = contenders[0]
    goals = list(dict.fromkeys(one.goal for one in baseline.judged))
    customers = {goal: len(np.unique(pooled(baseline.judged, goal, figure)[1])) for goal in goals}
    goals = [goal for goal in goals if customers[goal]]
    lines = tuple(_line(one, baseline, goal, figure, rng) for goal in goals for one in contenders)
    return Comparison(prepared.data.name, prepared.protocol, prepared.part, figure, baseline.name, customers, lines)


def check_figure(name: str | None, prepared: Prepared) -> str:
    """Give the figure to compare by: that of the name, or ndcg at the longest list.

    Raises
    ------
    ConfigError
        There is no such figure per customer.
    """
    known = list(prepared.popularity[0].figures)
    if name is not None and name not in known:
        raise ConfigError(f"--metric {name}: not a figure of this protocol; name one of: {', '.join(known)}")
    return name or f"ndcg_at_{max(prepared.folds[0].k)}"


def _line(one: Contender, baseline: Contender, goal: Goal, figure: str, rng: np.random.Generator) -> Line:
    values, people = pooled(one.judged, goal, figure)
    k = max(int(name.rpartition("_")[2]) for name in one.judged[0].figures)
    clusters = people if len({judged.label for judged in one.judged}) > 1 else None
    difference = None
    if one is not baseline:
        difference = paired(values, pooled(baseline.judged, goal, figure)[0], rng, clusters=clusters)
    every = {
        name.removeprefix(f"{goal}/"): value
        for name, value in totals(one.judged).items()
        if name.startswith(f"{goal}/")
    }
    return Line(
        name=one.name,
        goal=goal,
        value=interval(values, rng, clusters=clusters),
        difference=difference,
        coverage=every[f"coverage_at_{k}"],
        novelty=every[f"novelty_at_{k}"],
        figures=every,
        fit_seconds=one.fit_seconds,
        artefact_mb=one.artefact_mb,
        ms_per_request=one.ms_per_request[goal],
    )


def totals(judged: Sequence[Judged]) -> dict[str, float]:
    """Give every figure of a model over all folds, without intervals: `new/ndcg_at_10`, `new/coverage_at_10`."""
    found: dict[str, float] = {}
    for goal in dict.fromkeys(one.goal for one in judged):
        mine = [one for one in judged if one.goal == goal]
        for name in mine[0].figures:
            values, _ = pooled(mine, goal, name)
            if len(values):
                found[f"{goal}/{name}"] = float(values.mean())
        for name in mine[0].catalogue:
            found[f"{goal}/{name}"] = statistics.fmean(one.catalogue[name] for one in mine)
    return found


def ms_per_request(artefact: Artefact, fold: Fold, *, requests: int = REQUESTS) -> float:
    """Median milliseconds that one customer's list takes: `score` and `top_n`, as in the service, on one thread."""
    place = {item_id: i for i, item_id in enumerate(artefact.item_ids)}
    to_artefact = np.array([place.get(item_id, -1) for item_id in fold.train.items.ids], np.int32)
    seconds: list[float] = []
    for targets in fold.targets:
        seconds += _seconds(artefact, fold, targets, to_artefact, requests)
    return 1_000 * statistics.median(seconds) if seconds else float("nan")


def _seconds(
    artefact: Artefact, fold: Fold, targets: Targets, to_artefact: np.ndarray[tuple[int], np.dtype[np.int32]], n: int
) -> list[float]:
    m, k = len(targets.customers), max(fold.k)
    rows = np.unique(np.linspace(0, m - 1, min(m, n)).astype(np.int64)) if m else np.empty(0, np.int64)
    histories = fold.asked.take(targets.customers[rows]).reindexed(to_artefact)
    excluded = targets.excluded.take(rows).reindexed(to_artefact)
    seconds = []
    for i in [*range(min(_WARM_UP, len(rows))), *range(len(rows))]:
        history, left_out = histories[i], excluded.items[excluded.indptr[i] : excluded.indptr[i + 1]]
        started = time.perf_counter()
        top_n(artefact.score(history, at=fold.at, goal=targets.goal), k, exclude=left_out)
        seconds.append(time.perf_counter() - started)
    return seconds[min(_WARM_UP, len(rows)) :]


def artefact_mb(artefact: Artefact) -> float:
    """Give the size of an artefact's files in MB."""
    with TemporaryDirectory(prefix="considerate-") as folder:
        saved = Path(folder) / "artefact"
        artefact.save(saved)
        return sum(path.stat().st_size for path in saved.rglob("*") if path.is_file()) / 1e6
