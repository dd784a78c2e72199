"""Ending consents that nobody withdrew: they were given by somebody who could not, or what came after them is lost."""

from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Connection, select

from considerate.consent.decision import ConsentState
from considerate.consent.events import ConsentEvent
from considerate.consent.ledger import append_many
from considerate.consent.notices import NoticeShown
from considerate.consent.purposes import Purpose
from considerate.store.engine import require_writing
from considerate.store.keys import Keys
from considerate.store.tables import consent_current, consent_event, subject


def end_grants(
    conn: Connection, keys: Keys, whose: ColumnElement[bool], *, at: datetime, actor: Literal["shop", "operator"]
) -> int:
    """Append `invalidated` for every consent that is given; a second call appends nothing.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    keys
        Of this installation.
    whose
        Condition on the table `subject`; of those who meet it, only active people's consents are ended.
    at
        Now.
    actor
        Who says so.

    Returns
    -------
        How many consents were ended.
    """
    require_writing(conn)
    event = consent_event.c
    given = (
        select(event.subject_ref, event.purpose_id, event.notice_id, event.notice_version, event.locale)
        .join_from(subject, consent_current, subject.c.subject_ref == consent_current.c.subject_ref)
        .join(consent_event, consent_current.c.seq == event.seq)
        .where(consent_current.c.state == ConsentState.GIVEN.value, subject.c.state == "active", whose)
        .order_by(event.seq)
    )
    ends = [
        ConsentEvent(ref, Purpose(purpose), ConsentState.INVALIDATED, NoticeShown(*shown), at, "admin", actor)
        for ref, purpose, *shown in conn.execute(given)
    ]
    if ends:
        append_many(conn, keys, ends, at=at)
    return len(ends)
