"""What is kept of a training: one complete run, and a registered version where one was asked for."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from considerate.errors import ConfigError
from considerate.evaluation.preparation import Prepared
from considerate.evaluation.report import Figure, metrics_to_log
from considerate.interactions.reading import peak_mb
from considerate.ranking.manifest import artefact_digest
from considerate.ranking.scores import Artefact
from considerate.settings.environment import Environment
from considerate.settings.model import ModelConfig
from considerate.tracking.registry import RegisteredVersion, refuse_unproved, register_version
from considerate.tracking.runs import delete_run, standard_tags, track_run


@dataclass(frozen=True, slots=True)
class Training:
    """One fit and what came of it, before anything is written.

    Attributes
    ----------
    model, name
        What was fitted, and the name of its TOML, which names the run.
    artefact
        Of the judged fit, or, where it is to be registered, of the same fit on everything.
    figures
        How good the judged fit is.
    fit_seconds, evaluation_seconds
        Wall time of the judged fit (of several cuts, the longest) and of judging.
    """

    model: ModelConfig
    name: str
    artefact: Artefact
    figures: tuple[Figure, ...]
    fit_seconds: float
    evaluation_seconds: float


@dataclass(frozen=True, slots=True)
class Trained:
    """A finished training.

    Attributes
    ----------
    run_id
        Of the run in MLflow.
    version
        The registered version, None where none was asked for.
    figures
        What the model was judged to be.
    facts
        What the JSON line says besides: times, memory, consent, digests, run and version.
    """

    run_id: str
    version: RegisteredVersion | None
    figures: tuple[Figure, ...]
    facts: Mapping[str, Any]


def refuse_earlier(seq: int | None, *, promote: bool) -> None:
    """Raise where a fit as of an earlier position is to be promoted at once: who withdrew after it would be served."""
    if promote and seq is not None:
        raise ConfigError(
            f"--as-of-seq {seq} with --promote: who withdrew after that position would be in the model that is served; "
            "leave out --as-of-seq, or use --register to keep the fit without serving it"
        )


def refuse_unproved_consent(prepared: Prepared) -> None:
    """Raise before hours of fitting what registration would refuse after them."""
    refuse_unproved(prepared.dataset.consent.tags(), prepared.data.name)


def keep_training(environment: Environment, prepared: Prepared, training: Training, *, register: bool) -> Trained:
    """Write one run with params, figures, consent and artefact; register the artefact under the data set's name.

    Until the run is complete, and registered where that was asked for, everything written lies in a temporary folder
    or is taken back.
    """
    consent = prepared.dataset.consent
    fitted_on = "everything" if register or not prepared.folds else "train"
    measured = {
        "fit_seconds": training.fit_seconds,
        "evaluation_seconds": training.evaluation_seconds,
        "peak_mb": peak_mb(),
    }
    with TemporaryDirectory(prefix="considerate-") as folder:
        saved = Path(folder) / "artefact"
        training.artefact.save(saved)
        digests = {"data_digest": prepared.data_digest, "model_digest": artefact_digest(saved)}
        with track_run(environment, experiment=prepared.data.name, name=training.name) as run:
            run.log_params(
                {
                    "algorithm": training.model.algorithm,
                    "params": training.artefact.manifest.params,
                    "components": training.model.components,
                    "seed": training.model.seed,
                    "protocol": prepared.protocol,
                    "part": prepared.part,
                }
            )
            run.log_metrics({**metrics_to_log(training.figures), **measured})
            run.log_tags({**standard_tags(), **consent.tags(), **digests, "fitted_on": fitted_on})
            run.log_artefact(saved)
    version = _registered(environment, prepared.data.name, run.run_id) if register else None
    facts = {
        **{metric: round(value, 3) for metric, value in measured.items()},
        "consent": {tag.removeprefix("consent."): value for tag, value in consent.tags().items()},
        **digests,
        "fitted_on": fitted_on,
        "run_id": run.run_id,
        "version": None if version is None else version.label,
    }
    return Trained(run.run_id, version, training.figures, facts)


def _registered(environment: Environment, name: str, run_id: str) -> RegisteredVersion:
    try:
        return register_version(environment, name=name, run_id=run_id)
    except BaseException:  # Ctrl-C too must leave no run that looks registered
        delete_run(environment, run_id)
        raise
