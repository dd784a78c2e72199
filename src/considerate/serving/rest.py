"""A rest for a store that lets reads wait in vain: each such wait holds up every other request of the worker."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

from considerate.errors import StoreError, StoreUnavailable

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
        except StoreError:
            if self._now() - started > VAIN_SECONDS:
                self._until = self._now() + REST_SECONDS
            raise
