from collections.abc import Callable
from pathlib import Path

import pytest
from tests.proofs import proof_now
from typer.testing import CliRunner

from considerate.cli.main import app
from considerate.errors import TrackingError
from considerate.settings.environment import Environment
from considerate.tracking.registry import champion, register_version
from considerate.tracking.runs import track_run


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """A registry with two versions of the model `shop`."""
    environment = Environment(home=tmp_path_factory.mktemp("home"), data=None)
    artefact = tmp_path_factory.mktemp("artefact")
    (artefact / "manifest.json").write_text("{}")
    for _ in range(2):
        with track_run(environment, experiment="shop", name="popularity") as run:
            run.log_tags(proof_now(environment))
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
    with pytest.raises(TrackingError, match=r"min_publish_hours = 24: wait until"):
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


def test_a_version_that_is_not_there_is_refused(considerate: Callable[..., str]) -> None:
    with pytest.raises(TrackingError, match="shop: no version 9; registered: 1, 2; train one with --register"):
        considerate("promote", "shop", "9")


def test_an_unknown_model_is_named_with_the_next_step(considerate: Callable[..., str]) -> None:
    with pytest.raises(TrackingError, match=r"nobody: no version is registered; train one with pipelines/train\.py"):
        considerate("list", "nobody")
