"""Promises about what is written down, for how long it is kept, and what is joined with it."""

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from uuid import uuid4

from tests.report.gate import learnt_from
from tests.report.rights_rows import BECAUSE, answered, decisions_in_log, shown, training
from tests.report.rows import Outcome, outcome, row, within_a_second
from tests.report.shop import Shop

from considerate.consent.decision import Policy, Reason
from considerate.consent.gate import IN_STORE, RETENTION
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.privacy.installation import installation_of
from considerate.privacy.retention import retire
from considerate.ranking.history import Kind
from considerate.ranking.loading import load
from considerate.serving.customers import StoredCustomers
from considerate.serving.decision_log import NoDecisionLog
from considerate.serving.lists import Wish
from considerate.serving.models import OneModel, Served
from considerate.serving.shelves import Shelves
from considerate.serving.suggest import Counter, suggest
from considerate.settings.service import RetentionConfig
from considerate.store.decisions import ServedDecision, insert_decisions
from considerate.store.engine import writing
from considerate.store.interactions import NewEvent, append_events

P, T, L, _, _ = Purpose


@row("32", "every list served is in the log within a second, once; the log makes the same list again")
def decision_log(shop: Shop, quick: bool) -> Outcome:
    customer, calls = "row-32", 40 if quick else 1_000
    ref = shop.know(customer, P)
    shop.buy(customer, ["milk"])
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(shop.ask, [customer] * calls))
    started = time.monotonic()
    complete = within_a_second(lambda: len(decisions_in_log(shop, ref)) >= calls, quick=quick)
    seconds = time.monotonic() - started
    logged = [str(one.decision_id) for one in decisions_in_log(shop, ref)]
    held = [complete, *(logged.count(str(answer["decision_id"])) == 1 for answer in answers), len(logged) == calls]
    own = shop.call("GET", "/v1/me/decisions?limit=200", headers=shop.token(customer)).json()["decisions"]
    held.append([one["decision_id"] for one in own] == logged[:200])
    why = f"/v1/me/recommendations/{logged[0]}/explanation"
    held.append(shop.call("GET", why, headers=shop.token(customer)).status_code == 200)
    held.append(shop.call("GET", why, headers=shop.token("row-32-other")).status_code == 404)
    held += _made_again(shop, customer, decisions_in_log(shop, ref))
    shop.call("DELETE", f"/v1/me/consents/{P}", headers=shop.token(customer))
    last = shop.ask(customer)["decision_id"]
    held.append(within_a_second(lambda: str(decisions_in_log(shop, ref)[0].decision_id) == last, quick=quick))
    held.append(decisions_in_log(shop, ref)[0].basis == "non_personalised")
    return outcome(held, f"{calls} rows, the last after {seconds:.2f} s")


def _made_again(shop: Shop, customer: str, decisions: Sequence[ServedDecision]) -> list[bool]:
    """Whether the versions that logged decisions name make their lists once more, in this process."""
    customers = StoredCustomers(shop.url, shop.home / "keys", read_timeout_ms=500, write_timeout_ms=700)
    held, counters = [], dict[str, Counter]()
    for decision in decisions:
        version = str(decision.model_version)
        if version not in counters:
            artefact = load(shop.home / "models" / version)
            index = {item: place for place, item in enumerate(artefact.item_ids)}
            counters[version] = Counter(
                customers, OneModel(Served(version, artefact, index)), Shelves(), Policy(), _Taken()
            )
        wish = Wish(goal=decision.facts["goal"], n=decision.facts["n"])
        made = suggest(counters[version], customer, wish, surface=decision.surface, at=decision.at)
        logged = [item.item_id for item in decision.items]
        held.append([item.item_id for item in made.items] == logged and made.basis == decision.basis)
        held.append(made.catalogue_version == decision.catalogue_version)
    customers.close()
    return held


class _Taken(NoDecisionLog):
    """Keeps nothing, so that looking at a decision makes none."""

    def ready(self) -> bool:
        return True

    def take(self, decision: ServedDecision) -> bool:
        return True


@row("40", "what is older than its retention is neither served nor learnt from")
def retention(shop: Shop, quick: bool) -> Outcome:
    customer, now = "row-40", datetime.now(UTC)
    ref = shop.know(customer, P, T)
    held = []
    ages = {"milk": 731, "bread": 729}
    for item, days in ages.items():
        event = NewEvent(f"row-40-{item}", item, Kind.PURCHASE, now - timedelta(days=days), order_line=item)
        with writing(shop.engine) as conn:
            append_events(conn, ref, [event], at=now)
        answer = shop.ask(customer, BECAUSE)
        own = {one for entry in answer["items"] for one in entry.get("because") or []}
        held.append((answer["reason"], own) == (("no_history", set()) if item == "milk" else ("ok", {"bread"})))
    rows, report = learnt_from(shop, [ref])
    held += [rows == ["bread"], report.rows_left_out == {RETENTION: 1}]
    held += [*_decisions_retired(shop, ref), *_ends_by_itself(shop)]
    return outcome(held)


def _decisions_retired(shop: Shop, ref: bytes) -> list[bool]:
    """Whether lists that were served 91 days ago go, and those of 89 days stay."""
    now, held = datetime.now(UTC), []
    place = installation_of(shop.engine, shop.keys, shop.home)
    old, young = (
        ServedDecision(uuid4(), ref, now - timedelta(days=days), "home", "non_personalised", "no_consent")
        for days in (91, 89)
    )
    with place.decisions() as conn:
        insert_decisions(conn, [old.row(), young.row()])
    for gone in (False, True):
        there = {one.decision_id for one in decisions_in_log(shop, ref)}
        held += [(old.decision_id in there) != gone, young.decision_id in there]
        if not gone:
            retire(place, RetentionConfig(), at=now)
    return held


def _ends_by_itself(shop: Shop) -> list[bool]:
    """Whether a yes that ends by itself is one until then, and none a second later."""
    customer = "row-40-ends"
    ref = shop.know(customer)
    shop.buy(customer, ["milk"])
    ends = datetime.now(UTC) + timedelta(seconds=3)
    with writing(shop.engine) as conn:
        for purpose in (P, T):
            at = ends - timedelta(days=PURPOSE_RULES[purpose].ttl_days)
            grant(conn, shop.keys, ref, purpose, notice=current_notice(), at=at, policy=Policy())
    before = (shop.ask(customer)["reason"], training(shop, ref))
    in_time = datetime.now(UTC) < ends
    time.sleep(max(0.0, (ends - datetime.now(UTC)).total_seconds()) + 1)
    after = (shop.ask(customer)["reason"], training(shop, ref))
    return [not in_time or before == ("ok", Reason.OK), after == ("expired", Reason.EXPIRED)]


@row("41", "till purchases are joined by permission alone, and parted from the next list and fit on")
def till(shop: Shop, quick: bool) -> Outcome:
    held = []
    for number in range(5 if quick else 100):
        she, twin = f"row-41-{number}", f"row-41-{number}-twin"
        for customer in (she, twin):
            shop.know(customer, P, T, L)
            shop.buy(customer, ["milk"])
        ref = shop.know(she)
        shop.buy(she, ["bread"], channel="store")
        held.append(learnt_from(shop, [ref])[0] == ["bread", "milk"])
        alike = shop.ask(twin, BECAUSE)
        held.append(alike["basis"] == "personalised" and answered(alike))
        wanted = shown(alike)
        held.append(shown(shop.ask(she, BECAUSE)) != wanted)
        held.append(shop.call("DELETE", f"/v1/me/consents/{L}", headers=shop.token(she)).status_code == 200)
        held += [shown(shop.ask(she, BECAUSE)) == wanted for _ in range(4)]
        rows, report = learnt_from(shop, [ref])
        held.append((rows, report.rows_left_out) == (["milk"], {IN_STORE: 1}))
    return outcome(held)
