from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.proofs import proof_now
from typer.testing import CliRunner

from considerate.cli.main import app
from considerate.errors import StoreError, TrackingError
from considerate.privacy.tombstones import Tombstone, keep_outside
from considerate.ranking.manifest import artefact_digest
from considerate.settings.environment import Environment
from considerate.store.engine import open_store, writing
from considerate.store.keys import load_keys
from considerate.store.subjects import ensure_subjects
from considerate.tracking.client import mlflow_client
from considerate.tracking.registry import champion, register_version
from considerate.tracking.runs import track_run


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A registry with two versions of the model `shop`."""
    environment = Environment(home=tmp_path_factory.mktemp("home"), data=None)
    artefact = tmp_path_factory.mktemp("artefact")
    (artefact / "manifest.json").write_text("{}")
    for at in (datetime.now(UTC) - timedelta(minutes=1), datetime.now(UTC)):
        with track_run(environment, experiment="shop", name="popularity") as run:
            run.log_tags({**proof_now(environment, at=at), "model_digest": artefact_digest(artefact)})
            run.log_artefact(artefact)
        register_version(environment, name="shop", run_id=run.run_id)
    return environment


@pytest.fixture
def considerate(environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    monkeypatch.setenv("CONSIDERATE_HOME", str(environment.home))

    def run(*words: str) -> str:
        result = CliRunner().invoke(app, ["models", *words], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    return run


def test_promoting_an_older_version_rolls_back(
    considerate: Callable[..., str], environment: Environment, tmp_path: Path
) -> None:
    assert "champion" not in considerate("list", "shop")
    assert considerate("promote", "shop", "2").startswith("shop-2 is the champion; ")
    with pytest.raises(TrackingError, match=r"too close to shop-2, .* min_publish_hours = 24: fit again after"):
        considerate("promote", "shop", "1")
    at_once = ("--set", "promotion.min_publish_hours=0")
    assert "considerate serve --set model.name=shop" in considerate("promote", "shop", "1", *at_once)
    current = champion(environment, name="shop")
    assert current is not None
    assert current.version == 1
    newest, oldest = considerate("list", "shop").splitlines()
    assert newest.startswith("shop-2  run ")
    assert oldest.startswith("shop-1  run ")
    assert (newest.endswith("champion"), oldest.endswith("champion")) == (False, True)


def test_a_fit_that_is_due_is_shown_and_called_overdue_when_it_is(
    considerate: Callable[..., str], environment: Environment
) -> None:
    considerate("promote", "shop", "2", "--set", "promotion.min_publish_hours=0")
    for hours, said in ((1, "UTC\n"), (-1, "UTC (overdue)\n")):
        due = datetime.now(UTC) + timedelta(hours=hours)
        with mlflow_client(environment) as client:
            client.set_model_version_tag("shop", "2", "considerate.next_fit_due", due.isoformat())
        listed = considerate("list", "shop")
        assert f"a fit without them is due by {due:%Y-%m-%d %H:%M} {said}" in listed


def test_a_store_from_before_an_erasure_promotes_nothing(
    considerate: Callable[..., str], environment: Environment
) -> None:
    stones = environment.home / "tombstones.jsonl"
    engine = open_store(environment.database_url, create=False)
    try:
        with writing(engine) as conn:
            (ref,) = ensure_subjects(conn, load_keys(environment.home / "keys", create=False), ["back again"]).values()
    finally:
        engine.dispose()
    keep_outside(environment.home, [Tombstone(ref, 0, datetime.now(UTC))])
    try:
        with pytest.raises(StoreError, match="1 erased customers are in this database again"):
            considerate("promote", "shop", "1", "--set", "promotion.min_publish_hours=0")
    finally:
        stones.unlink()


def test_a_version_that_is_not_there_is_refused(considerate: Callable[..., str]) -> None:
    with pytest.raises(TrackingError, match="shop: no version 9; registered: 1, 2; train one with --register"):
        considerate("promote", "shop", "9")


def test_an_unknown_model_is_named_with_the_next_step(considerate: Callable[..., str]) -> None:
    with pytest.raises(TrackingError, match=r"nobody: no version is registered; train one with pipelines/train\.py"):
        considerate("list", "nobody")
