"""Reading one TOML file into one frozen object, or one clear error."""

import tomllib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from considerate.errors import ConfigError


class Section(BaseModel):
    """A part of a TOML file: frozen, and closed to keys it does not know."""

    model_config = ConfigDict(frozen=True, extra="forbid")


S = TypeVar("S", bound=BaseModel)


def explain_validation(error: ValidationError, where: str) -> str:
    """One line per wrong key: `where: a -> b = value; rule`."""
    lines = []
    for problem in error.errors():
        path = " -> ".join(str(part) for part in problem["loc"]) or "(top level)"
        message = problem["msg"]
        if problem["type"] == "extra_forbidden":
            lines.append(f"{where}: {path} is not a known key; remove it or correct its spelling")
        elif problem["type"] == "union_tag_not_found":
            key = problem["ctx"]["discriminator"].strip("'")
            lines.append(f"{where}: {path} -> {key} is missing; add it: it says which rules the table follows")
        elif problem["type"] == "missing":
            lines.append(f"{where}: {path} is missing; add it")
        else:
            lines.append(f"{where}: {path} = {problem['input']!r}; {message[:1].lower()}{message[1:]}")
    return "\n".join(lines)


def validate(model: type[S], values: object, where: str) -> S:
    """Build `model` from plain values; `where` opens every error message.

    Raises
    ------
    ConfigError
        Names each wrong key, its value and the rule.
    """
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain_validation(error, where)) from error


def read_toml(path: Path, model: type[S], overrides: Sequence[str] = ()) -> S:
    """Read `path` into `model`.

    Parameters
    ----------
    path
        A TOML file.
    model
        The pydantic class to fill.
    overrides
        `key=value` pairs with dotted keys, applied over the file; the value is TOML (`params.factors=64`),
        or a plain string where it is not. `key=` takes the key out, so that its default holds.

    Raises
    ------
    ConfigError
        The file is missing, is not TOML, or a key in it is wrong.
    """
    return validate(model, read_values(path, overrides), str(path))


def read_values(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """Read `path` as plain values with `overrides` applied, unvalidated."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file; check the path, or list the folder: ls {path.parent}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}; correct the file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    for override in overrides:
        _apply(values, override)
    return values


def _apply(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override}: must be key=value, such as params.factors=64")
    value: object = text
    with suppress(tomllib.TOMLDecodeError):
        value = tomllib.loads(f"value = {text}")["value"]
    *parents, last = key.split(".")
    for parent in parents:
        values = values.setdefault(parent, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {override}: {parent} is a single value, not a table; name a key in a table")
    if text:
        values[last] = value
    else:
        values.pop(last, None)
