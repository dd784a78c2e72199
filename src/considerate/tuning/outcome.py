"""What a study leaves: a model TOML to commit."""

import os
from collections.abc import Sequence
from pathlib import Path

from considerate.errors import ConfigError
from considerate.settings.model import ModelConfig
from considerate.settings.writing import toml_text
from considerate.tuning.aims import Aim
from considerate.tuning.space import with_params
from considerate.tuning.studies import Plan, best_of
from considerate.tuning.tried import Tried


def out_path(plan: Plan, out: Path | None) -> Path:
    """Give the path of the tuned model: beside the model, `<algorithm>.<data>.toml`, unless another is named."""
    return out or plan.path.with_name(f"{plan.path.name.split('.')[0]}.{plan.data.name}.toml")


def picked(tried: Sequence[Tried], aims: Sequence[Aim], number: int | None) -> Tried:
    """Give the trial to keep: that of `number`, or the best by the first aim.

    Raises
    ------
    ConfigError
        No complete trial has that number.
    """
    if number is None:
        found = best_of(tried, aims)
    else:
        found = next((one for one in tried if one.number == number and one.values), None)
    if found is None:
        known = ", ".join(str(one.number) for one in tried if one.values) or "none"
        raise ConfigError(f"--pick {number}: no complete trial; name one of: {known}")
    return found


def write_tuned(plan: Plan, tried: Tried, path: Path, comment: Sequence[str]) -> ModelConfig:
    """Write the model of one trial, with its components and its search space; give it as it reads back.

    A file that is there already is replaced, whole or not at all.
    """
    tuned = with_params(plan.model, tried.chosen)
    moved = {
        name: Path(os.path.relpath(plan.path.parent / part, path.parent)).as_posix()
        for name, part in tuned.components.items()
    }
    tuned = tuned.model_copy(update={"components": moved})
    values = tuned.model_dump(mode="json", exclude_defaults=True)
    unfinished = path.with_name(f".{path.name}.unfinished")
    try:
        unfinished.write_text(toml_text(values, comment), encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise ConfigError(
            f"{path}: cannot be written: {error.strerror}; name another with --out, and begin the command again: "
            "the study is kept"
        ) from error
    return tuned


def remarks(plan: Plan, tried: Sequence[Tried], best: Tried) -> list[str]:
    """Say in the file where it comes from."""
    begun = next((one for one in tried if one.begun_with and one.values), None)
    lines = [f"Tuned on {plan.data.name}, {plan.protocol}, development part: trial {best.number} of {len(tried)}."]
    for place, aim in enumerate(plan.aims):
        before = "" if begun is None else f"; as it stood {begun.values[place]:.4f}"
        lines.append(f"{aim.name} {best.values[place]:.4f}{before}")
    return lines
