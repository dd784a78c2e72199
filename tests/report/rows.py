"""What a row of the consent report is, and the list that each behaviour joins."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.report.shop import Shop


@dataclass(frozen=True)
class Outcome:
    """What came of trying.

    Attributes
    ----------
    tried
        How many times.
    violations
        How often the promise did not hold.
    note
        A measured figure, or the first thing that went wrong.
    """

    tried: int
    violations: int
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One behaviour: its number on the list of promises, what was tried, and how to try it.

    What changes the shop for good is tried after everything else: `last`.
    """

    number: str
    promise: str
    attempt: Callable[[Shop, bool], Outcome]
    last: bool = False


ROWS: list[Row] = []


def row(
    number: str, promise: str, *, last: bool = False
) -> Callable[[Callable[[Shop, bool], Outcome]], Callable[[Shop, bool], Outcome]]:
    """Add a behaviour to the report; it is given a running shop, and whether to be quick."""

    def add(attempt: Callable[[Shop, bool], Outcome]) -> Callable[[Shop, bool], Outcome]:
        ROWS.append(Row(number, promise, attempt, last))
        return attempt

    return add


def outcome(held: list[bool], note: str = "") -> Outcome:
    """Count what did not hold, and say where in the list the first of it stands."""
    failed = [place for place, one in enumerate(held) if not one]
    where = [f"did not hold: number {', '.join(map(str, failed[:5]))} of {len(held)}"] if failed else []
    return Outcome(len(held), len(failed), "; ".join([*where, *([note] if note else [])]))


def within(seconds: float, holds: Callable[[], bool]) -> bool:
    """Look until something holds, at most so long; give whether it did."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True
