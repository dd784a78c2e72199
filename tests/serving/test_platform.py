"""Consents from the shop's own platform: the rules of the import, by HTTP."""

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from considerate.consent.facts import remember_gpc
from considerate.consent.notices import NOTICE
from considerate.consent.purposes import Purpose
from considerate.consent.receipts import verify_receipt
from considerate.store.signing import load_public_keys

if TYPE_CHECKING:
    import httpx
    from tests.serving.conftest import World

TRAIN = Purpose.TRAIN_MODELS


def decision(world: "World", customer: str, state: str = "given", **more: Any) -> dict[str, Any]:
    time = world.clock() - timedelta(days=more.pop("days_ago", 1))
    return {
        "customer_id": customer,
        "purpose": TRAIN,
        "state": state,
        "event_time": time.isoformat(),
        "notice_id": NOTICE.notice_id,
        "notice_version": NOTICE.version,
        "age_band": "adult",
        "evidence": {"form": "checkout"},
        **more,
    }


def send(world: "World", *decisions: dict[str, Any], scope: str = "consents:write") -> "httpx.Response":
    return world.client()("POST", "/v1/consents", json={"consents": decisions}, headers=world.token("cmp", scope))


def state_of(world: "World", customer: str) -> str:
    answer = world.client()("GET", "/v1/me/consents", headers=world.token(customer)).json()
    return str(next(one["state"] for one in answer["consents"] if one["purpose"] == TRAIN))


def test_a_decision_is_recorded_once_with_its_evidence_and_receipt(world: "World") -> None:
    one = decision(world, "ann")
    first, again = send(world, one), send(world, one)
    assert (first.status_code, again.status_code) == (200, 200)
    (recorded,), (repeated,) = first.json()["results"], again.json()["results"]
    assert (recorded["status"], repeated["status"]) == ("recorded", "repeated")
    assert state_of(world, "ann") == "given"
    client, headers = world.client(), world.token("ann")
    receipt = client("GET", f"/v1/me/receipts/{recorded['receipt_id']}", headers=headers)
    assert verify_receipt(receipt.content, load_public_keys(world.home / "keys"))["collection_method"] == "api"
    history = client("GET", "/v1/me/consent-history", headers=headers).json()["events"]
    assert history[0]["evidence"] == {"form": "checkout", "imported_from": "consent platform"}


def test_a_later_choice_stands(world: "World") -> None:
    answer = send(world, decision(world, "ann", "withdrawn", days_ago=1), decision(world, "ann", days_ago=2))
    assert [one["status"] for one in answer.json()["results"]] == ["recorded", "recorded"]
    assert state_of(world, "ann") == "withdrawn"
    late = send(world, decision(world, "ann", days_ago=3))
    assert late.json()["results"][0]["status"] == "older"
    assert state_of(world, "ann") == "withdrawn"


def test_a_yes_from_between_two_withdrawals_that_comes_late_stays_off(world: "World") -> None:
    world.know("ann", TRAIN)
    client, headers = world.client(), world.token("ann")
    for _ in range(2):
        client("DELETE", f"/v1/me/consents/{TRAIN}", headers=headers)
        world.clock.now += timedelta(hours=2)
    # Hers at the shop an hour after the first withdrawal, and an hour before the second.
    late = send(world, decision(world, "ann", event_time=(world.clock() - timedelta(hours=3)).isoformat()))
    assert late.json()["results"][0]["status"] == "older"
    assert state_of(world, "ann") == "withdrawn"


def test_a_yes_from_before_a_loss_of_the_ledger_is_older(world: "World") -> None:
    lost = world.clock() - timedelta(days=2)
    (world.home / "checkpoints" / "set-aside" / lost.strftime("%Y%m%dT%H%M%SZ")).mkdir(parents=True)
    answer = send(world, decision(world, "ann", days_ago=3), decision(world, "bob", days_ago=1))
    assert [one["status"] for one in answer.json()["results"]] == ["older", "recorded"]
    assert (state_of(world, "ann"), state_of(world, "bob")) == ("none", "given")


def test_while_nobody_can_read_when_a_loss_was_a_no_is_recorded_and_a_yes_comes_again(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    (world.home / "checkpoints" / "set-aside" / "README").mkdir(parents=True)
    assert send(world, decision(world, "ann", "withdrawn")).json()["results"][0]["status"] == "recorded"
    assert send(world, decision(world, "bob")).status_code == 503
    assert "set-aside: holds something that is named by no moment" in caplog.text
    assert (state_of(world, "ann"), state_of(world, "bob")) == ("withdrawn", "none")


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"purpose": "everything"}, "unknown_purpose"),
        ({"notice_version": 9}, "unknown_notice"),
        ({"notice_version": 0}, "unknown_notice"),
        ({"locale": "xx"}, "unknown_notice"),
        ({"age_band": "13_15"}, "minor"),
        ({"age_band": "old"}, "unknown_age_band"),
        ({"evidence": {}}, "no_evidence"),
        ({"event_time": "yesterday"}, "bad_time"),
        ({"days_ago": -1}, "future_time"),
    ],
)
def test_a_yes_that_breaks_a_rule_is_left_out_and_the_others_are_not(
    world: "World", change: dict[str, Any], rule: str
) -> None:
    answer = send(world, decision(world, "ann", **change), decision(world, "bob"))
    assert answer.status_code == 200
    assert answer.json()["results"][0] == {"status": "left_out", "rule": rule, "receipt_id": None}
    assert answer.json()["results"][1]["status"] == "recorded"
    # The ledger knows of a minor's yes that it is ended, so that it does not count once she is of age.
    assert (state_of(world, "ann"), state_of(world, "bob")) == ("invalidated" if rule == "minor" else "none", "given")


@pytest.mark.parametrize(
    "change",
    [
        {"event_time": "yesterday"},
        {"purpose": "Train_Models"},
        {"purpose": "train-model"},
        {"purpose": "all"},
        {"state": "no"},
    ],
)
def test_a_no_that_cannot_be_understood_stops_everything(world: "World", change: dict[str, Any]) -> None:
    lost = decision(world, "ann", **{"state": "withdrawn", **change})
    answer = send(world, decision(world, "bob"), lost)
    assert answer.status_code == 422
    assert answer.json()["type"].endswith(":withdrawal-not-understood")
    assert answer.json()["detail"].startswith("consents -> 1: ")
    assert state_of(world, "bob") == "none"


def test_a_no_to_a_purpose_of_somebody_else_is_left_out(world: "World") -> None:
    answer = send(world, decision(world, "ann", "withdrawn", purpose="newsletter_of_a_partner"))
    assert answer.json()["results"][0]["rule"] == "unknown_purpose"


def test_a_minors_age_is_heeded_even_where_her_yes_is_not(world: "World") -> None:
    world.know("ann", TRAIN)
    send(world, decision(world, "ann", age_band="13_15"))
    answer = world.client()("GET", "/v1/me/consents", headers=world.token("ann")).json()
    assert {one["reason"] for one in answer["consents"] if one["purpose"] == TRAIN} == {"no_consent"}


def test_a_yes_of_somebody_known_to_be_a_minor_is_left_out_and_what_she_gave_is_ended_for_good(world: "World") -> None:
    world.know("ann", TRAIN, age_band="16_17")
    silent = decision(world, "ann", purpose="personalise_onsite")
    del silent["age_band"]
    (result,) = send(world, silent).json()["results"]
    assert result == {"status": "left_out", "rule": "minor", "receipt_id": None}
    world.know("ann")
    answer = world.client()("GET", "/v1/me/consents", headers=world.token("ann")).json()
    states = {one["purpose"]: one["state"] for one in answer["consents"]}
    assert (states[TRAIN], states["personalise_onsite"]) == ("invalidated", "invalidated")
    (again,) = send(world, silent).json()["results"]
    assert again["status"] == "repeated"
    answer = world.client()("GET", "/v1/me/consents", headers=world.token("ann")).json()
    assert not any(one["effective"] for one in answer["consents"])


def test_a_withdrawal_reported_by_a_clock_that_runs_ahead_is_recorded(world: "World") -> None:
    world.know("ann", TRAIN)
    ahead = {"event_time": (world.clock() + timedelta(seconds=1)).isoformat()}
    answer = send(world, decision(world, "bob", **ahead), decision(world, "ann", "withdrawn", **ahead))
    assert [one["status"] for one in answer.json()["results"]] == ["recorded", "recorded"]
    assert (state_of(world, "ann"), state_of(world, "bob")) == ("withdrawn", "given")


def test_a_yes_reported_after_a_privacy_signal_says_so_in_its_evidence(world: "World") -> None:
    client, headers = world.client(), world.token("ann")
    ref = world.know("ann")
    with world.customers.writing() as (conn, _):
        remember_gpc(conn, ref, at=world.clock() - timedelta(days=2))
    (recorded,) = send(world, decision(world, "ann", purpose="email_campaign")).json()["results"]
    (event,) = client("GET", "/v1/me/consent-history", headers=headers).json()["events"]
    assert (event["receipt_id"], event["evidence"]["conflicts_with_gpc"]) == (recorded["receipt_id"], True)


@pytest.mark.parametrize("scope", ["me", "events:write", "catalogue:write", "export"])
def test_another_scope_opens_nothing(world: "World", scope: str) -> None:
    assert send(world, decision(world, "ann"), scope=scope).status_code == 403
    assert state_of(world, "ann") == "none"


def test_the_platforms_token_opens_nothing_of_a_customer(world: "World") -> None:
    answer = world.client()("GET", "/v1/me/consents", headers=world.token("ann", "consents:write"))
    assert answer.status_code == 403


@pytest.mark.parametrize(
    "change",
    [
        {"unknown": 1},
        {"customer_id": ""},
        {"customer_id": None},
        {"notice_version": "one"},
        {"notice_version": "1"},
        {"evidence": {"n": 1}},
        {"evidence": {"age_band": "adult"}},
        {"jurisdiction": "E\u00ad U"},
    ],
)
def test_a_request_that_is_none_is_422(world: "World", change: dict[str, Any]) -> None:
    answer = send(world, decision(world, "ann", **change))
    assert answer.status_code == 422
    assert state_of(world, "ann") == "none"


def test_too_many_at_once_are_413(world: "World") -> None:
    answer = send(world, *[decision(world, "ann")] * (world.config.limits.events + 1))
    assert answer.status_code == 413


def test_nothing_to_write_to_is_503(world: "World") -> None:
    body = {"consents": [decision(world, "ann")]}
    answer = world.client(proofs=None)("POST", "/v1/consents", json=body, headers=world.token("cmp", "consents:write"))
    assert answer.status_code == 503
