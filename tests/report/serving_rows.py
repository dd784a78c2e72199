"""Promises about what a customer is shown."""

import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.report.gate import learnt_from, sensitive_items
from tests.report.rights_rows import answered, tables
from tests.report.rows import Outcome, outcome, row
from tests.report.shop import Shop

from considerate.consent.purposes import Purpose
from considerate.store.decisions import decisions_url, open_decisions

P, T, L, E, S = Purpose
NOT_FOR_MINORS = "beer"
SENSITIVE = "aspirin-test"


def basis(answer: dict[str, Any]) -> str:
    return str(answer["basis"])


def listed(answer: dict[str, Any]) -> list[str]:
    return [entry["item_id"] for entry in answer["items"]]


@row("1", "without a record nobody is personalised and no history is read")
def no_record(shop: Shop, quick: bool) -> Outcome:
    customers = [f"row-1-{number}" for number in range(50 if quick else 1_000)]
    for customer in customers[:10]:
        shop.know(customer)
        shop.buy(customer, ["milk"])
    reads = shop.metric("considerate_history_reads_total")
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(shop.ask, customers))
    held = [basis(answer) == "non_personalised" and answered(answer) for answer in answers]
    # Those of one age see one list: ten are known as adults, the others are of unknown age.
    held += [len({tuple(listed(answer)) for answer in part}) == 1 for part in (answers[:10], answers[10:])]
    held.append(shop.metric("considerate_history_reads_total") == reads)
    return outcome([*held, _counts_a_read(shop, "row-1-yes")])


@row("2", "each of the 32 combinations of switches uses what it allows and nothing else")
def every_combination(shop: Shop, quick: bool) -> Outcome:
    held = []
    for number, given in enumerate(itertools.product([False, True], repeat=5)):
        customer = f"row-2-{number}"
        allowed = {purpose for purpose, yes in zip(Purpose, given, strict=True) if yes}
        shop.know(customer, *allowed)
        shop.buy(customer, ["milk"])
        shop.buy(customer, ["bread"], channel="store")
        answer = shop.ask(customer, "/v1/me/recommendations?surface=discover&n=9")
        own = {item for entry in answer["items"] for item in entry.get("because") or []}
        expected = {"milk"} if P in allowed else set()
        expected |= {"bread"} if {P, L} <= allowed else set()
        held.append(basis(answer) == ("personalised" if P in allowed else "non_personalised"))
        held.append(own == expected)
        held.append((SENSITIVE in listed(answer)) == ({P, S} <= allowed))
    return outcome(held)


@row("7", "giving and withdrawing are one call each, and withdrawing takes no body")
def as_easy(shop: Shop, quick: bool) -> Outcome:
    switch = shop.paths()["/v1/me/consents/{purpose}"]
    held = ["requestBody" in switch["put"], "requestBody" not in switch["delete"]]
    required = [parameter["name"] for parameter in switch["delete"].get("parameters", []) if parameter["required"]]
    held.append(required == ["purpose"])
    return outcome(held)


@row("8", "after a withdrawal no later answer is personalised, on any worker, with warm caches")
def withdrawal(shop: Shop, quick: bool) -> Outcome:
    customer = "row-8"
    shop.know(customer, P)
    shop.buy(customer, ["milk"])
    headers = shop.token(customer)

    def ask(_: int) -> str:
        answer = shop.call("GET", "/v1/me/recommendations", headers=headers)
        return basis(answer.json()) if answer.status_code == 200 else f"status {answer.status_code}"

    with ThreadPoolExecutor(8) as pool:
        warm = list(pool.map(ask, range(50 if quick else 500)))
        withdrawn = shop.call("DELETE", f"/v1/me/consents/{P.value}", headers=headers)
        after = list(pool.map(ask, range(100 if quick else 1_000)))
    held = [answer == "non_personalised" for answer in after]
    held += [withdrawn.status_code == 200, set(warm) == {"personalised"}]
    return outcome(held, f"{len(warm)} warming calls, {len(after)} after")


@row("20", "minors are never profiled nor learnt from, not even with every switch forged into the store")
def minors(shop: Shop, quick: bool) -> Outcome:
    held, refs = [], []
    for number in range(20 if quick else 500):
        customer, band = f"row-20-{number}", ("u13", "13_15", "16_17", "unknown")[number % 4]
        refs.append(shop.know(customer, *Purpose))
        shop.know(customer, age_band=band)
        shop.buy(customer, ["milk"])
        answer = shop.ask(customer)
        held.append((basis(answer), answer["reason"]) == ("non_personalised", "minor_or_age_unknown"))
    notice = shop.call("GET", "/v1/me/consents", headers=shop.token("row-20-0")).json()["notice"]
    grant = {"notice_id": notice["notice_id"], "notice_version": notice["version"], "locale": "en"}
    refused = shop.call("PUT", f"/v1/me/consents/{P.value}", json=grant, headers=shop.token("row-20-0"))
    held.append(refused.status_code == 403 and refused.json()["type"].endswith("minor-cannot-consent"))
    grown = shop.know("row-20-adult", *Purpose)
    shop.buy("row-20-adult", ["milk"])
    held += [basis(shop.ask("row-20-adult")) == "personalised", learnt_from(shop, [grown])[0] == ["milk"]]
    rows, report = learnt_from(shop, refs)
    held += [rows == [], report.rows_total == len(refs), report.customers_left_out == {"minor": len(refs)}]
    return outcome(held, f"{report.rows_total} rows of theirs, none in a fit")


@row("21", "age-restricted products are shown to no minor and nobody of unknown age, by any road")
def age_restricted(shop: Shop, quick: bool) -> Outcome:
    roads = [
        f"/v1/me/recommendations?surface={surface}&n=100{more}"
        for surface in ("home", "discover", "again")
        for more in ("", "&mode=non_personalised", "&context=milk", f"&context={NOT_FOR_MINORS}", "&category=FOOD")
    ]
    shop.know("row-21-adult", *Purpose)
    shop.buy("row-21-adult", ["milk"])
    # An adult sees them by the same roads, but for the page of the product itself: it suggests no product twice.
    own_page = f"context={NOT_FOR_MINORS}"
    held = [NOT_FOR_MINORS in listed(shop.ask("row-21-adult", road)) for road in roads if own_page not in road]
    for number in range(2 if quick else 20):
        customer = f"row-21-{number}"
        shop.know(customer, *Purpose)
        shop.know(customer, age_band=("13_15", "unknown")[number % 2])
        shop.buy(customer, ["milk", NOT_FOR_MINORS])
        for answer in (shop.ask(customer, road) for road in roads):
            held.append(answered(answer) and NOT_FOR_MINORS not in listed(answer))
    anonymous = shop.call("GET", "/v1/recommendations/default?n=100")
    held.append(anonymous.status_code == 200 and answered(anonymous.json()))
    held.append(NOT_FOR_MINORS not in listed(anonymous.json()))
    return outcome(held)


@row("22", "sensitive products are suggested to nobody and learnt from nobody without the switch of their own")
def sensitive(shop: Shop, quick: bool) -> Outcome:
    held, refs, road = [], [], "/v1/me/recommendations?n=100"
    for number in range(20 if quick else 1_000):
        customer = f"row-22-{number % 50}"
        if number < 50:
            refs.append(shop.know(customer, P, T, L))
            shop.buy(customer, [SENSITIVE, "milk"])
        answer = shop.ask(customer, road)
        held.append(basis(answer) == "personalised" and answered(answer) and SENSITIVE not in listed(answer))
    classed = sensitive_items(shop)
    rows, report = learnt_from(shop, refs, sensitive=classed)
    held += [SENSITIVE in classed, rows == ["milk"] * len(refs), report.rows_left_out == {"sensitive": len(refs)}]
    rows, _ = learnt_from(shop, [shop.know("row-22-0", S)], sensitive=classed)
    held += [rows == sorted([SENSITIVE, "milk"]), SENSITIVE in listed(shop.ask("row-22-0", road))]  # with her switch
    return outcome(held, f"{report.rows_total} rows, {len(refs)} of them sensitive and dropped before a fit")


@row("30", "the list without profiling is one parameter away, and reads no history")
def not_profiled(shop: Shop, quick: bool) -> Outcome:
    shop.know("row-30", P)
    shop.buy("row-30", ["milk"])
    reads = shop.metric("considerate_history_reads_total")
    road = "/v1/me/recommendations?mode=non_personalised"
    answers = [shop.ask("row-30", road) for _ in range(10 if quick else 100)]
    held = [(basis(a), a["reason"], answered(a)) == ("non_personalised", "mode_requested", True) for a in answers]
    held.append(shop.metric("considerate_history_reads_total") == reads)
    return outcome([*held, _counts_a_read(shop, "row-30-yes")])


def _of_no_visit(line: str) -> bool:
    """Whether it tells of a model that was fetched, or of a database that was slow for a moment."""
    return any(words in line for words in ("refresher", "the store cannot be read", "the store is read again"))


@row("38", "logged out: no cookie, and no table and no line of the log knows of the visit")
def logged_out(shop: Shop, quick: bool) -> Outcome:
    before, lines = settled(shop), len(shop.log.read_text(encoding="utf-8").splitlines())
    roads = [f"/v1/recommendations/default?n=5{more}" for more in ("", "&context=milk", "&category=FOOD")]
    held = []
    for number in range(50 if quick else 1_000):
        answer = shop.call("GET", roads[number % len(roads)], headers={"User-Agent": f"visitor {number}"})
        held.append(answer.status_code == 200 and answered(answer.json()) and "set-cookie" not in answer.headers)
    after = settled(shop)
    held += [after[table] == rows for table, rows in before.items()]
    told = [line for line in shop.log.read_text(encoding="utf-8").splitlines()[lines:] if not _of_no_visit(line)]
    held += [before.keys() == after.keys(), told == []]
    # A visit of somebody who is logged in would be seen in them.
    held += [answered(shop.ask("row-38")), settled(shop) != after]
    return outcome(held, f"{len(before)} tables and the log are as before")


@row("39", "no answer to a customer may be kept by a cache")
def no_store(shop: Shop, quick: bool) -> Outcome:
    held = []
    for path, methods in shop.paths().items():
        for method in methods if path.startswith("/v1/me") else ():
            concrete = path.replace("{purpose}", P.value).replace("{", "").replace("}", "")
            answer = shop.call(method.upper(), concrete, headers=shop.token("row-39"))
            held.append(answer.headers.get("cache-control") == "no-store")
            held.append({"Authorization", "Sec-GPC"} <= {name.strip() for name in answer.headers["vary"].split(",")})
            # Errors are not kept either; what must not be kept is what a customer is told.
            held.append(answer.status_code == 200 or method != "get" or "{" in path)
    return outcome(held)


def _counts_a_read(shop: Shop, customer: str) -> bool:
    """Whether the counter of histories that were read moves where one is read."""
    shop.know(customer, P)
    shop.buy(customer, ["milk"])
    before = shop.metric("considerate_history_reads_total")
    personal = basis(shop.ask(customer)) == "personalised"
    return personal and shop.metric("considerate_history_reads_total") == before + 1


def settled(shop: Shop) -> dict[str, str]:
    """Give every table of the shop once what waits to be written is written."""
    time.sleep(1)
    decisions = open_decisions(decisions_url(shop.url, shop.home))
    found = {**tables(decisions), **tables(shop.engine)}
    decisions.dispose()
    return found
