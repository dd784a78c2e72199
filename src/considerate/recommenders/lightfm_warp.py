"""LightFM's WARP on items and customers with features, exported as item vectors and vectors of customers' traits."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field
from scipy.sparse import hstack, identity

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError
from considerate.ranking.factor_items import FactorItems
from considerate.ranking.history import Float32
from considerate.recommenders.features import customer_features, item_features
from considerate.recommenders.standardised import FoldInParams, standardised_items
from considerate.settings.data import K_SEGMENT

DISTRIBUTION = "rectools-lightfm"


class Params(FoldInParams):
    """Parameters of `lightfm_warp`, in LightFM's words, and those of the fold-in.

    Attributes
    ----------
    no_components
        Length of a vector.
    learning_rate
        First step of adagrad.
    item_alpha, user_alpha
        Penalty on the vectors of items and customers, and of their features.
    epochs
        Passes over all pairs of customer and item.
    max_sampled
        How many items are drawn, at most, to find one that is ranked too high.
    item_feature_weight, customer_feature_weight
        Weight of each feature beside the own column of its item or customer; 0 leaves the features out.
    trait_weight
        Weight of what a customer allows to be known, at request time; 1 is LightFM's own prediction without history.
    """

    no_components: Annotated[int, Field(ge=1)] = 32
    learning_rate: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 0.05
    item_alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    user_alpha: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0
    epochs: Annotated[int, Field(ge=1)] = 10
    max_sampled: Annotated[int, Field(ge=1)] = 10
    item_feature_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    customer_feature_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0
    trait_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 1.0


def fit(dataset: Dataset, params: Params, rng: np.random.Generator) -> FactorItems:
    """Fit with LightFM (Kula 2015) under WARP (Weston et al. 2011) on one thread, and keep what belongs to items.

    A customer has a column of her own while fitting; its vector is thrown away. A trait is known where at least
    `K_SEGMENT` customers share it. What counts as chosen is any positive weight.

    Raises
    ------
    ConfigError
        LightFM is not installed, or the descent diverged.
    """
    lightfm = _library()
    _, of_items = item_features(dataset)
    traits, of_customers = customer_features(dataset, K_SEGMENT)
    if params.customer_feature_weight == 0:
        traits, of_customers = (), of_customers[:, :0]
    chosen = dataset.user_items(params.weighting, dataset.end)
    chosen.data = (chosen.data > 0).astype(np.float32)
    chosen.eliminate_zeros()
    item_columns = _with_own(of_items, params.item_feature_weight)
    customer_columns = _with_own(of_customers, params.customer_feature_weight)
    seed = int(rng.integers(2**31))
    model = lightfm(
        no_components=params.no_components,
        learning_rate=params.learning_rate,
        item_alpha=params.item_alpha,
        user_alpha=params.user_alpha,
        max_sampled=params.max_sampled,
        loss="warp",
        random_state=np.random.RandomState(seed),  # LightFM takes no other
    )
    try:
        with np.errstate(all="ignore"):  # it checks its sums itself, after each epoch
            model.fit(
                chosen.tocoo(),
                user_features=customer_columns,
                item_features=item_columns,
                epochs=params.epochs,
                num_threads=1,
            )
    except ValueError as error:
        raise ConfigError(
            f"params -> learning_rate = {params.learning_rate}; the descent of lightfm_warp diverged with it: lower it"
        ) from error
    known = len(traits)
    trait_vectors: Float32 = model.user_embeddings[len(dataset.customers) :][:known] * params.customer_feature_weight
    return standardised_items(
        "lightfm_warp",
        dataset,
        params,
        item_columns @ model.item_embeddings,
        item_columns @ model.item_biases,
        traits=traits,
        trait_vectors=trait_vectors,
        trait_weight=params.trait_weight,
        libraries=(DISTRIBUTION,),
    )


def _with_own(features: Any, weight: float) -> Any:
    """Put a column for each row of its own before its features."""
    own = identity(features.shape[0], dtype=np.float32, format="csr")
    if weight == 0 or not features.shape[1]:
        return own
    return hstack([own, features * np.float32(weight)], format="csr", dtype=np.float32)


def _library() -> Any:
    try:
        from lightfm import LightFM  # noqa: PLC0415  # an extra: it comes as source alone and needs a C compiler
    except ImportError as error:
        raise ConfigError(
            "algorithm = 'lightfm_warp'; LightFM is not installed: install considerate[lightfm] (needs a C compiler)"
        ) from error
    return LightFM
