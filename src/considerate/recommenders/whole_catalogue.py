"""Models over everything the shop sells, not only over what enough consenting customers have bought."""

from dataclasses import replace

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.dataset.id_map import IdMap


def over_catalogue(dataset: Dataset) -> Dataset:
    """Number every item of the catalogue too; events stay as they are.

    An item that came in this way has no events, so whatever a model says of it comes from the catalogue, and no
    customer is behind it. Items of a sensitive class come in only by the events of those who allow it.
    """
    catalogue = dataset.catalogue
    plain = np.array([sensitive == "" for sensitive in catalogue.sensitive.tolist()], np.bool_)
    items = IdMap.of([*dataset.items.ids, *np.array(catalogue.item_ids, dtype=object)[plain].tolist()])
    if len(items) == len(dataset.items):
        return dataset
    return replace(dataset, items=items, events=dataset.events.reindexed(items.indices(dataset.items.ids)))
