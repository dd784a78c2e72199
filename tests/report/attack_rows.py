"""Attacks that no promise by itself covers, and the record of what is processed."""

import json
import pickle
import shutil
from pathlib import Path
from typing import Any
from uuid import uuid4

from sqlalchemy import inspect, select
from tests.report.identity_rows import own, send
from tests.report.rights_rows import BECAUSE, shown
from tests.report.rows import Outcome, outcome, row
from tests.report.shop import MODEL, ROOT, Shop
from tests.serving.attack_table import NOTICE

from considerate.consent.ledger import head
from considerate.consent.purposes import Purpose
from considerate.errors import ArtefactError
from considerate.privacy.record import is_recorded, record_of_processing, tables_recorded
from considerate.ranking.loading import load
from considerate.store.decisions import decisions_url, open_decisions
from considerate.store.engine import reading
from considerate.store.keys import unseal
from considerate.store.subjects import find_subject, subject_keys
from considerate.store.tables import consent_event, consent_evidence

P, T, L, _, _ = Purpose
OURS = ("serve.log", "service.toml")
"""Files of the report itself in the installation's folder."""


@row("attack 4", "another's id in query, header, cookie or body changes nothing: the token alone says who asks")
def another_id(shop: Shop, quick: bool) -> Outcome:
    she, he = "attack-4-she", "attack-4-he"
    for customer, item in ((she, "milk"), (he, "bread")):
        shop.know(customer, P)
        shop.buy(customer, [item])
    wanted, his = shown(shop.ask(she, BECAUSE)), shown(shop.ask(he, BECAUSE))
    held = [wanted != his, wanted[0] == his[0] == "personalised"]
    names = ("customer_id", "customer", "user_id", "sub", "subject", "subject_ref")
    tricks: list[tuple[str, dict[str, str]]] = [(f"{BECAUSE}&{name}={he}", {}) for name in names]
    headers = ("X-User-Id", "X-Customer-Id", "X-Forwarded-User", "X-Subject")
    tricks += [(BECAUSE, {name: he}) for name in headers]
    tricks += [(BECAUSE, {"Cookie": f"{name}={he}"}) for name in names]
    for _ in range(1 if quick else 20):
        for path, more in tricks:
            answer = shop.call("GET", path, headers={**shop.token(she), **more})
            refused = answer.status_code == 422 and not more  # a query that nobody knows may be
            held.append(refused or shown(answer.json()) == wanted)
    hers = {"events": [{"event_id": uuid4().hex, "kind": "view", "item_id": "tea"}]}
    held.append(shop.call("POST", "/v1/me/events", json=hers, headers=shop.token(she)).status_code == 202)
    for name in names:
        event = {"event_id": uuid4().hex, "kind": "view", "item_id": "tea", name: he}
        for body in ({"events": [event]}, {"events": [{**event, name: None}], name: he}):
            answer = shop.call("POST", "/v1/me/events", json=body, headers=shop.token(she))
            held.append(answer.status_code == 422)
        third = {**shop.token("attack-4-third"), "X-User-Id": he}
        answer = shop.call("DELETE", f"/v1/me/consents/{P}?{name}={he}", headers=third)
        held.append(answer.status_code == 200)
    held.append(shown(shop.ask(he, BECAUSE)) == his)
    return outcome(held)


@row("attack 8", "a yes that is sent again after a withdrawal gets its old receipt, and the switch stays off")
def replayed_grant(shop: Shop, quick: bool) -> Outcome:
    held = []
    for number in range(2 if quick else 50):
        customer = f"attack-8-{number}"
        shop.know(customer)
        shop.buy(customer, ["milk"])
        path, key = f"/v1/me/consents/{P}", {"Idempotency-Key": uuid4().hex}
        captured = {**shop.token(customer), **key}
        given = shop.call("PUT", path, json=NOTICE, headers=captured)
        held += [given.status_code == 200, shop.ask(customer)["basis"] == "personalised"]
        held.append(shop.call("DELETE", path, headers=shop.token(customer)).status_code == 200)
        for _ in range(5):
            again = shop.call("PUT", path, json=NOTICE, headers=captured)
            held.append((again.status_code, again.content) == (200, given.content))
            answer = shop.ask(customer)
            held.append((answer["basis"], answer["reason"]) == ("non_personalised", "withdrawn"))
        other = shop.call("PUT", "/v1/me/consents/train_models", json=NOTICE, headers=captured)
        held.append(other.status_code == 422)  # the key stands for another request
    return outcome(held)


@row("attack 24", "a model whose files were swapped, added to or pickled is not loaded")
def swapped(shop: Shop, quick: bool) -> Outcome:
    model, copy = shop.home / "models" / MODEL, shop.home / "models" / ".attack-24"
    files = sorted(path.relative_to(model) for path in model.rglob("*") if path.is_file())
    held = [not _is_refused(model)]
    for name in files:
        for change in (_flip, _pickled, Path.unlink):
            shutil.copytree(model, copy)
            change(copy / name)
            held.append(_is_refused(copy))
            shutil.rmtree(copy)
    return outcome(held, f"{len(files)} files")


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def _pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps(["whatever a pickle would run"]))


def _is_refused(folder: Path) -> bool:
    try:
        load(folder)
    except ArtefactError:
        return True
    return False


@row(
    "attack 25",
    "a yes given against the privacy signal says so in its evidence, and no other yes does",
)
def conflict(shop: Shop, quick: bool) -> Outcome:
    held = []
    for number in range(2 if quick else 50):
        customer = f"attack-25-{number}"
        shop.know(customer, P)
        shop.buy(customer, ["bread"], channel="store")
        signal = {**shop.token(customer), "Sec-GPC": "1"}
        held.append(own(send(shop, customer, ["1"])) == set())
        for purpose in (L, P):
            held.append(shop.call("PUT", f"/v1/me/consents/{purpose}", json=NOTICE, headers=signal).status_code == 200)
        said = _evidence(shop, customer)
        held.append(said[L].get("conflicts_with_gpc") is True)
        held.append("conflicts_with_gpc" not in said.get(P, {}))
        held.append(own(send(shop, customer, ["1"])) == {"bread"})
    return outcome(held)


def _evidence(shop: Shop, customer: str) -> dict[Purpose, dict[str, Any]]:
    """Give the evidence of a customer's last act by purpose, as only her own key opens it."""
    with reading(shop.engine) as conn:
        who = find_subject(conn, shop.keys.lookup(customer))
        assert who is not None
        key = subject_keys(conn, shop.keys, [who.subject_ref])[who.subject_ref]
        query = (
            select(consent_event.c.purpose_id, consent_evidence)
            .join_from(consent_event, consent_evidence)
            .where(consent_event.c.subject_ref == who.subject_ref)
            .order_by(consent_event.c.seq)
        )
        rows = conn.execute(query).all()
    return {Purpose(purpose): json.loads(unseal(key, sealed, event_id)) for purpose, event_id, sealed in rows}


@row("unknown", "a purpose that does not exist is refused everywhere and leaves the ledger as it is")
def unknown_purpose(shop: Shop, quick: bool) -> Outcome:
    customer, held = "row-unknown", []
    shop.know(customer, P)
    with reading(shop.engine) as conn:
        before = head(conn)
    for purpose in ("profiling", "PERSONALISE_ONSITE", "personalise-onsite", "personalise_onsite%20", "*", "all", "0"):
        path, headers = f"/v1/me/consents/{purpose}", shop.token(customer)
        for method, body in (("PUT", {"json": NOTICE}), ("DELETE", {})):
            answer = shop.call(method, path, headers=headers, **body)
            held.append((answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json"))
        record = {
            **NOTICE,
            "customer_id": customer,
            "purpose": purpose,
            "event_time": "2026-11-01T00:00:00Z",
            "evidence": {"form": "report"},
        }
        platform = shop.token("platform", "consents:write")
        for state in ("given", "withdrawn"):
            told = {"consents": [{**record, "state": state}]}
            answer = shop.call("POST", "/v1/consents", json=told, headers=platform)
            # What may be a no to one of ours is not passed over: whoever sent it has to look.
            left_out = answer.status_code == 200 and answer.json()["results"][0]["status"] == "left_out"
            held.append(left_out or (state == "withdrawn" and answer.status_code == 422))
    with reading(shop.engine) as conn:
        held.append(head(conn) == before)
    # The same calls with one that exists are heard, and go into the ledger.
    switch = f"/v1/me/consents/{L}"
    held.append(shop.call("PUT", switch, json=NOTICE, headers=shop.token(customer)).status_code == 200)
    held.append(shop.call("DELETE", switch, headers=shop.token(customer)).status_code == 200)
    told = {"consents": [{**record, "purpose": T, "state": "given"}]}
    answer = shop.call("POST", "/v1/consents", json=told, headers=platform)
    held.append(answer.status_code == 200 and answer.json()["results"][0]["status"] == "recorded")
    with reading(shop.engine) as conn:
        held.append(head(conn)[0] == before[0] + 3)
    return outcome(held)


@row("43", "the record of processing names every table and every file that is there, and the docs carry it")
def recorded(shop: Shop, quick: bool) -> Outcome:
    decisions = open_decisions(decisions_url(shop.url, shop.home))
    there = {*inspect(shop.engine).get_table_names(), *inspect(decisions).get_table_names()}
    decisions.dispose()
    held = [table in tables_recorded() for table in sorted(there)]
    files = [path.relative_to(shop.home).as_posix() for path in shop.home.rglob("*") if path.is_file()]
    unknown = [name for name in sorted(files) if name not in OURS and not is_recorded(name)]
    held += [name not in unknown for name in files]
    held.append(record_of_processing() in (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8"))
    held += [not is_recorded("customers.csv"), len(there) > 10]
    told = [f"{len(there)} tables, {len(files)} files", *(f"{name} has no entry" for name in unknown[:3])]
    return outcome(held, "; ".join(told))
