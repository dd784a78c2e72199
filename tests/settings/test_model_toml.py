"""The model TOML: what a search space may say, and that a file written is the file read."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from considerate.errors import ConfigError
from considerate.settings.model import Between, ModelConfig, OneOf
from considerate.settings.toml import read_toml, validate
from considerate.settings.writing import toml_text


def model(search: str) -> ModelConfig:
    return validate(ModelConfig, tomllib.loads(f'algorithm = "als"\n{search}'), "als.toml")


def test_a_search_space_is_typed_and_its_keys_are_dotted_however_they_are_written() -> None:
    found = model(
        "[search]\nfactors = { low = 8, high = 64, log = true }\n"
        "weighting.half_life_days = { low = 7, high = 365.0, optional = true }\n"
        '"weights.new.als" = { choices = [0.5, 1.0] }\n'
        '[search.weighting.repeats]\nchoices = ["sum", "log"]\n'
    ).search
    assert found == {
        "factors": Between(low=8, high=64, log=True),
        "weighting.half_life_days": Between(low=7, high=365.0, optional=True),
        "weighting.repeats": OneOf(choices=("sum", "log")),
        "weights.new.als": OneOf(choices=(0.5, 1.0)),
    }


@pytest.mark.parametrize(
    ("low", "high", "step", "whole"),
    [
        ("8", "64", "", True),
        ("8", "64.0", "", False),
        ("0", "4", ", step = 2", True),
        ("0", "4", ", step = 0.5", False),
    ],
)
def test_numbers_are_whole_where_every_number_given_is(low: str, high: str, step: str, whole: bool) -> None:
    space = model(f"[search]\nfactors = {{ low = {low}, high = {high}{step} }}").search["factors"]
    assert isinstance(space, Between)
    assert space.whole is whole


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ("{ low = 8 }", "search -> factors -> between -> high is missing; add it"),
        ("{}", "search -> factors -> between -> low is missing; add it"),
        ("3", "search -> factors -> between = 3"),
        ("{ low = 8, high = 8 }", "low = 8 must be below high = 8"),
        ("{ low = 0, high = 8, log = true }", "low = 0 must be > 0 where log = true"),
        ("{ low = 1, high = 8, log = true, step = 1 }", "step = 1 must be > 0, and cannot go with log = true"),
        ("{ low = 1, high = 8, step = 0 }", "step = 0 must be > 0"),
        ("{ low = 1, high = nan }", "input should be a finite number"),
        ("{ low = true, high = 8 }", "search -> factors -> between -> low"),
        ("{ low = 1, high = 8, base = 2 }", "search -> factors -> between -> base is not a known key"),
        ("{ choices = [64] }", "choices = [64] must hold at least two different values, each once"),
        ("{ choices = [64, 64, 8] }", "must hold at least two different values, each once"),
        ("{ choices = [] , optional = true }", "must hold at least two different values, each once"),
        ("{ choices = [[1], [2]] }", "search -> factors -> one_of -> choices -> 0"),
    ],
)
def test_a_wrong_space_is_named_with_its_rule(space: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        model(f"[search]\nfactors = {space}")
    assert message in str(error.value)


def test_one_choice_is_enough_beside_leaving_the_key_out() -> None:
    assert model("[search]\nfactors = { choices = [64], optional = true }").search["factors"].optional


plain = st.one_of(st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False), st.text(max_size=8))
values: st.SearchStrategy[Any] = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3)
)


@given(st.dictionaries(st.text(max_size=6), values, max_size=5), st.lists(st.text("abc. ", max_size=9), max_size=2))
def test_what_is_written_reads_back(table: dict[str, Any], comment: list[str]) -> None:
    assert tomllib.loads(toml_text(table, comment)) == table


def test_a_model_written_is_the_model_read(tmp_path: Path) -> None:
    written = ModelConfig(
        algorithm="blend",
        params={"weights": {"new": {"als": 1.0, "a b": 1e-7}, "repeat": {"als": 0.5}}, "half_life": None},
        components={"als": "als.toml"},
        search={"weights.new.als": Between(low=0.1, high=10.0, log=True), "kind": OneOf(choices=("a", True, 3))},
        seed=7,
    )
    path = tmp_path / "blend.mine.toml"
    path.write_text(toml_text(written.model_dump(mode="json", exclude_defaults=True), ["Tuned."]), encoding="utf-8")
    expected = written.model_copy(update={"params": {"weights": written.params["weights"]}})
    assert read_toml(path, ModelConfig) == expected
