"""Small sources with a known answer."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest

from considerate.interactions.columns import Interactions
from considerate.interactions.reading import read_interactions
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment

AT = datetime(2026, 3, 1, tzinfo=UTC)
COLUMNS = {"customer_id": "customer", "item_id": "item", "timestamp": "time", "value": "quantity", "order_line": "line"}
HEADER = "customer,item,time,quantity,line\n"
Read = Callable[..., Interactions]


def config_of(path: Path | str, **source: Any) -> DataConfig:
    """Give a data config for a CSV of `HEADER`; `source` replaces or adds keys of [source]."""
    keys = {"format": "csv", "path": str(path), "columns": COLUMNS, "max_rejected": 1.0} | source
    return DataConfig.model_validate({"name": "shop", "source": keys})


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    """Give an environment whose every folder is the test's own."""
    return Environment(home=tmp_path / "var", data=tmp_path / "data")


@pytest.fixture
def read(tmp_path: Path, environment: Environment) -> Read:
    """Give a reader of CSV text (without its header) or of a file, with the quarantine in tmp_path/quarantine."""

    def read_it(rows: str | Path, *, header: str = HEADER, **source: Any) -> Interactions:
        if isinstance(rows, str):
            file = tmp_path / "orders.csv"
            file.write_text(header + rows, encoding="utf-8")
            rows = file
        return read_interactions(config_of(rows, **source), environment, quarantine=tmp_path / "quarantine", at=AT)

    return read_it


def left_out(folder: Path) -> list[tuple[list[str], int]]:
    """Read the quarantine: reasons and row number of each row."""
    file = folder / "quarantine" / "shop.parquet"
    rows = duckdb.connect().execute(f"SELECT reasons, row_number FROM '{file}' ORDER BY ALL").fetchall()
    return [(list(reasons), int(number)) for reasons, number in rows]
