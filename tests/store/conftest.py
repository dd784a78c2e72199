"""A fresh store for each test, on both databases."""

from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.databases import Database

from considerate.store.keys import Keys


@pytest.fixture
def engine(database: Database) -> Engine:
    """An empty store: on SQLite and on PostgreSQL."""
    return database.open()


@pytest.fixture
def store_file(sqlite_database: Database) -> Path:
    """The file of a store on SQLite."""
    assert sqlite_database.file is not None
    return sqlite_database.file


@pytest.fixture
def keys() -> Keys:
    return Keys.from_master(bytes(range(32)))
