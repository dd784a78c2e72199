"""What makes a row wrong: one rule per reason, each a SQL condition over a mapped row."""

from dataclasses import dataclass
from datetime import datetime

from considerate.errors import ConfigError
from considerate.interactions.columns import Columns
from considerate.interactions.mapping import SourceMapping
from considerate.interactions.sources import literal
from considerate.ranking.history import Kind
from considerate.settings.data import SourceConfig

MAX_ID = 256
"""Characters of the longest id, order line or other short text that is taken."""

DUPLICATE_ORDER_LINE = "duplicate_order_line"
DUPLICATE_EVENT = "duplicate_event_id"
UNREADABLE_LINE = "unreadable_line"


@dataclass(frozen=True, slots=True)
class Rule:
    """A reason to leave a row out.

    Attributes
    ----------
    reason
        Name in the report and in the quarantine.
    condition
        SQL over our column names and `<column>_given`; true where the row is wrong.
    """

    reason: str
    condition: str


def row_rules(mapping: SourceMapping, config: SourceConfig, at: datetime) -> tuple[Rule, ...]:
    """Give the rules that look at one row; rules over several rows follow in `reading`.

    Parameters
    ----------
    mapping
        Which columns there are.
    config
        Gives the earliest time.
    at
        Now; later times are in the future.
    """
    rules = [
        *(_id_rules(Columns.CUSTOMER, mapping, required=True)),
        *(_id_rules(Columns.ITEM, mapping, required=True)),
        *(
            rule
            for column in (Columns.ORDER_LINE, Columns.EVENT, Columns.DECISION, Columns.SURFACE)
            for rule in _id_rules(column, mapping, required=False)
        ),
        Rule("kind_unknown", f"{Columns.KIND} IS NULL"),
        Rule("channel_unknown", f"{Columns.CHANNEL} IS NULL"),
        Rule(
            "quantity_not_positive",
            f"{Columns.KIND} = {int(Kind.PURCHASE)} AND {Columns.VALUE} <= 0",
        ),
        Rule("value_missing", f"{Columns.KIND} = {int(Kind.RATING)} AND {Columns.VALUE} IS NULL"),
    ]
    if Columns.VALUE in mapping.given:
        rules.append(Rule("value_not_a_number", _given_but_null(Columns.VALUE)))
    if Columns.TIMESTAMP in mapping.given:
        now = at.isoformat(sep=" ")
        rules += [
            Rule("timestamp_unreadable", _given_but_null(Columns.TIMESTAMP)),
            Rule("timestamp_too_early", f"{Columns.TIMESTAMP} < {literal(_earliest(config))}::TIMESTAMP"),
            Rule("timestamp_in_future", f"{Columns.TIMESTAMP} > {literal(now)}::TIMESTAMPTZ::TIMESTAMP"),
        ]
    if Columns.POSITION in mapping.given:
        rules.append(Rule("position_not_an_integer", _given_but_null(Columns.POSITION)))
    ordered = [column for column in (Columns.TIMESTAMP, Columns.POSITION) if column in mapping.given]
    if ordered:
        missing = " AND ".join(f"NOT {column}_given" for column in ordered)
        rules.append(Rule("_and_".join(ordered) + "_missing", missing))
    return tuple(rules)


def _id_rules(column: str, mapping: SourceMapping, *, required: bool) -> list[Rule]:
    rules = []
    if required:
        empty = f" OR trim({column}) = ''" if column in mapping.textual else ""
        rules.append(Rule(f"{column}_missing", f"{column} IS NULL{empty}"))
    if column in mapping.textual:
        rules += [
            Rule(f"{column}_too_long", f"length({column}) > {MAX_ID}"),
            # NUL ends a text in much software, and a line break starts a new row in its logs.
            Rule(f"{column}_control_character", f"regexp_matches({column}, '[\\x00-\\x1f\\x7f]')"),
        ]
    return rules


def _given_but_null(column: str) -> str:
    return f"{column}_given AND {column} IS NULL"


def _earliest(config: SourceConfig) -> str:
    try:
        return datetime.fromisoformat(config.earliest).replace(tzinfo=None).isoformat(sep=" ")
    except ValueError as error:
        raise ConfigError(f"source.earliest = {config.earliest!r}; must be a date such as 2015-01-01") from error
