"""What a row of the consent report is, and the list that each behaviour joins."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tests.report.shop import Kind, Shop

Quick = Literal["both", "sqlite", "never"]


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

    What changes the shop for good is tried after everything else: `last`. A row that takes long, or in which the
    database plays no part, says on which one the `quick` form of the report tries it, if at all.
    """

    number: str
    promise: str
    attempt: Callable[[Shop, bool], Outcome]
    last: bool = False
    quick: Quick = "both"

    def takes_part(self, kind: Kind, *, quick: bool) -> bool:
        """Whether it is tried on a database, in this form of the report."""
        return not quick or self.quick in ("both", kind)

    @property
    def place(self) -> tuple[bool, int, str]:
        """Where it stands in the report: as numbered, then those that have a name."""
        first = self.number.split()[0]
        return (self.last, int(first) if first.isdecimal() else 1000, self.number)


ROWS: list[Row] = []


def row(
    number: str, promise: str, *, last: bool = False, quick: Quick = "both"
) -> Callable[[Callable[[Shop, bool], Outcome]], Callable[[Shop, bool], Outcome]]:
    """Add a behaviour to the report; it is given a running shop, and whether to be quick."""

    def add(attempt: Callable[[Shop, bool], Outcome]) -> Callable[[Shop, bool], Outcome]:
        ROWS.append(Row(number, promise, attempt, last, quick))
        return attempt

    return add


def outcome(held: Sequence[bool], note: str = "") -> Outcome:
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


def within_a_second(holds: Callable[[], bool], *, quick: bool) -> bool:
    """The same for what is promised within a second; the quick form judges no time."""
    return within(10 if quick else 1, holds)
