"""Fit one model, judge it beside popularity, and keep the run in MLflow; the last line printed is JSON.

Choices are made on the development part (`val/...`); `--final` reads the test part. With `--register` the model is then
fitted again on everything that consent allows, and that artefact becomes a version which can be promoted.
"""

import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from considerate.cli.exits import clear_exits
from considerate.evaluation.evaluate import evaluate
from considerate.evaluation.preparation import Prepared, prepare_fold
from considerate.evaluation.protocols import choose_protocol
from considerate.evaluation.report import Say, figures, print_report, steps
from considerate.recommenders.fitting import check_model, fit_model
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment, read_environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml
from considerate.tracking.training import Trained, Training, keep_training, refuse_unproved_consent


def prepare(data_path: Path, environment: Environment, protocol: str | None, *, final: bool, at: datetime) -> Prepared:
    """Read a data set once, ask for consent, cut it, and judge popularity on it: the same for every model."""
    data = read_toml(data_path, DataConfig)
    return prepare_fold(data, environment, choose_protocol(data, protocol, str(data_path)), final=final, at=at)


def train(
    model: ModelConfig, path: Path, prepared: Prepared, environment: Environment, *, register: bool, say: Say
) -> Trained:
    """Fit and judge the model read from `path`, and only then write: one run, and one version if asked for."""
    if register:
        refuse_unproved_consent(prepared)
    fold, consent, name = prepared.fold, prepared.data.consent, path.stem
    say(f"fitting {name}")
    started = time.perf_counter()
    artefact = fit_model(model, path, fold.train, consent, np.random.default_rng(model.seed))
    fitted = time.perf_counter()
    say(f"judging {name}")
    judged = evaluate(artefact, fold)
    evaluated = time.perf_counter()
    found = figures(fold.part, judged, prepared.popularity, np.random.default_rng(model.seed))
    if register:
        say(f"fitting {name} on everything")
        artefact = fit_model(model, path, prepared.dataset, consent, np.random.default_rng(model.seed))
    say(f"keeping {name}")
    training = Training(model, name, artefact, found, fitted - started, evaluated - fitted)
    return keep_training(environment, prepared, training, register=register)


def main(
    model_path: Annotated[Path, typer.Argument(metavar="models/NAME.toml")],
    data_path: Annotated[Path, typer.Argument(metavar="configs/DATA.toml")],
    *,
    protocol: Annotated[str | None, typer.Option(help="Its table protocol.NAME in the data TOML.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Judge on the test part.")] = False,
    register: Annotated[bool, typer.Option("--register", help="Refit on everything and register the result.")] = False,
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE over the model TOML; KEY= leaves KEY out.")
    ] = None,
) -> None:
    """Fit one model, judge it beside popularity, and keep the run in MLflow."""
    environment, screen = read_environment(), Console(stderr=True)
    with clear_exits(), steps(screen, f"reading {data_path.stem}", total=5) as say:
        model = read_toml(model_path, ModelConfig, changes or ())
        check_model(model, model_path)
        prepared = prepare(data_path, environment, protocol, final=final, at=datetime.now(UTC))
        trained = train(model, model_path, prepared, environment, register=register, say=say)
    print_report(screen, f"{model_path.stem} on {data_path.stem}", trained.figures, trained.facts)


if __name__ == "__main__":
    typer.run(main)
