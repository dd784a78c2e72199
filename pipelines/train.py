"""Fit one model, judge it beside popularity, and keep the run in MLflow; the last line printed is JSON.

Choices are made on the development part (`val/...`); `--final` reads the test part. `--register` then fits again on all
that consent allows and keeps a version; `--promote` too, and again if consent has outrun it, and lets it be served.
"""

from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Console

from considerate.cli.exits import clear_exits
from considerate.evaluation.evaluate import BUDGET_MB
from considerate.evaluation.judging import fit_and_judge, fit_unjudged
from considerate.evaluation.preparation import UNJUDGED, Prepared, prepare
from considerate.evaluation.report import Say, figures, print_report, steps
from considerate.interactions.reading import utc_now
from considerate.privacy.before_fit import check_before_fit
from considerate.recommenders.fitting import check_model, fit_model
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment, read_environment
from considerate.settings.model import ModelConfig
from considerate.settings.promotion import PromotionConfig
from considerate.settings.toml import read_toml
from considerate.tracking.promotion import promote_fresh
from considerate.tracking.training import Trained, Training, keep_training, refuse_earlier, refuse_unproved_consent


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
        fitted = fit_unjudged(model, path, prepared.dataset, consent, say=say, threads=limits["threads"])
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
    protocol: Annotated[str | None, typer.Option(help="Table protocol.NAME of the data; none: judge nothing.")] = None,
    final: Annotated[bool, typer.Option("--final", help="Judge on the test part.")] = False,
    register: Annotated[bool, typer.Option("--register", help="Refit on everything and register the result.")] = False,
    promote: Annotated[bool, typer.Option("--promote", help="Register, then let the service follow it.")] = False,
    rules: Annotated[Path, typer.Option(help="The promotion TOML.")] = Path("configs/promotion.toml"),
    as_of_seq: Annotated[int | None, typer.Option(min=0, help="Last event of the ledger that counts.")] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE; KEY= leaves KEY out.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="All cores if not given.")] = None,
    memory_mb: Annotated[int, typer.Option(min=1, help="For scores while judging.")] = BUDGET_MB,
) -> None:
    """Fit one model, judge it beside popularity, and keep the run in MLflow."""
    environment, screen = read_environment(), Console(stderr=True)
    limits: Any = {"threads": threads, "budget_mb": memory_mb, "seq": as_of_seq, "judged": protocol != UNJUDGED}
    with clear_exits(), steps(screen, f"reading {data_path.stem}", total=5) as say:
        model, data = read_toml(model_path, ModelConfig, changes or ()), read_toml(data_path, DataConfig)
        check_model(model, model_path)
        refuse_earlier(as_of_seq, promote=promote)
        check = partial(check_before_fit, data, environment)

        def fit() -> Trained:
            check(at=utc_now())
            prepared = prepare(data_path, environment, protocol, final=final, at=utc_now(), **limits)
            return train(model, model_path, prepared, environment, register=register or promote, say=say)

        if promote:
            terms = read_toml(rules, PromotionConfig).promotion
            trained, _ = promote_fresh(environment, fit, name=data.name, now=utc_now, rules=terms, check=check)
        else:
            trained = fit()
    print_report(screen, f"{model_path.stem} on {data_path.stem}", trained.figures, trained.facts)


if __name__ == "__main__":
    typer.run(main)
