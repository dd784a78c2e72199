"""Opening the store: what is guaranteed, and every way it can fail."""

import sqlite3
import stat
import subprocess
import sys
import threading
import traceback
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, insert, select, text
from tests.databases import Database

from considerate.errors import StoreError, StoreLocked
from considerate.store.engine import REVISIONS, open_store, reading, recording, require_writing, writing
from considerate.store.sqlite import sqlite_engine, sqlite_error, switch_to_wal
from considerate.store.tables import catalogue_state, decisions, interaction, metadata


def url(path: Path) -> str:
    return f"sqlite:///{path}"


def test_a_new_store_is_durable_and_lets_readers_read_while_one_writes(tmp_path: Path) -> None:
    engine = open_store(url(tmp_path / "made" / "on" / "the way.db"), create=True)
    with reading(engine) as conn:
        pragmas = {
            name: conn.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


def test_a_new_store_is_its_owner_s_alone(tmp_path: Path) -> None:
    path = tmp_path / "considerate.db"
    engine = open_store(url(path), create=True)
    with writing(engine) as conn:
        conn.execute(insert(catalogue_state), {"id": 1, "version": 1})
        modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in tmp_path.iterdir()}
    engine.dispose()
    assert modes == dict.fromkeys(("considerate.db", "considerate.db-wal", "considerate.db-shm"), 0o600)


def test_the_wait_for_a_lock_is_what_was_asked_for(store_file: Path) -> None:
    engine = open_store(url(store_file), create=False, busy_timeout_ms=100)
    with reading(engine) as conn:
        assert conn.exec_driver_sql("PRAGMA busy_timeout").scalar() == 100
    engine.dispose()


def test_the_migrations_make_the_tables_that_the_code_uses(engine: Engine) -> None:
    tables: Any = [metadata] if engine.dialect.name == "sqlite" else [metadata, decisions]
    with reading(engine) as conn:
        context = MigrationContext.configure(conn, opts={"compare_type": True})
        assert compare_metadata(context, tables) == []


def test_the_revisions_known_to_workers_are_those_of_alembic() -> None:
    folder = Path(sys.modules[open_store.__module__].__file__ or "").parent / "migrations"
    revisions = [script.revision for script in ScriptDirectory(str(folder)).walk_revisions()]
    assert tuple(reversed(revisions)) == REVISIONS


def test_opening_an_existing_store_needs_no_alembic(store_file: Path) -> None:
    code = (
        "import sys; from considerate.store.engine import open_store;"
        f"open_store({url(store_file)!r}, create=True); print('alembic' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_several_processes_may_create_the_same_store_at_once(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from considerate.store.engine import open_store;"
        "from considerate.store.keys import load_keys;"
        f"open_store({url(tmp_path / 'considerate.db')!r}, create=True);"
        f"print(load_keys(Path({str(tmp_path / 'keys')!r}), create=True).fingerprint)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    said = [process.communicate() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4, said
    assert len({out for out, _ in said}) == 1


def test_who_switches_a_new_file_waits_for_who_holds_it_and_says_so_in_the_end(tmp_path: Path) -> None:
    path = tmp_path / "new.db"
    patient, hasty = sqlite_engine(path, busy_timeout_ms=30_000), sqlite_engine(path, busy_timeout_ms=50)
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE something (id)")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreLocked, match=r"new\.db: locked by another process"):
            switch_to_wal(hasty)
        end = threading.Timer(0.3, other.execute, ["COMMIT"])
        end.start()
        switch_to_wal(patient)
        end.join()
    with closing(sqlite3.connect(path)) as later:
        assert later.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    patient.dispose()
    hasty.dispose()


def test_a_missing_store_is_not_made_by_accident(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    with pytest.raises(
        StoreError,
        match=r"none\.db: no such database; check its name, .* or create it with: considerate",
    ):
        open_store(url(path), create=False)
    assert not path.exists()


def test_a_file_without_schema_is_upgraded_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "blank.db"
    path.touch()
    with pytest.raises(StoreError, match=r"has no schema, 0002 is needed; run: considerate db upgrade"):
        open_store(url(path), create=False)
    open_store(url(path), create=True).dispose()
    open_store(url(path), create=False).dispose()


@pytest.mark.parametrize("create", [True, False])
def test_a_newer_schema_is_refused(store_file: Path, create: bool) -> None:
    with sqlite3.connect(store_file) as raw:
        raw.execute("UPDATE alembic_version SET version_num = '0999'")
    raw.close()
    with pytest.raises(StoreError, match=r"schema 0999 is newer than this version .* install the newer version"):
        open_store(url(store_file), create=create)


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with sqlite3.connect(path) as raw:
        raw.execute("CREATE TABLE recipes (name)")
    raw.close()
    with pytest.raises(StoreError, match=r"holds tables of something else \(recipes\); choose another database"):
        open_store(url(path), create=True)


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "letter.db"
    path.write_text("Dear customer, " * 100, encoding="utf-8")
    with pytest.raises(StoreError, match=r"letter\.db: not a considerate database, or damaged; restore it"):
        open_store(url(path), create=True)


def test_a_damaged_file_is_a_clear_error(store_file: Path) -> None:
    content = bytearray(store_file.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    store_file.write_bytes(content)
    with pytest.raises(StoreError, match="damaged; restore it from a backup"):
        open_store(url(store_file), create=False)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"its folder cannot be created: .*; choose another path"):
        open_store(url(tmp_path / "file" / "considerate.db"), create=True)


def test_a_folder_is_not_a_database(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="cannot be opened; check that the folder exists"):
        open_store(url(tmp_path), create=False)


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("considerate.db", r"the database URL is not a URL; write a URL such as sqlite:///.* or postgresql://"),
        ("considerate:secret@host", "the database URL is not a URL"),
        ("sqlite://", "names no file; processes share a store"),
        ("sqlite:///:memory:", "names no file; processes share a store"),
        ("mysql://shop:secret@host/db", r"^mysql://shop@host/db: only SQLite and PostgreSQL stores can be opened"),
        ("postgresql+psycopg2://shop:secret@host/db?password=secret", "only SQLite and PostgreSQL stores"),
    ],
)
def test_a_url_that_cannot_be_served_says_what_to_write(address: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_store(address, create=True)
    assert "secret" not in str(caught.value)


def test_a_locked_store_says_who_to_wait_for(database: Database) -> None:
    engine, impatient = database.open(), database.open(busy_timeout_ms=20)
    with (
        writing(engine),
        pytest.raises(StoreLocked, match="locked by another process that writes; wait for it to end"),
        writing(impatient),
    ):
        pytest.fail("two writers at once")
    with writing(impatient) as conn:
        conn.execute(insert(catalogue_state), {"id": 1, "version": 1})


def test_a_read_only_store_refuses_writes_and_answers_reads(database: Database) -> None:
    engine = database.open(read_only=True)
    with reading(engine) as conn:
        assert conn.execute(select(catalogue_state)).all() == []
    advice = {"sqlite": "check the permissions", "postgresql": "name the primary server, and a user who may write"}
    with pytest.raises(StoreError, match=f"read-only; {advice[database.kind]}"), writing(engine) as conn:
        conn.execute(insert(catalogue_state), {"id": 1, "version": 1})


def test_a_connection_in_use_while_its_engine_is_disposed_is_closed_when_it_is_given_back(store_file: Path) -> None:
    engine = open_store(url(store_file), create=False)
    with reading(engine) as conn:
        raw = conn.connection.driver_connection
        assert isinstance(raw, sqlite3.Connection)
        engine.dispose()
        assert conn.execute(select(catalogue_state)).all() == []
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        raw.execute("SELECT 1")


def test_a_failed_transaction_leaves_nothing(engine: Engine) -> None:
    def fail_half_way() -> None:
        with writing(engine) as conn:
            conn.execute(insert(catalogue_state), {"id": 1, "version": 1})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    with reading(engine) as conn:
        assert conn.execute(select(catalogue_state)).all() == []


def test_one_reading_sees_one_state_while_others_write(engine: Engine) -> None:
    with reading(engine) as reader:
        assert reader.execute(select(catalogue_state)).all() == []
        with writing(engine) as writer:
            writer.execute(insert(catalogue_state), {"id": 1, "version": 7})
        assert reader.execute(select(catalogue_state)).all() == []
    with reading(engine) as reader:
        assert reader.execute(select(catalogue_state.c.version)).scalar() == 7


def test_a_connection_without_the_write_lock_may_not_write(engine: Engine) -> None:
    with reading(engine) as conn, pytest.raises(StoreError, match=r"open it with store\.engine\.writing"):
        require_writing(conn)
    with writing(engine) as conn:
        require_writing(conn)
    # The option ends with the transaction: the pool does not hand it to the next reader.
    with reading(engine) as conn, pytest.raises(StoreError, match="write lock"):
        require_writing(conn, shared=True)
    with recording(engine) as conn:
        require_writing(conn, shared=True)
        with pytest.raises(StoreError, match="write lock"):
            require_writing(conn)


def test_an_error_of_the_database_shows_no_values(engine: Engine) -> None:
    row = {
        "subject_ref": b"canary-reference",
        "event_id": "canary-event",
        "item_id": "canary-item",
        "kind": 0,
        "channel": 0,
        "received_at": 1,
    }
    broken = {
        "sqlite": "FOREIGN KEY",
        "postgresql": "ForeignKeyViolation 23503 interaction interaction_subject_ref_fkey",
    }
    with pytest.raises(StoreError, match=broken[engine.dialect.name]) as caught, writing(engine) as conn:
        conn.execute(insert(interaction), row)
    said = "".join(traceback.format_exception(caught.value))
    assert "canary" not in said
    assert b"canary".hex() not in said


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_value_that_sqlite_cannot_read_is_not_quoted(engine: Engine) -> None:
    # "locked canary" and a byte that is not UTF-8
    broken = text("SELECT CAST(x'6c6f636b65642063616e617279ff' AS TEXT) AS item_id")
    damaged = pytest.raises(StoreError, match=r"holds text that is not UTF-8.*; restore it from a backup")
    with damaged as caught, reading(engine) as conn:
        conn.execute(broken).all()
    assert not isinstance(caught.value, StoreLocked)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


def test_of_an_error_that_sqlite_names_otherwise_nothing_is_quoted() -> None:
    said = str(sqlite_error("shop.db", sqlite3.OperationalError('near "canary": syntax error')))
    assert said.startswith("shop.db: the database refuses: an error that it names no table or column for; if nobody")


def test_a_statement_that_the_schema_refuses_is_a_store_error(engine: Engine) -> None:
    named = {"sqlite": "no such table", "postgresql": "UndefinedTable 42P01"}[engine.dialect.name]
    with pytest.raises(StoreError, match=f"the database refuses: {named}"), reading(engine) as conn:
        conn.execute(text("SELECT * FROM nowhere"))


def test_an_engine_that_was_disposed_keeps_no_connection(store_file: Path) -> None:
    engine = open_store(f"sqlite:///{store_file}", create=False)
    engine.dispose()
    with reading(engine) as conn:
        raw: Any = conn.connection.driver_connection
    # Its pool is a new one since, and nobody disposes of that.
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        raw.execute("SELECT 1")
