"""The catalogue in the store: what goes in comes out, and its version rises only with a change."""

from dataclasses import replace

import numpy as np
import pytest
from sqlalchemy import Engine

from considerate.errors import StoreError
from considerate.items.catalogue import Catalogue
from considerate.store.catalogue import catalogue_version, change_item, read_catalogue, upsert_items
from considerate.store.engine import reading, writing


def shelf() -> Catalogue:
    return replace(
        Catalogue.of_ids(["milk", "wine", "Äpfel"]),
        title=np.array(["Milk 1 l", "Wine", "Äpfel"], dtype=object),
        category=np.array(["DAIRY > MILK", "DRINKS", ""], dtype=object),
        sensitive=np.array(["", "alcohol", ""], dtype=object),
        price=np.array([0.99, np.nan, 2.5], np.float32),
        min_age=np.array([0, 18, -1], np.int16),
        in_stock=np.array([True, False, True]),
        features={"origin": np.array(["DE", "FR", ""], dtype=object)},
    )


def assert_equal(one: Catalogue, other: Catalogue) -> None:
    assert one.item_ids == other.item_ids
    for name in ("group_id", "title", "category", "brand", "image_url", "sensitive", "price", "min_age", "in_stock"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)
        assert getattr(one, name).dtype == getattr(other, name).dtype, name
    assert one.features.keys() == other.features.keys()
    for name, values in one.features.items():
        np.testing.assert_array_equal(values, other.features[name])


def test_a_catalogue_comes_back_as_it_went_in(engine: Engine) -> None:
    with writing(engine) as conn:
        assert upsert_items(conn, shelf()) == 3
    with reading(engine) as conn:
        assert_equal(read_catalogue(conn), shelf())


def test_an_empty_store_has_an_empty_catalogue(engine: Engine) -> None:
    with reading(engine) as conn:
        assert_equal(read_catalogue(conn), Catalogue.empty())
        assert catalogue_version(conn) == 0


def test_the_same_feed_again_changes_nothing(engine: Engine) -> None:
    with writing(engine) as conn:
        upsert_items(conn, shelf())
        assert upsert_items(conn, shelf()) == 0
        assert catalogue_version(conn) == 1


def test_one_changed_price_replaces_one_row_and_raises_the_version(engine: Engine) -> None:
    dearer = replace(shelf(), price=np.array([1.09, np.nan, 2.5], np.float32))
    with writing(engine) as conn:
        upsert_items(conn, shelf())
        assert upsert_items(conn, dearer) == 1
        assert catalogue_version(conn) == 2
        assert_equal(read_catalogue(conn), dearer)


def test_items_that_a_feed_does_not_name_stay(engine: Engine) -> None:
    with writing(engine) as conn:
        upsert_items(conn, shelf())
        upsert_items(conn, Catalogue.of_ids(["bread"]))
        both = read_catalogue(conn)
    assert both.item_ids == ("bread", "milk", "wine", "Äpfel")
    assert both.features["origin"].tolist() == ["", "DE", "FR", ""]


def test_what_changed_since_a_version_brings_an_older_reading_up_to_date(engine: Engine) -> None:
    feed = Catalogue.of_ids(["bread", "milk"])
    feed = replace(feed, min_age=np.array([0, 6], np.int16), features={"origin": np.array(["AT", "DE"], dtype=object)})
    with writing(engine) as conn:
        upsert_items(conn, shelf())
        older, version = read_catalogue(conn), catalogue_version(conn)
        assert older.updated(read_catalogue(conn, since=version)) is older
        upsert_items(conn, feed)
        change_item(conn, "wine", {"in_stock": True})
        changes = read_catalogue(conn, since=version)
        assert changes.item_ids == ("bread", "milk", "wine")
        assert_equal(older.updated(changes), read_catalogue(conn))


def test_the_catalogue_is_written_under_the_write_lock_only(engine: Engine) -> None:
    with reading(engine) as conn, pytest.raises(StoreError, match="write lock"):
        upsert_items(conn, shelf())
