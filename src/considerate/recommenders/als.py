"""Alternating least squares on implicit feedback, exported as item vectors."""

from typing import Annotated, Any

import numpy as np
from implicit.cpu.als import AlternatingLeastSquares
from pydantic import Field
from threadpoolctl import threadpool_limits

from considerate.dataset.dataset import Dataset
from considerate.ranking.factor_items import KIND, FactorItems, no_traits
from considerate.ranking.weighting import Weighting
from considerate.recommenders.description import describe
from considerate.recommenders.popularity import popular, tail_of
from considerate.settings.toml import Section


class Params(Section):
    """Parameters of `als`, in implicit's words.

    Attributes
    ----------
    factors
        Length of a vector.
    regularization, alpha
        Ridge, and the weight of what was seen against what was not; the same in the fold-in.
    iterations
        Sweeps over customers and items.
    num_threads
        0 for one per core; the result does not depend on it.
    weighting
        How events become weights, in the fit and in every request.
    """

    factors: Annotated[int, Field(ge=1)] = 64
    regularization: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.01
    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    iterations: Annotated[int, Field(ge=1)] = 15
    num_threads: Annotated[int, Field(ge=0)] = 0
    weighting: Weighting = Weighting()


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> FactorItems:
    """Factorise with implicit (Takacs, Pilaszy and Tikk 2011, conjugate gradient) and keep the item side alone.

    Each row of either side is solved on its own, so the number of threads does not show in the result; BLAS, whose
    sums may depend on it, gets one.
    """
    user_items = confidences(dataset, params)
    with threadpool_limits(limits=1, user_api="blas"):
        model = AlternatingLeastSquares(
            factors=params.factors,
            regularization=params.regularization,
            alpha=params.alpha,
            iterations=params.iterations,
            num_threads=params.num_threads,
            random_state=rng,
        )
        model.fit(user_items, show_progress=False)
        item_vectors = np.array(model.item_factors, np.float32)
        wide = item_vectors.astype(np.float64)
        gram = wide.T @ wide
    shown = popular(dataset)
    return FactorItems(
        manifest=describe(
            "als",
            KIND,
            dataset,
            params,
            params.weighting,
            settings={"alpha": params.alpha, "regularization": params.regularization},
        ),
        item_ids=dataset.items.ids,
        popular=shown,
        base=tail_of(shown),
        item_vectors=item_vectors,
        gram=gram,
        trait_vectors=no_traits(params.factors),
    )


def confidences(dataset: Dataset, params: Params) -> Any:
    """(n_customers, n_items) CSR of weights as implicit reads them.

    An item of negative weight is one that is not wanted, with the confidence 1 of all that was not seen and alpha x its
    weight on top: implicit reads a negative entry as the whole of that confidence, so that -1 at alpha 1 would say
    nothing.
    """
    user_items = dataset.user_items(params.weighting, dataset.end)
    user_items.data[user_items.data < 0] -= np.float32(1.0 / params.alpha)
    return user_items
