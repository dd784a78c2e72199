"""All that a right reaches: the store, the decisions beside it, the keys, and the folder of files."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine

from considerate.settings.service import ControllerConfig, RetentionConfig, ServiceConfig
from considerate.store.decisions import decisions_url, open_decisions
from considerate.store.engine import writing
from considerate.store.keys import Keys

Transaction = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction that holds the write lock."""

WAIT_MS = 2_000
"""How long a statement on the decisions waits for the service, which writes them a few times in a second."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Where one installation keeps what it knows of people.

    Attributes
    ----------
    keys
        Its keys.
    home
        Folder of everything written at run time.
    transaction
        Of the store.
    decisions
        Where served decisions lie: with SQLite a file of their own.
    controller, events_days
        What a receipt says of the shop, and of how long events are kept.
    decisions_days
        How long served decisions are kept.
    """

    keys: Keys
    home: Path
    transaction: Transaction
    decisions: Transaction
    controller: ControllerConfig = field(default_factory=ControllerConfig)
    events_days: int = field(default_factory=lambda: RetentionConfig().events_days)
    decisions_days: int = field(default_factory=lambda: RetentionConfig().decisions_days)


def installation_of(engine: Engine, keys: Keys, home: Path, config: ServiceConfig | None = None) -> Installation:
    """Describe the installation that an open store belongs to; `config` is its service TOML, if it has one."""
    url = engine.url.render_as_string(hide_password=False)
    place = Installation(keys, home, partial(writing, engine), decisions_beside(url, home))
    if config is None:
        return place
    kept = config.retention
    return replace(
        place, controller=config.controller, events_days=kept.events_days, decisions_days=kept.decisions_days
    )


def decisions_beside(database_url: str, home: Path, *, wait_ms: int = WAIT_MS) -> Transaction:
    """Give transactions on the decisions of a store; each opens and closes them, as rights are exercised rarely."""

    @contextmanager
    def transaction() -> Iterator[Connection]:
        engine = open_decisions(decisions_url(database_url, home), busy_timeout_ms=wait_ms)
        try:
            with writing(engine) as conn:
                yield conn
        finally:
            engine.dispose()

    return transaction
