"""Time reading and storing Complete Journey, beside `pandas.read_parquet` and one group-by in the same run.

Each part runs in a process of its own, so that its peak memory is its own; imports are not timed.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

ROOT = Path(__file__).parents[2]
CONFIG = ROOT / "configs" / "complete_journey.toml"
SAMPLE = 100_000
RUNS = 5


def read_with_pandas(file: Path) -> dict[str, float]:
    """Give the median seconds of a plain read and one group-by."""
    import pandas as pd

    def once() -> None:
        frame = pd.read_parquet(file)
        frame.groupby(["household_id", "product_id"]).size()

    once()  # What pandas imports at its first call is not timed either.
    return {"seconds": median_seconds(once)}


def median_seconds(action: Callable[[], object]) -> float:
    """Give the median of a few runs: these machines are noisy."""
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


def read_and_store(file: Path, folder: Path) -> dict[str, float]:
    """Give median seconds of validated reading, seconds of storing, rows kept and the peak memory of both in MB."""
    from considerate.interactions.loading import load_into_store
    from considerate.interactions.reading import peak_mb, read_interactions
    from considerate.settings.data import DataConfig
    from considerate.settings.environment import Environment
    from considerate.settings.toml import read_toml
    from considerate.store.engine import open_store
    from considerate.store.keys import load_keys

    config = read_toml(CONFIG, DataConfig, [f"source.path={file}"])
    at = datetime.now(UTC)
    environment = Environment(home=folder, data=None)
    read = median_seconds(lambda: read_interactions(config, environment, quarantine=folder, at=at))
    interactions = read_interactions(config, environment, quarantine=folder, at=at)
    engine = open_store(f"sqlite:///{folder / 'bench.db'}", create=True)
    keys = load_keys(folder / "keys", create=True)
    started = time.perf_counter()
    stored = load_into_store(interactions, engine, keys, at=at)
    store = time.perf_counter() - started
    engine.dispose()
    return {"read": read, "store": store, "rows": stored.inserted, "peak_mb": peak_mb()}


def sample(file: Path, folder: Path) -> Path:
    """Write the first rows of the file to another."""
    import pyarrow.parquet as pq

    target = folder / "sample.parquet"
    pq.write_table(pq.read_table(file).slice(0, SAMPLE), target)
    return target


def in_its_own_process(part: str, file: Path, folder: Path) -> dict[str, float]:
    """Run one part and read the JSON line it ends with."""
    command = [sys.executable, __file__, "--part", part, "--file", str(file), "--folder", str(folder)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def row(
    name: str, value: float, *, baseline: float | None, reach: float | None, at_least: bool = False
) -> dict[str, Any]:
    """Give one row of the report; without a reach nothing is judged."""
    ok = reach is None or (value >= reach if at_least else value <= reach)
    return {"name": name, "value": round(value, 3), "baseline": baseline, "reach": reach, "ok": ok}


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A sample of the rows; no reach is judged.")] = False,
    part: Annotated[str, typer.Option(hidden=True)] = "",
    file: Annotated[Path | None, typer.Option(hidden=True)] = None,
    folder: Annotated[Path | None, typer.Option(hidden=True)] = None,
) -> None:
    """Print the figures and end with one JSON line; exit code 1 if a reach is missed."""
    if part and file is not None and folder is not None:
        print(json.dumps(read_with_pandas(file) if part == "pandas" else read_and_store(file, folder)))
        return
    from considerate.interactions.locating import locate
    from considerate.settings.data import DataConfig
    from considerate.settings.environment import read_environment
    from considerate.settings.toml import read_toml

    path = read_toml(CONFIG, DataConfig).source.path
    (whole,) = locate(str(path), read_environment())
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        chosen = sample(whole, scratch) if quick else whole
        chosen.read_bytes()  # Both sides find the file in the page cache.
        pandas_seconds = in_its_own_process("pandas", chosen, scratch)["seconds"]
        ours = in_its_own_process("considerate", chosen, scratch)
    rows = [
        row("read_seconds", ours["read"], baseline=round(pandas_seconds, 3), reach=None),
        row("read_over_pandas", ours["read"] / pandas_seconds, baseline=1.0, reach=None if quick else 5.0),
        row("store_seconds", ours["store"], baseline=None, reach=None if quick else 20.0),
        row("peak_mb", ours["peak_mb"], baseline=None, reach=None if quick else 2048.0),
        row("rows_stored", ours["rows"], baseline=None, reach=SAMPLE if quick else 1_469_307, at_least=True),
    ]
    for line in rows:
        print(f"{line['name']:<18} {line['value']:>14,} {'' if line['reach'] is None else line['reach']}")
    ok = all(line["ok"] for line in rows)
    print(json.dumps({"rows": rows, "ok": ok, "quick": quick}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
