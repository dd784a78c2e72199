"""The ledger to the outside: a customer's own part of it, signed receipts, and what a consent platform brings in."""

import json
import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import Connection, select

from considerate.consent.decision import ConsentState, Policy
from considerate.consent.events import HASHED, canonical_row
from considerate.consent.importing import take_in
from considerate.consent.outcomes import Outcome
from considerate.consent.receipts import find_row, record_of, sign_receipt
from considerate.consent.records import ConsentRecord, RejectedRow
from considerate.consent.restoring import lost_until
from considerate.errors import StoreError
from considerate.privacy.kept_wishes import keep_minors
from considerate.serving.schemas_receipts import HistoryEntry
from considerate.settings.service import ServiceConfig
from considerate.store.keys import Keys, unseal
from considerate.store.signing import SigningKey, load_signing_key
from considerate.store.subjects import MINOR_BANDS, find_subject, reference_of, subject_keys
from considerate.store.tables import consent_event, consent_evidence, from_micros

log = logging.getLogger(__name__)


class Store(Protocol):
    """The store of a worker."""

    @property
    def reading(self) -> Callable[[], AbstractContextManager[tuple[Connection, Keys]]]:
        """Opens a connection that reads."""

    @property
    def writing(self) -> Callable[[], AbstractContextManager[tuple[Connection, Keys]]]:
        """Opens a transaction that holds the write lock."""


PLATFORM = "consent platform"


class Proofs:
    """Gives each customer what is hers of the ledger; every method raises StoreError where the store cannot answer.

    Parameters
    ----------
    store
        The worker's own.
    keys_folder
        Of the installation: holds the signing key, and lies where the ages of minors are noted outside the database.
    config
        Names the controller on a receipt, and how long events are kept.
    """

    def __init__(self, store: Store, keys_folder: Path, config: ServiceConfig) -> None:
        self._store, self._keys_folder, self._config = store, keys_folder, config
        self._key: SigningKey | None = None

    def receipt(self, customer_id: str, receipt_id: UUID) -> bytes | None:
        """Give a receipt as it is to be kept; None for one that is unknown, and for somebody else's.

        Raises
        ------
        ConsentError
            The event is not as it was recorded: nothing is signed.
        """
        with self._store.reading() as (conn, keys):
            row = find_row(conn, reference_of(conn, keys.lookup(customer_id)), receipt_id.bytes)
            if row is None:
                return None
            days = self._config.retention.events_days
            record = record_of(conn, row, self._config.controller, retention_days=days)
        return sign_receipt(record, self._signing_key())

    def history(self, customer_id: str, *, limit: int, before: int | None) -> list[HistoryEntry]:
        """Give at most `limit` of her ledger events, newest first; of those before position `before` if given."""
        with self._store.reading() as (conn, keys):
            ref = reference_of(conn, keys.lookup(customer_id))
            event = consent_event.c
            query = (
                select(consent_event, consent_evidence.c.sealed)
                .join_from(consent_event, consent_evidence, isouter=True)
                .where(event.subject_ref == ref)
                .order_by(event.seq.desc())
                .limit(limit)
            )
            rows = conn.execute(query if before is None else query.where(event.seq < before)).mappings().all()
            sealed = any(row["sealed"] is not None for row in rows)
            key = subject_keys(conn, keys, [ref]).get(ref) if sealed else None
        return [_entry(row, key) for row in rows]

    def take_in(
        self, records: Sequence[ConsentRecord], rejected: Sequence[RejectedRow], policy: Policy, *, at: datetime
    ) -> list[tuple[int, Outcome, UUID | None]]:
        """Record what was decided in the shop's consent platform; give row, outcome and receipt id of each record."""
        home = self._keys_folder.parent
        lost = None
        # A no is taken in whatever was lost.
        if any(one.state is ConsentState.GIVEN for one in records):
            try:
                lost = lost_until(home / "checkpoints")
            except StoreError as error:
                log.error("the consent platform's yes is not recorded: %s", error)
                raise
        with self._store.writing() as (conn, keys):
            done = take_in(
                conn,
                keys,
                records,
                rejected,
                policy=policy,
                lost_until=lost,
                source=PLATFORM,
                method="api",
                at=at,
            )
            said = [(one.customer_id, one.age_band) for one in records]
            said += [(row.values["customer_id"], row.values.get("age_band")) for row in rejected]
            found = [find_subject(conn, keys.lookup(customer)) for customer, band in said if band in MINOR_BANDS]
        if minors := [who.subject_ref for who in found if who is not None]:
            with self._store.reading() as (conn, _):
                keep_minors(conn, home, at=at, among=minors)
        return [
            (one.record.row, one.outcome, None if one.recorded is None else UUID(bytes=one.recorded.event_id))
            for one in done
        ]

    def _signing_key(self) -> SigningKey:
        if self._key is None:
            self._key = load_signing_key(self._keys_folder, create=True)
        return self._key


def _entry(row: Any, key: bytes | None) -> HistoryEntry:
    expires, sealed = row["expires_at"], row["sealed"]
    return HistoryEntry(
        seq=row["seq"],
        receipt_id=UUID(bytes=row["event_id"]),
        purpose=row["purpose_id"],
        state=row["state"],
        notice_id=row["notice_id"],
        notice_version=row["notice_version"],
        locale=row["locale"],
        method=row["method"],
        decided_at=from_micros(row["event_time"]),
        recorded_at=from_micros(row["recorded_at"]),
        expires_at=None if expires is None else from_micros(expires),
        evidence=None if sealed is None or key is None else json.loads(unseal(key, sealed, row["event_id"])),
        event=canonical_row([row[name] for name in HASHED]).decode(),
        prev_hash=row["prev_hash"].hex(),
        hash=row["hash"].hex(),
    )
