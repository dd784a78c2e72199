"""Ways in which a shop's database breaks under a running service, each mended at the end."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import make_url
from tests.report.empty_databases import administer
from tests.report.shop import Shop, children_of

from considerate.store.engine import writing

_HEADER_BYTES = 100
_HOLD = """
import sqlite3, sys
conn = sqlite3.connect(sys.argv[1], isolation_level=None)
conn.execute("PRAGMA locking_mode = EXCLUSIVE")
conn.execute("BEGIN EXCLUSIVE")
print("held", flush=True)
sys.stdin.read()
"""
"""A process of its own: whoever closes any handle of an SQLite file loses all locks of the process on it."""


@contextmanager
def gone(shop: Shop) -> Iterator[None]:
    """Move the file away; let the server end every connection and take no new one."""
    if shop.kind == "sqlite":
        aside = shop.home / "aside"
        shop.engine.dispose()
        _move(_file(shop), aside)
        try:
            yield
        finally:
            _move(aside, _file(shop))
        return
    name = make_url(shop.url).database
    shop.engine.dispose()
    ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    try:
        administer(shop.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS false", ended)
        yield
    finally:
        administer(shop.url, f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")


@contextmanager
def damaged(shop: Shop) -> Iterator[None]:
    """Overwrite the header of the file; on a server, take away the table of those who are known."""
    if shop.kind == "sqlite":
        _empty_log(shop)
        with _file(shop).open("r+b") as stream:
            header = stream.read(_HEADER_BYTES)
            stream.seek(0)
            stream.write(b"\xff" * _HEADER_BYTES)
        try:
            yield
        finally:
            with _file(shop).open("r+b") as stream:
                stream.write(header)
        return
    _rename(shop, "subject", "aside")
    try:
        yield
    finally:
        _rename(shop, "aside", "subject")


@contextmanager
def hanging(shop: Shop) -> Iterator[None]:
    """Let every use of the database wait: the server stands still; of the file, somebody else has the whole."""
    if shop.kind == "postgresql":
        with _stopped(shop):
            yield
        return
    # Nobody gets the whole of a file that a service has open. A copy that is held and then put in its place does it.
    _empty_log(shop)
    file, aside, copy = _file(shop), shop.home / "aside", shop.home / "copy"
    shutil.copy(file, copy)
    holder = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    try:
        if holder.stdout.readline() != "held\n":
            raise RuntimeError("the copy of the database could not be held")
        _move(file, aside)
        copy.rename(file)
        yield
    finally:
        holder.communicate()
        if aside.exists():
            for ending in ("", "-wal", "-shm"):
                file.with_name(file.name + ending).unlink(missing_ok=True)
                copy.with_name(copy.name + ending).unlink(missing_ok=True)
            _move(aside, file)


@contextmanager
def writing_for_long(shop: Shop) -> Iterator[None]:
    """Let somebody keep the write lock."""
    with writing(shop.engine):
        yield


@contextmanager
def _stopped(shop: Shop) -> Iterator[None]:
    with shop.engine.connect() as conn:
        folder = conn.exec_driver_sql("SHOW data_directory").scalar_one()
    server = int((Path(folder) / "postmaster.pid").read_text().split()[0])
    pids = [server, *children_of(server)]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _file(shop: Shop) -> Path:
    return Path(str(make_url(shop.url).database))


def _empty_log(shop: Shop) -> None:
    """Bring everything into the file itself."""
    shop.engine.dispose()
    with closing(sqlite3.connect(_file(shop))) as conn:
        conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _rename(shop: Shop, table: str, name: str) -> None:
    with writing(shop.engine) as conn:
        conn.exec_driver_sql(f"ALTER TABLE {table} RENAME TO {name}")


def _move(source: Path, target: Path) -> None:
    # The log and its index belong to the database: SQLite loses what they hold if they are parted.
    for ending in ("", "-wal", "-shm"):
        file = source.with_name(source.name + ending)
        if file.exists():
            shutil.move(file, target.with_name(target.name + ending))
