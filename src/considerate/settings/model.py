"""The model TOML (`models/<name>.toml`): what is fitted."""

from typing import Annotated, Any

from pydantic import Field

from considerate.settings.toml import Section


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
        Parameter -> its search space, read by the tuning pipeline.
    seed
        Seed of the generator that `fit` receives.
    """

    algorithm: str
    params: dict[str, Any] = Field(default_factory=dict)
    components: dict[str, str] = Field(default_factory=dict)
    search: dict[str, Any] = Field(default_factory=dict)
    seed: Annotated[int, Field(ge=0)] = 0
