"""`considerate ledger` and `considerate receipt`: what they print, and how they fail."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from considerate.cli.main import app
from considerate.consent.decision import Policy
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.consent.receipts import find_row, record_of, sign_receipt
from considerate.errors import ConsentError, DataError
from considerate.settings.service import ControllerConfig
from considerate.store.engine import open_store, reading, writing
from considerate.store.keys import load_keys
from considerate.store.signing import load_signing_key
from considerate.store.subjects import ensure_subjects

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of two consents."""
    monkeypatch.setenv("CONSIDERATE_HOME", str(tmp_path))
    monkeypatch.delenv("CONSIDERATE_DATABASE_URL", raising=False)
    engine = open_store(f"sqlite:///{tmp_path / 'considerate.db'}", create=True)
    keys = load_keys(tmp_path / "keys", create=True)
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, ["ann", "bob"], age_bands={"ann": "adult", "bob": "adult"})
        for ref in refs.values():
            grant(conn, keys, ref, Purpose.TRAIN_MODELS, notice=current_notice(), at=AT, policy=Policy())
    engine.dispose()
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def said(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 0, result.output + repr(result.exception)
    return result.output


def change(home: Path, statement: str) -> None:
    engine = open_store(f"sqlite:///{home / 'considerate.db'}", create=False)
    with writing(engine) as conn:
        for name in conn.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all():
            conn.execute(text(f"DROP TRIGGER {name}"))
        conn.execute(text(statement))
    engine.dispose()


def test_a_checkpoint_is_printed_as_it_was_written(home: Path) -> None:
    output = said("ledger", "checkpoint")
    assert output.startswith("checkpoint 2: head ")
    assert json.loads(output[output.index("{") :]) == json.loads((home / "checkpoints" / "2.json").read_text())


def test_an_intact_ledger_says_what_proves_it(home: Path) -> None:
    assert "0 checkpoints hold: take one: considerate ledger checkpoint" in said("ledger", "verify")
    said("ledger", "checkpoint")
    output = said("ledger", "verify")
    assert output.startswith("2 events, head ")
    assert "1 checkpoints hold: up to event 2" in output


def test_a_changed_event_is_named(home: Path) -> None:
    said("ledger", "checkpoint")
    change(home, "UPDATE consent_event SET state = 'withdrawn' WHERE seq = 1")
    result = run("ledger", "verify")
    assert isinstance(result.exception, ConsentError)
    assert str(result.exception) == "ledger position 1: not what was once appended"
    with pytest.raises(ConsentError, match="ledger position 1: not what was once appended; restore a backup before"):
        raise_what("ledger", "replay")


def raise_what(*arguments: str) -> None:
    CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def test_copies_and_a_key_kept_elsewhere_judge_too(home: Path, tmp_path: Path) -> None:
    said("ledger", "checkpoint")
    (home / "checkpoints").rename(tmp_path / "kept")
    (home / "keys" / "ledger.pub").rename(tmp_path / "auditor.pub")
    output = said("ledger", "verify", "--checkpoints", str(tmp_path / "kept"), "--key", str(tmp_path / "auditor.pub"))
    assert "1 checkpoints hold" in output
    assert "without a file here: 2" in said("ledger", "verify", "--key", str(tmp_path / "auditor.pub"))


def test_a_wrong_projection_is_put_right(home: Path) -> None:
    assert said("ledger", "replay") == "nothing was wrong\n"
    change(home, "UPDATE consent_current SET state = 'withdrawn', seq = 99 WHERE seq = 1")
    assert said("ledger", "replay") == "1 entries were wrong, missing or too many, and are right now\n"


def test_a_loss_is_accepted_only_when_said_so(home: Path) -> None:
    said("ledger", "checkpoint")
    with pytest.raises(ConsentError, match=r"accept-loss ends every consent in this store.* accept-loss --yes"):
        raise_what("ledger", "accept-loss")
    assert said("ledger", "accept-loss", "--yes").startswith("nothing is lost")
    gone = "SELECT event_id FROM consent_event WHERE seq = 2"
    change(home, f"DELETE FROM consent_evidence WHERE event_id = ({gone})")
    change(home, "DELETE FROM consent_event WHERE seq = 2")
    change(home, "DELETE FROM consent_current WHERE seq = 2")
    assert said("ledger", "accept-loss", "--yes") == "1 consents ended; checkpoints set aside: 2\n"
    assert "2 events" in said("ledger", "verify")


def test_an_empty_ledger_has_nothing_to_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONSIDERATE_HOME", str(tmp_path))
    open_store(f"sqlite:///{tmp_path / 'considerate.db'}", create=True).dispose()
    assert said("ledger", "checkpoint") == "the ledger is empty; there is nothing to sign yet\n"


@pytest.fixture
def receipt(home: Path) -> Path:
    """A receipt, in a file."""
    engine = open_store(f"sqlite:///{home / 'considerate.db'}", create=False)
    with reading(engine) as conn:
        event_id, ref = conn.execute(text("SELECT event_id, subject_ref FROM consent_event WHERE seq = 1")).one()
        row = find_row(conn, ref, event_id)
        assert row is not None
        record = record_of(conn, row, ControllerConfig(), retention_days=730)
    engine.dispose()
    path = home / "receipt.json"
    path.write_bytes(sign_receipt(record, load_signing_key(home / "keys", create=True)))
    return path


def test_a_receipt_outlives_the_key_that_signed_it(home: Path, receipt: Path) -> None:
    assert "train_models given on 2026-05-01" in said("receipt", "verify", str(receipt))
    assert "a running service takes it up when it starts again" in said("ledger", "rotate-key")
    assert "as issued" in said("receipt", "verify", str(receipt))


def test_a_receipt_is_checked_without_a_store(home: Path, receipt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = home / "keys" / "ledger.pub"
    monkeypatch.setenv("CONSIDERATE_HOME", str(home / "nowhere"))
    assert "as issued" in said("receipt", "verify", str(receipt), "--key", str(key))
    with pytest.raises(ConsentError, match=r"signed with key .*, which is none of those given"):
        raise_what("receipt", "verify", str(receipt))


@pytest.mark.parametrize(
    "spoil", [lambda content: content + b"\n", lambda content: content.replace(b"given", b"Given")]
)
def test_a_changed_receipt_is_refused(home: Path, receipt: Path, spoil: Callable[[bytes], bytes]) -> None:
    receipt.write_bytes(spoil(receipt.read_bytes()))
    with pytest.raises(ConsentError, match=r"^receipt: "):
        raise_what("receipt", "verify", str(receipt))
    with pytest.raises(DataError, match="nowhere: cannot be read: No such file"):
        raise_what("receipt", "verify", str(home / "nowhere"))
