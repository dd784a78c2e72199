"""Objections, restrictions and ages of minors, noted beside the database, so that no backup takes them back.

The file `wishes.jsonl` lies in the installation's own folder, outside the database. A line says that something holds
from then on, or holds no longer, for a random reference, and which consent epoch that made of it. It names nobody, and
once she is erased it leads nowhere.

A line that something holds is written after the commit and before the answer; one that it was lifted before the commit.
A crash in between leaves a line too few for what was never acknowledged, or a lift that did not happen: never an alarm.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Row, select, update

from considerate.consent.minors import end_grants_of_minors
from considerate.errors import StoreError
from considerate.privacy.journal import Journal, subject_ref_of
from considerate.store.engine import require_writing
from considerate.store.keys import Keys
from considerate.store.statements import chunks
from considerate.store.subjects import MINOR_BANDS
from considerate.store.tables import subject
from considerate.store.wishes import Right, exercise

FILE = "wishes.jsonl"

WishKind = Literal["objection", "restriction", "minor"]
Held = dict[tuple[bytes, WishKind], "KeptWish"]


@dataclass(frozen=True, slots=True)
class KeptWish:
    """That something holds for somebody, or does so no longer.

    Attributes
    ----------
    subject_ref
        Who she is to the store.
    kind
        An objection, a restriction, or that she is a minor.
    on
        Whether it holds.
    consent_epoch
        Hers after it: of two lines the one with the higher epoch is the later act.
    at
        When.
    """

    subject_ref: bytes
    kind: WishKind
    on: bool
    consent_epoch: int
    at: datetime


def read_wishes(home: Path) -> tuple[KeptWish, ...]:
    """Read the file, oldest line first; empty where there is none.

    Raises
    ------
    StoreError
        It cannot be read, or a line of it is no wish.
    """
    return _FILE.read(home)


def keep_wishes(home: Path, wishes: Iterable[KeptWish]) -> int:
    """Append those that say something new, and wait until the disk has them; give how many.

    What was never noted as held need not be noted as lifted.

    Raises
    ------
    StoreError
        The file cannot be written, or holds something else. The act must not be acknowledged then.
    """
    wanted = list(wishes)

    def new(there: Sequence[KeptWish]) -> list[KeptWish]:
        held = _newest(there)
        return [wish for wish in wanted if _says_something_new(wish, held.get((wish.subject_ref, wish.kind)))]

    return _FILE.append(home, new)


def exercise_outside(
    conn: Connection, home: Path, subject_ref: bytes, right: Right, *, at: datetime, on: bool
) -> tuple[datetime | None, KeptWish]:
    """Object, restrict or lift it within a transaction; give since when it holds, and what to keep after the commit.

    A lift is in the file when this returns. An objection or restriction is to be kept with `keep_wishes` once it is
    committed, before anybody is told.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    home
        Folder of everything written at run time.

    Raises
    ------
    UnknownSubject
        There is no such active person.
    StoreError
        The file cannot be read or written. Nothing must be committed then.
    """
    since, epoch = exercise(conn, subject_ref, right, at=at if on else None)
    known = _newest(read_wishes(home)).get((subject_ref, right))
    if known is not None and known.on != on and known.consent_epoch >= epoch:
        # Of a database that was rolled back, or of a lift that was never committed: this act is later all the same.
        epoch = _raise_epoch(conn, subject_ref, known.consent_epoch + 1)
    wish = KeptWish(subject_ref, right, on, epoch, at)
    if not on:
        keep_wishes(home, [wish])
    return since, wish


def keep_minors(conn: Connection, home: Path, *, at: datetime, among: Sequence[bytes] | None = None) -> int:
    """Note everybody whom the shop calls a minor, so that no older database makes an adult of her; give how many new.

    Parameters
    ----------
    conn
        From `store.engine.reading`, after the commit.
    among
        Look at these alone; at everybody if None.

    Raises
    ------
    StoreError
        The file cannot be written.
    """
    minors = select(subject.c.subject_ref, subject.c.consent_epoch).where(
        subject.c.state == "active", subject.c.age_band.in_(MINOR_BANDS)
    )
    queries = [minors] if among is None else [minors.where(subject.c.subject_ref.in_(part)) for part in chunks(among)]
    rows = [row for query in queries for row in conn.execute(query)]
    return keep_wishes(home, [KeptWish(ref, "minor", True, epoch, at) for ref, epoch in rows])


def unapplied_wishes(conn: Connection, wishes: Sequence[KeptWish]) -> list[KeptWish]:
    """Give what should hold and does not, for people who are here: the database is older than that.

    Parameters
    ----------
    conn
        From `store.engine.reading` or `writing`.
    wishes
        Read before the database was: what is newer than what `conn` sees would look forgotten.
    """
    held = {place: wish for place, wish in _newest(wishes).items() if wish.on}
    rows: dict[bytes, Row[Any]] = {}
    for part in chunks(list(dict.fromkeys(ref for ref, _ in held))):
        query = select(
            subject.c.subject_ref,
            subject.c.consent_epoch,
            subject.c.objected_at,
            subject.c.restricted_at,
            subject.c.age_band,
        ).where(subject.c.subject_ref.in_(part), subject.c.state == "active")
        rows |= {row.subject_ref: row for row in conn.execute(query)}
    # Where her epoch went on to the line's or past it, another host of the same database lifted it.
    return [
        wish
        for (ref, kind), wish in held.items()
        if ref in rows and not _holds(rows[ref], kind) and rows[ref].consent_epoch < wish.consent_epoch
    ]


def newest_held(wishes: Sequence[KeptWish]) -> Iterator[KeptWish]:
    """Give what should hold, newest line first: of each person and kind the last line, unless it lifts."""
    seen: set[tuple[bytes, WishKind]] = set()
    for wish in reversed(wishes):
        place = wish.subject_ref, wish.kind
        if wish.on and place not in seen:
            yield wish
        seen.add(place)


def refuse_unapplied_wishes(conn: Connection, wishes: Sequence[KeptWish]) -> None:
    """Refuse a database that has forgotten objections, restrictions or ages; parameters as `unapplied_wishes`.

    Raises
    ------
    StoreError
        There are some; names how many and the command that puts them in force again.
    """
    if forgotten := unapplied_wishes(conn, wishes):
        raise StoreError(
            f"{len(forgotten)} objections, restrictions or ages of minors are not in this database: it is older than "
            "they are; put them in force again: considerate rights replay"
        )


def replay_wishes(
    transaction: Callable[[], AbstractContextManager[Connection]], keys: Keys, home: Path, *, at: datetime
) -> int:
    """Put in force again what an older backup has forgotten, and lift nothing; give how many.

    Consents of those who turn out to be minors end with it, at `at`.

    Raises
    ------
    StoreError
        The database or the file cannot be read or written. Nothing is changed then.
    """
    wishes = read_wishes(home)
    with transaction() as conn:
        forgotten = unapplied_wishes(conn, wishes)
        for wish in forgotten:
            _put_in_force(conn, wish)
        end_grants_of_minors(conn, keys, [wish.subject_ref for wish in forgotten if wish.kind == "minor"], at=at)
    return len(forgotten)


def _put_in_force(conn: Connection, wish: KeptWish) -> None:
    if wish.kind == "minor":
        require_writing(conn)
        # The highest band of those who cannot consent: which of them it was, the shop's next load says.
        minor = {"age_band": MINOR_BANDS[-1], "age_source": "shop"}
        conn.execute(update(subject).where(subject.c.subject_ref == wish.subject_ref).values(minor))
    else:
        exercise(conn, wish.subject_ref, wish.kind, at=wish.at)
    # No list of before is right any more, and what she does next must be later than what is in the file.
    _raise_epoch(conn, wish.subject_ref, wish.consent_epoch + 1)


def _raise_epoch(conn: Connection, subject_ref: bytes, epoch: int) -> int:
    hers = subject.c.subject_ref == subject_ref
    conn.execute(update(subject).where(hers, subject.c.consent_epoch < epoch).values(consent_epoch=epoch))
    raised: int = conn.execute(select(subject.c.consent_epoch).where(hers)).scalar_one()
    return raised


def _newest(wishes: Iterable[KeptWish]) -> Held:
    held: Held = {}
    for wish in wishes:
        place = wish.subject_ref, wish.kind
        if place not in held or held[place].consent_epoch <= wish.consent_epoch:
            held[place] = wish
    return held


def _says_something_new(wish: KeptWish, known: KeptWish | None) -> bool:
    if known is None:
        return wish.on
    if wish.on == known.on:
        # Lifted in between on another host: the later line is the one that counts.
        return wish.on and wish.consent_epoch > known.consent_epoch
    return wish.consent_epoch >= known.consent_epoch


def _holds(row: Row[Any], kind: WishKind) -> bool:
    if kind == "minor":
        return row.age_band in MINOR_BANDS
    return (row.objected_at if kind == "objection" else row.restricted_at) is not None


def _fields(wish: KeptWish) -> dict[str, object]:
    return {
        "subject_ref": wish.subject_ref.hex(),
        "kind": wish.kind,
        "on": wish.on,
        "consent_epoch": wish.consent_epoch,
        "at": wish.at.isoformat(),
    }


def _line(fields: Mapping[str, Any]) -> KeptWish:
    at, epoch, on, kind = datetime.fromisoformat(fields["at"]), fields["consent_epoch"], fields["on"], fields["kind"]
    if at.tzinfo is None or type(epoch) is not int or type(on) is not bool or kind not in get_args(WishKind):
        raise ValueError
    return KeptWish(subject_ref_of(fields["subject_ref"]), kind, on, epoch, at)


_FILE = Journal(FILE, "wish", "who objected, restricted use, or is a minor", _fields, _line)
