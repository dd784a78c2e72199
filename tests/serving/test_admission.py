"""A database that was rolled back under a running service: nothing that was taken back since is served from it."""

import logging
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest
from sqlalchemy import Engine, update
from tests.rolling_back import forget_events, forget_wishes
from typer.testing import CliRunner, Result

from considerate.cli.main import app
from considerate.consent.checkpoints import sign_head, take_checkpoint
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError, ConsiderateError, StoreError
from considerate.privacy.kept_wishes import FILE, read_wishes
from considerate.privacy.tombstones import Tombstone, keep_outside
from considerate.serving.customers import StoredCustomers
from considerate.serving.supervisor import prepare
from considerate.settings.environment import Environment
from considerate.store.engine import open_store, writing
from considerate.store.tables import subject

if TYPE_CHECKING:
    from tests.serving.conftest import World

CONSENTED = ("personalised", "ok")
CLOSED = ("non_personalised", "consent_unavailable")


def answer(world: "World") -> tuple[str, str]:
    body = world.ask("ann")
    return body["basis"], body["reason"]


def call(world: "World", method: str, path: str) -> httpx.Response:
    return world.client()(method, path, headers=world.token("ann"))


def act(world: "World", method: str, path: str) -> None:
    """Call until it is done: a server on a busy machine may not answer in time."""
    end = time.monotonic() + 20
    while (answered := call(world, method, path)).status_code == 503 and time.monotonic() < end:
        time.sleep(0.1)
    assert answered.status_code == 200, answered.text


def command(world: "World", *arguments: str) -> Result:
    environment = {"CONSIDERATE_HOME": str(world.home), "CONSIDERATE_DATABASE_URL": world.url}
    return CliRunner().invoke(app, arguments, env=environment)


def admitted(world: "World") -> tuple[str, str]:
    """Ask until the database is served from again."""
    end = time.monotonic() + 10
    while answer(world) == CLOSED and time.monotonic() < end:
        time.sleep(0.1)
    return answer(world)


@pytest.fixture
def ann(world: "World") -> bytes:
    """Reference of a customer who allows personal lists, in a service that runs."""
    ref = world.know("ann", Purpose.PERSONALISE_ONSITE)
    world.buy("ann", "milk")
    assert answer(world) == CONSENTED
    return ref


@pytest.fixture
def engine(world: "World") -> Iterator[Engine]:
    made = open_store(world.url, create=False)
    yield made
    made.dispose()


def test_a_forgotten_objection_closes_every_list_until_it_is_in_force_again(
    world: "World", ann: bytes, engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    act(world, "PUT", "/v1/me/objection")
    assert answer(world) == ("non_personalised", "objected")
    world.customers.close()
    forget_wishes(engine, ann)
    assert [answer(world) for _ in range(3)] == [CLOSED] * 3
    for method, path in (("DELETE", "/v1/me/consents"), ("PUT", "/v1/me/restriction")):
        assert call(world, method, path).status_code == 503
    said = [record.getMessage() for record in caplog.records if record.name.endswith("admission")]
    assert len(said) == 1
    assert said[0].startswith("nobody is served from this database: 1 objections, restrictions or ages of minors are")
    assert said[0].endswith("considerate rights replay")
    assert "1 objections, restrictions" in str(command(world, "db", "check").exception)

    replayed = command(world, "rights", "replay")
    assert replayed.exit_code == 0, replayed.output
    assert "1 objections, restrictions and ages of minors in force again" in replayed.output
    # Without a start of its own.
    assert admitted(world) == ("non_personalised", "objected")
    assert caplog.records[-1].getMessage() != said[0]
    checked = command(world, "db", "check")
    assert checked.exit_code == 0, checked.output


def test_a_database_that_is_rolled_back_while_it_is_open_is_noticed_within_seconds(
    world: "World", ann: bytes, engine: Engine
) -> None:
    act(world, "PUT", "/v1/me/restriction")
    forget_wishes(engine, ann)
    end = time.monotonic() + 10
    while answer(world) == CONSENTED and time.monotonic() < end:
        time.sleep(0.1)
    assert answer(world) == CLOSED


def test_a_forgotten_withdrawal_closes_every_list_until_the_loss_is_accepted(
    world: "World", ann: bytes, engine: Engine
) -> None:
    folder, keys = world.home / "checkpoints", world.home / "keys"
    take_checkpoint(engine, folder, keys, at=world.clock.now)
    act(world, "DELETE", "/v1/me/consents")
    sign_head(engine, folder, keys, at=world.clock.now)
    assert answer(world) == ("non_personalised", "withdrawn")
    forget_events(engine, left=1)
    world.customers.close()
    assert answer(world) == CLOSED
    assert call(world, "DELETE", "/v1/me/consents").status_code == 503
    assert "but its end was" in str(command(world, "db", "check").exception)
    accepted = command(world, "ledger", "accept-loss", "--yes")
    assert accepted.exit_code == 0, accepted.output
    assert admitted(world)[0] == "non_personalised"
    assert admitted(world) != CLOSED


def test_an_erased_customer_who_is_back_closes_every_list(world: "World", ann: bytes) -> None:
    keep_outside(world.home, [Tombstone(ann, 1, world.clock.now)])
    world.customers.close()
    assert answer(world) == CLOSED
    assert command(world, "rights", "replay").exit_code == 0
    assert admitted(world) != CLOSED
    assert world.customers.standing("ann").subject_ref is None


def lose_nothing(world: "World", ref: bytes, engine: Engine) -> None:
    """An orderly restart."""


def lose_the_objection(world: "World", ref: bytes, engine: Engine) -> None:
    forget_wishes(engine, ref)


def lose_the_age(world: "World", ref: bytes, engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(update(subject).values(age_band="adult", consent_epoch=0))


@pytest.mark.parametrize(
    ("lose", "refusal"),
    [
        (lose_nothing, None),
        (lose_the_objection, "1 objections, restrictions or ages of minors"),
        (lose_the_age, "1 objections, restrictions or ages of minors"),
    ],
)
def test_a_service_starts_on_no_database_that_forgot_something(
    world: "World",
    ann: bytes,
    engine: Engine,
    lose: Callable[["World", bytes, Engine], None],
    refusal: str | None,
) -> None:
    act(world, "PUT", "/v1/me/objection")
    record = {
        "customer_id": "kid",
        "purpose": "train_models",
        "state": "refused",
        "event_time": world.clock.now.isoformat(),
        "notice_id": "considerate-suggestions",
        "notice_version": 1,
        "age_band": "13_15",
    }
    end = time.monotonic() + 20
    headers = world.token("cmp", "consents:write")
    while (brought := world.client()("POST", "/v1/consents", json={"consents": [record]}, headers=headers)).is_error:
        assert time.monotonic() < end, brought.text
    assert {(wish.kind, wish.on) for wish in read_wishes(world.home)} == {("objection", True), ("minor", True)}
    lose(world, ann, engine)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        config = world.config.model_copy(update={"port": probe.getsockname()[1]})
    if refusal is None:
        prepare(config, Environment(world.home, None), database_url=world.url)
    else:
        with pytest.raises(StoreError, match=refusal):
            prepare(config, Environment(world.home, None), database_url=world.url)
        # What every later change of a customer would hide is put right first.
        refused = command(world, "ledger", "accept-loss", "--yes").exception
        assert isinstance(refused, ConsiderateError)
        assert refusal in str(refused)


def test_an_objection_that_cannot_be_made_durable_is_not_acknowledged(world: "World", ann: bytes) -> None:
    (world.home / FILE).symlink_to(world.home / "gone" / FILE)
    assert call(world, "PUT", "/v1/me/objection").status_code == 503
    assert answer(world) == ("non_personalised", "objected")
    (world.home / FILE).unlink()
    act(world, "PUT", "/v1/me/objection")
    (world.home / FILE).rename(world.home / "kept")
    (world.home / FILE).symlink_to(world.home / "gone" / FILE)
    # Nothing was ever noted, as far as the file says: there is nothing to lift in it.
    act(world, "DELETE", "/v1/me/objection")


def test_a_lift_is_noted_before_it_holds(world: "World", ann: bytes) -> None:
    act(world, "PUT", "/v1/me/objection")
    act(world, "DELETE", "/v1/me/objection")
    assert [wish.on for wish in read_wishes(world.home)] == [True, False]
    assert answer(world) == CONSENTED


def test_no_file_outside_is_no_reason_to_refuse(world: "World", ann: bytes) -> None:
    assert not list(world.home.glob("*.jsonl"))
    world.customers.close()
    assert answer(world) == CONSENTED


def test_a_file_that_nobody_can_read_closes_every_list(world: "World", ann: bytes) -> None:
    (world.home / FILE).write_text("nonsense\n")
    world.customers.close()
    assert answer(world) == CLOSED


def test_a_start_refuses_a_withdrawal_that_was_lost(world: "World", ann: bytes, engine: Engine) -> None:
    folder, keys = world.home / "checkpoints", world.home / "keys"
    act(world, "DELETE", "/v1/me/consents")
    sign_head(engine, folder, keys, at=world.clock.now)
    forget_events(engine, left=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        config = world.config.model_copy(update={"port": probe.getsockname()[1]})
    with pytest.raises(ConsentError, match=r"ledger ends at 1, but its end was \d"):
        prepare(config, Environment(world.home, None), database_url=world.url)


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_what_is_outside_is_looked_at_by_a_service_alone(world: "World", ann: bytes, tmp_path: Path) -> None:
    """Whoever passes no admission reads what is there."""
    keep_outside(world.home, [Tombstone(ann, 1, world.clock.now)])
    plain = StoredCustomers(world.url, world.home / "keys", read_timeout_ms=100, write_timeout_ms=100)
    assert plain.standing("ann").subject_ref == ann
    plain.close()


def test_nothing_logged_names_anybody(world: "World", ann: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    keep_outside(world.home, [Tombstone(ann, 1, world.clock.now)])
    world.customers.close()
    answer(world)
    assert ann.hex() not in caplog.text
