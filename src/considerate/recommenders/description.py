"""What every manifest says of the data and the terms of a fit."""

from collections.abc import Mapping
from functools import cache
from importlib.metadata import version
from typing import Any

import numpy as np

from considerate.dataset.dataset import Dataset
from considerate.ranking.manifest import ConsentBasis, Manifest
from considerate.ranking.scores import Goal
from considerate.ranking.weighting import Weighting
from considerate.settings.toml import Section

LIBRARIES = ("implicit", "numpy", "scipy")


def describe(
    algorithm: str,
    kind: str,
    dataset: Dataset,
    params: Section,
    weighting: Weighting | None,
    *,
    settings: Mapping[str, Any] | None = None,
    goals: tuple[Goal, ...] = ("repeat", "new", "all"),
    libraries: tuple[str, ...] = (),
) -> Manifest:
    """Describe a fit: nothing in it depends on who was left out, on when it ran, or on where.

    `libraries` names the distributions that computed it beside those that every fit uses.
    """
    return Manifest(
        kind=kind,
        algorithm=algorithm,
        params=params.model_dump(mode="json"),
        goals=goals,
        weighting=weighting,
        settings=dict(settings or {}),
        items=len(dataset.items),
        data_digest=dataset.digest,
        consent=ConsentBasis(
            source=dataset.consent.source,
            k_item=dataset.consent.k_item,
            k_pair=dataset.consent.k_pair,
            customers=int(np.count_nonzero(np.diff(dataset.events.indptr))),
            rows=dataset.events.n_events,
        ),
        libraries={name: _version(name) for name in sorted({*LIBRARIES, *libraries})},
    )


@cache
def _version(distribution: str) -> str:
    """Version of an installed distribution; looking one up takes as long as a small fit."""
    return version(distribution)
