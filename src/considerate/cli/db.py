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

    A SQLite file is created with its folder; a PostgreSQL database has to be there. For a store that was written under
    a master key no other one is made.
    """
    from sqlalchemy import select

    from considerate.settings.environment import read_environment
    from considerate.store.engine import REVISIONS, open_store, public_url, reading
    from considerate.store.keys import load_keys
    from considerate.store.subjects import check_keys
    from considerate.store.tables import key_check

    environment = read_environment()
    url = database_url or environment.database_url
    engine = open_store(url, create=True)
    try:
        with reading(engine) as conn:
            tied = conn.execute(select(key_check.c.id)).first() is not None
            keys = load_keys(environment.home / "keys", create=not tied)
            check_keys(conn, keys)
    finally:
        engine.dispose()
    print(f"{public_url(url)}: schema {REVISIONS[-1]}, master key {keys.fingerprint}")


@app.command()
def check(database_url: DatabaseUrl = None) -> None:
    """Check the store: it opens, its schema is current, it belongs to the keys, its consents are those of the ledger.

    Reads only. Also that the ledger is whole, agrees with every checkpoint and has its evidence, that nobody who was
    erased is in it, and that no objection, restriction or age of a minor is missing. Exit code 2 with the reason and
    the next step where something is wrong.
    """
    from considerate.settings.environment import read_environment
    from considerate.store.engine import REVISIONS, open_store, public_url, reading
    from considerate.store.keys import load_keys
    from considerate.store.subjects import check_keys

    environment = read_environment()
    url = database_url or environment.database_url
    engine = open_store(url, create=False, read_only=True)
    try:
        keys = load_keys(environment.home / "keys", create=False)
        with reading(engine) as conn:
            check_keys(conn, keys)
        with reading(engine) as conn:
            said = _checked(conn, keys, environment.home)
    finally:
        engine.dispose()
    print(f"{public_url(url)}: schema {REVISIONS[-1]}, {said}")


def _checked(conn: "Connection", keys: "Keys", home: Path) -> str:
    from considerate.consent.auditing import audit
    from considerate.consent.restoring import lost_until
    from considerate.errors import ConsentError, StoreError
    from considerate.privacy.rolled_back import check_not_rolled_back, read_what_is_outside
    from considerate.store.signing import load_public_keys

    # Before the first look at the database, which a running service goes on changing; the audit does the same.
    outside = read_what_is_outside(home)
    found = audit(conn, home / "checkpoints", load_public_keys(home / "keys"), opened_by=keys)
    problems = list(found.problems)
    if any(problem.startswith("ledger position") for problem in problems):
        problems.append("restore a backup of which this finds nothing of the kind; until then trust no consent in here")
    try:
        check_not_rolled_back(conn, outside, home / "keys")
    except (ConsentError, StoreError) as error:
        problems.append(str(error))
    try:
        lost_until(home / "checkpoints")
    except StoreError as error:
        problems.append(str(error))
    if problems:
        raise ConsentError("\n".join(problems))
    return f"master key {keys.fingerprint}, {found.head.seq:,} events in the ledger, all is as it should be"
