"""A fresh store for each test, on both databases."""

import pytest
from sqlalchemy import Engine
from tests.databases import Database

from considerate.store.engine import writing
from considerate.store.keys import Keys
from considerate.store.subjects import ensure_subjects


@pytest.fixture
def engine(database: Database) -> Engine:
    """An empty store: on SQLite and on PostgreSQL."""
    return database.open()


@pytest.fixture
def keys() -> Keys:
    return Keys.from_master(bytes(range(32)))


@pytest.fixture
def adults(engine: Engine, keys: Keys) -> list[bytes]:
    """Subject references of three adults, `anna`, `ben` and `cleo`."""
    names = ["anna", "ben", "cleo"]
    with writing(engine) as conn:
        return list(ensure_subjects(conn, keys, names, age_bands=dict.fromkeys(names, "adult")).values())
