from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from considerate.consent.purposes import Purpose
from considerate.demo.world import GROUPS, assign_groups, shift_weeks, weeks_to_now

NOW = datetime(2026, 11, 22, 16, 0, tzinfo=UTC)
HOUSEHOLDS = [str(number) for number in range(1, 2470)]


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2026, 11, 22)))  # noqa: DTZ001 - made aware below
def test_the_last_purchase_moves_into_the_past_week_on_its_own_weekday(last: datetime) -> None:
    last = last.replace(tzinfo=UTC)
    moved = last + timedelta(weeks=weeks_to_now(last, NOW))
    assert NOW - timedelta(weeks=1) < moved <= NOW
    assert moved.weekday() == last.weekday()


def test_every_purchase_is_moved_by_the_same_weeks() -> None:
    days = [datetime(2017, 1, 1, tzinfo=UTC), datetime(2018, 1, 1, 4, 1, tzinfo=UTC)]
    table = pa.table({"item_id": ["a", "b"], "timestamp": pa.array(days, pa.timestamp("us", tz="UTC"))})
    moved = shift_weeks(table, 2)["timestamp"].to_pylist()
    assert moved == [day + timedelta(days=14) for day in days]


def test_the_rule_leaves_at_least_800_households_without_any_record() -> None:
    groups = assign_groups(HOUSEHOLDS)
    assert len(groups) == len(HOUSEHOLDS)
    assert sum(not group.granted for group in groups.values()) >= 800


def test_the_rule_depends_on_the_seed_alone() -> None:
    shuffled = HOUSEHOLDS[::-1]
    assert assign_groups(HOUSEHOLDS) == assign_groups(shuffled)
    assert assign_groups(HOUSEHOLDS) != assign_groups(HOUSEHOLDS, seed=1)


def test_the_shares_of_the_groups_are_kept_to_the_household() -> None:
    groups = list(assign_groups(HOUSEHOLDS).values())
    assert sum(group.share for group in GROUPS) == pytest.approx(1)
    for group in GROUPS:
        assert abs(groups.count(group) - group.share * len(HOUSEHOLDS)) <= 1


def test_whoever_allows_anything_allows_till_purchases_and_nobody_allows_sensitive_goods() -> None:
    for group in GROUPS:
        assert not group.granted or Purpose.LINK_IN_STORE in group.granted
        assert Purpose.SENSITIVE_CATEGORIES not in group.granted
