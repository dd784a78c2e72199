"""From scores to a list: the filters last, one variant of a product, short rather than padded."""

import logging
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from considerate.ranking.history import OWNED, Channel, History, Int32, Kind
from considerate.ranking.scores import Base, Goal, Scores
from considerate.ranking.top_n import order_of, top_n
from considerate.serving.models import Served
from considerate.serving.problems import place_of
from considerate.serving.shelves import Age, Audience, Shelf

log = logging.getLogger(__name__)

NOTHING: Int32 = np.empty(0, np.int32)
WELCOME = (Kind.LIKE, Kind.CART, Kind.PURCHASE, Kind.RATING)
"""Kinds that take a dismissal back. To look at an item once more does not."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a page asks for.

    Attributes
    ----------
    goal
        What the list is for.
    n
        Items wanted.
    context
        Item ids on the page or in the cart; they say nothing about the person and are not kept.
    exclude
        Item ids that must not be listed.
    category
        Category path to stay in.
    personalised
        Whether the caller lets us personalise this one list.
    gpc
        The request carries a Global Privacy Control signal.
    because
        Own items to name per suggestion, at most.
    """

    goal: Goal
    n: int
    context: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    category: str | None = None
    personalised: bool = True
    gpc: bool = False
    because: int = 0


@dataclass(frozen=True, slots=True)
class Listed:
    """One item of a list, and the own items that speak most for it."""

    item_id: str
    because: tuple[str, ...] = ()


def own_list(
    served: Served, shelf: Shelf, history: History, wish: Wish, audience: Audience, *, at: datetime
) -> tuple[Listed, ...]:
    """Make the list that follows from a customer's own history."""
    scores = served.artefact.score(history, at=at, goal=wish.goal)
    exclude = [_indices(served, (*wish.exclude, *wish.context)), _dismissed(history)]
    if wish.goal == "new":
        exclude.append(history.item[np.isin(history.kind, OWNED)])
    items = _pick(scores, shelf, wish, audience, np.concatenate(exclude))
    # Where naming reasons takes seconds, her list and everybody else's go first: the explanation names them when asked.
    n = wish.because if served.artefact.explains_at_once else 0
    because = [own_reasons(served, shelf, history, int(item), goal=wish.goal, n=n, at=at) for item in items]
    return tuple(Listed(shelf.item_ids[item], own) for item, own in zip(items, because, strict=True))


def _dismissed(history: History) -> Int32:
    """Items to which the customer's latest clear word is a no."""
    words = np.flatnonzero(np.isin(history.kind, (Kind.DISMISS, *WELCOME)))
    _, last = np.unique(history.item[words][::-1], return_index=True)
    rows = words[len(words) - 1 - last]
    dismissed: Int32 = history.item[rows[history.kind[rows] == Kind.DISMISS]]
    return dismissed


def own_reasons(
    served: Served, shelf: Shelf, history: History, item: int, *, goal: Goal, n: int, at: datetime
) -> tuple[str, ...]:
    """Name at most n own items whose events add most to the score; never a count, a score or a sensitive item."""
    if n == 0:
        return ()
    parts = served.artefact.explain(history, item, at=at, goal=goal)
    own, place = np.unique(history.item, return_inverse=True)
    weight = np.bincount(place, np.where(parts > 0, parts, 0.0), minlength=len(own))
    # Whoever looks over her shoulder reads the reason too: what is sensitive may count, and is not named.
    weight[shelf.sensitive[own]] = 0.0
    best = np.lexsort((own, -weight))[:n]
    return tuple(served.artefact.item_ids[int(own[row])] for row in best if weight[row] > 0)


def everybodys_list(served: Served | None, shelf: Shelf, wish: Wish, age: Age, *, at: datetime) -> tuple[Listed, ...]:
    """Make the list of all who are told nothing about themselves: by what is on the page, else popular."""
    scores = _everybodys_scores(served, shelf, wish, at)
    exclude = _indices(served, (*wish.exclude, *wish.context)) if served else _positions(shelf, wish.exclude)
    items = _pick(scores, shelf, wish, Audience(age), exclude)
    return tuple(Listed(shelf.item_ids[item]) for item in items)


def _everybodys_scores(served: Served | None, shelf: Shelf, wish: Wish, at: datetime) -> Scores:
    if served is None:
        # No model, no popularity: the catalogue in its own order.
        values = np.zeros(len(shelf.item_ids), np.float32)
        return Scores(NOTHING, np.empty(0, np.float32), Base(values, order_of(values)))
    popular = served.artefact.popular
    context = _indices(served, wish.context)
    context = context[~shelf.sensitive[context]]
    if len(context):
        try:
            return served.artefact.score(_page_as_history(context, at), at=at, goal="new")
        except Exception as error:  # a model must never cost the page its list
            log.error("model %s cannot score: %s", served.version, place_of(error))
    return Scores(NOTHING, np.empty(0, np.float32), popular)


def _page_as_history(context: Int32, at: datetime) -> History:
    """Read the items on the page as if they were just chosen: about the page, not about a person."""
    n = len(context)
    return History(
        item=context,
        kind=np.full(n, Kind.PURCHASE, np.int8),
        value=np.full(n, np.nan, np.float32),
        time=np.full(n, at.timestamp()),
        position=np.arange(n, dtype=np.int64),
        channel=np.full(n, Channel.ONLINE, np.int8),
    )


def _pick(scores: Scores, shelf: Shelf, wish: Wish, audience: Audience, exclude: Int32) -> Int32:
    """The filters, last on every path, then at most n items, one for each product."""
    allowed = shelf.allowed(audience, wish.category)
    wanted = 2 * wish.n
    while True:
        ranked = top_n(scores, wanted, exclude=exclude, allowed=allowed)
        items = shelf.first_of_products(ranked)
        if len(items) >= wish.n or len(ranked) < wanted:
            return items[: wish.n]
        wanted *= 4


def _indices(served: Served | None, item_ids: tuple[str, ...]) -> Int32:
    if served is None:
        return NOTHING
    known = (served.index.get(item) for item in item_ids)
    return np.array([item for item in known if item is not None], np.int32)


def _positions(shelf: Shelf, item_ids: tuple[str, ...]) -> Int32:
    wanted = frozenset(item_ids)
    return np.array([row for row, item in enumerate(shelf.item_ids) if item in wanted], np.int32)
