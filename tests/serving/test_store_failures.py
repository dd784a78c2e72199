"""A store that is locked, replaced, damaged or gone: consent is never taken from what was read before."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import pytest

from considerate.consent.checkpoints import sign_head
from considerate.consent.purposes import Purpose
from considerate.serving.proofs import Proofs
from considerate.serving.rest import REST_SECONDS
from considerate.serving.rights import Rights
from considerate.serving.watched_store import REFUSED_SECONDS
from considerate.store.engine import open_store
from considerate.store.keys import load_keys

if TYPE_CHECKING:
    from tests.serving.conftest import World

pytestmark = pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
CONSENTED = ("personalised", "ok")
CLOSED = ("non_personalised", "consent_unavailable")


def answer(world: "World") -> tuple[str, str]:
    body = world.ask("ann")
    return body["basis"], body["reason"]


@pytest.fixture
def consented(world: "World") -> "World":
    world.know("ann", Purpose.PERSONALISE_ONSITE)
    world.buy("ann", "milk")
    assert answer(world) == CONSENTED
    return world


def test_a_store_that_nobody_may_read_closes_every_list(consented: "World") -> None:
    consented.customers.close()
    locker = sqlite3.connect(consented.home / "considerate.db", isolation_level=None)
    locker.execute("PRAGMA locking_mode = EXCLUSIVE")
    locker.execute("BEGIN IMMEDIATE")
    assert answer(consented) == CLOSED
    refused = consented.client()("DELETE", "/v1/me/consents", headers=consented.token("ann"))
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["type"].endswith(":store-unavailable")
    locker.execute("ROLLBACK")
    locker.close()
    sleep(REST_SECONDS)
    assert answer(consented) == CONSENTED


def test_a_store_that_was_moved_away_closes_every_list_although_its_file_is_still_open(consented: "World") -> None:
    database = consented.home / "considerate.db"
    aside = database.with_suffix(".aside")
    database.rename(aside)
    assert answer(consented) == CLOSED
    assert not database.exists(), "asking must not make a new, empty store"
    assert consented.client()("DELETE", "/v1/me/consents", headers=consented.token("ann")).status_code == 503
    assert not database.exists()
    aside.rename(database)
    sleep(REST_SECONDS)
    assert answer(consented) == CONSENTED


def test_a_store_that_is_overwritten_in_place_closes_every_list(consented: "World") -> None:
    consented.customers.close()  # everything is in the file itself
    assert answer(consented) == CONSENTED
    database = consented.home / "considerate.db"
    database.write_bytes(b"this is no database" * 1000)
    assert answer(consented) == CLOSED


def test_a_backup_that_replaces_the_store_is_refused_at_once(consented: "World") -> None:
    consented.customers.close()
    database = consented.home / "considerate.db"
    backup = shutil.copy(database, database.with_suffix(".backup"))
    withdrawn = consented.client()("DELETE", "/v1/me/consents", headers=consented.token("ann"))
    assert withdrawn.status_code == 200
    assert answer(consented) == ("non_personalised", "withdrawn")
    engine = open_store(consented.url, create=False)
    sign_head(engine, consented.home / "checkpoints", consented.home / "keys", at=consented.clock.now)
    engine.dispose()
    consented.customers.close()
    newest = shutil.copy(database, database.with_suffix(".newest"))
    shutil.move(backup, database)
    assert answer(consented) == CLOSED
    refused = consented.client()("DELETE", "/v1/me/consents", headers=consented.token("ann"))
    assert refused.status_code == 503
    shutil.move(newest, database)
    sleep(REFUSED_SECONDS)
    assert answer(consented) == ("non_personalised", "withdrawn")


def test_a_store_that_replaces_another_brings_its_own_age_limits_although_its_catalogue_counts_the_same(
    consented: "World",
) -> None:
    database = consented.home / "considerate.db"
    consented.customers.close()
    other = Path(shutil.copy(database, database.with_suffix(".other")))
    assert "tea" in [entry["item_id"] for entry in consented.ask("ann")["items"]]
    with closing(sqlite3.connect(other)) as conn, conn:
        conn.execute("UPDATE item SET min_age = 99 WHERE item_id = 'tea'")
    consented.customers.close()
    shutil.move(other, database)
    assert "tea" not in [entry["item_id"] for entry in consented.ask("ann")["items"]]


def test_events_of_a_customer_without_a_record_are_stored_by_no_road(world: "World") -> None:
    assert world.customers.record_own("stranger", [], lambda _: True, at=world.clock.now) is None
    assert world.customers.standing("stranger").subject_ref is None


def test_keys_that_are_gone_close_every_list(consented: "World") -> None:
    shutil.rmtree(consented.home / "keys")
    fresh = consented.customers.__class__(
        consented.url, consented.home / "keys", read_timeout_ms=100, write_timeout_ms=100
    )
    body = consented.ask("ann", customers=fresh)
    assert (body["basis"], body["reason"]) == CLOSED
    fresh.close()


RIGHTS: tuple[tuple[str, str, dict[str, str] | None], ...] = (
    ("DELETE", "/v1/me/consents", None),
    ("DELETE", "/v1/me/consents/personalise_onsite", None),
    ("POST", "/v1/me/privacy-requests", {"type": "erasure"}),
    ("POST", "/v1/me/privacy-requests", {"type": "access"}),
    ("GET", "/v1/me/privacy-requests/00000000-0000-4000-8000-000000000007", None),
    ("PUT", "/v1/me/objection", None),
    ("DELETE", "/v1/me/objection", None),
    ("PUT", "/v1/me/restriction", None),
    ("PUT", "/v1/me/exclusions/milk-line", None),
    ("DELETE", "/v1/me/exclusions/milk-line", None),
    ("GET", "/v1/me/exclusions", None),
    ("DELETE", "/v1/me/preferences", None),
    ("GET", "/v1/me/receipts/00000000-0000-4000-8000-000000000007", None),
)


def test_keys_of_another_installation_never_swallow_a_withdrawal_or_a_right(consented: "World", tmp_path: Path) -> None:
    """Under them everybody looks like a stranger, of whom there is nothing to withdraw, exclude or erase."""
    load_keys(tmp_path / "other keys", create=True)
    other = consented.customers.__class__(
        consented.url, tmp_path / "other keys", read_timeout_ms=100, write_timeout_ms=100
    )
    rights = Rights(other, consented.url, consented.home)
    proofs = Proofs(other, tmp_path / "other keys", consented.config)
    client = consented.client(customers=other, rights=rights, proofs=proofs)
    headers = consented.token("ann")
    for method, path, body in RIGHTS:
        refused = client(method, path, headers=headers, **({"json": body} if body else {}))
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json"), path
    assert client("GET", "/v1/me/recommendations", headers=headers).json()["basis"] == CLOSED[0]
    signal = client("GET", "/v1/me/recommendations", headers={**headers, "Sec-GPC": "1"})
    assert signal.status_code == 200
    other.close()
    assert answer(consented) == CONSENTED
