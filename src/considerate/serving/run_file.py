"""What `considerate serve` hands to the processes it starts: one file, readable by its owner alone."""

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from pydantic import ValidationError, field_serializer

from considerate.consent.notices import Notice
from considerate.errors import ServingError
from considerate.settings.service import ServiceConfig
from considerate.settings.toml import Section


class RunFile(Section):
    """The configuration as read, with overrides applied and paths made absolute.

    Attributes
    ----------
    home
        Folder of everything written at run time.
    database_url
        SQLAlchemy URL of the store; may hold a password.
    config
        The service TOML.
    notice
        The notice in force as of the start: a worker that starts later asks for the same as its siblings.
    """

    home: Path
    database_url: str
    config: ServiceConfig
    notice: Notice

    @field_serializer("notice")
    def _plain(self, notice: Notice) -> dict[str, object]:
        # Its mappings are read-only ones, which pydantic does not write.
        return {one.name: _plain(getattr(notice, one.name)) for one in fields(notice)}

    @property
    def models(self) -> Path:
        """Where models lie that are, or were, served."""
        return self.home / "models"

    @property
    def checkpoints(self) -> Path:
        """Where signed heads of the ledger lie, outside the database."""
        return self.home / "checkpoints"

    @property
    def keys(self) -> Path:
        """Where the installation's keys lie."""
        return self.home / "keys"

    @property
    def tallies(self) -> Path:
        """Where the workers count the decisions they took and wrote."""
        return self.home / "run" / "decisions"


def _plain(value: object) -> object:
    return dict(value) if isinstance(value, Mapping) else value


def write_run_file(folder: Path, run: RunFile) -> Path:
    """Write it into `folder`, for its owner alone (0600)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "service.json"
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(run.model_dump_json())
    return path


def read_run_file(path: Path) -> RunFile:
    """Read it back.

    Raises
    ------
    ServingError
        It is missing, or another version of considerate wrote it.
    """
    try:
        return RunFile.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ServingError(f"{path}: not a run file; start the service with: considerate serve") from error
