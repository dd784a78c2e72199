"""For customers without history: what they allow to be known of them and what they say they like."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.sparse import csr_matrix, vstack
from scipy.sparse.linalg import LinearOperator, svds
from threadpoolctl import threadpool_limits

from considerate.dataset.dataset import Dataset
from considerate.ranking.files import csr_of
from considerate.ranking.history import Float64
from considerate.ranking.linear_items import KIND, LinearItems, TraitColumns
from considerate.ranking.top_n import base_of
from considerate.ranking.traits import LIKES, REFUSES
from considerate.ranking.weighting import KindName, Weighting
from considerate.recommenders.categories import members_of
from considerate.recommenders.description import describe
from considerate.recommenders.neighbours import nearest_items
from considerate.recommenders.popularity import BOUGHT_OR_LIKED, EVERY_ITEM, popular
from considerate.settings.data import K_SEGMENT
from considerate.settings.toml import Section

SMALL = 400
"""Up to so many customers or items every taste is computed, not the largest alone."""

Strength = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Params(Section):
    """Parameters of `cold_start`.

    Attributes
    ----------
    attributes
        Attribute -> how much more evidence than others it needs; one that is not named is never read.
    shrinkage
        A segment of so many customers (times the above) moves half of the way along the broadest taste; along a finer
        one, in which customers differ less, it takes as many more.
    tastes
        Directions in which customers differ that segments may move along.
    half_life_days
        As for `popularity`.
    kinds
        Kinds of event that are learnt from, and how much they count.
    likes
        A stated category raises its items by so many times their popularity.
    refuses
        A refused category lowers its items by so many times the largest popularity.
    neighbours
        Items kept beside each stated item; 0 for none.
    like_shrinkage
        So many average customers are added to those who chose a stated item.
    weighting
        How the events of whoever asks become evidence.
    """

    attributes: dict[str, Annotated[float, Field(gt=0, allow_inf_nan=False)]] = Field(
        default_factory=lambda: {"age_band": 1.0, "gender": 1.0, "region": 5.0, "loyalty_tier": 5.0}
    )
    shrinkage: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 4.0
    tastes: Annotated[int, Field(ge=1)] = 64
    half_life_days: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    kinds: dict[KindName, Strength] = Field(default_factory=lambda: {**BOUGHT_OR_LIKED})
    likes: Strength = 1.0
    refuses: Strength = 2.0
    neighbours: Annotated[int, Field(ge=0)] = 100
    like_shrinkage: Strength = 20.0
    weighting: Weighting = Weighting(rating_slope=0.0, repeats="max")


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> LinearItems:
    """Start from popularity and move by evidence: scores = b + x.S + t.W.

    b is the share of customers who chose an item, t the traits, S what a stated item tells of others (for pairs of at
    least `k_pair` customers). W is a ridge regression of what customers chose on their traits, with a prior estimated
    from the data (empirical Bayes: Efron and Morris 1973): a segment may differ along those directions in which
    customers differ anyway, most along the broadest. A trait of fewer than `K_SEGMENT` customers has no column.
    """
    counted = Weighting(
        kinds=params.kinds,
        rating_slope=0.0,
        half_life_days=params.half_life_days,
        repeats="max",
        max_items=EVERY_ITEM,
    )
    chosen = dataset.user_items(counted, dataset.end).astype(np.float64)
    share = np.asarray(chosen.mean(axis=0)).ravel() if chosen.shape[0] else np.zeros(len(dataset.items))
    return LinearItems(
        manifest=describe("cold_start", KIND, dataset, params, params.weighting),
        item_ids=dataset.items.ids,
        popular=popular(dataset),
        base=base_of(share.astype(np.float32)),
        similarity=_told_by_items(chosen, share, params, dataset.consent.k_pair),
        columns=_columns(dataset, chosen, share, params),
    )


def _columns(dataset: Dataset, chosen: Any, share: Float64, params: Params) -> TraitColumns | None:
    names, needs = _segments(dataset, params)
    rows = []
    if names and dataset.events.traits is not None:
        t = dataset.events.traits.matrix({name: column for column, name in enumerate(names)}).astype(np.float64)
        rows.append(csr_matrix(_told_by_segments(t, chosen, share, needs, params).astype(np.float32)))
    members = members_of(dataset.catalogue.aligned(dataset.items.ids).category.tolist())
    largest = float(share.max(initial=0.0))
    for stated, strength in ((LIKES, params.likes), (REFUSES, -params.refuses)):
        if strength == 0 or not members:
            continue
        items = np.concatenate([np.array(places) for places in members.values()])
        offsets = np.concatenate([[0], np.cumsum([len(places) for places in members.values()])])
        # A like multiplies what many choose anyway; a refusal sinks below everything that is not refused.
        moved = strength * (share[items] if stated == LIKES else np.full(len(items), largest))
        rows.append(csr_matrix((moved.astype(np.float32), items, offsets), shape=(len(members), len(share))))
        names += tuple(f"{stated}={category}" for category in members)
    return TraitColumns(names, vstack(rows, format="csr")) if rows else None


def _segments(dataset: Dataset, params: Params) -> tuple[tuple[str, ...], Float64]:
    """Give the traits of enough customers that may be read, and how much evidence each needs."""
    traits = dataset.events.traits
    if traits is None:
        return (), np.empty(0)
    active = np.diff(dataset.events.indptr) > 0
    row = np.repeat(np.arange(len(traits)), np.diff(traits.indptr))
    customers = np.bincount(traits.code[active[row]], minlength=len(traits.names))
    kept = [
        (name, params.attributes[name.partition("=")[0]])
        for name, n in zip(traits.names, customers.tolist(), strict=True)
        if n >= K_SEGMENT and name.partition("=")[0] in params.attributes
    ]
    return tuple(name for name, _ in kept), np.array([need for _, need in kept])


def _told_by_segments(t: Any, chosen: Any, share: Float64, needs: Float64, params: Params) -> Float64:
    """(n_segments, n_items) W: ridge along each taste, the stricter the less customers differ along it.

    Parameters
    ----------
    t
        (n_customers, n_segments) CSR of 0 and 1: who has which trait.
    chosen, share
        (n_customers, n_items) what each chose, and (n_items,) its mean.
    needs
        (n_segments,) factor of `shrinkage`.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        spread, tastes = _tastes(chosen, share, params.tastes)
        if not len(spread):
            return np.zeros((len(needs), len(share)))
        along = t.T @ (chosen @ tastes) - np.outer(np.asarray(t.sum(axis=0)).ravel(), share @ tastes)
        together = (t.T @ t).toarray()
        prior = params.shrinkage * needs[None, :, None] * np.eye(len(needs)) * (spread[0] / spread)[:, None, None]
        moved = np.linalg.solve(together + prior, along.T[:, :, None])[:, :, 0]
        told: Float64 = moved.T @ tastes.T
        return told


def _tastes(chosen: Any, share: Float64, n: int) -> tuple[Float64, Float64]:
    """(k,) variances, falling, and (n_items, k) directions in which customers differ from the average one."""
    n_customers, n_items = chosen.shape
    if min(n_customers, n_items) <= SMALL:
        _, lengths, directions = np.linalg.svd(chosen.toarray() - share, full_matrices=False)
    else:
        ones = np.ones(n_customers)

        def centred(v: Float64) -> Float64:
            return np.asarray(chosen @ v - share @ v)

        def back(u: Float64) -> Float64:
            return np.asarray(chosen.T @ u - share * (ones @ u))

        away = LinearOperator(chosen.shape, matvec=centred, rmatvec=back, dtype=np.float64)
        start = np.cos(np.arange(min(n_customers, n_items), dtype=np.float64))
        _, lengths, directions = svds(away, k=min(n, min(chosen.shape) - 1), v0=start)
        order = np.argsort(-lengths, kind="stable")
        lengths, directions = lengths[order], directions[order]
    some = lengths[:n] > 1e-6 * max(float(lengths.max(initial=0.0)), 1e-12)
    return (lengths[:n][some] ** 2) / n_customers, directions[:n][some].T


def _told_by_items(chosen: Any, share: Float64, params: Params, k_pair: int) -> Any:
    """(n_items, n_items) S: by how much more often the customers of one item chose another than everybody does."""
    n_items = len(share)
    if params.neighbours == 0 or chosen.nnz == 0:
        return csr_matrix((n_items, n_items), dtype=np.float32)
    has = chosen.astype(np.float32)
    has.data[:] = 1.0
    buyers = np.asarray(has.sum(axis=0), np.float64).ravel()
    root = np.sqrt(np.maximum(buyers, 1.0))
    # Nearest by cosine; the number of customers of a pair is then what the cosine was made of.
    scaled = has.multiply(1 / root[None, :]).tocsr().astype(np.float32)
    scaled.sort_indices()
    near = nearest_items(scaled, neighbours=params.neighbours, k_pair=k_pair)
    row = np.repeat(np.arange(n_items), np.diff(near.indptr))
    both = near.data.astype(np.float64) * root[row] * root[near.indices]
    level = np.asarray(has.mean(axis=0), np.float64).ravel()
    more = (both - buyers[row] * level[near.indices]) / (buyers[row] + params.like_shrinkage)
    told = csr_of(np.maximum(more, 0.0).astype(np.float32), near.indices, near.indptr, n_items)
    told.eliminate_zeros()
    return told
