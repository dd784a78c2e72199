"""The ledger at a promotion: what has changed since a fit, and which erasures still wait for one.

Everything that takes long is asked without holding anybody up; only `locked` keeps the store from changing, for as long
as it takes to look at those whom something has happened to since.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, Engine, func, select, update

from considerate.consent.notices import Notice
from considerate.consent.publishing import check_published, in_force, read_versions
from considerate.consent.since_fit import Judgement, judge
from considerate.settings.environment import Environment
from considerate.store.engine import open_store, reading, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.statements import chunks
from considerate.store.subjects import check_keys
from considerate.store.tables import to_micros, tombstone
from considerate.tracking.registry import basis_of

_WAITING = tombstone.c.rebuilt_at.is_(None)


@dataclass(frozen=True, slots=True)
class Ledger:
    """The ledger of this installation.

    Attributes
    ----------
    versions
        Of the shop's notice, oldest first.
    at
        The moment for which it is asked.
    """

    _engine: Engine
    _keys: Keys
    versions: Sequence[Notice]
    at: datetime

    def judge(self, tags: Mapping[str, str], name: str) -> Judgement:
        """Judge what has changed since the fit that the tags of a run describe; `name` opens each message."""
        basis = basis_of(tags, name, self.versions)
        with reading(self._engine) as conn:
            return judge(conn, self._keys, basis, at=self.at, notices=in_force(self.versions))

    def waiting(self) -> frozenset[bytes]:
        """Give the references of those whose erasure still waits for a model without them."""
        with reading(self._engine) as conn:
            return frozenset(conn.execute(select(tombstone.c.subject_ref).where(_WAITING)).scalars())

    def erased_between(self, start: datetime, end: datetime) -> bool:
        """Whether an erasure that still waits was asked for in between."""
        between = tombstone.c.erased_at.between(to_micros(start), to_micros(end))
        with reading(self._engine) as conn:
            return bool(conn.execute(select(func.count()).where(_WAITING, between)).scalar_one())

    @contextmanager
    def locked(self) -> Iterator[Connection]:
        """Give a connection while nobody else can write to the store; commit on a clean exit.

        Raises
        ------
        StoreError
            The store was written under other keys.
        ConsentError
            It has published a notice that is newer than the folder's.
        """
        with writing(self._engine) as conn:
            check_keys(conn, self._keys)
            check_published(conn, self.versions)
            yield conn


@contextmanager
def open_ledger(environment: Environment, *, at: datetime) -> Iterator[Ledger]:
    """Open the ledger of this installation for the moment `at`.

    Raises
    ------
    StoreError
        The store or its keys cannot be opened.
    """
    versions = read_versions(environment.home / "notices", at=at)
    keys = load_keys(environment.home / "keys", create=False)
    engine = open_store(environment.database_url, create=False)
    try:
        yield Ledger(engine, keys, versions, at)
    finally:
        engine.dispose()


def note_rebuilt(conn: Connection, refs: Collection[bytes], *, at: datetime) -> None:
    """Mark erasures as carried out in every model in use.

    Parameters
    ----------
    conn
        From `Ledger.locked`.
    """
    for part in chunks(sorted(refs)):
        conn.execute(
            update(tombstone).where(_WAITING, tombstone.c.subject_ref.in_(part)).values(rebuilt_at=to_micros(at))
        )
