"""Making the disk forget: a deleted row stays in a database's free pages and in its log until they are written anew."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep
from uuid import uuid4

from sqlalchemy import Connection, Engine, text

from considerate.errors import StoreError, StoreLocked
from considerate.store.decisions import FILE as DECISIONS
from considerate.store.decisions import decisions_url, open_decisions
from considerate.store.engine import display_name, glancing, translated_errors, writing

DUE = "scrub.due"
"""The note that calls for a scrub; with a suffix, one that a process took to answer it."""
TABLES = (
    "subject",
    "subject_key",
    "consent_evidence",
    "consent_current",
    "preference",
    "event_exclusion",
    "privacy_request",
    "idempotent_answer",
    "interaction",
    "served_decision",
)
"""Tables whose rows are deleted or emptied, those that lead to a person first."""
SMALL_BYTES = 16 * 1024 * 1024
"""Up to this size PostgreSQL writes a table anew: nobody reads it meanwhile, for a fraction of a second."""
READERS_SECONDS = 1.0
"""How long those are waited for who still see what was deleted."""
_LOCK_MS = 50
_LOG_WAIT_MS = 500
_SEE_THE_PAST = text(
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND backend_type = 'client backend' AND age(backend_xmin) > age(CAST(CAST(CAST(:now AS text) AS xid8) AS xid))"
)


def call_for_scrub(home: Path) -> None:
    """Note, outside the database, that rows are about to be deleted whose bytes must go too.

    To be called in the transaction that deletes them, from `writing`: a scrub that takes the note waits for its end.

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
    """Scrub store and served decisions if something called for it since the last time; give whether nothing is left.

    Raises
    ------
    StoreError
        A database is locked or damaged. The call stands.
    """
    note, gone = home / DUE, False
    with suppress(FileNotFoundError):
        # Put aside first: whoever calls from now on writes a note of his own, which stands.
        note.rename(note.with_name(f"{DUE}.{uuid4().hex}"))
    # Those too that a process took and was killed over.
    taken = sorted(home.glob(f"{DUE}.*"))
    if not taken:
        return True
    try:
        gone = all((_scrub_decisions(engine, home), scrub(engine)))
    finally:
        for one in taken:
            with suppress(FileNotFoundError):  # another process scrubbed too
                one.unlink() if gone else one.rename(note)
    return gone and not note.exists()


def scrub(engine: Engine, *, small_bytes: int = SMALL_BYTES) -> bool:
    """Write the database anew without what was deleted, and empty its log.

    On SQLite writers wait while this runs, for as long as copying the live rows takes; readers do not. On PostgreSQL
    each table of `TABLES` is locked for as long as it is copied, and the server's own log is the server's affair.

    Parameters
    ----------
    small_bytes
        PostgreSQL copies tables up to this size; of a larger one the rows are freed, and their bytes stay until the
        server needs the space.

    Returns
    -------
        False where somebody held on to the old state, so that its rows could not be given up yet: try again.

    Raises
    ------
    StoreError
        The database is locked or damaged.
    """
    if engine.dialect.name == "sqlite":
        return _rewrite_file(engine)
    try:
        # Whoever called before this holds the lock until what he deletes is committed; no VACUUM waits for that.
        with writing(engine):
            pass
    except StoreLocked:
        return False
    # In no transaction: VACUUM refuses to run in one.
    with glancing(engine) as conn:
        if not _past_is_forgotten(conn):
            return False
        # Whoever comes to read queues behind a VACUUM FULL that waits: so it hardly waits.
        conn.execute(text(f"SET lock_timeout = {_LOCK_MS}"))
        try:
            for table in TABLES:
                size = conn.execute(text("SELECT pg_table_size(CAST(:name AS regclass))"), {"name": table}).scalar_one()
                with translated_errors(display_name(engine.url)):
                    conn.execute(text(f"VACUUM {'(FULL) ' if size <= small_bytes else ''}{table}"))
        except StoreLocked:
            return False
        finally:
            conn.execute(text("RESET lock_timeout"))
    return True


def _past_is_forgotten(conn: Connection) -> bool:
    """Wait until nobody's view is older than this moment: what they see, VACUUM keeps, and copies too."""
    now = conn.execute(text("SELECT CAST(pg_snapshot_xmax(pg_current_snapshot()) AS text)")).scalar_one()
    until = monotonic() + READERS_SECONDS
    while conn.execute(_SEE_THE_PAST, {"now": now}).scalar_one():
        if monotonic() > until:
            return False
        sleep(0.05)
    return True


def _scrub_decisions(engine: Engine, home: Path) -> bool:
    """Empty the log of the decisions' own file; in the file itself SQLite overwrites what it deletes."""
    if engine.dialect.name != "sqlite" or not (home / DECISIONS).exists():
        return True
    url = decisions_url(engine.url.render_as_string(hide_password=False), home)
    decisions = open_decisions(url, busy_timeout_ms=_LOG_WAIT_MS)
    try:
        with _sqlite(decisions) as connection:
            return _empty_log(connection)
    finally:
        decisions.dispose()


def _rewrite_file(engine: Engine) -> bool:
    with _sqlite(engine) as connection:
        # While a reader holds on, the log cannot be emptied, and each try would add the whole database to it.
        busy, logged, copied = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
        if busy or copied < logged:
            return False
        connection.execute("VACUUM")
        return _empty_log(connection)


def _empty_log(connection: sqlite3.Connection) -> bool:
    # busy, pages in the log, pages copied: the first is 0 where the log is empty now.
    busy: int = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return busy == 0


@contextmanager
def _sqlite(engine: Engine) -> Iterator[sqlite3.Connection]:
    name = display_name(engine.url)
    with translated_errors(name):
        raw = engine.raw_connection()
        try:
            connection = raw.driver_connection
            assert isinstance(connection, sqlite3.Connection)  # noqa: S101 - narrows the type
            yield connection
        except sqlite3.DatabaseError as error:
            raise StoreError(
                f"{name}: cannot be written anew now: {error}; try again: considerate rights run"
            ) from error
        finally:
            raw.close()
