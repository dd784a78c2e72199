"""Events: stored once, seen by the very next answer, and not at all where the customer allows nothing."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from considerate.consent.purposes import Purpose
from considerate.ranking.history import Channel
from considerate.serving.standing import Standing

if TYPE_CHECKING:
    from tests.serving.conftest import World

ON_SITE = Purpose.PERSONALISE_ONSITE


def send(world: "World", customer: str, *events: dict[str, Any], **headers: str) -> Any:
    return world.client()(
        "POST", "/v1/me/events", json={"events": list(events)}, headers={**world.token(customer), **headers}
    )


def view(item: str, event_id: str = "1", **more: Any) -> dict[str, Any]:
    return {"event_id": event_id, "kind": "view", "item_id": item, **more}


def statuses(answer: Any) -> list[str]:
    assert answer.status_code == 202, answer.text
    return [result["status"] for result in answer.json()["results"]]


def stored(world: "World", customer: str) -> int:
    index = {row: place for place, row in enumerate(("milk", "bread", "tea", "a b"))}
    return len(world.customers.history(world.customers.standing(customer), index, list(Channel)))


def test_a_page_event_changes_the_very_next_answer(world: "World") -> None:
    world.know("ann", ON_SITE)
    assert world.ask("ann")["reason"] == "no_history"
    assert statuses(send(world, "ann", view("milk", kind="like"))) == ["stored"]
    answer = world.ask("ann")
    assert (answer["basis"], answer["items"][0]["item_id"]) == ("personalised", "tea")


def test_a_purchase_changes_the_very_next_answer(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    assert world.ask("ann")["items"][0]["item_id"] == "tea"
    world.buy("ann", "bread", "bread", "bread", "bread")
    assert world.ask("ann")["items"][0]["item_id"] == "honey"


@pytest.mark.parametrize(
    "purposes", [(), (Purpose.EMAIL_CAMPAIGN, Purpose.LINK_IN_STORE, Purpose.SENSITIVE_CATEGORIES)]
)
def test_page_events_of_someone_who_allows_neither_suggestions_nor_training_are_not_stored(
    world: "World", purposes: tuple[Purpose, ...]
) -> None:
    world.know("ann", *purposes)
    assert statuses(send(world, "ann", view("milk"), view("bread", "2"))) == ["not_recorded", "not_recorded"]
    assert stored(world, "ann") == 0


@pytest.mark.parametrize("purpose", [ON_SITE, Purpose.TRAIN_MODELS])
def test_either_purpose_is_enough_to_store_a_page_event(world: "World", purpose: Purpose) -> None:
    world.know("ann", purpose)
    assert statuses(send(world, "ann", view("milk"))) == ["stored"]


def test_page_events_of_strangers_and_minors_are_not_stored(world: "World") -> None:
    world.know("kim", ON_SITE, Purpose.TRAIN_MODELS, age_band="16_17")
    assert statuses(send(world, "kim", view("milk"))) == ["not_recorded"]
    assert statuses(send(world, "stranger", view("milk"))) == ["not_recorded"]
    assert world.customers.standing("stranger").subject_ref is None


def test_an_event_sent_twice_is_stored_once_and_ids_are_each_customers_own(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.know("bob", ON_SITE)
    assert statuses(send(world, "ann", view("milk"), view("bread"))) == ["stored", "duplicate"]
    assert statuses(send(world, "ann", view("tea"))) == ["duplicate"]
    assert statuses(send(world, "bob", view("milk"))) == ["stored"]
    assert (stored(world, "ann"), stored(world, "bob")) == (1, 1)


def test_a_withdrawal_between_the_question_and_the_writing_wins(world: "World") -> None:
    world.know("ann", ON_SITE)

    class WithdrawnMeanwhile:
        """Customers of whom one withdraws as soon as she was found to allow recording."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.customers, name)

        def standing(self, customer: str) -> Standing:
            asked = world.customers.standing(customer)
            world.customers.withdraw(customer, [ON_SITE], at=world.clock.now)
            return asked

    client = world.client(customers=WithdrawnMeanwhile())
    answer = client("POST", "/v1/me/events", json={"events": [view("milk")]}, headers=world.token("ann"))
    assert statuses(answer) == ["not_recorded"]
    assert stored(world, "ann") == 0


def test_a_page_event_never_stands_in_the_way_of_a_purchase_with_the_same_id(world: "World") -> None:
    world.know("ann", ON_SITE)
    page = send(world, "ann", view("milk", "r9"))
    assert page.json() == {"results": [{"event_id": "r9", "status": "stored"}]}
    purchase = {"customer_id": "ann", "event_id": "r9", "kind": "purchase", "item_id": "milk"}
    till = world.client()(
        "POST", "/v1/events", json={"events": [purchase]}, headers=world.token("till", "events:write")
    )
    assert till.json() == {"results": [{"event_id": "r9", "status": "stored"}]}
    assert statuses(send(world, "ann", view("milk", "r9"))) == ["duplicate"]
    assert stored(world, "ann") == 2


def test_the_till_reports_for_many_customers_and_may_repeat_itself(world: "World") -> None:
    events = [
        {
            "customer_id": who,
            "event_id": "r1",
            "kind": "purchase",
            "item_id": "milk",
            "value": 2,
            "order_line": f"o-{who}",
        }
        for who in ("ann", "bob", "ann")
    ]
    headers = world.token("till", "events:write")
    first = world.client()("POST", "/v1/events", json={"events": events}, headers=headers)
    again = world.client()("POST", "/v1/events", json={"events": events}, headers=headers)
    assert statuses(first) == ["stored", "stored", "duplicate"]
    assert statuses(again) == ["duplicate", "duplicate", "duplicate"]
    assert (stored(world, "ann"), stored(world, "bob")) == (1, 1)


@pytest.mark.parametrize("kind", ["purchase", "return", "steal", "", None, 3])
def test_a_browser_cannot_assert_a_purchase(world: "World", kind: Any) -> None:
    world.know("ann", ON_SITE)
    answer = send(world, "ann", {"event_id": "1", "kind": kind, "item_id": "milk"})
    assert answer.status_code == 422
    assert stored(world, "ann") == 0


@pytest.mark.parametrize(
    "event",
    [
        view("milk", customer_id="bob"),
        view("milk", channel="store"),
        view("milk", value=5),
        view("milk", kind="rating"),
        view("milk", kind="rating", value=1e300),
        view(""),
        view("m" * 10_001),
        view("milk", ""),
        view("milk\x00"),
        view("milk", "1\n"),
        view("milk", surface="ho\x7fme"),
        view("milk", timestamp="yesterday"),
        view("milk", timestamp=0),
        view("milk", timestamp="0"),
        view("milk", timestamp="-5"),
        view("milk", timestamp="1700000000"),
        view("milk", timestamp="2026-11-22T12:00:00"),
        view("milk", timestamp="2030-01-01T00:00:00Z"),
        view("milk", timestamp="1901-01-01T00:00:00Z"),
        view("milk", decision_id="one"),
        {"kind": "view", "item_id": "milk"},
        "milk",
        None,
    ],
)
def test_one_wrong_event_stores_none_of_its_request(world: "World", event: Any) -> None:
    world.know("ann", ON_SITE)
    answer = send(world, "ann", view("bread", "good"), event)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert "bread" not in answer.text
    assert stored(world, "ann") == 0


@pytest.mark.parametrize(
    ("event", "kind", "says"),
    [
        (
            view("milk", timestamp="2030-01-01T00:00:00Z"),
            "time-in-the-future",
            "events -> 1 -> timestamp lies ahead of this server's clock: set the sender's clock, or leave timestamp "
            "out for now.",
        ),
        (
            view("milk", timestamp="1901-01-01T00:00:00Z"),
            "time-out-of-range",
            "events -> 1 -> timestamp lies before 1970: send when it happened, or leave timestamp out for now.",
        ),
        (view("milk", kind="rating"), "invalid", "events -> 1 -> value is missing: send the rating."),
        (
            view("milk", value=5),
            "invalid",
            "events -> 1 -> value is for kind rating alone: leave it out, or send a rating.",
        ),
    ],
)
def test_a_rule_that_an_event_breaks_names_the_event_and_what_to_do(
    world: "World", event: dict[str, Any], kind: str, says: str
) -> None:
    world.know("ann", ON_SITE)
    answer = send(world, "ann", view("bread", "good"), event)
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:considerate:problem:{kind}")
    assert answer.json()["detail"] == says


def test_the_till_cannot_take_the_id_of_a_page_event(world: "World") -> None:
    purchase = {"customer_id": "ann", "event_id": "r1", "kind": "purchase", "item_id": "milk"}
    events = [purchase, {**purchase, "event_id": "page:r2"}]
    answer = world.client()("POST", "/v1/events", json={"events": events}, headers=world.token("till", "events:write"))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:considerate:problem:reserved-event-id")
    assert answer.json()["detail"] == (
        "events -> 1 -> event_id begins with page:, which stands for events of a page: send it under another id."
    )
    assert world.customers.standing("ann").subject_ref is None


@pytest.mark.parametrize("item", ["a b", "Käse 🧀", "日本茶", "x" * 10_000, "../../etc/passwd", "'; --"])
def test_any_item_id_is_stored_as_it_is(world: "World", item: str) -> None:
    world.know("ann", ON_SITE)
    assert statuses(send(world, "ann", view(item))) == ["stored"]
    index = {item: 0}
    assert len(world.customers.history(world.customers.standing("ann"), index, list(Channel))) == 1
    assert world.ask("ann")["items"]


@pytest.mark.parametrize("customer", ["a b", "Zoë", "客户", "c" * 10_000])
def test_any_customer_id_can_be_reported_and_asks_for_the_same_list(world: "World", customer: str) -> None:
    world.know(customer, ON_SITE)
    world.buy(customer, "milk")
    assert world.ask(customer)["items"][0] == {"item_id": "tea", "slot": 0, "because": ["milk"]}


@pytest.mark.parametrize("field", ["customer_id", "event_id", "item_id", "order_line", "surface"])
@pytest.mark.parametrize("odd", ["\x00", "\t", "\n", "\x1f", "\x7f"])
def test_a_control_character_in_what_the_till_reports_is_refused_as_in_loading(
    world: "World", field: str, odd: str
) -> None:
    event = {"customer_id": "ann", "event_id": "1", "kind": "purchase", "item_id": "milk", field: f"a{odd}"}
    answer = world.client()("POST", "/v1/events", json={"events": [event]}, headers=world.token("till", "events:write"))
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["errors"][0]["where"].endswith(field)


def test_too_many_events_at_once_are_413(world: "World") -> None:
    world.know("ann", ON_SITE)
    answer = send(world, "ann", *(view("milk", str(place)) for place in range(501)))
    assert answer.status_code == 413
    assert stored(world, "ann") == 0
    assert send(world, "ann").status_code == 422, "no event at all is a mistake too"


def test_a_clock_that_is_a_little_ahead_is_tolerated(world: "World") -> None:
    world.know("ann", ON_SITE)
    ahead = (world.clock.now + timedelta(minutes=4)).isoformat()
    assert statuses(send(world, "ann", view("milk", timestamp=ahead))) == ["stored"]
