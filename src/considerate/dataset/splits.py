"""Splits of a data set."""

from dataclasses import replace
from datetime import datetime

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError


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
            "map a timestamp column, or judge with a protocol of kind fixed"
        )
    before = time <= cut.timestamp()
    for side, rows in (("train", before), ("test", ~before)):
        if not rows.any():
            raise DataError(
                f"temporal split: the cut at {cut:%Y-%m-%d %H:%M} leaves {side} empty; "
                "choose a cut inside the period of the data (test_days in the protocol)"
            )
    events = dataset.events
    return replace(dataset, events=events.where(before)), replace(dataset, events=events.where(~before))
