"""One tracking database for the room: MLflow needs seconds to lay it out."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.proofs import proof_now

from considerate.ranking.manifest import artefact_digest
from considerate.settings.environment import Environment
from considerate.tracking.runs import track_run


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    return Environment(home=tmp_path_factory.mktemp("home with spaces"), data=None)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    folder = tmp_path / "artefact"
    (folder / "parts").mkdir(parents=True)
    (folder / "manifest.json").write_text('{"kind": "linear"}')
    (folder / "parts" / "b.npy").write_bytes(bytes(range(64)))
    return folder


@pytest.fixture
def proof(environment: Environment) -> dict[str, object]:
    """Tags that prove the consent of a fit on seven of ten customers."""
    counts = {"consent.n_total": 10, "consent.n_included": 7, "consent.n_excluded_absent": 2}
    return {**proof_now(environment), **counts, "consent.n_excluded_withdrawn": 1}


@pytest.fixture
def tracked(environment: Environment, artefact: Path) -> Callable[[dict[str, object]], str]:
    """Track a run that carries the given tags and the artefact; give its id."""

    def track(tags: dict[str, object]) -> str:
        with track_run(environment, experiment="shop", name="popularity") as run:
            run.log_tags({"model_digest": artefact_digest(artefact), **tags})
            run.log_artefact(artefact)
        return run.run_id

    return track
