"""The model TOML (`models/<name>.toml`): what is fitted, and what a study may try instead."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    Discriminator,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    Tag,
    field_validator,
    model_validator,
)

from considerate.settings.toml import Section

Number = StrictInt | Annotated[StrictFloat, Field(allow_inf_nan=False)]
Choice = StrictBool | StrictInt | StrictFloat | StrictStr


class Between(Section):
    """Any number from `low` to `high`: whole ones where every number given is whole.

    Attributes
    ----------
    low, high
        Both can be tried.
    log
        Spread over orders of magnitude. Needs low > 0.
    step
        Only `low`, `low + step`, and so on.
    optional
        The key may also be left out, so that its default holds.
    """

    low: Number
    high: Number
    log: bool = False
    step: Number | None = None
    optional: bool = False

    @property
    def whole(self) -> bool:
        """Whether only whole numbers are tried."""
        return all(isinstance(number, int) for number in (self.low, self.high, self.step) if number is not None)

    @model_validator(mode="after")
    def _in_order(self) -> "Between":
        if self.low >= self.high:
            raise ValueError(f"low = {self.low} must be below high = {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low = {self.low} must be > 0 where log = true")
        if self.step is not None and (self.log or self.step <= 0):
            raise ValueError(f"step = {self.step} must be > 0, and cannot go with log = true")
        return self


class OneOf(Section):
    """One of a few values.

    Attributes
    ----------
    choices
        At least two different ones.
    optional
        The key may also be left out, so that its default holds.
    """

    choices: tuple[Choice, ...]
    optional: bool = False

    @model_validator(mode="after")
    def _a_choice(self) -> "OneOf":
        if len({repr(choice) for choice in self.choices}) < max(2 - self.optional, len(self.choices)):
            raise ValueError(f"choices = {list(self.choices)} must hold at least two different values, each once")
        return self


def _shape(value: object) -> str:
    has_choices = "choices" in value if isinstance(value, Mapping) else isinstance(value, OneOf)
    return "one_of" if has_choices else "between"


Space = Annotated[Annotated[Between, Tag("between")] | Annotated[OneOf, Tag("one_of")], Discriminator(_shape)]
"""The values that a study may try for one parameter."""


class ModelConfig(Section):
    """Algorithm, its parameters and the space in which a study may search.

    Attributes
    ----------
    algorithm
        Key in `considerate.recommenders.registry.RECOMMENDERS`.
    params
        Checked against the algorithm's own `Params`.
    components
        For a blend: component name -> path of another model TOML, relative to this file.
    search
        Dotted key in `params` (`weighting.half_life_days`) -> what `pipelines/tune.py` may try there.
    seed
        Seed of the generator that `fit` receives.
    whole_catalogue
        Fit over every item of the catalogue, also those that fewer than `k_item` customers bought. Components follow
        the model that names them.
    """

    algorithm: str
    params: dict[str, Any] = Field(default_factory=dict)
    components: dict[str, str] = Field(default_factory=dict)
    search: dict[str, Space] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0)] = 0
    whole_catalogue: bool = False

    @field_validator("search", mode="before")
    @classmethod
    def _dotted(cls, search: object) -> object:
        """Read `weighting.half_life_days = ...`, which TOML takes for nested tables, as the key it looks like."""
        return dict(_leaves(search)) if isinstance(search, Mapping) else search


def _leaves(search: Mapping[str, Any], prefix: str = "") -> "list[tuple[str, Any]]":
    found: list[tuple[str, Any]] = []
    for name, value in search.items():
        if isinstance(value, Mapping) and value and all(isinstance(inner, Mapping) for inner in value.values()):
            found += _leaves(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found
