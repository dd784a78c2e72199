"""Many writers at once: no event is lost, the chain holds, the last event of the ledger is what is current."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, func, select
from tests.databases import Database

from considerate.consent.decision import Policy
from considerate.consent.events import Recorded
from considerate.consent.ledger import grant, head, verify, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.projection import projection, read_current, replay
from considerate.consent.purposes import Purpose
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import consent_event, subject

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
PATIENCE_MS = 60_000


def assert_sound(engine: Engine, acknowledged: set[tuple[int, str]]) -> None:
    with reading(engine) as conn:
        events = conn.execute(select(consent_event.c.seq, consent_event.c.event_id)).all()
        assert {(seq, event_id.hex()) for seq, event_id in events} == acknowledged
        assert verify(conn) is None
        assert projection(conn) == replay(conn)
        assert conn.execute(select(func.sum(subject.c.consent_epoch))).scalar() == head(conn).seq == len(acknowledged)


def test_threads_that_grant_and_withdraw_lose_no_event(
    database: Database, engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    # SQLite lets nobody stand in line: one thread may wait until all others are done.
    patient = database.open(busy_timeout_ms=PATIENCE_MS)

    def act(number: int) -> Recorded:
        with writing(patient) as conn:
            ref, purpose = adults[number % 2], Purpose.TRAIN_MODELS
            if number % 3 == 0:
                return withdraw(conn, keys, ref, purpose, at=AT)
            return grant(conn, keys, ref, purpose, notice=current_notice(), at=AT, policy=Policy())

    with ThreadPoolExecutor(16) as pool:
        recorded = list(pool.map(act, range(200)))
    acknowledged = {(receipt.seq, receipt.event_id.hex()) for receipt in recorded}
    assert_sound(engine, acknowledged)
    with reading(engine) as conn:
        for who in (0, 1):
            last = max((receipt for receipt in recorded[who::2]), key=lambda receipt: receipt.seq)
            assert read_current(conn, adults[who])[Purpose.TRAIN_MODELS].state is last.state


WRITER = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from considerate.consent.decision import Policy
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.store.engine import open_store, writing
from considerate.store.keys import load_keys

url, folder, ref, patience = sys.argv[1:]
engine = open_store(url, create=False, busy_timeout_ms=int(patience))
keys, ref = load_keys(Path(folder), create=False), bytes.fromhex(ref)
at, said = datetime(2026, 5, 1, 12, tzinfo=UTC), []
for number in range(20):
    with writing(engine) as conn:
        if number % 2:
            done = withdraw(conn, keys, ref, Purpose.TRAIN_MODELS, at=at)
        else:
            done = grant(conn, keys, ref, Purpose.TRAIN_MODELS, notice=current_notice(), at=at, policy=Policy())
    said.append((done.seq, done.event_id.hex()))
print(json.dumps(said))
"""


@pytest.mark.slow
def test_processes_that_grant_and_withdraw_lose_no_event(engine: Engine, tmp_path: Path) -> None:
    keys = load_keys(tmp_path / "keys", create=True)
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, ["anna"], age_bands={"anna": "adult"})["anna"]
    arguments = [str(engine.url), str(tmp_path / "keys"), ref.hex(), str(PATIENCE_MS)]
    processes = [
        subprocess.Popen([sys.executable, "-c", WRITER, *arguments], stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    said = [json.loads(process.communicate()[0]) for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert_sound(engine, {(seq, event_id) for receipts in said for seq, event_id in receipts})
