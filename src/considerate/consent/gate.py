"""The gate: the only maker of `ConsentedInteractions`, and so the only road from interactions to a fit."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from considerate.consent.decision import Reason
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.consent.snapshot import ConsentSnapshot, Standing
from considerate.errors import ConsentError
from considerate.interactions.columns import Columns, Interactions
from considerate.ranking.history import Channel
from considerate.settings.data import K_SEGMENT, ConsentConfig

ABSENT = "absent"
ERASED = "erased"
_OF_REASON = {
    Reason.NO_CONSENT: ABSENT,
    Reason.WITHDRAWN: "withdrawn",
    Reason.EXPIRED: "expired",
    Reason.NOTICE_CHANGED: "notice_changed",
    Reason.OBJECTED: "objected",
    Reason.RESTRICTED: "restricted",
    Reason.MINOR_OR_AGE_UNKNOWN: "minor",
    Reason.GPC: "gpc",
}
OF_CUSTOMERS: tuple[str, ...] = (ERASED, *_OF_REASON.values())
"""Why nothing of a customer may be learnt from."""
RETENTION, CUSTOMER_EXCLUDED, IN_STORE, SENSITIVE = OF_ROWS = (
    "retention",
    "customer_excluded",
    "link_in_store",
    "sensitive",
)
"""Why a row of a customer who allows training stays out: too old, not to count by her wish, from a till, on a sensitive
item."""
RULES: tuple[str, ...] = (*OF_CUSTOMERS, *OF_ROWS)
"""Why a row stays out, in the order in which the rules are tried; the first that applies is the one that counts."""

_GATE = object()


@dataclass(frozen=True, slots=True)
class ConsentReport:
    """On what consent a data set rests. It counts people and rows, and lists none of them.

    Attributes
    ----------
    source
        `ledger` or `assumed`.
    at
        The moment for which consent was judged.
    ledger_seq, ledger_head
        Last event of the ledger that counted, and its hash in hex; 0 and "" where consent is assumed.
    purpose_version
        Version of the purpose `train_models`.
    unknown_age
        What an unknown age counted as.
    customers_total, customers_kept
        Distinct customers before and after.
    customers_left_out
        First matching reason -> customers; `customers_total = customers_kept + sum(customers_left_out.values())`.
    rows_total, rows_kept, rows_left_out
        The same of rows.
    k_item, k_pair
        Fewest distinct customers behind an item and behind an explicit pair of items in the model.
    gpc_strict
        Whether a Global Privacy Control signal spoke against every purpose.
    events_days
        Rows older than so many days stayed out, None where age did not count.
    snapshot_hmac
        Keyed digest of who might be learnt from; "" where consent is assumed.
    ledger_events_after
        Events of the ledger later than `ledger_seq` that were there at the fit and did not count.
    sensitive_items
        How many items are known to be of a sensitive class, or of none that anybody has said; None where no catalogue
        says anything about any item.
    """

    source: Literal["ledger", "assumed"]
    at: datetime
    ledger_seq: int
    ledger_head: str
    purpose_version: int
    unknown_age: str
    customers_total: int
    customers_kept: int
    customers_left_out: Mapping[str, int]
    rows_total: int
    rows_kept: int
    rows_left_out: Mapping[str, int]
    k_item: int
    k_pair: int
    gpc_strict: bool = False
    events_days: int | None = None
    snapshot_hmac: str = ""
    ledger_events_after: int = 0
    sensitive_items: int | None = None

    def tags(self) -> dict[str, str]:
        """Give the proof as tags of a run: `consent.ledger_seq`, `consent.n_excluded_withdrawn` and so on.

        Every rule has its count, those that left nobody out too.
        """
        return {
            "consent.source": self.source,
            "consent.as_of": self.at.isoformat(),
            "consent.ledger_seq": str(self.ledger_seq),
            "consent.ledger_head": self.ledger_head,
            "consent.ledger_events_after": str(self.ledger_events_after),
            "consent.purpose_version": str(self.purpose_version),
            "consent.unknown_age": self.unknown_age,
            "consent.gpc_strict": str(self.gpc_strict).lower(),
            "consent.events_days": "none" if self.events_days is None else str(self.events_days),
            "consent.snapshot_hmac": self.snapshot_hmac,
            "consent.n_total": str(self.customers_total),
            "consent.n_included": str(self.customers_kept),
            **{f"consent.n_excluded_{rule}": str(self.customers_left_out.get(rule, 0)) for rule in RULES},
            "consent.n_events_total": str(self.rows_total),
            "consent.n_events_included": str(self.rows_kept),
            **{f"consent.n_events_dropped_{rule}": str(self.rows_left_out.get(rule, 0)) for rule in RULES},
            "consent.sensitive_items": "no catalogue" if self.sensitive_items is None else str(self.sensitive_items),
            "consent.k_item": str(self.k_item),
            "consent.k_pair": str(self.k_pair),
            "consent.k_segment": str(K_SEGMENT),
        }


@dataclass(frozen=True, slots=True)
class ConsentedInteractions:
    """Interactions that a model may be fitted on; made by `keep_consented` alone.

    Attributes
    ----------
    table
        Rows as `interactions.columns.SCHEMA` has them.
    report
        On what consent they rest.
    """

    table: pa.Table
    report: ConsentReport
    _made_by: object = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self._made_by is not _GATE:
            raise ConsentError("ConsentedInteractions: made by consent.gate.keep_consented alone; call that")


def keep_consented(
    interactions: Interactions,
    snapshot: ConsentSnapshot,
    *,
    config: ConsentConfig,
    at: datetime,
    sensitive_items: Set[str] | None = None,
) -> tuple[ConsentedInteractions, ConsentReport]:
    """Keep the rows that may be learnt from.

    A row stays if its customer allows `train_models`, it is not older than `events_days` and its customer has not
    taken it out herself; if it comes from the till, `link_in_store` too; if its item is sensitive,
    `sensitive_categories` too. Retention does not apply where consent is assumed, nor to a row without a time.

    Parameters
    ----------
    interactions
        Validated, of customers named by shop id or by the hex of a subject reference.
    snapshot
        Everybody's standing, of the source that the configuration names.
    config
        `[consent]` of the data TOML.
    at
        The moment for which the snapshot was taken.
    sensitive_items
        Ids of items of a sensitive class; None where no catalogue says which are.

    Raises
    ------
    ConsentError
        The snapshot is not the one that the configuration and `at` ask for.
    """
    _check(snapshot, config, at)
    table = interactions.table
    customers = pc.unique(table[Columns.CUSTOMER])
    customer = _numpy(pc.index_in(table[Columns.CUSTOMER], value_set=customers))
    standings = snapshot.standings(customers.to_pylist())
    rule_of_customer = np.array([_rule_of(standing) for standing in standings], np.int8)
    in_store = np.array([standing.in_store for standing in standings], np.bool_)
    sensitive = np.array([standing.sensitive for standing in standings], np.bool_)

    rule = rule_of_customer[customer]
    events_days = config.events_days if snapshot.source == "ledger" else None
    if events_days is not None:
        oldest = pa.scalar(at - timedelta(days=events_days), table[Columns.TIMESTAMP].type)
        rule[(rule == _KEEP) & _numpy(pc.fill_null(pc.less(table[Columns.TIMESTAMP], oldest), False))] = _RULE[
            RETENTION
        ]
    rule[(rule == _KEEP) & _excluded(table, customer, standings)] = _RULE[CUSTOMER_EXCLUDED]
    from_till = _numpy(table[Columns.CHANNEL]) == Channel.STORE
    rule[(rule == _KEEP) & from_till & ~in_store[customer]] = _RULE[IN_STORE]
    if sensitive_items:
        classed = pc.is_in(table[Columns.ITEM], value_set=pa.array(sorted(sensitive_items), pa.string()))
        rule[(rule == _KEEP) & _numpy(classed) & ~sensitive[customer]] = _RULE[SENSITIVE]

    keep = rule == _KEEP
    per_customer = _first_rule(customer, rule, len(customers))
    report = ConsentReport(
        source=snapshot.source,
        at=at,
        ledger_seq=snapshot.head.seq,
        ledger_head=snapshot.head.hash.hex() if snapshot.source == "ledger" else "",
        purpose_version=PURPOSE_RULES[Purpose.TRAIN_MODELS].version,
        unknown_age=snapshot.unknown_age,
        customers_total=len(customers),
        customers_kept=int((per_customer == _KEEP).sum()),
        customers_left_out=_counts(per_customer),
        rows_total=len(table),
        rows_kept=int(keep.sum()),
        rows_left_out=_counts(rule),
        k_item=config.k_item,
        k_pair=config.k_pair,
        gpc_strict=config.gpc_strict,
        events_days=events_days,
        snapshot_hmac=snapshot.digest,
        ledger_events_after=snapshot.events_after,
        sensitive_items=None if sensitive_items is None else len(sensitive_items),
    )
    kept = table if keep.all() else table.filter(pa.array(keep))
    return ConsentedInteractions(kept, report, _GATE), report


_KEEP = -1
_RULE: Mapping[str, int] = {rule: place for place, rule in enumerate(RULES)}


def _rule_of(standing: Standing) -> int:
    if standing.erased:
        return _RULE[ERASED]
    if standing.training is Reason.OK:
        return _KEEP
    return _RULE[_OF_REASON.get(standing.training, ABSENT)]


def _excluded(table: pa.Table, customer: NDArray[Any], standings: Sequence[Standing]) -> NDArray[np.bool_]:
    """(n,) whether a row is one that its customer does not want to count."""
    excluded = np.zeros(len(table), np.bool_)
    wished = np.array([bool(standing.excluded) for standing in standings], np.bool_)
    # Few customers take anything out: theirs are the only rows that are looked at one by one.
    rows = np.flatnonzero(wished[customer]) if len(wished) else np.empty(0, np.int64)
    lines = table[Columns.ORDER_LINE].take(pa.array(rows)).to_pylist()
    for row, line in zip(rows.tolist(), lines, strict=True):
        excluded[row] = line in standings[customer[row]].excluded
    return excluded


def _check(snapshot: ConsentSnapshot, config: ConsentConfig, at: datetime) -> None:
    if snapshot.source != config.source:
        raise ConsentError(
            f"consent of source {snapshot.source}: the data TOML says [consent] source = {config.source!r}; "
            "take the snapshot from there, or change the TOML"
        )
    if snapshot.source == "assumed":
        return
    if snapshot.at != at:
        raise ConsentError(f"consent as of {snapshot.at}: the fit is as of {at}; take the snapshot for that moment")
    if snapshot.unknown_age != config.unknown_age:
        raise ConsentError(
            f"snapshot with unknown_age = {snapshot.unknown_age!r}: the data TOML says {config.unknown_age!r}; "
            "take the snapshot with that policy"
        )


def _first_rule(customer: NDArray[Any], rule: NDArray[np.int8], n_customers: int) -> NDArray[np.int8]:
    # A customer with any row left counts as kept; else the first rule, in their order, that took one of her rows.
    # _KEEP is below every rule, so both are the minimum.
    first = np.full(n_customers, len(RULES), np.int8)
    np.minimum.at(first, customer, rule)
    return first


def _counts(rules: NDArray[np.int8]) -> dict[str, int]:
    counts = np.bincount(rules[rules != _KEEP], minlength=len(RULES))
    return {rule: int(n) for rule, n in zip(RULES, counts, strict=True) if n}


def _numpy(column: Any) -> NDArray[Any]:
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False) if isinstance(column, pa.Array) else column.to_numpy()
    return values
