"""Who is unknown, erased, a minor or without consent looks the same; and what minors never see, they never see."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import Connection, Engine, Select, event, update

from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.serving import watched_store
from considerate.serving.models import OneModel
from considerate.store import engine as store_engine
from considerate.store import postgresql
from considerate.store.engine import open_store, writing
from considerate.store.tables import subject

if TYPE_CHECKING:
    from tests.serving.conftest import World

ON_SITE = Purpose.PERSONALISE_ONSITE
NO_ID = "00000000-0000-4000-8000-000000000007"
PEOPLE = ("unknown", "erased", "minor", "silent")
OWN_NUMBERS = ("decision_id", "consent_epoch", "recorded_at")
"""What differs between any two answers."""


def in_state(world: "World", ref: bytes, state: str, **more: Any) -> None:
    engine = open_store(world.url, create=False)
    with writing(engine) as conn:
        conn.execute(update(subject).where(subject.c.subject_ref == ref).values(state=state, **more))
    engine.dispose()


@pytest.fixture
def town(world: "World") -> "World":
    """Four people who allow nothing: one unknown, one erased, one minor, one whom nobody ever asked."""
    world.know("minor", age_band="13_15")
    world.know("silent", age_band="unknown")
    in_state(world, world.know("erased"), "erased", lookup_hmac=None, customer_id_enc=None)
    for customer in ("minor", "silent"):
        world.buy(customer, "milk", "bread")
    return world


def shown(answer: Any) -> Any:
    """Give an answer without the numbers that are each answer's own."""
    if isinstance(answer, dict):
        return {name: shown(value) for name, value in answer.items() if name not in OWN_NUMBERS}
    return [shown(one) for one in answer] if isinstance(answer, list) else answer


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/me/recommendations"),
        ("GET", "/v1/me/recommendations?surface=again&n=3"),
        ("GET", "/v1/me/recommendations?context=milk"),
        ("GET", "/v1/me/recommendations?mode=non_personalised"),
        ("GET", "/v1/me/preferences"),
        ("GET", "/v1/me/exclusions"),
        ("GET", f"/v1/me/recommendations/{NO_ID}/explanation"),
        ("GET", f"/v1/me/receipts/{NO_ID}"),
        ("GET", f"/v1/me/privacy-requests/{NO_ID}"),
        ("DELETE", f"/v1/me/privacy-requests/{NO_ID}"),
        ("PUT", "/v1/me/exclusions/order-7"),
        ("GET", "/v1/me/consents"),
    ],
)
def test_no_answer_tells_unknown_erased_minor_and_silent_customers_apart(town: "World", method: str, path: str) -> None:
    client = town.client()
    body = {"json": {"reason": "gift"}} if method == "PUT" else {}
    answers = {who: client(method, path, headers=town.token(who), **body) for who in PEOPLE}
    assert len({answer.status_code for answer in answers.values()}) == 1
    first = shown(answers["unknown"].json())
    for who, answer in answers.items():
        assert shown(answer.json()) == first, who
        assert {name for name in answer.headers if name != "content-length"} == set(answers["unknown"].headers) - {
            "content-length"
        }


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", f"/v1/me/{place}")
        for place in (
            "consents",
            "consent-history",
            "decisions",
            "exclusions",
            "preferences",
            f"privacy-requests/{NO_ID}",
            f"receipts/{NO_ID}",
            f"recommendations/{NO_ID}/explanation",
        )
    ]
    + [("DELETE", "/v1/me/exclusions/order-7"), ("PUT", "/v1/me/exclusions/order-7")],
)
def test_the_store_is_asked_the_same_about_each_of_them(
    town: "World", method: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A database is looked at again every few seconds, which is nobody's doing.
    monkeypatch.setattr(watched_store, "ADMIT_SECONDS", float("inf"))
    town.customers.close()  # what is open would still be looked at once more
    client, said = town.client(), list[str]()
    body = {"json": {"reason": "gift"}} if method == "PUT" else {}

    def hear(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        said.append(statement)

    def ask_driver(conn: Connection, statement: Select[Any], parameters: Mapping[str, Any]) -> Any:
        said.append(str(statement))
        return postgresql.ask_driver(conn, statement, parameters)

    monkeypatch.setattr(store_engine, "ask_driver", ask_driver)

    def asked(who: str) -> list[str]:
        said.clear()
        client(method, path, headers=town.token(who), **body)
        return list(said)

    asked("unknown")
    event.listen(Engine, "before_cursor_execute", hear)
    try:
        heard = {who: asked(who) for who in PEOPLE}
    finally:
        event.remove(Engine, "before_cursor_execute", hear)
    assert heard["unknown"], "something is asked"
    assert heard == dict.fromkeys(PEOPLE, heard["unknown"])


def test_page_events_of_none_of_them_are_told_apart(town: "World") -> None:
    events = {"events": [{"event_id": "1", "kind": "view", "item_id": "milk"}]}
    answers = [town.client()("POST", "/v1/me/events", json=events, headers=town.token(who)) for who in PEOPLE]
    assert len({(answer.status_code, answer.content) for answer in answers}) == 1


def test_while_somebody_is_erased_nothing_begins_and_nothing_fails(world: "World") -> None:
    ref = world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    in_state(world, ref, "erasing")
    client, headers, notice = world.client(), world.token("ann"), current_notice()
    yes = {"notice_id": notice.notice_id, "notice_version": notice.notice_version, "locale": "en"}
    given = client("PUT", "/v1/me/consents/train_models", json=yes, headers=headers)
    assert (given.status_code, given.json()["type"]) == (409, "urn:considerate:problem:erasure-in-progress")
    assert given.headers["retry-after"]
    for path in ("/v1/me/consents", "/v1/me/consents/personalise_onsite"):
        assert client("DELETE", path, headers=headers).status_code == 200
    assert world.ask("ann")["basis"] == "non_personalised"
    purchase = {"customer_id": "ann", "event_id": "late", "kind": "purchase", "item_id": "tea"}
    till = client("POST", "/v1/events", json={"events": [purchase]}, headers=world.token("till", "events:write"))
    assert till.json() == {"results": [{"event_id": "late", "status": "not_recorded"}]}
    view = {"events": [{"event_id": "2", "kind": "view", "item_id": "milk"}]}
    page = client("POST", "/v1/me/events", json=view, headers=headers)
    assert page.json()["results"][0]["status"] == "not_recorded"


def test_after_an_erasure_the_same_id_is_somebody_new(world: "World") -> None:
    ref = world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    in_state(world, ref, "erased", lookup_hmac=None, customer_id_enc=None)
    assert world.ask("ann")["reason"] == "no_consent"
    world.know("ann", ON_SITE)
    standing = world.customers.standing("ann")
    assert standing.subject_ref not in (None, ref)
    assert world.ask("ann")["reason"] == "no_history"


@pytest.mark.parametrize("band", ["u13", "13_15", "16_17", "unknown"])
def test_a_customer_who_turns_out_not_to_be_an_adult_is_profiled_no_longer_from_the_next_list_on(
    world: "World", band: str
) -> None:
    world.know("kim", *Purpose)
    world.buy("kim", "milk")
    before = world.ask("kim")
    assert before["basis"] == "personalised"
    world.know("kim", age_band=band)
    after = world.ask("kim")
    assert (after["basis"], after["reason"]) == ("non_personalised", "minor_or_age_unknown")
    assert after["consent_epoch"] > before["consent_epoch"]
    assert world.ask("kim")["items"] == world.ask("somebody else")["items"]
    view = {"events": [{"event_id": "1", "kind": "view", "item_id": "tea"}]}
    answer = world.client()("POST", "/v1/me/events", json=view, headers=world.token("kim"))
    assert answer.json()["results"][0]["status"] == "not_recorded"


SIDE_DOORS = (
    "",
    "?mode=non_personalised",
    "?surface=discover",
    "?surface=again",
    "?context=beer",
    "?context=beer&context=milk&exclude=bread",
    "?category=FOOD",
    "?n=100",
)


@pytest.mark.parametrize("unknown_age", ["deny", "adult"])
@pytest.mark.parametrize("state", ["as usual", "no model", "no store"])
def test_what_has_an_age_limit_or_may_have_one_reaches_a_minor_through_no_side_door(
    tmp_path: Path, build_world: "Callable[..., World]", state: str, unknown_age: str
) -> None:
    world = build_world(tmp_path, unknown_age=unknown_age)
    world.know("kim", *Purpose, age_band="13_15")
    world.buy("kim", "beer", "milk")
    feed = world.token("feed", "catalogue:write")
    for item, limit in (("tea", 18), ("honey", None)):
        patched = world.client()("PATCH", f"/v1/items/{item}", json={"min_age": limit}, headers=feed)
        assert patched.status_code == 200, patched.text
    assert world.ask("kim")["items"]
    # Whoever may be an adult in this shop sees limited products, as long as the store can say that she is none.
    others_may = unknown_age == "adult" and state != "no store"
    more: dict[str, Any] = {"models": OneModel(None)} if state == "no model" else {}
    client = world.client(**more)
    if state == "no store":
        (world.home / "keys" / "master.key").rename(world.home / "aside")
        world.customers._keys = None
    for query in SIDE_DOORS:
        asked = [(f"/v1/me/recommendations{query}", world.token("kim"))]
        if not others_may:
            asked.append((f"/v1/me/recommendations{query}", world.token("somebody of unknown age")))
        if unknown_age == "deny":
            asked.append((f"/v1/recommendations/default{query}", {}))
        for path, headers in asked:
            answer = client("GET", path, headers=headers)
            if answer.status_code == 422:
                assert "mode" in query
                continue
            assert answer.status_code == 200, answer.text
            listed = {entry["item_id"] for entry in answer.json()["items"]}
            assert not listed & {"beer", "tea", "honey"}, path
            assert not listed & {"aspirin-test"}, path


WRONG = (timedelta(minutes=-5), timedelta(0), timedelta(minutes=5))
"""How far a clock may go wrong."""


def test_a_clock_that_goes_wrong_by_minutes_opens_nothing_that_was_withdrawn(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    start = world.clock.now
    world.client()("DELETE", "/v1/me/consents", headers=world.token("ann"))
    for wrong in WRONG:
        world.clock.now = start + wrong
        assert world.ask("ann")["reason"] == "withdrawn"


def test_a_yes_ends_at_its_minute_and_stays_ended_when_the_clock_goes_on_or_back(world: "World") -> None:
    world.know("ann", ON_SITE)
    (consent,) = world.customers.standing("ann").facts.consents.values()
    assert consent.expires_at is not None
    reasons = []
    for wrong in WRONG:
        world.clock.now = consent.expires_at + wrong
        world.buy("ann", "milk")
        reasons.append(world.ask("ann")["reason"])
    assert reasons[1:] == ["expired", "expired"]
    assert reasons[0] != "expired"


@pytest.mark.parametrize(("given_after", "opens"), [(-5, False), (5, True)])
def test_a_yes_stands_against_a_signal_only_if_it_was_given_after_it(
    world: "World", given_after: int, opens: bool
) -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk", channel="store")
    start, notice = world.clock.now, current_notice()
    yes = {"notice_id": notice.notice_id, "notice_version": notice.notice_version, "locale": "en"}

    def give() -> None:
        world.clock.now = start + timedelta(minutes=given_after)
        answer = world.client()("PUT", "/v1/me/consents/link_in_store", json=yes, headers=world.token("ann"))
        assert answer.status_code == 200

    if given_after < 0:
        give()
    world.clock.now = start
    world.ask("ann", headers={"Sec-GPC": "1"})
    if given_after > 0:
        give()
    for wrong in WRONG:
        world.clock.now = start + timedelta(minutes=5) + wrong
        assert (world.ask("ann")["basis"] == "personalised") is opens
