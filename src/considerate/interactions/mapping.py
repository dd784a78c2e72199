"""From source columns to ours, as SQL expressions: every conversion that fails gives NULL, and a rule sees it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import duckdb

from considerate.errors import ConfigError, DataError
from considerate.interactions.columns import Columns
from considerate.interactions.sources import Source, literal, quoted
from considerate.ranking.history import Channel, Kind
from considerate.settings.data import SourceConfig

CANCELLATION = "cancellation"
EXACT_DUPLICATE = "exact_duplicate"
_FLOATS = ("FLOAT", "DOUBLE")
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_MAPPABLE = frozenset(
    {
        Columns.CUSTOMER,
        Columns.ITEM,
        Columns.KIND,
        Columns.VALUE,
        Columns.TIMESTAMP,
        Columns.POSITION,
        Columns.CHANNEL,
        Columns.ORDER_LINE,
        Columns.EVENT,
        Columns.DECISION,
        Columns.SURFACE,
    }
)
_CONSTANT = frozenset({Columns.KIND, Columns.VALUE, Columns.CHANNEL, Columns.SURFACE})


@dataclass(frozen=True, slots=True)
class SourceMapping:
    """SQL over the relation `source`.

    Attributes
    ----------
    expressions
        Our column -> SQL; columns that the source lacks are NULL.
    given
        Our column -> SQL that is true where the source has a value, for the columns it maps.
    textual
        Columns of ours whose text comes from text (an integer needs no check of its characters).
    set_aside
        Reason -> SQL condition, without the built-in `exact_duplicate`.
    exact_duplicate
        Reason under which exact duplicates are set aside, or None.
    """

    expressions: Mapping[str, str]
    given: Mapping[str, str]
    textual: frozenset[str]
    set_aside: Mapping[str, str]
    exact_duplicate: str | None


def map_source(source: Source, config: SourceConfig) -> SourceMapping:
    """Build the expressions.

    Raises
    ------
    DataError
        The source lacks a column that the TOML names, or a column cannot become text.
    ConfigError
        A key of ours is unknown, a constant is of no use, or a condition is not SQL over the source's columns.
    """
    unknown = sorted(set(config.columns) - _MAPPABLE)
    if unknown:
        raise ConfigError(f"source.columns -> {unknown[0]}; must be one of {', '.join(sorted(_MAPPABLE))}")
    unknown = sorted(set(config.values) - _CONSTANT)
    if unknown:
        raise ConfigError(f"source.values -> {unknown[0]}; must be one of {', '.join(sorted(_CONSTANT))}")
    parts = {ours: present(source, theirs, f"source.columns.{ours}") for ours, theirs in config.columns.items()}
    conditions = {
        reason: condition(source, sql, f"source.set_aside.{reason}")
        for reason, sql in config.set_aside.items()
        if sql != EXACT_DUPLICATE
    }
    duplicate = [reason for reason, sql in config.set_aside.items() if sql == EXACT_DUPLICATE]

    def text(ours: str) -> str:
        return as_text(source, parts[ours]) if ours in parts else "NULL::VARCHAR"

    kind = _kind(source, config, parts, conditions.get(CANCELLATION))
    expressions = {
        Columns.CUSTOMER: text(Columns.CUSTOMER),
        Columns.ITEM: text(Columns.ITEM),
        Columns.KIND: kind,
        Columns.VALUE: _value(source, config, parts),
        Columns.TIMESTAMP: _timestamp(source, config, parts),
        Columns.POSITION: f"TRY_CAST({text(Columns.POSITION)} AS BIGINT)"
        if Columns.POSITION in parts
        else "NULL::BIGINT",
        Columns.CHANNEL: _channel(config, parts, text),
        Columns.ORDER_LINE: text(Columns.ORDER_LINE),
        Columns.EVENT: text(Columns.EVENT),
        Columns.DECISION: text(Columns.DECISION),
        Columns.SURFACE: _constant_text(config, Columns.SURFACE) or text(Columns.SURFACE),
    }
    return SourceMapping(
        expressions=expressions,
        given={ours: " AND ".join(f"{quoted(name)} IS NOT NULL" for name in names) for ours, names in parts.items()},
        textual=frozenset(
            ours for ours, names in parts.items() if any(source.columns[name] not in _INTEGERS for name in names)
        ),
        set_aside=conditions,
        exact_duplicate=duplicate[0] if duplicate else None,
    )


def present(source: Source, theirs: str | Sequence[str], key: str) -> tuple[str, ...]:
    """Give the source columns behind one of ours, or say which is missing.

    Raises
    ------
    DataError
        The source has no column of that name.
    """
    names = (theirs,) if isinstance(theirs, str) else tuple(theirs)
    for name in names:
        if name not in source.columns:
            has = ", ".join(source.columns)
            raise DataError(f"{source.named}: no column {name!r}, which {key} names; the source has: {has}")
    return names


def as_text(source: Source, names: Sequence[str], separator: str = "-") -> str:
    """SQL for the text of one or several columns; NULL where one of them is."""
    return f" || {literal(separator)} || ".join(_one_text(source, name) for name in names)


def _one_text(source: Source, name: str) -> str:
    type_, column = source.columns[name], quoted(name)
    if type_ == "VARCHAR":
        return column
    if type_ == "BLOB":
        raise DataError(f"{source.named}: column {name!r} holds bytes; cast it to text in the export")
    if type_ in _FLOATS:
        # Integers that went through a float (missing values in pandas) read as integers again: 17850.0 is '17850'.
        whole = f"{column} = trunc({column}) AND abs({column}) < 1e15"
        return f"CASE WHEN {whole} THEN {column}::BIGINT::VARCHAR ELSE {column}::VARCHAR END"
    return f"{column}::VARCHAR"


def condition(source: Source, sql: str, key: str) -> str:
    """Check a condition of the TOML, and make it false where it cannot be computed.

    Raises
    ------
    ConfigError
        It is not one SQL expression over the source's columns.
    """
    try:
        duckdb.SQLExpression(sql)  # One expression: neither a list nor a second statement.
        source.connection.execute(f"EXPLAIN SELECT TRY(({sql})::BOOLEAN) FROM source")
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"{key} = {sql!r}: {reason}; must be a SQL condition over source columns "
            "(columns of a CSV are text: write quantity::DOUBLE < 0)"
        ) from error
    return f"coalesce(TRY(({sql})::BOOLEAN), false)"


def _kind(source: Source, config: SourceConfig, parts: Mapping[str, tuple[str, ...]], cancellation: str | None) -> str:
    names = {kind.name.lower(): int(kind) for kind in Kind}
    known = ", ".join(names)
    constant = config.values.get(Columns.KIND, None if Columns.KIND in parts else "purchase")
    if constant is not None and constant not in names:
        raise ConfigError(f"source.values.kind = {constant!r}; must be one of {known}")
    cases = [] if cancellation is None else [f"WHEN {cancellation} THEN {int(Kind.RETURN)}"]
    for name, sql in config.when.items():
        if name not in names:
            raise ConfigError(f"source.when -> {name}; must be one of {known}")
        cases.append(f"WHEN {condition(source, sql, f'source.when.{name}')} THEN {names[name]}")
    if constant is not None:
        otherwise = str(names[str(constant)])
    else:
        given = f"lower({as_text(source, parts[Columns.KIND])})"
        otherwise = f"CASE {given} " + " ".join(f"WHEN '{n}' THEN {c}" for n, c in names.items()) + " END"
    return f"(CASE {' '.join(cases)} ELSE {otherwise} END)::TINYINT" if cases else f"({otherwise})::TINYINT"


def _value(source: Source, config: SourceConfig, parts: Mapping[str, tuple[str, ...]]) -> str:
    constant = config.values.get(Columns.VALUE)
    if constant is not None:
        if isinstance(constant, str):
            raise ConfigError(f"source.values.value = {constant!r}; must be a number")
        return f"{float(constant)!r}::DOUBLE"
    if Columns.VALUE not in parts:
        return "NULL::DOUBLE"
    (name,) = _single(parts[Columns.VALUE], Columns.VALUE)
    number = f"TRY_CAST({quoted(name)} AS DOUBLE)"
    return f"CASE WHEN isfinite({number}) THEN {number} END"


def _timestamp(source: Source, config: SourceConfig, parts: Mapping[str, tuple[str, ...]]) -> str:
    """UTC as a plain TIMESTAMP: naive times are taken for UTC, numbers for seconds since 1970."""
    if Columns.TIMESTAMP not in parts:
        return "NULL::TIMESTAMP"
    names = parts[Columns.TIMESTAMP]
    if config.timestamp_format is not None:
        text = as_text(source, names, " ")
        return f"TRY_STRPTIME({text}, {literal(config.timestamp_format)})::TIMESTAMP"
    (name,) = _single(names, Columns.TIMESTAMP)
    type_, column = source.columns[name], quoted(name)
    if type_ in _INTEGERS or type_ in _FLOATS:
        return f"TRY(make_timestamp(({column} * 1000000)::BIGINT))"
    if type_ == "VARCHAR":
        return f"TRY_CAST(TRY_CAST({column} AS TIMESTAMPTZ) AS TIMESTAMP)"
    return f"TRY_CAST({column} AS TIMESTAMP)"


def _channel(config: SourceConfig, parts: Mapping[str, tuple[str, ...]], text: Callable[[str], str]) -> str:
    names = {channel.name.lower(): int(channel) for channel in Channel}
    constant = config.values.get(Columns.CHANNEL, None if Columns.CHANNEL in parts else "online")
    if constant is None:
        cases = " ".join(f"WHEN '{name}' THEN {code}" for name, code in names.items())
        return f"(CASE lower({text(Columns.CHANNEL)}) {cases} END)::TINYINT"
    if constant not in names:
        raise ConfigError(f"source.values.channel = {constant!r}; must be one of {', '.join(names)}")
    return f"{names[str(constant)]}::TINYINT"


def _constant_text(config: SourceConfig, ours: str) -> str | None:
    return literal(str(config.values[ours])) if ours in config.values else None


def _single(names: tuple[str, ...], ours: str) -> tuple[str, ...]:
    if len(names) != 1:
        raise ConfigError(f"source.columns.{ours} = {list(names)!r}; must be one column")
    return names
