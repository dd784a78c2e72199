"""What repeated requests were answered: kept in the transaction that did what was asked, for a day.

A request that carries an Idempotency-Key is done once. Caller, key and request stand here as pseudonyms alone, and an
answer names nobody; it goes with the customer at her erasure.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, select

from considerate.store.engine import require_writing
from considerate.store.keys import Keys
from considerate.store.tables import from_micros, idempotent_answer, to_micros

T = TypeVar("T")

KEPT = timedelta(hours=24)
"""How long an answer stands for its key."""

CUSTOMER, SERVICE = "customer", "service"


class AnsweredBefore(Exception):
    """The request was done before, and is not done again.

    Parameters
    ----------
    status, answer
        What was kept.
    """

    def __init__(self, status: int, answer: str) -> None:
        super().__init__("done before under the same key")
        self.status, self.answer = status, answer


class KeyReused(Exception):
    """The key stands for another request of the same caller."""


@dataclass(frozen=True, slots=True)
class Repeatable:
    """A request that may arrive more than once and is to be done once.

    Attributes
    ----------
    kind
        `CUSTOMER` or `SERVICE`: a customer who is called like a till is not the till.
    caller
        The customer's id, or the name of the calling service.
    key
        The Idempotency-Key.
    request
        Digest of everything asked for, hex.
    """

    kind: str
    caller: str
    key: str
    request: str


@dataclass(frozen=True, slots=True)
class Once(Generic[T]):
    """A repeatable request and how its outcome is kept.

    Attributes
    ----------
    asked
        The request.
    answer
        Writes the outcome down; without the id of anybody.
    status
        HTTP status of the answer.
    """

    asked: Repeatable
    answer: Callable[[T], str]
    status: int = 200


_FOUND = select(
    idempotent_answer.c.request_hash,
    idempotent_answer.c.status,
    idempotent_answer.c.answer,
    idempotent_answer.c.created_at,
).where(idempotent_answer.c.caller == bindparam("caller"), idempotent_answer.c.key_hash == bindparam("key_hash"))


def caller_pseudonym(keys: Keys, kind: str, caller: str) -> bytes:
    """Give the 32 bytes that stand for a caller in this table, and in no other."""
    return keys.pseudonym(f"answers.{kind}", caller).encode()


def do_once(conn: Connection, keys: Keys, once: Once[Any] | None, act: Callable[[], T], *, at: datetime) -> T:
    """Do what is asked and keep its answer, in one transaction; None asks for no such care.

    An outcome of None means that nothing was written; then nothing is kept either. Two transactions that do the same
    request at once cannot both commit: the key of the row is unique.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    act
        Does it, through `conn`.
    at
        Now.

    Raises
    ------
    AnsweredBefore
        It was done within the last day.
    KeyReused
        Its key stands for another request.
    """
    if once is None:
        return act()
    require_writing(conn)
    asked = once.asked
    place = {
        "caller": caller_pseudonym(keys, asked.kind, asked.caller),
        # Keyed too: a caller may choose a key that says something, such as an order number.
        "key_hash": keys.pseudonym("answers.key", asked.key).encode(),
    }
    request_hash = keys.pseudonym("answers.request", asked.request).encode()
    found = conn.execute(_FOUND, place).first()
    if found is not None and at < from_micros(found.created_at) + KEPT:
        if found.request_hash != request_hash:
            raise KeyReused()
        raise AnsweredBefore(found.status, found.answer)
    outcome = act()
    if outcome is not None:
        if found is not None:
            purge_answers(conn, at=at)
        kept = {"status": once.status, "answer": once.answer(outcome), "created_at": to_micros(at)}
        conn.execute(insert(idempotent_answer), {**place, "request_hash": request_hash, **kept})
    return outcome


def forget_answers_of(conn: Connection, keys: Keys, customer_id: str) -> int:
    """Delete every answer kept for a customer, at her erasure; give how many there were."""
    require_writing(conn)
    theirs = idempotent_answer.c.caller == caller_pseudonym(keys, CUSTOMER, customer_id)
    return conn.execute(delete(idempotent_answer).where(theirs)).rowcount


def purge_answers(conn: Connection, *, at: datetime) -> int:
    """Delete answers whose day is over; give how many there were."""
    require_writing(conn)
    over = idempotent_answer.c.created_at <= to_micros(at - KEPT)
    return conn.execute(delete(idempotent_answer).where(over)).rowcount
