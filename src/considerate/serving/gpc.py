"""The `Sec-GPC` header (Global Privacy Control, W3C), and what the service publishes about it."""

import logging
from collections.abc import Iterable
from datetime import date, datetime

from starlette.background import BackgroundTask

from considerate.errors import StoreError
from considerate.serving.standing import Customers, Standing

log = logging.getLogger(__name__)

LAST_UPDATE = date(2026, 11, 22)
"""When our support of the signal last changed: `lastUpdate` of `/.well-known/gpc.json`."""


def signals_gpc(values: Iterable[str]) -> bool:
    """Say whether the header is there with the value exactly `1`; among repeated headers, one such is enough.

    Blanks and tabs around a value are no part of it (RFC 9110, section 5.5); any other value says nothing.

    >>> signals_gpc(["1"]), signals_gpc([" 1 "]), signals_gpc(["0", "1"])
    (True, True, True)
    >>> signals_gpc(["0"]), signals_gpc(["true"]), signals_gpc(["1, 1"]), signals_gpc([""]), signals_gpc([])
    (False, False, False, False, False)
    """
    return any(value.strip(" \t") == "1" for value in values)


def gpc_note(
    customers: Customers, customer_id: str, standing: Standing | None, *, signalled: bool, at: datetime
) -> BackgroundTask | None:
    """Give what is left to do after the answer: noting an account's first signal. None where there is nothing to note.

    Parameters
    ----------
    customer_id
        From the login token.
    standing
        The caller as read for this request, None where she could not be read.
    signalled
        The request carries the signal.
    at
        When it came.
    """
    if not signalled or standing is None or standing.facts.gpc_at is not None:
        return None
    return BackgroundTask(_note, customers, customer_id, standing, at)


def _note(customers: Customers, customer_id: str, standing: Standing, at: datetime) -> None:
    try:
        customers.remember_gpc(customer_id, standing, at=at)
    except StoreError as error:
        # The next request of that browser brings the signal again.
        log.warning("a privacy signal could not be noted: %s", error)
