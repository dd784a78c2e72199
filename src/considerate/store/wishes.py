"""What a customer says about herself and her rows: preferences, purchases that must not count, objection, restriction.

Every change raises her consent epoch, so that nothing that was worked out before it is served after it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, NamedTuple, get_args

from sqlalchemy import Connection, delete, insert, select, update

from considerate.errors import StoreError, UnknownSubject
from considerate.store.engine import require_writing
from considerate.store.tables import event_exclusion, from_micros, interaction, preference, subject, to_micros

PreferenceKind = Literal["item", "category", "brand"]
Polarity = Literal["like", "dislike"]
ExclusionReason = Literal["gift", "not_me", "other"]
Right = Literal["objection", "restriction"]

_SINCE = {"objection": subject.c.objected_at, "restriction": subject.c.restricted_at}


class Preference(NamedTuple):
    """Something a customer said she likes, or does not like; `key` is an item id, a category path or a brand."""

    kind: PreferenceKind
    key: str
    polarity: Polarity


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A purchase that counts for nothing, by its customer's own wish.

    Attributes
    ----------
    order_line
        The purchase, as the shop's order system names it.
    item_ids
        What was bought with it.
    reason
        As she said it.
    excluded_at
        Since when.
    """

    order_line: str
    item_ids: tuple[str, ...]
    reason: str
    excluded_at: datetime


def read_preferences(conn: Connection, subject_ref: bytes) -> tuple[Preference, ...]:
    """Give what she stated, sorted by kind and key."""
    query = select(preference.c.kind, preference.c.key, preference.c.polarity)
    query = query.where(preference.c.subject_ref == subject_ref).order_by(preference.c.kind, preference.c.key)
    return tuple(Preference(*row) for row in conn.execute(query))


def replace_preferences(
    conn: Connection, subject_ref: bytes, preferences: Iterable[Preference], *, at: datetime
) -> bool:
    """Put these preferences in the place of all stated before; none at all takes them back.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    preferences
        At most one for each kind and key.
    at
        Now.

    Returns
    -------
        Whether anything changed; what stays as it was keeps the time at which it was stated.

    Raises
    ------
    StoreError
        One thing is both liked and disliked, or named twice.
    UnknownSubject
        There is no such active person.
    """
    require_writing(conn)
    listed = list(preferences)
    wanted = {(one.kind, one.key): one for one in listed}
    if len(wanted) < len(listed):
        raise StoreError("preferences: one item, category or brand is named twice; like it or dislike it, once")
    before = {(one.kind, one.key): one for one in read_preferences(conn, subject_ref)}
    if before == wanted:
        return False
    change_epoch(conn, subject_ref)
    hers = preference.c.subject_ref == subject_ref
    for (kind, key), known in before.items():
        if wanted.get((kind, key)) != known:
            conn.execute(delete(preference).where(hers, preference.c.kind == kind, preference.c.key == key))
    stated_at = to_micros(at)
    rows = [
        {"subject_ref": subject_ref, **one._asdict(), "stated_at": stated_at}
        for place, one in wanted.items()
        if before.get(place) != one
    ]
    if rows:
        conn.execute(insert(preference), rows)
    return True


def read_exclusions(conn: Connection, subject_ref: bytes) -> list[Exclusion]:
    """Give the purchases she excluded, sorted by order line."""
    query = select(event_exclusion.c.order_line, event_exclusion.c.reason, event_exclusion.c.excluded_at)
    rows = conn.execute(query.where(event_exclusion.c.subject_ref == subject_ref)).all()
    return [
        Exclusion(line, bought_with(conn, subject_ref, line), reason, from_micros(at))
        for line, reason, at in sorted(rows)
    ]


def bought_with(conn: Connection, subject_ref: bytes, order_line: str) -> tuple[str, ...]:
    """Give the items of one of her order lines, sorted; none where the line is not hers."""
    query = select(interaction.c.item_id).where(
        interaction.c.subject_ref == subject_ref, interaction.c.order_line == order_line
    )
    return tuple(sorted(set(conn.execute(query).scalars())))


def exclude_line(
    conn: Connection, subject_ref: bytes, order_line: str, *, reason: ExclusionReason, at: datetime
) -> Exclusion | None:
    """Let one purchase count for nothing, in her next list and in the next fit.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    at
        Now.

    Returns
    -------
        The exclusion, or the one that was there before, whose reason and time stay; None where the line is not hers.

    Raises
    ------
    UnknownSubject
        There is no such active person.
    """
    require_writing(conn)
    items = bought_with(conn, subject_ref, order_line)
    if not items:
        return None
    for known in read_exclusions(conn, subject_ref):
        if known.order_line == order_line:
            return known
    change_epoch(conn, subject_ref)
    row = {"subject_ref": subject_ref, "order_line": order_line, "reason": reason, "excluded_at": to_micros(at)}
    conn.execute(insert(event_exclusion), row)
    return Exclusion(order_line, items, reason, at)


def include_line(conn: Connection, subject_ref: bytes, order_line: str) -> bool:
    """Let a purchase count again; give whether the line is hers, excluded before or not.

    Raises
    ------
    UnknownSubject
        There is no such active person.
    """
    require_writing(conn)
    gone = delete(event_exclusion).where(
        event_exclusion.c.subject_ref == subject_ref, event_exclusion.c.order_line == order_line
    )
    if conn.execute(gone).rowcount:
        change_epoch(conn, subject_ref)
        return True
    return bool(bought_with(conn, subject_ref, order_line))


def delete_wishes(conn: Connection, subject_ref: bytes) -> int:
    """Delete her preferences and exclusions; give how many rows went."""
    require_writing(conn)
    return sum(
        conn.execute(delete(table).where(table.c.subject_ref == subject_ref)).rowcount
        for table in (preference, event_exclusion)
    )


def exercise(conn: Connection, subject_ref: bytes, right: Right, *, at: datetime | None) -> tuple[datetime | None, int]:
    """Note that she objects (GDPR 21) or has use restricted (GDPR 18), or lift it.

    Parameters
    ----------
    conn
        From `store.engine.writing`.
    right
        Which of the two; each stands alone.
    at
        Now, or None to lift it: an act of its own, which no grant of a consent brings about.

    Returns
    -------
        Since when it holds, None where it does not, and her consent epoch. Asked again, the first time stands.

    Raises
    ------
    UnknownSubject
        There is no such active person.
    """
    require_writing(conn)
    column = _SINCE[right]
    query = select(column, subject.c.consent_epoch)
    row = conn.execute(query.where(subject.c.subject_ref == subject_ref, subject.c.state == "active")).first()
    if row is None:
        raise _nobody()
    since, epoch = row
    if (since is None) == (at is None):
        return None if since is None else from_micros(since), epoch
    return at, change_epoch(conn, subject_ref, **{column.name: None if at is None else to_micros(at)})


def restricted_subjects(conn: Connection) -> frozenset[bytes]:
    """Give everybody who has use restricted."""
    query = select(subject.c.subject_ref).where(subject.c.restricted_at.is_not(None), subject.c.state == "active")
    return frozenset(conn.execute(query).scalars())


def change_epoch(conn: Connection, subject_ref: bytes, **values: Any) -> int:
    """Raise a person's consent epoch, set `values` of her row with it, and give the new epoch.

    Raises
    ------
    UnknownSubject
        There is no such active person.
    """
    require_writing(conn)
    hers = subject.c.subject_ref == subject_ref
    raised = update(subject).where(hers, subject.c.state == "active")
    if not conn.execute(raised.values(consent_epoch=subject.c.consent_epoch + 1, **values)).rowcount:
        raise _nobody()
    epoch: int = conn.execute(select(subject.c.consent_epoch).where(hers)).scalar_one()
    return epoch


def _nobody() -> UnknownSubject:
    return UnknownSubject("a wish of somebody unknown, or being erased; nothing is kept of it: find the subject again")


RIGHTS: tuple[Right, ...] = get_args(Right)
