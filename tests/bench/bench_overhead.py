"""Time what our code adds to implicit's, on MovieLens 1M, both sides by turns in one run.

Fitting `als` as `pipelines/train.py` does it, thresholds, digest and manifest included, beside implicit's own `fit` on
the same matrix; and judging all customers over the whole catalogue with every metric beside implicit's batch
`recommend` alone. Both sides have the same parameters and the same number of threads.
"""

import json
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from implicit.cpu.als import AlternatingLeastSquares
from implicit.nearest_neighbours import TFIDFRecommender
from implicit.utils import ParameterWarning
from threadpoolctl import threadpool_limits

from considerate.dataset.dataset import Dataset
from considerate.evaluation.evaluate import available_threads, evaluate
from considerate.evaluation.folds import Fold
from considerate.evaluation.preparation import consented_dataset
from considerate.evaluation.protocols import choose_protocol, make_folds
from considerate.ranking.factor_items import FactorItems
from considerate.recommenders import als, item_knn
from considerate.recommenders.fitting import fit_model
from considerate.settings.data import DataConfig
from considerate.settings.environment import read_environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml

ROOT = Path(__file__).parents[2]
DATA = ROOT / "configs" / "ml_1m.toml"
# The committed models know times, which our copy of these ratings does not.
TIMELESS = ("params.weighting.half_life_days=",)
ALS = "als.ml_1m"
FIT_REACH, JUDGE_REACH = 1.15, 1.5
RUNS = 7
QUICK_CUSTOMERS = 1_000


Timing = tuple[float, float, float]
"""Median seconds of ours and of theirs, and the median of the ratios of neighbouring turns."""


def by_turns(ours: Callable[[], object], theirs: Callable[[], object], runs: int) -> Timing:
    """Time both sides; machines are noisy, and noise comes in waves: it meets both sides of a turn alike."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for run in range(runs + 1):
        # Each side goes first in every other turn.
        for side, action in ((0, ours), (1, theirs))[:: 1 if run % 2 else -1]:
            started = time.perf_counter()
            action()
            if run:  # The first of each warms caches and compiled kernels.
                seconds[side].append(time.perf_counter() - started)
    ratios = [mine / other for mine, other in zip(*seconds, strict=True)]
    return statistics.median(seconds[0]), statistics.median(seconds[1]), statistics.median(ratios)


def rows_of(name: str, ours: float, theirs: float, ratio: float, reach: float | None) -> list[dict[str, Any]]:
    """Give the rows of one comparison; without a reach nothing is judged."""
    return [
        {"name": f"{name}_seconds", "value": round(ours, 3), "baseline": round(theirs, 3), "reach": None, "ok": True},
        {
            "name": f"{name}_over_implicit",
            "value": round(ratio, 3),
            "baseline": 1.0,
            "reach": reach,
            "ok": reach is None or ratio <= reach,
        },
    ]


def model_of(name: str, *changes: str) -> tuple[ModelConfig, Path]:
    """Read a committed model."""
    path = ROOT / "models" / f"{name}.toml"
    return read_toml(path, ModelConfig, [*TIMELESS, *changes]), path


def time_fit(name: str, dataset: Dataset, data: DataConfig, runs: int) -> Timing:
    """Fit an `als` from a data set to an artefact, and implicit from a matrix to its factors."""
    config, path = model_of(name)
    params = als.Params.model_validate(config.params)
    x = als.confidences(dataset.in_canonical_order(), params)

    def ours() -> FactorItems:
        artefact = fit_model(config, path, dataset, data.consent, np.random.default_rng(config.seed))
        assert isinstance(artefact, FactorItems)
        return artefact

    def theirs() -> Any:
        with threadpool_limits(limits=1, user_api="blas"):
            model = implicit_als(params, config.seed)
            model.fit(x, show_progress=False)
        return model.item_factors

    if not np.array_equal(ours().item_vectors, theirs()):
        raise SystemExit("bench-overhead: the two fits differ, so their times do not compare; mend als or this bench")
    return by_turns(ours, theirs, runs)


def implicit_als(params: als.Params, seed: int) -> Any:
    """Give implicit's model with the parameters of ours."""
    return AlternatingLeastSquares(
        factors=params.factors,
        regularization=params.regularization,
        alpha=params.alpha,
        iterations=params.iterations,
        num_threads=params.num_threads,
        random_state=np.random.default_rng(seed),
    )


def time_judging(name: str, fold: Fold, data: DataConfig, runs: int) -> Timing:
    """Judge a fitted model with all metrics, and let implicit's own make ten suggestions for the same customers."""
    config, path = model_of(name)
    artefact = fit_model(config, path, fold.train, data.consent, np.random.default_rng(config.seed))
    asked = replace(fold.train, events=fold.asked)
    customers = np.arange(len(fold.asked))
    threads = available_threads()
    if config.algorithm == "als":
        params = als.Params.model_validate(config.params)
        x, model = als.confidences(asked, params), implicit_als(params, config.seed)
        more = {"recalculate_user": True}
    else:
        knn = item_knn.Params.model_validate(config.params)
        x, model = asked.user_items(knn.weighting, fold.at), TFIDFRecommender(K=knn.neighbours, num_threads=threads)
        x.data = np.maximum(x.data, 0.0)  # its logarithms and roots take no dislikes
        x.eliminate_zeros()
        more = {}

    with warnings.catch_warnings(), threadpool_limits(limits=1, user_api="blas"):
        warnings.simplefilter("ignore", ParameterWarning)  # of its own making: it converts its own sparse matrix
        model.fit(x, show_progress=False)

    def theirs() -> None:
        with threadpool_limits(limits=1, user_api="blas"):
            model.recommend(customers, x, N=max(fold.k), filter_already_liked_items=True, **more)

    return by_turns(lambda: evaluate(artefact, fold, threads=threads), theirs, runs)


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A sample of the customers; no reach is judged.")] = False,
) -> None:
    """Print the figures and end with one JSON line; exit code 1 if a reach is missed."""
    data, runs = read_toml(DATA, DataConfig), 1 if quick else RUNS
    dataset = consented_dataset(data, read_environment(), at=datetime.now(UTC)).net_of_returns()
    if quick:
        dataset = replace(dataset, events=dataset.events.take(np.arange(QUICK_CUSTOMERS)))
        dataset = replace(dataset, customers=replace(dataset.customers, ids=dataset.customers.ids[:QUICK_CUSTOMERS]))
        dataset = dataset.restricted_to(dataset.customers_per_item() > 0)
    _, protocol = choose_protocol(data, "last_out", str(DATA))
    (fold,) = make_folds(dataset, protocol, final=False, rng=np.random.default_rng(0))
    rows = rows_of("als_fit", *time_fit(ALS, dataset, data, runs), None if quick else FIT_REACH)
    # Half the factors and two thirds of the sweeps: what does not depend on them weighs more.
    rows += rows_of("als_fit_of_64_factors", *time_fit("als", dataset, data, runs), None)
    for algorithm in ("als", "item_knn"):
        pair = time_judging(algorithm, fold, data, runs)
        rows += rows_of(f"{algorithm}_evaluation", *pair, None if quick else JUDGE_REACH)
    for line in rows:
        print(f"{line['name']:<36} {line['value']:>8} {'' if line['reach'] is None else line['reach']}")
    ok = all(line["ok"] for line in rows)
    facts = {"customers": len(fold.asked), "items": len(fold.train.items), "threads": available_threads()}
    print(json.dumps({"rows": rows, "ok": ok, "quick": quick, **facts}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
