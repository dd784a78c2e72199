"""What anybody may know: everything that a list can depend on, made from the code and the running configuration."""

from collections.abc import Callable
from dataclasses import fields, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import insert

from considerate.consent.decision import SubjectFacts
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.ranking.history import Channel, History, Kind
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.two_stage_columns import feature_names
from considerate.ranking.weighting import Weighting
from considerate.serving.lists import Wish
from considerate.serving.models import OneModel, Served
from considerate.serving.shelves import Shelf
from considerate.serving.signals import ACCOUNT, CATALOGUE, FEATURES, HISTORY, REQUEST, SIGNALS, weights_in_words
from considerate.store.engine import open_store, writing
from considerate.store.tables import preference

if TYPE_CHECKING:
    from tests.serving.conftest import World

PATH = "/v1/transparency/recommender"


def published(world: "World", **changes: Any) -> dict[str, Any]:
    answer = world.client(**changes)("GET", PATH)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


@pytest.mark.parametrize(
    ("register", "read"), [(HISTORY, History), (REQUEST, Wish), (ACCOUNT, SubjectFacts), (CATALOGUE, Shelf)]
)
def test_the_register_names_each_thing_that_the_code_reads_and_no_other(register: Any, read: Any) -> None:
    assert {signal.name for signal in register} ^ {field.name for field in fields(read)} == set()
    assert len({signal.name for signal in register}) == len(register)


def test_every_feature_of_the_second_stage_is_named() -> None:
    named = [name for names in FEATURES.values() for name in names]
    assert set(named) ^ set(feature_names(())) == set()
    assert len(named) == len(set(named))


def test_every_signal_of_the_register_is_published_with_a_way_to_change_it(world: "World") -> None:
    signals = published(world)["signals"]
    assert [one["name"] for one in signals] == [signal.name for signal in SIGNALS]
    for one in signals:
        assert one["what"].endswith("."), one
        assert one["change"].endswith("."), one
        personal = one["origin"] in ("history", "stated")
        assert ("personalise_onsite" in one["read_under"]) == personal, one


def test_what_is_said_not_to_be_read_is_not_read(world: "World") -> None:
    ann = world.know("ann", Purpose.PERSONALISE_ONSITE, Purpose.LINK_IN_STORE)
    world.buy("ann", "milk")
    engine = open_store(world.url, create=False)
    stated = [("item", "tea", "like"), ("category", "FOOD", "dislike"), ("item", "beer", "dislike")]
    with writing(engine) as conn:
        for kind, key, says in stated:
            row = {"subject_ref": ann, "kind": kind, "key": key, "polarity": says, "stated_at": 0}
            conn.execute(insert(preference), row)
    engine.dispose()
    history = world.customers.history(world.customers.standing("ann"), {"milk": 0, "tea": 1, "beer": 2}, set(Channel))
    assert len(history) == 1
    unread = {signal.name for signal in SIGNALS if not signal.in_use}
    assert unread == {"attributes", "liked_items", "refused_items", "liked_categories", "refused_categories"}
    for name in unread:
        assert len(getattr(history, name)) == 0, f"{name} is read now: say so in the register"


def test_the_page_follows_the_running_configuration(world: "World", build_model: Callable[..., LinearItems]) -> None:
    body = published(world)
    assert body["surfaces"]["discover"] == "products you have not bought or rated"
    assert body["policies"] == {
        "unknown_age": "deny",
        "gpc_strict": False,
        "because": 2,
        "events_days": 730,
        "decisions_days": 90,
    }
    assert body["model"] == {
        "version": "considerate-1",
        "algorithm": "item_knn",
        "weights": weights_in_words(Weighting()),
        "features": {},
        "k_item": 10,
        "k_pair": 5,
    }
    assert {one["purpose"] for one in body["purposes"] if one["gpc_denies"]} == {
        "link_in_store",
        "email_campaign",
        "sensitive_categories",
    }
    policy = world.config.policy.model_copy(update={"gpc_strict": True, "unknown_age": "adult"})
    strict = published(world, config=world.config.model_copy(update={"policy": policy}), models=OneModel(None))
    assert all(one["gpc_denies"] for one in strict["purposes"])
    assert (strict["policies"]["unknown_age"], strict["model"]) == ("adult", None)
    model = build_model()
    staged = replace(model, manifest=model.manifest.model_copy(update={"kind": "two_stage", "weighting": None}))
    shown = published(world, models=OneModel(Served("v", staged, {})))["model"]
    assert shown["features"] == {group: list(names) for group, names in FEATURES.items()}
    assert shown["weights"] == {"events": "as the parts of the model decide, each by its own rule"}


def test_every_switch_is_published_as_the_rules_have_it(world: "World") -> None:
    shown = {one["purpose"]: one for one in published(world)["purposes"]}
    for purpose, rule in PURPOSE_RULES.items():
        assert shown[purpose]["days"] == rule.ttl_days
        assert shown[purpose]["widens"] == list(rule.requires)
        assert shown[purpose]["explicit"] == rule.explicit


def test_weights_are_words_and_no_numbers_but_half_lives() -> None:
    kinds: Any = {"purchase": 2.0, "cart": 1.0, "view": 0.0, "dismiss": -2.0}
    assert weights_in_words(Weighting(kinds=kinds, rating_slope=0.5, half_life_events=20)) == {
        "purchase": "most",
        "cart": "much",
        "view": "nothing",
        "dismiss": "against",
        "return": "takes the purchase back",
        "order": "an event loses half its weight with 20 later ones",
        "rating value": "the further above your own mean, the more it weighs",
    }
    assert {kind.name.lower() for kind in Kind} <= weights_in_words(Weighting()).keys()


def test_the_support_of_the_privacy_signal_is_published_as_its_specification_asks(world: "World") -> None:
    answer = world.client()("GET", "/.well-known/gpc.json")
    assert answer.headers["content-type"] == "application/json"
    body = answer.json()
    assert body["gpc"] is True
    assert date.fromisoformat(body["lastUpdate"]).isoformat() == body["lastUpdate"]


@pytest.mark.parametrize("path", [PATH, "/.well-known/gpc.json"])
def test_what_is_public_is_the_same_for_all_and_may_be_cached(world: "World", path: str) -> None:
    world.know("ann", Purpose.PERSONALISE_ONSITE)
    answers = [world.client()("GET", path, headers=headers) for headers in ({}, world.token("ann"), {"Cookie": "a=b"})]
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["cache-control"] == "public, max-age=60"
    assert "set-cookie" not in answers[0].headers
    assert world.customers.history_reads == 0
