"""Between two checkpoints: the newest head is signed within seconds, and an older database contradicts it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.rolling_back import forget_events

from considerate.consent.auditing import audit
from considerate.consent.checkpoints import check_against_checkpoints, sign_head, take_checkpoint
from considerate.consent.decision import Policy
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.consent.restoring import accept_loss, lost_until
from considerate.consent.signed_heads import HEAD, newest_checkpoint, read_checkpoint, signed_head, write_head
from considerate.errors import ConsentError, StoreError
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.signing import load_public_keys

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = AT + timedelta(seconds=2)
P = Purpose.TRAIN_MODELS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "checkpoints"


@pytest.fixture
def signing(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def give(engine: Engine, keys: Keys, ref: bytes) -> None:
    with writing(engine) as conn:
        grant(conn, keys, ref, P, notice=current_notice(), at=AT, policy=Policy())


def take_back(engine: Engine, keys: Keys, ref: bytes) -> None:
    with writing(engine) as conn:
        withdraw(conn, keys, ref, P, at=AT)


@pytest.fixture
def withdrawn(engine: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path) -> Engine:
    """A grant, then the hourly checkpoint, then a withdrawal, signed by the look after it."""
    give(engine, keys, adults[0])
    take_checkpoint(engine, folder, signing, at=AT)
    take_back(engine, keys, adults[0])
    sign_head(engine, folder, signing, at=LATER)
    return engine


def test_the_head_is_signed_when_it_moved_and_not_before(
    engine: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path
) -> None:
    assert sign_head(engine, folder, signing, at=AT) is None
    assert not folder.exists()
    give(engine, keys, adults[0])
    first = sign_head(engine, folder, signing, at=AT)
    assert first is not None
    assert (first.seq, first.time, first.holds(load_public_keys(signing))) == (
        1,
        "2026-05-01T12:00:00.000000+00:00",
        True,
    )
    before = (folder / HEAD).stat()
    assert sign_head(engine, folder, signing, at=LATER) == first == signed_head(folder)
    assert (folder / HEAD).stat().st_ino == before.st_ino
    take_back(engine, keys, adults[0])
    second = sign_head(engine, folder, signing, at=LATER)
    assert second is not None
    assert second.seq == 2
    # One small file, whatever happens: the checkpoints are taken once an hour.
    assert [path.name for path in folder.iterdir()] == [HEAD]
    assert newest_checkpoint(folder) is None


def test_a_withdrawal_after_the_newest_checkpoint_is_missed(withdrawn: Engine, folder: Path, signing: Path) -> None:
    with reading(withdrawn) as conn:
        check_against_checkpoints(conn, folder, load_public_keys(signing))
    forget_events(withdrawn, left=1)
    with (
        reading(withdrawn) as conn,
        pytest.raises(
            ConsentError, match=r"ledger ends at 1, but its end was 2 on 2026-05-01T12:00:02.* rights replay"
        ),
    ):
        check_against_checkpoints(conn, folder, load_public_keys(signing))
    for sign in (sign_head, take_checkpoint):
        with pytest.raises(ConsentError, match="ledger ends at 1, but its end was 2"):
            sign(withdrawn, folder, signing, at=LATER)
    with reading(withdrawn) as conn:
        problems = audit(conn, folder, load_public_keys(signing)).problems
    assert problems[0] == "ledger position 2: missing; the ledger ends at 1 but once went on"


def test_a_ledger_that_went_another_way_is_not_signed(
    withdrawn: Engine, keys: Keys, adults: list[bytes], folder: Path, signing: Path
) -> None:
    forget_events(withdrawn, left=1)
    for ref in adults[1:]:
        give(withdrawn, keys, ref)
    for path in folder.glob("[0-9]*.json"):
        path.unlink()
    with pytest.raises(ConsentError, match=r"ledger position 2: not what was signed on 2026-05-01"):
        sign_head(withdrawn, folder, signing, at=LATER)
    # Nor one that agrees with the head's file alone.
    (folder / HEAD).unlink()
    take_checkpoint(withdrawn, folder, signing, at=LATER)
    forget_events(withdrawn, left=1)
    (folder / HEAD).unlink()
    with pytest.raises(ConsentError, match="but its end was"):
        sign_head(withdrawn, folder, signing, at=LATER)


def test_accepting_the_loss_of_a_withdrawal_asks_everybody_again(
    withdrawn: Engine, keys: Keys, folder: Path, signing: Path
) -> None:
    forget_events(withdrawn, left=1)
    loss = accept_loss(withdrawn, keys, folder, at=LATER)
    assert (loss.checkpoints, loss.invalidated) == ((2,), 1)
    assert (folder / "set-aside" / "20260501T120002Z" / HEAD).exists()
    taken = take_checkpoint(withdrawn, folder, signing, at=LATER)
    assert taken == signed_head(folder)
    with reading(withdrawn) as conn:
        check_against_checkpoints(conn, folder, load_public_keys(signing))


def test_the_moment_of_the_latest_loss_stays_on_record(
    withdrawn: Engine, keys: Keys, folder: Path, signing: Path
) -> None:
    assert lost_until(folder) is None
    for at in (LATER, LATER + timedelta(days=1)):
        forget_events(withdrawn, left=1)
        assert accept_loss(withdrawn, keys, folder, at=at).invalidated == 1
        # The folder is named in whole seconds: nothing of the same second is later.
        assert lost_until(folder) == at + timedelta(seconds=1)
        sign_head(withdrawn, folder, signing, at=at)


def test_a_loss_that_cannot_be_read_is_no_missing_one(folder: Path) -> None:
    aside = folder / "set-aside"
    (aside / "old").mkdir(parents=True)
    with pytest.raises(StoreError, match=r"set-aside: holds something that is named by no moment such as .* move that"):
        lost_until(folder)
    (aside / "old").rmdir()
    assert lost_until(folder) is None
    aside.rmdir()
    aside.touch()
    with pytest.raises(StoreError, match=r"set-aside: cannot be read: Not a directory; check the folder's permissions"):
        lost_until(folder)


def test_a_newer_head_stays(withdrawn: Engine, folder: Path) -> None:
    hourly = newest_checkpoint(folder)
    assert hourly is not None
    write_head(folder, hourly)
    assert read_checkpoint(folder / HEAD).seq == 2


def test_a_head_that_was_changed_is_named(withdrawn: Engine, folder: Path, signing: Path) -> None:
    text = (folder / HEAD).read_text()
    (folder / HEAD).write_text(text.replace('"seq": 2', '"seq": 1'))
    with (
        reading(withdrawn) as conn,
        pytest.raises(ConsentError, match=r"checkpoint 1: its signature does not hold|ledger position 1: not what"),
    ):
        check_against_checkpoints(conn, folder, load_public_keys(signing))
    (folder / HEAD).write_text(text[:40])
    with reading(withdrawn) as conn:
        with pytest.raises(ConsentError, match=r"checkpoint head: .*head\.json is not as it was written; put it back"):
            check_against_checkpoints(conn, folder, load_public_keys(signing))
        assert any("head.json" in problem for problem in audit(conn, folder, load_public_keys(signing)).problems)
