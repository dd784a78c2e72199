"""What ends with the news that somebody is a minor: every consent she has given, for good.

While her age band is a minor's nothing is effective anyway. Her grants are ended in the ledger too, so that none of
them comes back by itself on her eighteenth birthday: she could not agree then, and has not been asked since.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import Connection, select

from considerate.consent.ending import end_grants
from considerate.store.engine import require_writing
from considerate.store.keys import Keys
from considerate.store.statements import chunks
from considerate.store.subjects import AGE_BANDS, MINOR_BANDS
from considerate.store.tables import subject


def minors_among(conn: Connection, refs: Sequence[bytes]) -> set[bytes]:
    """Give those of `refs` whom the store knows to be minors."""
    found: set[bytes] = set()
    for part in chunks(refs):
        young = subject.c.subject_ref.in_(part), subject.c.age_band.in_(MINOR_BANDS)
        found.update(conn.execute(select(subject.c.subject_ref).where(*young)).scalars())
    return found


def without_higher(conn: Connection, keys: Keys, bands: Mapping[str, str]) -> dict[str, str]:
    """Leave out the bands that are higher than the one in the store; `unknown` is the lowest there is to replace.

    Parameters
    ----------
    conn
        From `store.engine.reading` or `writing`.
    keys
        Of this installation.
    bands
        Customer id -> age band.
    """
    lookups = {keys.lookup(customer): customer for customer in bands}
    kept = dict(bands)
    for part in chunks(list(lookups)):
        query = select(subject.c.lookup_hmac, subject.c.age_band).where(subject.c.lookup_hmac.in_(part))
        for lookup, known in conn.execute(query):
            if known != "unknown" and AGE_BANDS.index(bands[lookups[lookup]]) > AGE_BANDS.index(known):
                del kept[lookups[lookup]]
    return kept


def end_grants_of_minors(conn: Connection, keys: Keys, refs: Sequence[bytes], *, at: datetime) -> int:
    """Append `invalidated` for every consent given by those of `refs` whom the store knows to be minors.

    Belongs into the transaction that writes their age bands (`store.subjects.ensure_subjects`). A second call appends
    nothing.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    refs
        Subject references; those of adults, and of unknown age, are left as they are.
    at
        Now.

    Returns
    -------
        How many consents were ended.
    """
    require_writing(conn)
    young = subject.c.age_band.in_(MINOR_BANDS)
    return sum(
        end_grants(conn, keys, young & subject.c.subject_ref.in_(part), at=at, actor="shop") for part in chunks(refs)
    )
