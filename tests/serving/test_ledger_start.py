"""The service starts on a ledger that agrees with what was signed, and on no other."""

import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from considerate.consent.checkpoints import newest_checkpoint
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError
from considerate.serving.run_file import RunFile
from considerate.serving.supervisor import prepare, sign_ledger
from considerate.settings.environment import Environment

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
