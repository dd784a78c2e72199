"""From a directory to an artefact, or a refusal."""

from pathlib import Path

from considerate.errors import ArtefactError
from considerate.ranking import blend_items, buy_again, factor_items, linear_items, two_stage
from considerate.ranking.blend_items import COMPONENTS, Blend
from considerate.ranking.buy_again import BuyAgain
from considerate.ranking.factor_items import FactorItems
from considerate.ranking.files import read_files
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.manifest import read_manifest
from considerate.ranking.scores import Artefact
from considerate.ranking.two_stage import TwoStage


def load(directory: Path, mmap: bool = True) -> Artefact:
    """Read the artefact that `save` wrote.

    Parameters
    ----------
    directory
        Holds `manifest.json`.
    mmap
        Map the arrays read-only, so that several workers share their pages; else read them into memory.

    Raises
    ------
    ArtefactError
        A file is missing, changed or not listed; the schema or the kind is unknown.
    """
    return _load(directory, mmap=mmap, check_files=True)


def _load(directory: Path, *, mmap: bool, check_files: bool) -> Artefact:
    manifest = read_manifest(directory, check_files=check_files)
    files = read_files(directory, manifest, mmap=mmap)
    match manifest.kind:
        case linear_items.KIND:
            return LinearItems.read(files)
        case factor_items.KIND:
            return FactorItems.read(files)
        case buy_again.KIND:
            return BuyAgain.read(files)
        case blend_items.KIND | two_stage.KIND:
            # The manifest lists, and has just vouched for, every file of the components.
            names = sorted(manifest.settings["scales"])
            parts = {n: _load(directory / COMPONENTS / n, mmap=mmap, check_files=False) for n in names}
            return (Blend if manifest.kind == blend_items.KIND else TwoStage).read(files, parts)
        case other:
            raise ArtefactError(
                f"{directory}: kind {other!r} is unknown to this version of considerate; "
                "fit the model again, or install the version that wrote it"
            )
