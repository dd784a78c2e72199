"""The caller's rights over HTTP: in force with the next request, open to nobody else, and not in the way of a list."""

import io
import json
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import Connection

from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.privacy.exports import export_path
from considerate.privacy.installation import installation_of
from considerate.privacy.running import run_requests
from considerate.privacy.tombstones import FILE, read_outside
from considerate.ranking.history import Channel
from considerate.serving.customers import StoredCustomers
from considerate.serving.development import mint_token
from considerate.serving.rights import Rights
from considerate.serving.supervisor import prepare
from considerate.settings.environment import Environment
from considerate.store.engine import open_store, reading, writing
from considerate.store.interactions import delete_interactions
from considerate.store.keys import Keys
from considerate.store.subjects import find_subject

if TYPE_CHECKING:
    from tests.serving.conftest import World

ALL = tuple(Purpose)
REQUESTS = "/v1/me/privacy-requests"


def call(world: "World", customer: str, method: str, path: str, **more: Any) -> httpx.Response:
    headers = {**world.token(customer), **more.pop("headers", {})}
    answer: httpx.Response = world.client()(method, path, headers=headers, **more)
    assert answer.headers["cache-control"] == "no-store"
    return answer


def listed(world: "World", customer: str) -> list[str]:
    return [item["item_id"] for item in world.ask(customer)["items"]]


def order(world: "World", customer: str, *lines: tuple[str, str], kind: str = "purchase") -> None:
    events = [
        {
            "customer_id": customer,
            "event_id": f"{kind}-{line}",
            "kind": kind,
            "item_id": item,
            "order_line": line,
            "timestamp": (world.clock.now - timedelta(hours=9 - place)).isoformat(),
        }
        for place, (item, line) in enumerate(lines)
    ]
    answer = world.client()("POST", "/v1/events", json={"events": events}, headers=world.token("till", "events:write"))
    assert answer.status_code == 202, answer.text


class AfterWriting:
    """A store in which something happens right after its n-th transaction that writes."""

    def __init__(self, customers: StoredCustomers, place: int, act: Callable[[], object]) -> None:
        self.reading = customers.reading
        self._writing, self._place, self._act = customers.writing, place, act

    @contextmanager
    def writing(self) -> Iterator[tuple[Connection, Keys]]:
        with self._writing() as opened:
            yield opened
        self._place -= 1
        if self._place == 0:
            self._act()


class Full:
    """A store whose disk has no room for a commit."""

    def __init__(self, customers: StoredCustomers) -> None:
        self.reading, self._writing = customers.reading, customers.writing

    @contextmanager
    def writing(self) -> Iterator[tuple[Connection, Keys]]:
        with self._writing() as opened:
            yield opened
            raise StoreError("considerate.db: database or disk is full")


def run(world: "World") -> list[str]:
    """Do what the process beside the workers does; give what failed."""
    engine = open_store(world.url, create=False)
    try:
        place = installation_of(engine, world.keys, world.home, world.config)
        return run_requests(engine, place, at=world.clock.now).failures
    finally:
        engine.dispose()


@pytest.mark.parametrize(("right", "reason"), [("objection", "objected"), ("restriction", "restricted")])
class TestObjectingAndRestricting:
    def test_holds_with_the_next_request_whatever_was_allowed(self, world: "World", right: str, reason: str) -> None:
        world.know("anna", *ALL)
        world.buy("anna", "milk")
        before = world.ask("anna")
        assert before["basis"] == "personalised"
        put = call(world, "anna", "PUT", f"/v1/me/{right}")
        assert put.status_code == 200
        assert put.json() == {
            "right": right,
            "active": True,
            "since": "2026-11-22T12:00:00Z",
            "consent_epoch": before["consent_epoch"] + 1,
        }
        after = world.ask("anna")
        assert (after["basis"], after["reason"]) == ("non_personalised", reason)
        # Again, later: the first time stands. A new yes lifts nothing.
        world.clock.now += timedelta(hours=1)
        assert call(world, "anna", "PUT", f"/v1/me/{right}").json() == put.json()
        world.know("anna", Purpose.PERSONALISE_ONSITE)
        assert world.ask("anna")["reason"] == reason
        lifted = call(world, "anna", "DELETE", f"/v1/me/{right}")
        assert (lifted.json()["active"], lifted.json()["since"]) == (False, None)
        assert world.ask("anna")["basis"] == "personalised"

    def test_is_kept_of_a_customer_nobody_knew(self, world: "World", right: str, reason: str) -> None:
        assert call(world, "new", "DELETE", f"/v1/me/{right}").json()["active"] is False
        assert call(world, "new", "PUT", f"/v1/me/{right}").json()["active"] is True
        world.know("new", *ALL)
        assert world.ask("new")["reason"] == reason


class TestPreferences:
    def test_are_stated_read_replaced_and_taken_back(self, world: "World") -> None:
        empty: dict[str, dict[str, list[str]]] = {
            side: {"items": [], "categories": [], "brands": []} for side in ("likes", "dislikes")
        }
        assert call(world, "anna", "GET", "/v1/me/preferences").json() == empty
        wish = {
            "likes": {"items": ["tea", "milk", "tea"], "brands": ["Acme"]},
            "dislikes": {"categories": ["FOOD > MEAT"]},
        }
        put = call(world, "anna", "PUT", "/v1/me/preferences", json=wish)
        assert put.status_code == 200
        stated = call(world, "anna", "GET", "/v1/me/preferences").json()
        assert put.json() == stated
        assert stated["likes"] == {"items": ["milk", "tea"], "categories": [], "brands": ["Acme"]}
        assert stated["dislikes"] == {"items": [], "categories": ["FOOD > MEAT"], "brands": []}
        assert call(world, "ben", "GET", "/v1/me/preferences").json() == empty
        call(world, "anna", "PUT", "/v1/me/preferences", json={"dislikes": {"items": ["tea"]}})
        assert call(world, "anna", "GET", "/v1/me/preferences").json()["likes"] == empty["likes"]
        assert call(world, "anna", "DELETE", "/v1/me/preferences").json() == empty
        assert call(world, "anna", "GET", "/v1/me/preferences").json() == empty

    @pytest.mark.parametrize(
        "wish",
        [
            {"age_band": "adult"},
            {"consent_epoch": 7},
            {"state": "active"},
            {"likes": {"customer_id": ["ben"]}},
            {"likes": {"items": "tea"}},
            {"likes": {"items": [""]}},
            {"likes": {"items": ["a\nb"]}},
            {"likes": {"items": [str(n) for n in range(501)]}},
            {"likes": {"items": ["tea"]}, "dislikes": {"items": ["tea"]}},
        ],
    )
    def test_a_field_that_is_no_preference_changes_nothing(self, world: "World", wish: dict[str, Any]) -> None:
        call(world, "anna", "PUT", "/v1/me/preferences", json={"likes": {"items": ["milk"]}})
        before = call(world, "anna", "GET", "/v1/me/preferences").json()
        epoch = world.ask("anna")["consent_epoch"]
        answer = call(world, "anna", "PUT", "/v1/me/preferences", json=wish)
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert call(world, "anna", "GET", "/v1/me/preferences").json() == before
        assert world.ask("anna")["consent_epoch"] == epoch


class TestExclusions:
    def test_the_next_list_is_the_one_without_that_purchase(self, world: "World") -> None:
        for customer in ("anna", "ben"):
            world.know(customer, *ALL)
        order(world, "anna", ("bread", "o-1/1"), ("milk", "o-1/2"))
        order(world, "ben", ("bread", "o-1/1"))
        assert listed(world, "anna") != listed(world, "ben")
        put = call(world, "anna", "PUT", "/v1/me/exclusions/o-1/2", json={"reason": "gift"})
        assert put.status_code == 200
        wanted = {"order_line": "o-1/2", "item_ids": ["milk"], "reason": "gift", "excluded_at": "2026-11-22T12:00:00Z"}
        assert put.json() == wanted
        assert listed(world, "anna") == listed(world, "ben")
        assert call(world, "anna", "GET", "/v1/me/exclusions").json() == {"exclusions": [wanted]}
        for _ in range(2):
            assert call(world, "anna", "DELETE", "/v1/me/exclusions/o-1%2F2").status_code == 204
        assert call(world, "anna", "GET", "/v1/me/exclusions").json() == {"exclusions": []}
        assert listed(world, "anna") != listed(world, "ben")

    def test_of_somebody_else_s_purchase_nothing_is_said(self, world: "World") -> None:
        for customer in ("anna", "ben"):
            world.know(customer, *ALL)
        order(world, "ben", ("bread", "his"))
        bodies = set()
        for line in ("his", "no-such-line"):
            for method in ("PUT", "DELETE"):
                answer = call(world, "anna", method, f"/v1/me/exclusions/{line}")
                assert answer.status_code == 404
                bodies.add(answer.text)
            assert call(world, "stranger", "PUT", f"/v1/me/exclusions/{line}").text in bodies
        assert len(bodies) == 1
        assert call(world, "ben", "GET", "/v1/me/exclusions").json() == {"exclusions": []}

    @pytest.mark.parametrize("wish", [{"reason": "because"}, {"customer_id": "ben"}])
    def test_an_unknown_reason_or_field_is_refused(self, world: "World", wish: dict[str, str]) -> None:
        world.know("anna", *ALL)
        order(world, "anna", ("bread", "l"))
        assert call(world, "anna", "PUT", "/v1/me/exclusions/l", json=wish).status_code == 422


class TestErasure:
    def test_is_done_with_its_answer_and_leaves_nobody(self, world: "World") -> None:
        world.know("anna", *ALL)
        world.buy("anna", "milk")
        world.ask("anna")
        answer = call(world, "anna", "POST", REQUESTS, json={"type": "erasure"})
        assert answer.status_code == 202
        body = answer.json()
        assert answer.headers["location"] == f"{REQUESTS}/{body['request_id']}"
        assert (body["type"], body["status"]) == ("erasure", "completed")
        assert body["next_rebuild_by"] == "2026-11-23T12:00:00Z"
        assert len(read_outside(world.home)) == 1
        after = world.ask("anna")
        assert (after["basis"], after["reason"]) == ("non_personalised", "no_consent")
        engine = open_store(world.url, create=False)
        with reading(engine) as conn:
            assert find_subject(conn, world.keys.lookup("anna")) is None
        engine.dispose()

    def test_asked_twice_and_looked_at_later_it_is_the_same(self, world: "World") -> None:
        world.know("anna", *ALL)
        first = call(world, "anna", "POST", REQUESTS, json={"type": "erasure"})
        again = call(world, "anna", "POST", REQUESTS, json={"type": "erasure"})
        assert again.json() == first.json()
        # A later look knows of nobody, and so of no day that would move on with it.
        world.clock.now += timedelta(minutes=1)
        status = call(world, "anna", "GET", first.headers["location"])
        assert (status.status_code, status.json()) == (200, {**first.json(), "next_rebuild_by": None})
        assert call(world, "anna", "DELETE", first.headers["location"]).status_code == 409
        assert call(world, "ben", "GET", first.headers["location"]).status_code == 404

    def test_of_somebody_unknown_reads_like_anybody_s(self, world: "World") -> None:
        world.know("anna", *ALL)
        texts = []
        for customer in ("anna", "stranger"):
            answer = call(world, customer, "POST", REQUESTS, json={"type": "erasure"})
            texts.append(answer.text.replace(answer.json()["request_id"], "ID"))
        assert texts[0] == texts[1]
        assert len(read_outside(world.home)) == 1

    def test_who_comes_again_is_somebody_new(self, world: "World") -> None:
        old = world.know("anna", *ALL)
        world.buy("anna", "milk")
        call(world, "anna", "PUT", "/v1/me/objection")
        location = call(world, "anna", "POST", REQUESTS, json={"type": "erasure"}).headers["location"]
        new = world.know("anna", *ALL)
        assert new != old
        assert world.ask("anna")["reason"] == "no_history"
        assert call(world, "anna", "GET", location).status_code == 404

    def test_of_somebody_who_is_there_again_before_the_answer_is_answered(self, world: "World") -> None:
        """A till that reports a purchase of hers makes somebody new of the same id."""
        world.know("anna", *ALL)
        store = AfterWriting(world.customers, 2, lambda: order(world, "anna", ("milk", "late")))
        rights = Rights(store, world.url, world.home, quick_seconds=60)
        client = world.client(rights=rights)
        answer = client("POST", REQUESTS, json={"type": "erasure"}, headers=world.token("anna"))
        assert (answer.status_code, answer.json()["status"]) == (202, "completed")
        assert world.customers.standing("anna").subject_ref is not None
        slow = Rights(world.customers, world.url, world.home, quick_seconds=0).ask_erasure("anna", at=world.clock.now)
        assert slow == rights.asked("anna", slow.request_id, at=world.clock.now)
        assert slow.status == "in_progress"

    def test_that_is_not_ended_in_time_is_in_progress_and_ended_behind_the_answer(self, world: "World") -> None:
        world.know("anna", *ALL)
        go_on, waited = threading.Event(), list[bool]()
        store = AfterWriting(world.customers, 2, lambda: waited.append(go_on.wait(60)))
        rights = Rights(store, world.url, world.home, quick_seconds=5)
        client, headers = world.client(rights=rights), world.token("anna")
        answer = client("POST", REQUESTS, json={"type": "erasure"}, headers=headers)
        assert (answer.status_code, answer.json()["status"]) == (202, "in_progress")
        assert world.ask("anna")["basis"] == "non_personalised"
        go_on.set()
        location, end = answer.headers["location"], time.monotonic() + 10
        while client("GET", location, headers=headers).json()["status"] != "completed":
            assert time.monotonic() < end
            time.sleep(0.05)

    def test_that_cannot_be_made_durable_is_not_acknowledged(self, world: "World") -> None:
        world.know("anna", *ALL)
        # A disk that is gone: the file cannot be written, and nothing says that it was ever there.
        (world.home / FILE).symlink_to(world.home / "gone" / FILE)
        assert call(world, "anna", "POST", REQUESTS, json={"type": "erasure"}).status_code == 503
        # Fail closed: what was begun already keeps her data from use, and a wish of hers waits.
        assert world.ask("anna")["basis"] == "non_personalised"
        refused = call(world, "anna", "PUT", "/v1/me/objection")
        assert (refused.status_code, refused.json()["type"]) == (409, "urn:considerate:problem:erasure-in-progress")
        # The process beside the workers does not end what no file tells of; asked again, it is not done.
        assert any(FILE in failure for failure in run(world))
        assert call(world, "anna", "POST", REQUESTS, json={"type": "erasure"}).status_code == 503
        (world.home / FILE).unlink()
        assert call(world, "anna", "POST", REQUESTS, json={"type": "erasure"}).json()["status"] == "completed"

    @pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
    def test_that_could_not_be_ended_at_once_is_ended_by_the_next_run(self, world: "World") -> None:
        world.know("anna", *ALL)
        (world.home / "decisions.db").unlink(missing_ok=True)
        (world.home / "decisions.db").mkdir()
        answer = call(world, "anna", "POST", REQUESTS, json={"type": "erasure"})
        assert (answer.status_code, answer.json()["status"]) == (202, "in_progress")
        assert answer.json()["due_at"] == "2026-12-22T12:00:00Z"
        assert call(world, "anna", "DELETE", answer.headers["location"]).status_code == 409
        assert call(world, "ben", "GET", answer.headers["location"]).status_code == 404
        (world.home / "decisions.db").rmdir()
        assert run(world) == []
        assert call(world, "anna", "GET", answer.headers["location"]).json()["status"] == "completed"


class TestCopies:
    def ask(self, world: "World", customer: str = "anna") -> str:
        answer = call(world, customer, "POST", REQUESTS, json={"type": "access"})
        assert answer.status_code == 202
        assert answer.json()["status"] == "pending"
        location: str = answer.headers["location"]
        return location

    def fresh(self, world: "World", customer: str = "anna", *, minutes: float = 1) -> dict[str, str]:
        now = datetime.now(UTC)
        world.clock.now = now
        logged_in_at = now - timedelta(minutes=minutes)
        token = mint_token(customer, ("me",), world.config.auth, world.signing_key, at=now, logged_in_at=logged_in_at)
        return {"Authorization": f"Bearer {token}"}

    def test_a_copy_is_made_fetched_once_and_gone(self, world: "World") -> None:
        world.know("anna", *ALL)
        world.buy("anna", "milk", "bread")
        headers = self.fresh(world)
        location = self.ask(world)
        assert self.ask(world) == location
        assert call(world, "anna", "GET", f"{location}/export", headers=headers).status_code == 409
        assert run(world) == []
        status = call(world, "anna", "GET", location).json()
        assert (status["status"], status["export"]) == ("completed", f"{location}/export")
        copy = call(world, "anna", "GET", status["export"], headers=headers)
        assert (copy.status_code, copy.headers["content-type"]) == (200, "application/zip")
        with zipfile.ZipFile(io.BytesIO(copy.content)) as archive:
            assert len(json.loads(archive.read("interactions.json"))) == 2
            assert json.loads(archive.read("subject.json"))[0]["customer_id"] == "anna"
        assert call(world, "anna", "GET", f"{location}/export", headers=headers).status_code == 410
        assert call(world, "anna", "GET", location).json()["export"] is None

    @pytest.mark.parametrize("minutes", [None, 16])
    def test_a_copy_needs_a_login_of_now(self, world: "World", minutes: float | None) -> None:
        world.know("anna", *ALL)
        fresh = self.fresh(world)
        location = self.ask(world)
        assert run(world) == []
        stale = world.token("anna") if minutes is None else self.fresh(world, minutes=minutes)
        answer = call(world, "anna", "GET", f"{location}/export", headers=stale)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:considerate:problem:fresh-login-needed")
        assert call(world, "anna", "GET", f"{location}/export", headers=fresh).status_code == 200

    def test_a_copy_that_cannot_be_noted_as_fetched_stays(self, world: "World") -> None:
        world.know("anna", *ALL)
        headers = self.fresh(world)
        location = self.ask(world)
        run(world)
        engine = open_store(world.url, create=False)
        with writing(engine):
            assert call(world, "anna", "GET", f"{location}/export", headers=headers).status_code == 503
        engine.dispose()
        full = Rights(Full(world.customers), world.url, world.home)
        client = world.client(rights=full)
        assert client("GET", f"{location}/export", headers={**world.token("anna"), **headers}).status_code == 503
        assert call(world, "anna", "GET", f"{location}/export", headers=headers).status_code == 200
        assert call(world, "anna", "GET", f"{location}/export", headers=headers).status_code == 410

    def test_of_many_who_fetch_a_copy_at_once_one_gets_it(self, world: "World") -> None:
        world.know("anna", *ALL)
        self.fresh(world)
        request_id = UUID(self.ask(world).rsplit("/", 1)[1])
        run(world)
        patient = StoredCustomers(world.url, world.home / "keys", read_timeout_ms=5_000, write_timeout_ms=5_000)
        rights = Rights(patient, world.url, world.home)
        with ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(rights.fetch_export, "anna", request_id, at=world.clock.now) for _ in range(8)]
            assert sum(one.result() is not None for one in asked) == 1
        patient.close()
        assert not export_path(world.home, request_id.bytes).exists()

    def test_a_copy_that_cannot_be_removed_is_given_all_the_same(
        self, world: "World", caplog: pytest.LogCaptureFixture
    ) -> None:
        world.know("anna", *ALL)
        headers = self.fresh(world)
        location = self.ask(world)
        run(world)
        path = export_path(world.home, UUID(location.rsplit("/", 1)[1]).bytes)

        def put_a_folder_there() -> None:
            path.unlink()
            path.mkdir()

        store = AfterWriting(world.customers, 1, put_a_folder_there)
        client = world.client(rights=Rights(store, world.url, world.home))
        assert client("GET", f"{location}/export", headers={**world.token("anna"), **headers}).status_code == 200
        assert "an export that was fetched is removed later" in caplog.text
        assert call(world, "anna", "GET", f"{location}/export", headers=headers).status_code == 410

    def test_a_copy_is_there_for_a_day(self, world: "World") -> None:
        world.know("anna", *ALL)
        self.fresh(world)
        location = self.ask(world)
        assert run(world) == []
        path = export_path(world.home, UUID(location.rsplit("/", 1)[1]).bytes)
        assert path.stat().st_mode & 0o777 == 0o600
        assert call(world, "anna", "GET", location).json()["export"] is not None
        # The login of a day later cannot be had: its token would not hold yet.
        rights, request_id = world.resources.rights, UUID(location.rsplit("/", 1)[1])
        assert rights is not None
        world.clock.now += timedelta(hours=24, seconds=5)
        assert rights.fetch_export("anna", request_id, at=world.clock.now) is None
        assert path.exists()
        assert run(world) == []
        assert not path.exists()

    def test_somebody_else_s_copy_does_not_exist(self, world: "World") -> None:
        for customer in ("anna", "ben"):
            world.know(customer, *ALL)
        headers = self.fresh(world, "ben")
        location = self.ask(world)
        assert run(world) == []
        bodies = set()
        for path in (location, f"{REQUESTS}/{uuid4()}"):
            for method, place in (("GET", path), ("DELETE", path), ("GET", f"{path}/export")):
                answer = call(world, "ben", method, place, headers=headers)
                assert answer.status_code == 404
                bodies.add(answer.text)
        assert len(bodies) == 1
        assert call(world, "anna", "GET", f"{location}/export", headers=self.fresh(world)).status_code == 200

    def test_a_request_is_taken_back_while_it_is_pending(self, world: "World") -> None:
        world.know("anna", *ALL)
        location = self.ask(world)
        cancelled = call(world, "anna", "DELETE", location)
        assert (cancelled.status_code, cancelled.json()["status"]) == (202, "cancelled")
        assert run(world) == []
        assert call(world, "anna", "GET", location).json()["status"] == "cancelled"
        answer = call(world, "anna", "DELETE", location)
        assert (answer.status_code, answer.json()["type"]) == (409, "urn:considerate:problem:request-not-pending")
        assert self.ask(world) != location

    def test_an_unknown_kind_of_request_is_refused(self, world: "World") -> None:
        assert call(world, "anna", "POST", REQUESTS, json={"type": "everything"}).status_code == 422
        assert call(world, "anna", "POST", REQUESTS, json={"type": "access", "customer_id": "ben"}).status_code == 422
        assert call(world, "anna", "GET", f"{REQUESTS}/not-a-uuid").status_code == 422


def test_rows_past_their_retention_are_not_used(world: "World") -> None:
    world.know("anna", *ALL)
    order(world, "anna", ("milk", "l-1"))
    assert world.ask("anna")["basis"] == "personalised"
    standing, bought_at = world.customers.standing("anna"), world.clock.now - timedelta(hours=9)

    def read() -> int:
        return len(world.customers.history(standing, {"milk": 0}, [Channel.ONLINE]))

    # Asked of the history itself: her consents end at about the same time.
    world.clock.now = bought_at + timedelta(days=world.config.retention.events_days)
    assert read() == 1
    world.clock.now += timedelta(seconds=1)
    assert read() == 0


def test_a_store_that_is_locked_keeps_rights_waiting_and_lists_coming(world: "World") -> None:
    world.know("anna", *ALL)
    engine = open_store(world.url, create=False)
    with writing(engine) as conn:
        delete_interactions(conn, b"nobody-at-all-16")
        for method, path, body in (
            ("PUT", "/v1/me/objection", None),
            ("PUT", "/v1/me/preferences", {"likes": {"items": ["tea"]}}),
            ("POST", REQUESTS, {"type": "erasure"}),
        ):
            answer = call(world, "anna", method, path, json=body)
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        world.ask("anna")
    engine.dispose()
    assert not (world.home / FILE).exists()


def test_without_rights_nothing_can_be_asked_for_now(world: "World") -> None:
    answer = world.client(rights=None)("PUT", "/v1/me/objection", headers=world.token("anna"))
    assert answer.status_code == 503


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_service_refuses_a_store_older_than_an_erasure(world: "World", tmp_path: Path) -> None:
    world.know("anna", *ALL)
    world.customers.close()
    engine = open_store(world.url, create=False)
    with engine.connect() as conn:
        conn.connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.dispose()
    backup = tmp_path / "backup"
    shutil.copy(world.home / "considerate.db", backup)
    call(world, "anna", "POST", REQUESTS, json={"type": "erasure"})
    world.customers.close()
    for path in world.home.glob("considerate.db*"):
        path.unlink()
    shutil.copy(backup, world.home / "considerate.db")
    with pytest.raises(StoreError, match=r"1 erased customers are in this database again.*considerate rights replay"):
        prepare(world.config, Environment(world.home, None))
