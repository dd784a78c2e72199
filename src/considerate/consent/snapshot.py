"""Who may be learnt from, at one position of the ledger and one moment: what a fit rests on."""

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, Engine, func, select, true

from considerate.consent.checkpoints import head_at
from considerate.consent.decision import Policy, Reason, SubjectFacts, effective
from considerate.consent.events import GENESIS, Head
from considerate.consent.ledger import head
from considerate.consent.projection import consents_of
from considerate.consent.purposes import Purpose
from considerate.store.engine import reading
from considerate.store.keys import Keys
from considerate.store.statements import chunks
from considerate.store.tables import (
    consent_current,
    consent_event,
    event_exclusion,
    from_micros,
    subject,
    to_micros,
    tombstone,
)


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
    erased
        The customer is being erased, or was; `training` is not `ok` then.
    excluded
        Order lines that she wishes not to count.
    """

    training: Reason
    in_store: bool = False
    sensitive: bool = False
    erased: bool = False
    excluded: frozenset[str] = frozenset()

    @property
    def use(self) -> bytes:
        """How far she may be learnt from, as `digest_of` counts it; empty where not at all."""
        return bytes((self.in_store, self.sensitive)) if self.training is Reason.OK else b""


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
    digest
        Keyed digest of who may be learnt from, and how far (see `digest_of`); "" where consent is assumed.
    events_after
        How many events of the ledger, later than `head`, were there already and do not count.
    """

    source: Literal["ledger", "assumed"]
    at: datetime | None
    head: Head
    unknown_age: Literal["deny", "adult"]
    _standings: Mapping[bytes, Standing]
    _lookup: Callable[[str], bytes] | None
    digest: str = ""
    events_after: int = 0

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


class Person(NamedTuple):
    """One customer in the ledger, as far as a fit is concerned."""

    lookup: bytes | None
    facts: SubjectFacts
    standing: Standing


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
        Last event that counts; the end of the ledger if None. Age, objection, restriction, erasure and the purchases
        that are not to count are those of now, whatever the clock says.

    Raises
    ------
    ConsentError
        The ledger does not reach `seq`.
    """
    with reading(engine) as conn:
        end, events_after = head_at(conn, seq), 0 if seq is None else head(conn).seq - seq
        people = people_at(conn, end.seq, at, policy)
        excluded = _excluded_lines(conn)
    standings: dict[bytes, Standing] = {}
    for reference, (lookup, _, standing) in people.items():
        if reference in excluded:
            standing = replace(standing, excluded=frozenset(excluded[reference]))  # noqa: PLW2901 - the same standing
        standings[reference] = standing
        if lookup is not None:
            standings[lookup] = standing
    digest = digest_of(people, keys)
    return ConsentSnapshot("ledger", at, end, policy.unknown_age, standings, keys.lookup, digest, events_after)


def digest_of(people: Mapping[bytes, Person], keys: Keys) -> str:
    """Give 32 hex digits that stand for the set of people who may be learnt from, and how far each may be.

    Whoever has the store and its keys can compute them anew for a position of the ledger; to others they say nothing.
    """
    hasher = hashlib.sha256()
    for reference in sorted(people):
        if use := people[reference].standing.use:
            hasher.update(reference + use)
    return keys.pseudonym("consent-snapshot", hasher.hexdigest())


def people_at(
    conn: Connection,
    seq: int,
    at: datetime,
    policy: Policy,
    *,
    recalled: bool = False,
    only: Collection[bytes] | None = None,
) -> dict[bytes, Person]:
    """Judge everybody who is in the ledger up to `seq`, by subject reference.

    Parameters
    ----------
    conn
        From `store.engine.reading` or `writing`.
    seq, at, policy
        As in `snapshot_from_ledger`.
    recalled
        Leave out of account each objection, restriction, erasure and signal later than `at`, to recall how people
        stood then; only their age is always that of now. Never for a fit: another machine's clock may run ahead.
    only
        Judge these people alone.
    """
    later_than = to_micros(at) if recalled else None
    people: dict[bytes, Person] = {}
    for who, facts in _facts(_last_events(conn, seq, only), later_than):
        standing = Standing(
            effective(facts, Purpose.TRAIN_MODELS, at=at, policy=policy).reason,
            in_store=effective(facts, Purpose.LINK_IN_STORE, at=at, policy=policy).allowed,
            sensitive=effective(facts, Purpose.SENSITIVE_CATEGORIES, at=at, policy=policy).allowed,
            erased=facts.state != "active",
        )
        people[who.subject_ref] = Person(who.lookup_hmac, facts, standing)
    return people


_SUBJECT = (
    subject.c.subject_ref,
    subject.c.lookup_hmac,
    subject.c.age_band,
    subject.c.state,
    subject.c.objected_at,
    subject.c.restricted_at,
    subject.c.gpc_at,
    tombstone.c.erased_at,
)
_CONSENT = tuple(consent_event.c[column.name] for column in consent_current.columns if column.name != "subject_ref")


def _last_events(conn: Connection, seq: int, only: Collection[bytes] | None) -> list[Any]:
    rows: list[Any] = []
    for part in [None] if only is None else chunks(sorted(only)):
        theirs = true() if part is None else consent_event.c.subject_ref.in_(part)
        last = (
            select(func.max(consent_event.c.seq))
            .where(consent_event.c.seq <= seq, theirs)
            .group_by(consent_event.c.subject_ref, consent_event.c.purpose_id)
        )
        query = (
            select(*_SUBJECT, *_CONSENT)
            .join_from(consent_event, subject, consent_event.c.subject_ref == subject.c.subject_ref)
            .outerjoin(tombstone, tombstone.c.subject_ref == subject.c.subject_ref)
            .where(consent_event.c.seq.in_(last))
        )
        rows += conn.execute(query)
    return rows


def _facts(rows: Sequence[Any], later_than: int | None) -> list[tuple[Any, SubjectFacts]]:
    grouped: dict[bytes, tuple[Any, list[Any]]] = {}
    for row in rows:
        grouped.setdefault(row.subject_ref, (row, []))[1].append(tuple(row)[len(_SUBJECT) :])

    def since(micros: int | None) -> int | None:
        return None if micros is None or (later_than is not None and micros > later_than) else micros

    def erased_later(who: Any) -> bool:
        return who.erased_at is not None and since(who.erased_at) is None

    return [
        (
            who,
            SubjectFacts(
                consents=consents_of(consents),
                # Erasure takes the age too; only adults stay in this ledger with a grant, so it was most likely that.
                age_band="adult" if erased_later(who) else who.age_band,
                state="active" if erased_later(who) else who.state,
                objected=since(who.objected_at) is not None,
                restricted=since(who.restricted_at) is not None,
                gpc_at=None if since(who.gpc_at) is None else from_micros(who.gpc_at),
            ),
        )
        for who, consents in grouped.values()
    ]


def _excluded_lines(conn: Connection) -> dict[bytes, list[str]]:
    excluded: dict[bytes, list[str]] = {}
    for reference, line in conn.execute(select(event_exclusion.c.subject_ref, event_exclusion.c.order_line)):
        excluded.setdefault(reference, []).append(line)
    return excluded


def _as_reference(customer: str) -> bytes | None:
    try:
        return bytes.fromhex(customer) if len(customer) == 32 else None
    except ValueError:
        return None
