"""`make consent-report`: every behaviour and attack against a real service, on both databases, in one table.

Each row is a promise, what was tried, how many times, and how often it did not hold. The last line is JSON; the exit
code is 1 if anything did not hold.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from tests.report import fault_rows, identity_rows, ledger_rows, rights_rows, serving_rows, training_rows
from tests.report.empty_databases import database
from tests.report.rows import ROWS, Outcome, Row
from tests.report.shop import Kind, Shop, open_shop

MODULES = (serving_rows, ledger_rows, training_rows, rights_rows, identity_rows, fault_rows)
"""Importing a module adds its rows."""


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
                for one in sorted(
                    ROWS, key=lambda one: (one.last, int(one.number) if one.number.isdecimal() else 1000)
                ):
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
