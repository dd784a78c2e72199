"""What trials came to: plain values, without Optuna, for whoever shows or keeps them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from considerate.tuning.space import Chosen

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True, slots=True)
class Tried:
    """One finished trial.

    Attributes
    ----------
    number
        Its place in the study, from 0.
    state
        `pruned`: given up because it fell behind; `failed`: refused, for the reason in `failure`.
    chosen
        Dotted key in `[params]` -> its value, None where the key was left out.
    values
        One figure per aim, in their order; empty unless complete.
    figures
        Everything measured, named as in MLflow.
    seconds
        Wall time.
    begun_with
        Whether it is the model TOML as it stands.
    failure
        Why it failed, else empty.
    """

    number: int
    state: State
    chosen: Chosen
    values: tuple[float, ...]
    figures: Mapping[str, float]
    seconds: float
    begun_with: bool = False
    failure: str = ""


Keep = Callable[[Tried], None]
"""Is told of every finished trial, once."""


@dataclass(frozen=True, slots=True)
class Terms:
    """What makes trials comparable: two sessions of one study agree in all of it.

    Attributes
    ----------
    values
        Dotted name -> how it is said in a message.
    """

    values: Mapping[str, str]

    def differences(self, others: Mapping[str, Any]) -> list[str]:
        """Say what is not as in `others`: `search.factors: was { .. }, is { .. }`."""
        return [
            f"{name}: was {others.get(name, 'absent')}, is {self.values.get(name, 'absent')}"
            for name in sorted({*self.values, *others})
            if self.values.get(name) != others.get(name)
        ]
