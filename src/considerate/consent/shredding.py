"""Erasure in the ledger: the chain stays and still verifies, the person behind it can no longer be found.

A ledger row names nobody: it holds a random reference and a commitment under the person's own key. Destroy that key,
the evidence sealed under it and both ways back to the customer id, and what is left says that somebody once decided.
"""

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from considerate.consent.decision import ConsentState
from considerate.consent.events import ConsentEvent, Recorded
from considerate.consent.ledger import append_many, notice_of
from considerate.consent.projection import read_current
from considerate.errors import ConsentError
from considerate.store.engine import require_writing
from considerate.store.keys import Keys
from considerate.store.tables import consent_event, consent_evidence, subject, subject_key


def record_erasure(conn: Connection, keys: Keys, subject_ref: bytes, *, at: datetime) -> list[Recorded]:
    """Append a last event, `erased`, for every purpose this person has decided on; call it before `shred`.

    A purpose that is erased leaves `consent_current`, so a second call appends nothing.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    subject_ref
        Somebody in the state `active` or `erasing`.

    Raises
    ------
    UnknownSubject
        She has decisions left in `consent_current` although she is erased, or there is nobody of that reference.
    """
    require_writing(conn)
    events = [
        ConsentEvent(subject_ref, purpose, ConsentState.ERASED, notice_of(conn, current.seq), at, method="erasure")
        for purpose, current in read_current(conn, subject_ref).items()
    ]
    return append_many(conn, keys, events, at=at)


def shred(conn: Connection, subject_ref: bytes) -> bool:
    """Destroy a person's data key, her sealed evidence, and what her row in `subject` says of her.

    What stays is the reference, `state` and `consent_epoch`. The ledger is not touched.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    subject_ref
        Somebody in the state `erasing` or `erased`.

    Returns
    -------
        Whether anything was left to destroy: False for a second call, and for a reference nobody has.

    Raises
    ------
    ConsentError
        She is active: a grant of hers could still arrive, and would find no key.
    """
    require_writing(conn)
    state = conn.execute(select(subject.c.state).where(subject.c.subject_ref == subject_ref)).scalar()
    if state == "active":
        raise ConsentError("state = active: only someone who is being erased can be shredded; set it to erasing first")
    hers = select(consent_event.c.event_id).where(consent_event.c.subject_ref == subject_ref)
    removed = conn.execute(delete(consent_evidence).where(consent_evidence.c.event_id.in_(hers))).rowcount
    removed += conn.execute(delete(subject_key).where(subject_key.c.subject_ref == subject_ref)).rowcount
    emptied = update(subject).where(subject.c.subject_ref == subject_ref)
    conn.execute(
        emptied.values(
            lookup_hmac=None,
            customer_id_enc=None,
            age_band="unknown",
            age_source="none",
            objected_at=None,
            restricted_at=None,
            gpc_at=None,
        )
    )
    return removed > 0
