"""The environment: three variables, and what holds without them."""

from pathlib import Path

import pytest

from considerate.settings.environment import Environment, read_environment


def test_the_store_is_a_file_unless_a_variable_names_another(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CONSIDERATE_HOME", str(tmp_path))
    monkeypatch.delenv("CONSIDERATE_DATA", raising=False)
    for unset in (None, ""):
        if unset is None:
            monkeypatch.delenv("CONSIDERATE_DATABASE_URL", raising=False)
        else:
            monkeypatch.setenv("CONSIDERATE_DATABASE_URL", unset)
        assert read_environment() == Environment(home=tmp_path, data=None)
        assert read_environment().database_url == f"sqlite:///{tmp_path / 'considerate.db'}"
    monkeypatch.setenv("CONSIDERATE_DATABASE_URL", "postgresql://shop@db/considerate")
    assert read_environment().database_url == "postgresql://shop@db/considerate"
    assert read_environment().tracking_uri == f"sqlite:///{tmp_path / 'mlflow.db'}"
