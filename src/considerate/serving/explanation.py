"""Why a list was as it was: the caller's own rows behind each item, as far as they may be read today."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from time import monotonic
from typing import Literal

import numpy as np

from considerate.consent.decision import Reason
from considerate.ranking.history import History, Kind
from considerate.ranking.returns import cancel_returns_of
from considerate.serving.lists import own_reasons
from considerate.serving.models import Served
from considerate.serving.shelves import Shelf
from considerate.serving.suggest import Counter, channels_of, permitted
from considerate.store.decisions import DecidedItem, ServedDecision

REASONS_PER_ITEM = 2
"""Own items looked for behind a suggestion that was served without naming any."""

LOOKING_SECONDS = 0.3
"""After so long no further item is looked into: the answer must be out within a second."""

LOOKED_THROUGH = 400
"""Newest events that are looked through where a model has no closed form and scores anew without each."""

Shown = Literal["shown", "none", "withheld"]


@dataclass(frozen=True, slots=True)
class OwnRow:
    """One of the caller's own events that speaks for an item.

    Attributes
    ----------
    item_id, kind
        What she did with which item.
    at
        When, None where nobody said.
    order_line
        The line of her order, "" where it is none.
    """

    item_id: str
    kind: Kind
    at: datetime | None
    order_line: str


@dataclass(frozen=True, slots=True)
class Explanation:
    """A decision and the evidence for each of its items.

    Attributes
    ----------
    decision
        As logged.
    shown
        Whether evidence is shown; `none` where nothing of hers was used, `withheld` where it may not be read today.
    why
        The reason for that.
    rows
        Item id -> own rows, newest first: none that she has excluded, none of a sensitive item, and of nobody else.
    """

    decision: ServedDecision
    shown: Shown
    why: Reason
    rows: Mapping[str, tuple[OwnRow, ...]]


def explain_decision(
    counter: Counter,
    customer_id: str,
    decision: ServedDecision,
    *,
    gpc: bool,
    at: datetime,
    now: Callable[[], float] = monotonic,
) -> Explanation:
    """Explain a decision to the customer it was made for.

    Parameters
    ----------
    counter
        Where its list came from.
    customer_id
        From the login token.
    decision
        Of this customer.
    gpc
        The request carries a Global Privacy Control signal.
    at
        Now: consent is asked anew, and a history that she no longer opens stays unread.
    now
        Seconds of a clock that never goes back.

    Raises
    ------
    StoreError
        The store cannot be read.
    """
    if decision.basis != "personalised":
        return Explanation(decision, "none", Reason(decision.reason), {})
    standing = counter.customers.standing(customer_id)
    allowed = permitted(standing, counter.policy, gpc=gpc, at=at)
    served = counter.models.current()
    if isinstance(allowed, Reason):
        return Explanation(decision, "withheld", allowed, {})
    if served is None:
        return Explanation(decision, "withheld", Reason.MODEL_UNAVAILABLE, {})
    shelf = counter.shelves.shelf(counter.customers.catalogue(), served)
    history = counter.customers.history(standing, served.index, channels_of(allowed), order_lines=True)
    # What came later was no reason, and what is sensitive is not named.
    known = (np.isnan(history.time) | (history.time <= decision.at.timestamp())) & ~shelf.sensitive[history.item]
    history = cancel_returns_of(history.take(known))
    until = now() + LOOKING_SECONDS
    rows = {}
    for item in decision.items:
        # Best first: what time does not reach is shown without evidence.
        own = item.because or (_found_now(served, shelf, history, item, decision) if now() < until else ())
        rows[item.item_id] = _rows(served, history, own)
    return Explanation(decision, "shown", Reason.OK, rows)


def _found_now(
    served: Served, shelf: Shelf, history: History, decided: DecidedItem, decision: ServedDecision
) -> tuple[str, ...]:
    item = served.index.get(decided.item_id)
    if item is None or served.version != decision.model_version or len(history) == 0:
        return ()
    if not served.artefact.explains_at_once:
        history = history.take(np.arange(len(history)) >= len(history) - LOOKED_THROUGH)
    goal = next((goal for goal in served.artefact.manifest.goals if goal == decision.facts.get("goal")), None)
    if goal is None:
        return ()
    return own_reasons(served, shelf, history, item, goal=goal, n=REASONS_PER_ITEM, at=decision.at)


def _rows(served: Served, history: History, own: tuple[str, ...]) -> tuple[OwnRow, ...]:
    places = [served.index[item] for item in own if item in served.index]
    lines = history.order_line or ("",) * len(history)
    return tuple(
        OwnRow(
            item_id=served.artefact.item_ids[int(history.item[row])],
            kind=Kind(int(history.kind[row])),
            at=None if np.isnan(history.time[row]) else datetime.fromtimestamp(float(history.time[row]), UTC),
            order_line=lines[row],
        )
        for row in np.flatnonzero(np.isin(history.item, places))[::-1].tolist()
    )
