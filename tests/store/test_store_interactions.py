"""Interactions in the store: never twice, and read back as exactly one person's history."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, event, func, select

from considerate.errors import StoreError
from considerate.ranking.history import Channel, History, Kind
from considerate.store.engine import reading, writing
from considerate.store.interactions import (
    INTERACTION_COLUMNS,
    HistoryReader,
    NewEvent,
    append_events,
    delete_interactions,
    ingest,
    read_history,
)
from considerate.store.keys import Keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import interaction, to_micros

AT = datetime(2026, 5, 1, tzinfo=UTC)
INDEX = {"apple": 0, "bread": 1, "cheese": 2}
BOTH = (Channel.ONLINE, Channel.STORE)


@pytest.fixture
def people(engine: Engine, keys: Keys) -> list[bytes]:
    with writing(engine) as conn:
        return sorted(ensure_subjects(conn, keys, ["anna", "ben"]).values())


def bought(event_id: str, item_id: str, hours: float, **more: Any) -> NewEvent:
    return NewEvent(event_id, item_id, Kind.PURCHASE, AT + timedelta(hours=hours), **more)


def history_of(engine: Engine, ref: bytes, channels: Sequence[Channel] = BOTH, **more: Any) -> History:
    with reading(engine) as conn:
        return read_history(conn, ref, INDEX, channels=channels, **more)


def test_a_history_is_oldest_first_with_every_field(engine: Engine, people: list[bytes]) -> None:
    anna, ben = people
    returned = NewEvent("e2", "bread", Kind.RETURN, AT, value=2.0, position=3, channel=Channel.STORE, order_line="o-1")
    with writing(engine) as conn:
        append_events(conn, anna, [bought("e3", "apple", 1), returned], at=AT)
        append_events(conn, ben, [bought("e1", "cheese", 0)], at=AT)
    history = history_of(engine, anna, order_lines=True)
    assert history.item.tolist() == [1, 0]
    assert history.kind.tolist() == [Kind.RETURN, Kind.PURCHASE]
    np.testing.assert_array_equal(history.value, np.array([2.0, np.nan], np.float32))
    assert history.time.tolist() == [AT.timestamp(), AT.timestamp() + 3600]
    assert history.position.tolist() == [3, -1]
    assert history.channel.tolist() == [Channel.STORE, Channel.ONLINE]
    assert history.order_line == ("o-1", "")
    assert history_of(engine, anna).order_line is None
    types: list[Any] = [history.item, history.kind, history.value, history.time, history.position, history.channel]
    assert [array.dtype.name for array in types] == ["int32", "int8", "float32", "float64", "int64", "int8"]


def test_an_event_is_stored_once(engine: Engine, people: list[bytes]) -> None:
    anna, ben = people
    with writing(engine) as conn:
        first = append_events(conn, anna, [bought("e1", "apple", 0), bought("e1", "bread", 0)], at=AT)
        again = append_events(conn, anna, [bought("e1", "apple", 5), bought("e2", "apple", 1)], at=AT)
        other = append_events(conn, ben, [bought("e1", "apple", 0)], at=AT)
        nothing = append_events(conn, ben, [], at=AT)
    assert (first, again, other) == (["stored", "duplicate"], ["duplicate", "stored"], ["stored"])
    assert nothing == []
    assert history_of(engine, anna).item.tolist() == [0, 0]


def test_rows_of_a_channel_that_is_not_allowed_are_not_read(engine: Engine, people: list[bytes]) -> None:
    with writing(engine) as conn:
        events = [bought("e1", "apple", 0), bought("e2", "bread", 1, channel=Channel.STORE)]
        append_events(conn, people[0], events, at=AT)
    fetched: list[Any] = []
    event.listen(engine, "before_cursor_execute", lambda *call: fetched.append(call[2]))
    assert history_of(engine, people[0], [Channel.ONLINE]).item.tolist() == [0]
    assert history_of(engine, people[0], [Channel.STORE]).item.tolist() == [1]
    assert all("channel IN" in statement for statement in fetched if "FROM interaction" in statement)
    fetched.clear()
    assert len(history_of(engine, people[0], [])) == 0
    assert fetched == []


def test_items_that_the_model_does_not_know_are_left_out(engine: Engine, people: list[bytes]) -> None:
    with writing(engine) as conn:
        append_events(conn, people[0], [bought("e1", "zebra", 0), bought("e2", "bread", 1)], at=AT)
    assert history_of(engine, people[0]).item.tolist() == [1]
    assert len(history_of(engine, people[1])) == 0
    assert len(history_of(engine, b"nobody-at-all-16")) == 0


def test_a_history_is_capped_at_its_newest_distinct_items(engine: Engine, people: list[bytes]) -> None:
    events = [
        bought(f"e{place}", item, place, order_line=f"line {place}")
        for place, item in enumerate(["apple", "bread", "apple", "cheese", "bread"])
    ]
    with writing(engine) as conn:
        append_events(conn, people[0], events, at=AT)
    history = history_of(engine, people[0], max_items=2, order_lines=True)
    assert history.item.tolist() == [1, 2, 1]
    assert history.order_line == ("line 1", "line 3", "line 4")


def test_reads_of_a_history_are_counted(engine: Engine, people: list[bytes]) -> None:
    reader = HistoryReader()
    with reading(engine) as conn:
        assert reader.history_reads == 0
        reader.read(conn, people[0], INDEX, channels=BOTH)
        reader.read(conn, people[0], INDEX, channels=BOTH)
    assert reader.history_reads == 2


def test_a_bulk_load_can_be_repeated(engine: Engine, people: list[bytes]) -> None:
    rows = [
        (ref, f"e{number:05}", "apple", 0, None, to_micros(AT) + number, None, 1, None, None, None, to_micros(AT))
        for ref in people
        for number in range(15_000)
    ]
    assert len(rows[0]) == len(INTERACTION_COLUMNS)
    with writing(engine) as conn:
        assert ingest(conn, iter(rows)) == 30_000
    with writing(engine) as conn:
        assert ingest(conn, [*rows[:10], (people[0], "new", *rows[0][2:])]) == 1
        assert conn.execute(select(func.count()).select_from(interaction)).scalar() == 30_001


def test_everything_that_one_person_did_can_be_deleted(engine: Engine, people: list[bytes]) -> None:
    with writing(engine) as conn:
        for ref in people:
            append_events(conn, ref, [bought("e1", "apple", 0), bought("e2", "apple", 1)], at=AT)
        assert delete_interactions(conn, people[0]) == 2
    assert (len(history_of(engine, people[0])), len(history_of(engine, people[1]))) == (0, 2)


def test_interactions_are_written_under_the_write_lock_only(engine: Engine, people: list[bytes]) -> None:
    with reading(engine) as conn:
        with pytest.raises(StoreError, match="write lock"):
            append_events(conn, people[0], [bought("e1", "apple", 0)], at=AT)
        with pytest.raises(StoreError, match="write lock"):
            ingest(conn, [])
        with pytest.raises(StoreError, match="write lock"):
            delete_interactions(conn, people[0])


ROW = st.tuples(
    st.sampled_from(["apple", "bread", "cheese", "zebra"]),
    st.sampled_from([int(kind) for kind in Kind]),
    st.none() | st.sampled_from([1.0, 2.5]),
    st.none() | st.integers(0, 3),
    st.none() | st.integers(0, 3),
    st.sampled_from([0, 1]),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, max_size=12), channels=st.sets(st.sampled_from(BOTH)))
def test_a_history_is_the_sorted_rows_of_its_person(
    engine: Engine, people: list[bytes], rows: list[Any], channels: set[Channel]
) -> None:
    def key(row: Any) -> tuple[Any, ...]:
        item, kind, value, time, position, channel = row
        # Rows without a time or a value come after those that have one, rows without a position before.
        return (
            (time is None, time or 0),
            -1 if position is None else position,
            INDEX[item],
            kind,
            (value is None, value or 0),
            channel,
        )

    expected = sorted((row for row in rows if row[0] in INDEX and Channel(row[5]) in channels), key=key)
    with writing(engine) as conn:
        delete_interactions(conn, people[0])
        ingest(
            conn,
            (
                (people[0], f"{place}", item, kind, value, time, position, channel, None, None, None, 0)
                for place, (item, kind, value, time, position, channel) in enumerate(rows)
            ),
        )
        history = read_history(conn, people[0], INDEX, channels=channels)
    assert history.item.tolist() == [INDEX[row[0]] for row in expected]
    assert history.kind.tolist() == [row[1] for row in expected]
    assert history.position.tolist() == [-1 if row[4] is None else row[4] for row in expected]
    assert history.channel.tolist() == [row[5] for row in expected]
    times = [np.nan if row[3] is None else row[3] / 1e6 for row in expected]
    np.testing.assert_array_equal(history.time, np.array(times, np.float64))
    values = [np.nan if row[2] is None else row[2] for row in expected]
    np.testing.assert_array_equal(history.value, np.array(values, np.float32))
