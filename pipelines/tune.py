"""Try what `[search]` of a model TOML allows, and write the best as a TOML to commit; the last line printed is JSON.

Every trial is judged on the development part; the test part is not read. A study that was stopped, or killed, goes on
where it was when the same command is run again.
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer
from rich.console import Console

from considerate.cli.exits import clear_exits
from considerate.evaluation.comparison import totals
from considerate.evaluation.preparation import prepare
from considerate.evaluation.report import steps
from considerate.privacy.before_fit import check_before_fit
from considerate.settings.data import DataConfig
from considerate.settings.environment import read_environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml
from considerate.tracking.studies import track_study
from considerate.tuning.aims import read_aims
from considerate.tuning.outcome import out_path, picked, remarks, write_tuned
from considerate.tuning.plots import draw
from considerate.tuning.running import Budget, run_study
from considerate.tuning.session import bar, json_line, print_outcome
from considerate.tuning.space import defaults
from considerate.tuning.studies import Plan, open_study


def main(
    model_path: Annotated[Path, typer.Argument(metavar="models/NAME.toml")],
    data_path: Annotated[Path, typer.Argument(metavar="configs/DATA.toml")],
    *,
    metric: Annotated[list[str] | None, typer.Option(help="new/ndcg_at_10; several: a Pareto front.")] = None,
    trials: Annotated[int, typer.Option(min=1, help="Of the study, earlier sessions included.")] = 30,
    seconds: Annotated[float | None, typer.Option(min=0, help="No trial begins later.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes at once.")] = 1,
    protocol: Annotated[str | None, typer.Option(help="Its table protocol.NAME in the data TOML.")] = None,
    study_name: Annotated[str | None, typer.Option("--study", help="Named after model and data if not given.")] = None,
    pick: Annotated[int | None, typer.Option(min=0, help="Keep this trial and not the best.")] = None,
    out: Annotated[Path | None, typer.Option(help="Of the tuned model; else models/<algorithm>.<data>.toml.")] = None,
) -> None:
    """Tune one model on one data set."""
    environment, screen, at = read_environment(), Console(stderr=True), datetime.now(UTC)
    threads = None if workers == 1 else max(1, (os.cpu_count() or 1) // workers)
    with clear_exits():
        model = read_toml(model_path, ModelConfig)
        defaults(model, model_path)
        check_before_fit(read_toml(data_path, DataConfig), environment, at=at)
        with steps(screen, f"reading {data_path.stem}", total=1):
            prepared = prepare(data_path, environment, protocol, final=False, at=at, threads=threads)
        known = totals(prepared.popularity)
        aims = read_aims(metric or [next(name for name in reversed(known) if "/ndcg_at_" in name)], known)
        name = study_name or f"{model_path.stem}.{prepared.data.name}"
        plan = Plan(name, model, model_path, prepared.data, prepared.protocol, aims, environment, at, threads)
        with (
            open_study(plan, prepared.data_digest) as study,
            track_study(environment, prepared, name=name, **study.user_attrs) as tracked,
            bar(screen, plan, trials) as with_bar,
            TemporaryDirectory(prefix="considerate-") as folder,
        ):
            tried = run_study(study, plan, prepared, Budget(trials, seconds, workers), with_bar(tracked.keep))
            best, path = picked(tried, aims, pick), out_path(plan, out)
            write_tuned(plan, best, path, remarks(plan, tried, best))
            draw(study, tried, plan, Path(folder))
            shutil.copy(path, folder)
            tracked.finish(best, Path(folder))
        print_outcome(screen, plan, tried, best)
    print(json_line(plan, tried, best, prepared.part, out=path, run_id=tracked.run_id))


if __name__ == "__main__":
    typer.run(main)
