"""Each list leaves a row; its customer reads hers, and learns why - from her own acts, as far as she lets us read."""

import itertools
import json
import time
from collections import Counter as Tally
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import insert, select, text, update

from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.ranking.history import History
from considerate.ranking.linear_items import LinearItems
from considerate.serving import explanation
from considerate.serving.decision_log import NoDecisionLog
from considerate.serving.models import OneModel, Served
from considerate.serving.suggest import Counter
from considerate.store.decisions import ServedDecision, decisions_url, open_decisions
from considerate.store.engine import open_store, reading, writing
from considerate.store.tables import event_exclusion, served_decision, subject, to_micros

if TYPE_CHECKING:
    from tests.serving.conftest import World

ON_SITE = Purpose.PERSONALISE_ONSITE


def get(world: "World", customer: str, path: str, **changes: Any) -> httpx.Response:
    return world.client(**changes)("GET", path, headers=world.token(customer))


def explain(world: "World", customer: str, decision_id: str, **changes: Any) -> dict[str, Any]:
    answer = get(world, customer, f"/v1/me/recommendations/{decision_id}/explanation", **changes)
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def order(world: "World", customer: str, *items: str, channel: str = "online", number: int = 1) -> None:
    """Let the order system report lines of an order."""
    events = [
        {
            "customer_id": customer,
            "event_id": f"{number}-{item}",
            "kind": "purchase",
            "item_id": item,
            "channel": channel,
            "order_line": f"o/{number} {item}",
            "timestamp": (world.clock.now - timedelta(hours=1)).isoformat(),
        }
        for item in items
    ]
    answer = world.client()("POST", "/v1/events", json={"events": events}, headers=world.token("till", "events:write"))
    assert answer.status_code == 202, answer.text


def rows(world: "World") -> list[Any]:
    """Every row of the log, once all that was taken is written."""
    world.log.close()
    engine = open_decisions(decisions_url(world.url, world.home))
    with reading(engine) as conn:
        found = list(conn.execute(select(served_decision).order_by(served_decision.c.at)))
    engine.dispose()
    return found


def test_every_answer_is_one_row_that_says_what_it_rested_on(world: "World") -> None:
    ann = world.know("ann", ON_SITE, Purpose.LINK_IN_STORE)
    order(world, "ann", "milk")
    for call in range(40):
        world.clock.now += timedelta(seconds=1)
        answer = world.ask("ann" if call % 2 else "somebody", f"/v1/me/recommendations?n={call % 3 + 1}")
    found = rows(world)
    assert len(found) == len({row.decision_id for row in found}) == 40
    assert Tally((row.subject_ref, row.basis, row.reason) for row in found) == {
        (ann, "personalised", "ok"): 20,
        (None, "non_personalised", "no_consent"): 20,
    }
    last = found[-1]
    assert UUID(bytes=last.decision_id) == UUID(answer["decision_id"])
    assert [item["item_id"] for item in last.items] == [item["item_id"] for item in answer["items"]]
    assert last.items[0] == {"item_id": "tea", "because": ["milk"]}
    assert (last.at, last.surface) == (to_micros(world.clock.now), "home")
    assert last.purposes == "personalise_onsite link_in_store"
    assert (last.consent_epoch, last.consent_seq, last.notice_version) == (answer["consent_epoch"], 1, 1)
    assert (last.model_version, last.catalogue_version) == ("considerate-1", 1)
    assert last.facts == {"goal": "all", "n": 1, "age": "adult"}


def test_the_row_after_a_withdrawal_says_so_and_names_no_purpose(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    world.client()("DELETE", "/v1/me/consents/personalise_onsite", headers=world.token("ann"))
    world.ask("ann")
    (row,) = rows(world)
    assert (row.basis, row.reason, row.purposes, row.consent_seq) == ("non_personalised", "withdrawn", "", None)


def test_nothing_new_points_to_somebody_who_is_being_erased(world: "World") -> None:
    ann = world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    engine = open_store(world.url, create=False)
    with writing(engine) as conn:
        conn.execute(update(subject).where(subject.c.subject_ref == ann).values(state="erasing"))
    engine.dispose()
    assert world.ask("ann")["basis"] == "non_personalised"
    (row,) = rows(world)
    assert (row.subject_ref, row.reason) == (None, "no_consent")


def test_the_same_versions_give_the_list_of_the_row_again(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.buy("ann", "milk", "bread")
    first = world.ask("ann", "/v1/me/recommendations?surface=discover&n=4")
    world.know("ann", Purpose.EMAIL_CAMPAIGN)  # another epoch, the same ground
    again = world.ask("ann", "/v1/me/recommendations?surface=discover&n=4")
    assert first["items"] == again["items"]
    one, two = rows(world)
    assert (one.items, one.model_version, one.facts) == (two.items, two.model_version, two.facts)


@pytest.mark.parametrize("query", ["context=milk", "exclude=milk", "category=FOOD"])
def test_what_page_somebody_was_on_is_not_kept(world: "World", query: str) -> None:
    world.know("ann")
    assert world.ask("ann", f"/v1/me/recommendations?{query}")["items"]
    (row,) = rows(world)
    assert row.items == []
    assert row.facts == {"goal": "all", "n": 10, "age": "adult", "page": True}
    assert "milk" not in str(row)
    assert "FOOD" not in str(row)


def test_of_someone_logged_out_no_row_is_written(world: "World") -> None:
    world.ask("anybody", "/v1/recommendations/default")
    assert world.client()("GET", "/v1/recommendations/default").status_code == 200
    world.ask("ann")
    assert len(rows(world)) == 1


@pytest.mark.parametrize("when", ["before", "between"])
def test_where_the_log_takes_nothing_no_list_is_anybodys_own(world: "World", when: str) -> None:
    class Full(NoDecisionLog):
        """A log that is full from the start, or fills up while the list is made."""

        def ready(self) -> bool:
            return when == "between"

    world.know("ann", ON_SITE)
    world.buy("ann", "milk")
    answer = world.ask("ann", decisions=Full())
    assert (answer["basis"], answer["reason"]) == ("non_personalised", "consent_unavailable")
    assert answer["decision_id"] is None
    assert answer["items"][0]["item_id"] == "beer", "adults are known as such"
    assert not [item for item in answer["items"] if "because" in item]
    assert world.customers.history_reads == (when == "between")
    unasked = world.ask("bob", decisions=Full())
    assert (unasked["reason"], unasked["decision_id"]) == ("no_consent", None)


def test_a_caller_reads_her_own_decisions_newest_first_page_by_page(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.know("bob")
    world.buy("ann", "milk")
    asked = []
    for _ in range(5):
        world.clock.now += timedelta(seconds=1)
        asked.append(world.ask("ann")["decision_id"])
        world.ask("bob")
    asked.reverse()
    explain(world, "ann", asked[0])  # written by then
    seen: list[dict[str, Any]] = []
    following = None
    for size in (2, 2, 1):
        more = f"&before={following}" if following else ""
        page = get(world, "ann", f"/v1/me/decisions?limit=2{more}").json()
        assert len(page["decisions"]) == size
        seen, following = seen + page["decisions"], page["next"]
    assert following is None
    assert [one["decision_id"] for one in seen] == asked
    assert seen[0]["items"][:2] == ["tea", "honey"]
    assert seen[0]["purposes"] == ["personalise_onsite"]
    assert get(world, "stranger", "/v1/me/decisions").json() == {"decisions": [], "next": None}


@pytest.mark.parametrize("query", ["limit=0", "limit=201", "before=x", "customer_id=ann"])
def test_a_query_of_decisions_out_of_range_is_422(world: "World", query: str) -> None:
    assert get(world, "ann", f"/v1/me/decisions?{query}").status_code == 422


def test_an_explanation_names_the_callers_own_order_lines_and_how_to_exclude_each(world: "World") -> None:
    world.know("ann", ON_SITE)
    order(world, "ann", "milk", "bread")
    body = explain(world, "ann", world.ask("ann")["decision_id"])
    assert (body["evidence"], body["why"]) == ("shown", "ok")
    tea = next(item for item in body["items"] if item["item_id"] == "tea")
    assert tea["evidence"] == [
        {
            "item_id": "milk",
            "kind": "purchase",
            "at": "2026-11-22T11:00:00Z",
            "order_line": "o/1 milk",
            "exclude": "/v1/me/exclusions/o%2F1%20milk",
        }
    ]
    assert {row["item_id"] for item in body["items"] for row in item["evidence"]} == {"milk", "bread"}
    assert body["change"][0]["href"] == "/v1/me/consents/personalise_onsite"
    assert not {"score", "count"} & set(json.dumps(body).replace('"', " ").split())


def exclude(world: "World", subject_ref: bytes, line: str) -> None:
    engine = open_store(world.url, create=False)
    row = {"subject_ref": subject_ref, "order_line": line, "reason": "gift", "excluded_at": 0}
    with writing(engine) as conn:
        conn.execute(insert(event_exclusion), row)
    engine.dispose()


def test_what_was_excluded_or_came_later_is_no_evidence(world: "World") -> None:
    ann = world.know("ann", ON_SITE)
    order(world, "ann", "milk", "bread")
    decision = world.ask("ann")["decision_id"]
    exclude(world, ann, "o/1 milk")
    world.clock.now += timedelta(days=2)
    order(world, "ann", "bread", number=2)
    body = explain(world, "ann", decision)
    evidence = [row for item in body["items"] for row in item["evidence"]]
    assert {row["order_line"] for row in evidence} == {"o/1 bread"}


def test_nothing_sensitive_is_named_as_a_reason_even_where_it_counts(world: "World") -> None:
    world.know("ann", ON_SITE, Purpose.SENSITIVE_CATEGORIES)
    order(world, "ann", "aspirin-test", "milk")
    answer = world.ask("ann")
    assert answer["items"][0] == {"item_id": "tea", "slot": 0, "because": ["milk"]}
    body = explain(world, "ann", answer["decision_id"])
    assert "aspirin-test" not in {row["item_id"] for item in body["items"] for row in item["evidence"]}


def test_after_a_withdrawal_the_history_stays_unread_and_the_explanation_says_why(world: "World") -> None:
    world.know("ann", ON_SITE)
    order(world, "ann", "milk")
    decision = world.ask("ann")["decision_id"]
    world.client()("DELETE", "/v1/me/consents/personalise_onsite", headers=world.token("ann"))
    reads = world.customers.history_reads
    body = explain(world, "ann", decision)
    assert (body["evidence"], body["why"]) == ("withheld", "withdrawn")
    assert [item["evidence"] for item in body["items"]] == [[]] * len(body["items"])
    assert world.customers.history_reads == reads
    assert body["decision"]["reason"] == "ok", "what was, stays as it was"


def test_till_purchases_are_evidence_only_with_their_own_consent(world: "World") -> None:
    world.know("ann", ON_SITE, Purpose.LINK_IN_STORE)
    order(world, "ann", "milk", channel="store")
    decision = world.ask("ann")["decision_id"]
    assert explain(world, "ann", decision)["items"][0]["evidence"]
    world.client()("DELETE", "/v1/me/consents/link_in_store", headers=world.token("ann"))
    assert not explain(world, "ann", decision)["items"][0]["evidence"]


def test_a_list_of_nobodys_own_has_no_evidence_but_a_reason(world: "World") -> None:
    world.know("ann")
    body = explain(world, "ann", world.ask("ann")["decision_id"])
    assert (body["evidence"], body["why"]) == ("none", "no_consent")
    assert world.customers.history_reads == 0


def test_without_a_model_there_is_no_evidence_and_with_another_that_which_was_named(
    world: "World", build_model: Callable[..., LinearItems]
) -> None:
    world.know("ann", ON_SITE)
    order(world, "ann", "milk")
    decision = world.ask("ann")["decision_id"]
    assert explain(world, "ann", decision, models=OneModel(None))["why"] == "model_unavailable"
    other = build_model(reverse=True)
    index = {item: row for row, item in enumerate(other.item_ids)}
    body = explain(world, "ann", decision, models=OneModel(Served("considerate-2", other, index)))
    assert body["items"][0]["evidence"][0]["item_id"] == "milk"


def test_where_a_shop_names_no_reasons_the_explanation_finds_them_in_the_same_model(
    world: "World", build_model: Callable[..., LinearItems]
) -> None:
    world.know("ann", ON_SITE)
    order(world, "ann", "milk")
    lists = world.config.lists.model_copy(update={"because": 0})
    silent = world.config.model_copy(update={"lists": lists})
    answer = world.ask("ann", config=silent)
    assert "because" not in answer["items"][0]
    body = explain(world, "ann", answer["decision_id"], config=silent)
    assert body["items"][0]["evidence"][0]["item_id"] == "milk"
    other = build_model()
    index = {item: row for row, item in enumerate(other.item_ids)}
    later = OneModel(Served("considerate-2", other, index))
    assert explain(world, "ann", answer["decision_id"], config=silent, models=later)["items"][0]["evidence"] == []


class ScoredAnewForEachEvent:
    """A model that explains as `two_stage` does, and notes how many events it was asked about."""

    def __init__(self, artefact: LinearItems) -> None:
        self._artefact, self.asked = artefact, list[int]()

    explains_at_once = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._artefact, name)

    def explain(self, history: History, item: int, *, at: Any, goal: Any) -> Any:
        self.asked.append(len(history))
        return self._artefact.explain(history, item, at=at, goal=goal)


def test_no_list_waits_for_reasons_that_take_a_score_for_each_event(
    world: "World", build_model: Callable[..., LinearItems]
) -> None:
    world.know("ann", ON_SITE)
    order(world, "ann", "milk")
    slow = ScoredAnewForEachEvent(build_model())
    index = {item: row for row, item in enumerate(slow.item_ids)}
    models = OneModel(Served("considerate-1", slow, index))
    answer = world.ask("ann", models=models)
    assert (answer["basis"], answer["items"][0]) == ("personalised", {"item_id": "tea", "slot": 0})
    assert slow.asked == []
    body = explain(world, "ann", answer["decision_id"], models=models)
    assert body["items"][0]["evidence"][0]["item_id"] == "milk"
    assert slow.asked == [1] * len(answer["items"])


def test_an_explanation_that_takes_long_names_the_first_items_reasons_and_looks_at_the_newest_events(
    world: "World", build_model: Callable[..., LinearItems]
) -> None:
    world.know("ann", ON_SITE)
    newest = ["milk"] * explanation.LOOKED_THROUGH
    at = world.clock.now - timedelta(hours=1)
    events = [
        {
            "customer_id": "ann",
            "event_id": f"{place}",
            "kind": "purchase",
            "item_id": item,
            "timestamp": (at + timedelta(seconds=place)).isoformat(),
        }
        for place, item in enumerate(["bread", *newest])
    ]
    world.client()("POST", "/v1/events", json={"events": events}, headers=world.token("till", "events:write"))
    slow = ScoredAnewForEachEvent(build_model())
    index = {item: row for row, item in enumerate(slow.item_ids)}
    models = OneModel(Served("considerate-1", slow, index))
    decision_id = UUID(world.ask("ann", models=models)["decision_id"])
    reference = world.customers.standing("ann").subject_ref
    assert reference is not None
    end = time.monotonic() + 10
    while (decision := world.log.find(reference, decision_id, since=world.clock.now)) is None:
        assert time.monotonic() < end, "never written"
        time.sleep(0.05)
    counter = Counter(world.customers, models, world.resources.shelves, world.resources.policy)
    seconds = itertools.count(0.0, explanation.LOOKING_SECONDS / 2)
    why = explanation.explain_decision(counter, "ann", decision, gpc=False, at=world.clock(), now=lambda: next(seconds))
    assert slow.asked == [len(newest)], "a second look would be too late, and bread was bought before all the milk"
    first, *others = why.rows.values()
    assert {row.item_id for row in first} == {"milk"}
    assert others
    assert not any(others)


def test_anothers_decision_and_none_at_all_are_the_same_404(world: "World") -> None:
    world.know("ann", ON_SITE)
    world.know("bob", ON_SITE)
    world.buy("ann", "milk")
    decision = world.ask("ann")["decision_id"]
    explain(world, "ann", decision)
    answers = [
        get(world, customer, f"/v1/me/recommendations/{wanted}/explanation")
        for customer, wanted in [("bob", decision), ("bob", uuid4()), ("never seen", decision)]
    ]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.content for answer in answers}) == 1
    assert decision not in answers[0].text
    assert get(world, "ann", "/v1/me/recommendations/7/explanation").status_code == 422


def test_decisions_that_cannot_be_read_are_503_and_no_answer_tells_more(world: "World") -> None:
    class Locked(NoDecisionLog):
        def find(self, subject_ref: bytes, decision_id: UUID, *, since: datetime) -> ServedDecision | None:
            raise StoreError("decisions.db: locked by another process")

        def of(self, subject_ref: bytes, *, limit: int, before: UUID | None, since: datetime) -> list[ServedDecision]:
            raise StoreError("decisions.db: locked by another process")

    world.know("ann", ON_SITE)
    for path in ("/v1/me/decisions", f"/v1/me/recommendations/{uuid4()}/explanation"):
        answer = get(world, "ann", path, decisions=Locked())
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        assert "decisions.db" not in answer.text


def test_a_decision_past_its_time_is_shown_no_longer(world: "World") -> None:
    world.know("ann", ON_SITE)
    decision = world.ask("ann")["decision_id"]
    why = f"/v1/me/recommendations/{decision}/explanation"
    world.clock.now += timedelta(days=world.config.retention.decisions_days)
    assert get(world, "ann", why).status_code == 200
    assert [one["decision_id"] for one in get(world, "ann", "/v1/me/decisions").json()["decisions"]] == [decision]
    world.clock.now += timedelta(seconds=1)
    assert get(world, "ann", why).status_code == 404
    assert get(world, "ann", "/v1/me/decisions").json()["decisions"] == []
    assert get(world, "ann", f"/v1/me/decisions?before={decision}").json()["decisions"] == []


def test_no_cache_keeps_an_answer_about_decisions(world: "World") -> None:
    for path in ("/v1/me/decisions", f"/v1/me/recommendations/{uuid4()}/explanation"):
        assert get(world, "ann", path).headers.get_list("cache-control") == ["no-store"]


def test_the_log_holds_no_customer_id(world: "World") -> None:
    world.know("canary-7f3a", ON_SITE)
    world.buy("canary-7f3a", "milk")
    world.ask("canary-7f3a")
    world.ask("canary-7f3a unknown")
    assert len(rows(world)) == 2
    for file in world.home.glob("decisions.db*"):
        assert b"canary-7f3a" not in file.read_bytes()
    engine = open_store(world.url, create=False)
    with reading(engine) as conn:
        assert conn.execute(text("SELECT count(*) FROM subject")).scalar() == 1
    engine.dispose()
