"""Ranking metrics over lists of suggestions: plain functions of a hit matrix, one figure per customer.

The definitions are the textbook's (Manning, Raghavan and Schuetze, Introduction to Information Retrieval, chapter 8;
Jarvelin and Kekalainen 2002 for ndcg), with the ideal of ndcg and map cut at min(k, relevant), so that a perfect list
scores 1 whatever the customer's number of relevant items. Where no list can be perfect because fewer than k items
were suggested, the missing places are misses.
"""

from collections.abc import Callable

import numpy as np

from considerate.ranking.history import Bool, Float64, Int32, Int64

PADDING = -1
"""Marks an empty place of a list that came out shorter than k; never an item, never a hit."""


def hit_matrix(lists: Int32, relevant_indptr: Int64, relevant_items: Int32, n_items: int) -> Bool:
    """Mark which suggestions were right.

    Parameters
    ----------
    lists
        (m, k) suggested items, best first, `PADDING` in empty places; no item twice in a row.
    relevant_indptr, relevant_items
        (m + 1,) offsets and the distinct relevant items of each customer, in any order.
    n_items
        Size of the item index space.

    Returns
    -------
        (m, k) True where the customer's suggestion is one of her relevant items.

    Examples
    --------
    >>> lists = np.array([[3, 1], [0, -1]], np.int32)
    >>> hit_matrix(lists, np.array([0, 1, 3]), np.array([1, 2, 3], np.int32), 4)
    array([[False,  True],
           [False, False]])
    """
    m = len(lists)
    rows = np.arange(m, dtype=np.int64)
    wanted = np.sort(np.repeat(rows, np.diff(relevant_indptr)) * n_items + relevant_items)
    asked = np.where(lists == PADDING, -1, rows[:, None] * n_items + lists)
    if not len(wanted):
        return np.zeros(lists.shape, np.bool_)
    place = np.minimum(np.searchsorted(wanted, asked), len(wanted) - 1)
    found: Bool = wanted[place] == asked
    return found


def precision(hits: Bool, n_relevant: Int64) -> Float64:
    """Share of the k places that hit: hits / k, out of reach of 1 for customers with fewer relevant items."""
    shares: Float64 = hits.mean(axis=1, dtype=np.float64)
    return shares


def recall(hits: Bool, n_relevant: Int64) -> Float64:
    """Share of the relevant items that were suggested: hits / relevant."""
    shares: Float64 = hits.sum(axis=1) / n_relevant
    return shares


def hit_rate(hits: Bool, n_relevant: Int64) -> Float64:
    """1 where at least one suggestion was right, else 0."""
    return np.asarray(hits.any(axis=1), np.float64)


def mrr(hits: Bool, n_relevant: Int64) -> Float64:
    """Reciprocal rank of the first hit, 0 without one."""
    reciprocal: Float64 = hits.any(axis=1) / (1.0 + hits.argmax(axis=1))
    return reciprocal


def ndcg(hits: Bool, n_relevant: Int64) -> Float64:
    """Discounted gain over that of the best possible list of k.

    Each hit at rank r (from 1) gains 1 / log2(r + 1); the ideal has its first min(k, relevant) places right.

    Examples
    --------
    One relevant item, suggested second: (1 / log2(3)) / (1 / log2(2)).

    >>> float(ndcg(np.array([[False, True]]), np.array([1])).round(4)[0])
    0.6309
    """
    k = hits.shape[1]
    discount = 1.0 / np.log2(np.arange(2, k + 2))
    ideal = np.cumsum(discount)[np.minimum(n_relevant, k) - 1]
    gained: Float64 = hits @ discount / ideal
    return gained


def average_precision(hits: Bool, n_relevant: Int64) -> Float64:
    """Mean of the precision at each hit, over min(k, relevant); its mean over customers is map.

    Examples
    --------
    Hits at ranks 1 and 3, two relevant items: (1/1 + 2/3) / 2.

    >>> float(average_precision(np.array([[True, False, True]]), np.array([2])).round(4)[0])
    0.8333
    """
    k = hits.shape[1]
    at_rank = np.cumsum(hits, axis=1) / np.arange(1, k + 1)
    means: Float64 = (at_rank * hits).sum(axis=1) / np.minimum(n_relevant, k)
    return means


METRICS: dict[str, Callable[[Bool, Int64], Float64]] = {
    "ndcg": ndcg,
    "map": average_precision,
    "precision": precision,
    "recall": recall,
    "mrr": mrr,
    "hit_rate": hit_rate,
}
"""Metric name -> function of (m, k) hits and (m,) numbers of relevant items (all >= 1), giving (m,) figures."""


def exposure(lists: Int32, n_items: int) -> Int64:
    """(n_items,) in how many lists each item stands."""
    return np.bincount(lists[lists != PADDING], minlength=n_items).astype(np.int64)


def coverage(exposed: Int64) -> float:
    """Share of the items that stand in at least one list; `exposed` counts the protocol's items only."""
    return float(np.mean(exposed > 0)) if len(exposed) else 0.0


def gini(exposed: Int64) -> float:
    """Gini coefficient of exposure: 0 where every item is shown equally often, towards 1 where one takes all.

    Examples
    --------
    >>> gini(np.array([2, 2, 2])), gini(np.array([0, 0, 6]))
    (0.0, 0.6666666666666666)
    """
    n, total = len(exposed), exposed.sum()
    if not total:
        return 0.0
    rank = np.arange(1, n + 1)
    return max(0.0, float((2 * rank - n - 1) @ np.sort(exposed) / (n * total)))


def novelty(lists: Int32, n_customers_of: Int64, n_customers: int) -> Float64:
    """Mean self-information of each list: -log2 of the share of train customers who have the item, in bits.

    After Zhou et al. 2010 (PNAS 107, 4511). An item that nobody has counts as one that a single customer has.

    Parameters
    ----------
    lists
        (m, k) suggested items.
    n_customers_of
        (n_items,) distinct train customers of each item.
    n_customers
        Customers with train history.

    Returns
    -------
        (m,) bits; 0 for an empty list.
    """
    share = np.maximum(n_customers_of, 1) / max(n_customers, 1)
    bits = -np.log2(np.minimum(share, 1.0))
    shown = lists != PADDING
    total = np.where(shown, bits[np.where(shown, lists, 0)], 0.0).sum(axis=1)
    mean: Float64 = total / np.maximum(shown.sum(axis=1), 1)
    return mean
