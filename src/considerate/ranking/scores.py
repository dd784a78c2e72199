"""Scores over a catalogue, and the protocol that every artefact fulfils."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from considerate.ranking.history import Float32, Float64, Histories, History, Int32

if TYPE_CHECKING:
    from considerate.ranking.manifest import Manifest

Goal = Literal["repeat", "new", "all"]
"""What a list is for: `repeat` may suggest again what was bought, `new` looks for what never was (its caller leaves
out the history), `all` is a page that mixes both."""


@dataclass(frozen=True, slots=True)
class Base:
    """What an artefact scores without any history.

    Attributes
    ----------
    values
        (n_items,) scores.
    order
        (n_items,) items by falling score, ties by rising index.
    """

    values: Float32
    order: Int32


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of one customer: the touched items here, all others as in `base`.

    Attributes
    ----------
    items
        (m,) distinct item indices, rising.
    values
        (m,) their scores.
    base
        What holds for every other item.
    """

    items: Int32
    values: Float32
    base: Base


class Artefact(Protocol):
    """A fitted model: item-side arrays and nothing of any person."""

    @property
    def manifest(self) -> "Manifest":
        """What it is, how it was made, and on what data and consent."""

    @property
    def item_ids(self) -> tuple[str, ...]:
        """The catalogue, sorted; item index i is `item_ids[i]`."""

    @property
    def base(self) -> Base:
        """Scores of a customer without history."""

    @property
    def popular(self) -> Base:
        """Share of consenting customers who bought an item lately, decayed: the non-personalised list."""

    def score(self, history: History, *, at: datetime | None, goal: Goal) -> Scores:
        """Score every item for one customer as of `at`."""

    def score_many(self, histories: Histories, *, at: datetime | None, goal: Goal) -> Float32:
        """Score (n_customers, n_items) densely; agrees with `score` to 1e-5. The caller chooses the block size."""

    @property
    def explains_at_once(self) -> bool:
        """Whether `explain` has a closed form; else it costs a score for each event, and no list waits for it."""

    def explain(self, history: History, item: int, *, at: datetime | None, goal: Goal) -> Float64:
        """(n,) score of `item` minus its score without event j, for each event j of the history."""

    def similar(self, item: int, n: int) -> tuple[Int32, Float32]:
        """Up to n items nearest to `item` by the model's own measure, nearest first, without itself."""

    def save(self, directory: Path) -> None:
        """Write the artefact into a new directory; `considerate.ranking.load` reads it back."""
