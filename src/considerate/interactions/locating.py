"""From the `path` of a TOML to files on this machine."""

import glob
import importlib.util
from pathlib import Path

from considerate.errors import DataError
from considerate.settings.environment import Environment

DATA = "{data}"
PACKAGE = "package:"


def locate(path: str, environment: Environment) -> tuple[Path, ...]:
    """Give the files that `path` names, sorted.

    Parameters
    ----------
    path
        A file or glob. `{data}/set/file` is looked for in each of `environment.data_folders`, the first that holds it
        wins; `package:name/file` is a file inside an installed package; anything else is relative to the working
        directory.
    environment
        Says where copies of data sets are looked for.

    Raises
    ------
    DataError
        Nothing matches; the message says where it was looked for and what to do.
    """
    if path.startswith(PACKAGE):
        return _matches(_in_package(path), path, "install the package again")
    if path.startswith(DATA):
        rest = path.removeprefix(DATA).lstrip("/")
        for folder in environment.data_folders:
            found = _glob(str(folder / rest))
            if found:
                return found
        folders = ", ".join(str(folder) for folder in environment.data_folders)
        raise DataError(
            f"{path}: no such file in {folders}; put a copy there, or name its folder with --data or "
            "CONSIDERATE_DATA (`considerate data` says where each set is offered)"
        )
    return _matches(path, path, f"check the path, or list the folder: ls {Path(path).parent}")


def _in_package(path: str) -> str:
    name, _, rest = path.removeprefix(PACKAGE).partition("/")
    spec = importlib.util.find_spec(name) if name.isidentifier() else None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{path}: the package {name} is not installed; run: pip install {name.replace('_', '-')}")
    return str(Path(next(iter(spec.submodule_search_locations))) / rest)


def _glob(pattern: str) -> tuple[Path, ...]:
    if Path(pattern).is_file():  # A name such as `a[1].csv` is a file before it is a pattern.
        return (Path(pattern),)
    return tuple(Path(name) for name in sorted(glob.glob(pattern, recursive=True)) if Path(name).is_file())


def _matches(pattern: str, named: str, advice: str) -> tuple[Path, ...]:
    found = _glob(pattern)
    if not found:
        raise DataError(f"{named}: no such file; {advice}")
    return found
