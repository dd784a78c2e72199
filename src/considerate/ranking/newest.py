"""The cap on a history: the newest so many distinct items."""

import numpy as np

from considerate.ranking.history import Bool, Histories, Int64


def is_newest(histories: Histories, max_items: int) -> Bool:
    """(n_events,) whether the event's item is among its customer's `max_items` most recently touched ones."""
    keep = np.ones(histories.n_events, np.bool_)
    long = np.diff(histories.indptr) > max_items
    if not long.any():
        return keep
    if not long.all():
        keep[np.repeat(long, np.diff(histories.indptr))] = is_newest(histories.take(np.flatnonzero(long)), max_items)
        return keep
    customer, event = histories.customer, np.arange(histories.n_events)
    order = np.lexsort((event, histories.item, customer))
    customer, item = customer[order], histories.item[order]
    last = np.ones(len(order), np.bool_)
    last[:-1] = (customer[1:] != customer[:-1]) | (item[1:] != item[:-1])
    group: Int64 = np.cumsum(last) - last  # (n_events,) running number of (customer, item)
    group_customer, group_event = customer[last], order[last]
    by_recency = np.lexsort((-group_event, group_customer))
    starts = np.searchsorted(group_customer, np.arange(len(histories)))
    rank = np.empty(len(group_event), np.int64)
    rank[by_recency] = np.arange(len(group_event)) - starts[group_customer]
    keep[order] = (rank < max_items)[group]
    return keep


def newest_items(histories: Histories, max_items: int) -> Histories:
    """Keep the events on each customer's `max_items` most recently touched distinct items."""
    keep = is_newest(histories, max_items)
    return histories if keep.all() else histories.where(keep)
