"""What a fit would learn from now, asked of the gate itself, for rows of the report."""

from collections.abc import Collection, Set
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
from tests.report.shop import Shop

from considerate.consent.decision import Policy
from considerate.consent.gate import ConsentReport, keep_consented
from considerate.consent.snapshot import snapshot_from_ledger
from considerate.interactions.columns import Columns, Interactions
from considerate.interactions.stored import read_stored
from considerate.settings.data import ConsentConfig
from considerate.store.catalogue import read_catalogue
from considerate.store.engine import reading


def learnt_from(
    shop: Shop, refs: Collection[bytes], *, sensitive: Set[str] = frozenset()
) -> tuple[list[str], ConsentReport]:
    """Give the items of these customers' rows that get through the gate, sorted, and its report."""
    stored, at = read_stored(shop.engine), datetime.now(UTC)
    ours = pa.array([ref.hex() for ref in refs], pa.string())
    table = stored.table.filter(pc.is_in(stored.table[Columns.CUSTOMER], value_set=ours))
    snapshot = snapshot_from_ledger(shop.engine, shop.keys, at, Policy())
    kept, report = keep_consented(
        Interactions(table, stored.report), snapshot, config=ConsentConfig(), at=at, sensitive_items=sensitive
    )
    return sorted(kept.table[Columns.ITEM].to_pylist()), report


def sensitive_items(shop: Shop) -> frozenset[str]:
    """Give the items that the shop's catalogue puts into a sensitive class."""
    with reading(shop.engine) as conn:
        catalogue = read_catalogue(conn)
    return frozenset(item for item, kind in zip(catalogue.item_ids, catalogue.sensitive, strict=True) if kind)
