"""Compiled sums over the moments of a history: what lay in a window before each, and what came after it.

Imported inside the function that needs it: numba takes half a second to load.
"""

from typing import Any

import numpy as np
from numba import njit

POWERS = 1e-30
"""Powers of a decay below it are taken as 0; products of two of them would be slow to multiply."""


@njit(cache=True, nogil=True)
def powers(decay: float, n: int) -> Any:
    """(n,) 1, decay, decay^2 and so on."""
    found = np.zeros(n)
    value = 1.0
    for place in range(n):
        found[place] = value
        value *= decay
        if value < POWERS:
            value = 0.0
    return found


@njit(cache=True, nogil=True)
def add_windows(  # noqa: PLR0917  # a compiled function takes arrays, in order
    indptr: Any, item: Any, source: Any, moment: Any, first: Any, second: Any, out: Any
) -> None:
    """Add to `out` the sum over moments t of moment[t] s(t) z(t)', with s the first and z the second window.

    Parameters
    ----------
    indptr, item
        Events of each customer, oldest first; an item below 0 takes up its place and nothing else.
    source, moment
        (n_events,) weight of the event in a window, and of the moment right after it.
    first, second
        (decay, length): an event d places before the last one weighs decay^d if d < length.
    out
        (n_items, n_items): row is the item of s, column that of z.
    """
    longest = 1
    for customer in range(len(indptr) - 1):
        longest = max(longest, indptr[customer + 1] - indptr[customer])
    both = first[0] * second[0]
    of_first, of_second, of_both = (
        powers(first[0], longest + 1),
        powers(second[0], longest + 1),
        powers(both, longest + 1),
    )
    later = np.zeros(longest + 1)
    for customer in range(len(indptr) - 1):
        begin, end = indptr[customer], indptr[customer + 1]
        n = end - begin
        if n == 0:
            continue
        # later[m]: sum over the moments t >= m of moment[t] x both^(t - m).
        later[n] = 0.0
        for t in range(n - 1, -1, -1):
            later[t] = moment[begin + t] + both * later[t + 1]
        for q in range(n):
            row = item[begin + q]
            if row < 0 or source[begin + q] == 0.0:
                continue
            for p in range(max(0, q - second[1] + 1), min(n, q + first[1])):
                column = item[begin + p]
                if column < 0:
                    continue
                m = max(p, q)
                # The last moment at which neither has left its window.
                stop = min(n - 1, q + first[1] - 1, p + second[1] - 1) + 1
                weight = of_first[m - q] * of_second[m - p] * (later[m] - of_both[stop - m] * later[stop])
                out[row, column] += source[begin + q] * source[begin + p] * weight


@njit(cache=True, nogil=True)
def add_targets(  # noqa: PLR0917
    indptr: Any, item: Any, source: Any, moment: Any, target: Any, window: Any, ahead: Any, out: Any
) -> None:
    """Add to `out` the sum over moments t of moment[t] y(t) s(t)', with y what follows and s the window before it.

    Parameters
    ----------
    indptr, item, source, moment
        As for `add_windows`.
    target
        (n_events,) weight of the event as something to be foretold.
    window, ahead
        (decay, length): of what came before, and of what comes after: an event d places after the next one weighs
        decay^d if d < length.
    out
        (n_items, n_items): row is the item foretold, column that of the window.
    """
    longest = 1
    for customer in range(len(indptr) - 1):
        longest = max(longest, indptr[customer + 1] - indptr[customer])
    decay, length = window
    ahead_decay, reach = ahead
    of_ahead, of_window = powers(ahead_decay, longest + 1), powers(decay, longest + 1)
    for customer in range(len(indptr) - 1):
        begin, end = indptr[customer], indptr[customer + 1]
        for r in range(begin + 1, end):
            row = item[r]
            if row < 0 or target[r] == 0.0:
                continue
            # total: sum over the moments t from p to r - 1 at which both count.
            total = 0.0
            for p in range(r - 1, max(begin, r - length - reach + 1) - 1, -1):
                total *= decay
                if r - 1 - p < reach:
                    total += moment[p] * of_ahead[r - 1 - p]
                out_of_window = p + length
                if out_of_window <= r - 1 and r - 1 - out_of_window < reach:
                    total -= moment[out_of_window] * of_window[length] * of_ahead[r - 1 - out_of_window]
                column = item[p]
                if column >= 0:
                    out[row, column] += target[r] * source[p] * total
