"""Splits of a data set."""

from dataclasses import replace
from datetime import datetime

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.dataset.id_map import IdMap
from considerate.errors import DataError
from considerate.ranking.history import Bool, Int64


def temporal_split(dataset: Dataset, cut: datetime) -> tuple[Dataset, Dataset]:
    """Cut at one moment for everybody: a fit on `train` cannot know anything that happened after it.

    (A split per customer leaks: the last purchases of one are known to the fit before another's.)

    Parameters
    ----------
    dataset
        Events with times.
    cut
        Aware; an event at this very moment belongs to `train`.

    Returns
    -------
    tuple[Dataset, Dataset]
        Train and test. Both keep the id maps of `dataset`, so a customer or item may be without events in either, and
        its returns: each side nets them on its own.

    Raises
    ------
    DataError
        Events without a time, or nothing on one side of the cut.
    """
    time = dataset.events.time
    if np.isnan(time).any():
        raise DataError(
            f"temporal split: {int(np.isnan(time).sum())} of {len(time)} events have no time; "
            "map a timestamp column, or judge by leave_last_out, held_out_customers or fixed"
        )
    before = time <= cut.timestamp()
    for side, rows in (("train", before), ("test", ~before)):
        if not rows.any():
            raise DataError(
                f"temporal split: the cut at {cut:%Y-%m-%d %H:%M} leaves {side} empty; "
                "choose a cut inside the period of the data (test_days and cuts in the protocol)"
            )
    return of_events(dataset, before), of_events(dataset, ~before)


def until(dataset: Dataset, moment: datetime) -> Dataset:
    """Leave out what happened after `moment`; id maps stay."""
    return of_events(dataset, dataset.events.time <= moment.timestamp())


def of_events(dataset: Dataset, keep: Bool) -> Dataset:
    """Keep the events that (n_events,) `keep` marks; id maps stay."""
    return replace(dataset, events=dataset.events.where(keep))


def of_customers(dataset: Dataset, rows: Int64) -> Dataset:
    """Keep the customers at (m,) `rows`, in that order, as if there were no others; items stay."""
    ids = tuple(dataset.customers.ids[row] for row in rows.tolist())
    return replace(dataset, customers=IdMap(ids), events=dataset.events.take(rows))


def split_before(dataset: Dataset, event: Bool) -> tuple[Dataset, Dataset]:
    """Cut each customer's events before the last one that (n_events,) `event` marks.

    Returns
    -------
    tuple[Dataset, Dataset]
        What comes before that event, and the event with what comes after it. All of the events of a customer without
        a marked one are in the first. Id maps stay.
    """
    indptr, place = dataset.events.indptr, np.arange(dataset.events.n_events)
    marked = np.where(event, place, -1)
    last = np.full(len(dataset.customers), dataset.events.n_events, np.int64)
    some = np.flatnonzero(np.diff(indptr))
    newest = np.maximum.reduceat(marked, indptr[some]) if len(some) else marked
    last[some] = np.where(newest >= 0, newest, dataset.events.n_events)
    before = place < last[dataset.events.customer]
    return of_events(dataset, before), of_events(dataset, ~before)
