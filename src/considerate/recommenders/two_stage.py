"""Candidates from fitted components, ranked by boosted trees that learnt on earlier windows of the train period."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from importlib.metadata import version
from typing import Annotated

import numpy as np
from pydantic import Field

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError, DataError
from considerate.ranking.history import Kind
from considerate.ranking.scores import Artefact, Goal
from considerate.ranking.two_stage import KIND, RANKED, TwoStage
from considerate.ranking.two_stage_columns import feature_names
from considerate.ranking.two_stage_trees import Trees
from considerate.recommenders.blend import GOALS, GoalWeights, scale_of
from considerate.recommenders.description import describe
from considerate.recommenders.popularity import popular
from considerate.recommenders.two_stage_boosting import boosted
from considerate.recommenders.two_stage_examples import Examples, examples, joined, mean_best, weights
from considerate.recommenders.two_stage_items import item_side
from considerate.settings.data import K_SEGMENT
from considerate.settings.toml import Section

Number = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]


class Candidates(Section):
    """Component -> number of its best items that become candidates, for each goal that has a ranker."""

    repeat: dict[str, Number]
    new: dict[str, Number]


class Boosting(Section):
    """Of the trees, one set for each ranker.

    Attributes
    ----------
    trees, leaves
        Number of trees, and leaves of each.
    learning_rate
        Share of each tree's step that is taken.
    min_rows
        Fewest examples in a leaf.
    l2
        Ridge on the leaves.
    feature_share, row_share
        Share of the features, and of the examples, that a tree may see.
    bins
        Steps into which a feature is cut.
    """

    trees: Annotated[int, Field(ge=1, le=1000)] = 100
    leaves: Annotated[int, Field(ge=2, le=255)] = 15
    learning_rate: Share = 0.05
    min_rows: Annotated[int, Field(ge=1)] = 100
    l2: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 5.0
    feature_share: Share = 0.6
    row_share: Share = 0.8
    bins: Annotated[int, Field(ge=2, le=255)] = 63


class Params(Section):
    """Parameters of `two_stage`.

    Attributes
    ----------
    first_stage
        Weight of each component for each goal, as in `blend`: order of whatever is no candidate, and of everything
        where no window can be learnt from.
    candidates
        How many of each component's best are ranked.
    windows
        So many windows at the end of the train period are learnt from.
    window_days
        Length of each: what is bought in it is what its ranker should have seen coming.
    negatives
        Candidates of a customer and window that she did not buy and that are learnt from, at most.
    customer_exponent
        An example counts divided by (candidates that its customer bought in the window)^customer_exponent.
    boosting
        Of the trees.
    """

    first_stage: GoalWeights
    candidates: Candidates
    windows: Annotated[int, Field(ge=1, le=12)] = 2
    window_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 28.0
    negatives: Annotated[int, Field(ge=1)] = 60
    customer_exponent: Annotated[float, Field(ge=0, le=1)] = 0.5
    boosting: Boosting = Boosting()


def fit(
    dataset: Dataset, params: Params, rng: np.random.Generator, fit_parts: Callable[[Dataset], Mapping[str, Artefact]]
) -> TwoStage:
    """Fit the components and, on what was known at earlier moments and what was bought after them, the rankers.

    For each window the components are fitted on the events before it alone; its examples are the candidates of the
    customers who had bought before, with their features as of its start. A window before which there is less than its
    own length of data, or in which fewer than `K_SEGMENT` customers come back, is left out; a goal without any window
    has no ranker, and the first stage's weights decide alone. (Returns were netted over the whole train part before,
    so what was returned after a window began is not in its features either.)

    Raises
    ------
    ConfigError
        A weight or a number for a component that there is not, or a goal without any weight or any candidate.
    DataError
        Purchases without a time.
    """
    if np.isnan(dataset.events.time[dataset.events.kind == Kind.PURCHASE]).any():
        raise DataError("two_stage needs the time of every purchase, and some have none; map a timestamp column")
    stage = _first_stage(dataset, params, fit_parts(dataset))
    found: dict[Goal, list[Examples]] = {goal: [] for goal in RANKED}
    for cut in _cuts(dataset, params):
        before, after = _window(dataset, cut, params)
        if len(before.customers) < K_SEGMENT or np.count_nonzero(np.diff(after.events.indptr)) < K_SEGMENT:
            continue
        earlier = _first_stage(before, params, fit_parts(before))
        gathered = examples(earlier, before.events, after.events, at=cut, negatives=params.negatives, rng=rng)
        for goal in RANKED:
            found[goal].append(gathered[goal])
    names = feature_names(tuple(stage.components))
    trees: dict[Goal, Trees] = {}
    levels: dict[str, float] = {}
    for goal in RANKED:
        rows = joined(found[goal], len(names))
        if rows.bought.any():
            trees[goal] = boosted(
                rows.features,
                rows.bought,
                weights(found[goal], params.customer_exponent),
                params.boosting,
                int(rng.integers(2**31)),
            )
            levels[goal] = mean_best(found[goal], trees[goal])
    settings = {**stage.manifest.settings, "levels": levels, "features": list(names)}
    libraries = {**stage.manifest.libraries, "lightgbm": version("lightgbm")}
    manifest = stage.manifest.model_copy(update={"settings": settings, "libraries": libraries})
    return replace(stage, manifest=manifest, trees=trees)


def _first_stage(dataset: Dataset, params: Params, components: Mapping[str, Artefact]) -> TwoStage:
    """Two stages without the second."""
    first, candidates = params.first_stage.model_dump(), params.candidates.model_dump()
    _check(first, candidates, components)
    scales = {name: scale_of(components[name], dataset) for name in sorted(components)}
    settings = {"weights": first, "scales": scales, "candidates": candidates, "levels": {}}
    manifest = describe("two_stage", KIND, dataset, params, None, settings=settings)
    return TwoStage.of(
        manifest,
        dataset.items.ids,
        popular=popular(dataset),
        components=components,
        side=item_side(dataset),
        trees={},
    )


def _check(
    first: Mapping[str, Mapping[str, float]],
    candidates: Mapping[str, Mapping[str, int]],
    components: Mapping[str, Artefact],
) -> None:
    known = ", ".join(sorted(components))
    for table, goals, values in (("first_stage", GOALS, first), ("candidates", RANKED, candidates)):
        for goal in goals:
            for name in values[goal]:
                if name not in components:
                    raise ConfigError(f"params -> {table} -> {goal} -> {name}: no such component; name one of: {known}")
            if not any(values[goal].values()):
                raise ConfigError(f"params -> {table} -> {goal} = {values[goal]}; must hold a number above 0")


def _cuts(dataset: Dataset, params: Params) -> list[datetime]:
    """Starts of the windows, the latest first, before each of which there is a window's length of data."""
    end, span = dataset.end, timedelta(days=params.window_days)
    if end is None:
        return []
    days = (end.timestamp() - float(np.nanmin(dataset.events.time))) / 86_400.0
    n = min(params.windows, int(days / params.window_days) - 1)
    return [end - span * (j + 1) for j in range(n)]


def _window(dataset: Dataset, cut: datetime, params: Params) -> tuple[Dataset, Dataset]:
    """Give the customers who are known at `cut` with what they did before, and with what they bought in the window."""
    events, start = dataset.events, cut.timestamp()
    late = events.time > start + 86_400.0 * params.window_days
    bought = (events.time > start) & ~late & (events.kind == Kind.PURCHASE)
    before = replace(dataset, events=events.where(~(events.time > start)))
    active = np.flatnonzero(np.diff(before.events.indptr))
    known = before.of_active_customers()
    return known, replace(known, events=events.where(bought).take(active))
