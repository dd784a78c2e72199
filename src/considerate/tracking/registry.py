"""The registry: versions of a model, and the alias that the service follows.

A version is registered with proof of the consent it was trained on, or not at all. `promotion.promote` alone moves the
alias `champion`; `champion_artefact` is how the refresher of the service gets the files, as plain bytes: nothing here
ever loads or runs what a registry holds.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from considerate.consent.decision import Policy
from considerate.consent.gate import OF_CUSTOMERS, OF_ROWS
from considerate.consent.notices import NOTICE, Notice
from considerate.consent.since_fit import FitBasis
from considerate.errors import TrackingError
from considerate.ranking.manifest import MANIFEST_FILE, artefact_digest
from considerate.settings.environment import Environment
from considerate.tracking.client import mlflow_client
from considerate.tracking.runs import ARTEFACT_PATH

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

CHAMPION = "champion"
DIGEST = "model_digest"
CONSENT_TAGS = (
    "consent.source",
    "consent.as_of",
    "consent.ledger_seq",
    "consent.ledger_head",
    "consent.ledger_events_after",
    "consent.purpose_version",
    "consent.unknown_age",
    "consent.gpc_strict",
    "consent.snapshot_hmac",
    "consent.n_total",
    "consent.n_included",
    *(f"consent.n_excluded_{rule}" for rule in OF_CUSTOMERS),
    "consent.n_events_total",
    "consent.n_events_included",
    *(f"consent.n_events_dropped_{rule}" for rule in OF_ROWS),
    "consent.sensitive_items",
    "consent.k_item",
    "consent.k_pair",
    "consent.k_segment",
)
"""Without each of these on its run, a model is not registered."""

_COUNTED = (
    ("consent.n_total", "consent.n_included", "consent.n_excluded_", "customers"),
    ("consent.n_events_total", "consent.n_events_included", "consent.n_events_dropped_", "rows"),
)


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """One version of a registered model.

    Attributes
    ----------
    name, version
        Its place in the registry.
    run_id
        The run that made it.
    as_of
        The moment of its fit, in ISO 8601, as its run says; "" where it does not.
    digest
        SHA-256 of its artefact (`ranking.manifest.artefact_digest`) at the fit: no other files are ever downloaded.
        "" where the registry does not say.
    """

    name: str
    version: int
    run_id: str
    as_of: str = ""
    digest: str = ""

    @property
    def label(self) -> str:
        """The name by which the service and its answers know the version."""
        return f"{self.name}-{self.version}"


def register_version(environment: Environment, *, name: str, run_id: str) -> RegisteredVersion:
    """Register the artefact of a finished run under `name`.

    Raises
    ------
    TrackingError
        The consent of the run was assumed, is not proved, or its counts do not add up; or the run has no artefact, or
        no digest of it.
    """
    with mlflow_client(environment) as client:
        run = client.get_run(run_id)
        refuse_unproved(run.data.tags, name)
        if not run.data.tags.get(DIGEST):
            raise TrackingError(f"{name}: the run lacks the tag {DIGEST}; train it again with --register")
        if not client.list_artifacts(run_id, ARTEFACT_PATH):
            raise TrackingError(f"{name}: run {run_id} holds no artefact; train it again with --register")
        if not client.search_registered_models(filter_string=f"name = '{name}'"):
            client.create_registered_model(name)
        tags = {
            tag: run.data.tags[tag] for tag in run.data.tags if tag.startswith("consent.") or tag.endswith("_digest")
        }
        source = f"{run.info.artifact_uri}/{ARTEFACT_PATH}"
        made = client.create_model_version(name, source, run_id, tags=tags)
        return RegisteredVersion(name, int(made.version), run_id, tags["consent.as_of"], tags[DIGEST])


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
    for whole, included, left_out, what in _COUNTED:
        parts = [_count(tags, tag, name) for tag in tags if tag.startswith(left_out)]
        total, kept = _count(tags, whole, name), _count(tags, included, name)
        if total != kept + sum(parts):
            raise TrackingError(
                f"{name}: {whole} = {total}; must be {kept} included + {sum(parts)} excluded {what}; train it again"
            )


def basis_of(tags: Mapping[str, str], name: str, versions: Sequence[Notice] = (NOTICE,)) -> FitBasis:
    """Read from the tags of a run, which prove its consent, what its fit rests on.

    Parameters
    ----------
    tags, name
        Of the run, and of the model, which opens each message.
    versions
        Of the shop's notice, oldest first: the newest that was in force at the fit is the one that counted.

    Raises
    ------
    TrackingError
        A tag does not say what it must.
    """
    at = None
    with suppress(ValueError):
        at = datetime.fromisoformat(tags["consent.as_of"])
    if at is None or at.tzinfo is None:
        raise TrackingError(f"{name}: consent.as_of = {tags['consent.as_of']!r}; must be a time; train it again")
    in_force = [notice for notice in versions if notice.valid_from <= at] or versions[:1]
    return FitBasis(
        seq=_count(tags, "consent.ledger_seq", name),
        head=tags["consent.ledger_head"],
        at=at,
        policy=Policy(
            unknown_age="adult" if tags["consent.unknown_age"] == "adult" else "deny",
            gpc_strict=tags["consent.gpc_strict"] == "true",
            notices={in_force[-1].notice_id: in_force[-1]},
        ),
        digest=tags["consent.snapshot_hmac"],
    )


def events_left_out(tags: Mapping[str, str], name: str) -> int:
    """Count the events of the ledger that a fit, made as of an earlier position, left out of account."""
    return _count(tags, "consent.ledger_events_after", name)


def _count(tags: Mapping[str, str], tag: str, name: str) -> int:
    if not tags[tag].isdecimal():
        raise TrackingError(f"{name}: {tag} = {tags[tag]!r}; must be a whole number; train it again")
    return int(tags[tag])


def champion(environment: Environment, *, name: str) -> RegisteredVersion | None:
    """Give the version that the alias names, None where nothing was promoted yet."""
    with mlflow_client(environment) as client:
        found = client.search_registered_models(filter_string=f"name = '{name}'")
        version = found[0].aliases.get(CHAMPION) if found else None
        return None if version is None else version_of(client, name, int(version))


def versions(environment: Environment, *, name: str) -> tuple[RegisteredVersion, ...]:
    """Give every registered version of a model, newest first."""
    with mlflow_client(environment) as client:
        return _versions(client, name)


def champion_artefact(environment: Environment, destination: Path, *, name: str) -> RegisteredVersion | None:
    """Download the champion's files into the new folder `destination`, as `download` does.

    Returns
    -------
        The version downloaded, None (and no folder) where nothing was promoted yet.
    """
    current = champion(environment, name=name)
    if current is not None:
        download(environment, current, destination)
    return current


def download(environment: Environment, version: RegisteredVersion, destination: Path) -> None:
    """Download the files of one version into the new folder `destination`, which appears complete or not at all.

    Its manifest is held against the digest that the registry has had since the fit; its caller holds the other files
    against the manifest.

    Raises
    ------
    TrackingError
        The files are not those of the fit, or the registry does not say which those are.
    """
    destination.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=destination.parent) as staging, mlflow_client(environment) as client:
        folder = Path(client.download_artifacts(version.run_id, ARTEFACT_PATH, staging))
        found = artefact_digest(folder) if (folder / MANIFEST_FILE).is_file() else "no manifest"
        if found != version.digest:
            raise TrackingError(
                f"{version.label}: its artefact is {found[:12]}, the registry says {version.digest[:12] or 'nothing'}; "
                "it is not the one that was fitted: put its files back, or fit and promote a new one: "
                "pipelines/train.py MODEL.toml DATA.toml --promote"
            )
        folder.rename(destination)


def _versions(client: "MlflowClient", name: str) -> tuple[RegisteredVersion, ...]:
    found = client.search_model_versions(f"name = '{name}'")
    made = (
        RegisteredVersion(
            name,
            int(version.version),
            str(version.run_id),
            version.tags.get("consent.as_of", ""),
            version.tags.get(DIGEST, ""),
        )
        for version in found
    )
    return tuple(sorted(made, key=lambda version: version.version, reverse=True))


def version_of(client: "MlflowClient", name: str, version: int) -> RegisteredVersion:
    """Find one version.

    Raises
    ------
    TrackingError
        There is none of that number; names those that there are.
    """
    found = _versions(client, name)
    for candidate in found:
        if candidate.version == version:
            return candidate
    known = ", ".join(str(candidate.version) for candidate in reversed(found)) or "none"
    raise TrackingError(f"{name}: no version {version}; registered: {known}; train one with --register")
