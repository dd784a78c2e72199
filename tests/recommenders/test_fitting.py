"""From a model TOML to an artefact, or one clear message."""

from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from worlds import START, checkerboard, dataset_of

from considerate.dataset.dataset import Dataset
from considerate.dataset.splits import temporal_split
from considerate.errors import ConfigError, DataError
from considerate.ranking.history import Kind
from considerate.ranking.scores import Artefact
from considerate.recommenders.fitting import check_model, fit_model
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml

ASSUMED = ConsentConfig(source="assumed", k_item=1, k_pair=1)


def check(folder: Path, text: str) -> None:
    path = folder / "model.toml"
    path.write_text(text, encoding="utf-8")
    check_model(read_toml(path, ModelConfig), path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('algorithm = "magic"', "algorithm = 'magic' is not known; name one of: als, blend"),
        (
            'algorithm = "als"\n[params]\nregularization = -0.1',
            "params: regularization = -0.1; input should be",
        ),
        ('algorithm = "als"\n[params]\nfactor = 3', "params: factor is not a known key"),
        ('algorithm = "als"\n[params]\nfactors = "many"', "params: factors = 'many'; input should be a valid integer"),
        ('algorithm = "item_knn"\n[params.weighting]\nhalf_life_days = 0', "weighting -> half_life_days = 0;"),
        ('algorithm = "item_knn"\n[params.weighting.kinds]\nsteal = 1', "weighting -> kinds -> steal"),
        ('algorithm = "popularity"\n[params]\nhalf_life_days = nan', "half_life_days = nan"),
        ('algorithm = "als"\n[components]\na = "a.toml"', "als takes none: remove them"),
        ('algorithm = "blend"', "components is empty; blend needs some"),
        ('algorithm = "blend"\n[components]\na = "a.toml"', "a.toml: no such file"),
        ('algorithm = "blend"\n[components]\n"../a" = "part.toml"', "a name must be letters, digits and underscores"),
        ('algorithm = "blend"\n[components]\na = "model.toml"', "a is itself a blend"),
    ],
)
def test_a_wrong_model_is_named_with_its_value_and_the_rule(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "part.toml").write_text('algorithm = "als"', encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        check(tmp_path, text)
    assert message in str(error.value)
    assert str(tmp_path) in str(error.value)


def test_a_blends_own_mistakes_name_its_file(tmp_path: Path) -> None:
    (tmp_path / "part.toml").write_text('algorithm = "popularity"', encoding="utf-8")
    path = tmp_path / "blend.toml"
    path.write_text(
        'algorithm = "blend"\n[components]\na = "part.toml"\n'
        "[params.weights]\nrepeat = {b = 1}\nnew = {a = 1}\nall = {a = 1}",
        encoding="utf-8",
    )
    with pytest.raises(ConfigError, match=r"blend.toml: params -> weights -> repeat -> b: no such component"):
        fit_model(read_toml(path, ModelConfig), path, dataset_of(checkerboard()), ASSUMED, np.random.default_rng(0))


def test_items_below_k_item_leave_before_the_fit() -> None:
    rows = [*checkerboard(), ("household-000", "rare", 1.0), ("household-001", "rare", 1.0)]
    terms = ConsentConfig(source="assumed", k_item=3, k_pair=3)
    model = ModelConfig(algorithm="popularity")
    artefact = fit_model(model, Path("p.toml"), dataset_of(rows), terms, np.random.default_rng(0))
    assert "rare" not in artefact.item_ids
    assert len(artefact.item_ids) == 10


def test_returns_are_netted_before_the_fit_and_it_does_no_harm_to_have_done_so() -> None:
    bought = [*checkerboard(), *((f"household-{c:03}", "kettle", 3.0) for c in range(3))]
    raw = dataset_of([*bought, *((f"household-{c:03}", "kettle", 5.0, Kind.RETURN) for c in range(3))])

    def fitted(dataset: Dataset) -> Artefact:
        model = ModelConfig(algorithm="popularity")
        return fit_model(model, Path("p.toml"), dataset, ASSUMED, np.random.default_rng(0))

    assert "kettle" not in fitted(raw).item_ids
    assert fitted(raw).manifest == fitted(raw.net_of_returns()).manifest == fitted(dataset_of(checkerboard())).manifest


def test_customers_who_come_after_the_cut_do_not_count() -> None:
    later = [(f"newcomer-{c}", "i00", 40.0) for c in range(30)]
    train, _ = temporal_split(dataset_of([*checkerboard(), *later]), START + timedelta(days=30))
    models = Path(__file__).parents[2] / "models"
    blend = read_toml(models / "blend.toml", ModelConfig)
    split, alone = (
        fit_model(blend, models / "blend.toml", dataset, ASSUMED, np.random.default_rng(0))
        for dataset in (train, dataset_of(checkerboard()))
    )
    assert split.manifest.settings["scales"] == alone.manifest.settings["scales"]
    assert split.popular.values.tolist() == alone.popular.values.tolist()


def test_thresholds_that_leave_nothing_are_an_error() -> None:
    terms = ConsentConfig(source="assumed", k_item=1000, k_pair=5)
    with pytest.raises(DataError, match=r"no item has k_item = 1000 distinct consenting customers.*lower k_item"):
        fit_model(
            ModelConfig(algorithm="popularity"),
            Path("p.toml"),
            dataset_of(checkerboard()),
            terms,
            np.random.default_rng(0),
        )


def test_a_component_equals_the_same_model_fitted_alone() -> None:
    models = Path(__file__).parents[2] / "models"
    blend, als = (read_toml(models / f"{name}.toml", ModelConfig) for name in ("blend", "als"))
    dataset = dataset_of(checkerboard())
    whole = fit_model(blend, models / "blend.toml", dataset, ASSUMED, np.random.default_rng(9))
    alone = fit_model(als, models / "als.toml", dataset, ASSUMED, np.random.default_rng(als.seed))
    history = dataset.events[3]
    part = whole.components["als"]  # type: ignore[attr-defined]  # a Blend
    assert np.array_equal(
        part.score(history, at=dataset.end, goal="new").values, alone.score(history, at=dataset.end, goal="new").values
    )


@pytest.mark.parametrize("algorithm", ["popularity", "item_knn", "als", "buy_again"])
@pytest.mark.parametrize(
    "rows",
    [
        [("a", "x", 1.0)],
        [("a", "x", 1.0), ("b", "x", 2.0)],
        [("a", item, 1.0) for item in "xyz"],
        [(customer, item, 1.0) for customer in "abc" for item in "xyz"],
    ],
    ids=["one event", "one item", "one customer who bought everything", "everybody bought everything"],
)
def test_degenerate_worlds_give_finite_scores(algorithm: str, rows: list[tuple[str, str, float]]) -> None:
    dataset = dataset_of(rows)
    artefact = fit_model(ModelConfig(algorithm=algorithm), Path("m.toml"), dataset, ASSUMED, np.random.default_rng(0))
    assert np.isfinite(artefact.score_many(dataset.events, at=dataset.end, goal="all")).all()
