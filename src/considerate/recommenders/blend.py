"""A weighted sum of fitted models, with weights for each goal."""

from collections.abc import Callable, Mapping
from typing import Annotated

import numpy as np
from pydantic import Field
from threadpoolctl import threadpool_limits

from considerate.dataset.dataset import Dataset
from considerate.dataset.id_map import IdMap
from considerate.errors import ConfigError, DataError
from considerate.ranking.blend_items import KIND, Blend
from considerate.ranking.scores import Artefact, Goal
from considerate.ranking.top_n import base_of
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
    min_customers
        A component that is named here takes part only where at least so many consenting customers are in the fit.
    """

    weights: GoalWeights
    min_customers: dict[str, Annotated[int, Field(ge=0)]] = Field(default_factory=dict)


def fit(
    dataset: Dataset, params: Params, rng: np.random.Generator, fit_parts: Callable[[Dataset], Mapping[str, Artefact]]
) -> Blend:
    """Scale the components to each other and fix the scales.

    The catalogue is what any component knows. A scale only brings components to a common unit: whatever constant it is
    off by, its weight makes good. So it is measured on fitted customers, and not at the cost of a second fit of every
    component on an earlier window.

    Raises
    ------
    ConfigError
        A weight or a threshold for a component that there is not, or a goal without any weight above 0.
    DataError
        Too few customers for every component of a goal.
    """
    fitted = fit_parts(dataset)
    _check(params, fitted)
    n = len(dataset.customers)
    components = {name: fitted[name] for name in sorted(fitted) if n >= params.min_customers.get(name, 0)}
    weights = {
        goal: {name: weight for name, weight in of_goal.items() if name in components}
        for goal, of_goal in params.weights.model_dump().items()
    }
    for goal, of_goal in weights.items():
        if not any(of_goal.values()):
            raise DataError(
                f"params -> min_customers = {params.min_customers}: {n} consenting customers leave no component for "
                f"the goal {goal}; give weights -> {goal} a component that needs fewer, such as popularity"
            )
    scales = {name: scale_of(component, dataset) for name, component in components.items()}
    item_ids = tuple(sorted({*dataset.items.ids, *(id_ for part in components.values() for id_ in part.item_ids)}))
    manifest = describe("blend", KIND, dataset, params, None, settings={"weights": weights, "scales": scales})
    lately = np.zeros(len(item_ids), np.float32)
    lately[IdMap(item_ids).indices(dataset.items.ids)] = popular(dataset).values
    return Blend.of(manifest.model_copy(update={"items": len(item_ids)}), item_ids, base_of(lately), components)


def _check(params: Params, components: Mapping[str, Artefact]) -> None:
    known = ", ".join(sorted(components))
    weights = params.weights.model_dump()
    for goal in GOALS:
        for name in weights[goal]:
            if name not in components:
                raise ConfigError(f"params -> weights -> {goal} -> {name}: no such component; name one of: {known}")
        if not any(weights[goal].values()):
            raise ConfigError(f"params -> weights -> {goal} = {weights[goal]}; must hold a weight above 0")
    for name in params.min_customers:
        if name not in components:
            raise ConfigError(f"params -> min_customers -> {name}: no such component; name one of: {known}")


def scale_of(artefact: Artefact, dataset: Dataset) -> float:
    """Mean over a sample of customers of their best score; 1 for a model with nothing to say but its tail."""
    n = len(dataset.customers)
    sample = np.unique(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)) if n else np.empty(0, np.int64)
    place = IdMap(artefact.item_ids).indices(dataset.items.ids).astype(np.int32)
    total = 0.0
    for start in range(0, len(sample), BLOCK):
        block = dataset.events.take(sample[start : start + BLOCK]).reindexed(place)
        # Folding in solves many small systems: for these, threads of BLAS wait more than they work.
        with threadpool_limits(limits=1, user_api="blas"):
            scores = artefact.score_many(block, at=dataset.end, goal="all")
        total += float(scores.max(axis=1, initial=0.0).astype(np.float64).sum())
    # Dividing a tail by itself would turn it into a whole component of popularity.
    mean = total / max(len(sample), 1)
    return mean if mean > 10 * TAIL else 1.0
