"""Arrays of an artefact on disk: `.npy` files, `items.parquet` and the manifest; never a pickle."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from considerate.errors import ArtefactError
from considerate.ranking.manifest import Manifest, write_manifest

ITEMS_FILE = "items.parquet"


@dataclass(frozen=True, slots=True)
class Files:
    """What was read from an artefact's directory.

    Attributes
    ----------
    directory
        Where it lies.
    manifest
        What it says of itself.
    item_ids
        The catalogue.
    arrays
        Name -> array, memory-mapped read-only if asked for.
    """

    directory: Path
    manifest: Manifest
    item_ids: tuple[str, ...]
    arrays: Mapping[str, NDArray[Any]]

    def array(self, name: str, *shape: int | None) -> Any:
        """Give the array of that name and check its shape, None standing for any length.

        Raises
        ------
        ArtefactError
            It is missing or of another shape.
        """
        if name not in self.arrays:
            raise ArtefactError(f"{self.directory}: {name}.npy is missing; download or fit the model again")
        found = self.arrays[name].shape
        if len(found) != len(shape) or any(s is not None and s != f for s, f in zip(shape, found, strict=True)):
            wanted = ", ".join("any" if s is None else str(s) for s in shape)
            raise ArtefactError(
                f"{self.directory}: {name}.npy has shape {found}; its catalogue of {len(self.item_ids)} items "
                f"asks for ({wanted}): download or fit the model again"
            )
        return self.arrays[name]

    def sparse(self, name: str) -> Any:
        """Give the (n_items, n_items) CSR matrix whose three arrays were saved under that name."""
        n = len(self.item_ids)
        indptr = self.array(f"{name}.indptr", n + 1)
        entries = int(indptr[-1])
        data, indices = self.array(f"{name}.data", entries), self.array(f"{name}.indices", entries)
        return csr_of(data, indices, indptr, n)


def csr_of(data: Any, indices: Any, indptr: Any, n: int) -> Any:
    """Build an (n, n) CSR matrix on top of the arrays, without a copy: rows sorted, no duplicates."""
    matrix = csr_matrix((data, indices, indptr), shape=(n, n), copy=False)
    # Said, not checked: the check would read every page of a memory-mapped matrix.
    matrix.has_sorted_indices = True
    matrix.has_canonical_format = True
    return matrix


def write_artefact(
    directory: Path, manifest: Manifest, item_ids: tuple[str, ...], arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write arrays, catalogue and manifest; equal inputs give equal bytes.

    Parameters
    ----------
    directory
        Must not hold anything but what the artefact's own components have written.
    arrays
        Name -> array; saved as `name.npy`.

    Raises
    ------
    ArtefactError
        There is something in the way.
    """
    if (directory / ITEMS_FILE).exists() or directory.is_file():
        raise ArtefactError(f"{directory}: holds a model or a file already; choose a new directory, or remove it first")
    directory.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(directory / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)
    pq.write_table(pa.table({"item_id": pa.array(item_ids, pa.string())}), directory / ITEMS_FILE, compression="none")
    write_manifest(directory, manifest)


def read_files(directory: Path, manifest: Manifest, *, mmap: bool) -> Files:
    """Read what lies beside a manifest.

    Raises
    ------
    ArtefactError
        A file is not what its name says.
    """
    try:
        # Not read_table: that imports pyarrow.dataset, and pandas with it, into every worker of the service.
        items = pq.ParquetFile(directory / ITEMS_FILE).read(columns=["item_id"])
        item_ids = tuple(items["item_id"].to_pylist())
        arrays = {
            # As plain arrays on top of the map: every slice of a memmap object costs microseconds.
            path.name.removesuffix(".npy"): np.asarray(
                np.load(path, mmap_mode="r" if mmap else None, allow_pickle=False)
            )
            for path in sorted(directory.glob("*.npy"))
        }
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise ArtefactError(f"{directory}: cannot be read: {error}; download or fit the model again") from error
    if len(item_ids) != manifest.items:
        raise ArtefactError(
            f"{directory / ITEMS_FILE}: {len(item_ids)} items, and the manifest says {manifest.items}; "
            "download or fit the model again"
        )
    return Files(directory, manifest, item_ids, arrays)
