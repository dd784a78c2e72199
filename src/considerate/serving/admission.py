"""Whether a database may be served from: one that was rolled back must never serve what was taken back since."""

import logging
import threading
from pathlib import Path

from sqlalchemy import Connection

from considerate.errors import ConsentError, StoreError, StoreUnavailable
from considerate.privacy.rolled_back import check_not_rolled_back, read_what_is_outside

log = logging.getLogger(__name__)


class Admission:
    """Looks at a database each time a worker opens it, and every few seconds.

    Parameters
    ----------
    home
        Folder of everything written at run time, in which lies what no backup of the database may take back.
    """

    def __init__(self, home: Path) -> None:
        self._home = home
        self._complaint: str | None = None
        self._lock = threading.Lock()

    def __call__(self, conn: Connection) -> None:
        """Refuse a database that lacks what lies outside of it; a new reason for it is logged once.

        Parameters
        ----------
        conn
            From `store.engine.reading`, not used yet.

        Raises
        ------
        StoreError
            Names what is missing and the next step.
        """
        try:
            # Files first: what comes to be in them later may be missing in what the connection sees.
            outside = read_what_is_outside(self._home)
            check_not_rolled_back(conn, outside.newest(), self._home / "keys")
        except StoreUnavailable:
            raise
        except (StoreError, ConsentError) as error:
            self._note(str(error))
            raise StoreError(str(error)) from error
        self._note(None)

    def _note(self, complaint: str | None) -> None:
        with self._lock:
            before, self._complaint = self._complaint, complaint
        if complaint == before:
            return
        if complaint is not None:
            log.error("nobody is served from this database: %s", complaint)
        else:
            log.warning("the database is served from again")
