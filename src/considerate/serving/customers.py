"""The store as a request sees it: who is this, what do they allow, what did they do. Only the catalogue is cached."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection

from considerate.consent.decision import Policy, SubjectFacts
from considerate.consent.events import Recorded
from considerate.consent.facts import gpc_evidence, read_facts, remember_gpc
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import NoticeShown
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Channel, History
from considerate.serving.rest import Rest
from considerate.serving.standing import Customers, Standing, Status
from considerate.serving.watched_store import WatchedStore
from considerate.store.answers import Once, do_once, purge_answers
from considerate.store.catalogue import catalogue_version, read_catalogue
from considerate.store.interactions import HistoryReader, NewEvent, append_events
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import check_keys, ensure_subjects, inactive_subjects

T = TypeVar("T")

ASIDE_MS = 500
"""How long a read beside the lists may take, in milliseconds: a customer's rights, receipts and consent history."""


class StoredCustomers(Customers):
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
    events_for
        How long events are used; older rows of a history are not read. Without end if None.
    now
        Gives the time.
    admit
        Looks at a database that was just opened, and again every few seconds; raises StoreError where it must not be
        served from. A service passes `admission.Admission`.
    """

    def __init__(
        self,
        url: str,
        keys_folder: Path,
        *,
        read_timeout_ms: int,
        write_timeout_ms: int,
        on_history_read: Callable[[], None] = lambda: None,
        events_for: timedelta | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        admit: Callable[[Connection], None] | None = None,
    ) -> None:
        self._events_for, self._now = events_for, now
        self._reads = WatchedStore(url, read_only=True, timeout_ms=read_timeout_ms, admit=admit)
        # With connections of its own: whoever reads at leisure keeps nobody's list waiting.
        self._asides = WatchedStore(url, read_only=True, timeout_ms=max(ASIDE_MS, read_timeout_ms), admit=admit)
        self._writes = WatchedStore(url, read_only=False, timeout_ms=write_timeout_ms, admit=admit)
        self._keys_folder = keys_folder
        self._keys: Keys | None = None
        self._on_history_read = on_history_read
        self._reader = HistoryReader()
        self._catalogue: tuple[tuple[object, int], Catalogue] | None = None
        self._rest = Rest()

    @property
    def history_reads(self) -> int:
        """How often a history was read."""
        return self._reader.history_reads

    def standing(self, customer_id: str) -> Standing:
        """Read who this is and what they allow."""
        with self._reading(single=True) as conn:
            subject, facts = read_facts(conn, self._key_ring().lookup(customer_id))
        if subject is None:
            return Standing(None, facts, 0)
        return Standing(subject.subject_ref, facts, subject.consent_epoch)

    def history(
        self, standing: Standing, index: Mapping[str, int], channels: Collection[Channel], *, order_lines: bool = False
    ) -> History:
        """Read what they did."""
        if standing.subject_ref is None:
            return History.empty()
        self._on_history_read()
        since = None if self._events_for is None else self._now() - self._events_for
        with self._reading(single=True) as conn:
            return self._reader.read(
                conn, standing.subject_ref, index, channels=channels, order_lines=order_lines, since=since
            )

    def catalogue(self) -> Catalogue | None:
        """Give the catalogue as of now, or as last read."""
        try:
            with self._reading(single=True) as conn:
                # A restored database may count other changes up to the same number.
                state = (self._reads.identity, catalogue_version(conn))
            held = self._catalogue
            if held is None or held[0] != state:
                with self._reading() as conn:
                    state = (self._reads.identity, catalogue_version(conn))
                    if held is None or held[0][0] != state[0] or held[0][1] > state[1]:
                        self._catalogue = (state, read_catalogue(conn))
                    else:
                        # A shop changes some item every second; reading all of them again would hold up every list.
                        self._catalogue = (state, held[1].updated(read_catalogue(conn, since=held[0][1])))
        except StoreError:
            pass  # said once by whoever watches the reads; the one before will do
        return None if self._catalogue is None else self._catalogue[1]

    def version_of(self, catalogue: Catalogue | None) -> int | None:
        """Give the version of a catalogue that `catalogue` gave."""
        held = self._catalogue
        return None if held is None or held[1] is not catalogue else held[0][1]

    def record_own(
        self,
        customer_id: str,
        events: Sequence[NewEvent],
        allows: Callable[[SubjectFacts], bool],
        *,
        at: datetime,
        once: Once[list[Status]] | None = None,
    ) -> list[Status] | None:
        """Store events of one customer, unless she does not allow it."""
        keys = self._key_ring()

        def act() -> list[Status] | None:
            # Nobody decides meanwhile: a withdrawal that was acknowledged a moment ago wins.
            subject, facts = read_facts(conn, keys.lookup(customer_id))
            if subject is None or not allows(facts):
                return None
            return [*append_events(conn, subject.subject_ref, events, at=at)]

        with self._writes.transaction(shared=once is None) as conn:
            return do_once(conn, keys, once, act, at=at)

    def record(
        self, events: Sequence[tuple[str, NewEvent]], *, at: datetime, once: Once[list[Status]] | None = None
    ) -> list[Status]:
        """Store events of many customers."""
        keys = self._key_ring()
        places: dict[str, list[int]] = {}
        for place, (customer_id, _) in enumerate(events):
            places.setdefault(customer_id, []).append(place)

        def act() -> list[Status]:
            statuses: list[Status] = ["not_recorded"] * len(events)
            refs = ensure_subjects(conn, keys, list(places), at=at)
            leaving = inactive_subjects(conn, list(refs.values()))
            for customer_id, own in places.items():
                # What is being erased must not grow again behind the eraser.
                if (ref := refs[customer_id]) not in leaving:
                    added = append_events(conn, ref, [events[place][1] for place in own], at=at)
                    for place, status in zip(own, added, strict=True):
                        statuses[place] = status
            return statuses

        with self._writes.transaction(shared=once is None) as conn:
            return do_once(conn, keys, once, act, at=at)

    def remember_gpc(self, customer_id: str, standing: Standing, *, at: datetime) -> None:
        """Note the first signal of an account; a stranger becomes known to the store with it."""
        keys = self._key_ring()
        with self._writes.transaction() as conn:
            # Somebody who was known, and has been erased since, does not come back with this.
            ref = standing.subject_ref or ensure_subjects(conn, keys, [customer_id], at=at)[customer_id]
            remember_gpc(conn, ref, at=at)

    def grant(
        self,
        customer_id: str,
        purpose: Purpose,
        shown: NoticeShown,
        policy: Policy,
        *,
        at: datetime,
        gpc: bool = False,
        once: Once[Recorded] | None = None,
    ) -> Recorded:
        """Record a yes; the customer becomes known to the store with it."""
        keys = self._key_ring()

        def act() -> Recorded:
            ref = ensure_subjects(conn, keys, [customer_id], at=at)[customer_id]
            if gpc:
                remember_gpc(conn, ref, at=at)
            said = gpc_evidence(conn, ref, purpose, policy)
            return grant(conn, keys, ref, purpose, notice=shown, at=at, policy=policy, method="api", evidence=said)

        with self._writes.transaction() as conn:
            return do_once(conn, keys, once, act, at=at)

    def withdraw(self, customer_id: str, purposes: Sequence[Purpose], *, at: datetime) -> list[Recorded] | None:
        """Record a no; each time anew, since a yes may have come in between, or may still be on its way."""
        keys = self._key_ring()
        with self._writes.transaction() as conn:
            # A stranger's no is kept like anybody's: a yes of an earlier day may still be brought in.
            ref = ensure_subjects(conn, keys, [customer_id], at=at)[customer_id]
            # Of someone who is being erased nothing is in force any more, and the ledger is about to say so.
            if inactive_subjects(conn, [ref]):
                return None
            return [withdraw(conn, keys, ref, purpose, at=at, method="api") for purpose in purposes]

    def change_catalogue(self, change: Callable[[Connection], T]) -> T:
        """Change the catalogue in one transaction."""
        with self._writes.transaction() as conn:
            return change(conn)

    def forget_old_answers(self, *, at: datetime) -> int:
        """Delete the answers to repeatable requests whose day is over; give how many."""
        with self._writes.transaction() as conn:
            return purge_answers(conn, at=at)

    @contextmanager
    def reading(self) -> Iterator[tuple[Connection, Keys]]:
        """Give a connection that reads, and the keys, which are those of this database."""
        keys = self._key_ring()
        with self._asides.connection() as conn:
            check_keys(conn, keys)
            yield conn, keys

    @contextmanager
    def writing(self) -> Iterator[tuple[Connection, Keys]]:
        """Give a transaction that holds the write lock, and the keys, which are those of this database."""
        keys = self._key_ring()
        with self._writes.transaction() as conn:
            # Under other keys everybody is a stranger: her erasure would be answered, and nothing of hers be gone.
            check_keys(conn, keys)
            yield conn, keys

    def close(self) -> None:
        """Close every connection."""
        self._reads.close()
        self._asides.close()
        self._writes.close()

    @contextmanager
    def _reading(self, *, single: bool = False) -> Iterator[Connection]:
        with self._rest.watched(), self._reads.connection(single=single) as conn:
            yield conn

    def _key_ring(self) -> Keys:
        if self._keys is None:
            self._keys = load_keys(self._keys_folder, create=False)
        return self._keys
