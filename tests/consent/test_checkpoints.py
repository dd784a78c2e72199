"""Checkpoints: whatever is done to a ledger and its tables, a head that was signed elsewhere gives it away."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, Table, delete, insert, select, text, update

from considerate.consent.auditing import Audit, audit
from considerate.consent.checkpoints import check_against_checkpoints, head_at, take_checkpoint
from considerate.consent.decision import ConsentState
from considerate.consent.events import GENESIS, HASHED, ConsentEvent, canonical_row, chain_hash
from considerate.consent.ledger import append_many, head
from considerate.consent.notices import current_notice
from considerate.consent.projection import read_current
from considerate.consent.purposes import Purpose
from considerate.consent.restoring import accept_loss
from considerate.consent.signed_heads import newest_checkpoint
from considerate.errors import ConsentError
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.signing import load_public_keys, load_signing_key, rotate_signing_key
from considerate.store.tables import consent_current, consent_event, consent_evidence, ledger_checkpoint

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
QUICK = settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
SIGNED = (4, 8, 12)
LENGTH = SIGNED[-1]
PURPOSES = list(Purpose)


def add(engine: Engine, keys: Keys, refs: list[bytes], events: int) -> None:
    with writing(engine) as conn:
        first = head(conn).seq
        append_many(
            conn,
            keys,
            [
                ConsentEvent(
                    refs[n % 3],
                    PURPOSES[n // 3 % 5],
                    ConsentState.GIVEN,
                    current_notice(),
                    AT,
                    # Each time its own, so that no two are alike.
                    evidence={"form": n},
                )
                for n in range(first, first + events)
            ],
            at=AT,
        )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def signing(tmp_path: Path) -> Path:
    load_signing_key(tmp_path / "keys", create=True)
    return tmp_path / "keys"


@pytest.fixture
def ledger(engine: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path) -> Engine:
    """Twelve events, signed after each fourth."""
    for number in range(len(SIGNED)):
        add(engine, keys, adults, 4)
        take_checkpoint(engine, folder, signing, at=AT + timedelta(days=number))
    return engine


@contextmanager
def behind_the_triggers(
    engine: Engine, emptied: Sequence[Table] = (consent_evidence, consent_current, ledger_checkpoint)
) -> Iterator[Connection]:
    """A connection of somebody who may change every table; those that point at events are emptied."""
    with writing(engine) as conn:
        if conn.dialect.name == "sqlite":
            for name in conn.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
                conn.execute(text(f"DROP TRIGGER {name}"))
        else:
            conn.execute(text("ALTER TABLE consent_event DISABLE TRIGGER USER"))
        for table in emptied:
            conn.execute(delete(table))
        yield conn
        conn.rollback()


def rows_of(conn: Connection) -> list[dict[str, Any]]:
    return [dict(row._mapping) for row in conn.execute(select(consent_event).order_by(consent_event.c.seq))]


def forged_chain(rows: list[dict[str, Any]], start: int) -> list[dict[str, Any]]:
    """Number the rows and make the chain fit together again from row `start` on, as an attacker would."""
    for number in range(start, len(rows)):
        previous = rows[number - 1]["hash"] if number else GENESIS
        rows[number] = {**rows[number], "seq": number + 1, "prev_hash": previous}
        rows[number]["hash"] = chain_hash(previous, canonical_row([rows[number][name] for name in HASHED]))
    return rows


def write_anew(conn: Connection, rows: list[dict[str, Any]]) -> None:
    conn.execute(delete(consent_event))
    if rows:
        conn.execute(insert(consent_event), rows)


def look(conn: Connection, folder: Path, signing: Path) -> Audit:
    return audit(conn, folder, load_public_keys(signing))


def test_a_checkpoint_is_a_file_and_a_copy(ledger: Engine, folder: Path, signing: Path) -> None:
    found = json.loads((folder / "12.json").read_text())
    with reading(ledger) as conn:
        assert (found["seq"], found["head_hash"]) == (12, head(conn).hash.hex())
        copies = conn.execute(select(ledger_checkpoint.c.seq).order_by(ledger_checkpoint.c.seq)).scalars().all()
        assert tuple(copies) == SIGNED
        sound = look(conn, folder, signing)
        assert (sound.head.seq, sound.checkpoints, sound.newest, sound.problems) == (12, 3, 12, ())
        check_against_checkpoints(conn, folder, load_public_keys(signing))
    assert sorted(path.name for path in folder.iterdir()) == ["12.json", "4.json", "8.json", "head.json"]


def test_the_same_head_is_signed_once_and_an_empty_ledger_never(
    engine: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path
) -> None:
    assert take_checkpoint(engine, folder, signing, at=AT) is None
    assert newest_checkpoint(folder) is None
    add(engine, keys, adults, 1)
    first = take_checkpoint(engine, folder, signing, at=AT)
    assert take_checkpoint(engine, folder, signing, at=AT + timedelta(days=1)) == first == newest_checkpoint(folder)
    with reading(engine) as conn:
        check_against_checkpoints(conn, folder, load_public_keys(signing))


def test_the_newest_is_the_one_of_the_highest_position(ledger: Engine, folder: Path) -> None:
    # By number: as text, 8 comes after 12.
    newest = newest_checkpoint(folder)
    assert newest is not None
    assert newest.seq == LENGTH


def change(rows: list[dict[str, Any]], attack: str, first: int, second: int) -> None:
    if attack in ("edit", "rewrite"):
        # The other one: a no that is made a no is no attack.
        rows[first]["state"] = "given" if rows[first]["state"] == "withdrawn" else "withdrawn"
    elif attack == "delete":
        del rows[first]
    elif attack == "insert":
        rows.insert(first, {**rows[second], "event_id": b"forged-event-id!"})
    elif attack == "swap":
        rows[first], rows[second] = rows[second], rows[first]
    else:
        del rows[first:]


ATTACKS = ["edit", "delete", "insert", "swap", "truncate", "rewrite"]


@QUICK
@pytest.mark.parametrize("rehash", [False, True])
@pytest.mark.parametrize("attack", ATTACKS)
@given(pair=st.lists(st.integers(1, LENGTH), min_size=2, max_size=2, unique=True))
def test_six_of_six_attacks_are_named_at_the_first_bad_position(
    ledger: Engine, folder: Path, signing: Path, attack: str, *, rehash: bool, pair: list[int]
) -> None:
    first, second = sorted(pair)
    if attack == "rewrite":
        first = 1
    with behind_the_triggers(ledger) as conn:
        rows = rows_of(conn)
        signed = rows[-1]["hash"]
        change(rows, attack, first - 1, second - 1)
        if rehash or attack == "rewrite":
            rows = forged_chain(rows, first - 1)
        else:
            rows = [{**row, "seq": number} for number, row in enumerate(rows, start=1)]
        write_anew(conn, rows)
        problem = look(conn, folder, signing).problems[0]
        if attack == "truncate":
            assert problem == f"ledger position {first}: missing; the ledger ends at {first - 1} but once went on"
        elif not (rehash or attack == "rewrite"):
            assert problem == f"ledger position {first}: not what was once appended"
        elif attack == "delete" and first > SIGNED[-2]:
            # Eleven events that fit together, and nothing signed since the eighth that one could hold against them.
            assert problem == "ledger position 12: missing; the ledger ends at 11 but once went on"
        else:
            # A chain that fits together again is first contradicted by the first checkpoint after the change.
            known = max((seq for seq in SIGNED if seq < first), default=0)
            until = min(seq for seq in SIGNED if seq >= first)
            assert problem.startswith(f"ledger positions {known + 1} to {until}: rewritten throughout")
            assert known < first <= until
        if len(rows) < LENGTH or rows[LENGTH - 1]["hash"] != signed:
            # The service, which looks at the newest checkpoint alone, would not start either.
            with pytest.raises(ConsentError):
                check_against_checkpoints(conn, folder, load_public_keys(signing))


@QUICK
@given(place=st.integers(0, 2), field=st.sampled_from(["seq", "head_hash", "time", "key_id", "signature"]))
def test_a_forged_checkpoint_is_named(ledger: Engine, folder: Path, signing: Path, place: int, field: str) -> None:
    path = folder / f"{SIGNED[place]}.json"
    right = path.read_text()
    found = json.loads(right)
    changed = {"seq": found["seq"] + 1, "time": found["time"].replace("2026", "2025")}
    value = changed.get(field) or ("0" if found[field][0] != "0" else "1") + found[field][1:]
    try:
        path.write_text(json.dumps({**found, field: value}, indent=1) + "\n")
        with reading(ledger) as conn:
            problems = look(conn, folder, signing).problems
        assert any(problem.startswith(f"checkpoint {SIGNED[place]}: ") for problem in problems)
    finally:
        path.write_text(right)


@pytest.mark.parametrize("content", ["", "{}", "[]", "null", '{"seq": 12}', "[" * 100_000])
def test_a_file_that_is_no_checkpoint_is_named_and_nothing_starts(
    ledger: Engine, folder: Path, signing: Path, content: str
) -> None:
    (folder / "12.json").write_text(content)
    with reading(ledger) as conn:
        problems = look(conn, folder, signing).problems
        assert any("12.json is not as it was written; put it back" in problem for problem in problems)
        with pytest.raises(ConsentError, match=r"checkpoint 12: .* is not as it was written"):
            check_against_checkpoints(conn, folder, load_public_keys(signing))


def test_a_checkpoint_signed_with_a_key_of_ones_own_is_named(
    ledger: Engine, folder: Path, signing: Path, tmp_path: Path
) -> None:
    (folder / "12.json").unlink()
    take_checkpoint_with_other_key(ledger, folder, tmp_path / "mine")
    with reading(ledger) as conn:
        assert any("checkpoint 12: signed with key" in problem for problem in look(conn, folder, signing).problems)
        with pytest.raises(ConsentError, match=r"checkpoint 12: signed with key .* whose public half is not"):
            check_against_checkpoints(conn, folder, load_public_keys(signing))


def take_checkpoint_with_other_key(engine: Engine, folder: Path, keys_folder: Path) -> None:
    taken = take_checkpoint(engine, keys_folder / "checkpoints", keys_folder, at=AT)
    assert taken is not None
    (folder / "12.json").write_bytes((keys_folder / "checkpoints" / "12.json").read_bytes())


def test_a_checkpoint_whose_file_is_gone_is_named_by_its_copy(ledger: Engine, folder: Path, signing: Path) -> None:
    (folder / "8.json").unlink()
    with reading(ledger) as conn:
        found = look(conn, folder, signing)
        assert (found.without_file, found.problems, found.checkpoints) == ((8,), (), 3)


@pytest.mark.parametrize(
    "values",
    [{"signature": bytes(64)}, {"head_hash": bytes(32)}, {"taken_at": 0}, {"key_id": "0" * 32}],
)
def test_a_forged_copy_is_named(ledger: Engine, folder: Path, signing: Path, values: dict[str, Any]) -> None:
    with writing(ledger) as conn:
        conn.execute(update(ledger_checkpoint).where(ledger_checkpoint.c.seq == 8).values(values))
        problems = look(conn, folder, signing).problems
    assert len(problems) == 1
    assert problems[0].startswith("copy in the database: checkpoint 8: ")


def test_nothing_is_signed_that_contradicts_what_was_signed_before(
    ledger: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path
) -> None:
    with behind_the_triggers(ledger) as conn:
        rows = rows_of(conn)
        rows[2]["state"] = "withdrawn"
        write_anew(conn, forged_chain(rows, 2))
        conn.commit()
    add(ledger, keys, adults, 1)
    with pytest.raises(ConsentError, match=r"ledger position 12: not what was signed on 2026-05-03.* rights replay"):
        take_checkpoint(ledger, folder, signing, at=AT)
    assert not (folder / "13.json").exists()


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_a_signed_position_that_holds_no_hash_is_named(ledger: Engine, folder: Path, signing: Path) -> None:
    with behind_the_triggers(ledger) as conn:
        conn.execute(text("UPDATE consent_event SET hash = 'abc' WHERE seq = 8"))
        conn.execute(delete(consent_event).where(consent_event.c.seq > 12))
        with pytest.raises(ConsentError, match="ledger position 8: its hash is not one; see: considerate"):
            head_at(conn, 8)
        (folder / "12.json").unlink()
        (folder / "head.json").unlink(missing_ok=True)
        with pytest.raises(ConsentError, match="ledger position 8: not what was signed on"):
            check_against_checkpoints(conn, folder, load_public_keys(signing))


def test_nothing_is_signed_whose_end_does_not_chain(
    ledger: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path
) -> None:
    add(ledger, keys, adults, 2)
    with behind_the_triggers(ledger) as conn:
        conn.execute(update(consent_event).where(consent_event.c.seq == 13).values(state="withdrawn"))
        conn.commit()
    with pytest.raises(ConsentError, match="ledger position 13: not what was once appended; nothing is signed before"):
        take_checkpoint(ledger, folder, signing, at=AT)


def test_checkpoints_of_an_earlier_key_still_hold(
    ledger: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path
) -> None:
    rotate_signing_key(signing)
    add(ledger, keys, adults, 1)
    taken = take_checkpoint(ledger, folder, signing, at=AT)
    assert taken is not None
    with reading(ledger) as conn:
        sound = look(conn, folder, signing)
    assert (sound.problems, sound.checkpoints, sound.newest) == ((), 4, 13)


def test_a_folder_that_cannot_be_written_is_named(
    engine: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path
) -> None:
    add(engine, keys, adults, 1)
    folder.write_text("a file")
    with pytest.raises(ConsentError, match=r"head\.json: cannot be written: .*; check the folder's permissions"):
        take_checkpoint(engine, folder, signing, at=AT)


def cut(engine: Engine, left: int) -> None:
    """What an older backup looks like."""
    with reading(engine) as conn:
        kept = select(consent_evidence).join(consent_event).where(consent_event.c.seq <= left)
        evidence = [dict(row) for row in conn.execute(kept).mappings()]
    with behind_the_triggers(engine) as conn:
        conn.execute(delete(consent_event).where(consent_event.c.seq > left))
        conn.execute(insert(consent_evidence), evidence)
        conn.commit()


def test_an_older_backup_is_refused_with_both_positions(ledger: Engine, folder: Path, signing: Path) -> None:
    cut(ledger, 9)
    with (
        reading(ledger) as conn,
        pytest.raises(ConsentError, match=r"ledger ends at 9, but its end was 12 on 2026-05-03.* rights replay"),
    ):
        check_against_checkpoints(conn, folder, load_public_keys(signing))


def test_accepting_a_loss_asks_everybody_again(
    ledger: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path
) -> None:
    from considerate.consent.projection import projection, rebuild_projection, replay

    cut(ledger, 9)
    with writing(ledger) as conn:
        rebuild_projection(conn)
        given_before = len(projection(conn))
    loss = accept_loss(ledger, keys, folder, at=AT)
    assert (loss.checkpoints, loss.invalidated) == ((12,), given_before)
    with reading(ledger) as conn:
        check_against_checkpoints(conn, folder, load_public_keys(signing))
        assert projection(conn) == replay(conn)
        states = {consent.state for ref in adults for consent in read_current(conn, ref).values()}
        assert states == {ConsentState.INVALIDATED}
    taken = take_checkpoint(ledger, folder, signing, at=AT)
    assert taken is not None
    assert taken.seq == 9 + given_before
    with reading(ledger) as conn:
        assert look(conn, folder, signing).problems == ()
    assert (folder / "set-aside" / "20260501T120000Z" / "12.json").exists()
    assert accept_loss(ledger, keys, folder, at=AT) == type(loss)((), 0)


def test_a_changed_ledger_is_no_loss(ledger: Engine, keys: Keys, folder: Path) -> None:
    with behind_the_triggers(ledger) as conn:
        conn.execute(update(consent_event).where(consent_event.c.seq == 3).values(state="withdrawn"))
        conn.commit()
    with pytest.raises(ConsentError, match="ledger position 3: not what was once appended, so this is no loss but a"):
        accept_loss(ledger, keys, folder, at=AT)


@pytest.mark.slow
def test_ten_thousand_events_and_their_checkpoints_are_verified_in_a_second(
    engine: Engine, keys: Keys, folder: Path, signing: Path
) -> None:
    import time

    from considerate.store.subjects import ensure_subjects

    with writing(engine) as conn:
        refs = list(ensure_subjects(conn, keys, [str(number) for number in range(2_000)]).values())
        events = [
            ConsentEvent(ref, purpose, ConsentState.GIVEN, current_notice(), AT, evidence={"n": 1})
            for ref in refs
            for purpose in PURPOSES
        ]
    for start in range(0, 10_000, 1_000):
        with writing(engine) as conn:
            append_many(conn, keys, events[start : start + 1_000], at=AT)
        take_checkpoint(engine, folder, signing, at=AT)
    with reading(engine) as conn:
        # Of this process: other work on the machine does not count.
        started = time.process_time()
        sound = look(conn, folder, signing)
        assert time.process_time() - started < 1
    assert (sound.head.seq, sound.checkpoints, sound.problems) == (10_000, 10, ())
