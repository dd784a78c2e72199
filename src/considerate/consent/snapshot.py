"""Who may be learnt from, at one position of the ledger and one moment: what a fit rests on."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import Connection, Engine, func, select

from considerate.consent.decision import Policy, Reason, SubjectFacts, effective
from considerate.consent.events import GENESIS, Head
from considerate.consent.ledger import head
from considerate.consent.projection import consents_of
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError
from considerate.store.engine import reading
from considerate.store.keys import Keys
from considerate.store.tables import consent_current, consent_event, subject


@dataclass(frozen=True, slots=True)
class Standing:
    """What one customer allows a fit to use.

    Attributes
    ----------
    training
        `ok`, or the first reason why nothing of this customer may be learnt from.
    in_store
        Rows from the till may be used too.
    sensitive
        Rows on sensitive items may be used too.
    """

    training: Reason
    in_store: bool = False
    sensitive: bool = False


UNKNOWN = Standing(Reason.NO_CONSENT)
"""Standing of a customer without any record. No record means no."""
ASSUMED = Standing(Reason.OK, in_store=True, sensitive=False)
"""Standing of everybody in a public benchmark."""


@dataclass(frozen=True, slots=True)
class ConsentSnapshot:
    """Everybody's standing at one moment.

    Attributes
    ----------
    source
        `ledger`, or `assumed` for public benchmarks.
    at
        The moment, None where consent is assumed.
    head
        Last event of the ledger that counts.
    unknown_age
        What an unknown age counted as.
    """

    source: Literal["ledger", "assumed"]
    at: datetime | None
    head: Head
    unknown_age: Literal["deny", "adult"]
    _standings: Mapping[bytes, Standing]
    _lookup: Callable[[str], bytes] | None

    def standings(self, customer_ids: Sequence[str]) -> list[Standing]:
        """Give the standing of each customer: a shop's id, or the hex of a subject reference (rows of the store)."""
        if self._lookup is None:
            return [ASSUMED] * len(customer_ids)
        return [self._standing(customer, self._lookup) for customer in customer_ids]

    def _standing(self, customer: str, lookup: Callable[[str], bytes]) -> Standing:
        # References are random: a shop's own id is never one by chance, and if it is none its lookup decides.
        reference = _as_reference(customer)
        if reference is not None and reference in self._standings:
            return self._standings[reference]
        return self._standings.get(lookup(customer), UNKNOWN)


def snapshot_assumed() -> ConsentSnapshot:
    """Assume that everybody is adult and allows everything but the use of sensitive items; reads no store."""
    return ConsentSnapshot("assumed", None, Head(0, GENESIS), "adult", {}, None)


def snapshot_from_ledger(
    engine: Engine, keys: Keys, at: datetime, policy: Policy, *, seq: int | None = None
) -> ConsentSnapshot:
    """Read everybody's standing from the ledger itself.

    Parameters
    ----------
    engine
        The store.
    keys
        Of this installation.
    at
        The moment for which expiry is judged.
    policy
        Of the shop.
    seq
        Last event that counts; the end of the ledger if None. Age, objection and restriction are those of now.

    Raises
    ------
    ConsentError
        The ledger does not reach `seq`.
    """
    with reading(engine) as conn:
        end = _head_at(conn, seq)
        rows = _last_events(conn, end.seq)
    standings: dict[bytes, Standing] = {}
    for (reference, lookup, *_), facts in _facts(rows):
        training = effective(facts, Purpose.TRAIN_MODELS, at=at, policy=policy)
        standing = Standing(
            training.reason,
            in_store=effective(facts, Purpose.LINK_IN_STORE, at=at, policy=policy).allowed,
            sensitive=effective(facts, Purpose.SENSITIVE_CATEGORIES, at=at, policy=policy).allowed,
        )
        standings[reference] = standing
        if lookup is not None:
            standings[lookup] = standing
    return ConsentSnapshot("ledger", at, end, policy.unknown_age, standings, keys.lookup)


def _head_at(conn: Connection, seq: int | None) -> Head:
    end = head(conn)
    if seq is None or seq == end.seq:
        return end
    found = conn.execute(select(consent_event.c.hash).where(consent_event.c.seq == seq)).scalar()
    if found is None:
        if seq == 0:
            return Head(0, GENESIS)
        raise ConsentError(f"ledger position {seq}: the ledger ends at {end.seq}; name a position from 0 to {end.seq}")
    return Head(seq, found)


_SUBJECT = (
    subject.c.subject_ref,
    subject.c.lookup_hmac,
    subject.c.age_band,
    subject.c.state,
    subject.c.objected_at,
    subject.c.restricted_at,
)
_CONSENT = tuple(consent_event.c[column.name] for column in consent_current.columns if column.name != "subject_ref")


def _last_events(conn: Connection, seq: int) -> list[Any]:
    last = (
        select(func.max(consent_event.c.seq))
        .where(consent_event.c.seq <= seq)
        .group_by(consent_event.c.subject_ref, consent_event.c.purpose_id)
    )
    query = (
        select(*_SUBJECT, *_CONSENT)
        .join_from(consent_event, subject, consent_event.c.subject_ref == subject.c.subject_ref)
        .where(consent_event.c.seq.in_(last))
        .order_by(subject.c.subject_ref)
    )
    return [tuple(row) for row in conn.execute(query)]


def _facts(rows: Sequence[Any]) -> list[tuple[Any, SubjectFacts]]:
    grouped: dict[bytes, tuple[Any, list[Any]]] = {}
    width = len(_SUBJECT)
    for row in rows:
        grouped.setdefault(row[0], (row[:width], []))[1].append(row[width:])
    return [
        (
            who,
            SubjectFacts(
                consents=consents_of(consents),
                age_band=who[2],
                state=who[3],
                objected=who[4] is not None,
                restricted=who[5] is not None,
            ),
        )
        for who, consents in grouped.values()
    ]


def _as_reference(customer: str) -> bytes | None:
    if len(customer) != 32:
        return None
    try:
        return bytes.fromhex(customer)
    except ValueError:
        return None
