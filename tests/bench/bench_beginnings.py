"""What a shop can suggest from its first consents on: fit on 0, 50 and 500 consenting households, judge on others.

The development part of Complete Journey, `temporal_28d`. The households who are judged are in no fit: they allow
suggestions, and none of them training.
"""

import json
import time
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from considerate.dataset.splits import of_customers
from considerate.errors import DataError
from considerate.evaluation.confidence import paired
from considerate.evaluation.evaluate import Judged, evaluate
from considerate.evaluation.folds import Fold
from considerate.evaluation.judging import judge_chance
from considerate.evaluation.preparation import consented_dataset
from considerate.evaluation.protocols import make_folds
from considerate.ranking.history import Int64
from considerate.recommenders.fitting import fit_model
from considerate.settings.data import DataConfig
from considerate.settings.environment import read_environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml

ROOT = Path(__file__).parents[2]
CONFIG, PROTOCOL = ROOT / "configs" / "complete_journey.toml", "temporal_28d"
MODELS = (
    "popularity",
    "content",
    "item_knn",
    "als",
    "buy_again",
    "buy_again.beginnings",
    "blend",
    "blend.beginnings",
)
SIZES, JUDGED = (0, 50, 500), 600
QUICK_MODELS, QUICK_SIZES, QUICK_JUDGED = ("popularity", "buy_again.beginnings"), (0, 50), 100
FIGURE = "ndcg_at_10"

CHOSEN = {0: "blend.beginnings", 50: "blend.beginnings", 500: "blend"}
"""What docs/beginnings.md recommends for so many households."""


def beginnings(fold: Fold, size: int, drawn: Int64, judged: int) -> Fold:
    """Let the first `size` of the households in the order `drawn` be all who allow training; judge the last ones."""
    asked = np.zeros(len(fold.asked), np.bool_)
    asked[np.isin(fold.customer, drawn[-judged:])] = True
    targets = []
    for goal in fold.targets:
        rows = np.flatnonzero(asked[goal.customers])
        parts = (goal.relevant.take(rows), goal.excluded.take(rows))
        targets.append(replace(goal, customers=goal.customers[rows], relevant=parts[0], excluded=parts[1]))
    return replace(fold, train=of_customers(fold.train, np.sort(drawn[:size])), targets=tuple(targets))


def judge(name: str, fold: Fold, data: DataConfig) -> tuple[Sequence[Judged], float] | None:
    """Fit a committed model and judge it; None where it cannot be fitted on so few."""
    path = ROOT / "models" / f"{name}.toml"
    model = read_toml(path, ModelConfig)
    started = time.perf_counter()
    try:
        artefact = fit_model(model, path, fold.train, data.consent, np.random.default_rng(model.seed))
    except DataError:
        return None
    seconds = time.perf_counter() - started
    return evaluate(artefact, fold), seconds


def rows_of(size: int, found: dict[str, Sequence[Judged]], *, quick: bool) -> list[dict[str, Any]]:
    """Give one row per model and goal, held against what is recommended for so many households."""
    rows = []
    for place, goal in enumerate(("repeat", "new")):
        chosen = CHOSEN[size]
        best = found[chosen][place].figures[FIGURE] if chosen in found else None
        baseline = found["popularity" if "popularity" in found else "chance"][place].figures[FIGURE]
        for name, judged in found.items():
            values = judged[place].figures[FIGURE]
            difference = paired(values, baseline, np.random.default_rng(0))
            # Nothing else may beat what is recommended by more than chance.
            better = None if best is None or name == chosen else paired(values, best, np.random.default_rng(0))
            rows.append(
                {
                    "name": f"val/{size}/{name}/{goal}/{FIGURE}",
                    "value": round(float(values.mean()), 5),
                    "baseline": round(float(baseline.mean()), 5),
                    "gain_low": round(difference.low, 5),
                    "gain_high": round(difference.high, 5),
                    "customers": len(values),
                    "reach": None,
                    "ok": quick or better is None or better.low <= 0,
                }
            )
    return rows


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Few models and households; no choice is judged.")] = False,
) -> None:
    """Print the figures and end with one JSON line; exit code 1 if another model beats a recommended one."""
    models, sizes, n_judged = (QUICK_MODELS, QUICK_SIZES, QUICK_JUDGED) if quick else (MODELS, SIZES, JUDGED)
    data = read_toml(CONFIG, DataConfig)
    dataset = consented_dataset(data, read_environment(), at=datetime.now(UTC))
    (fold,) = make_folds(dataset, data.protocol[PROTOCOL], final=False, rng=np.random.default_rng(0))
    active = np.flatnonzero(np.diff(fold.train.events.indptr))
    drawn = np.random.default_rng(0).permutation(active)
    rows: list[dict[str, Any]] = []
    for size in sizes:
        part = beginnings(fold, size, drawn, n_judged)
        found: dict[str, Sequence[Judged]] = {"chance": judge_chance((part,), np.random.default_rng(0))}
        for name in models:
            done = judge(name, part, data)
            if done is None:
                print(f"{size:>4} {name:<20} nothing to fit on")
                continue
            found[name], seconds = done
            figures = "  ".join(f"{one.goal} {one.figures[FIGURE].mean():.4f}" for one in found[name])
            print(f"{size:>4} {name:<20} {figures}  {seconds:.1f} s", flush=True)
        rows += rows_of(size, found, quick=quick)
    ok = all(row["ok"] for row in rows)
    print(json.dumps({"rows": rows, "ok": ok, "quick": quick}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
