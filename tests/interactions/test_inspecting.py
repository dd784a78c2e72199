"""`considerate data inspect` guesses a mapping that loads, or says what it did not find."""

import tomllib
from pathlib import Path

import pytest
from small_sources import AT

from considerate.errors import DataError
from considerate.interactions.inspecting import inspect_file
from considerate.interactions.reading import read_interactions
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment


def config_of(file: Path, environment: Environment) -> DataConfig:
    return DataConfig.model_validate(tomllib.loads(inspect_file(file, environment).toml))


def test_the_guess_for_a_web_shop_loads(tmp_path: Path, environment: Environment) -> None:
    file = tmp_path / "Orders 2026.csv"
    file.write_text(
        "InvoiceNo;StockCode;Description;Quantity;InvoiceDate;CustomerID\n"
        "1;85A;Käse;2;12/31/2025 8:26;17\n1;85B;Tee;1;12/31/2025 8:26;17\n2;85A;Käse;1;1/5/2026 9:00;18\n",
        encoding="cp1252",
    )
    config = config_of(file, environment)
    assert config.name == "orders_2026"
    assert config.source.encoding == "cp1252"
    assert config.source.columns == {
        "customer_id": "CustomerID",
        "item_id": "StockCode",
        "timestamp": "InvoiceDate",
        "value": "Quantity",
        "order_line": ["InvoiceNo", "StockCode"],
    }
    report = read_interactions(config, environment, quarantine=None, at=AT).report
    assert (report.rows_kept, report.rows_quarantined, report.customers) == (3, 0, 2)
    assert report.first is not None
    assert (report.first.month, report.first.day) == (12, 31)


def test_a_column_of_ratings_makes_ratings(tmp_path: Path, environment: Environment) -> None:
    file = tmp_path / "ratings.tsv"
    file.write_text("userId\tmovieId\trating\ttimestamp\n1\t2\t3.5\t2026-01-05\n", encoding="utf-8")
    assert config_of(file, environment).source.values["kind"] == "rating"


def test_what_is_not_found_is_left_to_fill_in(tmp_path: Path, environment: Environment) -> None:
    file = tmp_path / "x.csv"
    file.write_text('alpha,"be ""ta"\n1,2\n', encoding="utf-8")
    guess = inspect_file(file, environment)
    assert guess.missing == ("customer_id", "item_id")
    config = DataConfig.model_validate(tomllib.loads(guess.toml))
    with pytest.raises(DataError, match=r"no column '\?', which source.columns.customer_id names"):
        read_interactions(config, environment, quarantine=None, at=AT)


@pytest.mark.parametrize(
    ("name", "message"),
    [("orders.xlsx", "neither CSV nor Parquet by its name"), ("none.csv", "no such file")],
)
def test_a_file_that_cannot_be_inspected_is_one_clear_error(
    tmp_path: Path, environment: Environment, name: str, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        inspect_file(tmp_path / name, environment)
