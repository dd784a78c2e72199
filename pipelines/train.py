"""Fit one model, judge it beside popularity, and keep the run in MLflow; the last line printed is JSON.

Choices are made on the development part (`val/...`); `--final` reads the test part. With `--register` the model is then
fitted again on everything that consent allows, and that artefact becomes a version which can be promoted.
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from considerate.cli.exits import clear_exits
from considerate.evaluation.evaluate import BUDGET_MB
from considerate.evaluation.judging import fit_and_judge, fit_unjudged
from considerate.evaluation.preparation import UNJUDGED, Prepared, prepare_fold, prepare_unjudged
from considerate.evaluation.protocols import choose_protocol
from considerate.evaluation.report import Say, figures, print_report, steps
from considerate.recommenders.fitting import check_model, fit_model
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment, read_environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml
from considerate.tracking.training import Trained, Training, keep_training, refuse_unproved_consent


def prepare(
    data_path: Path, environment: Environment, protocol: str | None, *, final: bool, at: datetime, **limits: Any
) -> Prepared:
    """Read a data set once, ask for consent, cut it, and judge popularity on it: the same for every model."""
    data = read_toml(data_path, DataConfig)
    table = choose_protocol(data, protocol, str(data_path))
    return prepare_fold(data, environment, table, final=final, at=at, **limits)


def train(
    model: ModelConfig, path: Path, prepared: Prepared, environment: Environment, *, register: bool, say: Say
) -> Trained:
    """Fit and judge the model read from `path`, and only then write: one run, and one version if asked for."""
    if register:
        refuse_unproved_consent(prepared)
    consent, limits = prepared.data.consent, prepared.limits
    if prepared.folds:
        fitted = fit_and_judge(model, path, prepared.folds, consent, say=say, **limits)
    else:
        fitted = fit_unjudged(model, path, prepared.dataset, consent)
    found = figures(fitted.judged, prepared.popularity, np.random.default_rng(model.seed))
    artefact = fitted.artefact
    if register and prepared.folds:
        say(f"fitting {path.stem} on everything")
        artefact = fit_model(model, path, prepared.dataset, consent, np.random.default_rng(model.seed))
    say(f"keeping {path.stem}")
    training = Training(model, path.stem, artefact, found, fitted.fit_seconds, fitted.evaluation_seconds)
    return keep_training(environment, prepared, training, register=register)


def main(
    model_path: Annotated[Path, typer.Argument(metavar="models/NAME.toml")],
    data_path: Annotated[Path, typer.Argument(metavar="configs/DATA.toml")],
    *,
    protocol: Annotated[
        str | None, typer.Option(help="A table protocol.NAME of the data TOML; none: judge nothing.")
    ] = None,
    final: Annotated[bool, typer.Option("--final", help="Judge on the test part.")] = False,
    register: Annotated[bool, typer.Option("--register", help="Refit on everything and register the result.")] = False,
    changes: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE; KEY= leaves KEY out.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="All cores if not given.")] = None,
    memory_mb: Annotated[int, typer.Option(min=1, help="For scores while judging.")] = BUDGET_MB,
) -> None:
    """Fit one model, judge it beside popularity, and keep the run in MLflow."""
    environment, screen = read_environment(), Console(stderr=True)
    with clear_exits(), steps(screen, f"reading {data_path.stem}", total=5) as say:
        model = read_toml(model_path, ModelConfig, changes or ())
        check_model(model, model_path)
        limits: Any = {"threads": threads, "budget_mb": memory_mb}
        if protocol == UNJUDGED:
            prepared = prepare_unjudged(read_toml(data_path, DataConfig), environment, at=datetime.now(UTC))
        else:
            prepared = prepare(data_path, environment, protocol, final=final, at=datetime.now(UTC), **limits)
        trained = train(model, model_path, prepared, environment, register=register, say=say)
    print_report(screen, f"{model_path.stem} on {data_path.stem}", trained.figures, trained.facts)


if __name__ == "__main__":
    typer.run(main)
