"""What is known of items and customers, as columns of 0 and 1 that a fit may learn vectors for."""

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from considerate.dataset.dataset import Dataset
from considerate.items.catalogue import Catalogue

LEVEL, ALTERNATIVE = " > ", "|"
"""Between the levels of a category path, and between several categories of one item."""

FEWEST_ITEMS = 2
"""A feature of a single item says nothing that the item's own column does not."""


def item_features(dataset: Dataset) -> tuple[tuple[str, ...], Any]:
    """Give features of items: every level of their categories, their brand, and the shop's own columns.

    Returns
    -------
    tuple
        Sorted names such as `category=GROCERY > SOUP`, and (n_items, n_names) CSR float32 of 0 and 1.
    """
    catalogue = dataset.catalogue.aligned(dataset.items.ids)
    rows = [_names_of(catalogue, item) for item in range(len(catalogue))]
    return _columns(rows, fewest=FEWEST_ITEMS)


def _names_of(catalogue: Catalogue, item: int) -> set[str]:
    names = {
        f"category={LEVEL.join(path[: depth + 1])}"
        for category in catalogue.category[item].split(ALTERNATIVE)
        for path in [category.split(LEVEL)]
        for depth in range(len(path))
        if category
    }
    if catalogue.brand[item]:
        names.add(f"brand={catalogue.brand[item]}")
    return names | {f"{name}={column[item]}" for name, column in catalogue.features.items() if column[item]}


def customer_features(dataset: Dataset, k_segment: int) -> tuple[tuple[str, ...], Any]:
    """Give what customers allow to be known of themselves, where at least `k_segment` of them share it.

    Returns
    -------
    tuple
        Sorted names such as `age_band=25-34`, and (n_customers, n_names) CSR float32 of 0 and 1.
    """
    traits = dataset.events.traits
    if traits is None:
        return (), csr_matrix((len(dataset.customers), 0), dtype=np.float32)
    counts = np.bincount(traits.code, minlength=len(traits.names))
    names = tuple(name for name, count in zip(traits.names, counts.tolist(), strict=True) if count >= k_segment)
    return names, traits.matrix({name: place for place, name in enumerate(names)})


def _columns(rows: list[set[str]], *, fewest: int) -> tuple[tuple[str, ...], Any]:
    counts: dict[str, int] = {}
    for row in rows:
        for name in row:
            counts[name] = counts.get(name, 0) + 1
    names = tuple(sorted(name for name, count in counts.items() if count >= fewest))
    place = {name: column for column, name in enumerate(names)}
    columns = [sorted(place[name] for name in row if name in place) for row in rows]
    indptr = np.concatenate([[0], np.cumsum([len(row) for row in columns], dtype=np.int64)])
    indices = np.array([column for row in columns for column in row], np.int32)
    return names, csr_matrix((np.ones(len(indices), np.float32), indices, indptr), shape=(len(rows), len(names)))
