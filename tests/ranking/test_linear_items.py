"""scores = b + x.S + (x.A).B' + t.W, against the same sum written out densely."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from written import NOW, histories_of, history_of, manifest_of, random_history, without

from considerate.errors import ArtefactError
from considerate.ranking.history import History
from considerate.ranking.linear_items import KIND, LinearItems, LowRank, TraitColumns
from considerate.ranking.loading import load
from considerate.ranking.products import add_product
from considerate.ranking.top_n import base_of
from considerate.ranking.traits import Traits
from considerate.ranking.weighting import Weighting, weigh

N_ITEMS, RANK = 12, 3
NAMES = ("age_band=25-34", "gender=F", "likes=Drama")
WEIGHTINGS = [
    Weighting(),
    Weighting(half_life_days=30, normalisation="l1"),
    Weighting(half_life_events=3, repeats="log", normalisation="l2"),
]


def model(weighting: Weighting | None = None, *, sparse_columns: bool = False, density: float = 0.3) -> LinearItems:
    rng = np.random.default_rng(1)
    whole = rng.normal(size=(N_ITEMS, N_ITEMS)) * (rng.random((N_ITEMS, N_ITEMS)) < density)
    np.fill_diagonal(whole, 0)
    columns = rng.normal(size=(len(NAMES), N_ITEMS)).astype(np.float32)
    return LinearItems(
        manifest=manifest_of(KIND, N_ITEMS, weighting or Weighting()),
        item_ids=tuple(f"i{i:02}" for i in range(N_ITEMS)),
        popular=base_of(np.arange(N_ITEMS, dtype=np.float32)),
        base=base_of(rng.random(N_ITEMS).astype(np.float32)),
        similarity=csr_matrix(whole.astype(np.float32)),
        low_rank=LowRank(*(rng.normal(size=(N_ITEMS, RANK)).astype(np.float32) for _ in range(2))),
        columns=TraitColumns(NAMES, csr_matrix(columns) if sparse_columns else columns),
    )


def people() -> list[History]:
    rng = np.random.default_rng(2)
    known = history_of([])
    return [
        random_history(rng, N_ITEMS, 15, ratings=True),
        replace(random_history(rng, N_ITEMS, 4), attributes={"gender": "F", "region": "94"}),
        replace(
            known, attributes={"age_band": "25-34"}, liked_categories=("Drama", "Drama"), refused_categories=("x",)
        ),
        known,
    ]


def written_out(artefact: LinearItems, person: History) -> np.ndarray[Any, Any]:
    assert artefact.low_rank is not None
    assert artefact.columns is not None
    x = weigh(histories_of([person]), artefact.manifest.weighting or Weighting(), at=NOW, n_items=N_ITEMS).toarray()[0]
    names = {f"{key}={value}" for key, value in person.attributes.items()}
    names |= {f"likes={category}" for category in person.liked_categories}
    weights = artefact.columns.weights
    dense = weights if isinstance(weights, np.ndarray) else weights.toarray()
    scores = artefact.base.values + x @ artefact.similarity.toarray() + x @ artefact.low_rank.a @ artefact.low_rank.b.T
    return np.asarray(scores + sum((dense[row] for row, name in enumerate(NAMES) if name in names), np.zeros(N_ITEMS)))


def dense_score(artefact: LinearItems, person: History) -> np.ndarray[Any, Any]:
    scores = artefact.score(person, at=NOW, goal="all")
    values = scores.base.values.copy()
    values[scores.items] = scores.values
    return values


@pytest.mark.parametrize("sparse_columns", [False, True])
@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_every_part_adds_its_share(weighting: Weighting, sparse_columns: bool) -> None:
    artefact = model(weighting, sparse_columns=sparse_columns)
    everybody = people()
    named = [
        [f"{key}={value}" for key, value in person.attributes.items()]
        + [f"likes={category}" for category in person.liked_categories]
        for person in everybody
    ]
    block = replace(histories_of(everybody), traits=Traits.of(named))
    scores = artefact.score_many(block, at=NOW, goal="all")
    assert scores.dtype == np.float32
    for person, row in zip(everybody, scores, strict=True):
        np.testing.assert_allclose(dense_score(artefact, person), written_out(artefact, person), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(row, written_out(artefact, person), rtol=1e-5, atol=1e-5)


def test_nothing_known_gives_the_base_and_touches_nothing() -> None:
    artefact = model()
    scores = artefact.score(replace(history_of([]), attributes={"region": "94"}), at=NOW, goal="new")
    assert len(scores.items) == 0
    assert scores.base is artefact.base


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_an_explanation_is_the_score_without_each_event(weighting: Weighting) -> None:
    artefact = model(weighting)
    for person in people()[:2]:
        whole = dense_score(artefact, person)
        rest = np.array([dense_score(artefact, without(person, event)) for event in range(len(person))])
        for item in range(N_ITEMS):
            shares = artefact.explain(person, item, at=NOW, goal="all")
            np.testing.assert_allclose(shares, whole[item] - rest[:, item], rtol=1e-4, atol=1e-5)


def test_similar_items_are_those_with_the_largest_entries_of_both_matrices() -> None:
    artefact = model()
    assert artefact.low_rank is not None
    row = artefact.similarity.toarray()[4] + artefact.low_rank.b @ artefact.low_rank.a[4]
    items, values = artefact.similar(4, 5)
    expected = [i for i in np.argsort(-row, kind="stable").tolist() if i != 4][:5]
    assert items.tolist() == expected
    np.testing.assert_allclose(values, row[expected], rtol=1e-5)
    alone = replace(artefact, low_rank=None).similar(4, 5)[0]
    assert set(alone.tolist()) <= set(np.flatnonzero(artefact.similarity.toarray()[4]).tolist())


@pytest.mark.parametrize("sparse_columns", [False, True])
def test_every_part_is_saved_and_read(tmp_path: Path, sparse_columns: bool) -> None:
    artefact = model(Weighting(half_life_days=30), sparse_columns=sparse_columns)
    artefact.save(tmp_path / "saved")
    loaded = load(tmp_path / "saved")
    assert isinstance(loaded, LinearItems)
    assert loaded.columns is not None
    assert loaded.columns.names == NAMES
    for person in people():
        assert np.array_equal(dense_score(loaded, person), dense_score(artefact, person))
    loaded.save(tmp_path / "again")
    for path in (tmp_path / "saved").iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()


def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    whole = model()
    assert whole.low_rank is not None
    assert whole.columns is not None
    broken = {
        r"low_rank\.a\.npy has shape \(12, 2\)": replace(
            whole, low_rank=LowRank(np.ascontiguousarray(whole.low_rank.a[:, :2]), whole.low_rank.b)
        ),
        r"columns\.weights\.npy has shape \(2, 12\)": replace(
            whole, columns=TraitColumns(NAMES, whole.columns.weights[:2])
        ),
        "names a column twice": replace(whole, columns=TraitColumns((NAMES[0], *NAMES[:2]), whole.columns.weights)),
    }
    for number, (message, artefact) in enumerate(broken.items()):
        artefact.save(tmp_path / str(number))
        with pytest.raises(ArtefactError, match=message):
            load(tmp_path / str(number))


@pytest.mark.parametrize("dense_bytes", [64_000_000, 200])
@pytest.mark.parametrize("density", [0.05, 0.9])
def test_a_product_is_the_same_by_sparse_products_and_by_blas(density: float, dense_bytes: int) -> None:
    rng = np.random.default_rng(3)
    shapes = ((9, 20), (20, 30))
    x, s = (csr_matrix((rng.random(shape) * (rng.random(shape) < density)).astype(np.float32)) for shape in shapes)
    scores = np.ones((9, 30), np.float32)
    add_product(x, s, scores, dense_bytes=dense_bytes)
    np.testing.assert_allclose(scores, 1 + (x @ s).toarray(), rtol=1e-5)


def test_a_history_of_50_000_events_is_scored_and_explained() -> None:
    artefact = model(Weighting(half_life_days=30, repeats="log"))
    rng = np.random.default_rng(4)
    n = 50_000
    long = History(
        item=rng.integers(N_ITEMS, size=n).astype(np.int32),
        kind=np.zeros(n, np.int8),
        value=np.full(n, np.nan, np.float32),
        time=np.sort(NOW.timestamp() - rng.uniform(0, timedelta(days=365).total_seconds(), n)),
        position=np.full(n, -1, np.int64),
        channel=np.zeros(n, np.int8),
    )
    assert np.isfinite(artefact.score(long, at=NOW, goal="all").values).all()
    shares = artefact.explain(long, 3, at=NOW, goal="all")
    last = dense_score(artefact, long) - dense_score(artefact, without(long, n - 1))
    assert shares[-1] == pytest.approx(last[3], abs=1e-3)
