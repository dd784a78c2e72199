"""What customers said of themselves or allow to be known, as named columns beside the items."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

LIKES, REFUSES = "likes", "refuses"
"""Names of traits that a customer stated: `likes=Drama`. All others are attributes: `age_band=25-34`."""


@dataclass(frozen=True, slots=True)
class Traits:
    """Names per customer: customer c has `names[j]` for each j of `code[indptr[c]:indptr[c + 1]]`.

    Attributes
    ----------
    names
        Distinct, sorted: `age_band=25-34`, `gender=F`, `region=94`, `likes=Drama`, `refuses=GROCERY > SOUP`.
    indptr
        (n_customers + 1,) offsets.
    code
        (m,) rows of `names`, rising within a customer.

    Examples
    --------
    >>> two = Traits.of([["gender=F", "region=94"], []])
    >>> two.at(0), two.at(1), two.matrix({"gender=F": 0, "gender=M": 1}).toarray().tolist()
    (('gender=F', 'region=94'), (), [[1.0, 0.0], [0.0, 0.0]])
    """

    names: tuple[str, ...]
    indptr: NDArray[np.int64]
    code: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.indptr) - 1

    @classmethod
    def of(cls, rows: Sequence[Iterable[str]]) -> "Traits":
        """Number the names of n customers."""
        distinct = [sorted(set(row)) for row in rows]
        names = tuple(sorted({name for row in distinct for name in row}))
        place = {name: j for j, name in enumerate(names)}
        sizes = [len(row) for row in distinct]
        return cls(
            names=names,
            indptr=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64),
            code=np.array([place[name] for row in distinct for name in row], np.int32),
        )

    @classmethod
    def none(cls, n_customers: int) -> "Traits":
        """Give n customers of whom nothing may be known."""
        return cls((), np.zeros(n_customers + 1, np.int64), np.empty(0, np.int32))

    def at(self, customer: int) -> tuple[str, ...]:
        """Give the names of one customer."""
        part = self.code[self.indptr[customer] : self.indptr[customer + 1]]
        return tuple(self.names[j] for j in part.tolist())

    def take(self, customers: NDArray[np.int64]) -> "Traits":
        """Give the customers at (m,) `customers`, in that order, and no name that none of them has."""
        starts, sizes = self.indptr[customers], np.diff(self.indptr)[customers]
        indptr = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        rows = np.arange(indptr[-1], dtype=np.int64) + np.repeat(starts - indptr[:-1], sizes)
        used, code = np.unique(self.code[rows], return_inverse=True)
        return Traits(tuple(self.names[j] for j in used.tolist()), indptr, code.astype(np.int32))

    def matrix(self, columns: Mapping[str, int]) -> Any:
        """(n_customers, len(columns)) CSR float32 of 0 and 1; names that are no column are left out."""
        column = np.array([columns.get(name, -1) for name in self.names], np.int32)[self.code]
        known = column >= 0
        row = np.repeat(np.arange(len(self)), np.diff(self.indptr))[known]
        ones = np.ones(len(row), np.float32)
        return csr_matrix((ones, (row, column[known])), shape=(len(self), len(columns)))


def trait_names(
    attributes: Mapping[str, str], liked_categories: Sequence[str] = (), refused_categories: Sequence[str] = ()
) -> tuple[str, ...]:
    """Name what is known of one customer."""
    return (
        *(f"{name}={value}" for name, value in attributes.items()),
        *(f"{LIKES}={category}" for category in liked_categories),
        *(f"{REFUSES}={category}" for category in refused_categories),
    )


def parted(names: Sequence[str]) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Part names into attributes, liked and refused categories: the way back from `trait_names`."""
    attributes: dict[str, str] = {}
    stated: dict[str, list[str]] = {LIKES: [], REFUSES: []}
    for name in names:
        key, _, value = name.partition("=")
        if key in stated:
            stated[key].append(value)
        else:
            attributes[key] = value
    return attributes, tuple(stated[LIKES]), tuple(stated[REFUSES])
