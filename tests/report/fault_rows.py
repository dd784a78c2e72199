"""Promises that hold when something breaks: a killed service, a database that hangs, a backup that is too old."""

import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import func, make_url, select
from tests.report.acting import ACTORS, Acknowledged, Actor, in_vain, missing_decisions, wrong_in_store
from tests.report.empty_databases import administer, beside
from tests.report.rows import Outcome, outcome, row, within
from tests.report.shop import Shop, open_shop

from considerate.consent.decision import Policy
from considerate.consent.events import Recorded
from considerate.consent.ledger import grant, head, verify, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.projection import projection, replay
from considerate.consent.purposes import Purpose
from considerate.consent.signed_heads import signed_head
from considerate.errors import StoreUnavailable
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


@row(
    "kill",
    "kill -9 of everything: what was acknowledged is there, few decisions are lost and all counted",
    quick="never",
)
def killed(shop: Shop, quick: bool) -> Outcome:
    times, noted, chance = 5 if quick else 50, Acknowledged(), random.Random(1)
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
            acting = [thread.is_alive() for thread in threads]
            own.kill()
            stop.set()
            for thread in threads:
                thread.join()
            found = wrong_in_store(own, noted)
            missing = missing_decisions(own, noted.decisions)
            total += len(noted.decisions)
            noted.decisions.clear()
            wrong += found
            held += [*acting, not found, missing <= WORKERS * QUEUE]
        own.start()
        held.append(within(30, lambda: all(_is_gone(own, ref) for ref in noted.erased)))
        held.append(not wrong_in_store(own, noted))
    # What nobody was told of cannot be missing.
    wrong = [*noted.broken, *in_vain(noted, total), *wrong]
    acts = noted.acts + total
    note = f"{times} kills, {acts} acts acknowledged, {noted.refused} of {noted.asked} refused"
    loss = f"at most {most_lost} decisions lost (bound {WORKERS * QUEUE})"
    return Outcome(times + acts, held.count(False) + len(wrong), "; ".join([f"{note}, {loss}", *wrong[:3]]))


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
        hashes = dict(conn.execute(hers).all())
        held = [hashes.get(one.seq) == one.hash for one in recorded]
        held += [len(recorded) == 200 * each, len(hashes) == len({one.seq for one in recorded})]
        held += [projection(conn) == replay(conn), verify(conn) is None]
        events = conn.execute(select(func.count()).select_from(consent_event)).scalar_one()
    engine.dispose()
    return outcome(held, f"{200 * each:,} acts, {len(hashes):,} events of them in a ledger of {events:,}")


@row(
    "restore",
    "a backup brings back nothing that was taken back since: neither who was erased, nor an objection or a withdrawal",
    quick="never",
)
def restored(shop: Shop, quick: bool) -> Outcome:
    with own_shop(shop, "restored") as own:
        refs = {customer: own.know(customer, P) for customer in ("stays", "objects", "withdraws", "leaves")}
        for customer in refs:
            own.buy(customer, ["milk"])
        held = [own.ask(customer)["basis"] == "personalised" for customer in refs]
        put_back = back_up(own)
        # All after the last hourly checkpoint: the service took one when it started.
        wishes = [
            own.call("PUT", "/v1/me/objection", headers=own.token("objects")),
            own.call("DELETE", f"/v1/me/consents/{P.value}", headers=own.token("withdraws")),
        ]
        held += [wish.status_code == 200 for wish in wishes]
        with reading(own.engine) as conn:
            end = head(conn)
        # The withdrawal is signed within seconds; then everything ends at once, and signs nothing more.
        held.append(
            within(20, lambda: (last := signed_head(own.home / "checkpoints")) is not None and last.head == end)
        )
        asked = own.call("POST", "/v1/me/privacy-requests", json={"type": "erasure"}, headers=own.token("leaves"))
        held += [asked.status_code == 202, within(20, lambda: _is_gone(own, refs["leaves"]))]
        own.kill()
        put_back()
        held.append(not _is_gone(own, refs["leaves"]))
        refusal = _refusal(own)
        held.append("1 erased customers are in this database again" in refusal)
        held.append("considerate rights replay" in refusal)
        replayed = _command(own, "rights", "replay")
        held += [replayed.returncode == 0, "1 customers erased once more" in replayed.stdout]
        held += ["1 objections, restrictions" in replayed.stdout, _is_gone(own, refs["leaves"])]
        # What of the ledger is lost may have been withdrawals, and here was one: that needs a decision of its own.
        held.append("considerate ledger accept-loss" in _refusal(own))
        held.append(_command(own, "ledger", "accept-loss", "--yes").returncode == 0)
        held.append(not _refusal(own))
        held += [own.ask(customer)["basis"] == "non_personalised" for customer in refs]
        # A new yes lifts no objection, and is heeded of everybody else.
        for customer in ("objects", "withdraws"):
            own.know(customer, P)
        held += [own.ask("objects")["reason"] == "objected", own.ask("withdraws")["basis"] == "personalised"]
        held.append(_command(own, "db", "check").returncode == 0)
    return outcome(
        held, f"then replay and accept-loss, and it starts{replayed.stderr[-300:] if replayed.returncode else ''}"
    )


@contextmanager
def own_shop(shop: Shop, name: str, *, more: str = "") -> Iterator[Shop]:
    """Open a small shop of its own, on a database of its own of the same kind."""
    with tempfile.TemporaryDirectory(prefix="considerate-report-") as folder:
        home = Path(folder) / "home"
        (home / "keys").mkdir(parents=True)
        url = f"sqlite:///{home / 'considerate.db'}" if shop.kind == "sqlite" else beside(shop.url, name)
        with open_shop(shop.kind, url, home, workers=WORKERS, more=more, made=type(shop)) as own:
            yield own
        if shop.kind == "postgresql":
            administer(url, f"DROP DATABASE {name} WITH (FORCE)")


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
