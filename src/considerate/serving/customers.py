"""The store as a request sees it: who is this, what do they allow, what did they do. Only the catalogue is cached."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from sqlalchemy import Connection, Engine, make_url

from considerate.consent.decision import Policy, SubjectFacts
from considerate.consent.events import Recorded
from considerate.consent.facts import read_facts
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import NoticeShown
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Channel, History
from considerate.store.catalogue import catalogue_version, read_catalogue
from considerate.store.engine import open_store, reading, writing
from considerate.store.interactions import HistoryReader, NewEvent, append_events
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import check_keys, ensure_subjects, find_subject

log = logging.getLogger(__name__)

Status = Literal["stored", "duplicate"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A customer as the store knows them now.

    Attributes
    ----------
    subject_ref
        The person's random reference, None for a customer the store has never met.
    facts
        What a decision looks at.
    consent_epoch
        Rises with every change of what is allowed.
    """

    subject_ref: bytes | None
    facts: SubjectFacts
    consent_epoch: int


class Customers(Protocol):
    """Consent, history and events. Every method but `catalogue` raises StoreError where the store cannot answer."""

    def standing(self, customer_id: str) -> Standing:
        """Read who this is and what they allow, from the authority, now."""

    def history(self, standing: Standing, index: Mapping[str, int], channels: Collection[Channel]) -> History:
        """Read what they did; only after consent was found."""

    def catalogue(self) -> Catalogue | None:
        """Give the catalogue as of now, or as last read; None where it never could be read."""

    def record_own(
        self, customer_id: str, events: Sequence[NewEvent], allows: Callable[[SubjectFacts], bool], *, at: datetime
    ) -> Sequence[Status] | None:
        """Store events of one customer if `allows` says so of what holds at the moment of writing; else None."""

    def record(self, events: Sequence[tuple[str, NewEvent]], *, at: datetime) -> Sequence[Status]:
        """Store events of many customers, by customer id; all or none."""

    def grant(
        self, customer_id: str, purpose: Purpose, shown: NoticeShown, policy: Policy, *, at: datetime
    ) -> Recorded:
        """Record a yes."""

    def withdraw(self, customer_id: str, purposes: Sequence[Purpose], *, at: datetime) -> list[Recorded] | None:
        """Record the end of a yes; None for a customer the store has never met."""


class StoredCustomers:
    """Customers in the database. Opened at its first use, and anew when the database file is replaced.

    Parameters
    ----------
    url
        SQLAlchemy URL.
    keys_folder
        Holds the installation's keys.
    read_timeout_ms, write_timeout_ms
        How long a read and a write wait for a lock.
    on_history_read
        Called at each read of a history.
    """

    def __init__(
        self,
        url: str,
        keys_folder: Path,
        *,
        read_timeout_ms: int,
        write_timeout_ms: int,
        on_history_read: Callable[[], None] = lambda: None,
    ) -> None:
        self._reads = _Store(url, read_only=True, busy_timeout_ms=read_timeout_ms)
        self._writes = _Store(url, read_only=False, busy_timeout_ms=write_timeout_ms)
        self._keys_folder = keys_folder
        self._keys: Keys | None = None
        self._on_history_read = on_history_read
        self._reader = HistoryReader()
        self._catalogue: tuple[tuple[object, int], Catalogue] | None = None

    @property
    def history_reads(self) -> int:
        """How often a history was read."""
        return self._reader.history_reads

    def standing(self, customer_id: str) -> Standing:
        """Read who this is and what they allow."""
        lookup = self._key_ring().lookup(customer_id)
        with self._reads.connection() as conn:
            subject, facts = read_facts(conn, lookup)
        if subject is None:
            return Standing(None, facts, 0)
        return Standing(subject.subject_ref, facts, subject.consent_epoch)

    def history(self, standing: Standing, index: Mapping[str, int], channels: Collection[Channel]) -> History:
        """Read what they did."""
        if standing.subject_ref is None:
            return History.empty()
        self._on_history_read()
        with self._reads.connection() as conn:
            return self._reader.read(conn, standing.subject_ref, index, channels=channels)

    def catalogue(self) -> Catalogue | None:
        """Give the catalogue as of now, or as last read."""
        try:
            with self._reads.connection() as conn:
                # A restored database may count other changes up to the same number.
                state = (self._reads.identity, catalogue_version(conn))
                if self._catalogue is None or self._catalogue[0] != state:
                    self._catalogue = (state, read_catalogue(conn))
        except StoreError as error:
            log.warning("the catalogue cannot be read: %s", error)
        return None if self._catalogue is None else self._catalogue[1]

    def record_own(
        self, customer_id: str, events: Sequence[NewEvent], allows: Callable[[SubjectFacts], bool], *, at: datetime
    ) -> Sequence[Status] | None:
        """Store events of one customer, unless she does not allow it."""
        lookup = self._key_ring().lookup(customer_id)
        with self._writes.transaction() as conn:
            # Read under the write lock: a withdrawal that was acknowledged a moment ago wins.
            subject, facts = read_facts(conn, lookup)
            if subject is None or not allows(facts):
                return None
            return append_events(conn, subject.subject_ref, events, at=at)

    def record(self, events: Sequence[tuple[str, NewEvent]], *, at: datetime) -> Sequence[Status]:
        """Store events of many customers."""
        places: dict[str, list[int]] = {}
        for place, (customer_id, _) in enumerate(events):
            places.setdefault(customer_id, []).append(place)
        statuses: list[Status] = ["stored"] * len(events)
        with self._writes.transaction() as conn:
            refs = ensure_subjects(conn, self._key_ring(), list(places), at=at)
            for customer_id, own in places.items():
                for place, status in zip(
                    own, append_events(conn, refs[customer_id], [events[p][1] for p in own], at=at), strict=True
                ):
                    statuses[place] = status
        return statuses

    def grant(
        self, customer_id: str, purpose: Purpose, shown: NoticeShown, policy: Policy, *, at: datetime
    ) -> Recorded:
        """Record a yes; the customer becomes known to the store with it."""
        keys = self._key_ring()
        with self._writes.transaction() as conn:
            subject_ref = ensure_subjects(conn, keys, [customer_id], at=at)[customer_id]
            return grant(conn, keys, subject_ref, purpose, notice=shown, at=at, policy=policy, method="api")

    def withdraw(self, customer_id: str, purposes: Sequence[Purpose], *, at: datetime) -> list[Recorded] | None:
        """Record the end of a yes."""
        keys = self._key_ring()
        with self._writes.transaction() as conn:
            # Under other keys everybody is a stranger, and the withdrawal of a stranger changes nothing.
            check_keys(conn, keys)
            subject = find_subject(conn, keys.lookup(customer_id))
            if subject is None:
                return None
            return [withdraw(conn, keys, subject.subject_ref, purpose, at=at, method="api") for purpose in purposes]

    def close(self) -> None:
        """Close every connection."""
        self._reads.close()
        self._writes.close()

    def _key_ring(self) -> Keys:
        if self._keys is None:
            self._keys = load_keys(self._keys_folder, create=False)
        return self._keys


class _Store:
    """An engine that follows its file: a database that was replaced, damaged or removed is not read from old pages."""

    def __init__(self, url: str, *, read_only: bool, busy_timeout_ms: int) -> None:
        self._url, self._read_only, self._busy_timeout_ms = url, read_only, busy_timeout_ms
        address = make_url(url)
        self._file = Path(address.database) if address.get_backend_name() == "sqlite" and address.database else None
        self._engine: Engine | None = None
        self._stamp: tuple[int, ...] | None = None
        self._lock = threading.Lock()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        with reading(self._current()) as conn:
            yield conn

    @contextmanager
    def transaction(self) -> Iterator[Connection]:
        with writing(self._current()) as conn:
            yield conn

    @property
    def identity(self) -> object:
        """Which file is open, None before the first; unlike the whole stamp it outlives a checkpoint."""
        stamp = self._stamp
        return None if stamp is None else stamp[:2]

    def close(self) -> None:
        with self._lock:
            if self._engine is not None:
                self._engine.dispose()
            self._engine = None

    def _current(self) -> Engine:
        stamp = self._file_stamp()
        with self._lock:
            if self._engine is None or stamp != self._stamp:
                if self._engine is not None:
                    self._engine.dispose()
                    self._engine = None
                self._engine = open_store(
                    self._url, create=False, read_only=self._read_only, busy_timeout_ms=self._busy_timeout_ms
                )
                self._stamp = stamp
            return self._engine

    def _file_stamp(self) -> tuple[int, ...] | None:
        # In WAL mode the file itself changes at checkpoints only, so connections are rarely opened anew.
        if self._file is None:
            return None
        try:
            stat = self._file.stat()
        except OSError as error:
            raise StoreError(f"{self._file}: cannot be opened: {error.strerror}; restore it from a backup") from error
        return stat.st_dev, stat.st_ino, stat.st_mtime_ns, stat.st_size
