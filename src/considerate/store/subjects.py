"""Subjects: the people behind customer ids, known to every other table by a random reference alone."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, get_args

from sqlalchemy import Connection, bindparam, insert, select, update

from considerate.errors import StoreError
from considerate.store.engine import require_writing
from considerate.store.keys import Keys, seal, unseal
from considerate.store.statements import chunks, insert_new
from considerate.store.tables import from_micros, key_check, subject, subject_key, to_micros

AgeBand = Literal["unknown", "u13", "13_15", "16_17", "adult"]
State = Literal["active", "erasing", "erased"]
NO_REF = bytes(16)
"""A reference that no one has: what is looked up with it is not there, and answers about strangers are no quicker."""
AGE_BANDS: tuple[str, ...] = get_args(AgeBand)
MINOR_BANDS: tuple[str, ...] = ("u13", "13_15", "16_17")


@dataclass(frozen=True, slots=True)
class Subject:
    """One person, without any name or id of the shop.

    Attributes
    ----------
    subject_ref
        16 random bytes (UUID version 4).
    state
        Only an `active` subject can allow anything.
    age_band
        `adult` is the only band that may be profiled; `unknown` is decided by policy.
    consent_epoch
        Rises with every event that changes what is allowed: part of the key of every cached result.
    objected_at, restricted_at
        Since when the person objects (GDPR 21) or has use restricted (GDPR 18), None where not.
    """

    subject_ref: bytes
    state: State
    age_band: AgeBand
    consent_epoch: int
    objected_at: datetime | None
    restricted_at: datetime | None


_COLUMNS = (
    subject.c.subject_ref,
    subject.c.state,
    subject.c.age_band,
    subject.c.consent_epoch,
    subject.c.objected_at,
    subject.c.restricted_at,
)
_BY_LOOKUP = select(*_COLUMNS).where(subject.c.lookup_hmac == bindparam("lookup"))
_BY_REF = select(*_COLUMNS).where(subject.c.subject_ref == bindparam("subject_ref"))


def find_subject(conn: Connection, lookup: bytes) -> Subject | None:
    """Find the subject behind `Keys.lookup(customer_id)`; None where the store knows nobody of that id."""
    row = conn.execute(_BY_LOOKUP, {"lookup": lookup}).first()
    return None if row is None else subject_of_row(row)


def reference_of(conn: Connection, lookup: bytes) -> bytes:
    """Give the reference of a subject, `NO_REF` where the store knows nobody of that id."""
    known = find_subject(conn, lookup)
    return NO_REF if known is None else known.subject_ref


def subject_by_ref(conn: Connection, subject_ref: bytes) -> Subject | None:
    """Find a subject by its reference."""
    row = conn.execute(_BY_REF, {"subject_ref": subject_ref}).first()
    return None if row is None else subject_of_row(row)


def inactive_subjects(conn: Connection, refs: Sequence[bytes]) -> set[bytes]:
    """Give those of `refs` who are being erased, or are."""
    found: set[bytes] = set()
    for part in chunks(refs):
        query = select(subject.c.subject_ref).where(subject.c.subject_ref.in_(part), subject.c.state != "active")
        found.update(conn.execute(query).scalars())
    return found


def ensure_subjects(
    conn: Connection,
    keys: Keys,
    customer_ids: Sequence[str],
    *,
    age_bands: Mapping[str, str] | None = None,
    at: datetime | None = None,
) -> dict[str, bytes]:
    """Give the subject reference of every customer id, making the subjects that are missing.

    Those of whom `age_bands` alone speaks are given too if the store knows them, and not made if it does not.

    Parameters
    ----------
    conn
        From `store.engine.writing`, or without `age_bands` from `recording`.
    keys
        Of this installation.
    customer_ids
        Ids of the shop; repeated ones are taken once.
    age_bands
        Customer id -> age band where the shop knows it. A band that differs from the stored one replaces it and
        counts as a change of what is allowed. What a minor has consented to ends with it: whoever brings bands calls
        `consent.minors.end_grants_of_minors` in the same transaction.
    at
        When the shop said so; now if None.

    Raises
    ------
    StoreError
        An unknown age band, or the store belongs to other keys.
    """
    # A new band decides what is allowed; to become known decides nothing.
    require_writing(conn, shared=not age_bands)
    bind_keys(conn, keys)
    bands = {customer: _known_band(band) for customer, band in (age_bands or {}).items()}
    every = list(dict.fromkeys([*customer_ids, *bands]))
    found, differing = _known_refs(conn, keys, every, bands)
    missing = [customer for customer in dict.fromkeys(customer_ids) if customer not in found]
    refs = found | _insert_subjects(conn, keys, missing, bands, at or datetime.now(UTC))
    _correct_bands(conn, differing)
    return {customer: refs[customer] for customer in every if customer in refs}


def customer_id_of(conn: Connection, keys: Keys, subject_ref: bytes) -> str | None:
    """Read a subject's id in the shop back, for an export; None for an erased or unknown subject."""
    query = (
        select(subject.c.customer_id_enc, subject_key.c.wrapped_key)
        .join_from(subject, subject_key)
        .where(subject.c.subject_ref == subject_ref)
    )
    row = conn.execute(query).first()
    if row is None or row.customer_id_enc is None:
        return None
    key = keys.unwrap(row.wrapped_key, subject_ref)
    return unseal(key, row.customer_id_enc, subject_ref).decode("utf-8", "surrogatepass")


def subject_keys(conn: Connection, keys: Keys, refs: Sequence[bytes]) -> dict[bytes, bytes]:
    """Give the data keys of subjects; those that have none (erased, unknown) are left out."""
    opened: dict[bytes, bytes] = {}
    for part in chunks(list(dict.fromkeys(refs))):
        query = select(subject_key.c.subject_ref, subject_key.c.wrapped_key).where(subject_key.c.subject_ref.in_(part))
        opened.update({ref: keys.unwrap(wrapped, ref) for ref, wrapped in conn.execute(query)})
    return opened


def bind_keys(conn: Connection, keys: Keys) -> None:
    """Tie the store to these keys at its first write.

    Raises
    ------
    StoreError
        The store was written under another master key: under these its customers would all look new.
    """
    require_writing(conn, shared=True)
    if not check_keys(conn, keys):
        conn.execute(insert_new(conn, key_check), {"id": 1, "fingerprint": keys.fingerprint})


def check_keys(conn: Connection, keys: Keys) -> bool:
    """Say whether the store is tied to these keys; False while nothing has been written.

    Raises
    ------
    StoreError
        The store was written under another master key.
    """
    known = conn.execute(select(key_check.c.fingerprint)).scalar()
    if known is not None and known != keys.fingerprint:
        raise StoreError(
            f"master key {keys.fingerprint}: this database was written under master key {known}; "
            "restore the keys folder that belongs to it"
        )
    return known is not None


def _known_refs(
    conn: Connection, keys: Keys, customer_ids: Sequence[str], bands: Mapping[str, str]
) -> tuple[dict[str, bytes], dict[bytes, str]]:
    """Give customer id -> reference of those whom the store knows, and reference -> band where it has another."""
    found: dict[str, bytes] = {}
    differing: dict[bytes, str] = {}
    wanted = select(subject.c.lookup_hmac, subject.c.subject_ref, subject.c.age_band)
    for part in chunks(customer_ids):
        lookups = {keys.lookup(customer): customer for customer in part}
        for lookup, ref, known in conn.execute(wanted.where(subject.c.lookup_hmac.in_(list(lookups)))):
            customer = lookups[lookup]
            found[customer] = ref
            if bands.get(customer, known) != known:
                differing[ref] = bands[customer]
    return found, differing


def _insert_subjects(
    conn: Connection, keys: Keys, missing: Sequence[str], bands: Mapping[str, str], at: datetime
) -> dict[str, bytes]:
    made: dict[str, bytes] = {}
    subjects, wrapped = [], []
    created = to_micros(at)
    for customer in missing:
        ref = new_ref()
        key, wrapped_key = keys.new_subject_key(ref)
        made[customer] = ref
        band = bands.get(customer)
        subjects.append(
            {
                "subject_ref": ref,
                "lookup_hmac": keys.lookup(customer),
                "customer_id_enc": seal(key, customer.encode("utf-8", "surrogatepass"), ref),
                "age_band": band or "unknown",
                "age_source": "shop" if band else "none",
                "state": "active",
                "consent_epoch": 0,
                "created_at": created,
            }
        )
        wrapped.append({"subject_ref": ref, "wrapped_key": wrapped_key})
    others = _insert_new_subjects(conn, subjects)
    if own := [row for row in wrapped if row["subject_ref"] not in others]:
        conn.execute(insert(subject_key), own)
    return {customer: others.get(ref, ref) for customer, ref in made.items()}


def _insert_new_subjects(conn: Connection, rows: Sequence[dict[str, Any]]) -> dict[bytes, bytes]:
    """Insert subjects; give our reference -> the one in force for those whom another recorder made meanwhile."""
    if not rows:
        return {}
    # In one order for everybody, so that two recorders never wait for each other.
    conn.execute(insert_new(conn, subject), sorted(rows, key=lambda row: row["lookup_hmac"]))
    others: dict[bytes, bytes] = {}
    for part in chunks(rows):
        ours = {row["lookup_hmac"]: row["subject_ref"] for row in part}
        query = select(subject.c.lookup_hmac, subject.c.subject_ref).where(subject.c.lookup_hmac.in_(list(ours)))
        others.update({ours[lookup]: ref for lookup, ref in conn.execute(query) if ref != ours[lookup]})
    return others


def _correct_bands(conn: Connection, bands: Mapping[bytes, str]) -> None:
    if not bands:
        return
    changed = (
        update(subject)
        .where(subject.c.subject_ref == bindparam("ref"))
        # A new band can end or allow consent, so cached results of the old one must not be served.
        .values(age_band=bindparam("band"), age_source="shop", consent_epoch=subject.c.consent_epoch + 1)
    )
    conn.execute(changed, [{"ref": ref, "band": band} for ref, band in bands.items()])


def new_ref() -> bytes:
    """Give 16 fresh bytes in the form of a UUID version 4."""
    raw = bytearray(os.urandom(16))
    raw[6] = raw[6] & 0x0F | 0x40
    raw[8] = raw[8] & 0x3F | 0x80
    return bytes(raw)


def _known_band(band: str) -> str:
    if band not in AGE_BANDS:
        raise StoreError(f"age_band {band!r}: must be one of {', '.join(AGE_BANDS)}; correct the customer table")
    return band


def subject_of_row(row: Sequence[Any]) -> Subject:
    """Read the columns of `Subject`, in its order."""
    # The table's check constraints hold state and age band to their types.
    ref, state, band, epoch, objected, restricted = row
    return Subject(
        subject_ref=ref,
        state=state,
        age_band=band,
        consent_epoch=epoch,
        objected_at=None if objected is None else from_micros(objected),
        restricted_at=None if restricted is None else from_micros(restricted),
    )
