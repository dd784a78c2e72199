"""The service starts on a ledger that agrees with what was signed, and on no other."""

import shutil
import socket
import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from considerate.consent.ledger import withdraw
from considerate.consent.purposes import Purpose
from considerate.consent.signed_heads import newest_checkpoint, signed_head
from considerate.errors import ConsentError
from considerate.serving.head_signing import keep_signing
from considerate.serving.run_file import RunFile
from considerate.serving.supervisor import prepare, sign_ledger
from considerate.settings.environment import Environment
from considerate.store.engine import open_store, writing
from considerate.store.keys import load_keys
from considerate.store.tables import consent_current

if TYPE_CHECKING:
    from tests.serving.conftest import World


def start(world: "World") -> RunFile:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = world.config.model_copy(update={"port": port})
    return prepare(config, Environment(world.home, None), database_url=world.url)


def test_a_start_signs_the_head_and_so_does_the_end(world: "World") -> None:
    world.know("ann", Purpose.TRAIN_MODELS)
    run = start(world)
    first = newest_checkpoint(run.checkpoints)
    world.know("bob", Purpose.TRAIN_MODELS)
    sign_ledger(run)
    last = newest_checkpoint(run.checkpoints)
    assert first is not None
    assert last is not None
    assert (first.seq, last.seq) == (1, 2)


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_backup_from_before_a_checkpoint_does_not_start(world: "World") -> None:
    world.know("ann", Purpose.TRAIN_MODELS)
    shutil.copytree(world.home, world.home / "backup", ignore=shutil.ignore_patterns("checkpoints", "keys"))
    world.know("bob", Purpose.TRAIN_MODELS)
    start(world)
    world.customers.close()
    for path in (world.home / "backup").glob("considerate.db*"):
        shutil.copy(path, world.home / path.name)
    for suffix in ("-wal", "-shm"):
        if not (world.home / "backup" / f"considerate.db{suffix}").exists():
            (world.home / f"considerate.db{suffix}").unlink(missing_ok=True)
    with pytest.raises(ConsentError, match=r"ledger ends at 1, but its end was 2 on .* considerate rights replay"):
        start(world)


def test_a_head_that_cannot_be_signed_while_running_is_logged(world: "World", caplog: pytest.LogCaptureFixture) -> None:
    world.know("ann", Purpose.TRAIN_MODELS)
    run = start(world)
    (run.checkpoints / "1.json").write_text("{}")
    sign_ledger(run)
    assert "the ledger's head is not signed: checkpoint 1:" in caplog.text


def test_consents_in_force_that_the_ledger_does_not_bear_out_are_not_served(world: "World") -> None:
    ref = world.know("ann", Purpose.TRAIN_MODELS)
    engine = open_store(world.url, create=False)
    with writing(engine) as conn:
        withdraw(conn, load_keys(world.home / "keys", create=False), ref, Purpose.TRAIN_MODELS, at=datetime.now(UTC))
        conn.execute(update(consent_current).values(state="given"))
    engine.dispose()
    with pytest.raises(
        ConsentError, match=r"consents in force: 1 entries are wrong, .* run: considerate ledger replay"
    ):
        start(world)


def test_while_a_service_runs_every_event_is_signed_and_what_prevents_it_is_logged_once(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    world.know("ann", Purpose.TRAIN_MODELS)
    run = start(world)
    stop, looks = threading.Event(), iter(range(1_000))

    def now() -> datetime:
        # Asked once in each look, before the head is looked at.
        if next(looks) == 2:
            stop.set()
        return world.clock.now

    world.know("bob", Purpose.TRAIN_MODELS)
    keep_signing(run, now=now, seconds=0, stop=stop)
    newest = signed_head(run.checkpoints)
    assert newest is not None
    assert newest.seq == 2
    assert "not signed" not in caplog.text
    (run.checkpoints / "head.json").write_text("{}")
    stop.clear()
    looks = iter(range(1_000))
    keep_signing(run, now=now, seconds=0, stop=stop)
    said = [record.getMessage() for record in caplog.records if "head is not signed" in record.getMessage()]
    assert len(said) == 1
    assert "checkpoint head" in said[0]
