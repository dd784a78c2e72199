"""The weights from which pairs of items are learnt."""

from typing import Any

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.ranking.weighting import Weighting


def positive_user_items(dataset: Dataset, weighting: Weighting) -> Any:
    """(n_customers, n_items) CSR of the weights above 0: what lowers a score is no evidence that items go together."""
    user_items = dataset.user_items(weighting, dataset.end)
    user_items.data = np.maximum(user_items.data, 0.0)
    user_items.eliminate_zeros()
    return user_items
