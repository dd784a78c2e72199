"""Served decisions: written once, read by their owner, cut from her at an erasure."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Engine
from tests.databases import Database

from considerate.errors import StoreError
from considerate.store.decisions import (
    DecidedItem,
    ServedDecision,
    cut_decisions_of,
    decisions_of,
    decisions_url,
    delete_decisions_before,
    find_decision,
    has_decision,
    insert_decisions,
    open_decisions,
)
from considerate.store.engine import reading, writing

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANN, BEN = b"a" * 16, b"b" * 16
DECISION = ServedDecision(
    decision_id=UUID(int=7),
    subject_ref=ANN,
    at=AT,
    surface="home",
    basis="personalised",
    reason="ok",
    purposes=("personalise_onsite", "link_in_store"),
    consent_epoch=3,
    consent_seq=41,
    notice_version=1,
    model_version="shop-4",
    catalogue_version=2,
    items=(DecidedItem("tea", ("milk",)), DecidedItem("café")),
    facts={"goal": "all", "n": 10},
)


@pytest.fixture
def engine(database: Database, tmp_path: Path) -> Iterator[Engine]:
    engine = open_decisions(decisions_url(database.url, tmp_path))
    assert (tmp_path / "decisions.db").exists() == (database.kind == "sqlite")
    yield engine
    engine.dispose()


def write(engine: Engine, *decisions: ServedDecision) -> int:
    with writing(engine) as conn:
        return insert_decisions(conn, [decision.row() for decision in decisions])


def test_a_decision_comes_back_as_it_was_served(engine: Engine) -> None:
    bare = ServedDecision(UUID(int=8), None, AT, "home", "non_personalised", "no_consent")
    assert write(engine, DECISION, bare) == 2
    with reading(engine) as conn:
        assert find_decision(conn, ANN, DECISION.decision_id) == DECISION
        assert decisions_of(conn, ANN) == [DECISION]
        assert has_decision(conn, bare.decision_id.bytes)
        assert not has_decision(conn, bytes(16))


def test_a_decision_is_written_once_however_often_it_is_tried(engine: Engine) -> None:
    assert [write(engine, DECISION), write(engine, DECISION, replace(DECISION, surface="cart"))] == [1, 0]
    with reading(engine) as conn:
        assert decisions_of(conn, ANN) == [DECISION]


def test_anothers_decision_is_not_found(engine: Engine) -> None:
    write(engine, DECISION)
    with reading(engine) as conn:
        assert find_decision(conn, BEN, DECISION.decision_id) is None
        assert decisions_of(conn, BEN) == []
        assert decisions_of(conn, BEN, before=DECISION.decision_id) == []


def test_pages_of_decisions_run_from_the_newest_to_the_oldest_without_a_gap(engine: Engine) -> None:
    # Pairs at one moment: the id alone tells them apart.
    made = [replace(DECISION, decision_id=uuid4(), at=AT + timedelta(seconds=n // 2)) for n in range(7)]
    write(engine, *made)
    seen: list[ServedDecision] = []
    with reading(engine) as conn:
        while page := decisions_of(conn, ANN, limit=2, before=seen[-1].decision_id if seen else None):
            seen += page
    assert seen == sorted(made, key=lambda one: (one.at, one.decision_id.bytes), reverse=True)


def test_after_an_erasure_nothing_leads_from_a_decision_to_the_person(engine: Engine) -> None:
    write(engine, DECISION, replace(DECISION, decision_id=uuid4(), subject_ref=BEN))
    with writing(engine) as conn:
        assert cut_decisions_of(conn, ANN) == 1
        assert cut_decisions_of(conn, ANN) == 0
    with reading(engine) as conn:
        assert decisions_of(conn, ANN) == []
        assert has_decision(conn, DECISION.decision_id.bytes)
        assert len(decisions_of(conn, BEN)) == 1
        left = conn.exec_driver_sql("SELECT * FROM served_decision WHERE subject_ref IS NULL").one()
    assert not [value for value in left if value in (ANN, 3, 41) or "milk" in str(value) or "tea" in str(value)]


def test_decisions_past_their_time_are_deleted(engine: Engine) -> None:
    write(engine, DECISION, replace(DECISION, decision_id=uuid4(), at=AT - timedelta(microseconds=1)))
    of_nobody = replace(DECISION, decision_id=uuid4(), subject_ref=None, at=AT - timedelta(days=1))
    write(engine, of_nobody)
    with writing(engine) as conn:
        assert delete_decisions_before(conn, AT, kept_for=[ANN]) == 1
        assert delete_decisions_before(conn, AT, kept_for=[BEN]) == 1
    with reading(engine) as conn:
        assert decisions_of(conn, ANN) == [DECISION]


def test_a_decision_past_its_time_is_shown_no_longer_although_it_is_still_there(engine: Engine) -> None:
    later = replace(DECISION, decision_id=uuid4(), at=AT + timedelta(microseconds=1))
    write(engine, DECISION, later)
    with reading(engine) as conn:
        assert find_decision(conn, ANN, DECISION.decision_id, since=AT) == DECISION
        assert find_decision(conn, ANN, DECISION.decision_id, since=later.at) is None
        assert decisions_of(conn, ANN, since=later.at) == [later]
        assert decisions_of(conn, ANN, before=later.decision_id, since=later.at) == []
        assert decisions_of(conn, ANN, before=DECISION.decision_id, since=later.at) == []
        assert decisions_of(conn, ANN, since=AT) == [later, DECISION]


def test_decisions_lie_in_the_store_itself_where_it_is_no_file(tmp_path: Path) -> None:
    url = "postgresql+psycopg://shop@host/considerate"
    assert decisions_url(url, tmp_path) == url


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "decisions.db").write_bytes(b"not a database, surely not one" * 100)
    with pytest.raises(StoreError, match="not a considerate database, or damaged; restore it"):
        open_decisions(decisions_url("sqlite:///considerate.db", tmp_path))


def test_writing_needs_a_transaction_that_may_write(engine: Engine) -> None:
    with reading(engine) as conn, pytest.raises(StoreError, match="does not hold the write lock"):
        insert_decisions(conn, [DECISION.row()])
