"""Lists follow consent: without it nobody's history is read, with it the very next answer knows."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.ranking.scores import Scores
from considerate.serving.models import OneModel
from considerate.serving.standing import Customers
from considerate.store.catalogue import upsert_items
from considerate.store.engine import open_store, writing

if TYPE_CHECKING:
    from tests.serving.conftest import World

ON_SITE = Purpose.PERSONALISE_ONSITE


def ids(answer: dict[str, Any]) -> list[str]:
    return [entry["item_id"] for entry in answer["items"]]


def test_a_customer_without_a_record_gets_the_popular_list_and_no_read_of_the_history(world: "World") -> None:
    world.know("ann")
    world.buy("ann", "milk")
    answer = world.ask("ann")
    assert (answer["basis"], answer["reason"]) == ("non_personalised", "no_consent")
    assert ids(answer) == ["beer", "bread", "honey", "milk", "shirt-m", "tea"]
    assert world.customers.history_reads == 0


def test_with_consent_the_list_follows_what_was_bought_and_says_so(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    answer = world.ask("ann")
    assert (answer["basis"], answer["reason"]) == ("personalised", "ok")
    assert ids(answer)[:2] == ["tea", "honey"]
    assert answer["items"][0] == {"item_id": "tea", "slot": 0, "because": ["milk"]}
    assert answer["model_version"] == "considerate-1"
    assert answer["consent_epoch"] >= 1


def test_withdrawal_is_effective_on_the_next_request(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    assert world.ask("ann")["basis"] == "personalised"
    answer = world.client()("DELETE", "/v1/me/consents/personalise_onsite", headers=world.token("ann"))
    assert answer.status_code == 200
    reads = world.customers.history_reads
    after = world.ask("ann")
    assert (after["basis"], after["reason"]) == ("non_personalised", "withdrawn")
    assert world.customers.history_reads == reads
    assert after["consent_epoch"] == answer.json()["consent_epoch"]


@pytest.mark.parametrize("purpose", [p for p in Purpose if p is not ON_SITE])
def test_no_other_purpose_opens_the_history(world: "World", purpose: Purpose) -> None:
    world.know("ann", purpose)
    world.buy("ann", "milk")
    assert world.ask("ann")["reason"] == "no_consent"
    assert world.customers.history_reads == 0


def test_consent_without_any_event_gives_the_popular_list(world: "World") -> None:
    world.know("ann", ON_SITE)
    answer = world.ask("ann")
    assert (answer["basis"], answer["reason"]) == ("non_personalised", "no_history")
    assert ids(answer)[0] == "beer"


def test_till_purchases_are_read_only_with_their_own_consent(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk", channel="store")
    assert world.ask("ann")["reason"] == "no_history"
    world.know("ann", Purpose.LINK_IN_STORE)
    assert ids(world.ask("ann"))[0] == "tea"
    gpc = world.ask("ann", headers={"Sec-GPC": "1"})
    assert (gpc["reason"], gpc["gpc"]) == ("no_history", "honoured"), "the signal denies linking, not suggestions"


def test_one_list_can_be_had_without_profiling(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    reads = world.customers.history_reads
    answer = world.ask("ann", "/v1/me/recommendations?mode=non_personalised")
    assert (answer["basis"], answer["reason"]) == ("non_personalised", "mode_requested")
    assert world.customers.history_reads == reads


@pytest.mark.parametrize("age_band", ["u13", "13_15", "16_17", "unknown"])
def test_minors_and_unknown_ages_are_never_profiled_nor_shown_what_has_an_age_limit(
    world: "World", age_band: str
) -> None:
    world.know("kim", ON_SITE, Purpose.SENSITIVE_CATEGORIES, age_band=age_band)
    world.buy("kim", "milk")
    for surface in ("home", "discover", "again"):
        answer = world.ask("kim", f"/v1/me/recommendations?surface={surface}&n=100")
        assert (answer["basis"], answer["reason"]) == ("non_personalised", "minor_or_age_unknown")
        assert ids(answer) == ["bread", "honey", "milk", "shirt-m", "tea"]
    assert world.customers.history_reads == 0


def test_what_is_out_of_stock_sensitive_or_a_variant_of_a_listed_product_is_left_out_of_every_list(
    world: "World",
) -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "bread", "milk", "aspirin-test")
    for path in (
        "/v1/me/recommendations?n=100",
        "/v1/me/recommendations?n=100&context=bread&context=milk&mode=non_personalised",
        "/v1/recommendations/default?n=100&context=bread",
        "/v1/recommendations/default?n=100",
    ):
        listed = ids(world.ask("ann", path))
        assert not {"gone-jam", "aspirin-test"} & set(listed), path
        assert not {"shirt-m", "shirt-s"} <= set(listed), path
        assert listed, path


def test_purchases_of_sensitive_goods_are_not_read_unless_allowed_in_words_of_its_own(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "aspirin-test")
    assert world.ask("ann")["reason"] == "no_history"
    world.know("ann", Purpose.SENSITIVE_CATEGORIES)
    answer = world.ask("ann")
    assert answer["basis"] == "personalised"
    assert ids(answer)[0] == "tea"
    assert "aspirin-test" in ids(answer)


def test_discover_leaves_out_what_was_bought_and_again_does_not(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "bread", "milk")
    assert not {"bread", "milk"} & set(ids(world.ask("ann", "/v1/me/recommendations?surface=discover&n=50")))
    assert {"bread", "milk"} <= set(ids(world.ask("ann", "/v1/me/recommendations?surface=again&n=50")))


def test_a_dismissed_item_does_not_come_back_until_liked(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")

    def say(kind: str, event_id: str) -> None:
        event = {"event_id": event_id, "kind": kind, "item_id": "tea"}
        answer = world.client()("POST", "/v1/me/events", json={"events": [event]}, headers=world.token("ann"))
        assert answer.json() == {"results": [{"event_id": event_id, "status": "stored"}]}

    say("dismiss", "1")
    assert "tea" not in ids(world.ask("ann"))
    world.clock.now += timedelta(seconds=1)
    say("like", "2")
    assert "tea" in ids(world.ask("ann"))


@pytest.mark.parametrize(
    ("kind", "new"), [("view", True), ("click", True), ("cart", True), ("like", True), ("rating", False)]
)
def test_discover_leaves_out_only_what_was_bought_or_rated(world: "World", kind: str, new: bool) -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    say(world, kind, "tea")
    assert ("tea" in ids(world.ask("ann", "/v1/me/recommendations?surface=discover&n=50"))) is new


@pytest.mark.parametrize(
    ("kind", "back"),
    [("view", False), ("click", False), ("like", True), ("cart", True), ("rating", True), ("purchase", True)],
)
def test_only_a_clear_yes_takes_a_dismissal_back(world: "World", kind: str, back: bool) -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    say(world, "dismiss", "tea")
    world.clock.now += timedelta(seconds=1)
    say(world, kind, "tea")
    assert ("tea" in ids(world.ask("ann", "/v1/me/recommendations?n=50"))) is back
    world.clock.now += timedelta(seconds=1)
    say(world, "dismiss", "tea")
    assert "tea" not in ids(world.ask("ann", "/v1/me/recommendations?n=50"))


def say(world: "World", kind: str, item: str) -> None:
    event: dict[str, Any] = {"event_id": f"{kind}-{world.clock.now}", "kind": kind, "item_id": item}
    if kind == "purchase":
        headers = world.token("till", "events:write")
        answer = world.client()(
            "POST",
            "/v1/events",
            json={"events": [{**event, "customer_id": "ann", "timestamp": world.clock.now.isoformat()}]},
            headers=headers,
        )
    else:
        event |= {"value": 4} if kind == "rating" else {}
        answer = world.client()("POST", "/v1/me/events", json={"events": [event]}, headers=world.token("ann"))
    assert [result["status"] for result in answer.json()["results"]] == ["stored"]


def test_context_moves_the_list_of_someone_who_is_logged_out_and_is_not_listed_itself(world: "World") -> None:
    listed = ids(world.ask("nobody", "/v1/recommendations/default?context=milk"))
    assert listed[:2] == ["tea", "honey"]
    assert "milk" not in listed


def test_exclude_and_category_narrow_a_list(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    assert ids(world.ask("ann", "/v1/me/recommendations?exclude=tea"))[0] == "honey"
    assert set(ids(world.ask("ann", "/v1/me/recommendations?category=FOOD"))) == {"beer", "milk", "tea"}
    assert ids(world.ask("ann", "/v1/me/recommendations?category=FOO")) == []


def test_a_returned_purchase_counts_no_longer(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    event = {"customer_id": "ann", "event_id": "back", "kind": "return", "item_id": "milk"}
    world.client()("POST", "/v1/events", json={"events": [event]}, headers=world.token("till", "events:write"))
    assert world.ask("ann")["reason"] == "no_history"


def test_without_a_model_the_catalogue_stands_in(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    answer = world.ask("ann", models=OneModel(None))
    assert (answer["basis"], answer["reason"]) == ("non_personalised", "model_unavailable")
    assert answer["model_version"] is None
    assert ids(answer) == ["beer", "bread", "honey", "milk", "shirt-m", "tea"]


class Failing:
    """A model that fails at its first score."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def score(self, *_: object, **__: object) -> Scores:
        raise ZeroDivisionError("milk bought by ann")


def test_a_model_that_fails_costs_nobody_the_list_and_tells_the_log_nothing(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    served = world.resources.models.current()
    assert served is not None
    failing = OneModel(replace(served, artefact=Failing(served.artefact)))
    answer = world.ask("ann", models=failing)
    assert (answer["basis"], answer["reason"]) == ("non_personalised", "model_unavailable")
    assert ids(answer)
    assert "ZeroDivisionError" in caplog.text
    assert "bought by" not in caplog.text
    assert world.ask("ann", "/v1/recommendations/default?context=milk", models=failing)["items"]


class Unreadable:
    """A store that answers everything but one question."""

    def __init__(self, inner: Customers, broken: str) -> None:
        self._inner, self._broken = inner, broken

    def __getattr__(self, name: str) -> Any:
        if name == self._broken:
            return self._fail
        return getattr(self._inner, name)

    def _fail(self, *_: object, **__: object) -> None:
        raise StoreError("considerate.db: locked by another process")


@pytest.mark.parametrize("broken", ["standing", "history"])
def test_where_the_store_does_not_answer_the_list_is_nobodys_own(world: "World", broken: str) -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    answer = world.ask("ann", customers=Unreadable(world.customers, broken))
    assert (answer["basis"], answer["reason"]) == ("non_personalised", "consent_unavailable")
    assert ids(answer)[:2] == (["beer", "bread"] if broken == "history" else ["bread", "honey"])


def test_while_consent_cannot_be_read_nothing_with_an_age_limit_is_shown_even_where_unknown_means_adult(
    tmp_path: Path, build_world: "Callable[..., World]"
) -> None:
    world = build_world(tmp_path, unknown_age="adult")
    assert ids(world.ask("anyone"))[0] == "beer"
    answer = world.ask("anyone", customers=Unreadable(world.customers, "standing"))
    assert answer["reason"] == "consent_unavailable"
    assert "beer" not in ids(answer)


def test_a_change_of_the_catalogue_is_effective_on_the_next_request(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    assert ids(world.ask("ann"))[0] == "tea"
    catalogue = world.customers.catalogue()
    assert catalogue is not None
    stock = catalogue.in_stock.copy()
    stock[catalogue.item_ids.index("tea")] = False
    engine = open_store(world.url, create=False)
    with writing(engine) as conn:
        upsert_items(conn, replace(catalogue, in_stock=stock))
    engine.dispose()
    assert "tea" not in ids(world.ask("ann"))


def test_lists_are_short_rather_than_padded_and_capped_by_the_service(world: "World") -> None:
    answer = world.ask("ann", "/v1/me/recommendations?n=100000")
    assert len(answer["items"]) == 5
    assert [entry["slot"] for entry in answer["items"]] == [0, 1, 2, 3, 4]
    assert len(world.ask("ann", "/v1/me/recommendations?n=2")["items"]) == 2


def test_two_answers_never_share_a_decision_id(world: "World") -> None:
    assert world.ask("ann")["decision_id"] != world.ask("ann")["decision_id"]


def test_a_catalogue_that_could_never_be_read_leaves_every_list_empty(world: "World") -> None:
    """Nobody knows then what is sensitive or limited in age."""

    class NoCatalogue(Unreadable):
        def catalogue(self) -> None:
            return None

    answer = world.ask("ann", customers=NoCatalogue(world.customers, "standing"))
    assert (answer["reason"], answer["items"]) == ("consent_unavailable", [])


def test_an_unforeseen_error_in_the_store_costs_nobody_the_list(world: "World") -> None:
    class Odd(Unreadable):
        def _fail(self, *_: object, **__: object) -> None:
            raise RuntimeError("odd")

    answer = world.ask("ann", customers=Odd(world.customers, "standing"))
    assert answer["reason"] == "consent_unavailable"
    assert ids(answer)


def test_a_catalogue_that_cannot_be_understood_costs_nobody_an_answer(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    class Damaged(Unreadable):
        def _fail(self, *_: object, **__: object) -> None:
            raise ValueError("ann's features are no JSON")

    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    for path in ("/v1/me/recommendations", "/v1/recommendations/default"):
        answer = world.ask("ann", path, customers=Damaged(world.customers, "catalogue"))
        assert (answer["basis"], answer["items"]) == ("non_personalised", [])
    assert "ValueError at" in caplog.text
    assert "ann's" not in caplog.text


def test_what_is_on_the_page_is_not_suggested_to_its_reader(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    answer = world.ask("ann", "/v1/me/recommendations?context=tea")
    assert answer["basis"] == "personalised"
    assert ids(answer)[0] == "honey"
    assert "tea" not in ids(answer)
