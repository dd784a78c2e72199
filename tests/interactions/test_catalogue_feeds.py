"""The catalogue and what is known about customers."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from small_sources import COLUMNS

from considerate.errors import ConfigError, DataError
from considerate.interactions.catalogue import legal_age_bands, read_customers, read_items, read_items_report
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment

AT = datetime(2026, 3, 1, tzinfo=UTC)
ITEMS = "sku,name,dept,aisle,price,limit,stock,colour\n"


def config_of(file: Path, text: str, section: str, **table: Any) -> DataConfig:
    file.write_text(text, encoding="utf-8")
    source = {"format": "csv", "path": "orders.csv", "columns": COLUMNS}
    return DataConfig.model_validate(
        {"name": "shop", "source": source, section: {"format": "csv", "path": str(file)} | table}
    )


def items_of(tmp_path: Path, rows: str, **table: Any) -> DataConfig:
    columns = {
        "item_id": "sku", "title": "name", "category": ["dept", "aisle"],
        "price": "price", "min_age": "limit", "in_stock": "stock",
    }  # fmt: skip
    return config_of(tmp_path / "items.csv", ITEMS + rows, "items", **{"columns": columns} | table)


def test_items_are_read_sorted_with_a_category_path(tmp_path: Path, environment: Environment) -> None:
    config = items_of(tmp_path, "b,Beer,Drinks,Beer,1.5,16,true,brown\na,Soup,Food,,,,,\n", features=["colour"])
    catalogue = read_items(config, environment)
    assert catalogue.item_ids == ("a", "b")
    assert catalogue.title.tolist() == ["Soup", "Beer"]
    assert catalogue.category.tolist() == ["Food", "Drinks > Beer"]
    np.testing.assert_array_equal(catalogue.price, np.array([np.nan, 1.5], np.float32))
    assert catalogue.min_age.tolist() == [-1, 16]
    assert catalogue.in_stock.tolist() == [True, True]
    assert catalogue.features["colour"].tolist() == ["", "brown"]


def classed(tmp_path: Path, **policy: Any) -> DataConfig:
    rows = "a,Soup,,,,,,none\nb,Pill,,,,,,health\nc,Novelty,,,,,,\n"
    columns = {"item_id": "sku", "sensitive": "colour"}
    return items_of(tmp_path, rows, columns=columns, **policy)


def test_an_item_that_nobody_classified_is_plain_or_held_back_as_the_shop_says(
    tmp_path: Path, environment: Environment
) -> None:
    assert read_items(classed(tmp_path), environment).sensitive.tolist() == ["", "health", ""]
    held_back = classed(tmp_path, unclassified="sensitive")
    assert read_items(held_back, environment).sensitive.tolist() == ["", "health", "unknown"]


def test_holding_items_back_needs_the_column_that_classes_them(tmp_path: Path, environment: Environment) -> None:
    config = items_of(tmp_path, "a,Soup,,,,,,\n", unclassified="sensitive")
    with pytest.raises(ConfigError, match=r'shop: items\.unclassified = "sensitive" needs items\.columns\.sensitive'):
        read_items(config, environment)


def test_a_catalogue_without_a_file_is_one_clear_error(tmp_path: Path, environment: Environment) -> None:
    values = {"name": "shop", "source": {"format": "store"}, "items": {"unclassified": "sensitive"}}
    with pytest.raises(ConfigError, match=r"shop: items\.path is missing; name the file of the catalogue"):
        read_items(DataConfig.model_validate(values), environment)
    values["source"] = {"format": "csv", "path": "orders.csv", "columns": COLUMNS}
    with pytest.raises(ValueError, match="items needs path: name the file of the catalogue"):
        DataConfig.model_validate(values)


def test_the_last_row_of_an_item_that_has_a_value_wins(tmp_path: Path, environment: Environment) -> None:
    catalogue = read_items(items_of(tmp_path, "a,Old,,,1,,,\na,New,,,,,false,\n"), environment)
    assert (catalogue.title[0], catalogue.price[0], catalogue.in_stock[0]) == ("New", 1.0, False)


def test_rows_and_values_that_are_not_understood_are_counted(tmp_path: Path, environment: Environment) -> None:
    rows = "a,Soup,,,cheap,200,perhaps,\n,Nameless,,,1,,,\n" + "x" * 10_000 + ",Long,,,1,,,\nb,Bread,,,-1,,,\n"
    catalogue, report = read_items_report(items_of(tmp_path, rows), environment)
    assert catalogue.item_ids == ("a", "b")
    assert (report.rows_read, report.items, report.without_id) == (4, 2, 2)
    assert report.not_understood == {"price": 2, "min_age": 1, "in_stock": 1}


def test_where_chooses_rows(tmp_path: Path, environment: Environment) -> None:
    config = items_of(tmp_path, "a,Soup,,,1,,,\nb,Bread,,,0,,,\n", where="price::DOUBLE > 0")
    assert read_items(config, environment).item_ids == ("a",)


def test_a_data_set_without_items_or_customers_has_none(tmp_path: Path, environment: Environment) -> None:
    source = {"format": "csv", "path": "orders.csv", "columns": COLUMNS}
    config = DataConfig.model_validate({"name": "shop", "source": source})
    assert len(read_items(config, environment)) == 0
    assert len(read_customers(config, environment)) == 0


@pytest.mark.parametrize(
    ("table", "error", "message"),
    [
        ({"columns": {"title": "name"}}, ConfigError, "items.columns -> item_id is missing; add it"),
        ({"columns": {"item_id": "sku", "smell": "name"}}, ConfigError, "items.columns -> smell; must be one of"),
        ({"columns": {"item_id": "ean"}}, DataError, "no column 'ean', which items.columns.item_id names"),
        ({"features": ["size"]}, DataError, "no column 'size', which items.features names"),
        ({"where": "1 +"}, ConfigError, "items.where = .*must be a SQL condition"),
        ({"where": "false"}, DataError, "no row has an item id; correct items.columns or items.where"),
    ],
)
def test_a_wrong_catalogue_mapping_is_one_clear_error(
    tmp_path: Path, environment: Environment, table: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        read_items(items_of(tmp_path, "a,Soup,,,1,,,\n", **table), environment)


def test_customers_have_bands_and_coarse_regions(tmp_path: Path, environment: Environment) -> None:
    columns = {"customer_id": "id", "age_band": "age", "region": "zip", "birth_year": "born"}
    config = config_of(
        tmp_path / "people.csv",
        "id,age,zip,born\notto,17,90210,\nanna,25-34,10115,1990\nzoe,64,,99\n",
        "customers",
        columns=columns,
        region_characters=2,
    )
    table = read_customers(config, environment)
    assert table["customer_id"].to_pylist() == ["anna", "otto", "zoe"]
    assert table["age_band"].to_pylist() == ["25-34", "Under 18", "55-64"]
    assert table["region"].to_pylist() == ["10", "90", None]
    assert table["birth_year"].to_pylist() == ["1990", None, "99"]
    assert table["gender"].null_count == 3


def people_of(tmp_path: Path, rows: str) -> DataConfig:
    columns = {"customer_id": "id", "age_band": "age", "birth_year": "born"}
    return config_of(tmp_path / "people.csv", "id,age,born\n" + rows, "customers", columns=columns)


@pytest.mark.parametrize(
    ("age", "expected"),
    [("17", "u13"), ("17.5", "u13"), ("18", "adult"), ("120", "adult"), ("13_15", "13_15"), ("16_17", "16_17")],
)
def test_a_file_of_ages_or_of_the_bands_of_the_store_is_read(
    tmp_path: Path, environment: Environment, age: str, expected: str
) -> None:
    assert legal_age_bands(read_customers(people_of(tmp_path, f"anna,{age},\n"), environment), AT) == {"anna": expected}


@pytest.mark.parametrize(
    ("rows", "column"),
    [
        ("anna,2012,\n", "age_band: '2012'"),
        ("anna,121,\n", "age_band: '121'"),
        ("anna,inf,\n", "age_band: 'inf'"),
        ("anna,adult,\nanna,,2012-05-03\n", "birth_year: '2012-05-03'"),
    ],
)
def test_an_age_in_a_file_that_is_not_surely_understood_is_refused(
    tmp_path: Path, environment: Environment, rows: str, column: str
) -> None:
    customers = read_customers(people_of(tmp_path, rows), environment)
    with pytest.raises(DataError, match=rf"customers\.columns\.{column} \(1\), customers concerned: 1; must be"):
        legal_age_bands(customers, AT)


@pytest.mark.parametrize(
    ("birth_year", "band", "expected"),
    [
        ("2007", None, "adult"),
        ("2008", None, "16_17"),  # she may still be 17: her birthday counts as yet to come
        ("2010", None, "13_15"),
        ("2013", None, "u13"),
        (None, "65+", "adult"),
        (None, "18-24", "adult"),
        (None, "16-24", "16_17"),
        (None, "Under 18", "u13"),
        (None, "<18", "u13"),
        (None, "Age 13 to 17", "13_15"),
        ("2012", "25-34", "13_15"),
        (None, "unknown", None),
        (None, None, None),
    ],
)
def test_an_age_is_taken_at_its_lowest(birth_year: str | None, band: str | None, expected: str | None) -> None:
    table = pa.table({"customer_id": ["a"], "birth_year": [birth_year], "age_band": [band]})
    assert legal_age_bands(table, AT).get("a") == expected
