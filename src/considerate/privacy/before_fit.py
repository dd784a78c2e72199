"""What must be in order before anything is learnt from a store: its ledger, and that it took nothing back."""

from datetime import datetime

from considerate.consent.checkpoints import take_checkpoint
from considerate.privacy.rolled_back import check_taken_back
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.store.engine import open_store


def check_before_fit(data: DataConfig, environment: Environment, *, at: datetime) -> None:
    """Refuse a store older than an erasure, an objection or its ledger's checkpoints; sign the ledger's head.

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
        The store cannot be opened, erased customers are in it again, or objections are not.
    ConsentError
        The ledger contradicts a checkpoint, or its chain does not hold.
    """
    if data.consent.source == "ledger":
        check_store(environment, at=at)


def check_store(environment: Environment, *, at: datetime) -> None:
    """Do the same for the store of this installation, whatever is to be fitted or promoted; errors as above."""
    engine = open_store(environment.database_url, create=False)
    try:
        check_taken_back(engine, environment.home)
        take_checkpoint(engine, environment.home / "checkpoints", environment.home / "keys", at=at)
    finally:
        engine.dispose()
