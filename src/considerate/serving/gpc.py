"""The `Sec-GPC` header (Global Privacy Control, W3C)."""

from collections.abc import Iterable


def signals_gpc(values: Iterable[str]) -> bool:
    """Say whether the header is there with the value exactly `1`; among repeated headers, one such is enough.

    >>> signals_gpc(["1"]), signals_gpc(["0"]), signals_gpc(["true"]), signals_gpc([]), signals_gpc(["0", "1"])
    (True, False, False, False, True)
    """
    return any(value == "1" for value in values)
