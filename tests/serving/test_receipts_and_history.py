"""What a customer holds in her hands: receipts and her part of the ledger, hers alone."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import update
from tests.consent.test_checkpoints import behind_the_triggers

from considerate.consent.events import chain_hash
from considerate.consent.notices import NOTICE
from considerate.consent.purposes import Purpose
from considerate.consent.receipts import verify_receipt
from considerate.store.engine import open_store
from considerate.store.signing import load_public_keys
from considerate.store.tables import consent_event

if TYPE_CHECKING:
    from tests.serving.conftest import World

ON_SITE = Purpose.PERSONALISE_ONSITE
CURRENT = {"notice_id": NOTICE.notice_id, "notice_version": NOTICE.version, "locale": "en"}


def give(world: "World", customer: str) -> dict[str, Any]:
    world.know(customer)
    answer = world.client()("PUT", f"/v1/me/consents/{ON_SITE}", json=CURRENT, headers=world.token(customer))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def test_each_decision_has_a_receipt_that_verifies(world: "World") -> None:
    given = give(world, "ann")
    withdrawn = world.client()("DELETE", f"/v1/me/consents/{ON_SITE}", headers=world.token("ann")).json()
    keys_folder = world.home / "keys"
    for one in (given, withdrawn):
        answer = world.client()("GET", f"/v1/me/receipts/{one['receipt_id']}", headers=world.token("ann"))
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["cache-control"] == "no-store"
        record = verify_receipt(answer.content, load_public_keys(keys_folder))
        assert record["event_state"] == one["state"]
        assert record["ledger"]["hash"] == one["ledger_hash"]
        assert b"ann" not in answer.content.replace(b"planned", b"")


def test_the_same_receipt_is_the_same_bytes(world: "World") -> None:
    path = f"/v1/me/receipts/{give(world, 'ann')['receipt_id']}"
    client, headers = world.client(), world.token("ann")
    assert client("GET", path, headers=headers).content == client("GET", path, headers=headers).content


def test_no_receipt_of_an_event_that_was_changed_is_signed(world: "World", caplog: pytest.LogCaptureFixture) -> None:
    path = f"/v1/me/receipts/{give(world, 'ann')['receipt_id']}"
    engine = open_store(world.url, create=False)
    with behind_the_triggers(engine) as conn:
        conn.execute(update(consent_event).values(state="withdrawn"))
        conn.commit()
    engine.dispose()
    answer = world.client()("GET", path, headers=world.token("ann"))
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:considerate:problem:ledger-unsound")
    assert "no receipt is signed: ledger position 1: not what was once appended" in caplog.text


def test_somebody_elses_receipt_cannot_be_told_from_none(world: "World") -> None:
    receipt_id = give(world, "ann")["receipt_id"]
    world.know("bob")
    answers = [
        world.client()("GET", f"/v1/me/receipts/{one}", headers=world.token(who))
        for one, who in ((receipt_id, "bob"), (receipt_id, "stranger"), (uuid4(), "ann"), (UUID(int=0), "ann"))
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1


def test_what_is_no_id_is_422(world: "World") -> None:
    assert world.client()("GET", "/v1/me/receipts/1", headers=world.token("ann")).status_code == 422


def test_a_stranger_s_no_to_what_was_never_given_has_a_receipt_too(world: "World") -> None:
    refused = world.client()("DELETE", f"/v1/me/consents/{ON_SITE}", headers=world.token("stranger")).json()
    answer = world.client()("GET", f"/v1/me/receipts/{refused['receipt_id']}", headers=world.token("stranger"))
    assert verify_receipt(answer.content, load_public_keys(world.home / "keys"))["event_state"] == "refused"


def test_the_history_is_every_decision_and_can_be_checked(world: "World") -> None:
    world.know("ann", ON_SITE, Purpose.TRAIN_MODELS)
    world.know("bob", ON_SITE)
    world.client()("DELETE", "/v1/me/consents", headers=world.token("ann"))
    answer = world.client()("GET", "/v1/me/consent-history", headers=world.token("ann"))
    assert answer.status_code == 200
    events = answer.json()["events"]
    assert [event["seq"] for event in events] == sorted((event["seq"] for event in events), reverse=True)
    states = [(event["purpose"], event["state"]) for event in reversed(events)]
    assert states[:2] == [("personalise_onsite", "given"), ("train_models", "given")]
    # Two withdrawn, and a no to each of the three never given.
    assert sorted(state for _, state in states[2:]) == ["refused"] * 3 + ["withdrawn"] * 2
    for event in events:
        assert chain_hash(bytes.fromhex(event["prev_hash"]), event["event"].encode()).hex() == event["hash"]
    assert events[-1]["evidence"] == {"notice_text_sha256": NOTICE.text_sha256("en")}
    assert answer.json()["next"] is None


def test_a_long_history_comes_in_pages(world: "World") -> None:
    world.know("ann", *Purpose)
    seen: list[int] = []
    before = ""
    for _ in range(3):
        page = world.client()("GET", f"/v1/me/consent-history?limit=2{before}", headers=world.token("ann")).json()
        seen += [event["seq"] for event in page["events"]]
        before = f"&before={page['next']}"
    assert seen == [5, 4, 3, 2, 1]
    assert page["next"] is None


def test_a_stranger_has_an_empty_history(world: "World") -> None:
    world.know("ann", ON_SITE)
    answer = world.client()("GET", "/v1/me/consent-history", headers=world.token("stranger"))
    assert answer.json() == {"events": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=501", "before=0", "before=x", "customer_id=bob"])
def test_a_query_that_is_none_is_422(world: "World", query: str) -> None:
    answer = world.client()("GET", f"/v1/me/consent-history?{query}", headers=world.token("ann"))
    assert answer.status_code == 422


def test_nothing_to_read_from_is_503(world: "World") -> None:
    for path in ("/v1/me/consent-history", f"/v1/me/receipts/{uuid4()}"):
        answer = world.client(proofs=None)("GET", path, headers=world.token("ann"))
        assert answer.status_code == 503


def test_a_receipt_says_for_how_long(world: "World") -> None:
    given = give(world, "ann")
    answer = world.client()("GET", f"/v1/me/receipts/{given['receipt_id']}", headers=world.token("ann")).json()
    assert answer["validity_duration"] == f"P{timedelta(days=730).days}D"
