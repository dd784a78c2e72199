"""Gradient boosting by LightGBM, taken out of the library as plain arrays."""

from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from considerate.ranking.history import Bool, Float32, Float64
from considerate.ranking.two_stage_trees import Trees
from considerate.settings.toml import Section

THREADS, ROWS_FOR_THREADS = 2, 20_000
"""With `deterministic` the library promises, and a test checks, that threads do not show in the trees; for fewer rows
they wait for each other longer than they work."""

ROWS_FOR_BINS = 50_000
"""Examples from which the steps of a feature are read: sorting all of them costs as much as half of the trees."""


def boosted(
    features: Float32, bought: Bool, weight: Float64, boosting: Section, seed: int, *, threads: int | None = None
) -> Trees:
    """Fit trees whose margin is the log-odds that a candidate is bought.

    Parameters
    ----------
    features
        (m, n_features), finite.
    bought
        (m,) whether the candidate of that row was bought.
    weight
        (m,) how much each row counts, above 0.
    boosting
        Of the TOML: trees, leaves, learning_rate and the like.
    seed
        Of the draws of rows and features.
    """
    booster = booster_of(features, bought, weight, boosting, seed, threads=threads)
    return trees_of(booster.dump_model())


def booster_of(
    features: Float32, bought: Bool, weight: Float64, boosting: Section, seed: int, *, threads: int | None = None
) -> Any:
    """Fit LightGBM's own booster (Ke et al. 2017)."""
    # Here, because it takes a second to load and only this fit needs it.
    import lightgbm  # noqa: PLC0415

    threads = threads or (THREADS if len(features) >= ROWS_FOR_THREADS else 1)
    given = boosting.model_dump()
    trees = given.pop("trees")
    params = {
        "objective": "binary",
        "num_leaves": given["leaves"],
        "learning_rate": given["learning_rate"],
        "min_data_in_leaf": given["min_rows"],
        "lambda_l2": given["l2"],
        "feature_fraction": given["feature_share"],
        "bagging_fraction": given["row_share"],
        "bagging_freq": 1 if given["row_share"] < 1 else 0,
        "max_bin": given["bins"],
        "bin_construct_sample_cnt": ROWS_FOR_BINS,
        "use_missing": False,
        "deterministic": True,
        "force_row_wise": True,
        "num_threads": threads,
        "seed": seed,
        "verbosity": -1,
    }
    rows = lightgbm.Dataset(
        features, bought.astype(np.float32), weight=weight / weight.mean(), params={"verbosity": -1}
    )
    with threadpool_limits(limits=threads, user_api="openmp"):
        return lightgbm.train(params, rows, trees)


def trees_of(model: Any) -> Trees:
    """Flatten what `Booster.dump_model` gives."""
    root: list[int] = []
    nodes: list[tuple[int, float, int, int]] = []
    leaves: list[float] = []

    def walk(node: Any) -> int:
        if "leaf_value" in node:
            leaves.append(float(node["leaf_value"]))
            return ~(len(leaves) - 1)
        place = len(nodes)
        nodes.append((0, 0.0, 0, 0))
        left = walk(node["left_child"])
        right = walk(node["right_child"])
        nodes[place] = (int(node["split_feature"]), float(node["threshold"]), left, right)
        return place

    for tree in model["tree_info"]:
        root.append(walk(tree["tree_structure"]))
    feature, threshold, left, right = zip(*nodes, strict=True) if nodes else ((), (), (), ())
    return Trees(
        root=np.array(root, np.int32),
        feature=np.array(feature, np.int32),
        threshold=np.array(threshold, np.float64),
        left=np.array(left, np.int32),
        right=np.array(right, np.int32),
        leaf=np.array(leaves, np.float64),
    )
