"""The registry: versions of a model, and the one door to the alias that the service follows.

A version is registered with proof of the consent it was trained on, or not at all. `promote` alone moves the alias
`champion`; `champion_artefact` is how the refresher of the service gets the files, as plain bytes: nothing here ever
loads or runs what a registry holds.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from considerate.errors import TrackingError
from considerate.settings.environment import Environment
from considerate.tracking.client import mlflow_client
from considerate.tracking.runs import ARTEFACT_PATH

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
CONSENT_TAGS = (
    "consent.source",
    "consent.as_of",
    "consent.ledger_seq",
    "consent.ledger_head",
    "consent.n_total",
    "consent.n_included",
    "consent.k_item",
    "consent.k_pair",
)
"""Without each of these on its run, a model is not registered."""


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes
    ----------
    name, version
        Its place in the registry.
    run_id
        The run that made it.
    """

    name: str
    version: int
    run_id: str

    @property
    def label(self) -> str:
        """The name by which the service and its answers know the version."""
        return f"{self.name}-{self.version}"


def register_version(environment: Environment, *, name: str, run_id: str) -> RegisteredVersion:
    """Register the artefact of a finished run under `name`.

    Raises
    ------
    TrackingError
        The consent of the run was assumed, is not proved, or its counts do not add up; or the run has no artefact.
    """
    with mlflow_client(environment) as client:
        run = client.get_run(run_id)
        refuse_unproved(run.data.tags, name)
        if not client.list_artifacts(run_id, ARTEFACT_PATH):
            raise TrackingError(f"{name}: run {run_id} holds no artefact; train it again with --register")
        if not client.search_registered_models(filter_string=f"name = '{name}'"):
            client.create_registered_model(name)
        tags = {
            tag: run.data.tags[tag] for tag in run.data.tags if tag.startswith("consent.") or tag.endswith("_digest")
        }
        source = f"{run.info.artifact_uri}/{ARTEFACT_PATH}"
        made = client.create_model_version(name, source, run_id, tags=tags)
        return RegisteredVersion(name, int(made.version), run_id)


def refuse_unproved(tags: Mapping[str, str], name: str) -> None:
    """Raise unless `tags` prove the consent of a fit: from the ledger, complete, and adding up."""
    source = tags.get("consent.source")
    if source == "assumed":
        raise TrackingError(
            f"{name}: consent.source = assumed; only models trained on consent from the ledger are registered; "
            'set [consent] source = "ledger" in the data TOML'
        )
    missing = [tag for tag in CONSENT_TAGS if not tags.get(tag)]
    if missing:
        raise TrackingError(f"{name}: the run lacks the tags {', '.join(missing)}; train it again with --register")
    excluded = sum(int(count) for tag, count in tags.items() if tag.startswith("consent.n_excluded_"))
    total, included = int(tags["consent.n_total"]), int(tags["consent.n_included"])
    if total != included + excluded:
        raise TrackingError(
            f"{name}: consent.n_total = {total}; must be {included} included + {excluded} excluded customers; "
            "train it again"
        )


def promote(environment: Environment, *, name: str, version: int) -> RegisteredVersion:
    """Make `version` the champion: what the service answers from, within seconds.

    Raises
    ------
    TrackingError
        There is no such version, or its consent is not proved.
    """
    with mlflow_client(environment) as client:
        promoted = _version(client, name, version)
        refuse_unproved(client.get_run(promoted.run_id).data.tags, name)
        client.set_registered_model_alias(name, CHAMPION, str(version))
        return promoted


def champion(environment: Environment, *, name: str) -> RegisteredVersion | None:
    """Give the version that the alias names, None where nothing was promoted yet."""
    with mlflow_client(environment) as client:
        found = client.search_registered_models(filter_string=f"name = '{name}'")
        version = found[0].aliases.get(CHAMPION) if found else None
        return None if version is None else _version(client, name, int(version))


def versions(environment: Environment, *, name: str) -> tuple[RegisteredVersion, ...]:
    """Give every registered version of a model, newest first."""
    with mlflow_client(environment) as client:
        return _versions(client, name)


def champion_artefact(environment: Environment, destination: Path, *, name: str) -> RegisteredVersion | None:
    """Download the champion's files into the new folder `destination`; its caller checks their hashes.

    Returns
    -------
        The version downloaded, None (and no folder) where nothing was promoted yet.
    """
    current = champion(environment, name=name)
    if current is not None:
        download(environment, current, destination)
    return current


def download(environment: Environment, version: RegisteredVersion, destination: Path) -> None:
    """Download the files of one version into the new folder `destination`, which appears complete or not at all."""
    destination.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=destination.parent) as staging, mlflow_client(environment) as client:
        Path(client.download_artifacts(version.run_id, ARTEFACT_PATH, staging)).rename(destination)


def _versions(client: "MlflowClient", name: str) -> tuple[RegisteredVersion, ...]:
    found = client.search_model_versions(f"name = '{name}'")
    made = (RegisteredVersion(name, int(version.version), str(version.run_id)) for version in found)
    return tuple(sorted(made, key=lambda version: version.version, reverse=True))


def _version(client: "MlflowClient", name: str, version: int) -> RegisteredVersion:
    found = _versions(client, name)
    for candidate in found:
        if candidate.version == version:
            return candidate
    known = ", ".join(str(candidate.version) for candidate in reversed(found)) or "none"
    raise TrackingError(f"{name}: no version {version}; registered: {known}; train one with --register")
