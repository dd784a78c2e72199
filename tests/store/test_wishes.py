"""Wishes: what a customer excludes never was, what she says can be taken back, and each right stands alone."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, update

from considerate.errors import StoreError, UnknownSubject
from considerate.ranking.history import Channel, History, Kind
from considerate.store.engine import reading, writing
from considerate.store.interactions import (
    NewEvent,
    append_events,
    delete_interactions,
    delete_interactions_before,
    read_history,
)
from considerate.store.keys import Keys
from considerate.store.subjects import ensure_subjects, subject_by_ref
from considerate.store.tables import subject
from considerate.store.wishes import (
    RIGHTS,
    Preference,
    Right,
    bought_with,
    delete_wishes,
    exclude_line,
    exercise,
    include_line,
    read_exclusions,
    read_preferences,
    replace_preferences,
)

AT = datetime(2026, 5, 1, tzinfo=UTC)
INDEX = {"apple": 0, "bread": 1, "cheese": 2}
ITEMS = tuple(INDEX)
BOTH = (Channel.ONLINE, Channel.STORE)


@pytest.fixture
def people(engine: Engine, keys: Keys) -> list[bytes]:
    with writing(engine) as conn:
        return list(ensure_subjects(conn, keys, ["anna", "ben"]).values())


def bought(number: int, item: str, line: str | None, *, kind: Kind = Kind.PURCHASE, days: float = 0) -> NewEvent:
    return NewEvent(f"e{number}", item, kind, AT - timedelta(days=days) + timedelta(hours=number), order_line=line)


def history_of(engine: Engine, ref: bytes, **more: Any) -> History:
    with reading(engine) as conn:
        return read_history(conn, ref, INDEX, channels=BOTH, order_lines=True, **more)


def epoch_of(engine: Engine, ref: bytes) -> int:
    with reading(engine) as conn:
        found = subject_by_ref(conn, ref)
    assert found is not None
    return found.consent_epoch


def same(one: History, other: History) -> bool:
    return one.order_line == other.order_line and all(
        np.array_equal(getattr(one, name), getattr(other, name), equal_nan=name == "value")
        for name in ("item", "kind", "value", "time", "position", "channel")
    )


ROWS = st.lists(
    st.tuples(
        st.sampled_from(ITEMS), st.sampled_from([None, "a", "b", "c"]), st.sampled_from([Kind.PURCHASE, Kind.VIEW])
    ),
    max_size=12,
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS, excluded=st.sets(st.sampled_from(["a", "b", "c"])))
def test_an_excluded_purchase_is_as_if_it_had_never_been(
    engine: Engine, people: list[bytes], rows: list[tuple[str, str | None, Kind]], excluded: set[str]
) -> None:
    anna, ben = people
    events = [bought(n, item, line, kind=kind) for n, (item, line, kind) in enumerate(rows)]
    with writing(engine) as conn:
        for ref in people:
            delete_interactions(conn, ref)
            delete_wishes(conn, ref)
        append_events(conn, anna, events, at=AT)
        append_events(conn, ben, [one for one in events if one.order_line not in excluded], at=AT)
        for line in excluded:
            found = exclude_line(conn, anna, line, reason="gift", at=AT)
            assert (found is None) == (line not in {one.order_line for one in events})
    assert same(history_of(engine, anna), history_of(engine, ben))


def test_an_exclusion_concerns_its_own_customer_and_can_be_taken_back(engine: Engine, people: list[bytes]) -> None:
    anna, ben = people
    with writing(engine) as conn:
        for ref in people:
            append_events(conn, ref, [bought(1, "apple", "l-1"), bought(2, "bread", "l-1")], at=AT)
        first = exclude_line(conn, anna, "l-1", reason="not_me", at=AT)
        again = exclude_line(conn, anna, "l-1", reason="gift", at=AT + timedelta(days=1))
    assert first is not None
    assert (first.item_ids, first.reason, first.excluded_at) == (("apple", "bread"), "not_me", AT)
    assert again == first
    assert history_of(engine, anna).item.tolist() == []
    assert history_of(engine, ben).item.tolist() == [0, 1]
    with reading(engine) as conn:
        assert read_exclusions(conn, anna) == [first]
        assert read_exclusions(conn, ben) == []
    assert (epoch_of(engine, anna), epoch_of(engine, ben)) == (1, 0)
    with writing(engine) as conn:
        assert include_line(conn, anna, "l-1")
        assert include_line(conn, anna, "l-1")
    assert history_of(engine, anna).item.tolist() == [0, 1]
    assert epoch_of(engine, anna) == 2


def test_a_line_that_is_not_hers_cannot_be_excluded(engine: Engine, people: list[bytes]) -> None:
    anna, ben = people
    with writing(engine) as conn:
        append_events(conn, ben, [bought(1, "apple", "his")], at=AT)
        append_events(conn, anna, [bought(1, "apple", None)], at=AT)
        assert exclude_line(conn, anna, "his", reason="gift", at=AT) is None
        assert include_line(conn, anna, "his") is False
        assert bought_with(conn, anna, "his") == ()
        assert read_exclusions(conn, anna) == []
    assert epoch_of(engine, anna) == 0


def test_rows_past_their_retention_are_not_read_and_are_deleted(engine: Engine, people: list[bytes]) -> None:
    anna, ben = people
    untimed = NewEvent("u", "cheese", Kind.PURCHASE, AT)
    with writing(engine) as conn:
        append_events(conn, anna, [bought(0, "apple", "old", days=10), bought(0, "bread", "new")][:1], at=AT)
        append_events(conn, anna, [bought(1, "bread", "new")], at=AT)
        append_events(conn, ben, [untimed], at=AT - timedelta(days=20))
        conn.exec_driver_sql("UPDATE interaction SET timestamp = NULL WHERE event_id = 'u'")
    since = AT - timedelta(days=10)
    assert history_of(engine, anna, since=since).item.tolist() == [0, 1]
    assert history_of(engine, anna, since=since + timedelta(microseconds=1)).item.tolist() == [1]
    assert history_of(engine, anna).item.tolist() == [0, 1]
    assert history_of(engine, ben, since=since).item.tolist() == []
    with writing(engine) as conn:
        assert delete_interactions_before(conn, since + timedelta(microseconds=1)) == 2
    assert history_of(engine, anna).item.tolist() == [1]


def test_preferences_replace_each_other_and_can_be_taken_back(engine: Engine, people: list[bytes]) -> None:
    anna, ben = people
    first = [Preference("item", "tea", "like"), Preference("brand", "Acme", "dislike")]
    with writing(engine) as conn:
        assert replace_preferences(conn, anna, first, at=AT)
        assert replace_preferences(conn, anna, first[::-1], at=AT) is False
        assert replace_preferences(conn, ben, first, at=AT)
    with reading(engine) as conn:
        assert read_preferences(conn, anna) == tuple(sorted(first))
    assert epoch_of(engine, anna) == 1
    other = [Preference("item", "tea", "dislike"), Preference("category", "FOOD > TEA", "like")]
    with writing(engine) as conn:
        assert replace_preferences(conn, anna, other, at=AT)
        assert read_preferences(conn, anna) == tuple(sorted(other))
        assert replace_preferences(conn, anna, [], at=AT)
        assert read_preferences(conn, anna) == ()
        assert read_preferences(conn, ben) == tuple(sorted(first))


def test_a_thing_both_liked_and_disliked_is_refused(engine: Engine, people: list[bytes]) -> None:
    both = [Preference("item", "tea", "like"), Preference("item", "tea", "dislike")]
    with writing(engine) as conn, pytest.raises(StoreError, match="named twice; like it or dislike it, once"):
        replace_preferences(conn, people[0], both, at=AT)


@pytest.mark.parametrize("right", RIGHTS)
def test_a_right_is_exercised_once_and_lifted_by_an_act_of_its_own(
    engine: Engine, people: list[bytes], right: Right
) -> None:
    anna = people[0]
    with writing(engine) as conn:
        assert exercise(conn, anna, right, at=None) == (None, 0)
        assert exercise(conn, anna, right, at=AT) == (AT, 1)
        assert exercise(conn, anna, right, at=AT + timedelta(days=1)) == (AT, 1)
        found = subject_by_ref(conn, anna)
        assert found is not None
        assert (found.objected_at, found.restricted_at) == ((AT, None) if right == "objection" else (None, AT))
        assert exercise(conn, anna, right, at=None) == (None, 2)
        assert exercise(conn, anna, right, at=None) == (None, 2)


def test_nothing_is_kept_of_somebody_who_is_being_erased(engine: Engine, people: list[bytes]) -> None:
    anna = people[0]
    with writing(engine) as conn:
        append_events(conn, anna, [bought(1, "apple", "l-1")], at=AT)
        conn.execute(update(subject).where(subject.c.subject_ref == anna).values(state="erasing"))
    for act in (
        lambda conn: exercise(conn, anna, "objection", at=AT),
        lambda conn: replace_preferences(conn, anna, [Preference("item", "tea", "like")], at=AT),
        lambda conn: exclude_line(conn, anna, "l-1", reason="gift", at=AT),
    ):
        with pytest.raises(UnknownSubject, match="unknown, or being erased; nothing is kept"), writing(engine) as conn:
            act(conn)
    with reading(engine) as conn:
        assert (read_preferences(conn, anna), read_exclusions(conn, anna)) == ((), [])


def test_wishes_need_the_write_lock(engine: Engine, people: list[bytes]) -> None:
    with reading(engine) as conn:
        for act in (
            lambda: exercise(conn, people[0], "objection", at=AT),
            lambda: replace_preferences(conn, people[0], [], at=AT),
            lambda: exclude_line(conn, people[0], "l", reason="gift", at=AT),
            lambda: include_line(conn, people[0], "l"),
            lambda: delete_wishes(conn, people[0]),
        ):
            with pytest.raises(StoreError, match="write lock"):
                act()
