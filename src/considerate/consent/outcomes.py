"""What becomes of each consent record from elsewhere: whether it is the customer's latest word, and known already."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, select

from considerate.consent.decision import ConsentState
from considerate.consent.minors import minors_among
from considerate.consent.records import ConsentRecord
from considerate.store.keys import commit
from considerate.store.statements import chunks
from considerate.store.subjects import MINOR_BANDS, inactive_subjects
from considerate.store.tables import consent_current, consent_event, to_micros

Outcome = Literal["recorded", "repeated", "older", "erasing", "minor"]
"""`minor` is the rule of that name: a yes of somebody who is one by its own row, or by what the store knows."""


def judge_records(
    conn: Connection,
    records: Sequence[ConsentRecord],
    ids: Sequence[bytes],
    refs: Mapping[str, bytes],
    *,
    lost_until: datetime | None,
) -> list[tuple[Outcome, ConsentState | None]]:
    """Give what becomes of each record, and the state to append for it, None where nothing is.

    A minor's yes is appended as ended, where it would have been the latest word: else the same record would count once
    she is of age, although she could not agree when she gave it.

    Parameters
    ----------
    records
        In the order of the acts.
    ids
        Of `record_id`, one for each record.
    refs
        Customer id -> subject reference.
    lost_until
        From `restoring.lost_until`: what is lost may have withdrawn any yes from before.
    """
    known: set[bytes] = set()
    for part in chunks(ids):
        known.update(conn.execute(select(consent_event.c.event_id).where(consent_event.c.event_id.in_(part))).scalars())
    people = list(refs.values())
    leaving, minors = inactive_subjects(conn, people), minors_among(conn, people)
    latest = _latest(conn, people)
    judged: list[tuple[Outcome, ConsentState | None]] = []
    for event_id, record in zip(ids, records, strict=True):
        ref = refs[record.customer_id]
        yes, place = record.state is ConsentState.GIVEN, (ref, record.purpose.value)
        lost = yes and lost_until is not None and record.event_time <= lost_until
        older = lost or (to_micros(record.event_time), not yes) < latest.get(place, (-1, False))
        minor = yes and (ref in minors or record.age_band in MINOR_BANDS)
        outcome: Outcome = "minor" if minor else "older" if older else "recorded"
        state = ConsentState.INVALIDATED if minor else record.state
        if event_id in known:
            judged.append(("repeated", None))
        elif ref in leaving:
            judged.append(("erasing", None))
        elif older:
            judged.append((outcome, None))
        else:
            known.add(event_id)
            latest[place] = to_micros(record.event_time), state is not ConsentState.GIVEN
            judged.append((outcome, state))
    return judged


def record_id(data_key: bytes, record: ConsentRecord) -> bytes:
    """Give the id by which the same record is recognised; once the person's own key is destroyed, nobody can."""
    said = [
        record.purpose.value,
        record.state.value,
        to_micros(record.said_time),
        record.notice.notice_id,
        record.notice.notice_version,
    ]
    # A list, so never the commitment to any evidence, which is an object.
    return commit(data_key, json.dumps(said).encode())[:16]


def _latest(conn: Connection, refs: Sequence[bytes]) -> dict[tuple[bytes, str], tuple[int, bool]]:
    latest: dict[tuple[bytes, str], tuple[int, bool]] = {}
    table = consent_current.c
    for part in chunks(refs):
        query = select(table.subject_ref, table.purpose_id, table.event_time, table.state)
        for ref, purpose, time, state in conn.execute(query.where(table.subject_ref.in_(part))):
            latest[ref, purpose] = (time, state != ConsentState.GIVEN.value)
    return latest
