"""What serving asks first: who is this, and what do they allow now - in one round trip to the store."""

from sqlalchemy import Connection, bindparam, select

from considerate.consent.decision import NOBODY, SubjectFacts
from considerate.consent.projection import consents_of
from considerate.store.subjects import Subject, subject_of_row
from considerate.store.tables import consent_current, subject

_SUBJECT = (
    subject.c.subject_ref,
    subject.c.state,
    subject.c.age_band,
    subject.c.consent_epoch,
    subject.c.objected_at,
    subject.c.restricted_at,
)
_CONSENT = tuple(column for column in consent_current.columns if column.name != "subject_ref")
_QUERY = (
    select(*_SUBJECT, *_CONSENT)
    .join_from(subject, consent_current, subject.c.subject_ref == consent_current.c.subject_ref, isouter=True)
    .where(subject.c.lookup_hmac == bindparam("lookup"))
)


def read_facts(conn: Connection, lookup: bytes) -> tuple[Subject | None, SubjectFacts]:
    """Read a customer and her current consents.

    Parameters
    ----------
    conn
        From `store.engine.reading`, and from the authority itself: never from a replica that may lag behind.
    lookup
        `Keys.lookup(customer_id)`.

    Returns
    -------
        The subject, and the facts that `decision.effective` judges; (None, NOBODY) for an unknown customer.
    """
    rows = conn.execute(_QUERY, {"lookup": lookup}).all()
    if not rows:
        return None, NOBODY
    width = len(_SUBJECT)
    who = subject_of_row(rows[0][:width])
    return who, SubjectFacts(
        consents=consents_of(row[width:] for row in rows if row[width] is not None),
        age_band=who.age_band,
        state=who.state,
        objected=who.objected_at is not None,
        restricted=who.restricted_at is not None,
    )
