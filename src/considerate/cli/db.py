"""`considerate db`: the store itself."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from considerate.store.keys import Keys

app = typer.Typer(name="db", help="The database.", no_args_is_help=True)

DatabaseUrl = Annotated[
    str | None,
    typer.Option("--database-url", help="SQLAlchemy URL of the store; else CONSIDERATE_DATABASE_URL, else a file."),
]


@app.command()
def upgrade(database_url: DatabaseUrl = None) -> None:
    """Create the tables and the keys, or bring an older schema up to date; does nothing where all is current.

    A SQLite file is created with its folder; a PostgreSQL database has to be there.
    """
    from considerate.settings.environment import read_environment
    from considerate.store.engine import REVISIONS, open_store, public_url
    from considerate.store.keys import load_keys

    environment = read_environment()
    url = database_url or environment.database_url
    open_store(url, create=True).dispose()
    keys = load_keys(environment.home / "keys", create=True)
    print(f"{public_url(url)}: schema {REVISIONS[-1]}, master key {keys.fingerprint}")


@app.command()
def check(database_url: DatabaseUrl = None) -> None:
    """Check the store: it opens, its schema is current, it belongs to the keys, its consents are those of the ledger.

    Reads only. Also that the ledger is whole, and that nobody who was erased is in it. Exit code 2 with the reason and
    the next step where something is wrong.
    """
    from considerate.settings.environment import read_environment
    from considerate.store.engine import REVISIONS, open_store, public_url, reading
    from considerate.store.keys import load_keys

    environment = read_environment()
    url = database_url or environment.database_url
    engine = open_store(url, create=False, read_only=True)
    try:
        keys = load_keys(environment.home / "keys", create=False)
        with reading(engine) as conn:
            said = _checked(conn, keys, environment.home)
    finally:
        engine.dispose()
    print(f"{public_url(url)}: schema {REVISIONS[-1]}, {said}")


def _checked(conn: "Connection", keys: "Keys", home: Path) -> str:
    from considerate.consent.ledger import head, verify
    from considerate.consent.projection import projection, replay
    from considerate.errors import ConsentError
    from considerate.privacy.tombstones import check_tombstones
    from considerate.store.subjects import check_keys

    check_keys(conn, keys)
    if (bad := verify(conn)) is not None:
        raise ConsentError(
            f"ledger: event {bad} is not what was once appended; restore the database from a backup made before"
        )
    end = head(conn)
    if wrong := len(set(replay(conn)) ^ set(projection(conn))):
        raise ConsentError(
            f"consents in force: {wrong} rows differ from the ledger's {end.seq} events; run: considerate ledger replay"
        )
    check_tombstones(conn, home)
    return f"master key {keys.fingerprint}, {end.seq:,} events in the ledger, all is as it should be"
