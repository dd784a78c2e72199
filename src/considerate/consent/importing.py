"""Bringing the consents of an existing shop into the ledger."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine, select

from considerate.consent.decision import ConsentState
from considerate.consent.events import ConsentEvent, Head
from considerate.consent.ledger import append_many, head
from considerate.consent.notices import NOTICES, Notice
from considerate.consent.purposes import Purpose
from considerate.consent.records import (
    MINOR_BANDS,
    ConsentRecord,
    RejectedRow,
    count_rules,
    read_records,
    time_of,
    write_rejected,
)
from considerate.errors import ConsentError
from considerate.store.engine import writing
from considerate.store.keys import Keys
from considerate.store.statements import chunks
from considerate.store.subjects import AGE_BANDS, ensure_subjects
from considerate.store.tables import consent_current, consent_event, subject, to_micros


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the rows of a file; counts only.

    Attributes
    ----------
    rows
        Rows of the file: `sum(recorded.values()) + repeated + older + sum(rejected.values())`.
    recorded
        State -> events appended to the ledger.
    repeated
        Rows that the ledger already has.
    older
        Rows older than what the ledger already knows of that customer and purpose: a later choice stands.
    rejected
        Rule of `records.RULES` -> rows left out.
    quarantine
        File that holds the rejected rows, None where there are none.
    customers
        Distinct customers among the rows read.
    head
        End of the ledger afterwards.
    """

    rows: int
    recorded: Mapping[str, int]
    repeated: int
    older: int
    rejected: Mapping[str, int]
    quarantine: Path | None
    customers: int
    head: Head


def import_consents(
    path: Path,
    engine: Engine,
    keys: Keys,
    *,
    at: datetime,
    quarantine: Path,
    notices: Mapping[str, Notice] = NOTICES,
) -> ImportReport:
    """Record the consents of a CSV or Parquet file, all in one transaction; the same file again adds nothing.

    An age band is taken where none is known or where it is lower than the one that is. It never rises by an import:
    an old file would make an adult of someone whom the shop has since found to be a minor. A birthday reaches the
    store with the shop's customer table (`considerate load`).

    Parameters
    ----------
    path
        See `records.read_records`.
    engine, keys
        The store and its keys.
    at
        Now: recorded as the time of the import.
    quarantine
        Folder for rows that are not recorded.
    notices
        Notices that are known here.

    Raises
    ------
    DataError
        The file cannot be read.
    ConsentError
        A row that says no cannot be understood: recording the rest could leave a withdrawn consent standing.
    """
    records, rejected = read_records(path, notices=notices, at=at)
    left_out = write_rejected(rejected, quarantine, f"consents-{path.stem}") if rejected else None
    _refuse_lost_withdrawals(path, rejected, left_out)
    # In the order of the acts; of two in the same moment the no comes last, and so it stands.
    records.sort(key=lambda record: (record.event_time, record.state is not ConsentState.GIVEN, record.row))
    with writing(engine) as conn:
        said = _age_bands(records, rejected, at)
        customers = [*(record.customer_id for record in records), *said]
        refs = ensure_subjects(conn, keys, customers, age_bands=_not_raised(conn, keys, said), at=at)
        events, repeated, older = _new_events(conn, keys, path.name, records, refs)
        append_many(conn, keys, events, at=at)
        end = head(conn)
    return ImportReport(
        rows=len(records) + len(rejected),
        recorded=dict(sorted(Counter(event.state.value for event in events).items())),
        repeated=repeated,
        older=older,
        rejected=count_rules(rejected),
        quarantine=left_out,
        customers=len(refs),
        head=end,
    )


def _age_bands(records: Sequence[ConsentRecord], rejected: Sequence[RejectedRow], at: datetime) -> dict[str, str]:
    """Give the latest band that the file says of each customer; of two in the same moment the minor's stands.

    A yes that is left out because a minor gave it still says that she is one.
    """
    said = [(one.event_time, one.age_band, one.customer_id) for one in records if one.age_band is not None]
    for row in rejected:
        if row.values.get("age_band") in MINOR_BANDS and row.values["customer_id"].strip():
            said.append((time_of(row.values["event_time"]) or at, row.values["age_band"], row.values["customer_id"]))
    said.sort(key=lambda one: (one[0], one[1] in MINOR_BANDS))
    return {customer: band for _, band, customer in said}


def _not_raised(conn: Connection, keys: Keys, bands: Mapping[str, str]) -> dict[str, str]:
    """Leave out the bands that are higher than the one in the store; `unknown` is the lowest there is to replace."""
    lookups = {keys.lookup(customer): customer for customer in bands}
    kept = dict(bands)
    for part in chunks(list(lookups)):
        query = select(subject.c.lookup_hmac, subject.c.age_band).where(subject.c.lookup_hmac.in_(part))
        for lookup, known in conn.execute(query):
            if known != "unknown" and AGE_BANDS.index(bands[lookups[lookup]]) > AGE_BANDS.index(known):
                del kept[lookups[lookup]]
    return kept


def _refuse_lost_withdrawals(path: Path, rejected: Sequence[RejectedRow], left_out: Path | None) -> None:
    # A yes that is lost is asked for again. A no that is lost would be ignored.
    lost = [row for row in rejected if row.values["state"] != "given" and not _of_another_purpose(row)]
    if lost:
        counts = ", ".join(f"{rule} {n}" for rule, n in count_rules(lost).items())
        raise ConsentError(
            f"{path}: {len(lost)} rows that do not say `given` cannot be understood ({counts}), and each may withdraw "
            f"a consent; nothing was recorded: correct the rows listed in {left_out}, then import the file again"
        )


def _of_another_purpose(row: RejectedRow) -> bool:
    # `Train_Models ` is ours, misspelt.
    return row.rule == "unknown_purpose" and row.values["purpose"].strip().casefold() not in list(Purpose)


def _new_events(
    conn: Connection, keys: Keys, source: str, records: Sequence[ConsentRecord], refs: Mapping[str, bytes]
) -> tuple[list[ConsentEvent], int, int]:
    ids = [_event_id(keys, record) for record in records]
    known: set[bytes] = set()
    for part in chunks(ids):
        known.update(conn.execute(select(consent_event.c.event_id).where(consent_event.c.event_id.in_(part))).scalars())
    latest = _latest(conn, list(refs.values()))
    events: list[ConsentEvent] = []
    repeated = older = 0
    for event_id, record in zip(ids, records, strict=True):
        ref = refs[record.customer_id]
        time, is_no = latest.get((ref, record.purpose.value), (-1, False))
        when, says_no = to_micros(record.event_time), record.state is not ConsentState.GIVEN
        if event_id in known:
            repeated += 1
        elif (when, says_no) < (time, is_no):
            older += 1
        else:
            known.add(event_id)
            latest[ref, record.purpose.value] = (when, says_no)
            events.append(
                ConsentEvent(
                    subject_ref=ref,
                    purpose=record.purpose,
                    state=record.state,
                    notice=record.notice,
                    event_time=record.event_time,
                    method="import",
                    evidence={**record.evidence, "imported_from": source},
                    jurisdiction=record.jurisdiction,
                    event_id=event_id,
                )
            )
    return events, repeated, older


def _latest(conn: Connection, refs: Sequence[bytes]) -> dict[tuple[bytes, str], tuple[int, bool]]:
    latest: dict[tuple[bytes, str], tuple[int, bool]] = {}
    table = consent_current.c
    for part in chunks(refs):
        query = select(table.subject_ref, table.purpose_id, table.event_time, table.state)
        for ref, purpose, time, state in conn.execute(query.where(table.subject_ref.in_(part))):
            latest[ref, purpose] = (time, state != ConsentState.GIVEN.value)
    return latest


def _event_id(keys: Keys, record: ConsentRecord) -> bytes:
    said = [
        record.customer_id,
        record.purpose.value,
        record.state.value,
        to_micros(record.event_time),
        record.notice.notice_id,
        record.notice.notice_version,
    ]
    return bytes.fromhex(keys.pseudonym("consent-import", json.dumps(said)))
