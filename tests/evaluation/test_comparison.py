"""Models side by side: differences customer by customer, costs as measured, pages that hold whatever a name holds."""

import html.parser
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console

from considerate.dataset.dataset import Dataset
from considerate.errors import ConfigError
from considerate.evaluation.comparison import (
    Comparison,
    Contender,
    artefact_mb,
    check_figure,
    compare,
    ms_per_request,
    totals,
)
from considerate.evaluation.comparison_page import as_html, as_json, as_markdown, write_pages
from considerate.evaluation.comparison_report import json_line, named, print_comparison
from considerate.evaluation.evaluate import evaluate
from considerate.evaluation.folds import Fold
from considerate.evaluation.preparation import Prepared
from considerate.evaluation.protocols import make_folds
from considerate.settings.data import DataConfig
from considerate.settings.protocols import TemporalProtocol

ODD = 'als <script>alert("x")</script> | $a_b$ & co'
# Everybody buys apples once and bread for ever; bob comes back for cider too.
ROWS = [(who, item, day) for who in ("ann", "bob", "cleo", "dan") for item, day in (("apple", 0.0), ("bread", 1.0))]
ROWS += [(who, "bread", 12.0) for who in ("ann", "bob", "cleo", "dan")]
ROWS += [("bob", "cider", 2.0), ("bob", "cider", 13.0), ("ann", "cider", 13.5), ("ann", "apple", 14.0)]


@pytest.fixture
def folds(world: Callable[..., Dataset]) -> tuple[Fold, ...]:
    protocol = TemporalProtocol(test_days=7, k=(1, 2), goals=("repeat", "new"))
    return make_folds(world(ROWS), protocol, final=True, rng=np.random.default_rng(0))


@pytest.fixture
def prepared(folds: tuple[Fold, ...], parrot: Callable[..., Any]) -> Prepared:
    data = DataConfig.model_validate(
        {
            "name": "corner_shop",
            "source": {"format": "csv", "path": "x", "columns": {"customer_id": "a", "item_id": "b"}},
        }
    )
    popularity = evaluate(parrot(["apple", "bread", "cider"]), folds[0])
    return Prepared(data, "weekly", folds[0].train, "digest", folds, popularity)


@pytest.fixture
def contender(folds: tuple[Fold, ...], parrot: Callable[..., Any]) -> Callable[..., Contender]:
    def build(name: str, *favourites: str) -> Contender:
        judged = evaluate(parrot(list(favourites)), folds[0])
        return Contender(name, judged, 1.5, 0.25, {"repeat": 0.1, "new": 0.2})

    return build


@pytest.fixture
def comparison(prepared: Prepared, contender: Callable[..., Contender]) -> Comparison:
    baseline, right, odd = (
        contender("popularity", "apple", "cider", "bread"),
        contender("bakery", "bread", "cider", "apple"),
        contender(ODD, "apple", "cider", "bread"),
    )
    return compare([baseline, right, odd], prepared, np.random.default_rng(0), figure="hit_rate_at_1")


def test_each_model_is_held_against_the_first_customer_by_customer(comparison: Comparison) -> None:
    repeat = {line.name: line for line in comparison.lines if line.goal == "repeat"}
    assert comparison.customers == {"repeat": 4, "new": 1}
    assert comparison.part == "test"
    assert repeat["popularity"].difference is None
    assert repeat["popularity"].value.mean == 0.25  # ann alone comes back for apples
    assert repeat["bakery"].value.mean == 1.0
    gain = repeat["bakery"].difference
    assert gain is not None
    assert gain.mean == 0.75
    assert gain.low <= gain.mean <= gain.high
    same = repeat[ODD].difference
    assert same is not None
    assert (same.mean, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_line_holds_coverage_novelty_costs_and_every_figure(comparison: Comparison) -> None:
    (line,) = [line for line in comparison.lines if (line.name, line.goal) == ("bakery", "new")]
    assert line.coverage == pytest.approx(1 / 3)  # cider alone is new to ann
    assert line.novelty > 0
    assert (line.fit_seconds, line.artefact_mb, line.ms_per_request) == (1.5, 0.25, 0.2)
    assert {"ndcg_at_1", "ndcg_at_2", "recall_at_2", "coverage_at_1", "gini_at_2"} <= line.figures.keys()


def test_totals_are_the_means_that_reports_give(folds: tuple[Fold, ...], parrot: Callable[..., Any]) -> None:
    judged = evaluate(parrot(["apple", "cider", "bread"]), folds[0])
    found = totals(judged)
    assert found["repeat/hit_rate_at_1"] == 0.25
    assert found["new/hit_rate_at_1"] == 1.0  # ann never had cider, and the list leaves out what she had
    assert found["repeat/coverage_at_1"] == pytest.approx(1 / 3)


def test_a_figure_that_is_none_is_named_with_those_there_are(prepared: Prepared) -> None:
    assert check_figure(None, prepared) == "ndcg_at_2"
    assert check_figure("recall_at_1", prepared) == "recall_at_1"
    with pytest.raises(ConfigError, match="--metric ndcg: not a figure of this protocol; name one of: ndcg_at_1"):
        check_figure("ndcg", prepared)


def test_a_request_takes_a_little_time_and_nobody_to_ask_takes_none(
    folds: tuple[Fold, ...], parrot: Callable[..., Any]
) -> None:
    artefact = parrot(["apple", "bread", "cider"])
    assert 0 < ms_per_request(artefact, folds[0]) < 1_000
    assert np.isnan(ms_per_request(artefact, replace(folds[0], targets=())))


def test_an_artefact_is_as_large_as_its_files() -> None:
    class Saved:
        def save(self, directory: Path) -> None:
            (directory / "parts").mkdir(parents=True)
            (directory / "parts" / "b.npy").write_bytes(bytes(3_000))
            (directory / "manifest.json").write_bytes(bytes(500))

    assert artefact_mb(Saved()) == 0.0035  # type: ignore[arg-type]  # all that is asked of it is to save


class Page(html.parser.HTMLParser):
    """What a browser would make of a page: tags, texts, ids and what pictures say."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.ids: list[str] = []
        self.labels: list[str] = []
        self.links: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        self.ids += [value for value in [found.get("id")] if value]
        self.links += [value for name in ("src", "href", "xlink:href") for value in [found.get(name)] if value]
        if tag == "svg":
            assert found["role"] == "img"
            self.labels.append(found["aria-label"] or "")

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_the_page_needs_nothing_beside_it_and_says_what_its_pictures_show(comparison: Comparison) -> None:
    page = Page(as_html(comparison))
    assert {"script", "img", "link", "iframe"} & set(page.tags) == set()
    assert all(link.startswith("#") for link in page.links)
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= set(page.ids)
    assert page.tags.count("svg") == len(page.labels) == 4
    assert any("bakery 1.0000" in label for label in page.labels)
    assert any("0.100 ms" in label for label in page.labels)


def test_a_name_stays_text_wherever_it_stands(comparison: Comparison) -> None:
    page = Page(as_html(comparison))
    assert "script" not in page.tags
    assert page.texts.count(ODD) >= 2  # its cell of each table
    assert any(ODD in label for label in page.labels)
    rows = [line for line in as_markdown(comparison).splitlines() if "alert" in line]
    assert all("\\|" in row and row.count("|") == 13 for row in rows)
    assert json.loads(as_json(comparison))["lines"][2]["name"] == ODD


def test_the_same_comparison_gives_the_same_page(comparison: Comparison) -> None:
    assert as_html(comparison) == as_html(comparison)


def test_pages_are_written_into_a_folder_that_may_be_new(comparison: Comparison, tmp_path: Path) -> None:
    paths = write_pages(comparison, tmp_path / "a" / "b")
    assert [path.name for path in paths] == ["comparison.md", "comparison.json", "comparison.html"]
    assert all(path.stat().st_size > 100 for path in paths)


def test_the_last_line_has_a_row_per_model_and_goal(comparison: Comparison) -> None:
    read = json.loads(json_line(comparison, run_id="r", page=Path("x.html")))
    assert len(read["rows"]) == 6
    row = read["rows"][1]
    assert (row["name"], row["model"], row["value"], row["baseline"]) == (
        "test/repeat/hit_rate_at_1",
        "bakery",
        1.0,
        0.25,
    )
    assert (row["gain"], row["ok"], row["reach"]) == (0.75, True, None)
    assert (read["ok"], read["run_id"], read["page"]) == (True, "r", "x.html")


def test_the_table_names_every_model_in_full_when_it_goes_to_a_file(comparison: Comparison) -> None:
    said = io.StringIO()
    print_comparison(Console(file=said, width=40), comparison)
    assert said.getvalue().count("bakery") == 2
    assert "+0.7500" in said.getvalue()


def test_models_are_called_by_their_files_and_come_once() -> None:
    assert list(named([Path("a/x.toml"), Path("a/y.toml"), Path("a/x.toml")])) == ["x", "y"]
