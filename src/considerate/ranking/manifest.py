"""The manifest of an artefact: what it is, how it was made, and on what data and consent."""

import hashlib
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from considerate.errors import ArtefactError
from considerate.ranking.scores import Goal
from considerate.ranking.weighting import Weighting
from considerate.settings.toml import Section, explain_validation

SCHEMA_VERSION = 1
MANIFEST_FILE = "manifest.json"


class ConsentBasis(Section):
    """On what consent the fit rests: counts and rules of those who are in it, nothing about those who are not.

    (Counts of the left out, and the position of the ledger, belong to the run: here they would make a model that never
    saw a customer differ from one that was refitted without her.)
    """

    source: str
    k_item: int
    k_pair: int
    customers: int
    rows: int


class Manifest(Section):
    """What `manifest.json` says. It holds no time of writing: identical inputs give identical bytes.

    Attributes
    ----------
    schema_version
        Format of the artefact; another one is refused.
    kind
        Which class of `considerate.ranking` reads it.
    algorithm, params
        What was fitted, as in the model TOML.
    goals
        Goals for which scores are meant.
    weighting
        How events become x; None where the components or the kind itself decide.
    settings
        Constants of the kind (fold-in, half-lives, blend weights and scales).
    items
        How many items it knows.
    data_digest
        SHA-256 of the events it was fitted on, independent of customer ids.
    consent
        On what consent the fit rests.
    libraries
        Versions of the libraries that computed it.
    files
        Path within the artefact -> SHA-256; filled when it is saved.
    seal
        SHA-256 of this manifest with an empty seal; filled when it is saved.
    """

    schema_version: int = SCHEMA_VERSION
    kind: str
    algorithm: str
    params: dict[str, Any] = Field(default_factory=dict)
    goals: tuple[Goal, ...] = ("repeat", "new", "all")
    weighting: Weighting | None = None
    settings: dict[str, Any] = Field(default_factory=dict)
    items: int
    data_digest: str
    consent: ConsentBasis
    libraries: dict[str, str] = Field(default_factory=dict)
    files: dict[str, str] = Field(default_factory=dict)
    seal: str = ""


def write_manifest(directory: Path, manifest: Manifest) -> None:
    """Hash every file under `directory` and write `manifest.json` beside them."""
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    files = {path.relative_to(directory).as_posix(): sha256_of(path) for path in paths}
    text = _sealed(manifest.model_copy(update={"files": files}))
    (directory / MANIFEST_FILE).write_text(text, encoding="utf-8")


def _sealed(manifest: Manifest) -> str:
    """Write a manifest as it stands in its file; there is one way to write it."""
    bare = manifest.model_copy(update={"seal": ""}).model_dump_json(indent=1)
    seal = hashlib.sha256(bare.encode()).hexdigest()
    return manifest.model_copy(update={"seal": seal}).model_dump_json(indent=1) + "\n"


def read_manifest(directory: Path, *, check_files: bool = True) -> Manifest:
    """Read `manifest.json` and hold the files against it.

    Raises
    ------
    ArtefactError
        The manifest is missing, unreadable or of another schema; a file is missing, was changed, or is not listed.
    """
    path = directory / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
        manifest = Manifest.model_validate_json(text)
    except (OSError, UnicodeDecodeError) as error:
        raise ArtefactError(
            f"{path}: cannot be read; an artefact needs its manifest: fit or download it again"
        ) from error
    except ValidationError as error:
        hint = "written by another version of considerate, or changed: fit it again with this one"
        raise ArtefactError(f"{explain_validation(error, str(path))}\n{path}: {hint}") from error
    if manifest.schema_version != SCHEMA_VERSION:
        raise ArtefactError(
            f"{path}: schema_version = {manifest.schema_version}; this version of considerate reads {SCHEMA_VERSION}: "
            "fit the model again, or install the version that wrote it"
        )
    if text != _sealed(manifest):
        raise ArtefactError(f"{path}: the file was changed or damaged: download or fit the model again")
    if check_files:
        _check_files(directory, manifest)
    return manifest


def _check_files(directory: Path, manifest: Manifest) -> None:
    present = {p.relative_to(directory).as_posix() for p in directory.rglob("*") if p.is_file()} - {MANIFEST_FILE}
    for name in sorted(present - manifest.files.keys()):
        raise ArtefactError(f"{directory / name}: not listed in the manifest; remove it, or fit the model again")
    for name, expected in sorted(manifest.files.items()):
        if name not in present:
            raise ArtefactError(f"{directory / name}: listed in the manifest and missing; download the model again")
        found = sha256_of(directory / name)
        if found != expected:
            raise ArtefactError(
                f"{directory / name}: SHA-256 {found[:12]} is not the manifest's {expected[:12]}; "
                "the file was changed or damaged: download or fit the model again"
            )


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def artefact_digest(directory: Path) -> str:
    """SHA-256 of the manifest, and through it of every file: the identity of a saved model."""
    return sha256_of(directory / MANIFEST_FILE)
