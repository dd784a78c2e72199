"""What comes next: worlds whose next item is known, and the regression by brute force."""

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError
from worlds import Row, dataset_of

from considerate.dataset.dataset import Dataset
from considerate.errors import DataError
from considerate.evaluation.cuts_by_customer import leave_last_out
from considerate.ranking.blend_items import Blend
from considerate.ranking.history import Kind
from considerate.ranking.linear_items import LinearItems
from considerate.ranking.scores import Artefact
from considerate.ranking.top_n import top_n
from considerate.ranking.weighting import as_histories
from considerate.recommenders import als, item_knn, next_item, popularity
from considerate.recommenders.next_item import Params, Window
from considerate.settings.protocols import LeaveLastOutProtocol

NAN = float("nan")

RECENT = {"recent": Window(half_life_events=1.0, regularization=1.0)}
TWO = {**RECENT, "long": Window(half_life_events=None, regularization=2.0)}


def fitted(dataset: Dataset, **params: object) -> Artefact:
    return next_item.fit(dataset, Params.model_validate({"windows": RECENT, **params}), np.random.default_rng(0))


def walks(paths: list[str], *, copies: int = 6) -> list[Row]:
    """Each path is walked by so many customers, a letter a day."""
    walked = [path for path in paths for _ in range(copies)]
    return [(f"walker-{n:03}", item, float(day)) for n, path in enumerate(walked) for day, item in enumerate(path)]


def best(artefact: Artefact, dataset: Dataset, path: str, n: int = 1) -> str:
    """The items suggested after a path, without those on it."""
    history = dataset_of(walks([path], copies=1))
    known = {id_: i for i, id_ in enumerate(artefact.item_ids)}
    one = history.events.reindexed(np.array([known[id_] for id_ in history.items.ids], np.int32))[0]
    found = top_n(artefact.score(one, at=None, goal="new"), n, exclude=one.item)
    return "".join(artefact.item_ids[i] for i in found.tolist())


@pytest.mark.parametrize("windows", [RECENT, TWO])
def test_what_follows_is_suggested_and_not_what_came_before(windows: dict[str, Window]) -> None:
    dataset = dataset_of(walks(["abcde", "bcdea", "cdeab"]))
    artefact = fitted(dataset, windows=windows)
    assert [best(artefact, dataset, path) for path in ("a", "ab", "bc", "cd")] == ["b", "c", "d", "e"]


def test_the_order_alone_decides_where_the_items_are_the_same() -> None:
    dataset = dataset_of(walks(["abx", "bay"]))
    artefact = fitted(dataset)
    assert (best(artefact, dataset, "ab"), best(artefact, dataset, "ba")) == ("x", "y")


def test_a_longer_window_remembers_what_a_short_one_has_forgotten() -> None:
    dataset = dataset_of(walks(["a" + "pqrstuvw" + "x", "b" + "pqrstuvw" + "y"]))
    short, long = fitted(dataset), fitted(dataset, windows=TWO)
    scores = [artefact.score_many(dataset.events, at=None, goal="new") for artefact in (short, long)]
    x, y = dataset.items.index("x"), dataset.items.index("y")
    gap = [float(np.abs(part[:, x] - part[:, y]).min()) for part in scores]
    assert gap[1] > 10 * gap[0]


def test_further_targets_rank_what_comes_later() -> None:
    dataset = dataset_of(walks(["abc", "abx", "abc"]))
    near, far = fitted(dataset), fitted(dataset, target_half_life_events=2.0)
    assert best(far, dataset, "a", 2) == "bc"
    weight = [artefact.similarity[0, dataset.items.index("c")] for artefact in (near, far)]  # type: ignore[attr-defined]
    assert weight[1] > weight[0]


@pytest.mark.parametrize("target_half_life", [0.0, 1.5])
@pytest.mark.parametrize("customer_exponent", [0.0, 0.5])
def test_the_weights_are_the_ridge_regression_written_out(target_half_life: float, customer_exponent: float) -> None:
    rng = np.random.default_rng(3)
    kinds = [Kind.PURCHASE, Kind.VIEW, Kind.DISMISS, Kind.RATING]
    rows: list[Row] = []
    for customer in range(9):
        for day in range(int(rng.integers(1, 9))):
            kind, item = kinds[int(rng.integers(4))], f"i{rng.integers(5)}"
            value = float(rng.integers(1, 6)) if kind == Kind.RATING else NAN
            rows.append((f"c{customer}", item, float(day), kind, value))
    dataset = dataset_of(rows)
    params = Params(
        windows=TWO,
        target_half_life_events=target_half_life,
        customer_exponent=customer_exponent,
        rating_slope=0.5,
        min_rating=2.0,
    )
    chosen = np.arange(len(dataset.items))
    found = next_item.weights_of(dataset.events, chosen, len(chosen), params)
    np.testing.assert_allclose(found, written_out(dataset, params), atol=2e-5)


def written_out(dataset: Dataset, params: Params) -> np.ndarray:
    """Solve the regression with one row per moment."""
    events, n = dataset.events, len(dataset.items)
    half_lives = [window.half_life_events for window in params.windows.values()]
    decays = [1.0 if half_life is None else 0.5 ** (1 / half_life) for half_life in half_lives]
    ahead = 0.5 ** (1 / params.target_half_life_events) if params.target_half_life_events else 0.0
    sources, targets, counts = [], [], []
    for customer in range(len(events)):
        history = events[customer]
        rated = history.kind == Kind.RATING
        mean = history.value[rated].mean() if rated.any() else 0.0
        weight = np.array([params.kinds.get(Kind(kind).name.lower(), 0.0) for kind in history.kind])  # type: ignore[call-overload]
        weight[rated] = (1 + 0.5 * (history.value[rated] - mean)) * (history.value[rated] >= 2)
        wanted = np.where(np.isin(history.kind, (Kind.PURCHASE, Kind.RATING)), np.maximum(weight, 0), 0)
        moments = [t for t in range(len(history) - 1) if wanted[t + 1] > 0]
        for t in moments:
            s, y = np.zeros((len(decays), n)), np.zeros(n)
            for event in range(t + 1):
                s[:, history.item[event]] += weight[event] * np.power(decays, t - event)
            for event in range(t + 1, len(history)):
                y[history.item[event]] += wanted[event] * ahead ** (event - t - 1)
            sources.append(s.ravel())
            targets.append(y)
            counts.append(len(moments) ** -params.customer_exponent)
    x, y, rows = np.array(sources), np.array(targets), np.array(counts) / np.mean(counts)
    ridge = np.repeat([window.regularization for window in params.windows.values()], n)
    return np.linalg.solve(x.T @ (rows[:, None] * x) + np.diag(ridge), x.T @ (rows[:, None] * y))


def test_one_window_is_a_linear_model_and_several_are_a_blend_of_them() -> None:
    dataset = dataset_of(walks(["abcde", "acbed"]))
    one, two = fitted(dataset), fitted(dataset, windows=TWO)
    assert isinstance(one, LinearItems)
    assert isinstance(two, Blend)
    total = np.zeros((len(dataset.customers), len(dataset.items)), np.float32)
    for part in two.components.values():
        total += part.score_many(dataset.events, at=None, goal="new")
    np.testing.assert_allclose(two.score_many(dataset.events, at=None, goal="new"), total, atol=1e-6)


def test_dividing_by_popularity_leaves_what_few_chose_ahead() -> None:
    dataset = dataset_of(
        walks(["ab"], copies=9) + [(f"other-{i}", item, float(d)) for i in range(4) for d, item in enumerate("ac")]
    )
    plain, scaled = fitted(dataset), fitted(dataset, popularity_exponent=1.0)
    assert best(plain, dataset, "a") == "b"
    b, c = dataset.items.index("b"), dataset.items.index("c")
    assert scaled.similarity[0, b] == pytest.approx(plain.similarity[0, b] / 9)  # type: ignore[attr-defined]
    assert scaled.similarity[0, c] == pytest.approx(plain.similarity[0, c] / 4)  # type: ignore[attr-defined]


def test_what_is_dismissed_or_disliked_is_never_foretold_and_lowers_what_follows_it() -> None:
    rows = walks(["abc"])
    for n in range(8):
        rows += [(f"hater-{n}", "a", 0.0), (f"hater-{n}", "z", 1.0, Kind.DISMISS), (f"hater-{n}", "b", 2.0)]
        rows += [(f"rater-{n}", "a", 0.0, Kind.RATING, 5.0), (f"rater-{n}", "y", 1.0, Kind.RATING, 1.0)]
        rows += [(f"rater-{n}", "b", 2.0, Kind.RATING, 5.0)]
    dataset = dataset_of(rows)
    artefact = fitted(dataset, rating_slope=0.5)
    assert isinstance(artefact, LinearItems)
    for disliked in ("y", "z"):
        assert artefact.similarity[:, [dataset.items.index(disliked)]].toarray().max() <= 0
    one = dataset.events[dataset.customers.index("walker-000")].take(np.arange(2))
    refused = replace(one, kind=np.array([Kind.PURCHASE, Kind.DISMISS], np.int8))
    c = dataset.items.index("c")
    liked, lowered = (
        artefact.score_many(as_histories(history), at=None, goal="new")[0, c] for history in (one, refused)
    )
    assert lowered < liked


@pytest.mark.parametrize("algorithm", ["als", "item_knn", "next_item", "popularity"])
def test_a_film_that_everybody_hates_is_no_film_that_many_saw(algorithm: str) -> None:
    rows: list[Row] = []
    for n in range(20):
        for day, (film, rating) in enumerate([("a", 5.0), ("b", 5.0), ("hated", 1.0), ("liked", 5.0)]):
            if film != "liked" or n % 2:
                rows.append((f"c{n:02}", film, float(day), Kind.RATING, rating))
    dataset = dataset_of(rows)
    match algorithm:
        case "als":
            artefact: Artefact = als.fit(dataset, als.Params(factors=1), np.random.default_rng(0))
        case "item_knn":
            artefact = item_knn.fit(dataset, item_knn.Params(), np.random.default_rng(0))
        case "next_item":
            artefact = fitted(dataset, rating_slope=0.5)
        case _:
            artefact = popularity.fit(dataset, popularity.Params(), np.random.default_rng(0))
    newcomer = dataset.events[0].take(np.arange(2))
    scores = artefact.score_many(as_histories(newcomer), at=dataset.end, goal="new")[0]
    assert scores[dataset.items.index("hated")] < scores[dataset.items.index("liked")]


def test_what_a_customer_does_after_the_moment_of_asking_does_not_help() -> None:
    rows = walks(["abcde", "bcdea", "cdeab"])
    planted = [*rows, *((f"walker-{n:03}", "secret", 9.0 + n % 2) for n in range(18))]
    planted += [(f"walker-{n:03}", "a", 20.0) for n in range(18)]
    protocol = LeaveLastOutProtocol(kind="leave_last_out")
    arrays = []
    for world in (rows, [row for row in planted if row[2] < 9.0]):
        cut = leave_last_out(dataset_of(world), protocol, final=True)
        arrays.append(fitted(cut.train).similarity.toarray())  # type: ignore[attr-defined]
    assert np.array_equal(*arrays)
    cut = leave_last_out(dataset_of(planted), protocol, final=False)
    train = cut.train.restricted_to(np.array([id_ != "secret" for id_ in cut.train.items.ids]))
    assert (cut.train.events.item != cut.train.items.index("secret")).all()
    whole = fitted(dataset_of(rows)).similarity.toarray()  # type: ignore[attr-defined]
    np.testing.assert_array_equal(fitted(train).similarity.toarray(), whole)  # type: ignore[attr-defined]


def test_events_without_any_order_are_refused() -> None:
    dataset = dataset_of([("a", "x", NAN), ("a", "y", NAN), ("b", "x", 1.0)])
    with pytest.raises(
        DataError, match=r"2 of 3 events have no time and 3 no position.*map timestamp or position.*ease"
    ):
        fitted(dataset)


def test_positions_are_order_enough() -> None:
    dataset = dataset_of([("a", "x", NAN), ("a", "y", NAN)] * 5)
    events = replace(dataset.events, position=np.arange(dataset.events.n_events, dtype=np.int64))
    assert np.isfinite(fitted(replace(dataset, events=events)).base.values).all()


def test_too_many_items_are_refused_and_the_way_out_is_named() -> None:
    dataset = dataset_of(walks(["abcde"]))
    with pytest.raises(DataError, match=r"5 items of >= min_customers = 1 .* 2 windows make 10 columns.*graph_filter"):
        fitted(dataset, windows=TWO, max_columns=9)
    assert best(fitted(dataset, windows=TWO, max_columns=10), dataset, "a") == "b"


def test_a_ridge_of_nothing_is_refused() -> None:
    # Nobody buys before having seen both a and b: no moment tells them apart.
    seen: list[Row] = [(f"c{n}", item, 0.0, Kind.VIEW) for n in range(9) for item in "ab"]
    dataset = dataset_of([*seen, *((f"c{n}", "x", 1.0, Kind.PURCHASE) for n in range(9))])
    params = Params(windows={"w": Window(regularization=1e-30)})
    with pytest.raises(DataError, match=r"regularization = 1e-30 leaves the matrix of 3 columns singular.*larger"):
        next_item.weights_of(dataset.events, np.arange(3), 3, params)


@pytest.mark.parametrize(
    "wrong",
    [
        {"windows": {}},
        {"windows": {"../elsewhere": {}}},
        {"windows": {"w": {"half_life_events": 0}}},
        {"windows": {"w": {"regularization": NAN}}},
        {"windows": {"w": {"regularization": -1.0}}},
        {"popularity_exponent": 2},
        {"kinds": {"purchase": NAN}},
        {"rating_slope": float("inf")},
    ],
)
def test_parameters_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Params.model_validate(wrong)


def test_one_item_and_customers_of_one_event_give_an_answer() -> None:
    for rows in ([("a", "x", 1.0), ("a", "x", 2.0)], [("a", "x", 1.0), ("b", "y", 1.0)]):
        artefact = fitted(dataset_of(rows), windows=TWO)
        assert np.isfinite(artefact.score_many(dataset_of(rows).events, at=None, goal="new")).all()


def test_all_ratings_equal_weigh_one() -> None:
    rated = [(c, i, d, Kind.RATING, 3.0) for c, i, d in walks(["abcde"])]  # type: ignore[misc]
    plain, equal = fitted(dataset_of(walks(["abcde"]))), fitted(dataset_of(rated), rating_slope=0.7)
    np.testing.assert_allclose(plain.similarity.toarray(), equal.similarity.toarray())  # type: ignore[attr-defined]
