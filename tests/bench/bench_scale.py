"""Fit and judge at 1, 3 and 10 million interactions: is time linear, memory bounded, and the planted taste found?

Interactions are synthetic and follow a power law in both directions. Every customer has one of 50 tastes, which says
what she takes next, so the best list that anybody could give is known. Each model at each size runs in a process of its
own, so that its peak memory is its own; imports and compilation are not timed, nor is reading (see bench_load.py).
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

if TYPE_CHECKING:
    from considerate.dataset.dataset import Dataset
    from considerate.evaluation.folds import Fold
    from considerate.ranking.scores import Artefact

TASTES, OWN_TASTE = 50, 0.8
ITEM_EXPONENT, TASTE_EXPONENT = 0.8, 0.5
FEWEST, MOST, CUSTOMER_EXPONENT = 15, 200, 1.5
ASKED, HELD_OUT = 10_000, 10
SIZES = {"1m": 1_000_000, "3m": 3_000_000, "10m": 10_000_000}
QUICK_SIZES = {"10k": 10_000, "30k": 30_000}
MODELS: dict[str, dict[str, Any]] = {
    "als": {"factors": 64, "iterations": 10, "regularization": 10.0},
    "item_knn": {"neighbours": 200},
    "graph_filter": {"neighbours": 100, "rank": 64},
}
Chances = NDArray[np.float64]

LINEAR, MEMORY_MB, SHARE_OF_BEST = 1.3, 6_000, 0.8


def chances(n_items: int) -> Chances:
    """(TASTES, n_items) chance of each item to be taken next by a customer of each taste."""
    of_taste = np.arange(n_items) % TASTES
    rank = 1.0 + np.arange(n_items) // TASTES
    within = rank**-ITEM_EXPONENT
    within /= np.bincount(of_taste, within)[of_taste]
    tastes = taste_shares()
    own = np.where(of_taste == np.arange(TASTES)[:, None], within, 0.0)
    mixed: Chances = OWN_TASTE * own + (1 - OWN_TASTE) * tastes[of_taste] * within
    return mixed


def taste_shares() -> Chances:
    """(TASTES,) share of the customers who have each taste."""
    shares: Chances = np.arange(1.0, TASTES + 1) ** -TASTE_EXPONENT
    shares /= shares.sum()
    return shares


def make_world(file: Path, n_interactions: int, n_items: int) -> Path:
    """Draw interactions without replacement and keep the next `HELD_OUT` of some customers for judging."""
    rng = np.random.default_rng(0)
    drawn = FEWEST * (1 - rng.random(2 * n_interactions // FEWEST)) ** (-1 / CUSTOMER_EXPONENT)
    wanted = np.minimum(drawn, min(MOST, n_items // 10)).astype(np.int64)
    wanted = wanted[: int(np.searchsorted(np.cumsum(wanted), n_interactions)) + 1]
    taste = rng.choice(TASTES, len(wanted), p=taste_shares())
    # Twice as many as wanted: some come twice, and only the first time counts.
    customer = np.repeat(np.arange(len(wanted)), 2 * (wanted + HELD_OUT))
    of_taste = np.where(
        rng.random(len(customer)) < OWN_TASTE, taste[customer], rng.choice(TASTES, len(customer), p=taste_shares())
    )
    within = np.cumsum(np.arange(1.0, n_items // TASTES + 1) ** -ITEM_EXPONENT)
    item = np.searchsorted(within, rng.random(len(customer)) * within[-1]) * TASTES + of_taste
    _, first = np.unique(customer * n_items + item, return_index=True)
    first.sort()
    customer, item = customer[first], item[first].astype(np.int32)
    place = np.arange(len(customer)) - np.searchsorted(customer, np.arange(len(wanted)))[customer]
    asked = np.unique(np.linspace(0, len(wanted) - 1, ASKED).astype(np.int64))
    train, later = place < wanted[customer], (place >= wanted[customer]) & (place < wanted[customer] + HELD_OUT)
    later &= np.isin(customer, asked)
    indptr = np.concatenate([[0], np.cumsum(np.bincount(customer[train], minlength=len(wanted)))])
    kept = {"indptr": indptr, "item": item[train], "taste": taste, "asked": asked}
    np.savez(file, held_customer=customer[later], held_item=item[later], n_items=n_items, **kept)
    return file


def read_world(file: Path) -> tuple["Dataset", "Fold"]:
    """Give the data set, and the fold that asks for what some customers take next; each of them names her taste."""
    from dataclasses import replace
    from datetime import UTC, datetime

    from considerate.consent.gate import ConsentReport
    from considerate.dataset.dataset import Dataset
    from considerate.dataset.id_map import IdMap
    from considerate.evaluation.folds import Fold, Targets
    from considerate.evaluation.item_sets import ItemSets, owned_items
    from considerate.ranking.history import Histories
    from considerate.ranking.traits import Traits

    with np.load(file) as world:
        indptr, item, taste, asked = (world[name] for name in ("indptr", "item", "taste", "asked"))
        held_customer, held_item, n_items = world["held_customer"], world["held_item"], int(world["n_items"])
    n, n_customers = len(item), len(indptr) - 1
    events = Histories(
        indptr=indptr.astype(np.int64),
        item=item,
        kind=np.zeros(n, np.int8),
        value=np.full(n, np.nan, np.float32),
        time=np.full(n, np.nan),
        position=np.arange(n) - np.repeat(indptr[:-1], np.diff(indptr)),
        channel=np.zeros(n, np.int8),
    )
    at = datetime(2026, 1, 1, tzinfo=UTC)
    report = ConsentReport(
        "assumed", at, 0, "", 1, "adult", n_customers, n_customers, {}, n, n, {}, k_item=10, k_pair=5
    )
    ids = IdMap(tuple(f"c{c:07}" for c in range(n_customers)))
    dataset = Dataset(ids, IdMap(tuple(f"i{i:05}" for i in range(n_items))), events, report)
    histories = replace(events.take(asked), traits=Traits.of([[name_of(t)] for t in taste[asked].tolist()]))
    pairs = np.sort(np.searchsorted(asked, held_customer) * n_items + held_item)
    sizes = np.bincount(pairs // n_items, minlength=len(asked))
    relevant = ItemSets(np.concatenate([[0], np.cumsum(sizes)]), (pairs % n_items).astype(np.int32))
    some = np.flatnonzero(sizes)
    targets = Targets("new", some, relevant.take(some), owned_items(histories, n_items).take(some))
    return dataset, Fold("test", dataset, histories, asked, None, (targets,), (10,))


def name_of(taste: int) -> str:
    """Name a taste as a stated like."""
    return f"likes=taste {taste:02}"


def best_possible(dataset: "Dataset") -> "Artefact":
    """Give the model that knows what each taste takes next, and reads the taste instead of the history."""
    from considerate.ranking.linear_items import KIND, LinearItems, TraitColumns
    from considerate.ranking.top_n import base_of
    from considerate.recommenders.description import describe
    from considerate.recommenders.popularity import Params, no_neighbours

    n_items = len(dataset.items)
    nothing = base_of(np.zeros(n_items, np.float32))
    columns = TraitColumns(tuple(name_of(t) for t in range(TASTES)), chances(n_items).astype(np.float32))
    manifest = describe("popularity", KIND, dataset, Params(), None)
    return LinearItems(manifest, dataset.items.ids, nothing, nothing, no_neighbours(n_items), columns=columns)


def fit_and_judge(file: Path, algorithm: str) -> dict[str, float]:
    """Give seconds of the fit and of the evaluation, ndcg_at_10 and the peak memory in MB."""
    from dataclasses import replace

    from considerate.dataset.id_map import IdMap
    from considerate.evaluation.evaluate import evaluate
    from considerate.interactions.reading import peak_mb
    from considerate.recommenders.fitting import fit_model
    from considerate.settings.data import ConsentConfig
    from considerate.settings.model import ModelConfig

    def fit(dataset: "Dataset", consent: ConsentConfig) -> "Artefact":
        if algorithm == "best_possible":
            return best_possible(dataset)
        config = ModelConfig(algorithm=algorithm, params=MODELS.get(algorithm, {}))
        return fit_model(config, Path(f"{algorithm}.toml"), dataset, consent, np.random.default_rng(0))

    dataset, fold = read_world(file)
    # What is imported or compiled at the first call is not timed.
    few = replace(dataset, customers=IdMap(dataset.customers.ids[:100]), events=dataset.events.take(np.arange(100)))
    fit(few, ConsentConfig(source="assumed", k_item=1, k_pair=1))
    started = time.perf_counter()
    artefact = fit(dataset, ConsentConfig(source="assumed"))
    fitted = time.perf_counter()
    (judged,) = evaluate(artefact, fold)
    return {
        "interactions": dataset.events.n_events,
        "fit": fitted - started,
        "evaluate": time.perf_counter() - fitted,
        "ndcg": float(judged.figures["ndcg_at_10"].mean()),
        "peak_mb": peak_mb(),
    }


def in_its_own_process(algorithm: str, world: Path) -> dict[str, float]:
    """Fit and judge one model and read the JSON line it ends with."""
    command = [sys.executable, __file__, "--model", algorithm, "--file", str(world)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def row(
    name: str, value: float, *, baseline: float | None = None, reach: float | None = None, at_least: bool = False
) -> dict[str, Any]:
    """Give one row of the report; without a reach nothing is judged."""
    ok = reach is None or (value >= reach if at_least else value <= reach)
    return {"name": name, "value": round(value, 4), "baseline": baseline, "reach": reach, "ok": ok}


def rows_of(
    algorithm: str, measured: dict[str, dict[str, float]], ends: tuple[float, float], *, quick: bool
) -> list[dict[str, Any]]:
    """Give the rows of one model over all sizes.

    `ends` are the ndcg of popularity and the best possible one, at the largest size; the reach lies between them.
    """
    rows = []
    for name, part in measured.items():
        rows.append(row(f"{algorithm}/{name}/fit_seconds", part["fit"]))
        rows.append(row(f"{algorithm}/{name}/evaluate_seconds", part["evaluate"]))
        rows.append(row(f"{algorithm}/{name}/peak_mb", part["peak_mb"], reach=None if quick else MEMORY_MB))
    parts = list(measured.values())
    each = [part["fit"] / part["interactions"] for part in parts]
    growth = max(each[1:]) / each[0]
    rows.append(row(f"{algorithm}/fit_over_linear", growth, baseline=1.0, reach=None if quick else LINEAR))
    reach = None if quick else round(ends[0] + SHARE_OF_BEST * (ends[1] - ends[0]), 4)
    rows.append(
        row(f"{algorithm}/ndcg_at_10", parts[-1]["ndcg"], baseline=round(ends[0], 4), reach=reach, at_least=True)
    )
    return rows


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Small sizes; no reach is judged.")] = False,
    model: Annotated[str, typer.Option(hidden=True)] = "",
    file: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Print the figures and end with one JSON line; exit code 1 if a reach is missed."""
    if model and file is not None:
        print(json.dumps(fit_and_judge(file, model)))
        return
    sizes, n_items = (QUICK_SIZES, 1_000) if quick else (SIZES, 20_000)
    measured: dict[str, dict[str, dict[str, float]]] = {algorithm: {} for algorithm in MODELS}
    with tempfile.TemporaryDirectory() as name:
        for size, n_interactions in sizes.items():
            world = make_world(Path(name) / f"{size}.npz", n_interactions, n_items)
            for algorithm in MODELS:
                measured[algorithm][size] = in_its_own_process(algorithm, world)
        popular, best = (in_its_own_process(end, world)["ndcg"] for end in ("popularity", "best_possible"))
    rows = [row("best_possible/ndcg_at_10", best, baseline=round(popular, 4))]
    for algorithm, parts in measured.items():
        rows += rows_of(algorithm, parts, (popular, best), quick=quick)
    for line in rows:
        print(f"{line['name']:<36} {line['value']:>14,} {'' if line['reach'] is None else line['reach']}")
    ok = all(line["ok"] for line in rows)
    print(json.dumps({"rows": rows, "ok": ok, "quick": quick}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
