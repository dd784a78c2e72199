"""The catalogue from the shop's systems: stock, prices, age limits; in force with the next request of anybody."""

from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Depends, Path
from fastapi.concurrency import run_in_threadpool
from pydantic import BaseModel, Field, StringConstraints
from sqlalchemy import Connection

from considerate.errors import StoreError
from considerate.items.catalogue import AGE_UNKNOWN, Catalogue
from considerate.serving.problems import Problem, store_busy
from considerate.serving.resources import BEARER, Resources, door
from considerate.serving.schemas import MAX_ID, PLAIN_TEXT, Id, Input, Name, Whole
from considerate.serving.tokens import Caller, Scope
from considerate.store.catalogue import catalogue_version, change_item, upsert_items

CLASSLESS = "none"
"""What the shop says of an item that belongs to no sensitive class."""

UNCLASSIFIED = "unknown"
"""Sensitive class of an item of which the shop says nothing: held back until it does."""

Text = Annotated[str, StringConstraints(max_length=2_000, pattern=PLAIN_TEXT)]
Price = Annotated[float, Field(strict=True, allow_inf_nan=False, ge=0, le=1e9)]
Years = Annotated[Whole, Field(ge=0, le=150)]
Features = Annotated[dict[Name, Text], Field(max_length=100)]
Class = Annotated[Name | None, Field(description=f"Sensitive class; `{CLASSLESS}` for an item that has none.")]
AgeLimit = Annotated[Years | None, Field(description="0 for no limit; unsaid it is unknown, and minors do not see it.")]


class ItemChange(Input):
    """What changes of an item; what is not named stays."""

    group_id: Text = ""
    title: Text = ""
    category: Text = ""
    brand: Text = ""
    image_url: Text = ""
    price: Price | None = None
    min_age: AgeLimit = None
    sensitive: Class = None
    in_stock: Annotated[bool, Field(strict=True, description="False for an item that is sold out or delisted.")] = True
    features: Features = Field(default_factory=dict)


class Item(ItemChange):
    """An item, whole."""

    item_id: Id


class Items(Input):
    """Items, whole; those that are not named stay as they are."""

    items: Annotated[list[Item], Field(min_length=1)]


class CatalogueChange(BaseModel):
    """What became of the catalogue."""

    changed: Annotated[int, Field(description="Items that differ from before.")]
    catalogue_version: int


def item_routes(resources: Resources) -> APIRouter:
    """Routes of the catalogue."""
    router = APIRouter(tags=["catalogue"], dependencies=[Depends(BEARER)])
    shop = door(resources.verifier, Scope.CATALOGUE_WRITE)
    customers, most = resources.customers, resources.config.limits.items

    @router.put("/v1/items", summary="Add or replace items")
    async def put_items(body: Items, _: Annotated[Caller, Depends(shop)]) -> CatalogueChange:
        """In bulk, all or none; the same items again change nothing. An item without a class is held back."""
        if len(body.items) > most:
            raise Problem(413, "too-many-items", f"At most {most} items in one request; send them in parts.")
        ids = [item.item_id for item in body.items]
        if len(set(ids)) < len(ids):
            raise Problem(422, "invalid", "items names the same item_id twice; send each item once.")
        return await _changed(partial(_put, items=body.items))

    @router.patch("/v1/items/{item_id:path}", summary="Change an item")
    async def patch_item(
        item_id: Annotated[str, Path(min_length=1, max_length=MAX_ID, pattern=PLAIN_TEXT)],
        body: ItemChange,
        _: Annotated[Caller, Depends(shop)],
    ) -> CatalogueChange:
        """Stock, price, age limit, class: what the body names. The id stands in the path, percent-encoded."""
        values = {name: value for name, value in _columns(body).items() if name in body.model_fields_set}
        if not values:
            raise Problem(422, "invalid", "The body names no field; send what changes, such as in_stock.")
        return await _changed(partial(_patch, item_id=item_id, values=values))

    async def _changed(change: Any) -> CatalogueChange:
        try:
            made: CatalogueChange | None = await run_in_threadpool(customers.change_catalogue, change)
        except StoreError:
            raise store_busy() from None
        if made is None:
            raise Problem(404, "unknown-item", "No item of this id; add it with PUT /v1/items.")
        return made

    return router


def _put(conn: Connection, items: list[Item]) -> CatalogueChange:
    changed = upsert_items(conn, _catalogue(items))
    return CatalogueChange(changed=changed, catalogue_version=catalogue_version(conn))


def _patch(conn: Connection, item_id: str, values: dict[str, Any]) -> CatalogueChange | None:
    changed = change_item(conn, item_id, values)
    if changed is None:
        return None
    return CatalogueChange(changed=int(changed), catalogue_version=catalogue_version(conn))


def _columns(item: ItemChange) -> dict[str, Any]:
    """Give the values as the store holds them."""
    return {
        **item.model_dump(exclude={"item_id"}),
        "price": None if item.price is None else float(np.float32(item.price)),
        "min_age": AGE_UNKNOWN if item.min_age is None else item.min_age,
        "sensitive": "" if item.sensitive == CLASSLESS else item.sensitive or UNCLASSIFIED,
    }


def _catalogue(items: list[Item]) -> Catalogue:
    ordered = sorted(items, key=lambda item: item.item_id)
    rows = [_columns(item) for item in ordered]
    features = sorted({name for item in ordered for name in item.features})

    def text(values: list[str]) -> Any:
        return np.array(values, dtype=object)

    return Catalogue(
        item_ids=tuple(item.item_id for item in ordered),
        group_id=text([row["group_id"] for row in rows]),
        title=text([row["title"] for row in rows]),
        category=text([row["category"] for row in rows]),
        brand=text([row["brand"] for row in rows]),
        image_url=text([row["image_url"] for row in rows]),
        price=np.array([np.nan if row["price"] is None else row["price"] for row in rows], np.float32),
        min_age=np.array([row["min_age"] for row in rows], np.int16),
        sensitive=text([row["sensitive"] for row in rows]),
        in_stock=np.array([row["in_stock"] for row in rows], np.bool_),
        features={name: text([row["features"].get(name, "") for row in rows]) for name in features},
    )
