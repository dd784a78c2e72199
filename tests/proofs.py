"""Proof of consent for models that no test has the time to fit: that of a fit on the ledger as it is now."""

from datetime import UTC, datetime

from considerate.consent.decision import Policy
from considerate.consent.gate import keep_consented
from considerate.consent.snapshot import snapshot_from_ledger
from considerate.interactions.columns import SCHEMA, Interactions, LoadReport
from considerate.settings.data import ConsentConfig
from considerate.settings.environment import Environment
from considerate.store.engine import open_store
from considerate.store.keys import load_keys


def proof_now(environment: Environment, *, at: datetime | None = None, seq: int | None = None) -> dict[str, str]:
    """Give the tags of a run that was fitted on this installation's ledger, at its end or `seq`, on nobody's rows."""
    at = at or datetime.now(UTC)
    engine = open_store(environment.database_url, create=True)
    try:
        snapshot = snapshot_from_ledger(
            engine, load_keys(environment.home / "keys", create=True), at, Policy(), seq=seq
        )
    finally:
        engine.dispose()
    nothing = Interactions(SCHEMA.empty_table(), LoadReport("nothing", 0, 0))
    _, report = keep_consented(nothing, snapshot, config=ConsentConfig(), at=at)
    return report.tags()
