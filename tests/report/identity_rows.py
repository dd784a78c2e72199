"""Promises about who is asking, what a browser signals, and what an outsider can find out."""

import functools
import hashlib
import http.client
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import fields
from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

from sqlalchemy import MetaData, select
from tests.house.traces import guises
from tests.report.rights_rows import BECAUSE, answered, asked
from tests.report.rows import Outcome, outcome, row, within, within_a_second
from tests.report.shop import AUTH, STRICT, TIGHT, Shop
from tests.serving import test_indistinguishable
from tests.serving.attack_table import ME, NOTICE, ROUTES
from tests.serving.test_attacks import Ann, call, described, expected, kinds
from tests.serving.test_tokens import forgeries

from considerate.consent.decision import Consent, ConsentState, Policy, SubjectFacts, effective
from considerate.consent.notices import current_notice
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.ranking.history import History
from considerate.serving.development import read_development_key
from considerate.serving.lists import Wish
from considerate.serving.shelves import Shelf
from considerate.serving.signals import SIGNALS
from considerate.serving.tokens import jwks_beside
from considerate.store.decisions import decisions_url, open_decisions
from considerate.store.engine import reading
from considerate.store.subjects import customer_id_of
from considerate.store.tables import subject

P, T, L, _, _ = Purpose
HEADERS: list[tuple[list[str], bool]] = [
    (["1"], True),
    (["0"], False),
    (["true"], False),
    ([""], False),
    (["11"], False),
    (["1, 1"], False),
    (["0", "1"], True),
    ([" 1\t"], True),
]


def send(shop: Shop, customer: str, signals: Sequence[str]) -> dict[str, Any]:
    """Ask for a list with these Sec-GPC headers, byte for byte."""
    connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=10)
    connection.putrequest("GET", BECAUSE)
    connection.putheader("Authorization", shop.token(customer)["Authorization"])
    for signal in signals:
        connection.putheader("Sec-GPC", signal)
    connection.endheaders()
    body: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return body


def own(answer: dict[str, Any]) -> set[str]:
    """Give the customer's own products that a list names as its reasons."""
    return {item for entry in answer["items"] for item in entry.get("because") or []}


@row("26", "a browser's privacy signal is exactly 1, and the service says that it heeds it")
def signal_header(shop: Shop, quick: bool) -> Outcome:
    held = []
    for number, (values, signals) in enumerate(HEADERS):
        customer = f"row-26-{number}"
        shop.know(customer, P)
        held.append(send(shop, customer, values)["gpc"] == ("honoured" if signals else "not_signalled"))
    answer = shop.call("GET", "/.well-known/gpc.json")
    said = answer.json()
    held.append(answer.headers["content-type"] == "application/json")
    held.append(said["gpc"] is True and date.fromisoformat(said["lastUpdate"]) <= datetime.now(UTC).date())
    return outcome(held)


@row("27", "the signal denies what is shared, on every later device, and leaves the shop's own pages alone")
def signal_effect(shop: Shop, quick: bool) -> Outcome:
    held = []
    for number in range(2 if quick else 50):
        customer = f"row-27-{number}"
        shop.know(customer, P, L)
        shop.buy(customer, ["milk"])
        shop.buy(customer, ["bread"], channel="store")
        before = shop.ask(customer, BECAUSE)
        held.append((before["gpc"], own(before)) == ("not_signalled", {"milk", "bread"}))
        first = send(shop, customer, ["1"])
        # The account is written to behind the answer.
        held.append(within_a_second(functools.partial(_remembered, shop, customer), quick=quick))
        for answer in (first, *(shop.ask(customer, BECAUSE) for _ in range(4))):
            held.append((answer["gpc"], answer["basis"], own(answer)) == ("honoured", "personalised", {"milk"}))
        switches = shop.call("GET", "/v1/me/consents", headers=shop.token(customer)).json()
        reasons = {one["purpose"]: one["reason"] for one in switches["consents"]}
        held.append((switches["gpc"], reasons[P], reasons[L]) == ("honoured", "ok", "gpc"))
        headers = {**shop.token(customer), "Sec-GPC": "1"}
        held.append(shop.call("PUT", f"/v1/me/consents/{L}", json=NOTICE, headers=headers).status_code == 200)
        held.append(own(send(shop, customer, ["1"])) == {"milk", "bread"})
    return outcome(held)


@row(
    "27 strict",
    "in a strict shop, and in no other, the signal denies every purpose",
    last=True,
    quick="sqlite",
)
def strict_signal(shop: Shop, quick: bool) -> Outcome:
    held, at = [], datetime.now(UTC)
    version = current_notice().notice_version
    given = {
        purpose: Consent(ConsentState.GIVEN, 1, rule.version, current_notice().notice_id, version, at, None)
        for purpose, rule in PURPOSE_RULES.items()
    }
    for strict, signal, before in itertools.product([False, True], repeat=3):
        facts = SubjectFacts(given, age_band="adult", gpc_at=at + timedelta(seconds=1) if before else None)
        for purpose, rule in PURPOSE_RULES.items():
            allowed = effective(facts, purpose, at=at, policy=Policy(gpc_strict=strict), gpc=signal).allowed
            held.append(allowed == (not (signal or before) or not (strict or rule.gpc_denies)))
    if shop.more != STRICT:
        shop.stop()
        shop.more = STRICT
        shop.start()
    customer = "row-27-strict"
    shop.know(customer, T, L)
    shop.buy(customer, ["milk"])
    notice = shop.call("GET", "/v1/me/consents", headers=shop.token(customer)).json()["notice"]
    yes = {"notice_id": notice["notice_id"], "notice_version": notice["version"], "locale": "en"}
    shop.call("PUT", f"/v1/me/consents/{P}", json=yes, headers=shop.token(customer))
    held.append(shop.ask(customer, BECAUSE)["basis"] == "personalised")
    first = send(shop, customer, ["1"])
    held.append(within_a_second(functools.partial(_remembered, shop, customer), quick=quick))
    for answer in (first, shop.ask(customer, BECAUSE)):
        held.append((answer["basis"], answer["reason"], answer["gpc"]) == ("non_personalised", "gpc", "honoured"))
    signals: tuple[dict[str, str], ...] = ({}, {"Sec-GPC": "1"})
    for headers in signals:
        held.append(shop.call("GET", "/v1/recommendations/default", headers=headers).status_code == 200)
    return outcome(held)


def _remembered(shop: Shop, customer: str) -> bool:
    said = shop.call("GET", "/v1/me/consents", headers=shop.token(customer)).json()["gpc"]
    return bool(said == "honoured")


@row("31", "the transparency page names every signal that the code can read", quick="sqlite")
def transparency(shop: Shop, quick: bool) -> Outcome:
    page = shop.call("GET", "/v1/transparency/recommender").json()
    named = [one["name"] for one in page["signals"]]
    read = {field.name for part in (History, Wish, SubjectFacts, Shelf) for field in fields(part)}
    held = [name in named for name in sorted(read | {signal.name for signal in SIGNALS})]
    held += [bool(one["what"] and one["change"]) for one in page["signals"]]
    held.append(set(named) == read)
    held.append({one["purpose"] for one in page["purposes"]} == set(Purpose))
    return outcome(held, f"{len(named)} signals")


@row("33", "pseudonyms are keyed, each domain's its own; a dictionary of ids finds nobody")
def pseudonyms(shop: Shop, quick: bool) -> Outcome:
    ids = [f"row-33-{number}" for number in range(10_000)]
    known = {customer: shop.know(customer, P) for customer in ids[:5]}
    for customer in known:
        shop.buy(customer, ["milk"])
    answers = [shop.ask(customer) for customer in known]
    keys, domains = shop.keys, ("log", "experiment", "idempotency")
    held = []
    for customer in ids[: 100 if quick else None]:
        made = {keys.pseudonym(domain, customer) for domain in domains} | {keys.lookup(customer).hex()[:32]}
        held.append(len(made) == len(domains) + 1)
    dictionary = set()
    for customer in ids:
        for algorithm in ("md5", "sha1", "sha256"):
            digest = hashlib.new(algorithm, customer.encode(), usedforsecurity=False).hexdigest()
            dictionary |= {digest, digest[:16], digest[:32]}
    held += [answer["basis"] == "personalised" and answered(answer) for answer in answers]
    content = outputs(shop) + json.dumps(answers).encode()
    tokens = {token.decode() for token in re.findall(rb"[0-9a-f]{16,}", content.lower())}
    tokens |= {token[:length] for token in tokens for length in (16, 32)}
    held += [len(tokens) > 100, not tokens & dictionary]
    planted = hashlib.sha256(ids[7].encode()).hexdigest()
    held.append(bool({planted} & dictionary))
    held.append(not told_of(content, ["row-33-", *known]))
    # What is looked through holds the ids as they are stored: sealed, to be opened with their own keys.
    with reading(shop.engine) as conn:
        held += [customer_id_of(conn, keys, ref) == customer for customer, ref in known.items()]
        sealed = select(subject.c.customer_id_enc).where(subject.c.subject_ref.in_(known.values()))
        held += [one in content for one in conn.execute(sealed).scalars()]
    return outcome(held, f"{len(tokens):,} tokens against {len(dictionary):,} hashes")


def told_of(content: bytes, names: Iterable[str]) -> list[str]:
    """Give the names that some content tells of, each with the guise in which it stands there."""
    return [f"{name}: {guise}" for name in names for guise, needle in guises(name).items() if needle in content]


def outputs(shop: Shop) -> bytes:
    """Give everything the shop has put out: its log, its figures, every table; binary values also in hex."""
    parts = [shop.log.read_bytes(), shop.call("GET", "/metrics").content]
    decisions = open_decisions(decisions_url(shop.url, shop.home))
    for engine in (shop.engine, decisions):
        every = MetaData()
        every.reflect(engine)
        with engine.connect() as conn:
            for table in every.tables.values():
                for one in (value for values in conn.execute(select(table)) for value in values):
                    parts += [one, one.hex().encode()] if isinstance(one, bytes) else [str(one).encode()]
    decisions.dispose()
    return b"\n".join(parts)


@row("34", "each route opens to its own kind of caller, and nobody reads or changes what is another's", quick="sqlite")
def callers(shop: Shop, quick: bool) -> Outcome:
    world: Any = SimpleNamespace(
        config=SimpleNamespace(auth=AUTH),
        signing_key=read_development_key(shop.home / "keys" / "development.pem"),
        token=shop.token,
        know=shop.know,
        clock=SimpleNamespace(now=datetime.now(UTC)),
    )
    client: Any = shop.call
    held = [described(client).keys() == ROUTES.keys()]
    ann = Ann(world, client)
    # Her copy is made behind the service: what is compared must have come to rest.
    held.append(within(30, lambda: ann.everything()["request"]["status"] == "completed"))
    before = ann.everything()
    held += [secret in json.dumps(before) for secret in ann.secrets]
    for key, route in ROUTES.items():
        if route.opens == ME:
            answer = call(client, key, route, shop.token("bob"), **ann.names)
            told = answer.text + str(answer.headers)
            held.append(answer.status_code < 500 and not [secret for secret in ann.secrets if secret in told])
            if route.foreign:
                unknown = call(client, key, route, shop.token("bob"))
                held.append((answer.status_code, answer.content) == (404, unknown.content))
    held.append(ann.everything() == before)
    for key, route in ROUTES.items():
        if route.opens == ME and key[0] == "GET":
            held.append(call(client, key, route, shop.token("ann"), **ann.names).status_code == 200)
        for kind, headers in kinds(world).items():
            status, refusal = call(client, key, route, headers).status_code, expected(route, kind)
            held.append(status == refusal if refusal else status < 500 and status not in (401, 403, 429))
    feed = shop.token("feed", "catalogue:write")
    shop.call("PATCH", "/v1/items/tea", json={"in_stock": True}, headers=feed)
    return outcome(held, f"{len(ROUTES)} routes, {len(kinds(world))} kinds of caller")


@row("35", "forged tokens all meet the same 401", quick="sqlite")
def forged(shop: Shop, quick: bool) -> Outcome:
    path = shop.home / "keys" / "development.pem"
    tokens = forgeries(read_development_key(path), json.loads(jwks_beside(path).read_text(encoding="utf-8")))
    answers = [
        shop.call("GET", "/v1/me/recommendations", headers={"Authorization": f"Bearer {token}".strip()})
        for token in tokens.values()
    ]
    held = [answer.status_code == 401 for answer in answers]
    held += [answer.content == answers[0].content for answer in answers]
    held += [len(tokens) >= 20, "status" not in shop.ask("row-35")["basis"]]
    return outcome(held, f"{len(tokens)} tokens")


@row("36", "unknown, erased, minor and silent customers look alike")
def indistinguishable(shop: Shop, quick: bool) -> Outcome:
    people = {kind: f"row-36-{kind}" for kind in test_indistinguishable.PEOPLE}
    shop.know(people["erased"])
    shop.know(people["minor"], age_band="13_15")
    shop.know(people["silent"], age_band="unknown")
    for kind in ("erased", "minor", "silent"):
        shop.buy(people[kind], ["milk", "bread"])
    asked(shop, people["erased"], "erasure")
    test: Any = test_indistinguishable.test_no_answer_tells_unknown_erased_minor_and_silent_customers_apart
    held = []
    for method, path in test.pytestmark[0].args[1]:
        body = {"json": {"reason": "gift"}} if method == "PUT" else {}
        answers = [shop.call(method, path, headers=shop.token(customer), **body) for customer in people.values()]
        seen = {(one.status_code, json.dumps(test_indistinguishable.shown(one.json()))) for one in answers}
        nothing = method != "GET" or test_indistinguishable.NO_ID in path
        held += [len(seen) == 1, answers[0].status_code == (404 if nothing else 200)]
    routes = len(held) // 2
    # Somebody who is none of them does look different.
    shop.know("row-36-open", P)
    shop.buy("row-36-open", ["milk", "bread"])
    held.append(shop.ask("row-36-open")["basis"] == "personalised")
    return outcome(held, f"{routes} routes")


@row("37", "service keys open their own routes alone, and everybody meets a limit", last=True, quick="sqlite")
def scopes(shop: Shop, quick: bool) -> Outcome:
    if shop.per_minute > TIGHT:
        shop.stop()
        shop.per_minute = TIGHT
        shop.start()
    held = []
    for number, scope in enumerate(("events:write", "catalogue:write", "consents:write", "export")):
        for path in ("/v1/me/recommendations", "/v1/me/consents", "/v1/me/preferences", "/v1/me/consent-history"):
            held.append(shop.call("GET", path, headers=shop.token(f"service-{number}", scope)).status_code == 403)
    held.append(shop.call("POST", "/v1/events", json={"events": []}, headers=shop.token("row-37")).status_code == 403)
    held.append(shop.call("GET", "/v1/me/consents").status_code == 401)
    headers = shop.token("row-37-hasty")
    answers = [shop.call("GET", "/v1/me/recommendations", headers=headers) for _ in range(2 * TIGHT)]
    refused = [answer for answer in answers if answer.status_code == 429]
    held += [len(answers) - len(refused) <= TIGHT, {answer.status_code for answer in answers} == {200, 429}]
    held += [int(answer.headers["retry-after"]) > 0 for answer in refused]
    held.append(shop.ask("row-37-calm")["basis"] == "non_personalised")
    held.append(shop.call("GET", "/livez").status_code == 200)
    return outcome(held, f"{len(refused)} of {len(answers)} calls refused at {TIGHT} a minute")
