"""Returns and cancellations cancel the purchase they belong to: the one place where they are netted."""

from dataclasses import replace

import numpy as np

from considerate.ranking.history import Bool, Float32, Histories, History, Int8, Int32, Int64, Kind
from considerate.ranking.weighting import as_histories


def cancel_returns(histories: Histories) -> Histories:
    """Take out the returns and what they cancel.

    A return of quantity q cancels q units of the customer's latest earlier purchases of the same item, last bought
    first. A purchase without a quantity counts as one unit; a return without a quantity cancels the latest purchase
    whole. A purchase that is cancelled in part stays with what is left. What a return asks for beyond the purchases
    on record is lost: nobody owes a purchase.

    Returns
    -------
    Histories
        No event of kind `RETURN`; the same object where there was none.
    """
    if not (histories.kind == Kind.RETURN).any():
        return histories
    keep, value = _net(histories.customer, histories.item, histories.kind, histories.value)
    return replace(histories, value=value).where(keep)


def cancel_returns_of(history: History) -> History:
    """Take out the returns of one history and what they cancel, order lines included."""
    if not (history.kind == Kind.RETURN).any():
        return history
    block = as_histories(history)
    keep, value = _net(block.customer, block.item, block.kind, block.value)
    return replace(history, value=value).take(keep)


def _net(customer: Int64, item: Int32, kind: Int8, value: Float32) -> tuple[Bool, Float32]:
    """Whether each event stays, and the quantity that is left of it."""
    is_return = kind == Kind.RETURN
    keep, value = ~is_return, value.copy()
    pair = customer * (int(item.max()) + 1) + item
    concerned = np.isin(pair, pair[is_return]) & (is_return | (kind == Kind.PURCHASE))
    # Only products that were brought back are walked through, and these are few.
    open_purchases: dict[int, list[int]] = {}
    for event in np.flatnonzero(concerned).tolist():
        bought = open_purchases.setdefault(int(pair[event]), [])
        if not is_return[event]:
            bought.append(event)
            continue
        left = float(value[event])
        if not left > 0:  # NaN: no quantity is known
            left = _units(value[bought[-1]]) if bought else 0.0
        while bought and left > 0:
            units = _units(value[bought[-1]])
            if units > left:
                value[bought[-1]] = units - left
                break
            keep[bought.pop()] = False
            left -= units
    return keep, value


def _units(value: float) -> float:
    return float(value) if value > 0 else 1.0
