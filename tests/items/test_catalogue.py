"""A catalogue is arrays in the order of its ids, and follows the ids of a model."""

import numpy as np
import pytest

from considerate.items.catalogue import AGE_UNKNOWN, Catalogue


def shop() -> Catalogue:
    return Catalogue(
        item_ids=("a", "b"),
        group_id=np.array(["", "g"], object),
        title=np.array(["Soup", "Beer"], object),
        category=np.array(["Food", "Drinks"], object),
        brand=np.array(["", ""], object),
        image_url=np.array(["", ""], object),
        price=np.array([1.5, 2.5], np.float32),
        min_age=np.array([0, 16], np.int16),
        sensitive=np.array(["", ""], object),
        in_stock=np.array([False, True], np.bool_),
        features={"colour": np.array(["red", ""], object)},
    )


def test_an_unknown_item_is_in_stock_without_title_price_and_age_limit() -> None:
    aligned = shop().aligned(["a", "aa", "b"])
    assert aligned.item_ids == ("a", "aa", "b")
    assert aligned.title.tolist() == ["Soup", "", "Beer"]
    assert aligned.min_age.tolist() == [0, AGE_UNKNOWN, 16]
    assert aligned.in_stock.tolist() == [False, True, True]
    assert np.isnan(aligned.price[1])
    assert aligned.features["colour"].tolist() == ["red", "", ""]


def test_alignment_drops_items_that_the_model_lacks() -> None:
    assert shop().aligned(["b"]).title.tolist() == ["Beer"]


def test_alignment_to_its_own_ids_is_itself() -> None:
    catalogue = shop()
    assert catalogue.aligned(["a", "b"]) is catalogue


@pytest.mark.parametrize("ids", [("b", "a"), ("a", "a")])
def test_ids_out_of_order_or_repeated_are_refused(ids: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match="distinct and sorted"):
        shop().aligned(ids)


def test_an_empty_catalogue_aligns_to_any_ids() -> None:
    assert len(Catalogue.empty()) == 0
    assert Catalogue.empty().aligned(["x"]).item_ids == Catalogue.of_ids(["x"]).item_ids
