"""Promises about what a customer has said, and that it can be proved."""

import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.consent.test_checkpoints import ATTACKS, behind_the_triggers, change, forged_chain, look, rows_of, write_anew
from tests.report.rows import Outcome, outcome, row
from tests.report.shop import STRICT, TIGHT, Shop

from considerate.consent.checkpoints import take_checkpoint
from considerate.consent.decision import ConsentState
from considerate.consent.events import ConsentEvent
from considerate.consent.ledger import append_many, head, verify
from considerate.consent.notices import NOTICE, current_notice
from considerate.consent.purposes import Purpose
from considerate.consent.receipts import verify_receipt
from considerate.errors import ConsentError
from considerate.store.engine import reading, writing
from considerate.store.signing import PublicKeys, load_public_keys
from considerate.store.subjects import ensure_subjects

CHANGED, UNTOUCHED = Purpose.PERSONALISE_ONSITE, Purpose.TRAIN_MODELS


def yes(version: int) -> dict[str, Any]:
    """Give the body of a grant."""
    return {"notice_id": NOTICE.notice_id, "notice_version": version, "locale": "en"}


@row(
    "4",
    "a material change of the notice asks again, for the purpose it changes alone",
    last=True,
    quick="sqlite",
)
def notice_change(shop: Shop, quick: bool) -> Outcome:
    customers = [f"row-4-{number}" for number in range(5 if quick else 100)]
    for customer in customers:
        shop.know(customer, CHANGED, UNTOUCHED)
        shop.buy(customer, ["milk"])
    held = [shop.ask(customer)["basis"] == "personalised" for customer in customers]
    _publish_second(shop.home / "notices" / NOTICE.notice_id)
    # The rows about limits and a strict policy come next, and a start takes seconds.
    shop.per_minute, shop.more = TIGHT, STRICT
    shop.stop()
    shop.start()
    for customer in customers:
        headers = shop.token(customer)
        body = shop.call("GET", "/v1/me/consents", headers=headers).json()
        switches = {one["purpose"]: (one["state"], one["effective"], one["reason"]) for one in body["consents"]}
        held.append(switches[CHANGED] == ("given", False, "notice_changed"))
        held.append(switches[UNTOUCHED] == ("given", True, "ok"))
        held.append((body["due"], body["notice"]["version"]) == ([CHANGED], 2))
        answer = shop.ask(customer)
        held.append((answer["basis"], answer["reason"]) == ("non_personalised", "notice_changed"))
        path = f"/v1/me/consents/{CHANGED}"
        stale = shop.call("PUT", path, json=yes(1), headers=headers)
        held.append((stale.status_code, stale.json()["type"].endswith("stale-notice")) == (409, True))
        held.append(shop.ask(customer)["basis"] == "non_personalised")
    given = shop.call("PUT", f"/v1/me/consents/{CHANGED}", json=yes(2), headers=shop.token(customers[0]))
    held += [given.status_code == 200, shop.ask(customers[0])["basis"] == "personalised"]
    return outcome(held)


def _publish_second(folder: Path) -> None:
    folder.mkdir(parents=True)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    (folder / "2.toml").write_text(f'valid_from = {now}\nmaterial = ["{CHANGED}"]\n', encoding="utf-8")
    (folder / "2.en.txt").write_text("We now learn from returns too.", encoding="utf-8")


@row("5", "a receipt verifies; with any one byte changed it does not, and it is its customer's alone")
def receipts(shop: Shop, quick: bool) -> Outcome:
    customer = "row-5"
    shop.know(customer)
    held, flipped = [], 0
    keys = load_public_keys(shop.home / "keys")
    for method in ("PUT", "DELETE"):
        body = {"json": yes(NOTICE.version)} if method == "PUT" else {}
        done = shop.call(method, f"/v1/me/consents/{CHANGED}", headers=shop.token(customer), **body).json()
        path = f"/v1/me/receipts/{done['receipt_id']}"
        receipt = shop.call("GET", path, headers=shop.token(customer)).content
        state = "given" if method == "PUT" else "withdrawn"
        held.append(verify_receipt(receipt, keys)["event_state"] == state)
        for place in range(0, len(receipt), 11 if quick else 1):
            held.append(_refused(receipt[:place] + bytes([receipt[place] ^ 1]) + receipt[place + 1 :], keys))
            flipped += 1
        unknown = path[:-12] + "000000000000"
        foreign = [shop.call("GET", one, headers=shop.token("row-5-other")) for one in (path, unknown)]
        held.append([one.status_code for one in foreign] == [404, 404] and foreign[0].content == foreign[1].content)
    return outcome(held, f"{flipped:,} bytes changed, one at a time")


def _refused(receipt: bytes, keys: PublicKeys) -> bool:
    try:
        verify_receipt(receipt, keys)
    except ConsentError:
        return True
    return False


@row("6", "edit, delete, insert, swap, truncate, rewrite: each change of the ledger is named")
def tampering(shop: Shop, quick: bool) -> Outcome:
    length = 200 if quick else 10_000
    _fill(shop, length)
    folder, signing = shop.home / "checkpoints", shop.home / "keys"
    with reading(shop.engine) as conn:
        started = time.perf_counter()
        bad, end = verify(conn), head(conn)
        seconds = time.perf_counter() - started
        held = [bad is None, end.seq >= length, not look(conn, folder, signing).problems]
    signed = [int(path.stem) for path in folder.glob("*.json") if path.stem.isdecimal()]
    draw = random.Random(end.hash)
    for attack in ATTACKS:
        for rehash in (False, True):
            first, second = sorted(draw.sample(range(2, end.seq), 2))
            # What an attacker does is never committed: the shop goes on with the ledger it has.
            with behind_the_triggers(shop.engine) as conn:
                rows = rows_of(conn)
                change(rows, attack, first - 1, second - 1)
                if rehash or attack == "rewrite":
                    rows = forged_chain(rows, first - 1)
                else:
                    rows = [{**one, "seq": number} for number, one in enumerate(rows, start=1)]
                write_anew(conn, rows)
                problems = look(conn, folder, signing).problems
                exactly = not rehash and attack != "rewrite"
                held.append(bool(problems) and names(problems[0], first, signed, exactly=exactly))
    with reading(shop.engine) as conn:
        held += [head(conn) == end, not look(conn, folder, signing).problems]
    if not quick:
        held.append(seconds * 10_000 / end.seq < 1)
    return outcome(held, f"{end.seq:,} events verified in {seconds:.2f} s")


def _fill(shop: Shop, length: int) -> None:
    """Let the ledger have so many events, and sign its end."""
    now = datetime.now(UTC)
    with writing(shop.engine) as conn:
        (ref,) = ensure_subjects(conn, shop.keys, ["row-6"], age_bands={"row-6": "adult"}, at=now).values()
        missing = max(length - head(conn).seq, 20)
        purposes = list(Purpose)
        append_many(
            conn,
            shop.keys,
            [
                ConsentEvent(ref, purposes[n % 5], ConsentState.GIVEN, current_notice(), now, evidence={"form": n})
                for n in range(missing)
            ],
            at=now,
        )
    take_checkpoint(shop.engine, shop.home / "checkpoints", shop.home / "keys", at=now)


def names(problem: str, position: int, signed: Sequence[int], *, exactly: bool) -> bool:
    """Whether a problem names the first bad position; in a chain that fits together again, the signed part it is in.

    `signed` are the positions of the checkpoints: the first of them from `position` on gives such a chain away, so what
    is named lies no later.
    """
    if problem.startswith("ledger positions "):
        words = problem.split()
        named, latest = int(words[2]), int(words[4].rstrip(":"))
        return not exactly and named <= position <= latest == min(seq for seq in signed if seq >= position)
    named = int(problem.removeprefix("ledger position ").split(":", maxsplit=1)[0])
    if exactly:
        return named == position
    return position <= named <= min((seq for seq in signed if seq >= position), default=named)
