"""A fresh store for each test, copied from one made once."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from considerate.store.engine import open_store
from considerate.store.keys import Keys


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a store that holds nothing but its schema."""
    path = tmp_path_factory.mktemp("empty") / "considerate.db"
    open_store(f"sqlite:///{path}", create=True).dispose()
    return path


@pytest.fixture
def store_file(empty_store: Path, tmp_path: Path) -> Path:
    """A store of the test's own."""
    return Path(shutil.copy(empty_store, tmp_path / "considerate.db"))


@pytest.fixture
def engine(store_file: Path) -> Iterator[Engine]:
    engine = open_store(f"sqlite:///{store_file}", create=False)
    yield engine
    engine.dispose()


@pytest.fixture
def keys() -> Keys:
    return Keys.from_master(bytes(range(32)))
