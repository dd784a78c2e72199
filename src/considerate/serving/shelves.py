"""What may be shown to whom: stock, age limits, sensitive goods and variants, applied last on every path to a list."""

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from considerate.items.catalogue import AGE_UNKNOWN, Catalogue
from considerate.ranking.history import Bool, Int32
from considerate.serving.models import Served

log = logging.getLogger(__name__)

ADULT_YEARS = 18


class Age(Enum):
    """What is known of the age of whoever looks at the page."""

    ADULT = "adult"
    """An adult, or someone of unknown age in a shop that sells to adults alone."""

    UNREADABLE = "unreadable"
    """The same shop, while the store cannot be read: anyone may be a minor, and sees what a minor does."""

    MINOR = "minor"
    """A minor, or anyone who may be one: only what is known to be free of limits."""


@dataclass(frozen=True, slots=True)
class Audience:
    """For whom a list is.

    Attributes
    ----------
    age
        Which age limits apply.
    sensitive
        Sensitive goods were allowed in words of its own.
    """

    age: Age
    sensitive: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Shelf:
    """The catalogue in the order of a model's items.

    Attributes
    ----------
    item_ids
        n ids.
    sold
        (n,) in stock and not delisted.
    limits
        (n,) age limit in years, 0 none, -1 unknown.
    sensitive
        (n,) whether the item says something about health, beliefs or private life.
    group
        (n,) number of the product that the item is a variant of.
    categories
        n category paths.
    """

    item_ids: tuple[str, ...]
    sold: Bool
    limits: Int32
    sensitive: Bool
    group: Int32
    categories: tuple[str, ...]

    def allowed(self, audience: Audience, category: str | None = None) -> Bool:
        """(n,) what may be shown to `audience`, of `category` and below it."""
        allowed = self.sold & _LIMITS[audience.age](self.limits)
        if not audience.sensitive:
            allowed &= ~self.sensitive
        if category is not None:
            inside = (path == category or path.startswith(f"{category} >") for path in self.categories)
            allowed &= np.fromiter(inside, np.bool_, len(self.categories))
        return allowed

    def first_of_products(self, items: Int32) -> Int32:
        """Keep the first of several variants of one product; the order stays."""
        _, first = np.unique(self.group[items], return_index=True)
        return items[np.sort(first)]


_LIMITS: dict[Age, Callable[[Int32], Bool]] = {
    Age.ADULT: lambda limits: limits <= ADULT_YEARS,
    Age.UNREADABLE: lambda limits: limits == 0,
    Age.MINOR: lambda limits: limits == 0,
}


def stock_shelf(catalogue: Catalogue, item_ids: tuple[str, ...]) -> Shelf:
    """Lay out `item_ids`; an item that a catalogue with any items does not know is delisted."""
    aligned = catalogue.aligned(item_ids)
    sold = aligned.in_stock.astype(np.bool_)
    if len(catalogue):
        known = frozenset(catalogue.item_ids)
        sold = sold & np.fromiter((item in known for item in item_ids), np.bool_, len(item_ids))
    return Shelf(
        item_ids=item_ids,
        sold=sold,
        limits=aligned.min_age.astype(np.int32),
        sensitive=np.fromiter((bool(kind) for kind in aligned.sensitive), np.bool_, len(item_ids)),
        group=_numbered(aligned.group_id),
        categories=tuple(str(path) for path in aligned.category),
    )


def _numbered(groups: Iterable[str]) -> Int32:
    """Number products; an item without a group is a product of its own."""
    numbers: dict[str, int] = {}
    out = []
    for row, group in enumerate(groups):
        out.append(numbers.setdefault(f"g{group}" if group else f"i{row}", len(numbers)))
    return np.array(out, np.int32)


class Shelves:
    """The shelf of the model and the catalogue in use, laid out anew when either changes."""

    def __init__(self) -> None:
        self._laid_out: tuple[Catalogue, Served | None, Shelf] | None = None

    def shelf(self, catalogue: Catalogue | None, served: Served | None) -> Shelf:
        """Give the shelf; without a model, that of the catalogue itself.

        A catalogue that could never be read is an empty shelf: nobody knows what is sensitive or limited in age.
        """
        if catalogue is None:
            bare = stock_shelf(Catalogue.empty(), () if served is None else served.artefact.item_ids)
            return replace(bare, sold=np.zeros(len(bare.item_ids), np.bool_))
        # Read once: the thread that settles a new model may replace it between two looks.
        laid_out = self._laid_out
        if laid_out is not None and laid_out[0] is catalogue and laid_out[1] is served:
            return laid_out[2]
        shelf = stock_shelf(catalogue, catalogue.item_ids if served is None else served.artefact.item_ids)
        self._laid_out = (catalogue, served, shelf)
        if len(shelf.item_ids) and (shelf.limits == AGE_UNKNOWN).all():
            log.warning(
                "no item has a stated age limit: callers who may be minors see an empty list, and so does everybody "
                "while the store cannot be read; state min_age"
            )
        return shelf
