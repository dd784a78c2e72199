"""Global Privacy Control: the header, what it denies, the account that remembers it, and a yes given against it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import select

from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.serving.gpc import signals_gpc
from considerate.serving.models import OneModel
from considerate.store.engine import open_store, reading
from considerate.store.keys import unseal
from considerate.store.subjects import subject_keys
from considerate.store.tables import consent_event, consent_evidence

if TYPE_CHECKING:
    from tests.serving.conftest import World

SIGNAL = {"Sec-GPC": "1"}
ON_SITE, IN_STORE = Purpose.PERSONALISE_ONSITE, Purpose.LINK_IN_STORE


@pytest.mark.parametrize(
    ("values", "signals"),
    [
        (["1"], True),
        (["0"], False),
        (["true"], False),
        ([" 1\t"], True),  # blanks around a value are no part of it
        (["1, 1"], False),  # no list: a proxy that joins two headers makes another value
        (["1;a=b"], False),  # no extensions
        ([], False),
        (["0", "1"], True),  # repeated: one that is exactly 1 is enough
    ],
)
def test_the_signal_is_exactly_one(values: list[str], signals: bool) -> None:
    assert signals_gpc(values) is signals


@pytest.mark.parametrize("value", ["1", " 1", "0", "true", "", "11", "1 1", "\u0661"])
def test_the_header_is_read_as_the_specification_says(world: "World", value: str) -> None:
    world.know("ann", ON_SITE)
    answer = world.ask("ann", headers={"sec-gpc": value.encode()})
    assert answer["gpc"] == ("honoured" if value.strip() == "1" and value != "\u0661" else "not_signalled")


def test_a_signal_among_repeated_headers_counts(world: "World") -> None:
    token = world.token("ann")["Authorization"]
    headers = [("Authorization", token), ("Sec-GPC", "0"), ("Sec-GPC", "1")]
    answer = world.client()("GET", "/v1/me/recommendations", headers=headers)
    assert answer.json()["gpc"] == "honoured"


def bought(world: "World") -> None:
    """Let the store know ann, who allows her till purchases, and has one."""
    world.know("ann", ON_SITE, IN_STORE)
    world.buy("ann", "milk", channel="store")


@pytest.mark.parametrize("path", ["/v1/me/recommendations", "/v1/me/consents"])
def test_the_account_remembers_the_signal_on_every_device(world: "World", path: str) -> None:
    bought(world)
    before = world.ask("ann")
    assert before["basis"] == "personalised"
    assert world.ask("ann", path, headers=SIGNAL)["gpc"] == "honoured"
    elsewhere = world.ask("ann")
    assert (elsewhere["reason"], elsewhere["gpc"]) == ("no_history", "honoured")
    switches = world.ask("ann", "/v1/me/consents")
    assert switches["gpc"] == "honoured"
    reasons = {one["purpose"]: one["reason"] for one in switches["consents"]}
    assert (reasons["personalise_onsite"], reasons["link_in_store"]) == ("ok", "gpc")
    assert elsewhere["consent_epoch"] == before["consent_epoch"] + 1, "what was cached under it is not served"


def test_a_new_yes_wins_for_its_own_purpose_and_says_that_it_met_the_signal(world: "World") -> None:
    bought(world)
    world.ask("ann", headers=SIGNAL)
    grant(world, IN_STORE, **SIGNAL)
    for headers in (SIGNAL, {}):
        answer = world.ask("ann", headers=headers)
        assert (answer["basis"], answer["gpc"]) == ("personalised", "honoured")
    assert evidence(world)[-1]["conflicts_with_gpc"] is True
    assert [said for said in evidence(world)[:-1] if "conflicts_with_gpc" in said] == []
    world.know("ann")
    grant(world, ON_SITE)
    assert "conflicts_with_gpc" not in evidence(world)[-1], "the signal never spoke against this one"


def test_a_yes_that_comes_with_the_very_first_signal_is_a_yes_against_it(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk", channel="store")
    grant(world, IN_STORE, **SIGNAL)
    assert world.ask("ann", headers=SIGNAL)["basis"] == "personalised"
    assert evidence(world)[-1]["conflicts_with_gpc"] is True


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("signal", [False, True])
@pytest.mark.parametrize("path", ["/v1/me/recommendations", "/v1/recommendations/default"])
def test_only_strict_shops_let_the_signal_switch_off_suggestions_on_their_own_pages(
    world: "World", strict: bool, signal: bool, path: str
) -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    policy = world.config.policy.model_copy(update={"gpc_strict": strict})
    answer = world.ask(
        "ann", path, headers=SIGNAL if signal else {}, config=world.config.model_copy(update={"policy": policy})
    )
    own = path.startswith("/v1/me") and not (strict and signal)
    assert answer["basis"] == ("personalised" if own else "non_personalised")
    if path.startswith("/v1/me"):
        assert answer["reason"] == ("gpc" if strict and signal else "ok")


@pytest.mark.parametrize("path", ["/v1/me/recommendations", "/v1/me/consents"])
def test_the_signal_of_a_stranger_is_kept_and_stands_against_a_yes_that_was_given_before(
    tmp_path: Path, build_world: "Callable[..., World]", path: str
) -> None:
    world = build_world(tmp_path, unknown_age="adult")
    assert world.ask("new", path, headers=SIGNAL)["gpc"] == "honoured"
    assert world.ask("new")["gpc"] == "honoured"
    world.know("new", ON_SITE, IN_STORE)  # as of yesterday
    world.buy("new", "milk", channel="store")
    assert world.ask("new")["reason"] == "no_history"
    assert world.ask("another")["gpc"] == "not_signalled"
    assert world.customers.standing("another").subject_ref is None


@pytest.mark.parametrize("key", [{}, {"Idempotency-Key": "e-1"}])
@pytest.mark.parametrize("who", ["ann", "new"])
def test_a_signal_that_comes_with_an_event_is_kept(world: "World", who: str, key: dict[str, str]) -> None:
    bought(world)
    view = {"events": [{"event_id": "1", "kind": "view", "item_id": "milk"}]}
    headers = {**world.token(who), **SIGNAL, **key}
    assert world.client()("POST", "/v1/me/events", json=view, headers=headers).status_code == 202
    assert world.ask(who)["gpc"] == "honoured"


def test_the_signal_of_somebody_who_is_erased_meanwhile_brings_nobody_back(world: "World") -> None:
    bought(world)
    before = world.customers.standing("ann")
    answer = world.client()("POST", "/v1/me/privacy-requests", json={"type": "erasure"}, headers=world.token("ann"))
    assert answer.json()["status"] == "completed"
    world.customers.remember_gpc("ann", before, at=world.clock.now)
    assert world.customers.standing("ann").subject_ref is None


def test_a_signal_that_cannot_be_noted_costs_nobody_the_list(world: "World", caplog: pytest.LogCaptureFixture) -> None:
    class ReadOnly:
        def __getattr__(self, name: str) -> Any:
            return getattr(world.customers, name)

        def remember_gpc(self, *_: object, **__: object) -> None:
            raise StoreError("considerate.db: read-only")

    bought(world)
    assert world.ask("ann", headers=SIGNAL, customers=ReadOnly())["reason"] == "no_history"
    assert "a privacy signal could not be noted: considerate.db: read-only" in caplog.text
    assert world.ask("ann")["basis"] == "personalised"
    assert world.ask("ann", headers=SIGNAL)["reason"] == "no_history"
    assert world.ask("ann")["reason"] == "no_history", "the next signal was noted"


TABLE = {
    # granted  tea by milk (online)  honey by bread (till)  tea by aspirin (sensitive): what opens the own list
    "":      set(),
    "P":     {"milk"},
    "PL":    {"milk", "bread"},
    "PS":    {"milk", "aspirin-test"},
    "PLS":   {"milk", "bread", "aspirin-test"},
}  # fmt: skip
LETTERS = dict(zip("PTLMS", Purpose, strict=True))


@pytest.mark.parametrize("number", range(32))
def test_what_is_read_of_her_is_what_the_hand_written_table_says(
    tmp_path: Path, build_world: "Callable[..., World]", number: int
) -> None:
    granted = "".join(letter for place, letter in enumerate("PTLMS") if number >> place & 1)
    opens = "".join(letter for letter in granted if letter in "PLS") if "P" in granted else ""
    world = build_world(tmp_path)
    world.know("ann", *(LETTERS[letter] for letter in granted))
    world.buy("ann", "milk", "aspirin-test")
    world.buy("ann", "bread", channel="store")
    read: list[str] = []

    class Watched:
        """Notes which items of a history are left when it is scored."""

        def __init__(self, inner: Any) -> None:
            self._inner = inner

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inner, name)

        def score(self, history: Any, **more: Any) -> Any:
            read.extend(self._inner.item_ids[item] for item in history.item.tolist())
            return self._inner.score(history, **more)

    served = world.resources.models.current()
    assert served is not None
    answer = world.ask("ann", models=OneModel(replace(served, artefact=Watched(served.artefact))))
    assert set(read) == TABLE[opens]
    assert answer["basis"] == ("personalised" if opens else "non_personalised")
    assert world.customers.history_reads == bool(opens)
    assert ("aspirin-test" in {one["item_id"] for one in answer["items"]}) == ("S" in opens)


def grant(world: "World", purpose: Purpose, **headers: str) -> None:
    body = {"notice_id": "considerate-suggestions", "notice_version": 1, "locale": "en"}
    answer = world.client()("PUT", f"/v1/me/consents/{purpose}", json=body, headers={**world.token("ann"), **headers})
    assert answer.status_code == 200, answer.text


def evidence(world: "World") -> list[dict[str, Any]]:
    """What each event of the ledger says of how it came about, oldest first."""
    engine = open_store(world.url, create=False)
    found = []
    with reading(engine) as conn:
        query = select(consent_event.c.subject_ref, consent_evidence).join_from(consent_event, consent_evidence)
        for ref, event_id, sealed in conn.execute(query.order_by(consent_event.c.seq)):
            key = subject_keys(conn, world.keys, [ref])[ref]
            found.append(json.loads(unseal(key, sealed, event_id)))
    engine.dispose()
    return found
