"""A weighted sum of fitted models, with weights for each goal."""

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError
from considerate.ranking.blend_items import KIND, Blend
from considerate.ranking.scores import Artefact, Goal
from considerate.recommenders.description import describe
from considerate.recommenders.popularity import TAIL, popular
from considerate.settings.toml import Section

GOALS: tuple[Goal, ...] = ("repeat", "new", "all")
SAMPLE, BLOCK = 512, 128

Weight = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class GoalWeights(Section):
    """Component -> weight, for each goal; a component that is not named weighs nothing."""

    repeat: dict[str, Weight]
    new: dict[str, Weight]
    all: dict[str, Weight]


class Params(Section):
    """Parameters of `blend`.

    Attributes
    ----------
    weights
        Weight of each component for each goal, chosen on development data.
    """

    weights: GoalWeights


def fit(
    dataset: Dataset, params: Params, rng: np.random.Generator, fit_parts: Callable[[Dataset], Mapping[str, Artefact]]
) -> Blend:
    """Scale the components to each other and fix the scales.

    Raises
    ------
    ConfigError
        A weight for a component that there is not, or a goal without any weight above 0.
    """
    components = fit_parts(dataset)
    weights = params.weights.model_dump()
    for goal in GOALS:
        for name in weights[goal]:
            if name not in components:
                known = ", ".join(sorted(components))
                raise ConfigError(f"params -> weights -> {goal} -> {name}: no such component; name one of: {known}")
        if not any(weights[goal].values()):
            raise ConfigError(f"params -> weights -> {goal} = {weights[goal]}; must hold a weight above 0")
    scales = {name: scale_of(components[name], dataset) for name in sorted(components)}
    manifest = describe("blend", KIND, dataset, params, None, settings={"weights": weights, "scales": scales})
    return Blend.of(manifest, dataset.items.ids, popular(dataset), {name: components[name] for name in scales})


def scale_of(artefact: Artefact, dataset: Dataset) -> float:
    """Mean over a sample of customers of their best score; 1 for a model with nothing to say but its tail."""
    n = len(dataset.customers)
    sample = np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)) if n else np.empty(0, np.int64)
    total = 0.0
    for start in range(0, len(sample), BLOCK):
        block = dataset.events.take(sample[start : start + BLOCK])
        scores = artefact.score_many(block, at=dataset.end, goal="all")
        total += float(scores.max(axis=1, initial=0.0).astype(np.float64).sum())
    # Dividing a tail by itself would turn it into a whole component of popularity.
    mean = total / max(len(sample), 1)
    return mean if mean > 10 * TAIL else 1.0
