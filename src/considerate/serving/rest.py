"""A rest for a store that lets reads wait in vain: each such wait holds up every other request of the worker."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from considerate.errors import StoreError, StoreUnavailable

log = logging.getLogger(__name__)

VAIN_SECONDS = 0.02
"""A read that fails sooner has held up nobody, and may be tried again at once."""

REST_SECONDS = 0.5


class Rest:
    """Lets one read in `REST_SECONDS` find out whether a store that kept readers waiting answers again.

    Parameters
    ----------
    now
        Seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        self._until = float("-inf")
        self._said: set[str] = set()

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Read inside.

        Raises
        ------
        StoreError
            The store rests; or the error of the read itself, after which it rests if the wait was long.
        """
        started = self._now()
        if started < self._until:
            raise StoreUnavailable(f"a read waited in vain; the store is asked again within {REST_SECONDS} s")
        try:
            yield
        except StoreError as error:
            self._say(str(error))
            if self._now() - started > VAIN_SECONDS:
                self._until = self._now() + REST_SECONDS
            raise
        if self._said:
            self._said.clear()
            log.warning("the store is read again")

    def _say(self, complaint: str) -> None:
        """Log what is wrong once, and not with every list, until the store is read again."""
        if complaint not in self._said:
            self._said.add(complaint)
            log.warning("the store cannot be read, and no list is personal: %s", complaint)
