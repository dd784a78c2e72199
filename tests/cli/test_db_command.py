"""`considerate db upgrade` and `check`, as an operator runs them, on both databases."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, text, update
from tests.consent.test_checkpoints import behind_the_triggers
from tests.databases import Database
from typer.testing import CliRunner, Result

from considerate.cli.main import app
from considerate.consent.checkpoints import take_checkpoint
from considerate.consent.decision import Policy
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.errors import ConsiderateError
from considerate.privacy.tombstones import Tombstone, keep_outside
from considerate.store.engine import writing
from considerate.store.keys import load_keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import consent_current, consent_event, consent_evidence

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def run(home: Path, *arguments: str, url: str | None = None) -> Result:
    environment = {"CONSIDERATE_HOME": str(home), "CONSIDERATE_DATABASE_URL": url or ""}
    return CliRunner().invoke(app, arguments, env=environment)


def refusal(result: Result) -> str:
    assert isinstance(result.exception, ConsiderateError), result.output
    return str(result.exception)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def consented(database: Database, home: Path) -> bytes:
    """Reference of a customer who allows training, in a store that belongs to the keys of `home`."""
    keys = load_keys(home / "keys", create=True)
    with writing(database.open()) as conn:
        ref = ensure_subjects(conn, keys, ["canary-7"], age_bands={"canary-7": "adult"}, at=AT)["canary-7"]
        grant(conn, keys, ref, Purpose.TRAIN_MODELS, notice=current_notice(), at=AT, policy=Policy())
    return ref


def test_the_store_that_the_environment_names_is_upgraded_and_checked(database: Database, home: Path) -> None:
    made = run(home, "db", "upgrade", url=database.url)
    checked = run(home, "db", "check", url=database.url)
    assert (made.exit_code, checked.exit_code) == (0, 0), (made.output, checked.output)
    assert "schema 0" in made.output
    assert "0 events in the ledger, all is as it should be" in checked.output
    assert not (home / "considerate.db").exists()


def test_the_option_wins_over_the_environment(sqlite_database: Database, home: Path) -> None:
    elsewhere = home / "elsewhere.db"
    made = run(home, "db", "upgrade", "--database-url", f"sqlite:///{elsewhere}", url=sqlite_database.url)
    assert made.exit_code == 0, made.output
    assert elsewhere.exists()
    assert "elsewhere.db" in made.output


@pytest.mark.usefixtures("consented")
def test_a_sound_store_is_called_sound_without_naming_anybody(database: Database, home: Path) -> None:
    checked = run(home, "db", "check", url=database.url)
    assert checked.exit_code == 0, checked.output
    assert "1 events in the ledger, all is as it should be" in checked.output
    assert "canary" not in checked.output


def forge_the_projection(engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(update(consent_current).values(state="withdrawn"))


def forge_the_ledger(engine: Engine) -> None:
    with writing(engine) as conn:
        if engine.dialect.name == "postgresql":
            conn.execute(text("ALTER TABLE consent_event DISABLE TRIGGER USER"))
        else:
            conn.execute(text("DROP TRIGGER consent_event_no_update"))
        conn.execute(text("UPDATE consent_event SET state = 'withdrawn'"))


def forge_the_evidence(engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(update(consent_evidence).values(sealed=bytes(64)))


def lose_the_evidence(engine: Engine) -> None:
    with writing(engine) as conn:
        conn.execute(delete(consent_evidence))


@pytest.mark.usefixtures("consented")
@pytest.mark.parametrize(
    ("forge", "message"),
    [
        (
            forge_the_projection,
            "consents in force: 1 entries are wrong, missing or too many by the ledger; run: consid",
        ),
        (forge_the_ledger, "ledger position 1: not what was once appended\nrestore a backup of which this finds"),
        (forge_the_evidence, "evidence: that of 1 events is not what the ledger commits to, the first at ledger posi"),
        (lose_the_evidence, "evidence: that of 1 events is gone, the first at ledger position 1; without it those dec"),
    ],
)
def test_a_store_that_was_changed_by_hand_is_found_out(
    database: Database, home: Path, forge: Callable[[Engine], None], message: str
) -> None:
    forge(database.open())
    assert message in refusal(run(home, "db", "check", url=database.url))


@pytest.mark.usefixtures("consented")
def test_a_ledger_that_ends_before_its_checkpoint_is_found_out(database: Database, home: Path) -> None:
    engine = database.open()
    take_checkpoint(engine, home / "checkpoints", home / "keys", at=AT)
    assert run(home, "db", "check", url=database.url).exit_code == 0
    with behind_the_triggers(engine) as conn:
        # As a backup from before the consent would be.
        conn.execute(delete(consent_event))
        conn.commit()
    said = refusal(run(home, "db", "check", url=database.url))
    assert "ledger position 1: missing; the ledger ends at 0 but once went on" in said
    assert "the ledger ends at 0, but its end was 1 on 2026-05-01" in said
    assert "considerate rights replay, then considerate ledger accept-loss" in said


@pytest.mark.usefixtures("consented")
def test_an_upgrade_makes_no_second_master_key_for_a_store_that_has_one(database: Database, home: Path) -> None:
    (home / "keys" / "master.key").unlink()
    assert "no master key; restore it from your backup" in refusal(run(home, "db", "upgrade", url=database.url))
    assert not (home / "keys" / "master.key").exists()
    load_keys(home / "keys", create=True)
    assert "restore the keys folder" in refusal(run(home, "db", "upgrade", url=database.url))


def test_an_erased_customer_who_is_back_is_found_out(database: Database, home: Path, consented: bytes) -> None:
    keep_outside(home, [Tombstone(consented, 2, AT)])
    said = refusal(run(home, "db", "check", url=database.url))
    assert "1 erased customers are in this database again" in said


@pytest.mark.usefixtures("consented")
def test_what_hides_when_a_loss_was_is_found_out(database: Database, home: Path) -> None:
    (home / "checkpoints" / "set-aside" / "README").mkdir(parents=True)
    said = refusal(run(home, "db", "check", url=database.url))
    assert "set-aside: holds something that is named by no moment such as 20260501T120000Z; move that elsewhere" in said


@pytest.mark.usefixtures("consented")
def test_the_keys_of_another_installation_are_found_out(database: Database, home: Path, tmp_path: Path) -> None:
    load_keys(tmp_path / "other" / "keys", create=True)
    assert "restore the keys folder" in refusal(run(tmp_path / "other", "db", "check", url=database.url))
    assert "no master key" in refusal(run(tmp_path / "none", "db", "check", url=database.url))


def test_a_store_that_is_not_there_ends_with_code_2_and_without_the_password(tmp_path: Path) -> None:
    url = "postgresql://shop:s3cret@127.0.0.1:1/considerate"
    done = subprocess.run(
        [sys.executable, "-m", "considerate.cli.main", "db", "check"],
        env={**os.environ, "CONSIDERATE_HOME": str(tmp_path), "CONSIDERATE_DATABASE_URL": url},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("postgresql://shop@127.0.0.1:1/considerate: does not answer")
    assert "s3cret" not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr
