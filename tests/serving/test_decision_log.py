"""The decision log: nothing waits for it, nothing is written twice, and what a crash takes is bounded and counted."""

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select
from tests.databases import Database

from considerate.errors import StoreError, StoreUnavailable
from considerate.serving.decision_log import NoDecisionLog, QueuedDecisions
from considerate.serving.decision_tally import SUFFIX, Tally, lost_by_the_dead
from considerate.store.decisions import DecidedItem, ServedDecision, decisions_url, open_decisions
from considerate.store.engine import reading
from considerate.store.tables import served_decision

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
ANN = b"a" * 16
DECISION = ServedDecision(uuid4(), ANN, AT, "home", "personalised", "ok", items=(DecidedItem("tea", ("milk",)),))

Build = Callable[..., QueuedDecisions]


def another() -> ServedDecision:
    return replace(DECISION, decision_id=uuid4())


def ids(url: str) -> set[bytes]:
    engine = open_decisions(url)
    with reading(engine) as conn:
        found = {bytes(one) for one in conn.execute(select(served_decision.c.decision_id)).scalars()}
    engine.dispose()
    return found


@pytest.fixture
def url(tmp_path: Path) -> str:
    return decisions_url("sqlite:///considerate.db", tmp_path)


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Logs, all closed at the end."""
    made: list[QueuedDecisions] = []

    def one(url: str, **options: object) -> QueuedDecisions:
        settings = {"capacity": 100, "flush_seconds": 0.02, **options}
        made.append(QueuedDecisions(url, tmp_path / "tallies", **settings))  # type: ignore[arg-type]  # by name
        return made[-1]

    yield one
    for log in made:
        log.close()


def await_(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_what_was_taken_is_found_by_its_owner_soon_after(build: Build, database: Database, tmp_path: Path) -> None:
    log = build(decisions_url(database.url, tmp_path))
    assert log.take(DECISION)
    await_(lambda: log.find(ANN, DECISION.decision_id, since=AT) == DECISION, "written")
    assert log.of(ANN, limit=5, before=None, since=AT) == [DECISION]
    assert log.find(b"b" * 16, DECISION.decision_id, since=AT) is None
    log.close()  # before the database goes


def test_a_thousand_decisions_of_many_threads_are_a_thousand_rows(build: Build, url: str) -> None:
    written: list[int] = []
    log = build(url, capacity=2_000, on_written=written.append)
    taken: list[UUID] = []

    def serve() -> None:
        for _ in range(125):
            decision = another()
            assert log.take(decision)
            taken.append(decision.decision_id)

    threads = [threading.Thread(target=serve) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    assert ids(url) == {one.bytes for one in taken}
    assert sum(written) == len(taken) == 1_000


def test_closing_writes_what_waits_and_takes_nothing_more(build: Build, url: str, tmp_path: Path) -> None:
    refused: list[int] = []
    log = build(url, flush_seconds=0.25, on_refused=refused.append)
    assert log.take(DECISION)
    log.close()
    assert ids(url) == {DECISION.decision_id.bytes}
    assert not log.ready()
    assert not log.take(another())
    assert refused == [1]
    assert list((tmp_path / "tallies").iterdir()) == [], "nothing is owed"


def test_a_full_queue_takes_nothing_and_nobody_waits_for_it(build: Build, url: str, tmp_path: Path) -> None:
    log = build(url, capacity=3)
    open_decisions(url).dispose()
    held = sqlite3.connect(tmp_path / "decisions.db", isolation_level=None)
    held.execute("BEGIN IMMEDIATE")
    decisions = [another() for _ in range(5)]
    started = time.perf_counter()
    assert [log.take(one) for one in decisions] == [True, True, True, False, False]
    assert not log.ready()
    assert time.perf_counter() - started < 0.5, "however long the writer waits for its lock"
    held.execute("ROLLBACK")
    held.close()
    await_(log.ready, "room again")
    assert log.take(decisions[3])
    log.close()
    assert ids(url) == {one.decision_id.bytes for one in decisions[:4]}


def test_a_log_that_cannot_be_written_says_so_once_and_owes_what_it_took(
    build: Build, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "decisions.db").write_bytes(b"surely no database " * 500)
    url = decisions_url("sqlite:///considerate.db", tmp_path)
    log = build(url, capacity=2)
    assert [log.take(another()) for _ in range(3)] == [True, True, False]
    await_(lambda: "not a considerate database, or damaged" in caplog.text, "the reason is logged")
    time.sleep(0.1)
    log.close()
    assert caplog.text.count("decisions cannot be written") == 1
    assert "2 decisions could not be written; the next start counts them as lost" in caplog.text
    (tmp_path / "decisions.db").unlink()
    lost: list[int] = []
    following = build(url, on_lost=lost.append)
    following.start()
    await_(lambda: lost == [2], "counted at the next start")


def test_where_no_tally_can_be_kept_nothing_is_taken(
    url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    log = QueuedDecisions(url, tmp_path / "file", capacity=5, flush_seconds=0.1)
    assert not log.ready()
    assert not log.take(DECISION)
    assert "no decision can be counted there" in caplog.text
    log.close()


def test_a_log_whose_file_is_replaced_writes_into_the_new_one(build: Build, url: str, tmp_path: Path) -> None:
    log = build(url)
    log.take(DECISION)
    await_(lambda: log.find(ANN, DECISION.decision_id, since=AT) is not None, "written")
    for file in tmp_path.glob("decisions.db*"):
        file.unlink()
    second = another()
    log.take(second)
    await_(lambda: log.find(ANN, second.decision_id, since=AT) == second, "written anew")
    assert log.find(ANN, DECISION.decision_id, since=AT) is None


def test_a_log_that_is_none_takes_nothing() -> None:
    log = NoDecisionLog()
    assert not log.ready()
    assert not log.take(DECISION)
    assert log.find(ANN, DECISION.decision_id, since=AT) is None
    assert log.of(ANN, limit=5, before=None, since=AT) == []


KILLED = """
import sys, time
from dataclasses import replace
from pathlib import Path
from uuid import uuid4
from tests.serving.test_decision_log import DECISION
from considerate.errors import StoreError, StoreUnavailable
from considerate.serving.decision_log import QueuedDecisions
log = QueuedDecisions(sys.argv[1], Path(sys.argv[2]), capacity=int(sys.argv[3]), flush_seconds=0.01)
while True:
    decision = replace(DECISION, decision_id=uuid4())
    if log.take(decision):
        sys.stdout.buffer.write(decision.decision_id.bytes)
        sys.stdout.buffer.flush()
"""


@pytest.mark.slow
def test_what_a_killed_worker_had_taken_is_written_or_counted_and_never_more_than_the_queue_holds(
    build: Build, url: str, tmp_path: Path
) -> None:
    capacity, answered, lost_in_all = 40, set[bytes](), 0
    for attempt in range(4):
        command = [sys.executable, "-c", KILLED, url, str(tmp_path / "tallies"), str(capacity)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
        assert process.stdout is not None
        out = process.stdout.read(16 * (150 + 37 * attempt))
        os.kill(process.pid, signal.SIGKILL)
        out += process.stdout.read()
        process.stdout.close()
        process.wait()
        answered |= {out[start : start + 16] for start in range(0, len(out) - 15, 16)}
        lost: list[int] = []
        log = build(url, on_lost=lost.append)
        log.start()
        await_(lambda: not list((tmp_path / "tallies").glob(f"*{SUFFIX}"))[1:], "only the tally of the living is left")
        log.close()
        assert sum(lost) <= capacity
        lost_in_all += sum(lost)
        missing = answered - ids(url)
        assert len(missing) <= lost_in_all <= len(missing) + attempt + 1, "one of each kill may not have been answered"


def test_a_tally_of_a_living_worker_is_left_alone_and_that_of_a_dead_one_counted_once(tmp_path: Path) -> None:
    living, gone = Tally(tmp_path), Tally(tmp_path)
    for _ in range(5):
        living.take()
        gone.take()
    gone.begin(b"1" * 16, 2)
    gone.wrote(2)
    gone.close(forget=False)
    assert list(lost_by_the_dead(tmp_path, lambda _: False)) == [3]
    assert list(lost_by_the_dead(tmp_path, lambda _: False)) == []
    living.close(forget=True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("came_through", "lost"), [(True, 3), (False, 5)])
def test_a_worker_that_died_between_commit_and_count_lost_nothing_of_that_batch(
    tmp_path: Path, came_through: bool, lost: int
) -> None:
    tally = Tally(tmp_path)
    for _ in range(5):
        tally.take()
    tally.begin(b"1" * 16, 2)
    tally.close(forget=False)
    assert list(lost_by_the_dead(tmp_path, lambda first: came_through and first == b"1" * 16)) == [lost]


def test_a_tally_cut_short_counts_for_nothing(tmp_path: Path) -> None:
    (tmp_path / f"odd{SUFFIX}").write_bytes(b"\xff" * 7)
    assert list(lost_by_the_dead(tmp_path, lambda _: False)) == [0]


def owing(folder: Path, rows: int) -> Path:
    """Leave the tally of a worker that was killed with `rows` taken and not written."""
    known = set(folder.glob("*")) if folder.exists() else set()
    tally = Tally(folder)
    for _ in range(rows):
        tally.take()
    tally.close(forget=False)
    (made,) = set(folder.glob("*")) - known
    return made


def test_a_tally_that_cannot_be_opened_costs_neither_the_others_nor_the_log(
    build: Build, url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    odd = tmp_path / "tallies" / f"00{SUFFIX}"
    odd.mkdir(parents=True)
    owing(tmp_path / "tallies", 3)
    lost: list[int] = []
    log = build(url, on_lost=lost.append)
    assert log.take(DECISION)
    await_(lambda: log.find(ANN, DECISION.decision_id, since=AT) == DECISION, "written all the same")
    await_(lambda: lost == [3], "the other one is counted")
    await_(lambda: f"{odd}: what its worker lost cannot be counted: Is a directory; check its owner" in caplog.text, "")
    assert "decisions cannot be written" not in caplog.text


def test_what_was_counted_is_told_although_a_later_tally_cannot_be(tmp_path: Path) -> None:
    owing(tmp_path, 3).rename(tmp_path / f"00{SUFFIX}")
    tally = Tally(tmp_path)
    tally.take()
    tally.begin(b"1" * 16, 1)
    tally.close(forget=False)
    told: list[int] = []

    def locked(_: bytes) -> bool:
        raise StoreError("decisions.db: locked by another process")

    with pytest.raises(StoreError):
        told.extend(lost_by_the_dead(tmp_path, locked))
    assert told == [3]
    assert list(lost_by_the_dead(tmp_path, lambda _: False)) == [1]


def test_a_server_that_says_nothing_holds_up_no_reader_of_decisions(build: Build) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        log = build(f"postgresql://shop@127.0.0.1:{silent.getsockname()[1]}/considerate")
        started = time.perf_counter()
        with pytest.raises(StoreUnavailable):
            log.find(ANN, DECISION.decision_id, since=AT)
        assert time.perf_counter() - started < 5
