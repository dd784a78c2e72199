"""How often a caller may ask: counted in memory alone, under keys that nobody can turn back into a person."""

import hmac
import math
import os
from collections.abc import Callable
from ipaddress import IPv6Address, ip_address
from time import monotonic

from limits import RateLimitItemPerMinute
from limits.storage import Storage
from limits.strategies import FixedWindowRateLimiter
from starlette.requests import Request

from considerate.serving.problems import Problem
from considerate.serving.tokens import Caller, Scope
from considerate.settings.service import RatesConfig

_SWEEP_AT = 10_000
_NETWORK = 64
"""A home or an office holds a whole IPv6 network of so many leading bits: its addresses count as one."""


class Counts(Storage):
    """Counters of the current minute, for one process. The library's own memory starts a thread for every sweep.

    Parameters
    ----------
    now
        Seconds of a clock that never goes back.
    """

    STORAGE_SCHEME = None

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        super().__init__()
        self._now = now
        self._counts: dict[str, tuple[int, float]] = {}
        self._sweep_at = _SWEEP_AT

    def __len__(self) -> int:
        return len(self._counts)

    @property
    def base_exceptions(self) -> type[Exception]:
        """Errors of the storage: none."""
        return ValueError

    def incr(self, key: str, expiry: float, amount: int = 1) -> int:
        """Count; the first count of a key opens its window of `expiry` seconds."""
        now = self._now()
        count, until = self._counts.get(key, (0, 0.0))
        if until <= now:
            count, until = 0, now + expiry
        self._counts[key] = (count + amount, until)
        if len(self._counts) >= self._sweep_at:
            self._counts = {one: kept for one, kept in self._counts.items() if kept[1] > now}
            self._sweep_at = max(_SWEEP_AT, 2 * len(self._counts))
        return count + amount

    def get(self, key: str) -> int:
        """Give the count of a key."""
        count, until = self._counts.get(key, (0, 0.0))
        return count if until > self._now() else 0

    def get_expiry(self, key: str) -> float:
        """Give when the window of a key closes."""
        return self._counts.get(key, (0, self._now()))[1]

    def check(self) -> bool:
        """Say that it works."""
        return True

    def reset(self) -> int:
        """Forget every count; give how many there were."""
        count = len(self._counts)
        self._counts.clear()
        return count

    def clear(self, key: str) -> None:
        """Forget one count."""
        self._counts.pop(key, None)


class Rates:
    """The limits of one worker.

    Parameters
    ----------
    config
        Quotas of the whole service.
    workers
        Among how many processes they are divided, and rounded down: none knows what the others have counted.
    now
        Seconds of a clock that never goes back.
    """

    def __init__(self, config: RatesConfig, *, workers: int, now: Callable[[], float] = monotonic) -> None:
        self._now = now
        # A key of this process, never written down: what is counted here cannot be joined with anything.
        self._secret = os.urandom(32)
        self._counts = Counts(now)
        self._limiter = FixedWindowRateLimiter(self._counts)

        def share(quota: int) -> RateLimitItemPerMinute:
            return RateLimitItemPerMinute(max(1, quota // workers))

        self._customer = share(config.customer_per_minute)
        self._service = share(config.service_per_minute)
        self._address = share(config.address_per_minute)

    def admit(self, caller: Caller) -> None:
        """Count a request of a caller whose token holds.

        Raises
        ------
        Problem
            429: too many in this minute.
        """
        own = self._customer if Scope.ME in caller.scopes else self._service
        self._hit(own, "customer" if own is self._customer else "service", caller.subject)

    def admit_stranger(self, request: Request) -> None:
        """Count a request of somebody unknown, by the address it came from.

        Raises
        ------
        Problem
            429: too many in this minute.
        """
        # Behind a proxy on this machine the server has put the forwarded address here already.
        self._hit(self._address, "address", network_of(request.client.host if request.client else ""))

    def _hit(self, quota: RateLimitItemPerMinute, kind: str, who: str) -> None:
        key = hmac.digest(self._secret, f"{kind}:{who}".encode("utf-8", "surrogatepass"), "sha256").hex()[:32]
        if self._limiter.hit(quota, key):
            return
        wait = self._counts.get_expiry(quota.key_for(key)) - self._now()
        raise too_many(max(1, math.ceil(wait)))


def too_many(seconds: int) -> Problem:
    """Ask to come back after so many seconds."""
    return Problem(
        429, "too-many-requests", f"Too many requests; come back in {seconds} s.", {"Retry-After": str(seconds)}
    )


def network_of(host: str) -> str:
    """Give what counts as one sender: an IPv4 address, or the /64 network of an IPv6 address.

    >>> network_of("192.0.2.7"), network_of("2001:db8::1") == network_of("2001:db8::2")
    ('192.0.2.7', True)
    """
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(int(address) >> (128 - _NETWORK))
