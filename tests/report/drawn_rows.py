"""Age limits in shops of chance, without a service: ten thousand of them take seconds."""

from datetime import UTC, datetime
from typing import Literal

import numpy as np
from tests.report.rows import Outcome, outcome, row
from tests.report.shop import Shop
from tests.serving.conftest import IDS, make_model, served

from considerate.items.catalogue import AGE_UNKNOWN, Catalogue
from considerate.ranking.history import Channel, History, Kind
from considerate.serving.lists import Wish, everybodys_list, own_list
from considerate.serving.shelves import Age, Audience, Shelves

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
LIMITS = (0, 0, 16, 18, 21, AGE_UNKNOWN)
GOALS: tuple[Literal["repeat", "new", "all"], ...] = ("repeat", "new", "all")


@row("attack 21", "age-restricted products by every road, in catalogues, histories and pages of chance", quick="sqlite")
def drawn(shop: Shop, quick: bool) -> Outcome:
    draw, model = np.random.default_rng(21), served(make_model())
    held, listed, limited = [], 0, 0
    for _ in range(300 if quick else 10_000):
        catalogue = _catalogue(draw)
        free = {item for item, limit in zip(catalogue.item_ids, catalogue.min_age, strict=True) if limit == 0}
        shelf, wish = Shelves().shelf(catalogue, model), _wish(draw)
        age = Age.MINOR if draw.random() < 0.8 else Age.UNREADABLE
        audience = Audience(age, sensitive=bool(draw.integers(2)))
        for items in (
            everybodys_list(model, shelf, wish, age, at=NOW),
            everybodys_list(None, Shelves().shelf(catalogue, None), wish, age, at=NOW),
            own_list(model, shelf, _history(draw), wish, audience, at=NOW),
        ):
            listed += len(items)
            held.append({one.item_id for one in items} <= free)
        # The same list for an adult does show them: they are there to be shown.
        grown = everybodys_list(model, shelf, wish, Age.ADULT, at=NOW)
        limited += sum(one.item_id not in free for one in grown)
    held.append(listed > 0 and limited > 0)
    return outcome(held, f"{listed:,} products listed, {limited:,} with a limit to adults")


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
