from pathlib import Path

import pytest

from considerate.errors import ConfigError
from considerate.settings.data import DataConfig
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml, read_values

DATA = """
name = "shop"
[source]
format = "csv"
path = "orders.csv"
[source.columns]
customer_id = "customer"
item_id = "article"
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "file.toml"
    path.write_text(text)
    return path


def message_of(path: Path, model: type[DataConfig] | type[ModelConfig], *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_toml(path, model, overrides)
    return str(caught.value).replace(str(path), "file.toml")


def test_a_complete_file_is_read_and_frozen(tmp_path: Path) -> None:
    data = read_toml(written(tmp_path, DATA), DataConfig)
    assert (data.name, data.source.path, data.consent.source) == ("shop", "orders.csv", "ledger")
    with pytest.raises(ValueError, match="frozen"):
        data.name = "other"  # type: ignore[misc]  # that it cannot be assigned is the claim


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            DATA + "[consnet]\nsource = 'ledger'",
            "file.toml: consnet is not a known key; remove it or correct its spelling",
        ),
        ("name = 'shop'", "file.toml: source is missing; add it"),
        (DATA + "[consent]\nk_item = 'ten'", "file.toml: consent -> k_item = 'ten'; input should be a valid integer"),
        (DATA + "[consent]\nk_item = 4", "k_item and k_pair must be >= 5 where consent comes from the ledger"),
        (
            DATA + "[protocol.none]\nkind = 'fixed'\ntest = 'x'",
            "protocol.none: `--protocol none` means to judge none",
        ),
        (DATA + "[protocol.weekly]\ntest_days = 7", "file.toml: protocol -> weekly -> kind is missing; add it"),
        ("name = ", "file.toml: not valid TOML"),
    ],
)
def test_a_wrong_file_is_named_with_key_value_and_rule(tmp_path: Path, text: str, message: str) -> None:
    assert message in message_of(written(tmp_path, text), DataConfig)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    assert "file.toml: no such file; check the path" in message_of(tmp_path / "file.toml", DataConfig)


def test_a_folder_in_place_of_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file.toml").mkdir()
    assert "file.toml: cannot be read: Is a directory" in message_of(tmp_path / "file.toml", DataConfig)


def test_overrides_are_toml_values_with_dotted_keys_over_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, 'algorithm = "als"\n[params]\nfactors = 8')
    model = read_toml(path, ModelConfig, ["params.factors=64", "params.kind=plain", "seed=3"])
    assert model.params == {"factors": 64, "kind": "plain"}
    assert model.seed == 3


def test_an_override_without_a_value_takes_the_key_out(tmp_path: Path) -> None:
    path = written(tmp_path, 'algorithm = "popularity"\n[params]\nhalf_life_days = 28')
    assert read_toml(path, ModelConfig, ["params.half_life_days="]).params == {}
    assert read_toml(path, ModelConfig, ["params.never_there="]).params == {"half_life_days": 28}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("params.factors", "--set params.factors: must be key=value, such as params.factors=64"),
        ("algorithm.name=als", "--set algorithm.name=als: algorithm is a single value, not a table"),
    ],
)
def test_a_wrong_override_is_named(tmp_path: Path, override: str, message: str) -> None:
    path = written(tmp_path, 'algorithm = "als"')
    with pytest.raises(ConfigError) as caught:
        read_values(path, [override])
    assert message in str(caught.value)
