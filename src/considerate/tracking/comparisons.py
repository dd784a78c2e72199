"""A comparison in MLflow: one run with the figures of every model and the pages to read."""

import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from considerate.evaluation.comparison import Comparison
from considerate.evaluation.preparation import Prepared
from considerate.settings.environment import Environment
from considerate.tracking.runs import standard_tags, track_run

COMPARISON_PATH = "comparison"
"""Folder of the pages inside the run."""


def keep_comparison(
    environment: Environment,
    prepared: Prepared,
    comparison: Comparison,
    models: Mapping[str, object],
    pages: Sequence[Path],
) -> str:
    """Write one run, under the name of the data set, and give its id.

    Parameters
    ----------
    environment, prepared
        Where runs are kept, and what was compared on.
    comparison
        What came of it.
    models
        Name -> algorithm, params and components, logged as params.
    pages
        Files that are kept in the run.
    """
    with track_run(environment, experiment=prepared.data.name, name=f"comparison {comparison.part}") as run:
        run.log_params({"protocol": comparison.protocol, "part": comparison.part, "baseline": comparison.baseline})
        run.log_params({_safe(name): model for name, model in models.items()})
        metrics: dict[str, float] = {}
        for line in comparison.lines:
            path = f"{_safe(line.name)}/{comparison.part}/{line.goal}"
            metrics |= {f"{path}/{name}": value for name, value in line.figures.items()}
            metrics[f"{path}/ms_per_request"] = line.ms_per_request
            metrics[f"{_safe(line.name)}/fit_seconds"] = line.fit_seconds
            metrics[f"{_safe(line.name)}/artefact_mb"] = line.artefact_mb
            if line.difference is not None:
                metrics[f"{path}/{comparison.figure}_gain"] = line.difference.mean
                metrics[f"{path}/{comparison.figure}_p"] = line.difference.p_value
        run.log_metrics(metrics)
        consent = prepared.dataset.consent.tags()
        run.log_tags({**standard_tags(), "kind": "comparison", **consent, "data_digest": prepared.data_digest})
        with TemporaryDirectory(prefix="considerate-") as folder:
            for page in pages:
                shutil.copy(page, folder)
            run.log_folder(Path(folder), COMPARISON_PATH)
    return run.run_id


def _safe(name: str) -> str:
    # What MLflow lets a name be made of; an @ and the like would be refused.
    return re.sub(r"[^A-Za-z0-9_. -]", "_", name)
