"""Fit several models on one data set and put them side by side, in a table and on a page; the last line is JSON.

Choices are made on the development part (`val/...`); `--final` reads the test part.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from considerate.cli.exits import clear_exits
from considerate.evaluation.comparison import check_figure, compare, contend
from considerate.evaluation.comparison_page import write_pages
from considerate.evaluation.comparison_report import json_line, named, print_comparison
from considerate.evaluation.evaluate import BUDGET_MB
from considerate.evaluation.preparation import prepare
from considerate.evaluation.report import steps
from considerate.privacy.before_fit import check_before_fit
from considerate.recommenders.fitting import check_model
from considerate.settings.data import DataConfig
from considerate.settings.environment import read_environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml
from considerate.tracking.comparisons import keep_comparison

PLAIN = ModelConfig(algorithm="popularity")


def main(
    data_path: Annotated[Path, typer.Argument(metavar="configs/DATA.toml")],
    model_paths: Annotated[list[Path], typer.Argument(metavar="models/NAME.toml...")],
    *,
    baseline: Annotated[Path | None, typer.Option(help="Held against; all-time popularity if not given.")] = None,
    protocol: Annotated[str | None, typer.Option(help="Its table protocol.NAME in the data TOML.")] = None,
    metric: Annotated[str | None, typer.Option(help="ndcg at the longest list if not given.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Judge on the test part.")] = False,
    out: Annotated[Path | None, typer.Option(help="Folder of the pages; else comparisons/DATA.PROTOCOL.PART.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="To fit and judge with; all cores if not given.")] = None,
    memory_mb: Annotated[int, typer.Option(min=1, help="For scores while judging.")] = BUDGET_MB,
) -> None:
    """Compare models on one data set."""
    environment, screen, at = read_environment(), Console(stderr=True), datetime.now(UTC)
    with clear_exits():
        paths = named([*([] if baseline is None else [baseline]), *model_paths])
        models = {name: (read_toml(path, ModelConfig), path) for name, path in paths.items()}
        if baseline is None:
            models = {"all-time popularity": (PLAIN, Path("models/popularity.toml")), **models}
        for model, path in models.values():
            check_model(model, path)
        check_before_fit(read_toml(data_path, DataConfig), environment, at=at)
        with steps(screen, f"reading {data_path.stem}", total=1 + 2 * len(models)) as say:
            resources: Any = {"threads": threads, "budget_mb": memory_mb}
            prepared = prepare(data_path, environment, protocol, final=final, at=at, **resources)
            figure = check_figure(metric, prepared)
            contenders = [
                contend(name, model, path, prepared, say=say, threads=threads, budget_mb=memory_mb)
                for name, (model, path) in models.items()
            ]
        comparison = compare(contenders, prepared, np.random.default_rng(0), figure=figure)
        place = f"{comparison.data}.{comparison.protocol}.{comparison.part}"
        folder = out or environment.home / "comparisons" / place
        pages = write_pages(comparison, folder)
        logged = {name: model.model_dump(mode="json", exclude={"search"}) for name, (model, _) in models.items()}
        run_id = keep_comparison(environment, prepared, comparison, logged, pages)
        print_comparison(screen, comparison)
    print(json_line(comparison, page=folder / "comparison.html", run_id=run_id))


if __name__ == "__main__":
    typer.run(main)
