"""An installation that knows two customers, on both databases."""

from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.databases import Database
from tests.privacy.known_people import ANNA, BEN, fill

from considerate.privacy.installation import Installation, installation_of
from considerate.store.keys import Keys, load_keys


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Folder of the installation."""
    return tmp_path


@pytest.fixture
def engine(database: Database) -> Engine:
    """The store."""
    return database.open()


@pytest.fixture
def keys(home: Path) -> Keys:
    """The installation's keys."""
    return load_keys(home / "keys", create=True)


@pytest.fixture
def place(engine: Engine, keys: Keys, home: Path) -> Installation:
    """The installation."""
    return installation_of(engine, keys, home)


@pytest.fixture
def people(place: Installation) -> dict[str, bytes]:
    """Subject references of Anna and Ben, of whom every table knows something."""
    return {customer: fill(place, customer) for customer in (ANNA, BEN)}
