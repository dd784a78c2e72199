"""The registry: proof of consent first, and one door to the alias."""

from collections.abc import Callable
from pathlib import Path

import pytest

from considerate.errors import TrackingError
from considerate.settings.environment import Environment
from considerate.tracking.registry import CONSENT_TAGS, champion, champion_artefact, promote, register_version
from considerate.tracking.runs import track_run

Tracked = Callable[[dict[str, object]], str]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_champion_is_downloaded_byte_for_byte(
    environment: Environment, tracked: Tracked, proof: dict[str, object], artefact: Path, tmp_path: Path
) -> None:
    made = register_version(environment, name="bytes", run_id=tracked(proof))
    promote(environment, name="bytes", version=made.version)
    got = champion_artefact(environment, tmp_path / "download", name="bytes")
    assert got == made
    assert got.label == "bytes-1"
    assert contents(tmp_path / "download") == contents(artefact)


def test_promoting_moves_the_alias_and_moves_it_back(
    environment: Environment, tracked: Tracked, proof: dict[str, object]
) -> None:
    first = register_version(environment, name="moves", run_id=tracked(proof))
    second = register_version(environment, name="moves", run_id=tracked(proof))
    assert (first.version, second.version) == (1, 2)
    assert champion(environment, name="moves") is None
    promote(environment, name="moves", version=2)
    assert champion(environment, name="moves") == second
    promote(environment, name="moves", version=1)
    assert champion(environment, name="moves") == first


def test_nothing_promoted_means_nothing_downloaded(environment: Environment, tmp_path: Path) -> None:
    assert champion_artefact(environment, tmp_path / "download", name="nobody") is None
    assert not (tmp_path / "download").exists()


def test_assumed_consent_is_not_registered(
    environment: Environment, tracked: Tracked, proof: dict[str, object]
) -> None:
    run_id = tracked(proof | {"consent.source": "assumed"})
    with pytest.raises(TrackingError, match=r"assumed: consent\.source = assumed; only models trained on consent from"):
        register_version(environment, name="assumed", run_id=run_id)
    assert champion(environment, name="assumed") is None


@pytest.mark.parametrize("tag", CONSENT_TAGS)
def test_without_one_of_the_consent_tags_a_model_is_not_registered(
    environment: Environment, tracked: Tracked, proof: dict[str, object], tag: str
) -> None:
    del proof[tag]
    with pytest.raises(TrackingError, match=f"the run lacks the tags {tag}; train it again with --register"):
        register_version(environment, name="lacking", run_id=tracked(proof))


def test_counts_that_do_not_add_up_are_not_registered(
    environment: Environment, tracked: Tracked, proof: dict[str, object]
) -> None:
    run_id = tracked(proof | {"consent.n_included": 8})
    with pytest.raises(TrackingError, match=r"consent\.n_total = 10; must be 8 included \+ 3 excluded"):
        register_version(environment, name="sums", run_id=run_id)


def test_a_run_without_artefact_is_not_registered(environment: Environment, proof: dict[str, object]) -> None:
    with track_run(environment, experiment="shop", name="empty") as run:
        run.log_tags(proof)
    with pytest.raises(TrackingError, match="holds no artefact"):
        register_version(environment, name="empty", run_id=run.run_id)


def test_an_unknown_version_is_refused_and_the_known_ones_are_named(
    environment: Environment, tracked: Tracked, proof: dict[str, object]
) -> None:
    register_version(environment, name="known", run_id=tracked(proof))
    with pytest.raises(TrackingError, match="known: no version 7; registered: 1"):
        promote(environment, name="known", version=7)
    with pytest.raises(TrackingError, match="no version 1; registered: none"):
        promote(environment, name="unknown", version=1)
