"""Vectors and biases of a pairwise ranking, exported so that a folded-in customer is scored as well as a fitted one."""

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from considerate.dataset.dataset import Dataset
from considerate.ranking.factor_items import KIND, FactorItems, no_traits
from considerate.ranking.history import Float32, Float64
from considerate.ranking.top_n import base_of
from considerate.ranking.weighting import Weighting
from considerate.recommenders.description import describe
from considerate.recommenders.popularity import popular, tail_of
from considerate.settings.toml import Section


class FoldInParams(Section):
    """How a customer is folded into vectors that were fitted to rank, not to meet a target.

    Attributes
    ----------
    alpha
        Weight of what was seen against what was not.
    ridge
        Regularization of the fold-in, as a multiple of the mean diagonal of the items' Gram matrix.
    bias_weight
        Weight of the items' biases, which have standard deviation 1, against the customer's own part, which has too.
    weighting
        How events become weights, in the fit and in every request.
    """

    alpha: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 20.0
    ridge: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1.0
    bias_weight: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.3
    weighting: Weighting = Weighting()


def standardised_items(
    algorithm: str,
    dataset: Dataset,
    params: FoldInParams,
    item_vectors: Any,
    biases: Any,
    *,
    traits: tuple[str, ...] = (),
    trait_vectors: Float32 | None = None,
    trait_weight: float = 1.0,
    libraries: tuple[str, ...] = (),
) -> FactorItems:
    """Centre the vectors, scale the biases, and put an artefact together.

    A pairwise loss leaves the scale of its scores to chance, and biases on that scale drown, or are drowned by, what a
    ridge fold-in with targets 0 and 1 gives. Centred vectors leave the order of a customer's list as it is (each of
    her scores moves by the same) and free the fold-in from fitting the mean item; see `ranking.fold_in` for the rest.

    Parameters
    ----------
    algorithm, dataset, params
        For the manifest.
    item_vectors
        (n_items, factors).
    biases
        (n_items,), of any scale.
    traits, trait_vectors
        Names, and (n_traits, factors) vectors on the scale of the biases.
    trait_weight
        What the trait vectors are multiplied by.
    libraries
        Distributions that computed the vectors.
    """
    wide = np.asarray(item_vectors, np.float64)
    centred = (wide - wide.mean(axis=0)).astype(np.float32)
    wide = centred.astype(np.float64)
    gram: Float64 = wide.T @ wide
    factors = len(gram)
    biases = np.asarray(biases, np.float64)
    spread = float(biases.std())
    unit = params.bias_weight / spread if spread > 1e-12 else params.bias_weight
    base = (biases - biases.mean()) * unit
    settings = {
        "alpha": params.alpha,
        # Above 0 even where no item tells anything, so that there is always one solution.
        "regularization": max(params.ridge * float(np.trace(gram)) / factors, 1e-6),
        "standardised": True,
        "traits": list(traits),
    }
    shown = popular(dataset)
    return FactorItems(
        manifest=describe(
            algorithm, KIND, dataset, params, params.weighting, settings=settings, libraries=("implicit", *libraries)
        ),
        item_ids=dataset.items.ids,
        popular=shown,
        base=base_of(base.astype(np.float32) + tail_of(shown).values),
        item_vectors=centred,
        gram=gram,
        trait_vectors=no_traits(factors)
        if trait_vectors is None
        else (trait_vectors.astype(np.float64) * unit * trait_weight).astype(np.float32),
    )
