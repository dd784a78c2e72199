"""Erasing a person: the tombstone first, then everything else; what a crash interrupts is ended by whoever looks next.

begin     one transaction: the ledger's last events, the tombstone, `state = erasing`: nothing of hers is used again
outside   the tombstone in a file beside the database, on disk before anybody is told
finish    decisions cut from her, export files removed, then one transaction: rows, keys and names go, `erased`
scrub     the bytes of what was deleted (`privacy.scrubbing`)
rebuild   the next fit, which never sees her; until then the tombstone says that it is due
"""

from datetime import datetime

from sqlalchemy import Connection, delete, select, update

from considerate.consent.ledger import head
from considerate.consent.shredding import record_erasure, shred
from considerate.privacy.exports import remove_exports
from considerate.privacy.installation import Installation
from considerate.privacy.requests import erasure_id, forget_requests, open_request, start_request
from considerate.privacy.scrubbing import call_for_scrub
from considerate.privacy.tombstones import Tombstone, keep_outside, read_tombstones, set_tombstone
from considerate.store.answers import forget_answers_of
from considerate.store.decisions import cut_decisions_of
from considerate.store.engine import require_writing
from considerate.store.interactions import delete_interactions
from considerate.store.keys import Keys
from considerate.store.statements import chunks
from considerate.store.subjects import customer_id_of, find_subject
from considerate.store.tables import event_exclusion, interaction, preference, subject, tombstone
from considerate.store.wishes import change_epoch, delete_wishes


def erase_customer(place: Installation, customer_id: str, *, at: datetime) -> Tombstone | None:
    """Begin to erase a customer, so that no crash and no backup undoes it; `finish_erasure` does the rest.

    When this returns nothing of hers is used any more, and the erasure may be acknowledged. Asked again, it gives the
    same answer.

    Parameters
    ----------
    place
        Where she is known.
    customer_id
        Her id in the shop.
    at
        Now.

    Returns
    -------
        Her tombstone; None for somebody whom the store does not know, or no longer: there is nothing to erase.

    Raises
    ------
    StoreError
        The database or the file beside it cannot be written. The erasure must not be acknowledged.
    """
    with place.transaction() as conn:
        known = find_subject(conn, place.keys.lookup(customer_id))
        if known is None:
            return None
        if known.state == "active":
            asked = open_request(
                conn, known.subject_ref, "erasure", at=at, request_id=erasure_id(place.keys, customer_id)
            )
            start_request(conn, asked.request_id)
            stone = begin_erasure(conn, place.keys, known.subject_ref, at=at)
        else:
            stone = next(one for one in read_tombstones(conn) if one.subject_ref == known.subject_ref)
    keep_outside(place.home, [stone])
    return stone


def begin_erasure(conn: Connection, keys: Keys, subject_ref: bytes, *, at: datetime) -> Tombstone:
    """Do the first step within a transaction: from its commit on nothing of hers is used.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    at
        When she asked.

    Raises
    ------
    UnknownSubject
        There is no such active person.
    """
    # State first: with it her row is locked, and no grant can come between the last events and the end.
    change_epoch(conn, subject_ref, state="erasing")
    record_erasure(conn, keys, subject_ref, at=at)
    stone = Tombstone(subject_ref, head(conn).seq, at)
    set_tombstone(conn, stone)
    return stone


def finish_erasure(place: Installation, subject_ref: bytes, *, at: datetime) -> None:
    """Remove everything of somebody who is being erased; may be called any number of times, after any crash.

    Raises
    ------
    StoreError
        A database is locked or damaged, or a file cannot be removed. She stays `erasing`; call it again.
    """
    # Called for in each transaction: a scrub that another process ended before it must not have answered the call.
    with place.decisions() as log:
        call_for_scrub(place.home)
        cut_decisions_of(log, subject_ref)
    with place.transaction() as conn:
        call_for_scrub(place.home)
        remove_exports(conn, place.home, subject_ref)
        _purge(conn, place.keys, subject_ref, at=at)


def _purge(conn: Connection, keys: Keys, subject_ref: bytes, *, at: datetime) -> None:
    """Delete every row of hers and what could lead back to her, all or nothing."""
    require_writing(conn)
    if conn.dialect.name == "sqlite":
        conn.exec_driver_sql("PRAGMA secure_delete = ON")
    # The last moment at which her id is known.
    customer_id = customer_id_of(conn, keys, subject_ref)
    if customer_id is not None:
        forget_answers_of(conn, keys, customer_id)
    delete_interactions(conn, subject_ref)
    delete_wishes(conn, subject_ref)
    forget_requests(conn, subject_ref, at=at)
    # Refuses somebody who is active: nobody asked for her erasure then.
    shred(conn, subject_ref)
    conn.execute(update(subject).where(subject.c.subject_ref == subject_ref).values(state="erased"))


def unfinished(conn: Connection) -> list[bytes]:
    """Give those whose erasure was begun and not ended."""
    # From the tombstones, which are few.
    query = select(subject.c.subject_ref).join_from(tombstone, subject).where(subject.c.state == "erasing")
    return list(conn.execute(query.order_by(subject.c.subject_ref)).scalars())


def sweep(place: Installation, *, since: datetime) -> None:
    """Remove what arrived late for people erased from `since` on: a decision still queued, an event under way.

    Raises
    ------
    StoreError
        A database is locked or damaged; call it again.
    """
    with place.transaction() as conn:
        refs = [stone.subject_ref for stone in read_tombstones(conn, since=since)]
        gone = sum(
            conn.execute(delete(table).where(table.c.subject_ref.in_(part))).rowcount
            for part in chunks(refs)
            for table in (interaction, preference, event_exclusion)
        )
        if gone:
            call_for_scrub(place.home)
    if refs:
        with place.decisions() as log:
            if sum(cut_decisions_of(log, ref) for ref in refs):
                call_for_scrub(place.home)
