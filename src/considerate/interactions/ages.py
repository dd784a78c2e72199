"""Reading the ages of a customer table: what is not surely understood is refused, for it may speak of a minor."""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime

from considerate.errors import DataError

_UNKNOWN = {
    *("unknown", "none", "none/unknown", "null", "n/a", "na", "nan", "-", "?"),
    *("not stated", "not specified", "undisclosed", "prefer not to say"),
}
_NO_YEAR = {"0", "0.0", "none", "null", "nan"}
_BANDS = {"u13": 0, "13_15": 13, "16_17": 16, "adult": 18}
_CHILDREN = {"minor": 0, "child": 0, "children": 0, "kid": 0, "teen": 13, "teenager": 13}
_WORDS = _BANDS | _CHILDREN
"""The store's own bands and words for children, with the lowest age of each."""
_UNIT = re.compile(r"(?<![a-z])(?:ages?|years?|yrs?|old)(?![a-z])")
_AGE = "([0-9]{1,3})"
_BELOW = re.compile(rf"(?:under|<|below|up to|u|less than|younger than) ?{_AGE}")
_BETWEEN = re.compile(rf"{_AGE} ?(?:-|to) ?{_AGE}")
_FROM = re.compile(rf"(?:(?:>=|over|above|from) ?)?{_AGE}(?: ?\+| plus| (?:and|or|&) (?:over|older|above|up))?")
_YEAR = re.compile(r"([0-9]{4})(?:\.0+)?")
OLDEST = 120
"""A greater number is no age in years."""
_EARLIEST = 1900
_NAMED = 3
"""So many refused values stand in a message, each cut to `_SHOWN` characters."""
_SHOWN = 40


def ages_of_years(years: Sequence[str | None], at: datetime) -> list[int | None]:
    """Give the age by birth year, at its lowest: as if the birthday were still to come this year.

    Raises
    ------
    DataError
        A text that is no year from 1900 to the current one; names up to three.

    >>> ages_of_years(["1990", "2012.0", None], datetime.fromisoformat("2026-03-01T00:00:00+00:00"))
    [35, 13, None]
    """

    def read(text: str) -> int | None:
        if text.lower() in _NO_YEAR:
            return None
        found = _YEAR.fullmatch(text)
        if found is None or not _EARLIEST <= int(found[1]) <= at.year:
            raise ValueError
        return at.year - int(found[1]) - 1

    return _read("birth_year", years, read, f"must be a year of four digits from {_EARLIEST} to {at.year}, or empty")


def ages_of_labels(labels: Sequence[str | None]) -> list[int | None]:
    """Give the lowest age that a label allows; None where it says that the age is not known.

    A label without a lower end (`Under 18`) names a minor of unknown age: the youngest. Words are understood
    from a short list: what it lacks is refused, not guessed.

    Raises
    ------
    DataError
        A label that is none of these; names up to three.

    >>> ages_of_labels(["25-34", "65+", "Under 18", "Ages 13 to 17", "16_17", "unknown", None])
    [25, 65, 0, 13, 16, None, None]
    """
    rule = f"must be an age such as 17, 13-17, 65+ or under 18, one of {', '.join(_WORDS)}, unknown, or empty"
    return _read("age_band", labels, _lowest_age, rule)


def _lowest_age(label: str) -> int | None:
    text = " ".join(_UNIT.sub(" ", label.lower().replace("\N{EN DASH}", "-")).split())
    if text in _UNKNOWN:
        return None
    if text in _WORDS:
        return _WORDS[text]
    if _BELOW.fullmatch(text):
        return 0
    found = _BETWEEN.fullmatch(text) or _FROM.fullmatch(text)
    if found is None:
        raise ValueError
    # A range the wrong way round was meant otherwise; a number no one reaches is no age, but perhaps a year.
    lowest, highest = int(found[1]), int(found[found.lastindex or 1])
    if not lowest <= highest or lowest > OLDEST:
        raise ValueError
    return lowest


def _read(column: str, texts: Sequence[str | None], read: Callable[[str], int | None], rule: str) -> list[int | None]:
    ages = {}
    refused = {}
    for text, customers in Counter(text for text in texts if text).most_common():
        try:
            ages[text] = read(text)
        except ValueError:
            refused[text] = customers
    if refused:
        named = ", ".join(f"{text[:_SHOWN]!r} ({refused[text]:,})" for text in list(refused)[:_NAMED])
        more = f" and {len(refused) - _NAMED:,} more" if len(refused) > _NAMED else ""
        raise DataError(
            f"customers.columns.{column}: {named}{more}, customers concerned: {sum(refused.values()):,}; {rule}; "
            f"correct the table, leave such an age empty there, map another column to {column}, or leave the rows out "
            "by customers.where"
        )
    return [ages[text] if text else None for text in texts]
