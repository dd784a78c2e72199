"""What a worker does besides answering: it follows the model and the shop's keys, and says what it answers from."""

import asyncio
import gc
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from considerate.consent.notices import NOTICE
from considerate.ranking.linear_items import LinearItems
from considerate.serving.models import Pointer, write_pointer
from considerate.serving.run_file import RunFile
from considerate.serving.tokens import InvalidToken
from considerate.serving.worker import Worker

if TYPE_CHECKING:
    from tests.serving.conftest import World

pytestmark = pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
SECONDS = 20.0


@pytest.fixture(autouse=True)
def thawed() -> Iterator[None]:
    """A worker freezes what it has built: the other tests of this process need it collected."""
    yield
    gc.unfreeze()


def run_file(world: "World", **changes: Any) -> RunFile:
    model = world.config.model.model_copy(update={"watch_seconds": 0.05})
    config = world.config.model_copy(update={"model": model, **changes})
    return RunFile(home=world.home, database_url=world.url, config=config, notice=NOTICE)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():
            await asyncio.sleep(0.02)


def work(worker: Worker, *conditions: Callable[[], bool]) -> None:
    """Let a worker run until each condition has held in turn."""

    async def run() -> None:
        await worker.start()
        try:
            for condition in conditions:
                await until(condition)
        finally:
            await worker.stop()

    asyncio.run(run())


def test_a_model_that_becomes_too_old_is_no_longer_said_to_be_loaded(
    world: "World", build_model: Callable[..., LinearItems]
) -> None:
    run = run_file(world)
    build_model().save(run.models / "considerate-7")
    write_pointer(run.models, Pointer("considerate-7", "run"))
    worker = Worker(run, metrics_folder=None)

    def loaded() -> float | None:
        lines = worker.resources.metrics.exposition().decode().splitlines()
        name = 'considerate_model_loaded{model_version="considerate-7"} '
        return next((float(line.removeprefix(name)) for line in lines if line.startswith(name)), None)

    def ends_soon() -> bool:
        at = datetime.now(UTC) + timedelta(seconds=1)
        write_pointer(run.models, Pointer("considerate-7", "run", at.timestamp()))
        return True

    work(worker, lambda: loaded() == 1, ends_soon, lambda: loaded() == 0)
    assert worker.resources.models.current() is None


def test_keys_that_were_missing_at_the_start_are_looked_for_again_soon(world: "World") -> None:
    jwks = world.home / "shop.json"
    auth = world.config.auth.model_copy(update={"jwks": str(jwks), "development_key": None, "jwks_seconds": 300.0})
    worker = Worker(run_file(world, auth=auth), metrics_folder=None)
    verifier = worker.resources.verifier

    def is_missed() -> bool:
        assert not verifier.ready
        shutil.copy(world.home / "keys" / "development.jwks.json", jwks)
        return True

    work(worker, is_missed, lambda: verifier.ready)
    token = world.token("ann")["Authorization"].removeprefix("Bearer ")
    assert verifier.verify(token).subject == "ann"


def test_a_worker_believes_nobody_whose_key_was_taken_away_and_asks_for_the_next(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    jwks = world.home / "shop.json"
    published = (world.home / "keys" / "development.jwks.json").read_text()

    def publish(text: str) -> bool:
        # In one step: half a file is no JWKS, and would be a line of its own in the log.
        draft = jwks.with_suffix(".draft")
        draft.write_text(text)
        draft.replace(jwks)
        return True

    publish(published)
    auth = world.config.auth.model_copy(update={"jwks": str(jwks), "development_key": None, "jwks_seconds": 0.05})
    worker = Worker(run_file(world, auth=auth), metrics_folder=None)
    token = world.token("ann")["Authorization"].removeprefix("Bearer ")

    def is_believed() -> bool:
        try:
            return worker.resources.verifier.verify(token).subject == "ann"
        except InvalidToken:
            return False

    taken_away, given_back = (lambda: publish('{"keys": []}')), (lambda: publish(published))
    work(worker, is_believed, taken_away, lambda: not is_believed(), given_back, is_believed)
    assert [line for line in caplog.messages if line.startswith("keys ")] == [
        f"keys are missing: {jwks}: holds no signing key with a kid, so no token signed with one is believed; "
        "add the public key of your token service"
    ]


def test_a_worker_that_starts_later_asks_for_the_notice_of_its_siblings(world: "World") -> None:
    home: Path = world.home / "notices" / NOTICE.notice_id
    home.mkdir(parents=True)
    (home / "2.toml").write_text('valid_from = 2026-06-01T00:00:00Z\nmaterial = "all"\n')
    (home / "2.en.txt").write_text("Put there while the service runs.")
    worker = Worker(run_file(world), metrics_folder=None)
    assert worker.resources.notices == {NOTICE.notice_id: NOTICE}
