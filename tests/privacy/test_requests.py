"""Requests: one of a kind at a time, a month to answer, and a way back only while nothing was begun."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy import Engine
from tests.privacy.known_people import AT

from considerate.errors import StoreError
from considerate.privacy.installation import Installation
from considerate.privacy.requests import (
    PrivacyRequest,
    cancel_request,
    complete_request,
    delete_answered,
    erasure_id,
    find_request,
    month_after,
    note_step,
    open_request,
    read_requests,
    start_request,
)
from considerate.store.engine import reading
from considerate.store.keys import Keys
from considerate.store.subjects import ensure_subjects


@pytest.fixture
def asked(place: Installation) -> PrivacyRequest:
    with place.transaction() as conn:
        ref = ensure_subjects(conn, place.keys, ["anna"], at=AT)["anna"]
        return open_request(conn, ref, "access", at=AT)


@pytest.mark.parametrize(
    ("day", "due"),
    [
        ("2026-11-22", "2026-12-22"),
        ("2026-12-31", "2027-01-31"),
        ("2027-01-30", "2027-02-28"),
        ("2028-01-31", "2028-02-29"),
    ],
)
def test_a_month_is_the_same_day_of_the_next_or_its_last(day: str, due: str) -> None:
    assert month_after(datetime.fromisoformat(day).replace(tzinfo=UTC)).date().isoformat() == due


def test_a_request_that_is_open_is_given_back_in_place_of_another(place: Installation, asked: PrivacyRequest) -> None:
    assert (asked.status, asked.due_at) == ("pending", month_after(AT))
    with place.transaction() as conn:
        assert open_request(conn, asked.subject_ref, "access", at=AT + timedelta(days=1)) == asked
        assert start_request(conn, asked.request_id)
        again = open_request(conn, asked.subject_ref, "access", at=AT + timedelta(days=1))
        assert (again.request_id, again.status) == (asked.request_id, "in_progress")
        assert complete_request(conn, asked.request_id, at=AT, steps={"written_at": "now"})
        other = open_request(conn, asked.subject_ref, "access", at=AT)
        assert other.request_id != asked.request_id
        assert [one.request_id for one in read_requests(conn, open_only=True)] == [other.request_id]


def test_a_request_is_cancelled_only_while_it_is_pending(place: Installation, asked: PrivacyRequest) -> None:
    with place.transaction() as conn:
        assert start_request(conn, asked.request_id)
        assert start_request(conn, asked.request_id) is False
        assert cancel_request(conn, asked.request_id, at=AT) is False
        assert complete_request(conn, asked.request_id, at=AT, steps={})
        assert complete_request(conn, asked.request_id, at=AT, steps={}) is False
        other = open_request(conn, asked.subject_ref, "access", at=AT)
        assert cancel_request(conn, other.request_id, at=AT)
        found = find_request(conn, other.request_id)
        assert found is not None
        assert (found.status, found.completed_at) == ("cancelled", AT)
        note_step(conn, found, told_at="then")
        noted = find_request(conn, other.request_id)
        assert noted is not None
        assert dict(noted.steps) == {"told_at": "then"}


def test_answered_requests_are_deleted_after_their_time_and_open_ones_never(
    place: Installation, asked: PrivacyRequest
) -> None:
    with place.transaction() as conn:
        assert delete_answered(conn, AT + timedelta(days=999)) == 0
        complete_request(conn, asked.request_id, at=AT, steps={})
        assert delete_answered(conn, AT) == 0
        assert delete_answered(conn, AT + timedelta(microseconds=1)) == 1


def test_an_erasure_s_id_is_its_customer_s_own_and_needs_nothing_kept() -> None:
    keys, others = Keys.from_master(bytes(32)), Keys.from_master(bytes([1]) * 32)
    found = UUID(bytes=erasure_id(keys, "anna"))
    assert found.version == 4
    assert erasure_id(keys, "anna") == found.bytes
    assert len({found.bytes, erasure_id(keys, "ben"), erasure_id(others, "anna")}) == 3


def test_requests_need_the_write_lock(engine: Engine) -> None:
    with reading(engine) as conn, pytest.raises(StoreError, match="write lock"):
        open_request(conn, bytes(16), "access", at=AT)
