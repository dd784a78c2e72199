"""An artefact on disk is what its manifest says, or is refused."""

from pathlib import Path

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from written import NOW, history_of, manifest_of

from considerate.errors import ArtefactError
from considerate.ranking.linear_items import KIND, LinearItems
from considerate.ranking.loading import load
from considerate.ranking.manifest import artefact_digest, write_manifest
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import Weighting


def linear(kind: str = KIND, items: int = 3) -> LinearItems:
    """x.S with 0 -> 1 (0.5), 0 -> 2 (0.25) on a base of (0, 0, 1)."""
    similarity = csr_matrix(np.array([[0, 0.5, 0.25], [0, 0, 0], [0, 0, 0]], np.float32))
    base = base_of(np.array([0, 0, 1], np.float32))
    return LinearItems(manifest_of(kind, items, Weighting()), ("a", "b", "c"), base, base, similarity)


def test_scores_are_the_base_plus_what_the_history_reaches() -> None:
    scores = linear().score(history_of([(0, 1), (0, 2)]), at=NOW, goal="new")
    assert scores.items.tolist() == [1, 2]
    assert scores.values.tolist() == [1.0, 1.5]
    assert linear().explain(history_of([(0, 1), (1, 2)]), 2, at=NOW, goal="new").tolist() == [0.0, 0.25]
    assert linear().similar(0, 5)[0].tolist() == [1, 2]


def test_arrays_are_memory_mapped_without_a_copy(tmp_path: Path) -> None:
    linear().save(tmp_path)
    loaded = load(tmp_path)
    assert isinstance(loaded, LinearItems)
    for array in (loaded.similarity.data, loaded.similarity.indices, loaded.similarity.indptr, loaded.base.values):
        mapped = array
        while mapped is not None and not isinstance(mapped, np.memmap):
            mapped = mapped.base
        assert isinstance(mapped, np.memmap)
    assert loaded.score(history_of([(0, 1)]), at=NOW, goal="new").values.tolist() == [0.5, 1.25]


def test_equal_artefacts_have_equal_digests(tmp_path: Path) -> None:
    linear().save(tmp_path / "one")
    linear().save(tmp_path / "other")
    assert artefact_digest(tmp_path / "one") == artefact_digest(tmp_path / "other")


def test_nothing_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="cannot be read; an artefact needs its manifest: fit or download it again"):
        load(tmp_path / "nowhere")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    linear().save(tmp_path)
    (tmp_path / "base.npy").unlink()
    with pytest.raises(ArtefactError, match=r"base\.npy: listed in the manifest and missing"):
        load(tmp_path)


def test_a_file_too_many_is_named(tmp_path: Path) -> None:
    linear().save(tmp_path)
    (tmp_path / "model.pkl").write_bytes(b"\x80\x05")
    with pytest.raises(ArtefactError, match=r"model\.pkl: not listed in the manifest"):
        load(tmp_path)


def test_another_schema_is_refused(tmp_path: Path) -> None:
    linear().save(tmp_path)
    manifest = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(manifest.replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(ArtefactError, match="schema_version = 2; this version of considerate reads 1"):
        load(tmp_path)


def test_an_unknown_key_is_refused(tmp_path: Path) -> None:
    linear().save(tmp_path)
    manifest = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(manifest.replace('"schema_version": 1', '"schema_version": 1, "code": "x"'))
    with pytest.raises(ArtefactError, match="code is not a known key"):
        load(tmp_path)


def test_an_edited_manifest_is_refused(tmp_path: Path) -> None:
    linear().save(tmp_path)
    manifest = (tmp_path / "manifest.json").read_text()
    (tmp_path / "manifest.json").write_text(manifest.replace('"source": "assumed"', '"source": "ledger"'))
    with pytest.raises(ArtefactError, match=r"manifest\.json: the file was changed or damaged"):
        load(tmp_path)


def test_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    linear(kind="crystal_ball").save(tmp_path)
    with pytest.raises(ArtefactError, match="kind 'crystal_ball' is unknown"):
        load(tmp_path)


def test_arrays_that_do_not_fit_the_catalogue_are_refused(tmp_path: Path) -> None:
    linear().save(tmp_path)
    np.save(tmp_path / "base.npy", np.zeros(4, np.float32))
    (tmp_path / "manifest.json").unlink()
    write_manifest(tmp_path, linear().manifest)
    with pytest.raises(ArtefactError, match=r"base\.npy has shape \(4,\); its catalogue of 3 items asks for \(3\)"):
        load(tmp_path)


def test_a_catalogue_of_another_length_is_refused(tmp_path: Path) -> None:
    linear(items=4).save(tmp_path)
    with pytest.raises(ArtefactError, match="3 items, and the manifest says 4"):
        load(tmp_path)


def test_an_array_with_objects_in_it_is_refused(tmp_path: Path) -> None:
    linear().save(tmp_path)
    np.save(tmp_path / "base.npy", np.array([{}, {}, {}], object), allow_pickle=True)
    (tmp_path / "manifest.json").unlink()
    write_manifest(tmp_path, linear().manifest)
    with pytest.raises(ArtefactError, match="cannot be read"):
        load(tmp_path)


def test_a_missing_array_is_named(tmp_path: Path) -> None:
    linear().save(tmp_path)
    (tmp_path / "popular.npy").unlink()
    (tmp_path / "manifest.json").unlink()
    write_manifest(tmp_path, linear().manifest)
    with pytest.raises(ArtefactError, match=r"popular\.npy is missing"):
        load(tmp_path)
