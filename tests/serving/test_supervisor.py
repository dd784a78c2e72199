"""What `considerate serve` checks before it starts anything: one message each, naming the next step."""

import socket
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import pytest

from considerate.consent.notices import NOTICE
from considerate.consent.purposes import Purpose
from considerate.errors import ConfigError, ServingError, StoreError
from considerate.serving.run_file import RunFile, read_run_file, write_run_file
from considerate.serving.supervisor import prepare
from considerate.settings.environment import Environment
from considerate.settings.service import ServiceConfig

if TYPE_CHECKING:
    from tests.serving.conftest import World


def config(world: "World", **changes: Any) -> ServiceConfig:
    return world.config.model_copy(update=changes)


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_new_installation_gets_store_and_keys(world: "World", tmp_path: Path) -> None:
    home = tmp_path / "new"
    (home / "keys").mkdir(parents=True)
    for name in ("development.pem", "development.jwks.json"):
        (home / "keys" / name).write_bytes((world.home / "keys" / name).read_bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = prepare(config(world, port=port), Environment(home, None))
    assert run.database_url == f"sqlite:///{home / 'considerate.db'}"
    assert (home / "considerate.db").exists()
    assert (home / "keys" / "master.key").exists()


def test_a_taken_port_is_named(world: "World") -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ServingError, match=rf"127\.0\.0\.1:{port}: cannot listen there: .*--port"):
            prepare(config(world, port=port), Environment(world.home, None))


def test_a_host_of_another_machine_is_named(world: "World") -> None:
    jwks = str(world.home / "keys" / "development.jwks.json")
    auth = world.config.auth.model_copy(update={"development_key": None, "jwks": jwks})
    with pytest.raises(ServingError, match=r"192\.0\.2\.1:\d+: cannot listen there"):
        prepare(config(world, host="192.0.2.1", auth=auth), Environment(world.home, None))


def test_the_development_key_is_not_believed_where_others_can_call(world: "World") -> None:
    with pytest.raises(ServingError, match=r"host = 0\.0\.0\.0 with \[auth\] development_key: .*set \[auth\] jwks"):
        prepare(config(world, host="0.0.0.0"), Environment(world.home, None))


def test_a_service_without_a_single_public_key_does_not_start(world: "World", tmp_path: Path) -> None:
    jwks = tmp_path / "shop.json"
    jwks.write_text('{"keys": []}')
    auth = world.config.auth.model_copy(update={"jwks": str(jwks)})
    with pytest.raises(ConfigError, match=r"shop\.json: holds no signing key with a kid, .*; add the public key"):
        prepare(config(world, auth=auth), Environment(world.home, None))


def test_a_missing_key_is_named(world: "World", tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="considerate token --create-key"):
        prepare(world.config, Environment(tmp_path / "elsewhere", None))


@pytest.mark.parametrize("store_kind", ["sqlite"], indirect=True)
def test_a_file_that_is_no_store_is_named(world: "World", tmp_path: Path) -> None:
    other = tmp_path / "notes.db"
    other.write_bytes(b"not a database" * 100)
    with pytest.raises(StoreError, match=r"notes\.db"):
        prepare(world.config, Environment(world.home, None), database_url=f"sqlite:///{other}")


def test_an_option_names_the_store_before_the_environment_does_and_that_before_the_toml(
    world: "World", tmp_path: Path
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    files = [f"sqlite:///{tmp_path / name}.db" for name in ("option", "environment", "toml")]
    option, named, written = files
    settings = config(world, port=port, store=world.config.store.model_copy(update={"url": written}))
    around = Environment(world.home, None, store=named)
    assert prepare(settings, around, database_url=option).database_url == option
    assert prepare(settings, around).database_url == named
    assert prepare(settings, Environment(world.home, None)).database_url == written


def test_keys_that_do_not_belong_to_the_store_are_named(world: "World", tmp_path: Path) -> None:
    world.know("ann")
    (tmp_path / "keys").mkdir(exist_ok=True)
    (tmp_path / "keys" / "master.key").unlink(missing_ok=True)
    with pytest.raises(StoreError, match=r"written under master key .*; restore the keys folder"):
        prepare(world.config, Environment(tmp_path, None), database_url=world.url)


def test_the_run_file_is_its_owners_alone_and_reads_back_as_written(world: "World", tmp_path: Path) -> None:
    # The shop's own config: that of the tests lets a request take longer than a service may.
    config = world.config.model_copy(update={"request_seconds": 1.0})
    url = "postgresql://considerate:secret@host/db"
    oldest = MappingProxyType({Purpose.TRAIN_MODELS: 2})
    run = RunFile(home=tmp_path, database_url=url, config=config, notice=replace(NOTICE, oldest_of=oldest))
    path = write_run_file(tmp_path / "run", run)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_run_file(path) == run
    path.write_text("{}")
    with pytest.raises(ServingError, match="considerate serve"):
        read_run_file(path)
