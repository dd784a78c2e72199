"""Consent records that a shop brings along: reading a file and checking each row of it."""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from difflib import SequenceMatcher
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from considerate.consent.decision import ConsentState
from considerate.consent.notices import Notice, NoticeShown
from considerate.consent.purposes import Purpose
from considerate.errors import DataError
from considerate.store.subjects import AGE_BANDS

REQUIRED = ("customer_id", "purpose", "state", "event_time", "notice_id", "notice_version")
OPTIONAL = ("locale", "age_band", "jurisdiction")
STATES = {state.value: state for state in (ConsentState.GIVEN, ConsentState.REFUSED, ConsentState.WITHDRAWN)}
CLOCK_AHEAD = timedelta(minutes=5)
"""How far the clock of whoever recorded a yes may run ahead of ours."""

RULES = {
    "no_customer": "customer_id is empty",
    "unknown_purpose": f"purpose is none of {', '.join(Purpose)}",
    "unknown_state": f"state is none of {', '.join(STATES)}",
    "bad_time": "event_time is not a time since 1970 such as 2025-03-01T09:30:00+01:00",
    "future_time": "given more than 5 minutes ahead of the clock here",
    "unknown_age_band": f"age_band is none of {', '.join(AGE_BANDS)}",
    "unknown_notice": "the notice is not known here in that version and language: nobody can say what was agreed to",
    "no_evidence": "given without anything that shows it: no column beside the ones above holds a value",
    "minor": "given by someone under 18, as the row or the store says",
}
"""Why a row is not recorded, in the order in which the rules are tried; the last one where the store is at hand."""

WESTERNMOST = timedelta(hours=12)
"""How far the clocks of the westernmost zone, UTC-12, are behind UTC."""
_EVERY_PURPOSE = re.compile(r"|everything|(?:all|any|every)(?:purposes?|consents?|permissions?|cookies)?")
_OURS = [purpose.value.replace("_", "") for purpose in Purpose]
_ALIKE = 0.85


@dataclass(frozen=True, slots=True)
class ConsentRecord:
    """One row: who decided what, when, after reading which notice, and what shows it.

    Attributes
    ----------
    row
        Its number in the file.
    event_time
        When the customer acted: never later than now. A no that names no zone, or a day alone, counts at the latest
        moment it may mean, a yes at the earliest.
    said_time
        The same by the clock of whoever recorded it, which may run ahead.
    values
        The row as it came.
    """

    row: int
    customer_id: str
    purpose: Purpose
    state: ConsentState
    event_time: datetime
    said_time: datetime
    notice: NoticeShown
    age_band: str | None
    jurisdiction: str | None
    evidence: Mapping[str, str]
    values: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """One row that is not recorded: its number in the file (the first data row is 1), the rule, and what it said."""

    row: int
    rule: str
    values: Mapping[str, str]


def read_records(
    path: Path, *, notices: Mapping[str, Notice], at: datetime
) -> tuple[list[ConsentRecord], list[RejectedRow]]:
    """Read a CSV or Parquet file of consent records.

    Parameters
    ----------
    path
        With the columns `REQUIRED`, and `OPTIONAL` ones. Every other column is evidence.
    notices
        Notices that are known here.
    at
        Now.

    Raises
    ------
    DataError
        The file cannot be read, has no rows or lacks a column.
    """
    table = _read(path)
    if twice := [name for name, n in Counter(table.column_names).items() if n > 1]:
        raise DataError(f"{path}: column {', '.join(twice)} is there more than once; rename or remove one")
    missing = [name for name in REQUIRED if name not in table.column_names]
    if missing:
        raise DataError(
            f"{path}: column {', '.join(missing)} is missing; a file of consent records has {', '.join(REQUIRED)}, "
            f"may have {', '.join(OPTIONAL)}, and any other column is kept as evidence"
        )
    if not len(table):
        raise DataError(f"{path}: no rows; export the consent records again")
    records: list[ConsentRecord] = []
    rejected: list[RejectedRow] = []
    columns = {name: _text(path, name, table[name]) for name in table.column_names}
    for row, values in enumerate(zip(*columns.values(), strict=True), start=1):
        named = dict(zip(columns, values, strict=True))
        checked = check_record(row, named, notices, at)
        if isinstance(checked, str):
            rejected.append(RejectedRow(row, checked, named))
        else:
            records.append(checked)
    return records, rejected


def write_rejected(rejected: Sequence[RejectedRow], folder: Path, name: str) -> Path:
    """Write rejected rows, with their rule and row number, to a Parquet file for whoever corrects them.

    The file holds personal data: only its owner may read it. It is written whole or not at all.
    """
    path = folder / f"{name}.parquet"
    part = path.with_name(path.name + ".part")
    columns = {
        "row": [row.row for row in rejected],
        "rule": [row.rule for row in rejected],
        **{column: [row.values[column] for row in rejected] for column in rejected[0].values},
    }
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        part.unlink(missing_ok=True)
        try:
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                pq.write_table(pa.table(columns), file)
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{folder}: rejected rows cannot be written: {error.strerror}; check the folder") from error
    return path


def count_rules(rejected: Sequence[RejectedRow]) -> dict[str, int]:
    """Count rejected rows by rule, in the order of `RULES`."""
    counts = Counter(row.rule for row in rejected)
    return {rule: counts[rule] for rule in RULES if counts[rule]}


def may_be_a_lost_no(row: RejectedRow) -> bool:
    """Whether a row that cannot be recorded may withdraw a consent to one of our purposes."""
    if row.values["state"] == ConsentState.GIVEN.value:
        return False
    return row.rule != "unknown_purpose" or _may_be_ours(row.values["purpose"])


def check_record(  # noqa: PLR0911 - a list of rules reads best as a list
    row: int, values: Mapping[str, str], notices: Mapping[str, Notice], at: datetime
) -> ConsentRecord | str:
    """Read one record; give the rule it breaks, a key of `RULES`, where it cannot be recorded.

    Parameters
    ----------
    values
        The columns `REQUIRED`, as text; those of `OPTIONAL` where there are any. Every other one is evidence.
    """
    if not values["customer_id"].strip():
        return "no_customer"
    if values["purpose"] not in list(Purpose):
        return "unknown_purpose"
    state = STATES.get(values["state"])
    if state is None:
        return "unknown_state"
    said_time = time_of(values["event_time"], latest=state is not ConsentState.GIVEN)
    if said_time is None:
        return "bad_time"
    # A no counts from now whatever the clock of its sender says; a yes of tomorrow is a mistake.
    if state is ConsentState.GIVEN and said_time > at + CLOCK_AHEAD:
        return "future_time"
    age_band = values.get("age_band") or None
    if age_band is not None and age_band not in AGE_BANDS:
        return "unknown_age_band"
    evidence = {name: value for name, value in values.items() if value and name not in (*REQUIRED, *OPTIONAL)}
    notice = NoticeShown(values["notice_id"], _version(values["notice_version"]), values.get("locale") or "en")
    if state is ConsentState.GIVEN:
        # A no counts whatever was read before it; a yes only if one can say to what.
        known = notices.get(notice.notice_id)
        if known is None or not 1 <= notice.notice_version <= known.version or notice.locale not in known.texts:
            return "unknown_notice"
        if not evidence:
            return "no_evidence"
    return ConsentRecord(
        row=row,
        customer_id=values["customer_id"],
        purpose=Purpose(values["purpose"]),
        state=state,
        event_time=min(said_time, at),
        said_time=said_time,
        notice=notice,
        # Not to know is no news: it takes nothing back that the shop has said elsewhere.
        age_band=None if age_band == "unknown" else age_band,
        jurisdiction=values.get("jurisdiction") or None,
        evidence=evidence,
        values=values,
    )


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise DataError(f"{path}: no such file; check the path")
    try:
        if path.suffix == ".parquet":
            return pq.read_table(path)
        # Every column as text: `007` stays an id, and what is wrong with a value is said by a rule of ours.
        with path.open("rb") as file:
            names = pa_csv.open_csv(file).schema.names
        types = {name: pa.string() for name in names}
        return pa_csv.read_csv(path, convert_options=pa_csv.ConvertOptions(column_types=types, null_values=[]))
    except (pa.ArrowInvalid, UnicodeDecodeError):
        # What the library says quotes the row it stumbled over.
        raise DataError(
            f"{path}: not a readable CSV (UTF-8, a value for each column in each row) or Parquet file; export it again"
        ) from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error


def _text(path: Path, name: str, column: Any) -> list[str]:
    if pa.types.is_timestamp(column.type):
        return ["" if value is None else value.isoformat() for value in column.to_pylist()]
    try:
        return ["" if value is None else value for value in column.cast(pa.string()).to_pylist()]
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        raise DataError(
            f"{path}: column {name} is of type {column.type}; must be text, whole numbers or times: convert it"
        ) from None


def time_of(text: str, *, latest: bool = False) -> datetime | None:
    """Read an `event_time`, UTC unless it says otherwise; None where it is no time since 1970.

    Parameters
    ----------
    latest
        Where it names no zone, give the latest moment it may mean anywhere; of a day alone, the end of that day there.

    >>> time_of("2026-11-22").isoformat(), time_of("2026-11-22", latest=True).isoformat()
    ('2026-11-22T00:00:00+00:00', '2026-11-23T12:00:00+00:00')
    """
    said = text.strip()
    # A week is no day, and its end none that `date` would say.
    if "W" in said.upper():
        return None
    try:
        time = datetime.fromisoformat(said)
        if time.tzinfo is None:
            time = time.replace(tzinfo=UTC)
            if latest:
                time += WESTERNMOST + timedelta(days=_is_day(said))
        time = time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return time if time.year >= 1970 else None


def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def _may_be_ours(purpose: str) -> bool:
    # `Train Models`, `train_model`, `consent.train_models`, each of several in one field; `newsletter` is a stranger's.
    parts = [re.sub(r"[\W_]+", "", part.casefold()) for part in re.split(r"[,;|/+&\n]", purpose)]
    named = list(filter(None, parts)) or [""]
    return any(ours in "".join(parts) for ours in _OURS) or any(
        _EVERY_PURPOSE.fullmatch(one) or any(SequenceMatcher(None, one, ours).ratio() >= _ALIKE for ours in _OURS)
        for one in named
    )


def _version(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 9 else 0
