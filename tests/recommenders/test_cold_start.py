"""What customers let be known and say they like moves a list away from popularity, by the evidence behind it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError
from worlds import Row, dataset_of

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Histories, History, Kind
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.traits import Traits
from considerate.recommenders import cold_start
from considerate.recommenders.fitting import check_model
from considerate.settings.model import ModelConfig

FILMS = ("drama", "war", "western")


def world(men: int = 100, women: int = 100, *, known: bool = True) -> Dataset:
    """Everybody saw the drama, three in four men the war film, three in four women the western, the rest the other."""
    rows: list[Row] = []
    traits: list[list[str]] = []
    for gender, n, own, other in (("M", men, "war", "western"), ("W", women, "western", "war")):
        for person in range(n):
            name = f"{gender}{person:03}"
            rows += [(name, "drama", 1.0), (name, other if person % 4 == 0 else own, 2.0)]
            traits.append([f"gender={gender}", "shoe_size=41"] if known else [])
    dataset = dataset_of(rows)
    return replace(dataset, events=replace(dataset.events, traits=Traits.of(traits)))


def fitted(dataset: Dataset, **params: object) -> LinearItems:
    return cold_start.fit(dataset, cold_start.Params.model_validate(params), np.random.default_rng(0))


def scores(artefact: LinearItems, *traits: str) -> dict[str, float]:
    asked = replace(Histories.empty(1), traits=Traits.of([traits]))
    block = artefact.score_many(asked, at=None, goal="new")[0]
    return dict(zip(artefact.item_ids, block.tolist(), strict=True))


def with_genres(dataset: Dataset) -> Dataset:
    catalogue = Catalogue.of_ids(dataset.items.ids)
    genres = {"drama": "Drama", "war": "Action > War|Drama", "western": "Action > Western"}
    return replace(
        dataset,
        catalogue=replace(catalogue, category=np.array([genres[id_] for id_ in catalogue.item_ids], dtype=object)),
    )


def test_without_any_evidence_it_is_popularity() -> None:
    artefact = fitted(world())
    assert scores(artefact) == pytest.approx({"drama": 1.0, "war": 0.5, "western": 0.5})
    assert len(artefact.score(History.empty(), at=None, goal="new").items) == 0


def test_a_segment_moves_towards_what_it_chose_and_not_past_it() -> None:
    men, women = scores(fitted(world()), "gender=M"), scores(fitted(world()), "gender=W")
    assert men["war"] > 0.5 > men["western"] > 0.25 - 1e-6
    assert women["western"] > 0.5 > women["war"]
    assert men["war"] <= 0.75 + 1e-6
    assert men["drama"] == pytest.approx(1.0)


def test_little_shrinkage_gives_the_share_of_the_segment_itself() -> None:
    assert scores(fitted(world(), shrinkage=1e-6), "gender=M")["war"] == pytest.approx(0.75, abs=1e-4)


def test_more_evidence_moves_further_from_popularity() -> None:
    few, many = (fitted(world(n, n), shrinkage=20.0) for n in (60, 600))
    assert scores(many, "gender=M")["war"] > scores(few, "gender=M")["war"] > 0.5
    stricter = fitted(world(60, 60), shrinkage=200.0)
    assert scores(few, "gender=M")["war"] > scores(stricter, "gender=M")["war"] > 0.5


def test_a_segment_of_49_leaves_no_trace(tmp_path: Path) -> None:
    dataset = world(men=100, women=49)
    nothing_known_of_women = Traits.of([dataset.events.traits.at(c) if c < 100 else () for c in range(149)])  # type: ignore[union-attr]
    fitted(dataset).save(tmp_path / "known")
    fitted(replace(dataset, events=replace(dataset.events, traits=nothing_known_of_women))).save(tmp_path / "unknown")
    for path in (tmp_path / "known").glob("*.npy"):
        assert path.read_bytes() == (tmp_path / "unknown" / path.name).read_bytes(), path.name
    assert fitted(dataset).columns is not None
    assert fitted(dataset).columns.names == ("gender=M",)  # type: ignore[union-attr]
    assert "gender=W" in fitted(world(men=100, women=50)).columns.names  # type: ignore[union-attr]


def test_customers_without_events_make_no_segment() -> None:
    dataset = world(men=49, women=60)
    known = dataset.events.traits
    assert known is not None
    silent = replace(
        dataset.events,
        indptr=np.append(dataset.events.indptr, dataset.events.indptr[-1]),
        traits=Traits.of([*(known.at(c) for c in range(109)), ["gender=M"]]),
    )
    assert fitted(replace(dataset, events=silent)).columns.names == ("gender=W",)  # type: ignore[union-attr]


def test_an_attribute_that_is_not_named_is_never_read() -> None:
    artefact = fitted(world())
    assert artefact.columns.names == ("gender=M", "gender=W")  # type: ignore[union-attr]
    assert scores(artefact, "shoe_size=41", "planet=Mars") == scores(artefact)
    assert fitted(world(), attributes={}).columns is None


def test_nothing_known_of_anybody_gives_popularity() -> None:
    for dataset in (world(known=False), replace(world(), events=replace(world().events, traits=None))):
        artefact = fitted(dataset)
        assert artefact.columns is None
        assert scores(artefact, "gender=M") == scores(artefact)


def test_a_liked_category_rises_and_a_refused_one_sinks_below_everything() -> None:
    artefact = fitted(with_genres(world()), attributes={})
    nothing, likes = scores(artefact), scores(artefact, "likes=Action > War")
    assert likes["war"] == pytest.approx(2 * nothing["war"])
    assert likes["drama"] == nothing["drama"]
    assert likes["western"] == nothing["western"]
    assert scores(artefact, "likes=Action")["western"] > nothing["western"]
    refuses = scores(artefact, "refuses=Drama")
    assert max(refuses["war"], refuses["drama"]) < min(nothing.values()) - 0.5
    assert refuses["western"] == nothing["western"]
    both = scores(artefact, "likes=Action", "refuses=Action > War")
    assert both["war"] < both["western"]
    assert scores(artefact, "likes=Cooking") == nothing


def liking(artefact: LinearItems, item: str, kind: Kind = Kind.LIKE) -> dict[str, float]:
    one = replace(
        History.empty(),
        item=np.array([artefact.item_ids.index(item)], np.int32),
        kind=np.array([kind], np.int8),
        value=np.array([np.nan], np.float32),
        time=np.array([np.nan]),
        position=np.array([-1], np.int64),
        channel=np.array([0], np.int8),
    )
    found = artefact.score(one, at=None, goal="new")
    values = found.base.values.copy()
    values[found.items] = found.values
    return dict(zip(artefact.item_ids, values.tolist(), strict=True))


def pairs(n: int) -> Dataset:
    """Tea goes with honey, coffee with milk; n customers each."""
    return dataset_of(
        [
            (f"{first}{person}", item, 1.0)
            for first, second in (("tea", "honey"), ("coffee", "milk"))
            for person in range(n)
            for item in (first, second)
        ],
        k_pair=5,
    )


def test_a_stated_item_raises_what_its_customers_chose_by_the_evidence_behind_it() -> None:
    few, many = fitted(pairs(8)), fitted(pairs(80))
    assert liking(many, "tea")["honey"] > liking(few, "tea")["honey"] > scores(few)["honey"]
    assert liking(many, "tea")["milk"] == scores(many)["milk"]
    assert liking(many, "tea", Kind.DISMISS)["honey"] < scores(many)["honey"]
    assert fitted(pairs(80), neighbours=0).similarity.nnz == 0


def test_the_shift_of_a_stated_item_is_that_of_its_formula() -> None:
    # 80 customers of tea, all of them of honey, whom half of everybody chose: (80 - 80 / 2) / (80 + 20).
    assert liking(fitted(pairs(80)), "tea")["honey"] == pytest.approx(0.5 + 0.4)


def test_a_pair_of_four_customers_tells_nothing() -> None:
    assert fitted(pairs(4)).similarity.nnz == 0


def test_large_worlds_find_the_same_tastes_as_small_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    rows = [
        (f"c{c:03}", f"i{i:02}", 1.0)
        for c in range(120)
        for i in range(30)
        if rng.random() < 0.1 + 0.3 * (i % 2 == c % 2)
    ]
    dataset = dataset_of(rows)
    dataset = replace(
        dataset, events=replace(dataset.events, traits=Traits.of([[f"gender={'MF'[c % 2]}"] for c in range(120)]))
    )
    small = scores(fitted(dataset, tastes=3), "gender=M")
    monkeypatch.setattr(cold_start, "SMALL", 5)
    assert scores(fitted(dataset, tastes=3), "gender=M") == pytest.approx(small, abs=1e-5)


@pytest.mark.parametrize(
    "rows",
    [
        [("a", "x", 1.0)],
        [("a", item, 1.0) for item in "xyz"],
        [(f"c{c}", item, 1.0) for c in range(60) for item in "xyz"],
        [(f"c{c}", "x", 1.0, Kind.RATING, 5.0) for c in range(60)],
        [("a", "x", 1.0, Kind.VIEW)],
    ],
    ids=["one event", "one customer of everything", "everybody of everything", "all ratings equal", "no choice"],
)
def test_degenerate_worlds_give_finite_scores(rows: list[Row]) -> None:
    dataset = dataset_of(rows)
    traits = Traits.of([["gender=M"]] * len(dataset.customers))
    artefact = fitted(replace(dataset, events=replace(dataset.events, traits=traits)), tastes=500)
    assert np.isfinite(list(scores(artefact, "gender=M").values())).all()


@pytest.mark.parametrize(
    "wrong",
    [{"shrinkage": 0}, {"shrinkage": float("nan")}, {"tastes": 0}, {"refuses": -1}, {"attributes": {"gender": 0}}],
)
def test_a_wrong_parameter_is_named(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        cold_start.Params.model_validate(wrong)
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        check_model(ModelConfig(algorithm="cold_start", params=wrong), Path("m.toml"))
