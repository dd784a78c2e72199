"""Ids and their row numbers."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from considerate.ranking.history import Int32


@dataclass(frozen=True, slots=True)
class IdMap:
    """Distinct ids; the index of an id is its place.

    Examples
    --------
    >>> fruit = IdMap.of(["pear", "apple", "pear"])
    >>> fruit.ids, fruit.index("pear"), fruit.indices(["kiwi", "apple"]).tolist()
    (('apple', 'pear'), 1, [-1, 0])
    """

    ids: tuple[str, ...]
    _index: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_index", {id_: i for i, id_ in enumerate(self.ids)})

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def of(cls, ids: Iterable[str]) -> "IdMap":
        """Number the distinct ids in sorted order."""
        return cls(tuple(sorted(set(ids))))

    def index(self, id_: str) -> int:
        """Row of an id, -1 where it is unknown."""
        return self._index.get(id_, -1)

    def indices(self, ids: Iterable[str]) -> Int32:
        """Rows of many ids, -1 where unknown."""
        return np.fromiter((self._index.get(id_, -1) for id_ in ids), np.int32)
