"""What a study tries to make large or small."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from considerate.errors import ConfigError

MEASURED = ("ms_per_request", "fit_seconds", "artefact_mb")
"""Figures of the machine and the artefact, the smaller the better."""


@dataclass(frozen=True, slots=True)
class Aim:
    """One figure to improve.

    Attributes
    ----------
    name
        As in reports, without the part: `new/ndcg_at_10`, `repeat/coverage_at_10`, `ms_per_request`.
    larger
        Whether larger is better.
    """

    name: str
    larger: bool

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """As Optuna calls it."""
        return "maximize" if self.larger else "minimize"

    def better(self, a: float, b: float) -> bool:
        """Whether `a` is better than `b`."""
        return a > b if self.larger else a < b


def read_aims(names: Sequence[str], known: Iterable[str]) -> tuple[Aim, ...]:
    """Give the aims of those names.

    Parameters
    ----------
    names
        As on the command line, the most important first.
    known
        Figures that the protocol yields, without the part.

    Raises
    ------
    ConfigError
        A name is unknown, or there twice.
    """
    choice = [*known, *MEASURED]
    for name in names:
        if name not in choice:
            raise ConfigError(f"--metric {name}: not a figure of this protocol; name one of: {', '.join(choice)}")
    if len(set(names)) < len(names):
        raise ConfigError(f"--metric {' --metric '.join(names)}: the same twice; name each figure once")
    return tuple(Aim(name, name not in MEASURED and "/gini_at_" not in name) for name in names)


def values_of(aims: Sequence[Aim], figures: Mapping[str, float]) -> list[float]:
    """Give the figure of each aim."""
    return [figures[aim.name] for aim in aims]
