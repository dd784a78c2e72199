"""A store that is locked, replaced, damaged or gone: consent is never taken from what was read before."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING

import pytest

from considerate.consent.purposes import Purpose
from considerate.serving.rest import REST_SECONDS
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
    assert answer(consented) == CONSENTED


def test_a_store_that_is_overwritten_in_place_closes_every_list(consented: "World") -> None:
    consented.customers.close()  # everything is in the file itself
    assert answer(consented) == CONSENTED
    database = consented.home / "considerate.db"
    database.write_bytes(b"this is no database" * 1000)
    assert answer(consented) == CLOSED


def test_a_backup_that_replaces_the_store_is_read_at_once(consented: "World") -> None:
    consented.customers.close()
    database = consented.home / "considerate.db"
    backup = shutil.copy(database, database.with_suffix(".backup"))
    withdrawn = consented.client()("DELETE", "/v1/me/consents", headers=consented.token("ann"))
    assert withdrawn.status_code == 200
    assert answer(consented) == ("non_personalised", "withdrawn")
    consented.customers.close()
    shutil.move(backup, database)
    assert answer(consented) == CONSENTED


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


def test_keys_of_another_installation_never_swallow_a_withdrawal(consented: "World", tmp_path: Path) -> None:
    """Under them everybody looks like a stranger, who has nothing to withdraw."""
    load_keys(tmp_path / "other keys", create=True)
    other = consented.customers.__class__(
        consented.url, tmp_path / "other keys", read_timeout_ms=100, write_timeout_ms=100
    )
    client = consented.client(customers=other)
    for path in ("/v1/me/consents", "/v1/me/consents/personalise_onsite"):
        assert client("DELETE", path, headers=consented.token("ann")).status_code == 503
    assert client("GET", "/v1/me/recommendations", headers=consented.token("ann")).json()["basis"] == CLOSED[0]
    other.close()
    assert answer(consented) == CONSENTED
