"""Two stages: other models name candidates, and a few trees put these in order."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from considerate.ranking.files import Files, write_artefact
from considerate.ranking.history import OWNED, Bool, Float32, Float64, Histories, History, Int32, Int64, Kind
from considerate.ranking.manifest import Manifest
from considerate.ranking.scores import Artefact, Base, Goal, Scores
from considerate.ranking.top_n import base_of
from considerate.ranking.two_stage_columns import GROUPS, ITEM_COLUMNS, ItemSide, feature_names
from considerate.ranking.two_stage_features import features
from considerate.ranking.two_stage_trees import Trees
from considerate.ranking.weighting import as_histories

KIND = "two_stage"
COMPONENTS = "components"
RANKED: tuple[Goal, ...] = ("repeat", "new")
"""Goals that have a ranker of their own; `all` mixes both."""

EXPLAINED_AT_ONCE = 64


@dataclass(frozen=True, slots=True, eq=False)
class TwoStage:
    """Candidates by the scores of components, ranked by trees; all else follows by a weighted sum of the components.

    A candidate scores 1 + (margin - lowest) / (highest - lowest), from 1 to 2, with the bounds of its trees. Any other
    item scores v / (1 + |v|) < 1 with v = sum over components of weight x score / scale, as in `Blend`. Without trees,
    or without any purchase, everything does.

    Attributes
    ----------
    manifest
        With `settings` weights {goal: {component: weight}}, scales {component: scale}, candidates {goal: {component:
        number}} and levels {goal: margin}: constants since the fit.
    item_ids
        The catalogue, the same in every component.
    popular
        Share of consenting customers who bought an item lately.
    components
        Name -> artefact, in the order of their names.
    side
        What is known of the items.
    trees
        Goal -> its ranker.
    bases
        Goal -> scores without history.
    """

    manifest: Manifest
    item_ids: tuple[str, ...]
    popular: Base
    components: Mapping[str, Artefact]
    side: ItemSide
    trees: Mapping[Goal, Trees]
    bases: Mapping[Goal, Base]

    @classmethod
    def of(
        cls,
        manifest: Manifest,
        item_ids: tuple[str, ...],
        *,
        popular: Base,
        components: Mapping[str, Artefact],
        side: ItemSide,
        trees: Mapping[Goal, Trees],
    ) -> "TwoStage":
        """Put the parts together."""
        bases = {}
        for goal in manifest.goals:
            values = np.zeros(len(item_ids), np.float32)
            for name, factor in _factors(manifest, goal).items():
                values += factor * components[name].score(History.empty(), at=None, goal=goal).base.values
            bases[goal] = base_of(_below_one(values))
        parts = {name: components[name] for name in sorted(components)}
        return cls(manifest, item_ids, popular, parts, side, trees, bases)

    @property
    def base(self) -> Base:
        """Scores without history, for the goal `all`."""
        return self.bases["all"]

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score one customer, by the very arithmetic of a block: a tree knows no nearly."""
        base = self.bases[goal]
        values = self.score_many(as_histories(history), at=at, goal=goal)[0]
        items = np.flatnonzero(values != base.values).astype(np.int32)
        return Scores(items, values[items], base)

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely."""
        n = len(histories)
        parts = self.parts(_beside_nobody(histories), at=at)
        scores = _below_one(_sum(parts, self.manifest, goal))[:n]
        ranked = RANKED if goal == "all" else (goal,)
        if any(name not in self.trees for name in ranked):
            return scores
        parts = {name: part[:n] for name, part in parts.items()}
        low, high = self._bounds(goal)
        for name in ranked:
            customer, item = self.candidates(histories, parts, goal=name, page=goal)
            known = self.features(histories, parts, at=at, customer=customer, item=item)
            margins = self.trees[name].margins(known) - self._level(name, goal)
            scores[customer, item] = 1.0 + (margins - low) / (high - low)
        return scores

    def candidates(
        self, histories: Histories, parts: Mapping[str, Float32], *, goal: Goal, page: Goal
    ) -> tuple[Int64, Int32]:
        """(m,) customers, rising, and (m,) candidates of each for the ranker of `goal`.

        An item that she dismissed and has not bought since is none; nor, for `new`, is one that she has. A `page` of
        the goal `all` has what she bought before from the ranker of `repeat`, all else from that of `new`.
        """
        owned, dismissed = _owned_and_dismissed(histories, len(self.item_ids))
        barred = dismissed | owned if goal == "new" else dismissed
        if page == "all" and goal == "repeat":
            barred = barred | ~owned
        chosen = np.zeros(owned.shape, np.bool_)
        for name, number in self.manifest.settings["candidates"][goal].items():
            _mark_best(parts[name], barred, number, chosen)
        # Of a customer who never bought anything there is nothing to know.
        bought = np.bincount(histories.customer, histories.kind == Kind.PURCHASE, minlength=len(histories)) > 0
        customer, item = np.nonzero(chosen & ~barred & bought[:, None])
        return customer, item.astype(np.int32)

    def features(
        self,
        histories: Histories,
        parts: Mapping[str, Float32],
        *,
        at: datetime | None,
        customer: Int64,
        item: Int32,
    ) -> Float32:
        """(m, n_features) what is known of each candidate as of the request; columns as in `feature_names`."""
        columns = []
        for name, part in parts.items():
            scale = np.float32(self.manifest.settings["scales"][name])
            score = part[customer, item] / scale
            best = np.maximum(part.max(axis=1, initial=0.0) / scale, np.float32(1e-6))
            columns += [score, score / best[customer]]
        known = features(histories, at, customer, item, self.side)
        return np.concatenate([np.stack(columns, axis=1), known], axis=1)

    def parts(self, histories: Histories, *, at: datetime | None) -> dict[str, Float32]:
        """Component -> (n_customers, n_items) its scores; no kind that can be a component asks for the goal."""
        return {name: part.score_many(histories, at=at, goal="all") for name, part in self.components.items()}

    def _level(self, name: Goal, page: Goal) -> float:
        return float(self.manifest.settings["levels"][name]) if page == "all" else 0.0

    def _bounds(self, goal: Goal) -> tuple[float, float]:
        """Lowest and highest margin on a page of that goal, made to differ."""
        ranked = RANKED if goal == "all" else (goal,)
        bounds = [np.subtract(self.trees[name].bounds, self._level(name, goal)) for name in ranked]
        low, high = float(min(bound[0] for bound in bounds)), float(max(bound[1] for bound in bounds))
        return low, max(high, low + 1.0)

    @property
    def explains_at_once(self) -> bool:
        """Trees have no closed form for a history without an event: it changes every candidate and every feature."""
        return False

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) what each event adds to the score of `item`, by scoring again without it: n times that cost."""
        n = len(history)
        shares = np.zeros(n)
        one = as_histories(history)
        whole = float(self.score_many(one, at=at, goal=goal)[0, item])
        for start in range(0, n, EXPLAINED_AT_ONCE):
            left_out = np.arange(start, min(start + EXPLAINED_AT_ONCE, n))
            copies = one.take(np.zeros(len(left_out), np.int64))
            keep = (np.arange(n)[None, :] != left_out[:, None]).ravel()
            shares[left_out] = whole - self.score_many(copies.where(keep), at=at, goal=goal)[:, item]
        return shares

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Items by the measure of the component that weighs most for `new` and has one."""
        weights = self.manifest.settings["weights"]["new"]
        for name in sorted(self.components, key=lambda name: (-weights.get(name, 0.0), name)):
            items, values = self.components[name].similar(item, n)
            if len(items):
                return items, values
        return np.empty(0, np.int32), np.empty(0, np.float32)

    def save(self, directory: Path) -> None:
        """Write the artefact, its components in `components/<name>/`."""
        for name, component in self.components.items():
            component.save(directory / COMPONENTS / name)
        arrays: dict[str, NDArray[Any]] = {
            "popular": self.popular.values,
            "item_columns": self.side.columns,
            "item_codes": self.side.codes,
        }
        for goal, trees in self.trees.items():
            arrays |= trees.arrays(goal)
        write_artefact(directory, self.manifest, self.item_ids, arrays)

    @classmethod
    def read(cls, files: Files, components: Mapping[str, Artefact]) -> "TwoStage":
        """Put the components that were read together again, with the trees."""
        n = len(files.item_ids)
        side = ItemSide(
            columns=files.array("item_columns", n, len(ITEM_COLUMNS)),
            codes=files.array("item_codes", n, len(GROUPS) - 1),
        )
        n_features = len(feature_names(tuple(sorted(components))))
        trees = {
            goal: Trees.read(files, goal, n_features) for goal in RANKED if goal in files.manifest.settings["levels"]
        }
        popular = base_of(files.array("popular", n))
        return cls.of(files.manifest, files.item_ids, popular=popular, components=components, side=side, trees=trees)


def _factors(manifest: Manifest, goal: Goal) -> dict[str, np.float32]:
    scales = manifest.settings["scales"]
    weights = manifest.settings["weights"][goal]
    return {name: np.float32(weight / scales[name]) for name, weight in weights.items() if weight != 0}


def _sum(parts: Mapping[str, Float32], manifest: Manifest, goal: Goal) -> Float32:
    values = np.zeros_like(next(iter(parts.values())))
    for name, factor in _factors(manifest, goal).items():
        values += factor * parts[name]
    return values


def _below_one(values: Float32) -> Float32:
    """Squeeze (...) scores between -1 and 1 in their order."""
    squeezed: Float32 = (values / (np.float32(1.0) + np.abs(values))).astype(np.float32, copy=False)
    return squeezed


def _beside_nobody(histories: Histories) -> Histories:
    """Add a customer without events: alone, she would go through other arithmetic of BLAS than in a block."""
    traits = histories.traits
    if traits is not None:
        traits = replace(traits, indptr=np.append(traits.indptr, traits.indptr[-1]))
    return replace(histories, indptr=np.append(histories.indptr, histories.indptr[-1]), traits=traits)


def _owned_and_dismissed(histories: Histories, n_items: int) -> tuple[Bool, Bool]:
    """(n_customers, n_items) what each has, and what she dismissed after whatever else she did with it."""
    owned, dismissed = np.zeros((2, len(histories), n_items), np.bool_)
    customer, has = histories.customer, np.isin(histories.kind, OWNED)
    owned[customer[has], histories.item[has]] = True
    says = has | (histories.kind == Kind.DISMISS)
    # Oldest first, so the last word on an item stands.
    dismissed[customer[says], histories.item[says]] = ~has[says]
    return owned, dismissed


def _mark_best(scores: Float32, barred: Bool, number: int, chosen: Bool) -> None:
    """Mark in `chosen` the `number` best of each row that are not barred, ties by rising index."""
    # Here, because numba takes half a second to load and only a second stage needs it.
    from considerate.ranking.top_n_kernel import best_items  # noqa: PLC0415

    n_customers, n_items = scores.shape
    number = min(number, n_items)
    best, sizes = np.empty((n_customers, number), np.int32), np.zeros(n_customers, np.int64)
    if not best.size:
        return
    nothing = np.zeros(n_customers + 1, np.int64), np.empty(0, np.int32)
    best_items(np.ascontiguousarray(scores), *nothing, ~barred, best, sizes)
    filled = np.arange(number) < sizes[:, None]
    chosen[np.nonzero(filled)[0], best[filled]] = True
