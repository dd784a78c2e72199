"""A weighted sum of other artefacts, with weights for each goal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import numpy as np

from considerate.errors import ArtefactError
from considerate.ranking.files import Files, write_artefact
from considerate.ranking.history import Float32, Float64, Histories, History, Int32
from considerate.ranking.manifest import Manifest
from considerate.ranking.scores import Artefact, Base, Goal, Scores
from considerate.ranking.top_n import base_of

KIND = "blend"
COMPONENTS = "components"


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One component and where its catalogue lies in the blend's.

    Attributes
    ----------
    artefact
        The component.
    into
        (n_items of the blend,) the component's index of each item, -1 where it knows none; None for equal catalogues.
    out
        (n_items of the component,) the blend's index of each item.
    """

    artefact: Artefact
    into: Int32 | None
    out: Int32

    @classmethod
    def of(cls, artefact: Artefact, item_ids: tuple[str, ...]) -> "Part":
        """Find the component's items in `item_ids`, which hold them all."""
        if artefact.item_ids == item_ids:
            return cls(artefact, None, np.arange(len(item_ids), dtype=np.int32))
        index = {id_: i for i, id_ in enumerate(item_ids)}
        out = np.array([index[id_] for id_ in artefact.item_ids], np.int32)
        into = np.full(len(item_ids), -1, np.int32)
        into[out] = np.arange(len(out), dtype=np.int32)
        return cls(artefact, into, out)

    def history(self, history: History) -> History:
        """Give what the component knows of a history; events on other items leave."""
        if self.into is None:
            return history
        item, liked, refused = self.into[history.item], self.into[history.liked_items], self.into[history.refused_items]
        moved = replace(history, item=item, liked_items=liked[liked >= 0], refused_items=refused[refused >= 0])
        return moved.take(item >= 0)


@dataclass(frozen=True, slots=True, eq=False)
class Blend:
    """Sum over components of weight[goal, component] x score / scale[component], 0 for items a component does not know.

    Attributes
    ----------
    manifest
        With `settings` weights {goal: {component: weight}} and scales {component: scale}: constants since the fit.
    item_ids
        The catalogue: every item that some component knows.
    popular
        Share of consenting customers who bought an item lately.
    parts
        Name -> component.
    bases
        Goal -> scores without history.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    parts: Mapping[str, Part]
    bases: Mapping[Goal, Base]

    @classmethod
    def of(
        cls, manifest: Manifest, item_ids: tuple[str, ...], popular: Base, components: Mapping[str, Artefact]
    ) -> "Blend":
        """Put fitted components together."""
        parts = {name: Part.of(component, item_ids) for name, component in components.items()}
        bases: dict[Goal, Base] = {}
        for goal in manifest.goals:
            values = np.zeros(len(item_ids), np.float32)
            for name, factor in _factors(manifest, goal).items():
                base = components[name].score(History.empty(), at=None, goal=goal).base.values
                values[parts[name].out] += factor * base
            bases[goal] = base_of(values)
        return cls(manifest, item_ids, popular, parts, bases)

    @property
    def base(self) -> Base:
        """Scores without history, for the goal `all`."""
        return self.bases["all"]

    @property
    def components(self) -> dict[str, Artefact]:
        """Name -> artefact."""
        return {name: part.artefact for name, part in self.parts.items()}

    def _of(self, goal: Goal) -> Iterator[tuple[Part, np.float32]]:
        for name, factor in _factors(self.manifest, goal).items():
            yield self.parts[name], factor

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score one customer: whatever any component touches."""
        base = self.bases[goal]
        values, touched = base.values.copy(), np.zeros(len(base.values), np.bool_)
        for part, factor in self._of(goal):
            found = part.artefact.score(part.history(history), at=at, goal=goal)
            items = part.out[found.items]
            values[items] += factor * (found.values - found.base.values[found.items])
            touched[items] = True
        items = np.flatnonzero(touched).astype(np.int32)
        return Scores(items, values[items], base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely."""
        scores = np.zeros((len(histories), len(self.item_ids)), np.float32)
        for part, factor in self._of(goal):
            if part.into is None:
                scores += factor * part.artefact.score_many(histories, at=at, goal=goal)
            else:
                scores[:, part.out] += factor * part.artefact.score_many(
                    histories.reindexed(part.into), at=at, goal=goal
                )
        return scores

    @property
    def explains_at_once(self) -> bool:
        """As far as every component does."""
        return all(part.artefact.explains_at_once for part in self.parts.values())

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`, summed over the components."""
        total = np.zeros(len(history))
        for part, factor in self._of(goal):
            known = np.arange(len(history)) if part.into is None else np.flatnonzero(part.into[history.item] >= 0)
            place = item if part.into is None else int(part.into[item])
            if place >= 0:
                shares = part.artefact.explain(part.history(history), place, at=at, goal=goal)
                total[known] += float(factor) * shares
        return total

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Items by the measure of the weightiest component for `new` that has one for this item."""
        weights = self.manifest.settings["weights"]["new"]
        for name in sorted(weights, key=lambda name: (-weights[name], name)):
            part = self.parts[name]
            place = item if part.into is None else int(part.into[item])
            items, values = part.artefact.similar(place, n) if place >= 0 else (part.out[:0], np.empty(0, np.float32))
            if len(items):
                return part.out[items], values
        return np.empty(0, np.int32), np.empty(0, np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact, its components in `components/<name>/`."""
        for name, part in self.parts.items():
            part.artefact.save(directory / COMPONENTS / name)
        write_artefact(directory, self.manifest, self.item_ids, {"popular": self.popular.values})

    @classmethod
    def read(cls, files: Files, components: Mapping[str, Artefact]) -> "Blend":
        """Put the components that were read together again.

        Raises
        ------
        ArtefactError
            A component knows an item that the blend does not list.
        """
        known = set(files.item_ids)
        for name, component in components.items():
            if not known.issuperset(component.item_ids):
                raise ArtefactError(
                    f"{files.directory}: component {name} knows items that items.parquet does not list; "
                    "download or fit the model again"
                )
        popular = base_of(files.array("popular", len(files.item_ids)))
        return cls.of(files.manifest, files.item_ids, popular, components)


def _factors(manifest: Manifest, goal: Goal) -> dict[str, np.float32]:
    scales = manifest.settings["scales"]
    weights = manifest.settings["weights"][goal]
    return {name: np.float32(weight / scales[name]) for name, weight in weights.items() if weight != 0}
