"""From `[search]` of a model TOML to the parameters of one trial, and back to a model TOML."""

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from considerate.errors import ConfigError
from considerate.recommenders.fitting import check_model
from considerate.settings.model import Between, ModelConfig, OneOf
from considerate.settings.writing import toml_value

if TYPE_CHECKING:
    from optuna import Trial

Chosen = Mapping[str, Any]
"""Dotted key in `[params]` -> its value; None where the key is left out, so that its default holds."""

_SET = "{} is set"
_DIGITS = 4


def suggested(trial: "Trial", search: Mapping[str, Between | OneOf]) -> dict[str, Any]:
    """Let the sampler choose a value for every key of `search`."""
    chosen: dict[str, Any] = {}
    for key, space in search.items():
        if isinstance(space, OneOf):
            choices = [*space.choices, None] if space.optional else list(space.choices)
            chosen[key] = trial.suggest_categorical(key, choices)
        elif space.optional and not trial.suggest_categorical(_SET.format(key), [True, False]):
            chosen[key] = None
        elif space.whole:
            step = int(space.step or 1)
            chosen[key] = trial.suggest_int(key, int(space.low), int(space.high), step=step, log=space.log)
        else:
            by = None if space.step is None else float(space.step)
            value = trial.suggest_float(key, float(space.low), float(space.high), step=by, log=space.log)
            chosen[key] = _short(value, space)
    return chosen


def as_suggested(chosen: Chosen, search: Mapping[str, Between | OneOf]) -> dict[str, Any]:
    """Give `chosen` in the names by which the sampler knows it."""
    named: dict[str, Any] = {}
    for key, space in search.items():
        if isinstance(space, Between) and space.optional:
            named[_SET.format(key)] = chosen[key] is not None
        if chosen[key] is not None or isinstance(space, OneOf):
            named[key] = chosen[key]
    return named


def as_chosen(params: Mapping[str, Any], search: Mapping[str, Between | OneOf]) -> dict[str, Any]:
    """Give what a trial was suggested under the names of `search`; keys that it was not asked yet are missing."""
    return {
        key: _short(params.get(key), space)
        for key, space in search.items()
        if key in params or params.get(_SET.format(key)) is False
    }


def _short(value: Any, space: Between | OneOf) -> Any:
    """Cut a number to digits that a reader can take in: what is tried is what the file will say."""
    if not isinstance(value, float) or not isinstance(space, Between) or space.step is not None:
        return value
    return float(min(max(float(f"{value:.{_DIGITS}g}"), space.low), space.high))


def with_params(model: ModelConfig, chosen: Chosen) -> ModelConfig:
    """Put `chosen` into the params of `model`; all else stays.

    >>> model = ModelConfig(algorithm="als", params={"factors": 64, "weighting": {"half_life_days": 90}})
    >>> with_params(model, {"factors": 32, "weighting.half_life_days": None}).params
    {'factors': 32, 'weighting': {}}
    """
    params = copy.deepcopy(model.params)
    for key, value in chosen.items():
        *parents, last = key.split(".")
        table = params
        for parent in parents:
            table = table.setdefault(parent, {})
        if value is None:
            table.pop(last, None)
        else:
            table[last] = value
    return model.model_copy(update={"params": params})


def defaults(model: ModelConfig, path: Path) -> dict[str, Any]:
    """Give what `model` says now for every key that a study may change: its first trial.

    Parameters
    ----------
    model, path
        A model TOML and where it was read, which opens each message.

    Raises
    ------
    ConfigError
        There is nothing to search; a key is no parameter, or has no value to begin with; its value or default is
        outside its own space; or the space reaches where the parameter may not go.
    """
    if not model.search:
        raise ConfigError(f"{path}: [search] is empty; name what to try, such as factors = {{ low = 16, high = 256 }}")
    _, params = check_model(model, path)
    values = params.model_dump(mode="json")
    begun: dict[str, Any] = {}
    for key, space in model.search.items():
        value = _value_at(values, key)
        if value is None and not space.optional:
            raise ConfigError(
                f"{path}: search -> {key}: no such parameter of {model.algorithm}, or one without a value; correct the "
                "key, give it a value in [params], or say optional = true"
            )
        if value is not None and not _lies_in(value, space):
            raise ConfigError(
                f"{path}: search -> {key}: the study begins with its value {value!r}, which is not among "
                f"{said(space)}; widen the space, or change [params]"
            )
        for end in (space.low, space.high) if isinstance(space, Between) else space.choices:
            check_model(with_params(model, {key: end}), path)
        begun[key] = value
    return begun


def said(space: Between | OneOf) -> str:
    """Say a space as its TOML does.

    >>> said(Between(low=8, high=64, log=True))
    '{ low = 8, high = 64, log = true }'
    """
    inner = space.model_dump(mode="json", exclude_defaults=True)
    return toml_value(inner)


def _value_at(values: Mapping[str, Any], key: str) -> Any:
    found: Any = values
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return None if isinstance(found, Mapping) else found


def _lies_in(value: Any, space: Between | OneOf) -> bool:
    if isinstance(space, OneOf):
        return any(value == choice and isinstance(value, bool) == isinstance(choice, bool) for choice in space.choices)
    if isinstance(value, bool) or not isinstance(value, int | float) or not space.low <= value <= space.high:
        return False
    step = space.step or (1 if space.whole else None)
    return step is None or abs((value - space.low) / step - round((value - space.low) / step)) < 1e-9
