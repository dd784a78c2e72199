"""Idempotency-Key: sent again, a request gets its first answer and changes nothing."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.ranking.history import Channel
from considerate.store.engine import open_store, reading
from considerate.store.tables import idempotent_answer

if TYPE_CHECKING:
    from tests.serving.conftest import World

ON_SITE = Purpose.PERSONALISE_ONSITE
SWITCH = "/v1/me/consents/personalise_onsite"


def yes() -> dict[str, Any]:
    notice = current_notice()
    return {"notice_id": notice.notice_id, "notice_version": notice.notice_version, "locale": "en"}


def give(world: "World", key: str, *, customer: str = "ann", **changes: Any) -> httpx.Response:
    headers = {**world.token(customer), "Idempotency-Key": key}
    return world.client()("PUT", SWITCH, json={**yes(), **changes}, headers=headers)


def withdraw(world: "World", path: str = SWITCH, *, key: str | None = None) -> httpx.Response:
    headers = world.token("ann") | ({} if key is None else {"Idempotency-Key": key})
    return world.client()("DELETE", path, headers=headers)


def replayed(answer: httpx.Response) -> bool:
    return bool(answer.headers.get("idempotent-replayed") == "true")


def test_an_old_yes_sent_again_after_a_withdrawal_gets_its_receipt_and_the_switch_stays_off(world: "World") -> None:
    world.know("ann")
    first = give(world, "a-1")
    assert (first.status_code, replayed(first)) == (200, False)
    withdrawn = withdraw(world).json()
    again = give(world, "a-1")
    assert (again.status_code, replayed(again)) == (200, True)
    assert again.json() == first.json()
    assert again.headers["content-type"] == first.headers["content-type"] == "application/json"
    assert again.headers["cache-control"] == "no-store"
    standing = world.customers.standing("ann")
    assert standing.facts.consents[ON_SITE].state == "withdrawn"
    assert standing.consent_epoch == withdrawn["consent_epoch"]
    assert world.ask("ann")["reason"] == "withdrawn"


def test_a_yes_sent_again_keeps_its_receipt_although_the_customer_could_not_say_it_any_more(world: "World") -> None:
    world.know("ann")
    first = give(world, "a-1")
    world.know("ann", age_band="16_17")
    assert give(world, "a-2").status_code == 403
    assert give(world, "a-1").json() == first.json()
    assert world.ask("ann")["basis"] == "non_personalised"


@pytest.mark.parametrize("path", [SWITCH, "/v1/me/consents"])
def test_a_withdrawal_is_carried_out_each_time_whatever_its_key(world: "World", path: str) -> None:
    world.know("ann", ON_SITE)
    # The last key stands for a yes already: a withdrawal is not refused for that either.
    for key, yes_before in (("w-1", "a-1"), ("w-1", "a-2"), ("a-2", "a-3")):
        give(world, yes_before)
        assert world.ask("ann")["reason"] != "withdrawn"
        answer = withdraw(world, path, key=key)
        assert (answer.status_code, replayed(answer)) == (200, False)
        assert world.customers.standing("ann").facts.consents[ON_SITE].state == "withdrawn"
        assert world.ask("ann")["reason"] == "withdrawn"
    first, again = withdraw(world, path, key="w-2"), withdraw(world, path, key="w-2")
    assert again.json() == first.json()


def test_a_key_that_stands_for_another_request_is_refused(world: "World") -> None:
    world.know("ann")
    give(world, "a-1")
    other_purpose = world.client()(
        "PUT",
        "/v1/me/consents/train_models",
        json=yes(),
        headers={**world.token("ann"), "Idempotency-Key": "a-1"},
    )
    for refused in (give(world, "a-1", locale="de"), other_purpose):
        assert refused.status_code == 422
        assert refused.json()["type"] == "urn:considerate:problem:idempotency-key-reused"
        assert refused.headers["content-type"] == "application/problem+json"
    assert world.customers.standing("ann").facts.consents.keys() == {ON_SITE}


def test_a_key_is_its_callers_own(world: "World") -> None:
    for customer in ("ann", "bob"):
        world.know(customer)
        assert not replayed(give(world, "a-1", customer=customer))
    assert world.customers.standing("bob").facts.consents[ON_SITE].state == "given"


def test_a_key_stands_for_a_day(world: "World") -> None:
    world.know("ann")
    give(world, "a-1")
    withdraw(world)
    world.clock.now += timedelta(hours=24)
    assert not replayed(give(world, "a-1"))
    world.clock.now += timedelta(hours=25)
    assert world.customers.forget_old_answers(at=world.clock.now) == 1
    assert world.customers.forget_old_answers(at=world.clock.now) == 0


@pytest.mark.parametrize("key", ["", "a b", "a\tb", "é", "k" * 256])
def test_a_key_that_is_no_plain_word_is_refused(world: "World", key: str) -> None:
    headers = {**world.token("ann"), "Idempotency-Key": key.encode("latin-1")}
    answer = world.client()("PUT", SWITCH, json=yes(), headers=headers)
    assert answer.status_code == 422, answer.text


def test_two_keys_are_refused(world: "World") -> None:
    headers = [*world.token("ann").items(), ("Idempotency-Key", "a"), ("Idempotency-Key", "b")]
    answer = world.client()("PUT", SWITCH, json=yes(), headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (422, "The header Idempotency-Key must come once.")


def test_page_events_sent_again_are_answered_as_before_also_after_a_withdrawal(world: "World") -> None:
    world.know("ann", ON_SITE)
    headers = {**world.token("ann"), "Idempotency-Key": "e-1"}
    body = {"events": [{"event_id": "1", "kind": "view", "item_id": "milk"}]}
    client = world.client()
    first = client("POST", "/v1/me/events", json=body, headers=headers)
    again = client("POST", "/v1/me/events", json=body, headers=headers)
    assert first.json() == again.json() == {"results": [{"event_id": "1", "status": "stored"}]}
    assert (replayed(first), replayed(again), again.status_code) == (False, True, 202)
    withdraw(world)
    assert replayed(client("POST", "/v1/me/events", json=body, headers=headers))
    assert len(world.customers.history(world.customers.standing("ann"), {"milk": 0}, list(Channel))) == 1


def test_page_events_of_someone_who_allows_nothing_leave_no_trace_under_their_key_either(world: "World") -> None:
    headers = {**world.token("stranger"), "Idempotency-Key": "e-1"}
    body = {"events": [{"event_id": "1", "kind": "view", "item_id": "milk"}]}
    for _ in range(2):
        answer = world.client()("POST", "/v1/me/events", json=body, headers=headers)
        assert (answer.json()["results"][0]["status"], replayed(answer)) == ("not_recorded", False)
    assert world.customers.forget_old_answers(at=world.clock.now + timedelta(days=2)) == 0


def test_what_the_till_sends_again_is_answered_as_before_and_names_nobody_in_the_store(world: "World") -> None:
    body = {
        "events": [
            {"customer_id": who, "event_id": f"order of {who}", "kind": "purchase", "item_id": "milk"}
            for who in ("ann", "ann", "bob")
        ]
    }
    headers = {**world.token("till", "events:write"), "Idempotency-Key": "t-1"}
    client = world.client()
    first = client("POST", "/v1/events", json=body, headers=headers)
    again = client("POST", "/v1/events", json=body, headers=headers)
    assert [one["status"] for one in first.json()["results"]] == ["stored", "duplicate", "stored"]
    assert (again.json(), again.status_code, replayed(again)) == (first.json(), 202, True)
    other = {"events": body["events"][:1]}
    assert client("POST", "/v1/events", json=other, headers=headers).status_code == 422
    engine = open_store(world.url, create=False)
    with reading(engine) as conn:
        (answer,) = conn.execute(idempotent_answer.select().with_only_columns(idempotent_answer.c.answer)).scalars()
    engine.dispose()
    assert answer == '["stored", "duplicate", "stored"]'
