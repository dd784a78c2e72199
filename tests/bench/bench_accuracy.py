"""Measure our figures on public data beside published ones, as tests/bench/accuracy.toml lists them.

Each row is read, fitted and judged by the code of the pipelines in a process of its own, so that its peak memory is its
own. By default the development parts are judged, which choices may look at; `--final` reads the test parts, for which
`reach` holds. `--quick` runs the same path on a sample and judges no reach.
"""

import json
import math
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).parents[2]
ROWS = Path(__file__).with_name("accuracy.toml")
README = ROOT / "README.md"
BEGIN, END = "<!-- accuracy -->", "<!-- /accuracy -->"
POPULARITY, RANDOM = "all-time popularity", "random"
THRESHOLDS = ((1, 1), (10, 5))
FIT_SECONDS, PEAK_MB = 60.0, 4_096.0
QUICK_CUSTOMERS, QUICK_ITEMS, QUICK_AT_ONCE = 200, 1_000, 2


def prepared_for(row: dict[str, Any], *, final: bool, quick: bool, folder: Path) -> Any:
    """Read and cut the row's data; with `quick`, of a few customers."""
    from considerate.evaluation.preparation import prepare_fold
    from considerate.evaluation.protocols import choose_protocol
    from considerate.settings.data import DataConfig
    from considerate.settings.environment import read_environment
    from considerate.settings.toml import read_toml

    data = read_toml(ROOT / row["data"], DataConfig)
    environment = read_environment()
    name, protocol = choose_protocol(data, row["protocol"], row["data"])
    if quick:
        data = sampled(data, environment, folder)
        if hasattr(protocol, "held_out"):
            protocol = protocol.model_copy(update={"held_out": QUICK_CUSTOMERS // 10})
        if hasattr(protocol, "cuts"):
            protocol = protocol.model_copy(update={"cuts": 1})
    return prepare_fold(data, environment, (name, protocol), final=final, at=datetime.now(UTC))


def sampled(data: Any, environment: Any, folder: Path) -> Any:
    """Give a data set of the rows of the first few customers, with their items and a few others."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from considerate.interactions.locating import locate

    table = pa.concat_tables([pq.read_table(path) for path in locate(str(data.source.path), environment)])
    column = table[data.source.columns["customer_id"]]
    some = pc.unique(column.drop_null())[:QUICK_CUSTOMERS]
    table = table.filter(pc.is_in(column, value_set=some))
    path = folder / "sample.parquet"
    pq.write_table(table, path)
    changes = {"source": data.source.model_copy(update={"path": str(path)})}
    if data.items is not None:
        items = pa.concat_tables([pq.read_table(one) for one in locate(data.items.path, environment)])
        theirs = table[data.source.columns["item_id"]]
        chosen = pc.is_in(items[data.items.columns["item_id"]], value_set=pc.unique(theirs.drop_null()))
        few = pc.less(pa.array(range(len(items))), QUICK_ITEMS)
        path = folder / "items.parquet"
        pq.write_table(items.filter(pc.or_(chosen, few)), path)
        changes["items"] = data.items.model_copy(update={"path": str(path)})
    return data.model_copy(update=changes)


def measure(row: dict[str, Any], *, final: bool, quick: bool) -> dict[str, Any]:
    """Fit and judge the row's model: every figure with its interval, seconds and peak memory."""
    import numpy as np

    from considerate.evaluation.judging import fit_and_judge
    from considerate.evaluation.report import figures
    from considerate.interactions.reading import peak_mb
    from considerate.settings.model import ModelConfig
    from considerate.settings.toml import read_toml

    path = ROOT / row["model"]
    model = read_toml(path, ModelConfig)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepared_for(row, final=final, quick=quick, folder=Path(folder))
    fitted = fit_and_judge(model, path, prepared.folds, prepared.data.consent)
    # Before the models it is held against: the peak is that of this model alone.
    found: dict[str, Any] = {"fit_seconds": fitted.fit_seconds, "peak_mb": peak_mb(), "part": prepared.part}
    every = figures(fitted.judged, prepared.popularity, np.random.default_rng(0))
    found["figures"] = {
        one.name.removeprefix(f"{prepared.part}/"): [one.value, one.low, one.high, one.customers] for one in every
    }
    wanted = [figure["name"] for figure in row["figure"]]
    found["gains"] = {}
    for other in row.get("must_beat", ()):
        judged = judge_other(other, prepared, fitted.artefact)
        found["gains"][other["name"]] = {name: gain(fitted.judged, judged, name) for name in wanted}
    return found


def judge_other(other: dict[str, Any], prepared: Any, ours: Any) -> Any:
    """Judge a model that ours must beat, on the same folds."""
    from dataclasses import replace

    import numpy as np

    from considerate.evaluation.evaluate import evaluate
    from considerate.evaluation.judging import fit_and_judge
    from considerate.ranking.top_n import base_of
    from considerate.recommenders.popularity import no_neighbours
    from considerate.settings.model import ModelConfig
    from considerate.settings.toml import read_toml

    if other["name"] == POPULARITY:
        return prepared.popularity
    if other["name"] == RANDOM:
        scores = np.random.default_rng(0).random(len(ours.item_ids)).astype(np.float32)
        shuffled = replace(ours, base=base_of(scores), similarity=no_neighbours(len(scores)))
        return [judged for fold in prepared.folds for judged in evaluate(shuffled, fold)]
    path = ROOT / other["model"]
    model = read_toml(path, ModelConfig)
    return fit_and_judge(model, path, prepared.folds, prepared.data.consent).judged


def thresholds(row: dict[str, Any], *, final: bool, quick: bool) -> dict[str, Any]:
    """Fit the row's model with no thresholds and with the defaults: what k_item and k_pair cost, paired."""
    from considerate.evaluation.judging import fit_and_judge
    from considerate.settings.model import ModelConfig
    from considerate.settings.toml import read_toml

    path = ROOT / row["model"]
    model = read_toml(path, ModelConfig)
    with tempfile.TemporaryDirectory() as folder:
        prepared = prepared_for(row, final=final, quick=quick, folder=Path(folder))
    terms = [
        prepared.data.consent.model_copy(update={"k_item": k_item, "k_pair": k_pair}) for k_item, k_pair in THRESHOLDS
    ]
    without, with_both = (fit_and_judge(model, path, prepared.folds, consent).judged for consent in terms)
    return {figure["name"]: gain(with_both, without, figure["name"]) for figure in row["figure"]}


def gain(ours: Any, theirs: Any, name: str) -> list[float]:
    """Mean difference of one figure over customers, its 95 % interval, and the other model's figure."""
    import numpy as np

    from considerate.evaluation.confidence import paired
    from considerate.evaluation.evaluate import pooled

    goal, _, figure = name.partition("/")
    values, people = pooled(ours, goal, figure)  # type: ignore[arg-type]  # a goal from the TOML
    others, _ = pooled(theirs, goal, figure)  # type: ignore[arg-type]
    found = paired(values, others, np.random.default_rng(0), clusters=people)
    return [found.mean, found.low, found.high, float(others.mean())]


def in_its_own_process(part: str, row: dict[str, Any], *, final: bool, quick: bool) -> dict[str, Any]:
    """Run one part of one row and read the JSON line it ends with."""
    options = [*(["--final"] if final else []), *(["--quick"] if quick else [])]
    command = [sys.executable, __file__, "--part", part, "--rows", row["name"], *options]
    done = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise typer.Exit(done.returncode)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def both(row: dict[str, Any], *, final: bool, quick: bool) -> tuple[dict[str, Any], dict[str, Any]]:
    """Measure a row and what thresholds cost it; `quick` spares a process its imports, and its peak is of both."""
    if quick:
        whole = in_its_own_process("both", row, final=final, quick=quick)
        return whole["measure"], whole["thresholds"]
    found = in_its_own_process("measure", row, final=final, quick=quick)
    return found, in_its_own_process("thresholds", row, final=final, quick=quick)


def report_of(
    row: dict[str, Any], found: dict[str, Any], costs: dict[str, Any], *, judge: bool
) -> list[dict[str, Any]]:
    """Give the rows of the report: figures beside the best reference, gains, costs of thresholds, seconds, memory."""
    name, part = row["name"], found["part"]
    lines = []
    for figure in row["figure"]:
        value, low, high, customers = found["figures"][figure["name"]]
        references = figure.get("references", {})
        reach = figure.get("reach") if judge else None
        line = report_row(f"{name}/{part}/{figure['name']}", value, max(references.values(), default=None), reach)
        lines.append({**line, "low": low, "high": high, "customers": customers, "references": references})
        lines[-1]["dream"] = figure.get("dream")
        for other, gains in found["gains"].items():
            mean, low, high, theirs = gains[figure["name"]]
            line = report_row(f"{name}/{part}/{figure['name']}_over_{other}", mean, theirs, None)
            ok = low > 0 or not judge
            lines.append({**line, "reach": "interval above 0" if judge else None, "ok": ok, "low": low, "high": high})
        mean, low, high, theirs = costs[figure["name"]]
        line = report_row(f"{name}/{part}/{figure['name']}_k_item_10_k_pair_5_over_1_1", mean, theirs, None)
        lines.append({**line, "low": low, "high": high})
    for measured, most in (("fit_seconds", FIT_SECONDS), ("peak_mb", PEAK_MB)):
        value = found[measured]
        ok = not judge or value <= most
        lines.append({**report_row(f"{name}/{measured}", value, None, most if judge else None), "ok": ok})
    return lines


def report_row(name: str, value: float, baseline: float | None, reach: float | None) -> dict[str, Any]:
    """Give one row; without a reach nothing is judged."""
    ok = reach is None or value >= reach
    return {"name": name, "value": round(value, 5), "baseline": baseline, "reach": reach, "ok": ok}


def print_lines(lines: list[dict[str, Any]]) -> None:
    """Print each figure with its interval, beside its references."""
    for line in lines:
        span = "" if line.get("low") is None else f"({line['low']:.4f} to {line['high']:.4f})"
        verdict = "" if line["reach"] is None else f"reach {line['reach']}: {'met' if line['ok'] else 'MISSED'}"
        dream = f", dream {line['dream']}" if line.get("dream") and verdict else ""
        print(f"{line['name']:<76} {line['value']:>9.4f} {span:<22} {verdict}{dream}")
        for who, value in line.get("references", {}).items():
            print(f"{'':<76} {value:>9.4f} {who}")


def table_of(rows: list[dict[str, Any]], results: list[list[dict[str, Any]]]) -> str:
    """Give the table of the README: one line per figure, from what was just measured."""
    lines = [
        "| data, protocol | figure | ours (95 %) | beside it | model | fit, peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for row, found in zip(rows, results, strict=True):
        by_name = {line["name"]: line for line in found}
        seconds, peak = by_name[f"{row['name']}/fit_seconds"]["value"], by_name[f"{row['name']}/peak_mb"]["value"]
        for figure in row["figure"]:
            line = by_name[f"{row['name']}/test/{figure['name']}"]
            beside = [f"{who} {value:.4g}" for who, value in figure.get("references", {}).items()]
            beside += [
                f"{other['name'].rpartition('_over_')[2]} {other['baseline']:.4f}"
                for other in found
                if other["name"].startswith(f"{line['name']}_over_")
            ]
            ours = f"**{line['value']:.4f}** ({line['low']:.4f} - {line['high']:.4f})"
            data = f"{Path(row['data']).stem}, {row['protocol']}"
            cost = f"{seconds:.0f} s, {peak:,.0f} MB"
            name = Path(row["model"]).stem
            lines.append(f"| {data} | {figure['name']} | {ours} | {', '.join(beside)} | `{name}` | {cost} |")
    return "\n".join(lines)


def write_readme(table: str) -> None:
    """Put the table between its markers."""
    text = README.read_text(encoding="utf-8")
    before, found, rest = text.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not found or not ended:
        raise SystemExit(f"{README.name}: no {BEGIN} ... {END}; put the markers where the table belongs")
    README.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}", encoding="utf-8")


def main(
    *,
    final: Annotated[bool, typer.Option("--final", help="Judge the test parts, for which the reaches hold.")] = False,
    write: Annotated[bool, typer.Option("--write", help="Put the table into the README; needs --final.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="A sample of each data set; no reach is judged.")] = False,
    rows: Annotated[list[str] | None, typer.Option(help="Only the rows of these names.")] = None,
    part: Annotated[str, typer.Option(hidden=True)] = "",
) -> None:
    """Print the figures and end with one JSON line; exit code 1 if a reach is missed."""
    listed = tomllib.loads(ROWS.read_text(encoding="utf-8"))["row"]
    unknown = sorted(set(rows or ()) - {row["name"] for row in listed})
    if unknown or (write and (quick or rows or not final)):
        known = ", ".join(row["name"] for row in listed)
        why = f"--rows {unknown[0]}: name one of: {known}" if unknown else "--write needs --final and every row"
        print(why, file=sys.stderr)
        raise typer.Exit(2)
    chosen = [row for row in listed if not rows or row["name"] in rows]
    if part:
        from considerate.cli.exits import clear_exits

        (row,) = chosen
        with clear_exits():
            parts = {"measure": measure, "thresholds": thresholds}
            done = {name: run(row, final=final, quick=quick) for name, run in parts.items() if part in (name, "both")}
            print(json.dumps(done if part == "both" else done[part]))
        return
    results: list[list[dict[str, Any]]] = []
    with ThreadPoolExecutor(QUICK_AT_ONCE if quick else 1) as pool:
        measured = pool.map(lambda row: both(row, final=final, quick=quick), chosen)
        for row, (found, costs) in zip(chosen, measured, strict=True):
            results.append(report_of(row, found, costs, judge=final and not quick))
            print(f"\n{row['name']}: {row['model']} on {row['data']}, {row['protocol']}; {row['source']}")
            print_lines(results[-1])
    if write:
        write_readme(table_of(chosen, results))
    lines = [line for found in results for line in found]
    ok = all(line["ok"] for line in lines)
    assert not any(isinstance(line["value"], float) and math.isnan(line["value"]) for line in lines)
    print(json.dumps({"rows": lines, "ok": ok, "final": final, "quick": quick}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
