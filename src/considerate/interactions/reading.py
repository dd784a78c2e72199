"""Reading interactions: source rows in, validated interactions out, and every row that is left out accounted for."""

import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from considerate.errors import ConfigError, DataError
from considerate.interactions import quarantine as left_out
from considerate.interactions.columns import SCHEMA, Columns, Interactions, LoadReport
from considerate.interactions.mapping import CANCELLATION, SourceMapping, map_source
from considerate.interactions.rules import (
    DUPLICATE_EVENT,
    DUPLICATE_ORDER_LINE,
    UNREADABLE_LINE,
    Rule,
    row_rules,
)
from considerate.interactions.sources import FILE, ROW, Source, literal, number_of, open_files, open_query, quoted
from considerate.ranking.history import Kind
from considerate.settings.data import DataConfig, SourceConfig
from considerate.settings.environment import Environment

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_interactions(
    config: DataConfig, environment: Environment, *, quarantine: Path | None, at: datetime
) -> Interactions:
    """Read, map and validate the interactions of a data set.

    A bad row never stops a load and never vanishes: it is counted under every rule it breaks and, where a quarantine
    is given, written there with its reasons, file and row number.

    Parameters
    ----------
    config
        The data TOML. Format `store` is read by `considerate.interactions.stored.read_stored` instead.
    environment
        Says where copies of data sets are looked for.
    quarantine
        Folder for rows left out; its file `<name>.parquet` is replaced. None keeps only the counts.
    at
        Now (aware, UTC): later timestamps are wrong.

    Raises
    ------
    DataError
        The source cannot be read, lacks a column, has no usable row, or more than `max_rejected` bad rows.
    ConfigError
        The mapping names an unknown column of ours, or a condition is not SQL.
    """
    started = time.perf_counter()
    target = None if quarantine is None else quarantine / f"{config.name}.parquet"
    try:
        with _opened(config.source, environment) as source:
            interactions = _read(source, config, target, at)
    except duckdb.Error as error:
        # The message of an engine may quote a row, and a row names a person: only its kind is passed on.
        named, kind = config.source.path or config.source.format, type(error).__name__
        raise DataError(f"{named}: cannot be read ({kind}); check the file, or export it again") from None
    report = interactions.report
    timed = {name: getattr(report, name) for name in LoadReport.__slots__}
    timed |= {"seconds": time.perf_counter() - started, "peak_mb": peak_mb()}
    return Interactions(interactions.table, LoadReport(**timed))


@contextmanager
def _opened(config: SourceConfig, environment: Environment) -> Iterator[Source]:
    if config.format == "store":
        raise ConfigError("source.format = 'store'; is read from the database: use read_stored")
    if config.format in ("csv", "parquet"):
        with open_files(config, str(config.path), environment) as source:
            yield source
    else:
        with open_query(config.format, str(config.url), str(config.query)) as source:
            yield source


def _read(source: Source, config: DataConfig, target: Path | None, at: datetime) -> Interactions:
    mapping = map_source(source, config.source)
    rules = row_rules(mapping, config.source, at)
    aside = list(mapping.set_aside) + ([mapping.exact_duplicate] if mapping.exact_duplicate else [])
    bad = [rule.reason for rule in rules] + [DUPLICATE_ORDER_LINE, DUPLICATE_EVENT]
    _judge_rows(source, mapping, rules)
    _judge_duplicates(source, mapping, aside, bad)
    counts = _counts(source, aside, bad)
    wrote = None if target is None else left_out.write(source, target, aside, bad)
    rows_read = counts["rows"] + source.unreadable
    rejected = counts["quarantined"] + source.unreadable
    quarantined = {reason: counts[f"bad {reason}"] for reason in bad if counts[f"bad {reason}"]}
    if source.unreadable:
        quarantined[UNREADABLE_LINE] = source.unreadable
    set_aside = {reason: counts[f"aside {reason}"] for reason in aside}
    _refuse_hopeless(
        source,
        config,
        rows_read=rows_read,
        rejected=rejected,
        quarantined=quarantined,
        set_aside=set_aside,
        wrote=wrote,
    )
    cancelled = 1 << aside.index(CANCELLATION) if CANCELLATION in aside else 0
    table = _table(source, cancelled)
    if not len(table):
        raise DataError(f"{source.named}: every row is set aside ({_listed(set_aside)}); check source.set_aside")
    first, last = period(table)
    kept = rows_read - rejected - counts["set_aside"]
    report = LoadReport(
        name=config.name,
        rows_read=rows_read,
        rows_kept=kept,
        rows_set_aside=counts["set_aside"],
        rows_quarantined=rejected,
        set_aside=set_aside,
        quarantined=quarantined,
        returns_from_cancellations=len(table) - kept,
        customers=pc.count_distinct(table[Columns.CUSTOMER]).as_py(),
        items=pc.count_distinct(table[Columns.ITEM]).as_py(),
        first=first,
        last=last,
        quarantine=wrote,
    )
    return Interactions(table, report)


def _judge_rows(source: Source, mapping: SourceMapping, rules: tuple[Rule, ...]) -> None:
    """Make the table `mapped`: our columns and two bit masks, `aside` and `bad`, of the rules a row matches."""
    ours = ", ".join(f"{sql} AS {column}" for column, sql in mapping.expressions.items())
    given = "".join(f", {sql} AS {column}_given" for column, sql in mapping.given.items())
    aside = _mask(list(mapping.set_aside.values()))
    aside_column = f", {aside} AS aside"
    columns = ", ".join(mapping.expressions)
    source.connection.execute(
        f"CREATE TEMP TABLE mapped AS SELECT {ROW}, {FILE}, {columns}, aside, "
        f"{_mask([rule.condition for rule in rules])} AS bad "
        f"FROM (SELECT {ROW}, {FILE}, {ours}{given}{aside_column} FROM source)"
    )


def _mask(conditions: list[str]) -> str:
    terms = [f"CASE WHEN {sql} THEN {1 << bit} ELSE 0 END" for bit, sql in enumerate(conditions)]
    return f"({' + '.join(terms)})::BIGINT" if terms else "0::BIGINT"


def _judge_duplicates(source: Source, mapping: SourceMapping, aside: list[str], bad: list[str]) -> None:
    """Mark the second and later of equal rows, order lines and event ids, in the order of the source."""
    if mapping.exact_duplicate is not None:
        columns = ", ".join(quoted(name) for name in source.columns)
        _mark_later(source, "source", columns, "true", mask="aside", bit=1 << aside.index(mapping.exact_duplicate))
    cancelled = 1 << aside.index(CANCELLATION) if CANCELLATION in aside else 0
    sound = f"bad = 0 AND aside IN (0, {cancelled})"
    if Columns.ORDER_LINE in mapping.given:
        # A return may carry the order line of the purchase it belongs to: unique means unique within a kind.
        key = f"{Columns.ORDER_LINE}, {Columns.KIND}"
        where = f"{sound} AND {Columns.ORDER_LINE} IS NOT NULL"
        _mark_later(source, "mapped", key, where, mask="bad", bit=1 << bad.index(DUPLICATE_ORDER_LINE))
    if Columns.EVENT in mapping.given:
        key = f"{Columns.CUSTOMER}, {Columns.EVENT}"
        where = f"{sound} AND {Columns.EVENT} IS NOT NULL"
        _mark_later(source, "mapped", key, where, mask="bad", bit=1 << bad.index(DUPLICATE_EVENT))


def _mark_later(source: Source, relation: str, key: str, where: str, *, mask: str, bit: int) -> None:
    # Grouping by a 64-bit hash finds the few candidates fast; only these are compared in full.
    source.connection.execute(
        f"CREATE OR REPLACE TEMP TABLE candidate AS SELECT hash({key}) AS h FROM {relation} WHERE {where} "
        "GROUP BY h HAVING count(*) > 1"
    )
    if number_of(source.connection, "SELECT count(*) FROM candidate") == 0:
        return
    source.connection.execute(
        f"UPDATE mapped SET {mask} = {mask} + {bit} FROM (SELECT {FILE} AS f, {ROW} AS r FROM {relation} "
        f"WHERE {where} AND hash({key}) IN (SELECT h FROM candidate) "
        f"QUALIFY row_number() OVER (PARTITION BY {key} ORDER BY {FILE}, {ROW}) > 1) later "
        f"WHERE mapped.{FILE} = later.f AND mapped.{ROW} = later.r"
    )


def _counts(source: Source, aside: list[str], bad: list[str]) -> dict[str, int]:
    wanted = {
        "rows": "count(*)",
        "set_aside": "count(*) FILTER (aside > 0)",
        "quarantined": "count(*) FILTER (aside = 0 AND bad > 0)",
    }
    wanted |= {f"aside {name}": f"count(*) FILTER (aside & {1 << bit} > 0)" for bit, name in enumerate(aside)}
    wanted |= {f"bad {name}": f"count(*) FILTER (aside = 0 AND bad & {1 << bit} > 0)" for bit, name in enumerate(bad)}
    row = source.connection.execute(f"SELECT {', '.join(wanted.values())} FROM mapped").fetchall()[0]
    return dict(zip(wanted, row, strict=True))


def _refuse_hopeless(
    source: Source,
    config: DataConfig,
    *,
    rows_read: int,
    rejected: int,
    quarantined: dict[str, int],
    set_aside: dict[str, int],
    wrote: Path | None,
) -> None:
    if rows_read == 0:
        raise DataError(f"{source.named}: the source has no rows; check the export, or the query")
    limit = config.source.max_rejected
    if rejected > limit * rows_read:
        seen = f"; the rows are in {wrote}" if wrote else ""
        raise DataError(
            f"{source.named}: {rejected:,} of {rows_read:,} rows are bad ({rejected / rows_read:.1%}), more than "
            f"max_rejected = {limit:.1%}: {_listed(quarantined)}{seen}; correct the mapping or the data, or name "
            "what you expect in [source.set_aside]"
        )
    if rejected == rows_read:
        raise DataError(f"{source.named}: no row is usable: {_listed(quarantined | set_aside)}; correct the mapping")


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _table(source: Source, cancelled: int) -> pa.Table:
    """Give the rows to keep, complete cancellations included, each with its event id."""
    connection = source.connection
    kinds = " ".join(f"WHEN {int(kind)} THEN {literal(kind.name.lower() + ':')}" for kind in Kind if kind)
    content = ", ".join(
        f"coalesce({column}::VARCHAR, '')"
        for column in (Columns.ITEM, Columns.KIND, Columns.VALUE, Columns.TIMESTAMP, Columns.POSITION, Columns.CHANNEL)
    )
    keep = f"bad = 0 AND aside IN (0, {cancelled})"
    bare = f"{keep} AND {Columns.EVENT} IS NULL AND {Columns.ORDER_LINE} IS NULL"
    # Without an id or an order line an event is known by its content; equal events of a customer are numbered, so
    # that loading the same feed again gives the same ids. MD5 because `hash` may differ between DuckDB's versions.
    connection.execute(
        f"CREATE TEMP TABLE derived AS SELECT {FILE} AS f, {ROW} AS r, {Columns.CUSTOMER} AS c, "
        f"'x' || left(md5(concat_ws(chr(31), {content})), 24) AS e FROM mapped WHERE {bare}"
    )
    connection.execute(
        "CREATE TEMP TABLE repeated AS SELECT f, r, row_number() OVER (PARTITION BY c, e ORDER BY f, r) AS nth "
        "FROM derived WHERE hash(c, e) IN (SELECT hash(c, e) AS h FROM derived GROUP BY h HAVING count(*) > 1)"
    )
    event = (
        f"coalesce({Columns.EVENT}, CASE {Columns.KIND} {kinds} ELSE '' END || {Columns.ORDER_LINE}, "
        "e || CASE WHEN nth > 1 THEN '-' || nth ELSE '' END)"
    )
    has_derived = number_of(connection, "SELECT count(*) FROM derived") > 0
    if has_derived:
        origin = (
            f"mapped LEFT JOIN derived d ON mapped.{FILE} = d.f AND mapped.{ROW} = d.r "
            f"LEFT JOIN repeated p ON mapped.{FILE} = p.f AND mapped.{ROW} = p.r"
        )
    else:
        origin, event = "mapped", event.replace("e || CASE WHEN nth > 1 THEN '-' || nth ELSE '' END", "NULL")
    value = f"CASE WHEN {Columns.KIND} = {int(Kind.RETURN)} THEN abs({Columns.VALUE}) ELSE {Columns.VALUE} END"
    special = {Columns.VALUE: value, Columns.EVENT: event}
    chosen = ", ".join(f"{special.get(name, name)} AS {name}" for name in SCHEMA.names)
    order = f" ORDER BY {FILE}, {ROW}" if has_derived else ""
    table = connection.sql(f"SELECT {chosen} FROM {origin} WHERE {keep}{order}").to_arrow_table()
    return table.cast(SCHEMA)


def period(table: pa.Table) -> tuple[datetime | None, datetime | None]:
    """Give the first and last timestamp of a table of interactions, None where it has no time."""
    # As integers: pyarrow imports pandas, seconds and 80 MB of it, to give a single timestamp.
    ends = pc.min_max(table[Columns.TIMESTAMP].cast(pa.int64())).as_py()
    if ends["min"] is None:
        return None, None
    return EPOCH + timedelta(microseconds=ends["min"]), EPOCH + timedelta(microseconds=ends["max"])


def peak_mb() -> float:
    """Give the highest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def utc_now() -> datetime:
    """Give the present, for the edges that may ask for it."""
    return datetime.now(UTC)
