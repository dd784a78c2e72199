"""The switches: as easy to turn off as to turn on, and never on by themselves."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from considerate.consent.ledger import head, verify
from considerate.consent.notices import NOTICE
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.store.engine import open_store, reading

if TYPE_CHECKING:
    from tests.serving.conftest import World

ON_SITE = Purpose.PERSONALISE_ONSITE
CURRENT = {"notice_id": NOTICE.notice_id, "notice_version": NOTICE.version, "locale": "en"}


def states(world: "World", customer: str) -> dict[str, dict[str, Any]]:
    answer = world.client()("GET", "/v1/me/consents", headers=world.token(customer))
    assert answer.status_code == 200
    return {entry["purpose"]: entry for entry in answer.json()["consents"]}


def test_a_stranger_sees_five_switches_all_off_and_the_notice(world: "World") -> None:
    answer = world.client()("GET", "/v1/me/consents", headers=world.token("stranger"))
    body = answer.json()
    assert [entry["purpose"] for entry in body["consents"]] == [purpose.value for purpose in Purpose]
    assert {(entry["state"], entry["effective"], entry["reason"]) for entry in body["consents"]} == {
        ("none", False, "no_consent")
    }
    assert [entry["purpose"] for entry in body["consents"] if entry["explicit"]] == ["sensitive_categories"]
    assert body["notice"]["version"] == NOTICE.version
    assert body["notice"]["text"]["en"] == NOTICE.texts["en"]
    assert body["notice"]["text_sha256"]["en"] == NOTICE.text_sha256("en")


def test_a_grant_is_a_receipt_that_the_ledger_bears_out(world: "World") -> None:
    world.know("ann")
    answer = world.client()("PUT", f"/v1/me/consents/{ON_SITE}", json=CURRENT, headers=world.token("ann"))
    assert answer.status_code == 200
    receipt = answer.json()
    assert (receipt["state"], receipt["changed"]) == ("given", True)
    engine = open_store(world.url, create=False, read_only=True)
    with reading(engine) as conn:
        assert head(conn).hash.hex() == receipt["ledger_hash"]
        assert head(conn).seq == receipt["ledger_seq"]
        assert verify(conn) is None
    engine.dispose()
    switches = states(world, "ann")
    assert switches[ON_SITE]["effective"]
    assert not any(entry["effective"] for purpose, entry in switches.items() if purpose != ON_SITE)


def test_a_customer_the_store_never_met_can_consent_where_unknown_means_adult(tmp_path: Any, build_world: Any) -> None:
    world: World = build_world(tmp_path, unknown_age="adult")
    answer = world.client()("PUT", f"/v1/me/consents/{ON_SITE}", json=CURRENT, headers=world.token("new"))
    assert answer.status_code == 200
    assert states(world, "new")[ON_SITE]["effective"]


def test_withdrawing_takes_one_call_without_a_body_any_number_of_times(world: "World") -> None:
    world.know("ann", ON_SITE)
    client, headers = world.client(), world.token("ann")
    first = client("DELETE", f"/v1/me/consents/{ON_SITE}", headers=headers)
    same = client("DELETE", f"/v1/me/consents/{ON_SITE}", headers=headers)
    assert same.json() == {**first.json(), "changed": False}
    world.clock.now += timedelta(seconds=1)
    again = client("DELETE", f"/v1/me/consents/{ON_SITE}", headers=headers)
    assert (first.status_code, again.status_code) == (200, 200)
    assert (first.json()["state"], first.json()["changed"]) == ("withdrawn", True)
    assert (again.json()["state"], again.json()["changed"]) == ("withdrawn", False)
    # Her latest no is the newest event, and the one her receipt is of.
    assert again.json()["ledger_seq"] == first.json()["ledger_seq"] + 1
    assert again.json()["recorded_at"] > first.json()["recorded_at"]


def test_withdrawing_asks_for_no_more_than_granting(world: "World") -> None:
    paths = world.client()("GET", "/openapi.json").json()["paths"]["/v1/me/consents/{purpose}"]
    assert "requestBody" in paths["put"]
    assert "requestBody" not in paths["delete"]
    assert [p["name"] for p in paths["delete"]["parameters"] if p["required"]] == ["purpose"]


def test_everything_can_be_turned_off_at_once(world: "World") -> None:
    world.know("ann", *Purpose)
    assert all(entry["effective"] for entry in states(world, "ann").values())
    answer = world.client()("DELETE", "/v1/me/consents", headers=world.token("ann"))
    assert answer.status_code == 200
    assert {receipt["state"] for receipt in answer.json()["receipts"]} == {"withdrawn"}
    assert {entry["reason"] for entry in states(world, "ann").values()} == {"withdrawn"}


@pytest.mark.parametrize("path", ["/v1/me/consents", f"/v1/me/consents/{ON_SITE}"])
def test_a_stranger_s_no_is_kept_and_stands_against_an_earlier_yes_that_comes_later(
    tmp_path: Any, build_world: Any, path: str
) -> None:
    world: World = build_world(tmp_path, unknown_age="adult")
    client = world.client()
    answer = client("DELETE", path, headers=world.token("stranger"))
    assert answer.status_code == 200
    receipts = answer.json().get("receipts", [answer.json()])
    assert {(receipt["state"], receipt["changed"]) for receipt in receipts} == {("refused", True)}
    assert all(receipt["receipt_id"] and receipt["ledger_seq"] for receipt in receipts)
    earlier = (world.clock.now - timedelta(days=30)).isoformat()
    yes = {
        "customer_id": "stranger",
        "purpose": ON_SITE,
        "state": "given",
        "event_time": earlier,
        "age_band": "adult",
        "evidence": {"form": "checkout"},
        **CURRENT,
    }
    platform = world.token("platform", "consents:write")
    brought = client("POST", "/v1/consents", json={"consents": [yes]}, headers=platform)
    assert [one["status"] for one in brought.json()["results"]] == ["older"]
    world.buy("stranger", "milk")
    assert world.ask("stranger")["basis"] == "non_personalised"
    assert not states(world, "stranger")[ON_SITE]["effective"]


@pytest.mark.parametrize("change", [{"notice_version": NOTICE.version + 1}, {"notice_id": "another"}, {"locale": "xx"}])
def test_a_yes_to_another_notice_than_the_current_one_is_409(world: "World", change: dict[str, Any]) -> None:
    world.know("ann")
    body = {**CURRENT, **change}
    answer = world.client()("PUT", f"/v1/me/consents/{ON_SITE}", json=body, headers=world.token("ann"))
    assert answer.status_code == 409
    assert answer.json()["type"].endswith(":stale-notice")
    assert f"version {NOTICE.version}" in answer.json()["detail"]
    assert states(world, "ann")[ON_SITE]["state"] == "none"


@pytest.mark.parametrize("age_band", ["u13", "13_15", "16_17", "unknown"])
@pytest.mark.parametrize("purpose", list(Purpose))
def test_minors_and_those_who_may_be_cannot_consent(world: "World", age_band: str, purpose: Purpose) -> None:
    world.know("kim", age_band=age_band)
    answer = world.client()("PUT", f"/v1/me/consents/{purpose}", json=CURRENT, headers=world.token("kim"))
    assert answer.status_code == 403
    assert answer.json()["type"].endswith(":minor-cannot-consent")
    assert states(world, "kim")[purpose]["state"] == "none"


def test_a_refused_grant_leaves_no_trace_of_a_stranger(world: "World") -> None:
    answer = world.client()("PUT", f"/v1/me/consents/{ON_SITE}", json=CURRENT, headers=world.token("new"))
    assert answer.status_code == 403
    assert world.customers.standing("new").subject_ref is None


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
@pytest.mark.parametrize("purpose", ["everything", "PERSONALISE_ONSITE", "personalise_onsite ", "%00"])
def test_an_unknown_purpose_is_422_and_changes_nothing(world: "World", method: str, purpose: str) -> None:
    world.know("ann", ON_SITE)
    body = {"json": CURRENT} if method == "PUT" else {}
    answer = world.client()(method, f"/v1/me/consents/{purpose}", headers=world.token("ann"), **body)
    assert answer.status_code == 422
    assert states(world, "ann")[ON_SITE]["effective"]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {**CURRENT, "age_band": "adult"},
        {**CURRENT, "consent_epoch": 7},
        {**CURRENT, "notice_version": "one"},
        {**CURRENT, "notice_version": str(NOTICE.version)},
        {**CURRENT, "notice_version": 0},
        {**CURRENT, "locale": "en; DROP"},
        [],
        "yes",
        None,
    ],
)
def test_a_grant_that_is_not_one_is_422_and_nothing_is_recorded(world: "World", body: Any) -> None:
    world.know("ann")
    answer = world.client()("PUT", f"/v1/me/consents/{ON_SITE}", json=body, headers=world.token("ann"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert states(world, "ann")[ON_SITE]["state"] == "none"


def test_a_grant_ends_by_itself(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.clock.now += timedelta(days=PURPOSE_RULES[ON_SITE].ttl_days)
    switch = states(world, "ann")[ON_SITE]
    assert (switch["state"], switch["effective"], switch["reason"]) == ("given", False, "expired")


def test_a_privacy_signal_shows_in_the_switches_it_denies(world: "World") -> None:
    world.know("ann", *Purpose)
    answer = world.client()("GET", "/v1/me/consents", headers={**world.token("ann"), "Sec-GPC": "1"}).json()
    assert answer["gpc"] == "honoured"
    denied = {entry["purpose"] for entry in answer["consents"] if entry["reason"] == "gpc"}
    assert denied == {purpose.value for purpose, rule in PURPOSE_RULES.items() if rule.gpc_denies}


def test_one_customers_consent_is_no_one_elses(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.know("bob")
    world.client()("DELETE", "/v1/me/consents", headers=world.token("bob"))
    assert states(world, "ann")[ON_SITE]["effective"]
    assert states(world, "bob")[ON_SITE]["reason"] in ("withdrawn", "no_consent")
