"""What serving asks first: who is this, and what do they allow now - in one round trip to the store."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from types import MappingProxyType

from sqlalchemy import Connection, bindparam, select, update

from considerate.consent.decision import NOBODY, Policy, SubjectFacts, gpc_denies
from considerate.consent.projection import consents_of
from considerate.consent.purposes import Purpose
from considerate.store.engine import ask, require_writing
from considerate.store.statements import chunks
from considerate.store.subjects import Subject, subject_of_row
from considerate.store.tables import consent_current, from_micros, subject, to_micros

GPC_CONFLICT: Mapping[str, bool] = MappingProxyType({"conflicts_with_gpc": True})
"""What the evidence of a yes says that was given after a Global Privacy Control signal against it."""

_SUBJECT = (
    subject.c.subject_ref,
    subject.c.state,
    subject.c.age_band,
    subject.c.consent_epoch,
    subject.c.objected_at,
    subject.c.restricted_at,
)
_OF_SUBJECT = len(_SUBJECT)
_CONSENT = tuple(column for column in consent_current.columns if column.name != "subject_ref")
_QUERY = (
    select(*_SUBJECT, subject.c.gpc_at, *_CONSENT)
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
    rows = ask(conn, _QUERY, {"lookup": lookup})
    if not rows:
        return None, NOBODY
    who, gpc_at, width = subject_of_row(rows[0][:_OF_SUBJECT]), rows[0][_OF_SUBJECT], _OF_SUBJECT + 1
    return who, SubjectFacts(
        consents=consents_of(row[width:] for row in rows if row[width] is not None),
        age_band=who.age_band,
        state=who.state,
        objected=who.objected_at is not None,
        restricted=who.restricted_at is not None,
        gpc_at=None if gpc_at is None else from_micros(gpc_at),
    )


def remember_gpc(conn: Connection, subject_ref: bytes, *, at: datetime) -> bool:
    """Note against the account that one of its devices sends a Global Privacy Control signal.

    Only the first time counts: a yes given after it stays in force although the browser repeats its signal.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    at
        When the signal came.

    Returns
    -------
        False where a signal was known already, or the person is being erased.
    """
    require_writing(conn)
    first = (
        update(subject)
        .where(subject.c.subject_ref == subject_ref, subject.c.gpc_at.is_(None), subject.c.state == "active")
        # What is allowed has changed: results cached under the old epoch must not be served.
        .values(gpc_at=to_micros(at), consent_epoch=subject.c.consent_epoch + 1)
    )
    return bool(conn.execute(first).rowcount)


def gpc_signals(conn: Connection, refs: Sequence[bytes]) -> dict[bytes, datetime]:
    """Give when the first Global Privacy Control signal of a subject came, for those of `refs` who have sent one."""
    seen: dict[bytes, datetime] = {}
    for part in chunks(refs):
        query = select(subject.c.subject_ref, subject.c.gpc_at).where(subject.c.gpc_at.is_not(None))
        rows = conn.execute(query.where(subject.c.subject_ref.in_(part)))
        seen.update({ref: from_micros(gpc_at) for ref, gpc_at in rows})
    return seen


def gpc_evidence(conn: Connection, subject_ref: bytes, purpose: Purpose, policy: Policy) -> Mapping[str, bool] | None:
    """Give what a yes to `purpose` has to say of an earlier Global Privacy Control signal; None where it has nothing.

    A yes against the signal stands, for this purpose alone, and must be told from one that met no signal.
    """
    return GPC_CONFLICT if gpc_signals(conn, [subject_ref]) and gpc_denies(purpose, policy) else None
