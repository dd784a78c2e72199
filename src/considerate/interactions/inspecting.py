"""Guessing the mapping of a file nobody has described yet, as a data TOML for a person to correct."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from considerate.errors import DataError
from considerate.interactions.columns import Columns
from considerate.interactions.sources import Source, literal, number_of, open_files, quoted
from considerate.settings.data import SourceConfig
from considerate.settings.environment import Environment

# Words of a column's name that speak for one of ours, the most telling first.
_WORDS: Mapping[str, tuple[str, ...]] = {
    Columns.CUSTOMER: ("customer", "user", "household", "client", "member", "shopper", "buyer", "visitor", "account"),
    Columns.ITEM: ("item", "product", "sku", "article", "stock", "asin", "movie", "book", "track", "isbn"),
    Columns.TIMESTAMP: ("timestamp", "datetime", "date", "time", "created", "purchased", "day"),
    Columns.VALUE: ("rating", "stars", "quantity", "qty", "units"),
    Columns.KIND: ("kind", "event", "action", "behavior", "behaviour"),
    Columns.CHANNEL: ("channel",),
}
_ORDER_WORDS = ("order", "invoice", "basket", "receipt", "transaction", "cart")
_NOT_ID = ("name", "description", "desc", "title", "price", "amount", "value", "city", "country", "type", "category")
_FORMATS = (
    "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y %H:%M", "%d.%m.%Y", "%Y%m%d",
    "%d-%m-%Y", "%m/%d/%Y %H:%M:%S", "%d/%m/%Y %H:%M:%S", "%Y/%m/%d",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Guess:
    """A guessed mapping.

    Attributes
    ----------
    toml
        Text of the data TOML.
    rows
        Rows of the file.
    missing
        Columns of ours that the file must have and that were not found; the TOML has `?` in their place.
    """

    toml: str
    rows: int
    missing: tuple[str, ...]


def inspect_file(file: Path, environment: Environment, *, name: str | None = None) -> Guess:
    """Guess how a CSV or Parquet file maps to interactions, from the names and the values of its columns.

    Parameters
    ----------
    file
        What to look at.
    environment
        Says where copies of data sets are looked for.
    name
        What the data set is called; the name of the file unless given.

    Raises
    ------
    DataError
        The file is missing, empty, or neither CSV nor Parquet by its name.
    """
    suffixes = [suffix.lower() for suffix in file.suffixes]
    if ".parquet" in suffixes or ".pq" in suffixes:
        config = SourceConfig(format="parquet", path=str(file), columns=_UNMAPPED)
    elif {".csv", ".tsv", ".txt"} & set(suffixes):
        encoding = "utf-8" if not file.is_file() or suffixes[-1] == ".gz" else _encoding(file)
        config = SourceConfig(format="csv", path=str(file), columns=_UNMAPPED, encoding=encoding)
    else:
        raise DataError(f"{file}: neither CSV nor Parquet by its name; rename it, or write the TOML by hand")
    with open_files(config, str(file), environment) as source:
        rows = number_of(source.connection, "SELECT count(*) FROM source")
        mapping: dict[str, str | list[str]] = dict(_mapped(source))
        order_line = _order_line(source, mapping, rows)
        if order_line:
            mapping[Columns.ORDER_LINE] = order_line
        time_format = _time_format(source, mapping.get(Columns.TIMESTAMP))
        toml = _toml(source, config, mapping, rows=rows, time_format=time_format, called=name or file.name)
    missing = tuple(name for name in (Columns.CUSTOMER, Columns.ITEM) if name not in mapping)
    return Guess(toml, rows, missing)


_UNMAPPED: dict[str, str | list[str]] = {Columns.CUSTOMER: "?", Columns.ITEM: "?"}


def _encoding(file: Path) -> str:
    with file.open("rb") as handle:
        start = handle.read(1 << 20)
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "utf-16"
    try:
        start[: len(start) - 4 if len(start) == 1 << 20 else None].decode("utf-8")
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _words(name: str) -> list[str]:
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower().replace("-", "_").replace(" ", "_").split("_")


def _mapped(source: Source) -> dict[str, str]:
    taken: dict[str, str] = {}
    for ours, telling in _WORDS.items():
        best, score = None, 0
        for name in source.columns:
            words = _words(name)
            hits = [len(telling) - telling.index(word) for word in words if word in telling]
            is_id = ours in (Columns.CUSTOMER, Columns.ITEM)
            if not hits or name in taken.values() or (is_id and any(word in _NOT_ID for word in words)):
                continue
            points = max(hits) + (20 if is_id and {"id", "code", "no", "key", "ref"} & set(words) else 0)
            if points > score:
                best, score = name, points
        if best is not None:
            taken[ours] = best
    return taken


def _order_line(source: Source, mapping: Mapping[str, str | list[str]], rows: int) -> list[str] | None:
    item = mapping.get(Columns.ITEM)
    for name in source.columns:
        if isinstance(item, str) and name not in mapping.values() and set(_words(name)) & set(_ORDER_WORDS):
            pair = [name, item]
            chosen = ", ".join(quoted(part) for part in pair)
            distinct = number_of(source.connection, f"SELECT count(*) FROM (SELECT DISTINCT {chosen} FROM source)")
            if distinct == rows:
                return pair
    return None


def _time_format(source: Source, column: str | list[str] | None) -> str | None:
    if not isinstance(column, str) or source.columns[column] != "VARCHAR":
        return None
    name = quoted(column)
    tries = [f"count(TRY_CAST({name} AS TIMESTAMPTZ))"]
    tries += [f"count(TRY_STRPTIME({name}, {literal(form)}))" for form in _FORMATS]
    standard, *others = source.connection.execute(
        f"SELECT {', '.join(tries)} FROM (SELECT {name} FROM source LIMIT 100000)"
    ).fetchall()[0]
    best = max(range(len(others)), key=lambda place: others[place])
    return _FORMATS[best] if others[best] > standard else None


def _toml(
    source: Source,
    config: SourceConfig,
    mapping: Mapping[str, str | list[str]],
    *,
    rows: int,
    time_format: str | None,
    called: str,
) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", called.partition(".")[0].lower()).strip("_") or "shop"
    lines = [
        f"# A guess from the {rows:,} rows of the file: correct it, then run `considerate load` on it.",
        "# Columns of the file:",
        *(f"#   {column} ({kind})".replace("\n", " ") for column, kind in source.columns.items()),
        f"name = {_text(name)}",
        "",
        "[source]",
        f"format = {_text(config.format)}",
        f"path = {_text(str(config.path))}",
    ]
    if config.encoding != "utf-8":
        lines.append(f"encoding = {_text(config.encoding)}")
    if time_format is not None:
        lines.append(f"timestamp_format = {_text(time_format)}")
    lines += ["", "[source.columns]"]
    wanted = dict.fromkeys((Columns.CUSTOMER, Columns.ITEM, *mapping))
    for ours in wanted:
        theirs = mapping.get(ours)
        if theirs is None:
            lines.append(f'{ours} = "?"  # not found: which column names it?')
        else:
            lines.append(f"{ours} = {_text(theirs) if isinstance(theirs, str) else _list(theirs)}")
    lines += ["", "[source.values]"]
    if Columns.KIND not in mapping:
        value = mapping.get(Columns.VALUE)
        rated = isinstance(value, str) and {"rating", "stars"} & set(_words(value))
        lines.append(f"kind = {_text('rating' if rated else 'purchase')}")
    if Columns.CHANNEL not in mapping:
        lines.append('channel = "online"  # or "store"')
    lines += [
        "",
        "# Rows that you expect and that are no purchase: reason = SQL condition over the file's columns.",
        "# [source.set_aside]",
        '# cancellation = "..."',
        "",
        "# On whose consent models learn: only that of customers in the ledger (`considerate consent import`).",
        "[consent]",
        'source = "ledger"',
        'unknown_age = "deny"  # "adult" only where you sell to adults alone',
        "",
    ]
    if Columns.TIMESTAMP in mapping:
        lines += [
            "# How models are judged: on the last 28 days, over products that 5 customers bought before.",
            "[protocol.month]",
            'kind = "temporal"',
            "test_days = 28",
            "min_customers = 5",
            "",
        ]
    return "\n".join(lines)


def _text(value: str) -> str:
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _list(values: list[str]) -> str:
    return "[" + ", ".join(_text(value) for value in values) + "]"
