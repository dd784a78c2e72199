"""What must be in order before anything is learnt from a store: its ledger, and that nobody erased is back in it."""

from datetime import datetime

from considerate.consent.checkpoints import take_checkpoint
from considerate.privacy.tombstones import check_tombstones
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.store.engine import open_store, reading


def check_before_fit(data: DataConfig, environment: Environment, *, at: datetime) -> None:
    """Refuse a store that is older than an erasure, or than its ledger's checkpoints; sign the ledger's head.

    Where consent is assumed no store is read, so none is opened.

    Parameters
    ----------
    data
        What the fit reads.
    environment
        Of this installation.
    at
        Now.

    Raises
    ------
    StoreError
        The store cannot be opened, or erased customers are in it again.
    ConsentError
        The ledger contradicts a checkpoint, or its chain does not hold.
    """
    if data.consent.source == "assumed":
        return
    engine = open_store(environment.database_url, create=False)
    try:
        with reading(engine) as conn:
            check_tombstones(conn, environment.home)
        take_checkpoint(engine, environment.home / "checkpoints", environment.home / "keys", at=at)
    finally:
        engine.dispose()
