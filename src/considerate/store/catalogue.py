"""The catalogue in the store: the authority on stock, price and age limits of every item."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import Connection, select, update

from considerate.items.catalogue import Catalogue
from considerate.store.engine import require_writing
from considerate.store.statements import chunks, upsert
from considerate.store.tables import catalogue_state, item

_COLUMNS = tuple(item.columns.keys())
_NAMES = tuple(name for name in _COLUMNS if name != "changed_in")
_KNOWN = [item.c[name] for name in _NAMES]
_TEXT = ("group_id", "title", "category", "brand", "image_url", "sensitive")


def upsert_items(conn: Connection, catalogue: Catalogue) -> int:
    """Add new items and replace those that differ; give how many rows changed.

    Items that the catalogue does not name stay as they are. The version rises only if something changed, so a feed
    that is loaded again leaves every cache valid.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    """
    require_writing(conn)
    changed: list[dict[str, Any]] = []
    for part in chunks(_rows(catalogue)):
        query = select(*_KNOWN).where(item.c.item_id.in_([row[0] for row in part]))
        stored = {row.item_id: tuple(row) for row in conn.execute(query)}
        changed += [dict(zip(_NAMES, row, strict=True)) for row in part if stored.get(row[0]) != row]
    if changed:
        version = _raise_version(conn)
        conn.execute(upsert(conn, item), [{**row, "changed_in": version} for row in changed])
    return len(changed)


def change_item(conn: Connection, item_id: str, values: Mapping[str, Any]) -> bool | None:
    """Change some columns of one item; give whether anything is different now, None where there is no such item.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    values
        Column of the table `item` -> value.
    """
    require_writing(conn)
    stored = conn.execute(select(item).where(item.c.item_id == item_id)).mappings().first()
    if stored is None:
        return None
    changed = {name: value for name, value in values.items() if stored[name] != value}
    if changed:
        changed["changed_in"] = _raise_version(conn)
        conn.execute(update(item).where(item.c.item_id == item_id), changed)
    return bool(changed)


def read_catalogue(conn: Connection, *, since: int | None = None) -> Catalogue:
    """Read every item, or those alone that changed after the version `since`: see `Catalogue.updated`."""
    query = select(*_KNOWN)
    if since is not None:
        query = query.where(item.c.changed_in > since)
    # Sorted here and not by the database, whose order of text depends on its collation.
    rows = sorted(conn.execute(query).all(), key=lambda row: row.item_id)
    columns: dict[str, Sequence[Any]] = {name: [row[place] for row in rows] for place, name in enumerate(_NAMES)}
    features = sorted({name for values in columns["features"] for name in values})
    return Catalogue(
        item_ids=tuple(columns["item_id"]),
        **{name: np.array(columns[name], dtype=object) for name in _TEXT},
        price=np.array(columns["price"], np.float64).astype(np.float32),  # float64 first: it reads None as NaN
        min_age=np.array(columns["min_age"], np.int16),
        in_stock=np.array(columns["in_stock"], np.bool_),
        features={
            name: np.array([values.get(name, "") for values in columns["features"]], dtype=object) for name in features
        },
    )


def catalogue_version(conn: Connection) -> int:
    """Give how often the catalogue has changed: part of the key of everything derived from it."""
    return conn.execute(select(catalogue_state.c.version)).scalar() or 0


def _raise_version(conn: Connection) -> int:
    version = catalogue_version(conn) + 1
    conn.execute(upsert(conn, catalogue_state), {"id": 1, "version": version})
    return version


def _rows(catalogue: Catalogue) -> list[tuple[Any, ...]]:
    text = {name: getattr(catalogue, name) for name in _TEXT}
    rows = []
    for row, item_id in enumerate(catalogue.item_ids):
        price = float(catalogue.price[row])
        values = {
            "item_id": item_id,
            **{name: str(column[row]) for name, column in text.items()},
            "price": None if math.isnan(price) else price,
            "min_age": int(catalogue.min_age[row]),
            "in_stock": bool(catalogue.in_stock[row]),
            "features": {name: str(column[row]) for name, column in sorted(catalogue.features.items())},
        }
        rows.append(tuple(values[name] for name in _NAMES))
    return rows
