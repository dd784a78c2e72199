"""Time a second stage at its full committed size: 200 candidates through the trees of one ranker, features at hand.

Trees and candidates are drawn, so that no data are needed: what it takes depends on their number alone. The last line
is JSON.
"""

import json
import statistics
import time
from pathlib import Path

import numpy as np
import typer

from considerate.ranking.two_stage_columns import feature_names
from considerate.recommenders.two_stage import Params
from considerate.recommenders.two_stage_boosting import boosted
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml, validate

MODEL = Path(__file__).parents[2] / "models" / "two_stage.toml"
CANDIDATES, ROUNDS, REACH_US = 200, 2_000, 1_000.0


def main() -> None:
    """Print the median of one request in microseconds."""
    model = read_toml(MODEL, ModelConfig)
    boosting = validate(Params, model.params, str(MODEL)).boosting
    width, rng = len(feature_names(tuple(model.components))), np.random.default_rng(0)
    rows = rng.normal(size=(50_000, width)).astype(np.float32)
    bought = rng.random(len(rows)) < 1 / (1 + np.exp(2 - rows[:, :8].sum(axis=1)))
    trees = boosted(rows, bought, np.ones(len(rows)), boosting, 0)
    requests = rng.normal(size=(100, CANDIDATES, width)).astype(np.float32)
    trees.margins(requests[0])  # compiled, or read from the cache
    taken = []
    for turn in range(ROUNDS):
        started = time.perf_counter()
        trees.margins(requests[turn % len(requests)])
        taken.append(1e6 * (time.perf_counter() - started))
    median = statistics.median(taken)
    typer.echo(f"{len(trees.root)} trees, {len(trees.leaf)} leaves, {CANDIDATES} candidates: median {median:.0f} us")
    row = {"name": "trees_us_per_request", "value": round(median, 1), "baseline": None, "reach": REACH_US}
    typer.echo(json.dumps({"rows": [{**row, "ok": median < REACH_US}], "ok": median < REACH_US}))


if __name__ == "__main__":
    typer.run(main)
