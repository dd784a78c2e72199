"""Bayesian personalised ranking: items that were chosen above items that were not, exported as item vectors."""

from typing import Annotated

import numpy as np
from implicit.cpu.bpr import BayesianPersonalizedRanking
from implicit.recommender_base import ModelFitError
from pydantic import Field

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError
from considerate.ranking.factor_items import FactorItems
from considerate.ranking.history import Float32
from considerate.recommenders.standardised import FoldInParams, standardised_items


class Params(FoldInParams):
    """Parameters of `bpr`, in implicit's words, and those of the fold-in.

    Attributes
    ----------
    factors
        Length of a vector, without the bias.
    learning_rate, regularization
        Step of the gradient descent, and the ridge of its updates.
    iterations
        Passes, each of as many draws as there are pairs of customer and item.
    verify_negative_samples
        Draw no item as not chosen that the customer did choose.
    """

    factors: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    regularization: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.01
    iterations: Annotated[int, Field(ge=1)] = 30
    verify_negative_samples: bool = True


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> FactorItems:
    """Fit with implicit (Rendle et al. 2009) on one thread, with draws in one order, and keep the item side alone.

    What counts as chosen is any positive weight; its size plays no part in the fit, only in the fold-in.

    Raises
    ------
    ConfigError
        The descent diverged.
    """
    vectors = _fitted(dataset, params, rng)
    return standardised_items("bpr", dataset, params, vectors[:, :-1], vectors[:, -1])


def _fitted(dataset: Dataset, params: Params, rng: np.random.Generator) -> Float32:
    """(n_items, factors + 1) item vectors with the bias last."""
    chosen = dataset.user_items(params.weighting, dataset.end)
    chosen.data = np.maximum(chosen.data, 0.0)
    chosen.eliminate_zeros()
    if chosen.nnz == 0:
        return np.zeros((len(dataset.items), params.factors + 1), np.float32)
    model = BayesianPersonalizedRanking(
        factors=params.factors,
        learning_rate=params.learning_rate,
        regularization=params.regularization,
        iterations=params.iterations,
        verify_negative_samples=params.verify_negative_samples,
        num_threads=1,
        random_state=rng,
    )
    try:
        model.fit(chosen, show_progress=False)
    except ModelFitError as error:
        raise ConfigError(
            f"params -> learning_rate = {params.learning_rate}; the descent of bpr diverged with it: lower it, "
            "or raise regularization"
        ) from error
    return np.array(model.item_factors, np.float32)
