"""A model in use is replaced by a better one, never by a broken one."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from considerate.errors import ArtefactError, ConsiderateError, TrackingError
from considerate.ranking.files import read_files
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.manifest import read_manifest
from considerate.ranking.scores import Artefact
from considerate.serving.models import POINTER, Pointer, WatchedModels, read_pointer, write_pointer
from considerate.serving.refresher import follow, refresh

if TYPE_CHECKING:
    from collections.abc import Callable

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def load_linear(folder: Path) -> Artefact:
    return LinearItems.read(read_files(folder, read_manifest(folder), mmap=True))


@pytest.fixture
def watched(tmp_path: Path) -> WatchedModels:
    return WatchedModels(tmp_path, load=load_linear, now=lambda: NOW)


def version_of(models: WatchedModels) -> str | None:
    current = models.current()
    return None if current is None else current.version


def put(folder: Path, version: str, artefact: LinearItems, run: str = "r") -> None:
    artefact.save(folder / version)
    write_pointer(folder, Pointer(version, run))


def test_there_is_no_model_before_the_first_pointer(watched: WatchedModels) -> None:
    assert watched.look() == "unchanged"
    assert version_of(watched) is None


def test_the_model_that_the_pointer_names_is_swapped_in_and_later_ones_after_it(
    watched: WatchedModels, tmp_path: Path, build_model: "Callable[..., LinearItems]"
) -> None:
    put(tmp_path, "m-1", build_model())
    assert (watched.look(), version_of(watched)) == ("swapped", "m-1")
    assert (watched.look(), version_of(watched)) == ("unchanged", "m-1")
    put(tmp_path, "m-2", build_model(reverse=True))
    assert (watched.look(), version_of(watched)) == ("swapped", "m-2")


@pytest.mark.parametrize(
    "damage", ["changed byte", "missing file", "extra file", "no manifest", "other schema", "assumed"]
)
def test_a_damaged_model_is_refused_and_the_old_one_stays(
    watched: WatchedModels,
    tmp_path: Path,
    build_model: "Callable[..., LinearItems]",
    damage: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put(tmp_path, "m-1", build_model())
    watched.look()
    build_model(reverse=True, source="assumed" if damage == "assumed" else "ledger").save(tmp_path / "m-2")
    broken = tmp_path / "m-2"
    match damage:
        case "changed byte":
            content = bytearray((broken / "base.npy").read_bytes())
            content[-1] ^= 1
            (broken / "base.npy").write_bytes(content)
        case "missing file":
            (broken / "popular.npy").unlink()
        case "extra file":
            (broken / "users.npy").write_bytes(b"")
        case "no manifest":
            (broken / "manifest.json").unlink()
        case "other schema":
            text = (broken / "manifest.json").read_text().replace('"schema_version": 1', '"schema_version": 99')
            (broken / "manifest.json").write_text(text)
    write_pointer(tmp_path, Pointer("m-2", "r"))
    assert (watched.look(), version_of(watched)) == ("refused", "m-1")
    assert watched.look() == "unchanged", "a refused model is not tried again until the pointer moves"
    assert "model refused, kept m-1" in caplog.text
    put(tmp_path, "m-3", build_model())
    assert (watched.look(), version_of(watched)) == ("swapped", "m-3")


def test_a_model_that_fails_at_its_first_score_is_refused_and_stops_no_worker(
    tmp_path: Path, build_model: "Callable[..., LinearItems]", caplog: pytest.LogCaptureFixture
) -> None:
    def load(folder: Path) -> Artefact:
        artefact = load_linear(folder)
        if folder.name == "m-2":
            raise IndexError("an array that is too short")
        return artefact

    models = WatchedModels(tmp_path, load=load, now=lambda: NOW)
    put(tmp_path, "m-1", build_model())
    assert models.look() == "swapped"
    put(tmp_path, "m-2", build_model())
    assert (models.look(), version_of(models)) == ("refused", "m-1")
    assert "model refused, kept m-1: IndexError at" in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        '{"version": "m", "run": "", "until": "soon"}',
        '{"version": 3, "run": ""}',
        '{"version": "../m", "run": ""}',
        '{"version": "..", "run": ""}',
    ],
)
def test_a_pointer_that_names_no_folder_beside_it_is_refused(watched: WatchedModels, tmp_path: Path, text: str) -> None:
    (tmp_path / POINTER).write_text(text)
    with pytest.raises(ArtefactError, match=r"current.json"):
        read_pointer(tmp_path)
    assert (watched.look(), version_of(watched)) == ("refused", None)


def test_a_model_is_not_served_beyond_its_age_and_a_new_one_takes_its_place(
    tmp_path: Path, build_model: "Callable[..., LinearItems]", caplog: pytest.LogCaptureFixture
) -> None:
    clock = [NOW]
    models = WatchedModels(tmp_path, load=load_linear, now=lambda: clock[0])
    build_model().save(tmp_path / "m-1")
    write_pointer(tmp_path, Pointer("m-1", "r", (NOW + timedelta(days=7)).timestamp()))
    models.look()
    clock[0] = NOW + timedelta(days=7) - timedelta(seconds=1)
    assert version_of(models) == "m-1"
    clock[0] = NOW + timedelta(days=7)
    assert (version_of(models), models.look(), version_of(models)) == (None, "unchanged", None)
    assert caplog.text.count("model m-1 is too old and no longer served: fit and promote a new one") == 1
    put(tmp_path, "m-2", build_model())
    assert (models.look(), version_of(models)) == ("swapped", "m-2")


def test_a_champion_that_is_too_old_moves_no_pointer(tmp_path: Path, build_model: "Callable[..., LinearItems]") -> None:
    registry, folder = Shelf(tmp_path / "registry"), tmp_path / "models"
    registry.promote("m-1", build_model())
    refresh(registry, folder, check=read_manifest)
    registry.promote("m-2", build_model())
    registry.promoted = Pointer("m-2", "r", NOW.timestamp())
    with pytest.raises(ArtefactError, match=r"m-2: its fit is longer ago than \[model\] max_age_days .* --promote"):
        refresh(registry, folder, check=read_manifest, now=lambda: NOW)
    assert read_pointer(folder) == Pointer("m-1", "r")
    assert refresh(registry, folder, check=read_manifest, now=lambda: NOW - timedelta(seconds=1)) == "m-2"


class Shelf:
    """A registry of saved models, with a champion."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.promoted, self.downloads = folder, Pointer("", ""), 0

    def promote(self, version: str, artefact: LinearItems, run: str = "r") -> None:
        artefact.save(self.folder / run / version)
        self.promoted = Pointer(version, run)

    def champion(self) -> Pointer | None:
        return self.promoted if self.promoted.version else None

    def download(self, destination: Path) -> Pointer | None:
        self.downloads += 1
        destination.mkdir()
        for path in (self.folder / self.promoted.run / self.promoted.version).iterdir():
            (destination / path.name).write_bytes(path.read_bytes())
        return self.champion()


@pytest.fixture
def registry(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path / "registry")


def test_the_champion_is_brought_once_and_again_when_it_changes(
    registry: Shelf, tmp_path: Path, build_model: "Callable[..., LinearItems]"
) -> None:
    folder = tmp_path / "models"
    assert refresh(registry, folder, check=read_manifest) is None
    registry.promote("m-1", build_model())
    assert refresh(registry, folder, check=read_manifest) == "m-1"
    assert refresh(registry, folder, check=read_manifest) is None
    assert registry.downloads == 1
    registry.promote("m-2", build_model(reverse=True))
    assert refresh(registry, folder, check=read_manifest) == "m-2"
    watched = WatchedModels(folder, load=load_linear, now=lambda: NOW)
    watched.look()
    assert version_of(watched) == "m-2"
    assert not list(folder.glob(".*")), "no draft is left behind"


def test_a_registry_that_was_set_up_anew_counts_from_one_again_and_is_believed(
    registry: Shelf, tmp_path: Path, build_model: "Callable[..., LinearItems]"
) -> None:
    folder = tmp_path / "models"
    registry.promote("m-1", build_model(), run="old")
    refresh(registry, folder, check=read_manifest)
    registry.promote("m-1", build_model(reverse=True), run="new")
    assert refresh(registry, folder, check=read_manifest) == "m-1"
    assert read_pointer(folder) == Pointer("m-1", "new")


def test_a_damaged_download_moves_no_pointer_and_leaves_nothing(
    registry: Shelf, tmp_path: Path, build_model: "Callable[..., LinearItems]"
) -> None:
    folder = tmp_path / "models"
    registry.promote("m-1", build_model())
    refresh(registry, folder, check=read_manifest)
    registry.promote("m-2", build_model())
    (tmp_path / "registry" / "r" / "m-2" / "base.npy").write_bytes(b"changed")
    with pytest.raises(ConsiderateError, match="SHA-256"):
        refresh(registry, folder, check=read_manifest)
    assert read_pointer(folder).version == "m-1"
    assert sorted(path.name for path in folder.iterdir()) == [POINTER, "m-1"]


def test_old_versions_make_room(registry: Shelf, tmp_path: Path, build_model: "Callable[..., LinearItems]") -> None:
    folder = tmp_path / "models"
    for version in ("m-1", "m-2", "m-3", "m-4", "m-5"):
        registry.promote(version, build_model())
        refresh(registry, folder, check=read_manifest)
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["m-3", "m-4", "m-5"]


def test_a_registry_that_fails_is_asked_again_and_its_complaint_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import threading

    stop = threading.Event()

    class Failing:
        asked = 0

        def champion(self) -> Pointer | None:
            self.asked += 1
            if self.asked == 3:
                stop.set()
            raise TrackingError("registry: does not answer")

        def download(self, destination: Path) -> Pointer | None:
            raise AssertionError("nothing is promoted")

    registry = Failing()
    follow(registry, tmp_path, check=read_manifest, seconds=0.001, stop=stop)
    assert registry.asked == 3
    assert caplog.text.count("does not answer") == 1
