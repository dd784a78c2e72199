"""One tracking database for the room: MLflow needs seconds to lay it out."""

from collections.abc import Callable
from pathlib import Path

import pytest

from considerate.settings.environment import Environment
from considerate.tracking.runs import track_run

PROOF = {
    "consent.source": "ledger",
    "consent.as_of": "2026-05-01T00:00:00+00:00",
    "consent.ledger_seq": 41,
    "consent.ledger_head": "9f" * 32,
    "consent.n_total": 10,
    "consent.n_included": 7,
    "consent.n_excluded_no_consent": 2,
    "consent.n_excluded_withdrawn": 1,
    "consent.k_item": 10,
    "consent.k_pair": 5,
}


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
def proof() -> dict[str, object]:
    return dict(PROOF)


@pytest.fixture
def tracked(environment: Environment, artefact: Path) -> Callable[[dict[str, object]], str]:
    """Track a run that carries the given tags and the artefact; give its id."""

    def track(tags: dict[str, object]) -> str:
        with track_run(environment, experiment="shop", name="popularity") as run:
            run.log_tags(tags)
            run.log_artefact(artefact)
        return run.run_id

    return track
