"""The search that the canary test relies on finds what was hidden."""

import base64
import gzip
import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.house.traces import traces

CANARY = "canary.7f3a@shop.example"


@pytest.mark.parametrize(
    "text",
    [
        f"customer {CANARY} asked",
        CANARY.encode().hex(),
        CANARY.encode().hex().upper(),
        *(base64.b64encode(b"x" * before + CANARY.encode() + b"after").decode() for before in range(6)),
        *(base64.urlsafe_b64encode(b"?" * before + CANARY.encode()).decode() for before in range(3)),
        hashlib.md5(CANARY.encode(), usedforsecurity=False).hexdigest(),
        hashlib.sha1(CANARY.encode(), usedforsecurity=False).hexdigest(),
        hashlib.sha256(CANARY.encode()).hexdigest(),
        base64.b64encode(hashlib.sha256(CANARY.encode()).digest()).decode(),
    ],
)
def test_a_guise_in_a_text_is_found(tmp_path: Path, text: str) -> None:
    (tmp_path / "service.log").write_text(f"... {text} ...", encoding="utf-8")
    assert traces(tmp_path, [CANARY])


def test_compressed_files_are_looked_into(tmp_path: Path) -> None:
    pq.write_table(pa.table({"who": [CANARY]}), tmp_path / "a.parquet", compression="zstd")
    np.savez_compressed(tmp_path / "b.npz", who=np.array([CANARY]))
    (tmp_path / "c.gz").write_bytes(gzip.compress(CANARY.encode()))
    assert {found.split(":")[0] for found in traces(tmp_path, [CANARY])} == {"a.parquet", "b.npz", "c.gz"}


def test_a_path_that_names_somebody_is_found(tmp_path: Path) -> None:
    (tmp_path / CANARY).mkdir()
    assert traces(tmp_path, [CANARY])


def test_others_and_what_is_left_out_are_not_found(tmp_path: Path) -> None:
    (tmp_path / "quarantine").mkdir()
    (tmp_path / "quarantine" / "rows").write_text(CANARY, encoding="utf-8")
    (tmp_path / "other").write_text("canary.0000@shop.example", encoding="utf-8")
    assert traces(tmp_path, [CANARY], without=(tmp_path / "quarantine",)) == []
