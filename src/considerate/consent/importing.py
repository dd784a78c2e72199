"""Bringing the consents of an existing shop into the ledger."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sqlalchemy import Connection, Engine

from considerate.consent.decision import ConsentState, Policy, gpc_denies
from considerate.consent.events import ConsentEvent, Head, Method, Recorded
from considerate.consent.facts import GPC_CONFLICT, gpc_signals
from considerate.consent.ledger import append_many, head
from considerate.consent.minors import end_grants_of_minors, without_higher
from considerate.consent.outcomes import Outcome, judge_records, record_id
from considerate.consent.records import (
    ConsentRecord,
    RejectedRow,
    count_rules,
    may_be_a_lost_no,
    read_records,
    time_of,
    write_rejected,
)
from considerate.errors import ConsentError
from considerate.store.engine import writing
from considerate.store.keys import Keys
from considerate.store.subjects import MINOR_BANDS, ensure_subjects, subject_keys


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What became of the rows of a file; counts only.

    Attributes
    ----------
    rows
        Rows of the file: `sum(recorded.values()) + repeated + older + erasing + sum(rejected.values())`.
    recorded
        State -> events appended to the ledger.
    repeated
        Rows that the ledger already has.
    older
        Rows older than what the ledger already knows of that customer and purpose: a later choice stands. Also a yes
        from before a loss of the ledger, in which it may have been withdrawn.
    rejected
        Rule of `records.RULES` -> rows left out.
    quarantine
        File that holds the rejected rows, None where there are none.
    customers
        Distinct customers among the rows read.
    head
        End of the ledger afterwards.
    erasing
        Rows of customers who are just being erased: nothing of them is recorded any more.
    """

    rows: int
    recorded: Mapping[str, int]
    repeated: int
    older: int
    rejected: Mapping[str, int]
    quarantine: Path | None
    customers: int
    head: Head
    erasing: int = 0


@dataclass(frozen=True, slots=True)
class TakenIn:
    """What became of one record; `recorded` is its ledger event, None where none was appended.

    Of a minor's yes that event says that it is ended.
    """

    record: ConsentRecord
    outcome: Outcome
    recorded: Recorded | None


def import_consents(
    path: Path,
    engine: Engine,
    keys: Keys,
    *,
    at: datetime,
    quarantine: Path,
    policy: Policy,
    lost_until: datetime | None,
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
    policy
        Of the shop, with the notices that are known here.
    lost_until
        From `restoring.lost_until`.

    Raises
    ------
    DataError
        The file cannot be read.
    ConsentError
        A row that says no cannot be understood: recording the rest could leave a withdrawn consent standing.
    """
    records, rejected = read_records(path, notices=policy.notices, at=at)
    name = f"consents-{path.stem}"
    left_out = write_rejected(rejected, quarantine, name) if rejected else None
    _refuse_lost_withdrawals(path, rejected, left_out)
    with writing(engine) as conn:
        taken = take_in(
            conn,
            keys,
            records,
            rejected,
            policy=policy,
            lost_until=lost_until,
            source=path.name,
            method="import",
            at=at,
        )
        minors = [one.record for one in taken if one.outcome == "minor"]
        if minors:
            young = [RejectedRow(one.row, "minor", one.values) for one in minors]
            rejected = sorted([*rejected, *young], key=lambda one: one.row)
            left_out = write_rejected(rejected, quarantine, name)
        end = head(conn)
    outcomes = Counter(one.outcome for one in taken)
    return ImportReport(
        rows=len(taken) + len(rejected) - len(minors),
        recorded=dict(sorted(Counter(one.record.state.value for one in taken if one.outcome == "recorded").items())),
        repeated=outcomes["repeated"],
        older=outcomes["older"],
        rejected=count_rules(rejected),
        quarantine=left_out,
        customers=len({one.record.customer_id for one in taken} | set(_age_bands((), rejected, at))),
        head=end,
        erasing=outcomes["erasing"],
    )


def take_in(
    conn: Connection,
    keys: Keys,
    records: Sequence[ConsentRecord],
    rejected: Sequence[RejectedRow],
    *,
    policy: Policy,
    lost_until: datetime | None,
    source: str,
    method: Method,
    at: datetime,
) -> list[TakenIn]:
    """Record what was decided elsewhere; give what became of each record, in the order of the acts.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    records
        That follow the rules.
    rejected
        Those that do not: the age they name is heeded all the same.
    policy
        Of the shop.
    lost_until
        From `restoring.lost_until`.
    source
        Where they come from; goes into the evidence.
    method
        Of the ledger events.
    at
        Now.
    """
    # Of two in the same moment the no comes last, and so it stands.
    order = sorted(records, key=lambda one: (one.event_time, one.state is not ConsentState.GIVEN, one.row))
    said = _age_bands(order, rejected, at)
    customers = [*(record.customer_id for record in order), *said]
    refs = ensure_subjects(conn, keys, customers, age_bands=without_higher(conn, keys, said), at=at)
    people = list(refs.values())
    data_keys = subject_keys(conn, keys, people)
    # Of somebody who is being erased the key may be gone already, and nothing is recorded.
    ids = [record_id(data_keys.get(refs[record.customer_id], b""), record) for record in order]
    judged = judge_records(conn, order, ids, refs, lost_until=lost_until)
    signals = gpc_signals(conn, people)
    events = [
        ConsentEvent(
            subject_ref=refs[record.customer_id],
            purpose=record.purpose,
            state=state,
            notice=record.notice,
            event_time=record.event_time,
            method=method,
            actor="shop" if outcome == "minor" else "customer",
            evidence={
                **record.evidence,
                "imported_from": source,
                **_conflict(record, signals.get(refs[record.customer_id]), policy),
            },
            jurisdiction=record.jurisdiction,
            event_id=event_id,
        )
        for record, event_id, (outcome, state) in zip(order, ids, judged, strict=True)
        if state is not None
    ]
    done = iter(append_many(conn, keys, events, at=at))
    end_grants_of_minors(conn, keys, people, at=at)
    return [
        TakenIn(record, outcome, None if state is None else next(done))
        for record, (outcome, state) in zip(order, judged, strict=True)
    ]


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


def _refuse_lost_withdrawals(path: Path, rejected: Sequence[RejectedRow], left_out: Path | None) -> None:
    # A yes that is lost is asked for again. A no that is lost would be ignored.
    lost = [row for row in rejected if may_be_a_lost_no(row)]
    if lost:
        counts = ", ".join(f"{rule} {n}" for rule, n in count_rules(lost).items())
        raise ConsentError(
            f"{path}: {len(lost)} rows that do not say `given` cannot be understood ({counts}), and each may withdraw "
            f"a consent; nothing was recorded: correct the rows listed in {left_out}, then import the file again"
        )


def _conflict(record: ConsentRecord, signal: datetime | None, policy: Policy) -> Mapping[str, bool]:
    later = record.state is ConsentState.GIVEN and signal is not None and record.event_time >= signal
    return GPC_CONFLICT if later and gpc_denies(record.purpose, policy) else {}
