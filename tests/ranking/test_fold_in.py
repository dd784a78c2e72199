"""The fold-in against the sums that define it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from written import NOW, Event, histories_of, history_of, manifest_of, random_history, without

from considerate.ranking.factor_items import FactorItems, no_traits
from considerate.ranking.files import read_files
from considerate.ranking.fold_in import FoldIn
from considerate.ranking.history import Float64, History, Kind
from considerate.ranking.manifest import read_manifest
from considerate.ranking.top_n import base_of
from considerate.ranking.traits import Traits
from considerate.ranking.weighting import Weighting

N_ITEMS, FACTORS = 40, 6


def fold_in_of(
    seed: int = 0, *, alpha: float = 2.0, standardised: bool = False, n_items: int = N_ITEMS, factors: int = FACTORS
) -> FoldIn:
    vectors = np.random.default_rng(seed).normal(size=(n_items, factors)).astype(np.float32)
    if standardised:
        vectors -= vectors.mean(axis=0)
    wide = vectors.astype(np.float64)
    return FoldIn(vectors, wide.T @ wide, alpha, 0.7, standardised)


def rows_of(seed: int, n: int, n_items: int = N_ITEMS) -> csr_matrix:
    rng = np.random.default_rng(seed)
    x = rng.normal(1.0, 1.2, size=(n, n_items)) * (rng.random((n, n_items)) < rng.random((n, 1)))
    x[0] = 0.0
    return csr_matrix(x.astype(np.float32))


def by_definition(fold_in: FoldIn, x: Float64) -> Float64:
    """Written out item by item."""
    system = fold_in.regularization * np.eye(len(fold_in.gram))
    liked, disliked = np.zeros(len(fold_in.gram)), np.zeros(len(fold_in.gram))
    for item, weight in enumerate(x):
        y, c = fold_in.item_vectors[item].astype(np.float64), fold_in.alpha * weight
        system += (c if c > 0 else 1.0) * np.outer(y, y)
        liked += max(c, 0.0) * y
        disliked += min(c, 0.0) * y
    u, v = np.linalg.solve(system, liked), np.linalg.solve(system, disliked)
    if not fold_in.standardised:
        return u + v
    spread = (fold_in.item_vectors.astype(np.float64) @ u).std()
    return (u + v) / (spread if spread > 1e-6 else 1.0)


@pytest.mark.parametrize("standardised", [False, True])
@pytest.mark.parametrize("alpha", [1.0, 3.0])
@pytest.mark.parametrize("factors", [1, FACTORS, 2 * N_ITEMS])
def test_a_block_and_one_alone_solve_the_sums_that_define_them(standardised: bool, alpha: float, factors: int) -> None:
    fold_in, x = fold_in_of(alpha=alpha, standardised=standardised, factors=factors), rows_of(1, 30)
    x.data[::5] = 1.0  # at alpha 1 they weigh what the Gram matrix holds already
    block = fold_in.many(x)
    for customer in range(x.shape[0]):
        row = slice(x.indptr[customer], x.indptr[customer + 1])
        expected = by_definition(fold_in, x[customer].toarray().ravel().astype(np.float64))
        np.testing.assert_allclose(block[customer], expected, atol=1e-6, rtol=1e-6)
        if row.stop > row.start:
            alone = fold_in.one(x.indices[row], x.data[row])
            np.testing.assert_allclose(alone, expected, atol=1e-6, rtol=1e-6)
    assert np.array_equal(block, fold_in.many(x))


def test_blocks_of_any_size_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    fold_in, x = fold_in_of(), rows_of(2, 50)
    whole = fold_in.many(x)
    monkeypatch.setattr("considerate.ranking.fold_in.BLOCK_BYTES", 2_000)
    np.testing.assert_allclose(fold_in.many(x), whole, rtol=1e-9, atol=1e-12)
    assert len(fold_in.many(rows_of(2, 50)[:0])) == 0


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(0, N_ITEMS - 1), st.floats(0.01, 20), st.booleans())
def test_a_dislike_lowers_its_item_wherever_it_stood(seed: int, item: int, weight: float, standardised: bool) -> None:
    fold_in = fold_in_of(seed, standardised=standardised)
    before = rows_of(seed, 3).toarray().astype(np.float64)
    before[:, item] = np.minimum(before[:, item], 0.0)
    after = before.copy()
    after[:, item] -= weight
    y = fold_in.item_vectors[item].astype(np.float64)
    fell = fold_in.many(csr_matrix(before)) @ y - fold_in.many(csr_matrix(after)) @ y
    assert (fell > 0).all()


def test_standardised_scores_of_what_was_liked_have_a_spread_of_one() -> None:
    fold_in, x = fold_in_of(standardised=True), rows_of(3, 20)
    x.data = np.abs(x.data)
    someone = np.diff(x.indptr) > 0
    scores = fold_in.many(x)[someone] @ fold_in.item_vectors.T.astype(np.float64)
    np.testing.assert_allclose(scores.std(axis=1), 1.0, rtol=1e-5)


def test_vectors_without_any_difference_give_no_division_by_zero() -> None:
    nothing = FoldIn(np.zeros((5, 3), np.float32), np.zeros((3, 3)), 2.0, 1e-6, True)
    assert nothing.many(csr_matrix(np.ones((2, 5), np.float32))).tolist() == [[0.0] * 3] * 2


def artefact_of(weighting: Weighting | None = None, *, standardised: bool = True) -> FactorItems:
    fold_in = fold_in_of(standardised=standardised)
    rng = np.random.default_rng(9)
    return FactorItems(
        manifest=manifest_of(
            "factor_items",
            N_ITEMS,
            weighting,
            alpha=2.0,
            regularization=0.7,
            standardised=standardised,
            traits=["age_band=25-34", "gender=F"],
        ),
        item_ids=tuple(f"i{item:02}" for item in range(N_ITEMS)),
        popular=base_of(np.zeros(N_ITEMS, np.float32)),
        base=base_of(rng.normal(size=N_ITEMS).astype(np.float32)),
        item_vectors=fold_in.item_vectors,
        gram=fold_in.gram,
        trait_vectors=rng.normal(size=(2, FACTORS)).astype(np.float32),
    )


def dense(artefact: FactorItems, history: History) -> Float64:
    scores = artefact.score(history, at=NOW, goal="all")
    values = scores.base.values.astype(np.float64)
    values[scores.items] = scores.values
    return values


@pytest.mark.parametrize(
    "weighting",
    [
        Weighting(),
        Weighting(repeats="max", half_life_days=50),
        Weighting(repeats="log", normalisation="l2"),
        Weighting(half_life_events=5),
        Weighting(rating_slope=0.8),
    ],
)
@pytest.mark.parametrize("standardised", [False, True])
def test_an_explanation_is_the_score_without_the_event(weighting: Weighting, standardised: bool) -> None:
    artefact = artefact_of(weighting, standardised=standardised)
    history = replace(
        random_history(np.random.default_rng(5), N_ITEMS, 25, ratings=True), attributes={"gender": "F", "region": "94"}
    )
    whole = dense(artefact, history)
    left = np.stack([dense(artefact, without(history, event)) for event in range(len(history))])
    for item in range(0, N_ITEMS, 7):
        shares = artefact.explain(history, item, at=NOW, goal="all")
        np.testing.assert_allclose(shares, whole[item] - left[:, item], atol=5e-6, rtol=1e-4)


def test_traits_serve_a_customer_without_history_and_unknown_ones_say_nothing() -> None:
    artefact = artefact_of()
    known = replace(History.empty(), attributes={"gender": "F", "region": "94"})
    expected = artefact.base.values + artefact.item_vectors @ artefact.trait_vectors[1]
    np.testing.assert_allclose(dense(artefact, known), expected, rtol=1e-5)
    stranger = artefact.score(replace(History.empty(), attributes={"region": "94"}), at=NOW, goal="new")
    assert len(stranger.items) == 0


def test_traits_and_histories_of_a_block_equal_one_by_one() -> None:
    artefact = artefact_of()
    parts = [History.empty(), history_of([(1, 3.0), (5, 1.0, Kind.DISMISS)]), history_of([(2, 9.0)])]
    names = [["gender=F", "age_band=25-34"], ["age_band=25-34", "region=94"], []]
    block = replace(histories_of(parts), traits=Traits.of(names))
    scores = artefact.score_many(block, at=NOW, goal="all")
    for customer in range(3):
        np.testing.assert_allclose(scores[customer], dense(artefact, block[customer]), rtol=1e-5, atol=1e-5)


def test_trait_vectors_are_saved_with_their_names(tmp_path: Path) -> None:
    artefact = artefact_of()
    artefact.save(tmp_path / "with")
    loaded = FactorItems.read(read_files(tmp_path / "with", read_manifest(tmp_path / "with"), mmap=True))
    known = replace(History.empty(), attributes={"age_band": "25-34"})
    assert np.array_equal(dense(loaded, known), dense(artefact, known))
    manifest = artefact.manifest.model_copy(update={"settings": {"alpha": 2.0, "regularization": 0.7}})
    replace(artefact, manifest=manifest, trait_vectors=no_traits(FACTORS)).save(tmp_path / "without")
    assert not (tmp_path / "without" / "trait_vectors.npy").exists()
    bare = FactorItems.read(read_files(tmp_path / "without", read_manifest(tmp_path / "without"), mmap=True))
    assert bare.trait_vectors.shape == (0, FACTORS)


def test_an_only_event_is_explained_against_what_traits_say() -> None:
    artefact = artefact_of()
    worlds: list[list[Event]] = [[(3, 1.0)], [(3, 1.0), (4, 2.0, Kind.RETURN)], [(4, 2.0, Kind.RETURN)]]
    for events in worlds:
        history = replace(history_of(events), attributes={"gender": "F"})
        left = np.array([dense(artefact, without(history, event))[7] for event in range(len(history))])
        shares = artefact.explain(history, 7, at=NOW, goal="all")
        np.testing.assert_allclose(shares, dense(artefact, history)[7] - left, atol=1e-5)
