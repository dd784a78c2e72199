"""A repeated request is done once, whoever sends it again and whenever within its day."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, func, select

from considerate.errors import StoreError
from considerate.store.answers import (
    CUSTOMER,
    KEPT,
    SERVICE,
    AnsweredBefore,
    KeyReused,
    Once,
    Repeatable,
    do_once,
    forget_answers_of,
    purge_answers,
)
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.tables import idempotent_answer

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
ASKED = Repeatable(CUSTOMER, "ann", "key 1", "digest")


def do(
    engine: Engine, keys: Keys, asked: Repeatable, *, at: datetime = AT, act: Callable[[], int | None] = lambda: 7
) -> int | None:
    with writing(engine) as conn:
        return do_once(conn, keys, Once(asked, str, 201), act, at=at)


class Counted:
    """Does something, and says how often it did."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> int:
        self.times += 1
        return 7


def kept(engine: Engine) -> int:
    with reading(engine) as conn:
        return conn.execute(select(func.count()).select_from(idempotent_answer)).scalar_one()


def test_a_request_is_done_once_and_answered_the_same(engine: Engine, keys: Keys) -> None:
    done = Counted()
    assert do(engine, keys, ASKED, act=done) == 7
    for _ in range(3):
        with pytest.raises(AnsweredBefore) as again:
            do(engine, keys, ASKED, act=done)
        assert (again.value.status, again.value.answer) == (201, "7")
    assert done.times == 1


def test_a_key_that_comes_with_another_request_is_refused(engine: Engine, keys: Keys) -> None:
    do(engine, keys, ASKED)
    with pytest.raises(KeyReused):
        do(engine, keys, replace(ASKED, request="another"))


@pytest.mark.parametrize("other", [{"caller": "bob"}, {"kind": SERVICE}, {"key": "key 2"}])
def test_a_key_is_its_callers_own(engine: Engine, keys: Keys, other: dict[str, str]) -> None:
    do(engine, keys, ASKED)
    assert do(engine, keys, replace(ASKED, request="another", **other)) == 7
    assert kept(engine) == 2


def test_a_key_may_be_used_anew_after_its_day_and_not_before(engine: Engine, keys: Keys) -> None:
    do(engine, keys, ASKED)
    with pytest.raises(AnsweredBefore):
        do(engine, keys, ASKED, at=AT + KEPT - timedelta(microseconds=1))
    assert do(engine, keys, replace(ASKED, request="another"), at=AT + KEPT) == 7
    assert kept(engine) == 1


def test_where_nothing_was_written_nothing_is_kept(engine: Engine, keys: Keys) -> None:
    assert do(engine, keys, ASKED, act=lambda: None) is None
    assert kept(engine) == 0


def test_what_fails_may_be_tried_again(engine: Engine, keys: Keys) -> None:
    with pytest.raises(ZeroDivisionError):
        do(engine, keys, ASKED, act=lambda: 1 // 0)
    assert do(engine, keys, ASKED) == 7


def test_of_the_same_request_sent_many_times_at_once_one_is_done(engine: Engine, keys: Keys) -> None:
    done = Counted()

    def send(_: int) -> str:
        try:
            do(engine, keys, ASKED, act=done)
        except (AnsweredBefore, StoreError) as refused:
            return type(refused).__name__
        return "done"

    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(send, range(40)))
    assert outcomes.count("done") == 1
    assert kept(engine) == 1


def test_no_caller_key_or_request_can_be_read_back(engine: Engine, keys: Keys) -> None:
    do(engine, keys, ASKED)
    with reading(engine) as conn:
        row = conn.execute(select(idempotent_answer)).one()
    stored = b"".join(value if isinstance(value, bytes) else str(value).encode() for value in row)
    assert not [word for word in (b"ann", b"key 1", b"digest") if word in stored]
    assert len(row.caller) == len(row.key_hash) == len(row.request_hash) == 32


def test_answers_go_after_a_day_and_at_once_with_their_customer(engine: Engine, keys: Keys) -> None:
    do(engine, keys, ASKED)
    do(engine, keys, replace(ASKED, kind=SERVICE))
    do(engine, keys, replace(ASKED, caller="bob"), at=AT + timedelta(hours=1))
    with writing(engine) as conn:
        assert forget_answers_of(conn, keys, "ann") == 1
        assert purge_answers(conn, at=AT + KEPT) == 1
    assert kept(engine) == 1
    with writing(engine) as conn:
        assert purge_answers(conn, at=AT + KEPT + timedelta(hours=1)) == 1


def test_a_connection_that_only_reads_does_nothing_once(engine: Engine, keys: Keys) -> None:
    with reading(engine) as conn, pytest.raises(StoreError, match="does not hold the write lock"):
        do_once(conn, keys, Once(ASKED, str), lambda: 7, at=AT)
