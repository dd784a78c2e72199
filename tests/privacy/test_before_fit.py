"""Before a fit: the ledger's head is signed, and a store that is older than an erasure is refused."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import delete, text

from considerate.consent.decision import Policy
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError, StoreError
from considerate.privacy.before_fit import check_before_fit
from considerate.privacy.tombstones import Tombstone, keep_outside
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.store.engine import open_store, writing
from considerate.store.keys import load_keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import consent_current, consent_event

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
STORED = DataConfig.model_validate({"name": "shop", "source": {"format": "store"}})


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def environment(home: Path) -> Environment:
    return Environment(home=home, data=None)


@pytest.fixture
def anna(environment: Environment) -> bytes:
    """Reference of an adult with two grants in an installation of the test's own."""
    keys = load_keys(environment.home / "keys", create=True)
    engine = open_store(environment.database_url, create=True)
    try:
        with writing(engine) as conn:
            (ref,) = ensure_subjects(conn, keys, ["anna"], age_bands={"anna": "adult"}).values()
            for purpose in (Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE):
                grant(conn, keys, ref, purpose, notice=current_notice(), at=AT, policy=Policy())
    finally:
        engine.dispose()
    return ref


def test_the_head_of_the_ledger_is_signed_before_a_fit(environment: Environment, anna: bytes) -> None:
    check_before_fit(STORED, environment, at=AT)
    assert sorted(path.name for path in (environment.home / "checkpoints").iterdir()) == ["2.json", "head.json"]


def test_a_store_in_which_an_erased_customer_is_back_is_refused(environment: Environment, anna: bytes) -> None:
    keep_outside(environment.home, [Tombstone(anna, 2, AT)])
    with pytest.raises(StoreError, match="1 erased customers are in this database again"):
        check_before_fit(STORED, environment, at=AT)


def test_a_ledger_behind_its_checkpoint_is_refused(environment: Environment, anna: bytes) -> None:
    check_before_fit(STORED, environment, at=AT)
    engine = open_store(environment.database_url, create=False)
    try:
        with writing(engine) as conn:
            triggers = conn.execute(text("SELECT name FROM sqlite_master WHERE type = 'trigger'")).scalars().all()
            for name in triggers:
                conn.execute(text(f"DROP TRIGGER {name}"))
            conn.execute(text("DELETE FROM consent_evidence"))
            conn.execute(delete(consent_current))
            conn.execute(delete(consent_event).where(consent_event.c.seq == 2))
    finally:
        engine.dispose()
    with pytest.raises(ConsentError, match="2"):
        check_before_fit(STORED, environment, at=AT)


def test_where_consent_is_assumed_no_store_is_opened(environment: Environment) -> None:
    source = {"format": "csv", "path": "x.csv", "columns": {"customer_id": "a", "item_id": "b"}}
    assumed = {"name": "shop", "source": source, "consent": {"source": "assumed"}}
    check_before_fit(DataConfig.model_validate(assumed), environment, at=AT)
    assert not environment.home.exists()
