"""What customers did: written in bulk by loads, one by one by pages and tills, and read as one person's history."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import repeat
from typing import Any, Literal

import numpy as np
from sqlalchemy import BindParameter, Connection, Select, bindparam, delete, func, or_, select

from considerate.ranking.history import Channel, Histories, History, Kind
from considerate.ranking.newest import newest_items
from considerate.store.engine import require_writing
from considerate.store.statements import chunks, insert_new, insert_tuples
from considerate.store.tables import event_exclusion, interaction, subject, to_micros

INTERACTION_COLUMNS: tuple[str, ...] = tuple(interaction.columns.keys())
"""Order of the tuples that `ingest` takes. `timestamp` and `received_at` are microseconds since 1970-01-01 UTC."""

MAX_ITEMS = 1_000
"""A history is capped at so many distinct items, the newest ones."""

Status = Literal["stored", "duplicate"]


@dataclass(frozen=True, slots=True)
class NewEvent:
    """One event as a page or a till reports it; the fields are those of `interactions.columns.Columns`."""

    event_id: str
    item_id: str
    kind: Kind
    timestamp: datetime
    value: float | None = None
    position: int | None = None
    channel: Channel = Channel.ONLINE
    order_line: str | None = None
    decision_id: str | None = None
    surface: str | None = None


def ingest(conn: Connection, rows: Iterable[tuple[Any, ...]]) -> int:
    """Insert interactions unless an event of that subject and id is there; give how many were new.

    Parameters
    ----------
    conn
        From `store.engine.writing` or `recording`.
    rows
        In the order of `INTERACTION_COLUMNS`. Sorted by subject and event id they go in several times faster, as
        SQLite then fills its pages one after the other.
    """
    require_writing(conn, shared=True)
    return insert_tuples(conn, interaction, iter(rows))


def append_events(conn: Connection, subject_ref: bytes, events: Sequence[NewEvent], *, at: datetime) -> list[Status]:
    """Store one subject's events, through `writing` or `recording`; give for each whether it was new.

    An event id that is already there, or comes twice, is a duplicate whatever else it says: the first one stands.
    """
    require_writing(conn, shared=True)
    known: set[str] = set()
    for part in chunks([event.event_id for event in events]):
        query = select(interaction.c.event_id)
        query = query.where(interaction.c.subject_ref == subject_ref, interaction.c.event_id.in_(part))
        known.update(conn.execute(query).scalars())
    statuses: list[Status] = []
    rows: list[dict[str, Any]] = []
    for event in events:
        if event.event_id in known:
            statuses.append("duplicate")
            continue
        known.add(event.event_id)
        statuses.append("stored")
        rows.append(
            {
                "subject_ref": subject_ref,
                "event_id": event.event_id,
                "item_id": event.item_id,
                "kind": int(event.kind),
                "value": event.value,
                "timestamp": to_micros(event.timestamp),
                "position": event.position,
                "channel": int(event.channel),
                "order_line": event.order_line,
                "decision_id": event.decision_id,
                "surface": event.surface,
                "received_at": to_micros(at),
            }
        )
    if rows:
        # Another recorder may bring the same event at this moment; in one order, so that neither waits for the other.
        conn.execute(insert_new(conn, interaction), sorted(rows, key=lambda row: row["event_id"]))
    return statuses


def delete_interactions(conn: Connection, subject_ref: bytes) -> int:
    """Delete everything one subject did; give how many rows went."""
    require_writing(conn)
    return conn.execute(delete(interaction).where(interaction.c.subject_ref == subject_ref)).rowcount


def delete_interactions_before(conn: Connection, before: datetime) -> int:
    """Delete rows from before a time, those without a time by when they came; give how many went.

    What is known of customers who restrict its use (GDPR 18) is kept for them.
    """
    require_writing(conn)
    old = func.coalesce(interaction.c.timestamp, interaction.c.received_at) < to_micros(before)
    restricted = select(subject.c.subject_ref).where(subject.c.restricted_at.is_not(None), subject.c.state == "active")
    return conn.execute(delete(interaction).where(old, interaction.c.subject_ref.not_in(restricted))).rowcount


def read_history(
    conn: Connection,
    subject_ref: bytes,
    index: Mapping[str, int],
    *,
    channels: Collection[Channel],
    order_lines: bool = False,
    since: datetime | None = None,
    max_items: int = MAX_ITEMS,
) -> History:
    """Read what one subject did, oldest first, as arrays over a catalogue; purchases that she excluded never were.

    Parameters
    ----------
    conn
        From `store.engine.reading`.
    subject_ref
        Whose history; the caller has asked `effective` before.
    index
        Item id -> item index of the artefact; events on other items are left out.
    channels
        Channels that may be read: with `Channel.STORE` only under `link_in_store`. Rows of the others are not read.
    order_lines
        Read order lines too, as evidence for an explanation.
    since
        Rows from before are past their retention and not read; all are if None. A row without a time counts from
        when it came.
    max_items
        Keep events on so many distinct items, the newest ones.

    Returns
    -------
        Events ordered by time, position, item, kind, value and channel, as in a `Dataset`. Returns are rows of their
        own: `ranking.returns` nets them.
    """
    if not channels:
        return History.empty()
    every = set(channels) == _ALL_CHANNELS
    parameters: dict[str, Any] = {"subject_ref": subject_ref}
    if not every:
        parameters["channels"] = [int(channel) for channel in channels]
    if since is not None:
        parameters["since"] = to_micros(since)
    rows = conn.execute(_QUERIES[every, order_lines, since is not None], parameters).all()
    if not rows:
        return History.empty()
    item_ids, kinds, values, times, positions, channel_codes, *evidence = zip(*rows, strict=True)
    n = len(rows)
    item = np.fromiter(map(index.get, item_ids, repeat(-1)), np.int32, n)
    kind = np.array(kinds, np.int8)
    value = np.array(values, np.float64).astype(np.float32)  # float64 first: it reads None as NaN
    time = np.array(times, np.float64) / 1e6
    position = np.array(positions, np.int64)
    channel = np.array(channel_codes, np.int8)
    order = np.lexsort((channel, value, kind, item, position, time))
    order = order[item[order] >= 0]
    history = History(
        item=item[order],
        kind=kind[order],
        value=value[order],
        time=time[order],
        position=position[order],
        channel=channel[order],
        order_line=tuple(evidence[0][row] or "" for row in order.tolist()) if order_lines else None,
    )
    return _capped(history, max_items)


class HistoryReader:
    """Reads histories and counts the reads, so that a test can see that refused consent means no read at all.

    Attributes
    ----------
    history_reads
        How often a history was read.
    """

    def __init__(self) -> None:
        self.history_reads = 0

    def read(
        self,
        conn: Connection,
        subject_ref: bytes,
        index: Mapping[str, int],
        *,
        channels: Collection[Channel],
        order_lines: bool = False,
        since: datetime | None = None,
    ) -> History:
        """Count, then `read_history`."""
        self.history_reads += 1
        return read_history(conn, subject_ref, index, channels=channels, order_lines=order_lines, since=since)


_ALL_CHANNELS = frozenset(Channel)


def _query(every: bool, order_lines: bool, aged: bool) -> Select[Any]:
    table = interaction.c
    position = func.coalesce(table.position, -1)
    columns: list[Any] = [table.item_id, table.kind, table.value, table.timestamp, position, table.channel]
    if order_lines:
        columns.append(table.order_line)
    hers: BindParameter[bytes] = bindparam("subject_ref")
    excluded = select(event_exclusion.c.order_line).where(event_exclusion.c.subject_ref == hers)
    # Not a join: the list of excluded lines, mostly empty, is read once and not for each row.
    counts = or_(table.order_line.is_(None), table.order_line.not_in(excluded))
    query = select(*columns).where(table.subject_ref == hers, counts)
    if aged:
        query = query.where(func.coalesce(table.timestamp, table.received_at) >= bindparam("since"))
    return query if every else query.where(table.channel.in_(bindparam("channels", expanding=True)))


_BOTH = (False, True)
_QUERIES = {(every, lines, aged): _query(every, lines, aged) for every in _BOTH for lines in _BOTH for aged in _BOTH}


def _capped(history: History, max_items: int) -> History:
    if len(history) <= max_items:
        return history
    alone = Histories(
        indptr=np.array([0, len(history)], np.int64),
        item=history.item,
        kind=history.kind,
        value=history.value,
        time=history.time,
        # The row number rides along: it says afterwards which order lines stayed.
        position=np.arange(len(history), dtype=np.int64),
        channel=history.channel,
    )
    return history.take(newest_items(alone, max_items).position)
