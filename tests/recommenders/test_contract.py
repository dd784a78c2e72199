"""What every recommender owes, by being in RECOMMENDERS."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from worlds import START, Row, consented_dataset_of, dataset_of, taste_world
from worlds import TERMS as LEDGER_TERMS

from considerate.dataset.dataset import Dataset
from considerate.errors import ArtefactError
from considerate.ranking.history import Histories, History, Kind
from considerate.ranking.loading import load
from considerate.ranking.scores import Artefact, Goal
from considerate.ranking.top_n import top_n
from considerate.ranking.weighting import as_histories
from considerate.recommenders.fitting import fit_model
from considerate.recommenders.registry import RECOMMENDERS
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml

MODELS = Path(__file__).parents[2] / "models"
AT = START + timedelta(days=130)
GOALS: tuple[Goal, ...] = ("repeat", "new", "all")
TERMS = ConsentConfig(source="assumed", k_item=3, k_pair=3)

pytestmark = pytest.mark.parametrize("algorithm", sorted(RECOMMENDERS))


def fitted(algorithm: str, dataset: Dataset, *, seed: int = 0, terms: ConsentConfig = TERMS) -> Artefact:
    """Fit the committed model of that name."""
    path = MODELS / f"{algorithm}.toml"
    return fit_model(read_toml(path, ModelConfig), path, dataset, terms, np.random.default_rng(seed))


@pytest.fixture(scope="module")
def world() -> Dataset:
    return dataset_of(taste_world())


@pytest.fixture(scope="module")
def artefacts(world: Dataset) -> dict[str, Artefact]:
    return {algorithm: fitted(algorithm, world) for algorithm in RECOMMENDERS}


def events_of(world: Dataset, artefact: Artefact) -> Histories:
    """The world's histories in the artefact's item indices."""
    index = {id_: i for i, id_ in enumerate(artefact.item_ids)}
    return world.events.reindexed(np.array([index.get(id_, -1) for id_ in world.items.ids], np.int32))


def dense(artefact: Artefact, history: History, goal: Goal) -> np.ndarray:
    scores = artefact.score(history, at=AT, goal=goal)
    values = scores.base.values.copy()
    values[scores.items] = scores.values
    return values


def contents(directory: Path) -> dict[str, bytes]:
    return {str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()}


def test_it_has_a_committed_model_and_a_card(algorithm: str) -> None:
    assert read_toml(MODELS / f"{algorithm}.toml", ModelConfig).algorithm == algorithm
    assert (MODELS / f"{algorithm}.md").read_text(encoding="utf-8").startswith("# ")


def test_a_seed_decides_everything(algorithm: str, world: Dataset, tmp_path: Path) -> None:
    fitted(algorithm, world).save(tmp_path / "once")
    fitted(algorithm, world).save(tmp_path / "again")
    assert contents(tmp_path / "once") == contents(tmp_path / "again")


def test_scores_are_finite_and_items_rise(algorithm: str, world: Dataset, artefacts: dict[str, Artefact]) -> None:
    artefact = artefacts[algorithm]
    histories = events_of(world, artefact)
    for goal in GOALS:
        for customer in range(0, len(histories), 7):
            scores = artefact.score(histories[customer], at=AT, goal=goal)
            assert np.isfinite(scores.values).all()
            assert np.isfinite(scores.base.values).all()
            assert (np.diff(scores.items) > 0).all()
            assert sorted(scores.base.order.tolist()) == list(range(len(artefact.item_ids)))


def test_a_block_equals_one_by_one(algorithm: str, world: Dataset, artefacts: dict[str, Artefact]) -> None:
    artefact = artefacts[algorithm]
    histories = events_of(world, artefact)
    for goal in GOALS:
        block = artefact.score_many(histories, at=AT, goal=goal)
        assert block.dtype == np.float32
        for customer in range(len(histories)):
            alone = dense(artefact, histories[customer], goal)
            np.testing.assert_allclose(block[customer], alone, rtol=1e-5, atol=1e-5)


def test_saved_and_loaded_is_the_same(
    algorithm: str, world: Dataset, artefacts: dict[str, Artefact], tmp_path: Path
) -> None:
    artefact = artefacts[algorithm]
    artefact.save(tmp_path / "saved")
    history = events_of(world, artefact)[5]
    for mmap in (True, False):
        loaded = load(tmp_path / "saved", mmap=mmap)
        assert loaded.item_ids == artefact.item_ids
        assert loaded.manifest.model_copy(update={"files": {}, "seal": ""}) == artefact.manifest
        assert loaded.popular.order.tolist() == artefact.popular.order.tolist()
        for goal in GOALS:
            assert np.array_equal(dense(loaded, history, goal), dense(artefact, history, goal))
        loaded.save(tmp_path / f"again_{mmap}")
        assert contents(tmp_path / f"again_{mmap}") == contents(tmp_path / "saved")


def test_a_directory_in_use_is_not_overwritten(algorithm: str, artefacts: dict[str, Artefact], tmp_path: Path) -> None:
    artefacts[algorithm].save(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(ArtefactError, match="choose a new directory"):
        artefacts[algorithm].save(tmp_path)
    assert contents(tmp_path) == before


def test_a_changed_byte_is_refused(algorithm: str, artefacts: dict[str, Artefact], tmp_path: Path) -> None:
    artefacts[algorithm].save(tmp_path)
    for path in sorted(path for path in tmp_path.rglob("*") if path.is_file()):
        whole = path.read_bytes()
        if not whole:
            continue
        changed = bytearray(whole)
        changed[len(whole) // 2] ^= 1
        path.write_bytes(bytes(changed))
        with pytest.raises(ArtefactError):
            load(tmp_path)
        path.write_bytes(whole)


def test_an_empty_history_gives_the_base(algorithm: str, artefacts: dict[str, Artefact]) -> None:
    for goal in GOALS:
        scores = artefacts[algorithm].score(History.empty(), at=AT, goal=goal)
        assert len(scores.items) == 0
        block = artefacts[algorithm].score_many(Histories.empty(2), at=AT, goal=goal)
        np.testing.assert_allclose(block, np.stack([scores.base.values] * 2), atol=1e-6)
        assert artefacts[algorithm].explain(History.empty(), 0, at=AT, goal=goal).tolist() == []


def test_unknown_items_are_as_if_they_had_not_been(
    algorithm: str, world: Dataset, artefacts: dict[str, Artefact]
) -> None:
    artefact = artefacts[algorithm]
    known = events_of(world, artefact).take(np.array([3]))
    wider = replace(known, item=(known.item + 1).astype(np.int32))
    back = np.arange(-1, len(artefact.item_ids), dtype=np.int32)
    stranger = replace(
        wider,
        indptr=wider.indptr + np.array([0, 1]),
        item=np.append(wider.item, 0).astype(np.int32),
        kind=np.append(wider.kind, Kind.PURCHASE).astype(np.int8),
        value=np.append(wider.value, np.nan).astype(np.float32),
        time=np.append(wider.time, AT.timestamp()),
        position=np.append(wider.position, -1),
        channel=np.append(wider.channel, 0).astype(np.int8),
    )
    for goal in GOALS:
        assert np.array_equal(dense(artefact, stranger.reindexed(back)[0], goal), dense(artefact, known[0], goal))


def test_fewer_items_than_asked_for_give_a_short_list(algorithm: str, artefacts: dict[str, Artefact]) -> None:
    artefact = artefacts[algorithm]
    scores = artefact.score(History.empty(), at=AT, goal="all")
    assert sorted(top_n(scores, 10_000).tolist()) == list(range(len(artefact.item_ids)))
    items, values = artefact.similar(0, 10_000)
    assert len(items) == len(values) < len(artefact.item_ids)
    assert 0 not in items.tolist()
    assert (np.diff(values) <= 0).all()


def test_explain_equals_leaving_one_out(algorithm: str, world: Dataset, artefacts: dict[str, Artefact]) -> None:
    artefact = artefacts[algorithm]
    histories = events_of(world, artefact)
    for goal in GOALS:
        for customer in (2, 9):
            history = histories[customer]
            whole = dense(artefact, history, goal)
            best = top_n(artefact.score(history, at=AT, goal=goal), 4).tolist()
            for item in [*best, int(np.argmin(whole))]:
                shares = artefact.explain(history, item, at=AT, goal=goal)
                rest = [dense(artefact, without(history, event), goal)[item] for event in range(len(history))]
                np.testing.assert_allclose(shares, whole[item] - np.array(rest), atol=2e-6, rtol=1e-4)


def without(history: History, event: int) -> History:
    return as_histories(history).where(np.arange(len(history)) != event)[0]


def test_a_refit_without_a_customer_equals_a_world_without_her(algorithm: str, tmp_path: Path) -> None:
    gone = {"household-003", "household-999"}
    rows = taste_world() + [("household-999", f"i{item:03}", 100.0) for item in (0, 1, 2, 77)]
    rows += [("household-003", "only hers", 1.0)]
    # They never existed: another store, with other random references and another order of rows.
    never: list[Row] = [(hash_of(row[0]), *row[1:]) for row in reversed(rows) if row[0] not in gone]
    worlds = {
        "refused": consented_dataset_of(rows, refusing=gone),
        "never": consented_dataset_of(never),
        "allowed": consented_dataset_of(rows),
    }
    for name, world in worlds.items():
        fitted(algorithm, world, terms=LEDGER_TERMS).save(tmp_path / name)
    assert contents(tmp_path / "refused") == contents(tmp_path / "never")
    assert contents(tmp_path / "refused") != contents(tmp_path / "allowed")


def hash_of(customer_id: str) -> str:
    return f"{int(customer_id[-3:]) * 7919 % 1000:03x}{customer_id}"


def test_no_array_and_no_file_knows_a_customer(
    algorithm: str, world: Dataset, artefacts: dict[str, Artefact], tmp_path: Path
) -> None:
    n_customers = len(world.customers)
    assert n_customers == 61  # prime, and not the number of items
    artefacts[algorithm].save(tmp_path)
    for path in tmp_path.rglob("*"):
        if path.suffix == ".npy":
            assert n_customers not in np.load(path).shape
            assert n_customers + 1 not in np.load(path).shape
        if path.suffix == ".parquet":
            assert pq.read_table(path).column_names == ["item_id"]
        if path.is_file():
            assert b"household" not in path.read_bytes()


@pytest.mark.parametrize("k", [3, 8])
def test_no_item_and_no_pair_of_too_few_customers(algorithm: str, k: int, world: Dataset, tmp_path: Path) -> None:
    terms = ConsentConfig(source="assumed", k_item=k, k_pair=k)
    artefact = fitted(algorithm, world, terms=terms)
    assert (artefact.manifest.consent.k_item, artefact.manifest.consent.k_pair) == (k, k)
    artefact.save(tmp_path)
    has = np.zeros((len(world.customers), len(world.items)), np.bool_)
    has[world.events.customer, world.events.item] = True
    keep = [world.items.index(id_) for id_ in artefact.item_ids]
    has = has[:, keep]
    assert has.sum(axis=0).min() >= k
    together = has.T.astype(int) @ has.astype(int)
    for indptr_file in tmp_path.rglob("*.indptr.npy"):
        indptr, name = np.load(indptr_file), indptr_file.name.removesuffix(".indptr.npy")
        indices = np.load(indptr_file.with_name(f"{name}.indices.npy"))
        row = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
        assert (row != indices).all()
        assert (together[row, indices] >= k).all()


def test_dismissing_an_item_never_raises_it(algorithm: str, world: Dataset, artefacts: dict[str, Artefact]) -> None:
    artefact = artefacts[algorithm]
    one = events_of(world, artefact).take(np.array([4]))
    n, stranger = one.n_events, int(np.setdiff1d(np.arange(len(artefact.item_ids)), one.item)[0])
    more = replace(
        one,
        indptr=np.array([0, n + 1]),
        item=np.append(one.item, stranger).astype(np.int32),
        kind=np.append(one.kind, Kind.DISMISS).astype(np.int8),
        value=np.append(one.value, np.nan).astype(np.float32),
        time=np.append(one.time, AT.timestamp()),
        position=np.append(one.position, -1),
        channel=np.append(one.channel, 0).astype(np.int8),
    )
    for goal in GOALS:
        assert dense(artefact, more[0], goal)[stranger] <= dense(artefact, one[0], goal)[stranger] + 1e-6
