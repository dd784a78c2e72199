"""Promises about what customers may ask for at any time: copy, erasure, objection, exclusion, an account of it all."""

import hashlib
import io
import json
import time
import zipfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from sqlalchemy import Connection, Engine, MetaData, select
from tests.house.traces import traces
from tests.report.promotion_rows import promotes, register
from tests.report.rows import Outcome, outcome, row, within
from tests.report.shop import Shop
from tests.report.training_rows import baskets, cast

from considerate.consent.decision import Policy, Reason
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.consent.snapshot import snapshot_from_ledger
from considerate.store.decisions import decisions_of, decisions_url, open_decisions
from considerate.store.engine import reading
from considerate.store.subjects import find_subject
from considerate.store.tables import tombstone

P, T, L, _, _ = Purpose
REQUESTS = "/v1/me/privacy-requests"
BECAUSE = "/v1/me/recommendations?surface=discover&n=9"
"""A list that names the customer's own products behind each suggestion."""


def shown(answer: dict[str, Any]) -> tuple[Any, ...]:
    """Give what a list shows, without its own number."""
    return (answer["basis"], answer["reason"], tuple(json.dumps(entry) for entry in answer["items"]))


def answered(answer: dict[str, Any]) -> bool:
    """Whether it is a list with something on it: an error shows nobody anything, and nothing that it must not."""
    return not answer["basis"].startswith("status") and bool(answer["items"])


def asked(shop: Shop, customer: str, kind: str) -> str:
    """Ask for a copy or for erasure and wait until it is done; give its address."""
    made = shop.call("POST", REQUESTS, json={"type": kind}, headers=shop.token(customer))
    address = str(made.headers["location"])

    def done() -> bool:
        return bool(shop.call("GET", address, headers=shop.token(customer)).json()["status"] == "completed")

    if not within(60, done):
        raise RuntimeError(f"the {kind} is not done after a minute")
    return address


def training(shop: Shop, ref: bytes) -> Reason:
    """Why nothing of a customer may be learnt from now; `ok` if it may."""
    snapshot = snapshot_from_ledger(shop.engine, shop.keys, datetime.now(UTC), Policy())
    return snapshot.standings([ref.hex()])[0].training


def hits(shop: Shop, canaries: Sequence[str]) -> list[str]:
    """Give every place that still tells of a canary: files of the shop, tables, and the files a server keeps these in.

    Not its write-ahead log: that is the server's own affair, and recycled by it.
    """
    # A process that closes any handle of an SQLite file loses its locks on it: none may be in use meanwhile.
    shop.engine.dispose()
    found = traces(shop.home, list(canaries))
    if shop.kind == "postgresql":
        found += [table for table, content in tables(shop.engine).items() if any(one in content for one in canaries)]
        found += traces(_server_files(shop), list(canaries))
    return found


def _server_files(shop: Shop) -> Path:
    """Give the folder in which a server keeps the tables of a shop, with everything written to it."""
    with shop.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as conn:
        conn.exec_driver_sql("CHECKPOINT")
        home = conn.exec_driver_sql("SHOW data_directory").scalar_one()
        number = conn.exec_driver_sql("SELECT oid FROM pg_database WHERE datname = current_database()").scalar_one()
    return Path(home) / "base" / str(number)


def _in_log_files(shop: Shop, ref: bytes) -> bool:
    """Whether the bytes of the log of decisions, live or not, still hold a reference."""
    shop.engine.dispose()
    paths = [shop.home / f"decisions.db{ending}" for ending in ("", "-wal")]
    if shop.kind == "postgresql":
        folder = _server_files(shop)
        with shop.engine.connect() as conn:
            path = conn.exec_driver_sql("SELECT pg_relation_filepath('served_decision')").scalar_one()
        paths = [folder.parent.parent / str(path)]
    content = b"".join(path.read_bytes() for path in paths if path.exists())
    return ref in content or ref.hex().encode() in content


def tables(engine: Engine) -> dict[str, str]:
    """Give the rows of every table as text."""
    every = MetaData()
    every.reflect(engine)
    with engine.connect() as conn:
        return {name: repr(conn.execute(select(table)).all()) for name, table in every.tables.items()}


@row("16", "erasure: at once nothing is used, soon nothing is found, and nothing comes back")
def erasure(shop: Shop, quick: bool) -> Outcome:
    token = "canary9f31c7d2"
    customer = f"{token}@shop.example"
    held = []
    ref = shop.know(customer, P, T)
    shop.buy(customer, ["milk", "bread", f"item-{token}"], more=f"{token}-")
    held.append(shop.ask(customer)["basis"] == "personalised")
    headers = shop.token(customer)
    shop.call("PUT", "/v1/me/preferences", json={"likes": {"brands": [token]}}, headers=headers)
    shop.call("PUT", f"/v1/me/exclusions/online-{token}-0", json={"reason": "gift"}, headers=headers)
    asked(shop, customer, "access")
    # The quick form registers nothing: row 12 does, and a fit takes seconds.
    others = {} if quick else cast(shop, baskets("16", 12))
    learnt = None if quick else register(shop, {**others, customer: ref})
    held += [bool(hits(shop, [customer, token])), within(5, lambda: _in_log_files(shop, ref))]  # there to be found
    started = time.monotonic()
    address = shop.call("POST", REQUESTS, json={"type": "erasure"}, headers=headers).headers["location"]
    with ThreadPoolExecutor(4) as pool:
        held += [one["basis"] == "non_personalised" for one in pool.map(shop.ask, [customer] * (20 if quick else 200))]
    held.append(within(60, lambda: not hits(shop, [customer, token])))
    held.append(within(60, lambda: not _in_log_files(shop, ref)))
    note = f"no trace after {time.monotonic() - started:.0f} s"
    again = shop.call("POST", REQUESTS, json={"type": "erasure"}, headers=headers)
    held.append(again.status_code == 202)
    status = shop.call("GET", address, headers=headers)
    held.append(status.status_code == 404 or status.json()["status"] == "completed")
    if learnt is not None:
        with reading(shop.engine) as conn:
            held.append(waits_for_fit(conn, ref))
        # In a model of before there is nothing of hers to be found either; and it is served no longer.
        held += [not promotes(shop, learnt.version), promotes(shop, register(shop, others).version)]
        with reading(shop.engine) as conn:
            held.append(not waits_for_fit(conn, ref))
        shop.stop()
        held.append(hits(shop, [customer, token]) == [])
        shop.start()
    after = shop.settled(customer)
    held.append((after["basis"], after["reason"]) == ("non_personalised", "no_consent"))
    note += f", then {after['reason']}"
    with reading(shop.engine) as conn:
        held.append(find_subject(conn, shop.keys.lookup(customer)) is None)
    new = shop.know(customer, P)
    after = shop.settled(customer)
    held += [new != ref, after["reason"] == "no_history", not decisions_in_log(shop, ref)]
    return outcome(held, note)


def waits_for_fit(conn: Connection, ref: bytes) -> bool:
    """Whether somebody erased may still be in the model in use."""
    return conn.execute(select(tombstone.c.rebuilt_at).where(tombstone.c.subject_ref == ref)).scalar_one() is None


def decisions_in_log(shop: Shop, ref: bytes) -> list[Any]:
    engine = open_decisions(decisions_url(shop.url, shop.home))
    try:
        with engine.connect() as conn:
            return list(decisions_of(conn, ref))
    finally:
        engine.dispose()


@row("17", "a copy of everything: her own data, all of it, nobody else's, readable, once")
def export(shop: Shop, quick: bool) -> Outcome:
    customer, other = "row-17-she", "row-17-other"
    refs = {name: shop.know(name, P, L) for name in (customer, other)}
    shop.buy(customer, ["milk", "bread"], more="hers-")
    shop.buy(other, ["tea", "honey"], more="theirs-")
    decision = shop.ask(customer)["decision_id"]
    shop.call("PUT", "/v1/me/preferences", json={"likes": {"brands": ["her brand"]}}, headers=shop.token(customer))
    shop.call("PUT", "/v1/me/exclusions/online-hers-1", json={"reason": "gift"}, headers=shop.token(customer))
    within(1, lambda: len(decisions_in_log(shop, refs[customer])) == 1)
    address = asked(shop, customer, "access") + "/export"
    stale = shop.token(customer, logged_in_at=datetime.now(UTC) - timedelta(hours=1))
    held = [
        shop.call("GET", address, headers=shop.token(other)).status_code == 404,
        shop.call("GET", address, headers=stale).status_code == 403,
    ]
    content = shop.call("GET", address, headers=shop.token(customer)).content
    held.append(shop.call("GET", address, headers=shop.token(customer)).status_code == 410)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    manifest = json.loads(files["manifest.json"])
    held += [hashlib.sha256(files[name]).hexdigest() == digest for name, digest in manifest["sha256"].items()]
    held.append(manifest["sha256"].keys() | {"manifest.json"} == files.keys())
    told = {name: json.loads(files[f"{name}.json"]) for name in manifest["rows"]}
    held.append({one["order_line"] for one in told["interactions"]} == {"online-hers-0", "online-hers-1"})
    held.append([one["decision_id"] for one in told["decisions"]] == [decision])
    held.append([(one["kind"], one["key"]) for one in told["preferences"]] == [("brand", "her brand")])
    held.append([one["order_line"] for one in told["exclusions"]] == ["online-hers-1"])
    held.append({one["purpose_id"] for one in told["ledger"]} == {P, L})
    held.append(len([name for name in files if name.startswith("receipts/")]) == len(told["ledger"]))
    held.append(told["subject"][0]["customer_id"] == customer)
    # Parquet packs its texts: they are looked for in the rows.
    texts = {
        name: repr(pq.read_table(io.BytesIO(raw)).to_pylist()) if name.endswith(".parquet") else raw.decode()
        for name, raw in files.items()
    }
    held += [foreign not in "".join(texts.values()) for foreign in (other, refs[other].hex(), "online-theirs")]
    held += ["online-hers-1" in texts[f"interactions.{ending}"] for ending in ("json", "parquet")]
    return outcome(held, f"{len(files)} files")


@row("18", "an objection beats every yes, until it is lifted by an act of its own")
def objection(shop: Shop, quick: bool) -> Outcome:
    return _standing_right(shop, "18", "objection", Reason.OBJECTED, 5 if quick else 200)


@row("19", "restricted data is kept and used for nothing")
def restriction(shop: Shop, quick: bool) -> Outcome:
    tried = _standing_right(shop, "19", "restriction", Reason.RESTRICTED, 5 if quick else 200)
    customer = "row-19"
    restricted = shop.call("PUT", "/v1/me/restriction", headers=shop.token(customer)).status_code == 200
    content = shop.call("GET", asked(shop, customer, "access") + "/export", headers=shop.token(customer)).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        kept = restricted and len(json.loads(archive.read("interactions.json"))) == 2
    return Outcome(tried.tried + 1, tried.violations + (not kept), tried.note)


def _standing_right(shop: Shop, number: str, right: str, reason: Reason, calls: int) -> Outcome:
    customer = f"row-{number}"
    ref = shop.know(customer, *Purpose)
    shop.buy(customer, ["milk", "bread"])
    headers = shop.token(customer)
    held = [shop.ask(customer)["basis"] == "personalised", training(shop, ref) is Reason.OK]
    held.append(shop.call("PUT", f"/v1/me/{right}", headers=headers).status_code == 200)
    held.append(training(shop, ref) is reason)
    notice = current_notice()
    yes = {"notice_id": notice.notice_id, "notice_version": notice.notice_version, "locale": "en"}
    shop.call("PUT", f"/v1/me/consents/{P}", json=yes, headers=headers)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(shop.ask, [customer] * calls))
    held += [(one["basis"], one["reason"]) == ("non_personalised", reason.value) for one in answers]
    shop.call("DELETE", f"/v1/me/{right}", headers=headers)
    held += [shop.ask(customer)["basis"] == "personalised", training(shop, ref) is Reason.OK]
    return outcome(held)


@row("28", "what customers say they like is kept as said, closed to anything else, and erasable")
def preferences(shop: Shop, quick: bool) -> Outcome:
    held, path = [], "/v1/me/preferences"
    nothing: dict[str, list[str]] = {"items": [], "categories": [], "brands": []}
    for number in range(5 if quick else 100):
        headers = shop.token(f"row-28-{number}")
        likes, dislikes = {**nothing, "categories": ["FOOD"]}, {**nothing, "items": ["beer", f"item {number}"]}
        said = shop.call("PUT", path, json={"likes": likes, "dislikes": dislikes}, headers=headers)
        held.append(said.status_code == 200)
        held.append(shop.call("GET", path, headers=headers).json() == {"likes": likes, "dislikes": dislikes})
        for wrong in ({"age_band": "adult"}, {"likes": {"state": "active"}}, {"likes": {"items": [1]}}):
            held.append(shop.call("PUT", path, json=wrong, headers=headers).status_code == 422)
        held.append(shop.call("DELETE", path, headers=headers).status_code == 200)
        held.append(shop.call("GET", path, headers=headers).json() == {"likes": nothing, "dislikes": nothing})
    return outcome(held)


@row("29", "an excluded purchase: the next list is that of a customer who never bought it")
def excluded(shop: Shop, quick: bool) -> Outcome:
    held = []
    for number in range(5 if quick else 100):
        she, twin = f"row-29-{number}", f"row-29-{number}-twin"
        for customer, items in ((she, ["milk", "bread"]), (twin, ["milk"])):
            shop.know(customer, P)
            shop.buy(customer, items)
        held.append(shown(shop.ask(she, BECAUSE)) != shown(shop.ask(twin, BECAUSE)))
        line = "/v1/me/exclusions/online-1"
        held.append(shop.call("PUT", line, json={"reason": "gift"}, headers=shop.token(she)).status_code == 200)
        held.append(shop.call("PUT", line, json={"reason": "gift"}, headers=shop.token(twin)).status_code == 404)
        alike = shop.ask(twin, BECAUSE)
        held.append(alike["basis"] == "personalised" and answered(alike))
        held += [shown(shop.ask(she, BECAUSE)) == shown(alike) for _ in range(4)]
    return outcome(held)
