"""The registry: proof of consent first, and one door to the alias."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from considerate.consent.decision import Policy
from considerate.errors import TrackingError
from considerate.ranking.manifest import artefact_digest
from considerate.settings.environment import Environment
from considerate.tracking.promotion import promote
from considerate.tracking.registry import (
    CONSENT_TAGS,
    basis_of,
    champion,
    champion_artefact,
    refuse_unproved,
    register_version,
)
from considerate.tracking.runs import track_run

Tracked = Callable[[dict[str, object]], str]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_champion_is_downloaded_byte_for_byte(
    environment: Environment, tracked: Tracked, proof: dict[str, object], artefact: Path, tmp_path: Path
) -> None:
    made = register_version(environment, name="bytes", run_id=tracked(proof))
    promote(environment, name="bytes", version=made.version, at=datetime.now(UTC))
    got = champion_artefact(environment, tmp_path / "download", name="bytes")
    assert got == made
    assert got.label == "bytes-1"
    assert contents(tmp_path / "download") == contents(artefact)


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
    with pytest.raises(TrackingError, match=r"consent\.n_total = 10; must be 8 included \+ 3 excluded customers"):
        register_version(environment, name="sums", run_id=run_id)
    rows = tracked(proof | {"consent.n_events_total": 5})
    with pytest.raises(TrackingError, match=r"consent\.n_events_total = 5; must be 0 included \+ 0 excluded rows"):
        register_version(environment, name="sums", run_id=rows)


@pytest.mark.parametrize(
    ("tag", "value", "rule"),
    [
        ("consent.n_included", "seven", "whole number"),
        ("consent.as_of", "now", "must be a time"),
        ("consent.as_of", "2026-05-01", "must be a time"),
    ],
)
def test_a_tag_that_does_not_say_what_it_must_is_refused(
    proof: dict[str, object], tag: str, value: str, rule: str
) -> None:
    tags = {name: str(said) for name, said in (proof | {tag: value}).items()}
    read = refuse_unproved if tag == "consent.n_included" else basis_of
    with pytest.raises(TrackingError, match=f"shop: {tag} = '{value}'; .*{rule}; train it again"):
        read(tags, "shop")


def test_the_basis_of_a_fit_is_read_back_as_its_tags_say(environment: Environment, proof: dict[str, object]) -> None:
    tags = {name: str(said) for name, said in proof.items()}
    basis = basis_of(tags | {"consent.unknown_age": "adult", "consent.gpc_strict": "true"}, "shop")
    said = (tags["consent.ledger_seq"], tags["consent.ledger_head"], tags["consent.snapshot_hmac"])
    assert (str(basis.seq), basis.head, basis.digest) == said
    assert basis.at.isoformat() == tags["consent.as_of"]
    assert basis.policy == Policy(unknown_age="adult", gpc_strict=True)


def test_without_a_digest_of_its_artefact_a_model_is_not_registered(
    environment: Environment, tracked: Tracked, proof: dict[str, object]
) -> None:
    run_id = tracked(proof | {"model_digest": ""})
    with pytest.raises(TrackingError, match="unpinned: the run lacks the tag model_digest; train it again"):
        register_version(environment, name="unpinned", run_id=run_id)


def test_another_artefact_in_the_place_of_the_fitted_one_is_not_downloaded(
    environment: Environment, tracked: Tracked, proof: dict[str, object], artefact: Path, tmp_path: Path
) -> None:
    run_id = tracked(proof)
    made = register_version(environment, name="swapped", run_id=run_id)
    promote(environment, name="swapped", version=made.version, at=datetime.now(UTC))
    (kept,) = (environment.home / "mlartifacts").glob(f"**/{run_id}/artifacts/artefact/manifest.json")
    kept.write_text('{"kind": "another"}')
    other, fitted = artefact_digest(kept.parent), artefact_digest(artefact)
    said = rf"swapped-1: its artefact is {other[:12]}, the registry says {fitted[:12]}; it is not the one that was"
    with pytest.raises(TrackingError, match=said):
        champion_artefact(environment, tmp_path / "download", name="swapped")
    kept.unlink()
    with pytest.raises(TrackingError, match="swapped-1: its artefact is no manifest, the registry says"):
        champion_artefact(environment, tmp_path / "download", name="swapped")
    assert not (tmp_path / "download").exists()


def test_a_run_without_artefact_is_not_registered(environment: Environment, proof: dict[str, object]) -> None:
    with track_run(environment, experiment="shop", name="empty") as run:
        run.log_tags({**proof, "model_digest": "ab" * 32})
    with pytest.raises(TrackingError, match="holds no artefact"):
        register_version(environment, name="empty", run_id=run.run_id)


def test_an_unknown_version_is_refused_and_the_known_ones_are_named(
    environment: Environment, tracked: Tracked, proof: dict[str, object]
) -> None:
    register_version(environment, name="known", run_id=tracked(proof))
    with pytest.raises(TrackingError, match="known: no version 7; registered: 1"):
        promote(environment, name="known", version=7, at=datetime.now(UTC))
    with pytest.raises(TrackingError, match="no version 1; registered: none"):
        promote(environment, name="unknown", version=1, at=datetime.now(UTC))
