"""Compiled loops over the pairs of items that customers have in common; a row at a time, so threads do not show.

Imported inside the functions that need it: numba takes half a second to load.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import config, njit
from threadpoolctl import threadpool_limits

from considerate.ranking.history import Float32, Float64, Int32, Int64


def product_rows(by_item: Any, by_customer: Any, *, neighbours: int, k_pair: int) -> tuple[Int64, Int32, Float64]:
    """Rows of the item-item product: (n,) sizes, (n, width) items and values, the first `sizes` of each row filled."""
    n_items = by_item.shape[0]
    sizes, items, values = _room(n_items, neighbours)
    of_item = (by_item.indptr, by_item.indices, by_item.data)
    of_customer = (by_customer.indptr, by_customer.indices, by_customer.data)
    _in_threads(_product_rows, n_items, of_item, of_customer, k_pair, sizes, items, values)
    return sizes, items, values


def kept_rows(
    by_item: Any, by_customer: Any, weights: Any, *, neighbours: int, k_pair: int
) -> tuple[Int64, Int32, Float64]:
    """Rows of the dense (n, n) `weights`, cut to the largest by absolute value of the pairs that are common enough."""
    n_items = by_item.shape[0]
    sizes, items, values = _room(n_items, neighbours)
    of_item, of_customer = (by_item.indptr, by_item.indices), (by_customer.indptr, by_customer.indices)
    _in_threads(_kept_rows, n_items, of_item, of_customer, k_pair, weights, sizes, items, values)
    return sizes, items, values


def ridge_values(near: Any, gram: Any, diagonal: Float32, ridge: float) -> Float32:
    """(near.nnz,) weights of each row's own items in its ridge regression on them alone; `gram` may be cut."""
    values = np.zeros(near.nnz, np.float32)
    of_near, of_gram = (near.indptr, near.indices, near.data), (gram.indptr, gram.indices, gram.data)
    with threadpool_limits(limits=1, user_api="blas"):
        _in_threads(_ridge_values, near.shape[0], of_near, of_gram, diagonal, np.float32(ridge), values)
    return values


def _room(n_items: int, neighbours: int) -> tuple[Int64, Int32, Float64]:
    width = max(min(neighbours, n_items - 1), 0)
    # Pages that no row reaches are never touched.
    return np.zeros(n_items, np.int64), np.empty((n_items, width), np.int32), np.empty((n_items, width))


def _in_threads(rows: Any, n_items: int, *arguments: Any) -> None:
    # Each thread takes every n-th item: popular ones, which cost most, may stand side by side.
    n_threads = int(config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]  # set when numba reads its environment
    with ThreadPoolExecutor(n_threads) as threads:
        running = [threads.submit(rows, start, n_items, n_threads, *arguments) for start in range(n_threads)]
        for part in running:
            part.result()


@njit(cache=True, nogil=True)
def _product_rows(  # noqa: PLR0917  # a compiled function takes arrays, in order
    start: int, stop: int, step: int, of_item: Any, of_customer: Any, k_pair: int, sizes: Any, items: Any, values: Any
) -> None:
    item_indptr, item_customers, item_data = of_item
    indptr, indices, data = of_customer
    n_items = len(item_indptr) - 1
    together, total = np.zeros(n_items, np.int32), np.zeros(n_items, np.float64)
    touched, near, product = np.empty(n_items, np.int32), np.empty(n_items, np.int32), np.empty(n_items, np.float64)
    for item in range(start, stop, step):
        n_touched = 0
        for entry in range(item_indptr[item], item_indptr[item + 1]):
            customer, weight = item_customers[entry], np.float64(item_data[entry])
            for place in range(indptr[customer], indptr[customer + 1]):
                other = indices[place]
                if together[other] == 0:
                    touched[n_touched] = other
                    n_touched += 1
                together[other] += 1
                total[other] += weight * data[place]
        n_near = 0
        for other in touched[:n_touched]:
            if together[other] >= k_pair and other != item and total[other] != 0:
                near[n_near], product[n_near] = other, total[other]
                n_near += 1
            together[other] = 0
            total[other] = 0
        sizes[item] = _keep_largest(near[:n_near], product[:n_near], product[:n_near], items[item], values[item])


@njit(cache=True, nogil=True)
def _kept_rows(  # noqa: PLR0917
    start: int,
    stop: int,
    step: int,
    of_item: Any,
    of_customer: Any,
    k_pair: int,
    weights: Any,
    sizes: Any,
    items: Any,
    values: Any,
) -> None:
    item_indptr, item_customers = of_item
    indptr, indices = of_customer
    n_items = len(item_indptr) - 1
    together = np.zeros(n_items, np.int32)
    near, weight = np.empty(n_items, np.int32), np.empty(n_items, np.float64)
    for item in range(start, stop, step):
        together[:] = 0
        for entry in range(item_indptr[item], item_indptr[item + 1]):
            customer = item_customers[entry]
            for place in range(indptr[customer], indptr[customer + 1]):
                together[indices[place]] += 1
        n_near = 0
        for other in range(n_items):
            if together[other] >= k_pair and other != item and weights[item, other] != 0:
                near[n_near], weight[n_near] = other, weights[item, other]
                n_near += 1
        sizes[item] = _keep_largest(near[:n_near], weight[:n_near], np.abs(weight[:n_near]), items[item], values[item])


@njit(cache=True, nogil=True)
def _ridge_values(  # noqa: PLR0917
    start: int, stop: int, step: int, of_near: Any, of_gram: Any, diagonal: Any, ridge: Any, values: Any
) -> None:
    indptr, indices, data = of_near
    gram_indptr, gram_indices, gram_data = of_gram
    place = np.full(len(indptr) - 1, -1, np.int64)
    for item in range(start, stop, step):
        first, last = indptr[item], indptr[item + 1]
        near = indices[first:last]
        if len(near) == 0:
            continue
        for row, other in enumerate(near):
            place[other] = row
        system = np.zeros((len(near), len(near)), np.float32)
        for row, other in enumerate(near):
            for entry in range(gram_indptr[other], gram_indptr[other + 1]):
                column = place[gram_indices[entry]]
                if column >= 0:
                    # Of two items, one may be among the nearest of the other alone.
                    system[row, column] = gram_data[entry]
                    system[column, row] = gram_data[entry]
            system[row, row] = diagonal[other] + ridge
        values[first:last] = np.linalg.solve(system, data[first:last].copy())
        place[near] = -1


@njit(cache=True, nogil=True)
def _keep_largest(near: Any, value: Any, size: Any, kept_items: Any, kept_values: Any) -> int:
    """Fill a row with the largest by `size`, ties by rising item; sorted by item. How many they are."""
    n, width = len(near), len(kept_items)
    chosen = np.arange(n)
    if n > width:
        if width == 0:
            return 0
        threshold = np.partition(size, n - width)[n - width]
        level = np.flatnonzero(size == threshold)
        above = np.flatnonzero(size > threshold)
        level = level[np.argsort(near[level], kind="mergesort")]
        chosen = np.concatenate((above, level[: width - len(above)]))
    chosen = chosen[np.argsort(near[chosen], kind="mergesort")]
    for place, entry in enumerate(chosen):
        kept_items[place], kept_values[place] = near[entry], value[entry]
    return len(chosen)
