"""The catalogue alone tells what is alike: for new products, and where few customers have said yes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from worlds import Row, checkerboard, dataset_of

from considerate.dataset.dataset import Dataset
from considerate.dataset.id_map import IdMap
from considerate.errors import ConfigError, DataError
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Histories, History
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.top_n import top_n
from considerate.recommenders import content
from considerate.recommenders.categories import categories_of, members_of
from considerate.recommenders.fitting import check_model, fit_model
from considerate.recommenders.whole_catalogue import over_catalogue
from considerate.settings.data import ConsentConfig
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml

MODELS = Path(__file__).parents[2] / "models"
TERMS = ConsentConfig(source="assumed", k_item=5, k_pair=5)

Item = tuple[str, str, str, str, float]
"""Id, category, brand, title, price."""

SHELF: list[Item] = [
    ("cocoa", "DRINKS > COCOA", "Alp", "cocoa powder", 4.0),
    ("green tea", "DRINKS > TEA", "Leaf", "green tea loose", 5.0),
    ("mint tea", "DRINKS > TEA", "Leaf", "mint tea bags", 3.0),
    ("soap", "BATH > SOAP", "Foam", "mint soap", 2.0),
    ("sponge", "BATH > SPONGE", "Foam", "sponge", 1.0),
    ("white tea", "DRINKS > TEA", "Petal", "white tea loose", 9.0),
]


def shelf(items: Sequence[Item]) -> Catalogue:
    ids = [item[0] for item in items]
    texts = [np.array([item[field] for item in items], dtype=object) for field in (1, 2, 3)]
    bare = Catalogue.of_ids(ids)
    price = np.array([item[4] for item in items], np.float32)
    return replace(bare, category=texts[0], brand=texts[1], title=texts[2], price=price)


def shop(rows: Sequence[Row], items: Sequence[Item] = SHELF) -> Dataset:
    return replace(dataset_of(rows), catalogue=shelf(items))


def nobody(items: Sequence[Item] = SHELF) -> Dataset:
    """Nobody has said yes."""
    one = dataset_of([("a", "cocoa", 1.0)])
    return replace(one, customers=IdMap(()), items=IdMap(()), events=Histories.empty(0), catalogue=shelf(items))


def bought_by(n: int, *items: str) -> list[Row]:
    return [(f"c{c:02}", item, 1.0) for c in range(n) for item in items]


def fitted(dataset: Dataset, **params: object) -> LinearItems:
    return content.fit(over_catalogue(dataset), content.Params.model_validate(params), np.random.default_rng(0))


def after(artefact: LinearItems, *items: str) -> dict[str, float]:
    """Scores of whoever bought these."""
    n = len(items)
    one = replace(
        History.empty(),
        item=np.array([artefact.item_ids.index(item) for item in items], np.int32),
        kind=np.zeros(n, np.int8),
        value=np.full(n, np.nan, np.float32),
        time=np.full(n, np.nan),
        position=np.full(n, -1, np.int64),
        channel=np.zeros(n, np.int8),
    )
    found = artefact.score(one, at=None, goal="new")
    values = found.base.values.copy()
    values[found.items] = found.values
    return dict(zip(artefact.item_ids, values.tolist(), strict=True))


def nearest(artefact: LinearItems, item: str) -> list[str]:
    return [artefact.item_ids[i] for i in artefact.similar(artefact.item_ids.index(item), 9)[0].tolist()]


def test_what_shares_more_words_is_nearer() -> None:
    artefact = fitted(shop(bought_by(6, "cocoa")))
    assert nearest(artefact, "mint tea")[:2] == ["green tea", "white tea"]
    assert "sponge" not in nearest(artefact, "mint tea")
    assert nearest(artefact, "soap")[0] == "sponge"


def test_each_kind_of_word_counts_alone_and_can_be_left_out() -> None:
    none = dict.fromkeys(("category", "brand", "features", "price", "title"), 0.0)
    dataset = shop(bought_by(6, "cocoa"))
    assert nearest(fitted(dataset, words={**none, "brand": 1.0}), "mint tea") == ["green tea"]
    assert nearest(fitted(dataset, words={**none, "title": 1.0}), "soap") == ["mint tea"]
    assert "cocoa" in nearest(fitted(dataset, words={**none, "category": 1.0}), "mint tea")
    assert fitted(dataset, words=none).similarity.nnz == 0
    sized = replace(dataset.catalogue, features={"size": np.array(["1", "", "2", "1", "", ""], dtype=object)})
    by_size = fitted(replace(dataset, catalogue=sized), words={**none, "features": 1.0})
    assert nearest(by_size, "cocoa") == ["soap"]


def test_a_product_that_nobody_has_bought_is_suggested_to_who_likes_its_kind() -> None:
    artefact = fitted(shop(bought_by(6, "cocoa", "green tea", "soap")))
    assert set(artefact.item_ids) == {item[0] for item in SHELF}
    tea, bath = after(artefact, "green tea"), after(artefact, "soap")
    assert tea["mint tea"] > tea["sponge"]
    assert bath["sponge"] > bath["mint tea"]


def test_without_neighbours_a_new_product_has_the_popularity_of_its_category() -> None:
    rows = bought_by(8, "green tea") + [(f"d{c}", "soap", 1.0) for c in range(2)]
    artefact = fitted(shop(rows), neighbours=0, shrinkage=1.0)
    base = dict(zip(artefact.item_ids, artefact.base.values.tolist(), strict=True))
    assert base["green tea"] == pytest.approx(0.8)
    assert base["soap"] == pytest.approx(0.2)
    # All items .5; drinks (.8 + .5) / 2 = .65; tea (.8 + .65) / 2; cocoa has no item of its own, so it is as drinks.
    assert base["mint tea"] == base["white tea"] == pytest.approx(0.725)
    assert base["cocoa"] == pytest.approx(0.65)
    assert base["sponge"] == pytest.approx(0.35)
    assert after(artefact, "soap") == base


def test_the_list_for_everybody_shows_nothing_that_too_few_have_bought() -> None:
    artefact = fitted(shop(bought_by(6, "cocoa", "soap")))
    popular = dict(zip(artefact.item_ids, artefact.popular.values.tolist(), strict=True))
    assert {item for item, share in popular.items() if share > 0} == {"cocoa", "soap"}


@pytest.mark.parametrize("name", ["content", "content.category", "buy_again.beginnings", "blend.beginnings"])
def test_beginnings_are_fitted_before_any_customer_has_said_yes(name: str, tmp_path: Path) -> None:
    path = MODELS / f"{name}.toml"
    model = read_toml(path, ModelConfig)
    artefact = fit_model(model, path, nobody(), TERMS, np.random.default_rng(0))
    artefact.save(tmp_path)
    assert artefact.manifest.consent.customers == 0
    assert set(artefact.item_ids) == {item[0] for item in SHELF}
    # Four customers are fewer than k_item: nothing may be learnt from what they did.
    few = fit_model(model, path, shop(bought_by(4, "cocoa")), TERMS, np.random.default_rng(0))
    assert few.popular.values.tolist() == artefact.popular.values.tolist() == [0.0] * len(SHELF)


def test_whoever_allows_suggestions_gets_them_though_nobody_allows_training() -> None:
    path = MODELS / "blend.beginnings.toml"
    artefact = fit_model(read_toml(path, ModelConfig), path, nobody(), TERMS, np.random.default_rng(0))
    bought = dataset_of([("a", "green tea", day) for day in (0.0, 7.0, 14.0)])
    hers = bought.events.reindexed(IdMap(artefact.item_ids).indices(bought.items.ids))[0]
    names = {
        goal: [artefact.item_ids[i] for i in top_n(artefact.score(hers, at=bought.end, goal=goal), 2).tolist()]
        for goal in ("repeat", "new")
    }
    assert names["repeat"][0] == "green tea"
    assert names["new"][0] in {"mint tea", "white tea"}


def test_other_models_and_an_empty_catalogue_still_need_customers() -> None:
    wide = ModelConfig(algorithm="content", whole_catalogue=True)
    blend = ModelConfig(algorithm="blend", components={"als": "als.toml"}, whole_catalogue=True)
    weights = {"weights": {goal: {"als": 1.0} for goal in ("repeat", "new", "all")}}
    for model, dataset in (
        (wide.model_copy(update={"algorithm": "als"}), nobody()),
        (wide.model_copy(update={"whole_catalogue": False}), nobody()),
        (wide, nobody([])),
        (blend.model_copy(update={"params": weights}), nobody()),
    ):
        with pytest.raises(DataError, match=r"or begin with models/blend\.beginnings\.toml and a catalogue"):
            fit_model(model, MODELS / "m.toml", dataset, TERMS, np.random.default_rng(0))


def test_a_sensitive_product_comes_in_by_those_who_allow_it_alone() -> None:
    dataset = shop(bought_by(6, "cocoa", "soap"))
    classed = np.array(["" if item not in {"soap", "sponge"} else "health" for item in dataset.catalogue.item_ids])
    dataset = replace(dataset, catalogue=replace(dataset.catalogue, sensitive=classed.astype(object)))
    assert "soap" in over_catalogue(dataset).items.ids
    assert "sponge" not in over_catalogue(dataset).items.ids


def test_a_catalogue_adds_items_and_no_event() -> None:
    dataset = shop(bought_by(6, "cocoa", "soap"))
    wide = over_catalogue(dataset)
    assert [wide.items.ids[i] for i in wide.events.item.tolist()] == [
        dataset.items.ids[i] for i in dataset.events.item.tolist()
    ]
    assert over_catalogue(wide) is wide


def test_who_bought_what_does_not_show_in_the_likeness() -> None:
    one, other = fitted(shop(bought_by(6, "cocoa", "soap"))), fitted(shop(bought_by(20, "white tea")))
    assert (one.similarity != other.similarity).nnz == 0


def test_an_item_that_the_catalogue_lacks_is_known_all_the_same() -> None:
    artefact = fitted(shop(bought_by(6, "cocoa", "umbrella")))
    assert "umbrella" in artefact.item_ids
    assert nearest(artefact, "umbrella") == []
    assert after(artefact)["umbrella"] == pytest.approx(1.0)


def test_without_a_catalogue_it_is_popularity() -> None:
    artefact = fitted(dataset_of(checkerboard()))
    assert artefact.similarity.nnz == 0
    assert artefact.base.order.tolist() == artefact.popular.order.tolist()


def test_a_word_of_too_many_items_is_left_out() -> None:
    none = dict.fromkeys(("brand", "features", "price", "title"), 0.0)
    artefact = fitted(shop(bought_by(6, "cocoa")), words=none, max_items=3)
    assert nearest(artefact, "mint tea") == ["green tea", "white tea"]
    assert nearest(artefact, "cocoa") == []


def test_prices_are_compared_within_their_category() -> None:
    steps = content.price_steps(
        np.array([1, 2, 100, 200, np.nan, 7], np.float32), ["tea", "tea", "car", "car", "car", "pen"]
    )
    assert steps.tolist() == [0, 2, 0, 2, -1, 0]
    assert content.price_steps(np.empty(0, np.float32), []).tolist() == []


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("A > B > C", ("A", "A > B", "A > B > C")),
        ("A > X|A > Y", ("A", "A > X", "A > Y")),
        (" A >  > B ", ("A", "A > B")),
        ("", ()),
        (" | > ", ()),
    ],
)
def test_a_path_names_every_category_above_it(path: str, named: tuple[str, ...]) -> None:
    assert categories_of(path) == named


def test_members_of_a_category_are_those_below_it_too() -> None:
    assert members_of(["A > B", "", "A"]) == {"A": [0, 2], "A > B": [0]}


@pytest.mark.parametrize(
    "items",
    [SHELF[:1], [(name, "", "", "", float("nan")) for name in "abc"], [(name, "A", "B", "C", 1.0) for name in "abcd"]],
    ids=["one item", "nothing known", "all alike"],
)
def test_degenerate_catalogues_give_finite_scores(items: list[Item]) -> None:
    for dataset in (shop(bought_by(6, items[0][0]), items), nobody(items)):
        artefact = fitted(dataset)
        assert np.isfinite(list(after(artefact, items[0][0]).values())).all()


@pytest.mark.parametrize(
    "wrong",
    [{"neighbours": -1}, {"words": {"smell": 1}}, {"words": {"title": -1}}, {"shrinkage": 0}, {"max_items": 1}],
)
def test_a_wrong_parameter_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        content.Params.model_validate(wrong)
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        check_model(ModelConfig(algorithm="content", params=wrong), Path("m.toml"))
