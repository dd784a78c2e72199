"""The process environment: the one module that reads it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Environment:
    """Where this installation keeps what it writes, and where it finds data sets.

    Attributes
    ----------
    home
        Folder of everything written at run time (`CONSIDERATE_HOME`, default `var`).
    data
        Folder of local copies of public data sets (`CONSIDERATE_DATA`), or None.
    store
        SQLAlchemy URL of the store (`CONSIDERATE_DATABASE_URL`), None for the SQLite file in `home`.
    """

    home: Path
    data: Path | None
    store: str | None = None

    @property
    def data_folders(self) -> tuple[Path, ...]:
        """Folders in which a data set is looked for, in this order."""
        return (Path("data"),) if self.data is None else (self.data, Path("data"))

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL of this installation's store; may hold a password."""
        return self.store or f"sqlite:///{self.home / 'considerate.db'}"

    @property
    def tracking_uri(self) -> str:
        """MLflow tracking URI: SQLite inside `home`."""
        return f"sqlite:///{self.home / 'mlflow.db'}"


def read_environment() -> Environment:
    """Read the three variables that considerate knows; an empty one is as good as none."""
    data = os.environ.get("CONSIDERATE_DATA")
    return Environment(
        home=Path(os.environ.get("CONSIDERATE_HOME", "var")),
        data=Path(data) if data else None,
        store=os.environ.get("CONSIDERATE_DATABASE_URL") or None,
    )


def child_environment(added: Mapping[str, str]) -> dict[str, str]:
    """Give a child process this process's environment with `added` over it."""
    return {**os.environ, **added}


def shared_metrics_folder() -> Path | None:
    """Folder in which the workers of a service share their counters, as its supervisor has set it; None elsewhere."""
    folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR")
    return Path(folder) if folder else None
