"""`considerate rights`: what customers asked for, and what the shop must do for them."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from sqlalchemy import Engine

    from considerate.privacy.installation import Installation
    from considerate.privacy.running import Done
    from considerate.settings.service import ServiceConfig

app = typer.Typer(
    name="rights",
    help="Customers' rights: copies, erasures, retention, the record of processing.",
    no_args_is_help=True,
)

Customer = Annotated[
    str | None,
    typer.Option("--customer", help="The customer's id in the shop; read from standard input where it is not given."),
]


SERVICE_TOML = Path("configs/service.toml")
Config = Annotated[Path, typer.Option("--config", help="The service TOML: who the shop is, what is kept how long.")]


@app.command("list")
def list_requests(
    *, everything: Annotated[bool, typer.Option("--all", help="Those that were answered, too.")] = False
) -> None:
    """Show what was asked for, by when it is due, and how many erasures still wait for the next fit."""
    from uuid import UUID

    from considerate.privacy.requests import read_requests
    from considerate.privacy.tombstones import rebuild_due
    from considerate.store.engine import reading

    with _installed() as (_, engine), reading(engine) as conn:
        found, rebuild = read_requests(conn, open_only=not everything), rebuild_due(conn)
    for request in found:
        ends = f"due {request.due_at:%Y-%m-%d}"
        if request.completed_at is not None:
            ends = f"ended {request.completed_at:%Y-%m-%d}"
        received = f"received {request.received_at:%Y-%m-%d}"
        print(f"{UUID(bytes=bytes(request.request_id))}  {request.type:8} {request.status:12} {received}  {ends}")
    late = " (overdue)" if rebuild.by is not None and rebuild.by < _now() else ""
    print(f"{len(found)} requests{'' if everything else ' open'}; {rebuild}{late}")


@app.command()
def run(*, config: Config = SERVICE_TOML) -> None:
    """Do what is due: end erasures, write copies, remove old ones; a running service does the same by itself."""
    from considerate.privacy.running import run_requests

    with _installed(_settings(config)) as (place, engine):
        _tell(run_requests(engine, place, at=_now()))


@app.command()
def replay(*, config: Config = SERVICE_TOML) -> None:
    """After a backup was restored: erase again who was erased since it was made, and put in force again who objected,
    restricted use, or turned out to be a minor.
    """
    from considerate.privacy.kept_wishes import replay_wishes
    from considerate.privacy.running import replay_tombstones

    with _installed(_settings(config)) as (place, engine):
        again, done = replay_tombstones(engine, place, at=_now())
        wishes = replay_wishes(place.transaction, place.keys, place.home, at=_now())
    print(f"{again} customers erased once more" if again else "nobody who was erased is in this database")
    if wishes:
        print(f"{wishes} objections, restrictions and ages of minors in force again")
    else:
        print("no objection, restriction or age of a minor is missing")
    _tell(done)
    if again or wishes:
        print("fit the models anew: those in use may be older than the backup; and check: considerate db check")


@app.command()
def export(*, customer: Customer = None, config: Config = SERVICE_TOML) -> None:
    """Write a copy of everything that is known of a customer to exports/, for her alone; it is removed after a day."""
    from considerate.errors import StoreError
    from considerate.privacy.running import copy_for

    customer_id = _customer(customer)
    with _installed(_settings(config)) as (place, _):
        path = copy_for(place, customer_id, at=_now())
        if path is None:
            raise StoreError("nobody of this customer id is known here; check the id, or say that nothing is kept")
        print(path)


@app.command()
def erase(*, customer: Customer = None, config: Config = SERVICE_TOML) -> None:
    """Erase a customer: rows, keys and names at once, and from every model with the next fit."""
    from considerate.privacy.erasure import erase_customer
    from considerate.privacy.running import run_requests
    from considerate.privacy.tombstones import rebuilt_by

    customer_id, at = _customer(customer), _now()
    with _installed(_settings(config)) as (place, engine):
        stone = erase_customer(place, customer_id, at=at)
        if stone is None:
            print("nobody of this customer id is known here: nothing to erase")
            return
        done = run_requests(engine, place, at=at)
    _tell(done)
    print(f"fit the models anew by {rebuilt_by(stone, at=at):%Y-%m-%d %H:%M} UTC: pipelines/train.py ... --promote")


@app.command()
def retention(*, config: Config = SERVICE_TOML) -> None:
    """Delete what is past its time, as `retention` in the service TOML says; meant to be run every night."""
    from considerate.privacy.retention import retire
    from considerate.privacy.running import run_requests
    from considerate.settings.service import RetentionConfig

    settings = _settings(config)
    with _installed(settings) as (place, engine):
        gone = retire(place, RetentionConfig() if settings is None else settings.retention, at=_now())
        print(
            f"deleted: {gone.events:,} events, {gone.decisions:,} decisions, {gone.requests:,} requests, "
            f"{gone.answers:,} kept answers, {gone.quarantined_files:,} quarantined files"
        )
        _tell(run_requests(engine, place, at=_now()))


@app.command()
def record(*, config: Config = SERVICE_TOML) -> None:
    """Print the record of processing (GDPR 30) as Markdown: what is kept, what for, how long, who sees it."""
    from considerate.privacy.record import record_of_processing

    print(record_of_processing(_settings(config)), end="")


@contextmanager
def _installed(config: "ServiceConfig | None" = None) -> "Iterator[tuple[Installation, Engine]]":
    from considerate.privacy.installation import installation_of
    from considerate.settings.environment import read_environment
    from considerate.store.engine import open_store
    from considerate.store.keys import load_keys

    environment = read_environment()
    engine = open_store(environment.database_url, create=False)
    try:
        keys = load_keys(environment.home / "keys", create=False)
        yield installation_of(engine, keys, environment.home, config), engine
    finally:
        engine.dispose()


def _settings(config: Path) -> "ServiceConfig | None":
    from considerate.settings.service import ServiceConfig
    from considerate.settings.toml import read_toml

    # A shop that runs without one in its usual place lives by the defaults; one that was named must be there.
    return None if config == SERVICE_TOML and not config.exists() else read_toml(config, ServiceConfig)


def _now() -> "datetime":
    from datetime import UTC, datetime

    return datetime.now(UTC)


def _customer(given: str | None) -> str:
    from considerate.errors import ConfigError

    # A command line stands in histories and process lists; a pipe does not.
    if given is None:
        # Whoever types it ends it with a line.
        given = sys.stdin.readline() if sys.stdin.isatty() else sys.stdin.read()
    lines = given.splitlines()
    if len(lines) > 1:
        raise ConfigError(f"{len(lines)} lines where one customer id is expected: one at a time; nothing was done")
    if not lines or not lines[0]:
        raise ConfigError("no customer id: write it to standard input, or give --customer")
    return lines[0]


def _tell(done: "Done") -> None:
    from considerate.errors import StoreError

    print(f"{done.erased} erasures ended, {done.exported} copies written, {done.expired} old copies removed")
    if done.failures:
        raise StoreError("\n".join([*done.failures, "what is above waits; run again: considerate rights run"]))
