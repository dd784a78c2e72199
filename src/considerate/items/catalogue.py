"""The catalogue: what the shop knows about its items, as arrays in the order of their ids."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Text = NDArray[np.object_]

AGE_UNKNOWN = -1
"""`min_age` of an item whose age limit nobody has stated."""


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Items, sorted by id.

    Attributes
    ----------
    item_ids
        n distinct ids, rising.
    group_id
        (n,) variants of one product share it; "" where there is none.
    title, category, brand, image_url
        (n,) text, "" where there is none. A category is a path such as `GROCERY > SOUP > CANNED`.
    price
        (n,) float32 in the shop's currency, NaN where there is none.
    min_age
        (n,) int16 years; 0 for no limit, -1 where it is unknown.
    sensitive
        (n,) sensitive class (`health`, `religion` ...), "" where there is none.
    in_stock
        (n,) bool.
    features
        Name -> (n,) text of the shop's own columns.
    """

    item_ids: tuple[str, ...]
    group_id: Text
    title: Text
    category: Text
    brand: Text
    image_url: Text
    price: NDArray[np.float32]
    min_age: NDArray[np.int16]
    sensitive: Text
    in_stock: NDArray[np.bool_]
    features: Mapping[str, Text] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.item_ids)

    def __post_init__(self) -> None:
        if any(a >= b for a, b in zip(self.item_ids, self.item_ids[1:], strict=False)):
            raise ValueError("item_ids must be distinct and sorted")

    @classmethod
    def empty(cls) -> "Catalogue":
        """Give the catalogue of no item."""
        return cls.of_ids(())

    @classmethod
    def of_ids(cls, item_ids: Sequence[str]) -> "Catalogue":
        """Give items of which nothing but their ids is known; they count as in stock.

        >>> Catalogue.of_ids(["b", "a"]).item_ids
        ('a', 'b')
        """
        ids = tuple(sorted(item_ids))
        n = len(ids)

        def text() -> Text:
            return np.full(n, "", dtype=object)

        return cls(
            item_ids=ids,
            group_id=text(),
            title=text(),
            category=text(),
            brand=text(),
            image_url=text(),
            price=np.full(n, np.nan, np.float32),
            min_age=np.full(n, AGE_UNKNOWN, np.int16),
            sensitive=text(),
            in_stock=np.ones(n, np.bool_),
        )

    def aligned(self, item_ids: Sequence[str]) -> "Catalogue":
        """Give the catalogue of exactly `item_ids` (distinct and sorted): item index i is `item_ids[i]`.

        An id that the catalogue lacks gets empty text, no price, an unknown age limit and counts as in stock.
        """
        ids = tuple(item_ids)
        if ids == self.item_ids:
            return self
        position = {item: row for row, item in enumerate(self.item_ids)}
        rows = np.fromiter((position.get(item, -1) for item in ids), np.int64, len(ids))
        known = rows >= 0
        source = rows[known]

        def text(values: Text) -> Text:
            out = np.full(len(ids), "", dtype=object)
            out[known] = values[source]
            return out

        price = np.full(len(ids), np.nan, np.float32)
        price[known] = self.price[source]
        min_age = np.full(len(ids), AGE_UNKNOWN, np.int16)
        min_age[known] = self.min_age[source]
        in_stock = np.ones(len(ids), np.bool_)
        in_stock[known] = self.in_stock[source]
        return Catalogue(
            item_ids=ids,
            group_id=text(self.group_id),
            title=text(self.title),
            category=text(self.category),
            brand=text(self.brand),
            image_url=text(self.image_url),
            price=price,
            min_age=min_age,
            sensitive=text(self.sensitive),
            in_stock=in_stock,
            features={name: text(values) for name, values in self.features.items()},
        )

    def updated(self, changes: "Catalogue") -> "Catalogue":
        """Give the items of both; where both have one, as `changes` has it.

        >>> both = Catalogue.of_ids(["a", "b"]).updated(Catalogue.of_ids(["b", "c"]))
        >>> both.item_ids
        ('a', 'b', 'c')
        """
        if not len(changes):
            return self
        mine = frozenset(self.item_ids)
        new = [item for item in changes.item_ids if item not in mine]
        base = self.aligned(sorted([*self.item_ids, *new])) if new else self
        rows = np.array([bisect_left(base.item_ids, item) for item in changes.item_ids])

        def merged(old: NDArray[Any], given: NDArray[Any]) -> NDArray[Any]:
            out = old.copy()
            out[rows] = given
            return out

        def feature(catalogue: Catalogue, name: str) -> Text:
            return catalogue.features.get(name, np.full(len(catalogue), "", dtype=object))

        names = sorted(base.features.keys() | changes.features.keys())
        return Catalogue(
            item_ids=base.item_ids,
            **{name: merged(getattr(base, name), getattr(changes, name)) for name in _COLUMNS},
            features={name: merged(feature(base, name), feature(changes, name)) for name in names},
        )


_COLUMNS = ("group_id", "title", "category", "brand", "image_url", "price", "min_age", "sensitive", "in_stock")
