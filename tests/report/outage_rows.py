"""Promises that hold while the database is gone, damaged or hanging."""

import statistics
import time

import httpx
from tests.report.breaking import damaged, gone, hanging, writing_for_long
from tests.report.rows import Outcome, outcome, row, within
from tests.report.shop import Shop

from considerate.consent.purposes import Purpose

P = Purpose.PERSONALISE_ONSITE
SLOWEST_SECONDS = 0.150
LATE_SHARE = 0.01
"""Answers that may be later, for what else the machine does; the quick form judges no time."""
BACK_SECONDS = 10.0
NOBODYS = ("non_personalised", "consent_unavailable")


class Watch:
    """Asks for one customer's list and notes how long each answer takes."""

    def __init__(self, shop: Shop, customer: str) -> None:
        self.shop, self.customer = shop, customer
        self.seconds: list[float] = []
        shop.know(customer, P)
        shop.buy(customer, ["milk"])

    def ask(self, times: int) -> list[tuple[str, str]]:
        """Give basis and reason of each answer."""
        found = []
        for _ in range(times):
            started = time.perf_counter()
            answer = self.shop.ask(self.customer)
            self.seconds.append(time.perf_counter() - started)
            found.append((answer["basis"], answer["reason"]))
        return found

    def is_back(self) -> bool:
        """Whether her list is her own again within ten seconds, from every worker that answers."""
        return within(BACK_SECONDS, lambda: all(one == ("personalised", "ok") for one in self.ask_untimed(8)))

    def ask_untimed(self, times: int) -> list[tuple[str, str]]:
        """The same, without a note of the time."""
        answers = [self.shop.ask(self.customer) for _ in range(times)]
        return [(one["basis"], one["reason"]) for one in answers]

    def in_time(self, *, quick: bool) -> bool:
        """Whether the answers came within 150 ms, but for one in a hundred."""
        late = sum(one > SLOWEST_SECONDS for one in self.seconds)
        return quick or late <= LATE_SHARE * len(self.seconds)

    def __str__(self) -> str:
        high = statistics.quantiles(self.seconds, n=100)[98]
        middle, most = statistics.median(self.seconds), max(self.seconds)
        return f"median {1000 * middle:.1f} ms, p99 {1000 * high:.0f} ms, slowest {1000 * most:.0f} ms"


@row("9", "a consent store that is gone or damaged means non-personalised within 150 ms, never a 5xx")
def store_gone(shop: Shop, quick: bool) -> Outcome:
    held, notes = [], []
    for number, broken in enumerate((gone, damaged)):
        watch = Watch(shop, f"row-9-{number}")
        held.append(watch.is_back())
        with broken(shop):
            held += [one == NOBODYS for one in watch.ask(20 if quick else 200)]
        held += [watch.is_back(), watch.in_time(quick=quick)]
        # Whatever she asks besides lists, on every worker: the first of them may find a connection that was cut.
        held.append(within(BACK_SECONDS, lambda: all(_has_preferences(shop) for _ in range(8))))
        notes.append(f"{broken.__name__}: {watch}")
    return outcome(held, "; ".join(notes))


def _has_preferences(shop: Shop) -> bool:
    return bool(shop.call("GET", "/v1/me/preferences", headers=shop.token("row-9")).status_code == 200)


@row("slow", "a database that hangs costs the personal list, never the answer: within 150 ms, no 5xx; writes say so")
def slow(shop: Shop, quick: bool) -> Outcome:
    watch = Watch(shop, "row-slow")
    shop.know("row-slow-leaving", P)
    held = [watch.is_back()]
    with hanging(shop):
        held += [one == NOBODYS for one in watch.ask(20 if quick else 200)]
        held += _refused_soon(shop)
    held += [watch.is_back(), watch.in_time(quick=quick)]
    note = f"hanging: {watch}"
    if shop.kind == "sqlite":
        # Readers of a file do not wait for its writer.
        beside = Watch(shop, "row-slow-beside")
        with writing_for_long(shop):
            held += [one == ("personalised", "ok") for one in beside.ask(20 if quick else 200)]
            held += _refused_soon(shop)
        held += [beside.is_back(), beside.in_time(quick=quick)]
        note += f"; beside a writer: {beside}"
    return outcome(held, note)


def _refused_soon(shop: Shop) -> list[bool]:
    """Whether a withdrawal that cannot be written down is answered so within two seconds."""
    # Of nobody who is watched: what a server was sent before it stood still may be carried out when it goes on.
    path, headers = f"/v1/me/consents/{P.value}", shop.token("row-slow-leaving")
    started = time.perf_counter()
    refused: httpx.Response = shop.call("DELETE", path, headers=headers)
    return [refused.status_code == 503, time.perf_counter() - started < 2]
