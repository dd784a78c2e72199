"""Finding a person in whatever was written: her id in every guise in which software commonly leaves one."""

import base64
import gzip
import hashlib
import io
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq

PARQUET, ZIP, GZIP = b"PAR1", b"PK\x03\x04", b"\x1f\x8b"


def guises(customer_id: str) -> dict[str, bytes]:
    """An id as text in three encodings, in hex, in base64 at each alignment, and as unkeyed hashes in all of these."""
    raw = customer_id.encode()
    found = {"raw": raw, **_spelled("id", raw)}
    # NumPy keeps texts in UTF-32, some databases in UTF-16.
    found |= {encoding: customer_id.encode(encoding) for encoding in ("utf-16-le", "utf-32-le")}
    for algorithm in ("md5", "sha1", "sha256"):
        digest = hashlib.new(algorithm, raw, usedforsecurity=False).digest()
        found |= {f"{algorithm} bytes": digest, **_spelled(algorithm, digest)}
    return found


def _spelled(name: str, raw: bytes) -> dict[str, bytes]:
    spelled = {f"{name} hex": raw.hex().encode(), f"{name} HEX": raw.hex().upper().encode()}
    for before in range(3):
        # Inside a longer text (a token, a header) an id starts at any of three places of a base64 group.
        whole = base64.b64encode(b"\0" * before + raw)
        inner = whole[(0, 2, 3)[before] : len(whole) - 4 if (before + len(raw)) % 3 else len(whole)]
        spelled |= {f"{name} base64+{before}": inner, f"{name} base64url+{before}": inner.translate(URLSAFE)}
    return spelled


URLSAFE = bytes.maketrans(b"+/", b"-_")


def contents(path: Path) -> Iterator[bytes]:
    """The bytes of a file and, where it is compressed, what they hold."""
    raw = path.read_bytes()
    yield raw
    if raw.startswith(PARQUET):
        yield repr(pq.read_table(io.BytesIO(raw)).to_pydict()).encode()
    elif raw.startswith(ZIP):
        with zipfile.ZipFile(io.BytesIO(raw)) as archive:
            yield from (archive.read(name) for name in archive.namelist())
    elif raw.startswith(GZIP):
        yield gzip.decompress(raw)


def traces(folder: Path, customer_ids: list[str], *, without: tuple[Path, ...] = ()) -> list[str]:
    """Every file under `folder` that holds an id in any guise: `path: guise`. A path that names one counts too."""
    needles = [(guise, needle) for customer_id in customer_ids for guise, needle in guises(customer_id).items()]
    found = set()
    for path in sorted(folder.rglob("*")):
        if path.is_symlink() or any(path.is_relative_to(left) for left in without):
            continue
        place = str(path.relative_to(folder))
        pieces = [place.encode(), *(contents(path) if path.is_file() else ())]
        found |= {f"{place}: {guise}" for guise, needle in needles if any(needle in piece for piece in pieces)}
    return sorted(found)
