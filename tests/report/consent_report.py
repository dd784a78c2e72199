"""`make consent-report`: every behaviour and attack against a real service, on both databases, in one table.

Each row is a promise, what was tried, how many times, and how often it did not hold. The last line is JSON; the exit
code is 1 if anything did not hold.
"""

import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from tests.report import (
    attack_rows,
    caching_rows,
    drawn_rows,
    fault_rows,
    identity_rows,
    kept_rows,
    ledger_rows,
    outage_rows,
    promotion_rows,
    rights_rows,
    serving_rows,
    timing_rows,
    training_rows,
)
from tests.report.empty_databases import chosen_kinds, database
from tests.report.rows import ROWS, Outcome, Row
from tests.report.shop import Kind, Shop, open_shop

MODULES = (
    serving_rows,
    ledger_rows,
    training_rows,
    promotion_rows,
    rights_rows,
    kept_rows,
    identity_rows,
    attack_rows,
    caching_rows,
    drawn_rows,
    outage_rows,
    timing_rows,
    fault_rows,
)
"""Importing a module adds its rows."""


def chosen_rows(only: Sequence[str] | None) -> list[Row]:
    """Give the rows of these numbers in the order of the report, all of them if none is named."""
    known = {one.number for one in ROWS}
    for number in only or ():
        if number not in known:
            raise typer.BadParameter(f"--row {number}: no such row; there are {', '.join(sorted(known))}")
    return sorted((one for one in ROWS if not only or one.number in only), key=lambda one: one.place)


def attempt(one: Row, shop: Shop, quick: bool) -> Outcome:
    """Try one promise; what cannot even be tried is a violation too."""
    try:
        came = one.attempt(shop, quick)
    except Exception as error:  # the report goes on to the next row
        return Outcome(1, 1, f"{type(error).__name__}: {error}"[:300])
    return came if came.tried else Outcome(1, 1, "nothing was tried")


def report(kind: Kind, rows: Sequence[Row], quick: bool, *, named: bool = False) -> list[dict[str, Any]]:
    """Try rows on one database, print each, and give their figures; `named` ones whatever the form of the report."""
    found = []
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="considerate-report-") as name, database(kind, Path(name)) as url:
        home = Path(name) / "home"
        (home / "keys").mkdir(parents=True)
        with open_shop(kind, url, home, workers=2 if quick else 4) as shop:
            print(f"{kind}: a shop is open after {time.perf_counter() - started:.1f} s", flush=True)
            for one in rows:
                if not (named or one.takes_part(kind, quick=quick)):
                    continue
                started = time.perf_counter()
                came = attempt(one, shop, quick)
                seconds = round(time.perf_counter() - started, 2)
                figures = f"{came.tried:>6} {came.violations:>5} {seconds:>7.1f} s"
                told = "; ".join(filter(None, (one.promise, came.note)))
                print(f"{one.number:>9}  {kind:<10} {figures}  {told}", flush=True)
                found.append(
                    {
                        "name": f"row_{one.number.replace(' ', '_')}/{kind}",
                        "value": came.violations,
                        "baseline": came.tried,
                        "reach": 0,
                        "ok": came.violations == 0,
                        "seconds": seconds,
                    }
                )
    return found


def main(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer tries of each, two workers, no time judged.")] = False,
    only: Annotated[list[str] | None, typer.Option("--row", help="These rows alone.")] = None,
    kinds: Annotated[list[str] | None, typer.Option("--database", help="sqlite or postgresql; both if none.")] = None,
) -> None:
    """Try every promise on SQLite and PostgreSQL and print one table."""
    rows = chosen_rows(only)
    found = [line for kind in chosen_kinds(kinds) for line in report(kind, rows, quick, named=bool(only))]
    ok = bool(found) and all(line["ok"] for line in found)
    tried = sum(line["baseline"] for line in found)
    print(f"{len(found)} rows, {tried:,} tries, {sum(line['value'] for line in found)} violations")
    print(json.dumps({"rows": found, "ok": ok, "quick": quick}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
