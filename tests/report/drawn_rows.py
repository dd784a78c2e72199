"""Age limits in shops of chance, without a service: ten thousand of them take seconds."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

import numpy as np
from tests.report.rows import Outcome, outcome, row
from tests.report.shop import Shop
from tests.serving.conftest import IDS, make_model, served

from considerate.items.catalogue import AGE_UNKNOWN, Catalogue
from considerate.ranking.history import Channel, History, Kind
from considerate.serving.lists import Wish, everybodys_list, own_list
from considerate.serving.models import Served
from considerate.serving.shelves import Age, Audience, Shelf, Shelves

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIMITS = (0, 0, 16, 18, 21, AGE_UNKNOWN)
GOALS: tuple[Literal["repeat", "new", "all"], ...] = ("repeat", "new", "all")


@dataclass(frozen=True)
class _Page:
    """What a list is made from: the shelf with a model and without one, what is wished for, and whose history."""

    shelf: Shelf
    bare: Shelf
    wish: Wish
    history: History

    def by_each_road(self, model: Served, age: Age, *, sensitive: bool) -> list[list[str]]:
        """Give the items listed on each road to somebody of an age."""
        lists = (
            everybodys_list(model, self.shelf, self.wish, age, at=NOW),
            everybodys_list(None, self.bare, self.wish, age, at=NOW),
            own_list(model, self.shelf, self.history, self.wish, Audience(age, sensitive=sensitive), at=NOW),
        )
        return [[one.item_id for one in items] for items in lists]


@row("attack 21", "age-restricted products by every road, in catalogues, histories and pages of chance", quick="sqlite")
def drawn(shop: Shop, quick: bool) -> Outcome:
    draw, model = np.random.default_rng(21), served(make_model())
    held: list[bool] = []
    listed, limited = np.zeros(3, np.int64), np.zeros(3, np.int64)
    for _ in range(300 if quick else 10_000):
        catalogue = _catalogue(draw)
        free = {item for item, limit in zip(catalogue.item_ids, catalogue.min_age, strict=True) if limit == 0}
        page = _Page(Shelves().shelf(catalogue, model), Shelves().shelf(catalogue, None), _wish(draw), _history(draw))
        age, sensitive = Age.MINOR if draw.random() < 0.8 else Age.UNREADABLE, bool(draw.integers(2))
        young = page.by_each_road(model, age, sensitive=sensitive)
        held += [free.issuperset(items) for items in young]
        listed += [len(items) for items in young]
        # The same list for an adult does show them: they are there to be shown.
        grown = page.by_each_road(model, Age.ADULT, sensitive=sensitive)
        limited += [len({*items} - free) for items in grown]
    held += [*(listed > 0).tolist(), *(limited > 0).tolist()]
    return outcome(held, f"{listed.sum():,} products listed, {limited.sum():,} with a limit to adults")


def _catalogue(draw: np.random.Generator) -> Catalogue:
    """Give a catalogue that knows some of the products, each with a limit of chance, or none that anybody stated."""
    ids = [item for item in IDS if draw.random() < 0.9]
    whole = Catalogue.of_ids(ids)
    whole.min_age[:] = draw.choice(LIMITS, len(ids))
    whole.sensitive[:] = draw.choice(["", "", "health"], len(ids))
    whole.group_id[:] = draw.choice(["", "", "one", "other"], len(ids))
    whole.category[:] = draw.choice(["FOOD", "FOOD > DRINKS", ""], len(ids))
    whole.in_stock[:] = draw.random(len(ids)) < 0.9
    return whole


def _wish(draw: np.random.Generator) -> Wish:
    def some() -> tuple[str, ...]:
        return tuple(str(item) for item in draw.choice(IDS, draw.integers(4)))

    return Wish(
        goal=GOALS[draw.integers(3)],
        n=int(draw.integers(1, 12)),
        context=some(),
        exclude=some(),
        category=(None, None, "FOOD")[draw.integers(3)],
        because=int(draw.integers(3)),
    )


def _history(draw: np.random.Generator) -> History:
    n = int(draw.integers(1, 8))
    return History(
        item=draw.integers(len(IDS), size=n).astype(np.int32),
        kind=draw.choice([Kind.PURCHASE, Kind.VIEW, Kind.LIKE, Kind.DISMISS], n).astype(np.int8),
        value=np.full(n, np.nan, np.float32),
        time=NOW.timestamp() - np.arange(n, 0, -1, dtype=np.float64),
        position=np.arange(n, dtype=np.int64),
        channel=np.full(n, Channel.ONLINE, np.int8),
    )
