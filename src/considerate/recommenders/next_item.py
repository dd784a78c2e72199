"""What comes next after what came lately: a ridge regression on several windows of the past, in closed form."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.linalg import lapack

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.ranking import blend_items, linear_items
from considerate.ranking.blend_items import Blend
from considerate.ranking.history import OWNED, Float32, Histories, Int64, Kind
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.scores import Artefact
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import DEFAULT_KINDS, KindName, Weighting, event_weights
from considerate.recommenders.description import describe
from considerate.recommenders.ease import spread
from considerate.recommenders.neighbours import largest_weights
from considerate.recommenders.popularity import no_neighbours, popular, tail
from considerate.recommenders.positive import positive_user_items
from considerate.settings.toml import Section

FADED = 1_000.0
"""An event counts in a window until its weight is a thousandth of the newest one's."""

LONGEST = 1_000
"""Events in the longest window: the cap on a history."""

Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
HalfLife = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class Window(Section):
    """One look at the past.

    Attributes
    ----------
    half_life_events
        An event loses half its weight with so many events after it; None: all of the newest 1,000 weigh the same.
    regularization
        Ridge, in squared weights: the more, the more often must one item have followed another to say something of it.
    """

    half_life_events: HalfLife | None = None
    regularization: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 300.0

    @property
    def length(self) -> int:
        """Events that it reaches back."""
        if self.half_life_events is None:
            return LONGEST
        return min(LONGEST, max(1, int(np.ceil(self.half_life_events * np.log2(FADED)))))

    @property
    def shape(self) -> tuple[float, int]:
        """What an event loses with one event after it, and the length."""
        return 1.0 if self.half_life_events is None else 0.5 ** (1.0 / self.half_life_events), self.length


class Params(Section):
    """Parameters of `next_item`.

    Attributes
    ----------
    windows
        Name -> window; all are fitted together, and a score is the sum over them.
    target_half_life_events
        Not only the next choice is foretold: the one after so many more counts half. 0 for the next one alone.
    customer_exponent
        A customer with n choices counts as n^(1 - this): at 0 every choice counts the same, at 1 every customer.
    popularity_exponent
        A score is divided by the item's customers to this power.
    neighbours
        Weights kept in a row of each window, by absolute value.
    min_customers
        Items that fewer distinct customers chose say nothing and are not said anything of.
    max_columns
        More items than this, times the windows, are refused: memory grows with the square, time with the cube.
    kinds, rating_slope, min_rating
        How an event weighs in a window, as in `Weighting`. What weighs nothing or less is never foretold.
    target_rating_slope
        The slope for what is foretold, where it is to differ; 0 if a choice counts whatever was thought of it.
    """

    windows: dict[Name, Window] = Field(default_factory=lambda: {"recent": Window(half_life_events=3.0)}, min_length=1)
    target_half_life_events: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    customer_exponent: Annotated[float, Field(ge=0, le=1)] = 0.0
    popularity_exponent: Annotated[float, Field(ge=0, le=1)] = 0.0
    neighbours: Annotated[int, Field(ge=1)] = 1_000
    min_customers: Annotated[int, Field(ge=1)] = 1
    max_columns: Annotated[int, Field(ge=1)] = 15_000
    kinds: dict[KindName, Annotated[float, Field(allow_inf_nan=False)]] = Field(
        default_factory=lambda: {**DEFAULT_KINDS}
    )
    rating_slope: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    min_rating: Annotated[float, Field(allow_inf_nan=False)] | None = None
    target_rating_slope: Annotated[float, Field(ge=0, allow_inf_nan=False)] | None = None

    def weighting(self, window: Window | None = None) -> Weighting:
        """How a request weighs its history for a window; without one, each event on its own."""
        return Weighting(
            kinds=self.kinds,
            rating_slope=self.rating_slope,
            min_rating=self.min_rating,
            half_life_events=window.half_life_events if window else None,
            max_items=LONGEST,
        )


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> Artefact:
    """Solve for what follows each window, as in SLIST (Choi et al. 2021, "Session-aware linear item-item models").

    With s(t) the windows before the t-th event side by side and y(t) the choice that follows, B minimises the sum over
    all t of |y(t) - s(t) B|^2 + regularization x |B|^2; the part of B under each window becomes one `LinearItems`. One
    window gives that alone, several a `Blend` of them in which each counts once.

    Raises
    ------
    DataError
        The order of some events is not known, or there are too many items for a dense solution.
    """
    _refuse_unordered(dataset.events)
    chosen = _chosen(dataset, params)
    parts = {name: no_neighbours(len(dataset.items)) for name in params.windows}
    if len(chosen):
        users = positive_user_items(dataset, params.weighting())[:, chosen]
        weights = weights_of(dataset.events, chosen, len(dataset.items), params)
        if params.popularity_exponent:
            counts = np.bincount(users.indices, minlength=len(chosen))
            weights *= (np.maximum(counts, 1) ** -params.popularity_exponent).astype(np.float32)
        for place, name in enumerate(params.windows):
            block = np.ascontiguousarray(weights[place * len(chosen) : (place + 1) * len(chosen)])
            kept = largest_weights(block, users, neighbours=params.neighbours, k_pair=dataset.consent.k_pair)
            parts[name] = spread(kept, chosen, len(dataset.items))
    return _artefact(dataset, params, parts)


def weights_of(events: Histories, chosen: Int64, n_items: int, params: Params) -> Float32:
    """(n_windows x n_chosen, n_chosen) B: row block w holds what an event in window w adds to each item."""
    gram, right = normal_equations(events, chosen, n_items, params)
    ridges = [window.regularization for window in params.windows.values()]
    gram[np.diag_indices(len(gram))] += np.repeat(ridges, len(chosen)).astype(np.float32)
    factor, failed = lapack.spotrf(gram, lower=1, overwrite_a=1, clean=0)
    if failed:
        raise DataError(
            f"next_item: regularization = {min(ridges)} leaves the matrix of {len(gram):,} columns singular; "
            "must be larger"
        )
    solution: Float32 = lapack.spotrs(factor, right, lower=1, overwrite_b=1)[0]
    return solution


def normal_equations(events: Histories, chosen: Int64, n_items: int, params: Params) -> tuple[Float32, Float32]:
    """Sums over all moments: s's, of which the lower blocks alone are filled, and s'y; both by columns, as LAPACK."""
    from considerate.recommenders.sequence_kernels import add_targets, add_windows  # noqa: PLC0415  # numba is slow

    index_of = np.full(n_items, -1, np.int32)
    index_of[chosen] = np.arange(len(chosen), dtype=np.int32)
    source = event_weights(events, params.weighting(), None)
    foretold = source
    if params.target_rating_slope is not None:
        rule = params.weighting().model_copy(update={"rating_slope": params.target_rating_slope})
        foretold = event_weights(events, rule, None)
    target = np.where(np.isin(events.kind, (*OWNED, Kind.LIKE)), np.maximum(foretold, 0.0), 0.0)
    # A moment is asked about only if a choice follows it: what follows a view is no sign against any item.
    moment = np.zeros(events.n_events)
    moment[:-1] = target[1:] > 0
    moment[events.indptr[1:][np.diff(events.indptr) > 0] - 1] = 0.0
    if params.customer_exponent:
        moment *= (np.maximum(np.bincount(events.customer, moment), 1.0) ** -params.customer_exponent)[events.customer]
        moment *= np.count_nonzero(moment) / max(moment.sum(), np.finfo(np.float64).tiny)  # the ridge keeps its meaning
    common = (events.indptr, index_of[events.item], source, moment)

    n, windows = len(chosen), [window.shape for window in params.windows.values()]
    half_life = params.target_half_life_events
    ahead = Window(half_life_events=half_life).shape if half_life else (0.0, 1)
    gram, right = np.zeros((n * len(windows),) * 2, np.float32), np.zeros((n, n * len(windows)), np.float32)
    tasks: list[tuple[Any, ...]] = []
    for i, first in enumerate(windows):
        part = slice(i * n, (i + 1) * n)
        tasks.append((add_targets, *common, target, first, ahead, right[:, part]))
        for j, second in enumerate(windows[i:], start=i):
            tasks.append((add_windows, *common, first, second, gram[part, j * n : (j + 1) * n]))
    # Each sum is one thread's own, so their number does not show.
    with ThreadPoolExecutor(2) as threads:
        for running in [threads.submit(*task) for task in tasks]:
            running.result()
    return gram.T, right.T


def _refuse_unordered(events: Histories) -> None:
    unplaced, untimed = int(np.count_nonzero(events.position < 0)), int(np.isnan(events.time).sum())
    if unplaced and untimed:
        raise DataError(
            f"next_item: {untimed:,} of {events.n_events:,} events have no time and {unplaced:,} no position, so "
            "nothing is known to follow anything; map timestamp or position in [source.columns], or fit ease or "
            "graph_filter, which need no order"
        )


def _chosen(dataset: Dataset, params: Params) -> Int64:
    users = positive_user_items(dataset, params.weighting())
    chosen = np.flatnonzero(np.bincount(users.indices, minlength=len(dataset.items)) >= params.min_customers)
    columns = len(chosen) * len(params.windows)
    if columns > params.max_columns:
        raise DataError(
            f"next_item: {len(chosen):,} items of >= min_customers = {params.min_customers} customers in "
            f"{len(params.windows)} windows make {columns:,} columns; must be <= max_columns = {params.max_columns:,}, "
            "for a dense solution: fit graph_filter, which has no such limit, or raise min_customers"
        )
    return chosen


def _artefact(dataset: Dataset, params: Params, parts: dict[str, Any]) -> Artefact:
    most_bought, bases = popular(dataset), [tail(dataset)]
    # Popularity decides ties once, not once for each window.
    bases += [base_of(np.zeros(len(dataset.items), np.float32))] * (len(parts) - 1)
    describe_as = partial(describe, "next_item", dataset=dataset, params=params, libraries=("numba",))
    windows = {
        name: LinearItems(
            manifest=describe_as(kind=linear_items.KIND, weighting=params.weighting(params.windows[name])),
            item_ids=dataset.items.ids,
            popular=most_bought,
            base=base,
            similarity=similarity,
        )
        for base, (name, similarity) in zip(bases, parts.items(), strict=True)
    }
    if len(windows) == 1:
        return next(iter(windows.values()))
    once = dict.fromkeys(sorted(windows), 1.0)  # the order in which they are read back and summed
    settings = {"weights": dict.fromkeys(("repeat", "new", "all"), once), "scales": once}
    manifest = describe_as(kind=blend_items.KIND, weighting=None, settings=settings)
    return Blend.of(manifest, dataset.items.ids, most_bought, windows)
