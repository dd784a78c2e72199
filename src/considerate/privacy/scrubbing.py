"""Making the disk forget: a deleted row stays in a database's free pages and in its log until they are written anew."""

import sqlite3
from pathlib import Path

from sqlalchemy import Engine, text

from considerate.errors import StoreError
from considerate.store.engine import display_name, glancing, translated_errors
from considerate.store.tables import metadata

DUE = "scrub.due"


def call_for_scrub(home: Path) -> None:
    """Note, outside the database, that rows are about to be deleted whose bytes must go too.

    Raises
    ------
    StoreError
        The note cannot be written.
    """
    try:
        (home / DUE).touch(mode=0o600)
    except OSError as error:
        raise StoreError(f"{home / DUE}: cannot be written: {error.strerror}; check the permissions") from error


def scrub_if_due(engine: Engine, home: Path) -> bool:
    """Scrub if something called for it since the last time; give whether nothing is left to scrub.

    Raises
    ------
    StoreError
        The database is locked or damaged. The call stands.
    """
    note = home / DUE
    try:
        stamp = note.stat().st_mtime_ns
    except FileNotFoundError:
        return True
    if not scrub(engine):
        return False
    try:
        # Somebody may have called again meanwhile.
        if note.stat().st_mtime_ns != stamp:
            return False
        note.unlink()
    except FileNotFoundError:
        pass  # another process scrubbed too
    return True


def scrub(engine: Engine) -> bool:
    """Write the database anew without what was deleted, and empty its log.

    Writers wait while this runs, for as long as copying the live rows takes; readers do not.

    Returns
    -------
        False where a reader held on to the old state for so long that SQLite's log could not be emptied: try again.

    Raises
    ------
    StoreError
        The database is locked or damaged.
    """
    if engine.dialect.name != "sqlite":
        tables = ", ".join(sorted(metadata.tables))
        # In no transaction: VACUUM refuses to run in one.
        with glancing(engine) as conn:
            conn.execute(text(f"VACUUM {tables}"))
        return True
    with translated_errors(display_name(engine.url)):
        raw = engine.raw_connection()
        try:
            connection = raw.driver_connection
            assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - narrows the type
            connection.execute("VACUUM")
            # busy, pages in the log, pages copied: the first is 0 where the log is empty now.
            busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{display_name(engine.url)}: cannot be written anew now: {error}; try again: considerate rights run"
            ) from error
        finally:
            raw.close()
    return busy == 0
