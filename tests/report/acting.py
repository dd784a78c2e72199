"""Customers who act while the service is killed, and what of it was acknowledged."""

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from uuid import UUID

import httpx
from sqlalchemy import Connection, select
from tests.report.shop import Shop

from considerate.consent.ledger import verify
from considerate.consent.projection import projection, read_current, replay
from considerate.consent.purposes import Purpose
from considerate.privacy.tombstones import read_outside
from considerate.store.decisions import decisions_url, has_decision, open_decisions
from considerate.store.engine import reading
from considerate.store.subjects import find_subject, subject_by_ref
from considerate.store.tables import consent_event, interaction, subject

OBJECTION = "objection"
ACTORS = 4
MOST_REFUSED = 0.5
"""Share of acts that may be answered with an error, as where two of them wait for one lock."""


@dataclass
class Acknowledged:
    """What the service said it had done.

    Attributes
    ----------
    ledger
        Hash of each position that a receipt names.
    said
        What may hold now of each customer's switches and objection: what was acknowledged last, and what was sent
        after it without hearing an answer.
    events
        Customer and id of each event that was stored.
    erased
        Subject references of those who were told that they are erased.
    decisions
        Ids of served decisions.
    refused, asked
        Acts that were answered with an error, and all that were sent.
    broken
        What ended a customer's acts, other than that nobody answered.
    """

    ledger: dict[int, str] = field(default_factory=dict)
    said: dict[tuple[str, str], set[str]] = field(default_factory=dict)
    events: set[tuple[str, str]] = field(default_factory=set)
    erased: list[bytes] = field(default_factory=list)
    decisions: list[UUID] = field(default_factory=list)
    refused: int = 0
    asked: int = 0
    broken: list[str] = field(default_factory=list)

    @property
    def acts(self) -> int:
        """How many were acknowledged."""
        return len(self.ledger) + len(self.events) + len(self.erased) + len(self.decisions)


class Actor:
    """One customer on her own thread, and strangers whom she lets be erased."""

    def __init__(self, shop: Shop, noted: Acknowledged, number: int, seed: int) -> None:
        self.shop, self.noted, self.name = shop, noted, f"actor-{number}"
        self._random = random.Random(f"{seed}-{number}")
        self._prefix, self._numbers = f"{seed}-{number}", count()
        self._client = httpx.Client(base_url=f"http://127.0.0.1:{shop.port}", timeout=10)
        self._me = shop.token(self.name)

    def run(self, stop: threading.Event) -> None:
        """Act until there is nobody to answer."""
        acts: list[Callable[[], None]] = [self._give, self._withdraw, self._object, self._buy, self._look, self._ask]
        with self._client:
            while not stop.is_set():
                try:
                    self._random.choice([*acts, *acts, self._erase])()
                except httpx.HTTPError:
                    return
                except Exception as error:  # a thread that ends by one is not heard of
                    self.noted.broken.append(f"{self.name}: {type(error).__name__}: {error}"[:300])
                    return

    def _send(self, method: str, path: str, expected: int, **more: Any) -> dict[str, Any] | None:
        self.noted.asked += 1
        answer = self._client.request(method, path, **{"headers": self._me, **more})
        if answer.status_code != expected:
            self.noted.refused += 1
            return None
        body: dict[str, Any] = answer.json()
        return body

    def _say(self, what: str, values: set[str], method: str, path: str, **more: Any) -> dict[str, Any] | None:
        before = self.noted.said.get((self.name, what), {"none"})
        self.noted.said[self.name, what] = before | values
        body = self._send(method, path, 200, **more)
        if body is not None:
            self.noted.said[self.name, what] = values
        return body

    def _switch(self, method: str, values: set[str], **more: Any) -> None:
        purpose = self._random.choice(list(Purpose)).value
        receipt = self._say(purpose, values, method, f"/v1/me/consents/{purpose}", **more)
        if receipt is not None:
            self.noted.said[self.name, purpose] = {receipt["state"]}
            self.noted.ledger[receipt["ledger_seq"]] = receipt["ledger_hash"]

    def _give(self) -> None:
        notice = self._send("GET", "/v1/me/consents", 200)
        if notice is not None:
            shown = notice["notice"]
            read = {"notice_id": shown["notice_id"], "notice_version": shown["version"], "locale": "en"}
            self._switch("PUT", {"given"}, json=read)

    def _withdraw(self) -> None:
        # One who never allowed it refuses it by that.
        self._switch("DELETE", {"withdrawn", "refused"})

    def _object(self) -> None:
        method, value = self._random.choice([("PUT", "on"), ("DELETE", "none"), ("DELETE", "none")])
        self._say(OBJECTION, {value}, method, "/v1/me/objection")

    def _buy(self) -> None:
        event_id = f"{self._prefix}-{next(self._numbers)}"
        event = {"customer_id": self.name, "event_id": event_id, "kind": "purchase", "item_id": "milk"}
        headers = self.shop.token("till", "events:write")
        body = self._send("POST", "/v1/events", 202, json={"events": [event]}, headers=headers)
        if body is not None and body["results"][0]["status"] == "stored":
            self.noted.events.add((self.name, event_id))

    def _look(self) -> None:
        event_id = f"{self._prefix}-{next(self._numbers)}"
        event = {"event_id": event_id, "kind": "view", "item_id": "bread"}
        body = self._send("POST", "/v1/me/events", 202, json={"events": [event]})
        if body is not None and body["results"][0]["status"] == "stored":
            self.noted.events.add((self.name, f"page:{event_id}"))

    def _ask(self) -> None:
        for _ in range(5):
            body = self._send("GET", "/v1/me/recommendations", 200)
            if body is not None and body["decision_id"] is not None:
                self.noted.decisions.append(UUID(body["decision_id"]))

    def _erase(self) -> None:
        customer = f"leaving-{self._prefix}-{next(self._numbers)}"
        ref = self.shop.know(customer, Purpose.PERSONALISE_ONSITE)
        wish = {"type": "erasure"}
        headers = self.shop.token(customer)
        if self._send("POST", "/v1/me/privacy-requests", 202, json=wish, headers=headers) is not None:
            self.noted.erased.append(ref)


def in_vain(noted: Acknowledged, lists: int) -> list[str]:
    """Name the kinds of act of which none was ever acknowledged, lists among them, and say where most were refused."""
    told = {"receipt": len(noted.ledger), "event": len(noted.events), "erasure": len(noted.erased), "list": lists}
    wrong = [f"no {kind} was acknowledged" for kind, many in told.items() if not many]
    if noted.refused > MOST_REFUSED * noted.asked:
        wrong.append(f"{noted.refused} of {noted.asked} acts were refused")
    return wrong


def wrong_in_store(shop: Shop, noted: Acknowledged) -> list[str]:
    """Name what was acknowledged and is not in the store, and whatever does not fit together there."""
    outside = {stone.subject_ref for stone in read_outside(shop.home)}
    with reading(shop.engine) as conn:
        hashes = dict(conn.execute(select(consent_event.c.seq, consent_event.c.hash)).all())
        wrong = [f"event {seq}" for seq, hash_ in noted.ledger.items() if hashes.get(seq, b"").hex() != hash_]
        if (bad := verify(conn)) is not None:
            wrong.append(f"chain at {bad}")
        if projection(conn) != replay(conn):
            wrong.append("projection")
        for (customer, what), possible in noted.said.items():
            if (found := _said(conn, shop, customer, what)) not in possible:
                wrong.append(f"{what} of {customer}: {found}, not {possible}")
        stored = set(conn.execute(select(interaction.c.event_id)).scalars())
        wrong += [f"act {event_id} of {customer}" for customer, event_id in noted.events if event_id not in stored]
        for ref in noted.erased:
            known = subject_by_ref(conn, ref)
            if ref not in outside or (known is not None and known.state == "active"):
                wrong.append(f"erasure of {ref.hex()}")
    return wrong


def _said(conn: Connection, shop: Shop, customer: str, what: str) -> str:
    who = find_subject(conn, shop.keys.lookup(customer))
    if who is None:
        return "none"
    if what == OBJECTION:
        query = select(subject.c.objected_at).where(subject.c.subject_ref == who.subject_ref)
        return "none" if conn.execute(query).scalar_one() is None else "on"
    consent = read_current(conn, who.subject_ref).get(Purpose(what))
    return "none" if consent is None else consent.state.value


def missing_decisions(shop: Shop, decisions: list[UUID]) -> int:
    """Count served decisions that are not in the log."""
    engine = open_decisions(decisions_url(shop.url, shop.home))
    try:
        with reading(engine) as conn:
            return sum(not has_decision(conn, one.bytes) for one in decisions)
    finally:
        engine.dispose()
