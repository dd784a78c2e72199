"""The catalogue from the shop's systems: in force with the very next list, on every path to one."""

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from considerate.consent.purposes import Purpose
from considerate.serving.routes_items import Item, _catalogue, _columns

if TYPE_CHECKING:
    from tests.serving.conftest import World

SHOP = "catalogue:write"
ON_SITE = Purpose.PERSONALISE_ONSITE


def put(world: "World", *items: dict[str, Any]) -> httpx.Response:
    return world.client()("PUT", "/v1/items", json={"items": list(items)}, headers=world.token("feed", SHOP))


def patch(world: "World", item_id: str, /, **changes: Any) -> httpx.Response:
    return world.client()("PATCH", f"/v1/items/{item_id}", json=changes, headers=world.token("feed", SHOP))


def listed(world: "World", customer: str = "ann", query: str = "") -> list[str]:
    return [entry["item_id"] for entry in world.ask(customer, f"/v1/me/recommendations{query}")["items"]]


def default(world: "World", query: str = "") -> list[str]:
    answer = world.client()("GET", f"/v1/recommendations/default{query}")
    return [entry["item_id"] for entry in answer.json()["items"]]


@pytest.fixture
def shop(world: "World") -> "World":
    """Ann is an adult whose list begins with tea; Kim is a minor."""
    world.know("ann", ON_SITE)
    world.know("kim", age_band="13_15")
    world.buy("ann", "milk")
    assert listed(world)[0] == "tea"
    assert "tea" in listed(world, "kim")
    return world


@pytest.mark.parametrize(
    ("changes", "adult_sees_it"),
    [
        ({"in_stock": False}, False),
        ({"sensitive": "health"}, False),
        ({"sensitive": None}, False),
        ({"min_age": 99}, False),
        ({"min_age": 18}, True),
        ({"min_age": None}, True),
    ],
)
def test_a_change_holds_on_every_path_to_the_very_next_list(
    shop: "World", changes: dict[str, Any], adult_sees_it: bool
) -> None:
    answer = patch(shop, "tea", **changes)
    assert answer.status_code == 200
    assert answer.json()["changed"] == 1
    for query in ("", "?mode=non_personalised", "?context=milk", "?surface=discover", "?surface=again"):
        assert "tea" not in listed(shop, "kim", query), query
        assert adult_sees_it or "tea" not in listed(shop, "ann", query), query
    assert ("tea" in listed(shop)) == adult_sees_it
    for query in ("", "?context=milk"):
        assert "tea" not in default(shop, query), "someone of unknown age"


def test_a_change_taken_back_is_as_if_it_had_never_been(shop: "World") -> None:
    before = listed(shop), listed(shop, "kim"), default(shop)
    patch(shop, "tea", in_stock=False, min_age=18, sensitive="health", price=None)
    patch(shop, "tea", in_stock=True, min_age=0, sensitive="none", price=1)
    assert (listed(shop), listed(shop, "kim"), default(shop)) == before


def test_the_same_again_changes_nothing_and_leaves_every_cache_valid(shop: "World") -> None:
    first = patch(shop, "tea", price=2.49).json()
    assert patch(shop, "tea", price=2.49).json() == {"changed": 0, "catalogue_version": first["catalogue_version"]}
    item = {"item_id": "tea", "title": "Tea", "min_age": 0, "sensitive": "none", "features": {"leaf": "green"}}
    changed = put(shop, item).json()
    assert changed == {"changed": 1, "catalogue_version": first["catalogue_version"] + 1}
    assert put(shop, item).json() == {**changed, "changed": 0}


def test_many_items_at_once_replace_what_they_name_and_nothing_else(shop: "World") -> None:
    answer = put(
        shop,
        {"item_id": "tea", "in_stock": False},
        {"item_id": "honey", "min_age": 18, "sensitive": "none"},
        {"item_id": "new jam", "min_age": 0, "sensitive": "none", "price": 3.5, "category": "FOOD > JAM"},
    )
    assert answer.json()["changed"] == 3
    assert "tea" not in listed(shop)
    assert "honey" in listed(shop)
    assert "honey" not in listed(shop, "kim")
    assert "bread" in listed(shop, "kim")
    catalogue = shop.customers.catalogue()
    assert catalogue is not None
    place = catalogue.item_ids.index("new jam")
    assert (catalogue.category[place], float(catalogue.price[place])) == ("FOOD > JAM", 3.5)


def test_an_item_of_which_the_class_is_not_said_is_held_back_until_it_is(shop: "World") -> None:
    put(shop, {"item_id": "tea", "min_age": 0})
    assert "tea" not in listed(shop)
    shop.know("ann", Purpose.SENSITIVE_CATEGORIES)
    assert "tea" in listed(shop), "allowed in words of its own"
    patch(shop, "tea", sensitive="none")
    assert "tea" in listed(shop, "kim")


@pytest.mark.parametrize("item_id", ["a b", "a/b", "Käse 🧀", "x" * 1_000])
def test_any_item_id_can_be_changed(world: "World", item_id: str) -> None:
    assert put(world, {"item_id": item_id}).status_code == 200
    answer = patch(world, quote(item_id, safe=""), in_stock=False)
    assert (answer.status_code, answer.json()["changed"]) == (200, 1), answer.text


def test_an_unknown_item_is_404_and_makes_none(world: "World") -> None:
    answer = patch(world, "nothing", in_stock=False)
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:considerate:problem:unknown-item")
    catalogue = world.customers.catalogue()
    assert catalogue is not None
    assert "nothing" not in catalogue.item_ids


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"item_id": "other"},
        {"price": -1},
        {"price": "cheap"},
        {"price": 1e300},
        {"min_age": -1},
        {"min_age": 151},
        {"min_age": 17.5},
        {"in_stock": "perhaps"},
        {"sensitive": ""},
        {"sensitive": "a\nb"},
        {"title": "t" * 2_001},
        {"title": "a\x00"},
        {"in_stock": 0},
        {"price": "1.5"},
        {"price": True},
        {"min_age": "18"},
        {"min_age": True},
        {"features": {"": "x"}},
        {"features": {"leaf": 1}},
        {"features": {str(number): "x" for number in range(101)}},
        {"customer_id": "ann"},
    ],
)
def test_a_wrong_change_changes_nothing(shop: "World", changes: dict[str, Any]) -> None:
    before = shop.customers.catalogue()
    for answer in (patch(shop, "tea", **changes), put(shop, {"item_id": "bread"}, {**changes, "item_id": ""})):
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert shop.customers.catalogue() is before


def test_an_item_twice_or_too_many_items_are_refused(world: "World") -> None:
    twice = put(world, {"item_id": "tea"}, {"item_id": "tea"})
    assert (twice.status_code, "send each item once" in twice.text) == (422, True)
    many = put(world, *({"item_id": str(number)} for number in range(1_001)))
    assert (many.status_code, "1000 items" in many.text) == (413, True)
    assert put(world).status_code == 422


@pytest.mark.parametrize("scopes", [("me",), ("events:write",), ("export",), ("consents:write",), ("unknown",)])
def test_no_other_scope_changes_the_catalogue(shop: "World", scopes: tuple[str, ...]) -> None:
    for method, path, body in (
        ("PATCH", "/v1/items/tea", {"in_stock": False}),
        ("PUT", "/v1/items", {"items": [{"item_id": "tea", "in_stock": False}]}),
    ):
        answer = shop.client()(method, path, json=body, headers=shop.token("ann", *scopes))
        assert answer.status_code == 403
    assert "tea" in listed(shop)


ITEMS = st.builds(
    Item,
    item_id=st.text("abc", min_size=1, max_size=3),
    title=st.text("xyz", max_size=3),
    price=st.none() | st.floats(0, 1e6),
    min_age=st.none() | st.integers(0, 150),
    sensitive=st.sampled_from([None, "none", "health"]),
    in_stock=st.booleans(),
    features=st.dictionaries(st.sampled_from(["f", "g"]), st.text("v", max_size=2)),
)


@given(items=st.lists(ITEMS, min_size=1, max_size=6, unique_by=lambda item: item.item_id))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_an_item_reads_the_same_whether_it_came_alone_or_among_others(items: list[Item]) -> None:
    together = _catalogue(items)
    for item in items:
        alone, place = _catalogue([item]), together.item_ids.index(item.item_id)
        for name in ("title", "min_age", "sensitive", "in_stock"):
            assert getattr(alone, name)[0] == getattr(together, name)[place] == _columns(item)[name]
        for name, value in item.features.items():
            assert together.features[name][place] == value


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_the_store_that_is_away_says_so(world: "World") -> None:
    (world.home / "considerate.db").rename(world.home / "aside")
    for answer in (put(world, {"item_id": "tea"}), patch(world, "tea", in_stock=False)):
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
