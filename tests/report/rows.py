"""What a row of the consent report is, and the list that each behaviour joins."""

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
    """One behaviour: its number on the list of promises, what was tried, and how to try it."""

    number: str
    promise: str
    attempt: Callable[[Shop, bool], Outcome]


ROWS: list[Row] = []


def row(number: str, promise: str) -> Callable[[Callable[[Shop, bool], Outcome]], Callable[[Shop, bool], Outcome]]:
    """Add a behaviour to the report; it is given a running shop, and whether to be quick."""

    def add(attempt: Callable[[Shop, bool], Outcome]) -> Callable[[Shop, bool], Outcome]:
        ROWS.append(Row(number, promise, attempt))
        return attempt

    return add


def outcome(held: list[bool], note: str = "") -> Outcome:
    """Count what did not hold."""
    return Outcome(len(held), held.count(False), note)
