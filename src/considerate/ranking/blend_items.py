"""A weighted sum of other artefacts, with weights for each goal."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np

from considerate.ranking.files import Files, write_artefact
from considerate.ranking.history import Float32, Float64, Histories, History, Int32
from considerate.ranking.manifest import Manifest
from considerate.ranking.scores import Artefact, Base, Goal, Scores
from considerate.ranking.top_n import base_of

KIND = "blend"
COMPONENTS = "components"


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Sum over components of weight[goal, component] x score / scale[component].

    Attributes
    ----------
    manifest
        With `settings` weights {goal: {component: weight}} and scales {component: scale}: constants since the fit.
    item_ids
        The catalogue, the same in every component.
    popular
        Share of consenting customers who bought an item lately.
    components
        Name -> artefact.
    bases
        Goal -> scores without history.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    components: Mapping[str, Artefact]
    bases: Mapping[Goal, Base]

    @classmethod
    def of(
        cls, manifest: Manifest, item_ids: tuple[str, ...], popular: Base, components: Mapping[str, Artefact]
    ) -> "Blend":
        """Put fitted components together."""
        bases: dict[Goal, Base] = {}
        for goal in manifest.goals:
            values = np.zeros(len(item_ids), np.float32)
            for name, factor in _factors(manifest, goal).items():
                values += factor * components[name].score(History.empty(), at=None, goal=goal).base.values
            bases[goal] = base_of(values)
        return cls(manifest, item_ids, popular, components, bases)

    @property
    def base(self) -> Base:
        """Scores without history, for the goal `all`."""
        return self.bases["all"]

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score one customer: whatever any component touches."""
        base = self.bases[goal]
        values, touched = base.values.copy(), np.zeros(len(base.values), np.bool_)
        for name, factor in _factors(self.manifest, goal).items():
            part = self.components[name].score(history, at=at, goal=goal)
            values[part.items] += factor * (part.values - part.base.values[part.items])
            touched[part.items] = True
        items = np.flatnonzero(touched).astype(np.int32)
        return Scores(items, values[items], base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely."""
        scores = np.zeros((len(histories), len(self.item_ids)), np.float32)
        for name, factor in _factors(self.manifest, goal).items():
            scores += factor * self.components[name].score_many(histories, at=at, goal=goal)
        return scores

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`, summed over the components."""
        total = np.zeros(len(history))
        for name, factor in _factors(self.manifest, goal).items():
            total += float(factor) * self.components[name].explain(history, item, at=at, goal=goal)
        return total

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Items by the measure of the weightiest component for `new` that has one."""
        weights = self.manifest.settings["weights"]["new"]
        for name in sorted(weights, key=lambda name: (-weights[name], name)):
            items, values = self.components[name].similar(item, n)
            if len(items):
                return items, values
        return np.empty(0, np.int32), np.empty(0, np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact, its components in `components/<name>/`."""
        for name, component in self.components.items():
            component.save(directory / COMPONENTS / name)
        write_artefact(directory, self.manifest, self.item_ids, {"popular": self.popular.values})

    @classmethod
    def read(cls, files: Files, components: Mapping[str, Artefact]) -> "Blend":
        """Put the components that were read together again."""
        popular = base_of(files.array("popular", len(files.item_ids)))
        return cls.of(files.manifest, files.item_ids, popular, components)


def _factors(manifest: Manifest, goal: Goal) -> dict[str, np.float32]:
    scales = manifest.settings["scales"]
    weights = manifest.settings["weights"][goal]
    return {name: np.float32(weight / scales[name]) for name, weight in weights.items() if weight != 0}
