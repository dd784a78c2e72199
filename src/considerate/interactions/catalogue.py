"""Reading the tables beside the interactions: the catalogue and what is known about customers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pyarrow as pa

from considerate.errors import ConfigError, DataError
from considerate.interactions.ages import OLDEST, ages_of_labels, ages_of_years
from considerate.interactions.columns import Columns
from considerate.interactions.mapping import as_text, condition, present
from considerate.interactions.rules import MAX_ID
from considerate.interactions.sources import FILE, ROW, Source, literal, open_files, quoted
from considerate.items.catalogue import AGE_UNKNOWN, Catalogue
from considerate.settings.data import DataConfig, ItemsConfig, TableConfig
from considerate.settings.environment import Environment

_TEXTS = ("group_id", "title", "category", "brand", "image_url", "sensitive")
_ITEM_COLUMNS = (Columns.ITEM, *_TEXTS, "price", "min_age", "in_stock")
_CUSTOMER_COLUMNS = (Columns.CUSTOMER, "birth_year", "age_band", "gender", "region", "loyalty_tier")
CLASSLESS = "none"
"""What a feed says of an item that belongs to no sensitive class."""
UNKNOWN_CLASS = "unknown"
"""Sensitive class of an item that nobody has classified, where the catalogue holds such items back."""
_BANDS = ((18, "Under 18"), (25, "18-24"), (35, "25-34"), (45, "35-44"), (55, "45-54"), (65, "55-64"))

CUSTOMERS = pa.schema(
    [
        pa.field(Columns.CUSTOMER, pa.string(), nullable=False),
        pa.field("birth_year", pa.string()),
        pa.field("age_band", pa.string()),
        pa.field("gender", pa.string()),
        pa.field("region", pa.string()),
        pa.field("loyalty_tier", pa.string()),
    ]
)
"""Schema of `read_customers`, sorted by customer."""


@dataclass(frozen=True, slots=True)
class CatalogueReport:
    """What became of the rows of a catalogue feed.

    Attributes
    ----------
    rows_read
        Rows of the feed that its `where` lets through.
    items
        Distinct items.
    without_id
        Rows whose item id is missing, longer than 256 characters or holds a control character: left out.
    not_understood
        Column -> rows whose value is no number, age limit or truth value: kept without it.
    """

    rows_read: int
    items: int
    without_id: int
    not_understood: Mapping[str, int]


def read_items(config: DataConfig, environment: Environment) -> Catalogue:
    """Read the catalogue of a data set; empty where its TOML has no `[items]`.

    A feed may name an item in several rows: column by column, the last row that has a value wins.

    Raises
    ------
    DataError
        The file cannot be read, lacks a column or has no usable row.
    ConfigError
        The mapping names an unknown column of ours, or `where` is not SQL.
    """
    return read_items_report(config, environment)[0]


def read_items_report(config: DataConfig, environment: Environment) -> tuple[Catalogue, CatalogueReport]:
    """Read the catalogue as `read_items` does, with what became of its rows."""
    if config.items is None:
        return Catalogue.empty(), CatalogueReport(0, 0, 0, {})
    wanted = config.items
    _check_policy(wanted, config.name)
    with open_files(wanted, wanted.path, environment) as source:
        converted = {
            name: sql
            for name, sql in (
                (
                    "price",
                    "CASE WHEN isfinite(TRY_CAST({} AS FLOAT)) AND TRY_CAST({} AS FLOAT) >= 0 "
                    "THEN TRY_CAST({} AS FLOAT) END",
                ),
                ("min_age", "CASE WHEN TRY_CAST({} AS SMALLINT) BETWEEN 0 AND 99 THEN TRY_CAST({} AS SMALLINT) END"),
                ("in_stock", "TRY_CAST({} AS BOOLEAN)"),
            )
            if name in wanted.columns
        }
        texts = _texts(source, wanted, _ITEM_COLUMNS, "items")
        for name in wanted.features:
            present(source, name, "items.features")
            texts[_feature(name)] = as_text(source, (name,))
        values = {
            name: converted[name].replace("{}", f"({sql})") if name in converted else sql for name, sql in texts.items()
        }
        rows_read, without_id = _stage(source, wanted, "items", key=texts[Columns.ITEM], values=values, texts=texts)
        lost = _lost(source, tuple(converted))
        table = _latest(source, Columns.ITEM, [name for name in values if name != Columns.ITEM])
    if not len(table):
        raise DataError(f"{wanted.path}: no row has an item id; correct items.columns or items.where")
    return _catalogue(table, wanted), CatalogueReport(rows_read, len(table), without_id, lost)


def read_customers(config: DataConfig, environment: Environment) -> pa.Table:
    """Read what is known about customers, as schema `CUSTOMERS`; no row where the TOML has no `[customers]`.

    An `age_band` that is a number up to 120 is read as an age in years and becomes a band (`25-34`), any other stays as
    it is, and so does `birth_year`: `legal_age_bands` says what they mean. `region` is cut to `region_characters`.

    Raises
    ------
    DataError
        The file cannot be read or lacks a column.
    ConfigError
        The mapping names an unknown column of ours, or `where` is not SQL.
    """
    if config.customers is None:
        return CUSTOMERS.empty_table()
    wanted = config.customers
    with open_files(wanted, wanted.path, environment) as source:
        texts = _texts(source, wanted, _CUSTOMER_COLUMNS, "customers")
        values = dict(texts)
        if "age_band" in texts:
            values["age_band"] = _banded(texts["age_band"])
        if "region" in texts and wanted.region_characters is not None:
            values["region"] = f"left({texts['region']}, {wanted.region_characters})"
        _stage(source, wanted, "customers", key=texts[Columns.CUSTOMER], values=values, texts=texts)
        table = _latest(source, Columns.CUSTOMER, [name for name in values if name != Columns.CUSTOMER])
    arrays = [
        table[field.name] if field.name in table.column_names else pa.nulls(len(table), field.type)
        for field in CUSTOMERS
    ]
    return pa.table(arrays, names=CUSTOMERS.names).cast(CUSTOMERS)


def _texts(source: Source, wanted: TableConfig, known: tuple[str, ...], section: str) -> dict[str, str]:
    """SQL for the text of every mapped column, NULL where there is none."""
    unknown = sorted(set(wanted.columns) - set(known))
    if unknown:
        raise ConfigError(f"{section}.columns -> {unknown[0]}; must be one of {', '.join(known)}")
    if known[0] not in wanted.columns:
        raise ConfigError(f"{section}.columns -> {known[0]} is missing; add it")
    texts = {}
    for ours, theirs in wanted.columns.items():
        names = present(source, theirs, f"{section}.columns.{ours}")
        separator = " > " if ours == "category" else " "
        parts = ", ".join(f"nullif(trim({as_text(source, (name,))}), '')" for name in names)
        # Ids are taken as they are: a login token must name the same customer, a page the same item.
        texts[ours] = (
            as_text(source, names) if ours == known[0] else f"nullif(concat_ws({literal(separator)}, {parts}), '')"
        )
    return texts


def _stage(
    source: Source, wanted: TableConfig, section: str, *, key: str, values: dict[str, str], texts: dict[str, str]
) -> tuple[int, int]:
    where = "true" if wanted.where is None else condition(source, wanted.where, f"{section}.where")
    chosen = ", ".join(f"{sql} AS {quoted(name)}" for name, sql in values.items())
    raw = ", ".join(f"{sql} AS {quoted('raw ' + name)}" for name, sql in texts.items())
    sound = f"trim({key}) <> '' AND length({key}) <= {MAX_ID} AND NOT regexp_matches({key}, '[\\x00-\\x1f\\x7f]')"
    source.connection.execute(
        f"CREATE TEMP TABLE staged AS SELECT {ROW}, {FILE}, {chosen}, {raw}, coalesce({sound}, false) AS sound "
        f"FROM source WHERE {where}"
    )
    rows, bad = source.connection.execute("SELECT count(*), count(*) FILTER (NOT sound) FROM staged").fetchall()[0]
    return int(rows), int(bad)


def _lost(source: Source, names: tuple[str, ...]) -> dict[str, int]:
    if not names:
        return {}
    counts = ", ".join(
        f"count(*) FILTER (sound AND {quoted('raw ' + name)} IS NOT NULL AND {quoted(name)} IS NULL)" for name in names
    )
    row = source.connection.execute(f"SELECT {counts} FROM staged").fetchall()[0]
    return {name: int(count) for name, count in zip(names, row, strict=True) if count}


def _latest(source: Source, key: str, names: list[str]) -> pa.Table:
    chosen = "".join(
        f", arg_max({quoted(name)}, ({FILE}, {ROW})) FILTER ({quoted(name)} IS NOT NULL) AS {quoted(name)}"
        for name in names
    )
    return (
        source.connection.sql(f"SELECT {quoted(key)}{chosen} FROM staged WHERE sound GROUP BY {quoted(key)}")
        .to_arrow_table()
        .sort_by(key)
    )


def _banded(text: str) -> str:
    # A cast alone reads the band 13_15 as 1315, and a birth year as a great age.
    age = f"CASE WHEN regexp_full_match({text}, '[0-9]{{1,3}}(\\.[0-9]+)?') THEN TRY_CAST({text} AS DOUBLE) END"
    cases = " ".join(f"WHEN ({age}) < {upper} THEN {literal(band)}" for upper, band in _BANDS)
    return f"CASE {cases} WHEN ({age}) <= {OLDEST} THEN '65+' ELSE {text} END"


def _check_policy(wanted: ItemsConfig, name: str) -> None:
    if not wanted.path:
        raise ConfigError(f"{name}: items.path is missing; name the file of the catalogue, with items.columns")
    if wanted.unclassified == "sensitive" and "sensitive" not in wanted.columns:
        raise ConfigError(
            f'{name}: items.unclassified = "sensitive" needs items.columns.sensitive, or every item is held back; '
            f"map the column that names its class, {CLASSLESS} for an item that has none"
        )


def _classes(named: np.ndarray, wanted: ItemsConfig) -> np.ndarray:
    unclassified = UNKNOWN_CLASS if wanted.unclassified == "sensitive" else ""
    values = np.empty(len(named), dtype=object)
    values[:] = ["" if name.lower() == CLASSLESS else name or unclassified for name in named.tolist()]
    return values


def _feature(name: str) -> str:
    return f"feature {name}"


def _catalogue(table: pa.Table, wanted: ItemsConfig) -> Catalogue:
    n = len(table)

    def text(name: str) -> np.ndarray:
        if name not in table.column_names:
            return np.full(n, "", dtype=object)
        values = np.empty(n, dtype=object)
        values[:] = [value or "" for value in table[name].to_pylist()]
        return values

    def numbers(name: str, missing: float, dtype: type) -> np.ndarray:
        if name not in table.column_names:
            return np.full(n, missing, dtype)
        return np.array([missing if value is None else value for value in table[name].to_pylist()], dtype)

    return Catalogue(
        item_ids=tuple(table[Columns.ITEM].to_pylist()),
        group_id=text("group_id"),
        title=text("title"),
        category=text("category"),
        brand=text("brand"),
        image_url=text("image_url"),
        price=numbers("price", np.nan, np.float32),
        min_age=numbers("min_age", AGE_UNKNOWN, np.int16),
        sensitive=_classes(text("sensitive"), wanted),
        in_stock=numbers("in_stock", True, np.bool_),
        features={name: text(_feature(name)) for name in wanted.features},
    )


def legal_age_bands(customers: pa.Table, at: datetime) -> dict[str, str]:
    """Give customer id -> the store's age band, for the customers whose age is known.

    An age is taken at its lowest (`interactions.ages`); a birth year tells it better than a band.

    Raises
    ------
    DataError
        An age that cannot be read for sure, be there another of the same customer or not.

    >>> table = pa.table({"customer_id": ["a", "b"], "birth_year": [None, "2012"], "age_band": ["25-34", None]})
    >>> legal_age_bands(table, datetime.fromisoformat("2026-03-01T00:00:00+00:00"))
    {'a': 'adult', 'b': '13_15'}
    """
    by_year = ages_of_years(customers["birth_year"].to_pylist(), at)
    by_label = ages_of_labels(customers["age_band"].to_pylist())
    bands = {}
    for customer, year_age, label_age in zip(customers[Columns.CUSTOMER].to_pylist(), by_year, by_label, strict=True):
        years = label_age if year_age is None else year_age
        if years is not None:
            bands[customer] = "adult" if years >= 18 else "16_17" if years >= 16 else "13_15" if years >= 13 else "u13"
    return bands
