"""The tables `[protocol.<name>]`: what is committed is valid, what is wrong is named."""

from pathlib import Path
from typing import Any

import pytest

from considerate.errors import ConfigError
from considerate.settings.data import DataConfig
from considerate.settings.toml import read_toml, validate

CONFIGS = Path(__file__).parents[2] / "configs"
DATA_SETS = sorted(path for path in CONFIGS.glob("*.toml") if "[source]" in path.read_text(encoding="utf-8"))
EXPECTED = {
    "complete_journey": {"temporal_28d", "rolling_28d", "cold_items_28d", "consented_28d"},
    "uci_online_retail": {"temporal_28d"},
    "gowalla": {"fixed"},
    "ml_1m": {"last_out", "held_out", "held_out_all_ratings", "no_history"},
}


@pytest.mark.parametrize("path", DATA_SETS, ids=lambda path: path.stem)
def test_every_data_set_has_protocols_and_says_which_is_meant_without_a_name(path: Path) -> None:
    data = read_toml(path, DataConfig)
    assert data.protocol.keys() >= EXPECTED.get(path.stem, set())
    assert data.default_protocol in data.protocol


def test_the_people_held_out_without_history_are_those_held_out_with_one() -> None:
    tables = read_toml(CONFIGS / "ml_1m.toml", DataConfig).protocol
    drawn = [
        {key: value for key, value in tables[name].model_dump().items() if key not in ("history", "ratings")}
        for name in ("held_out", "held_out_all_ratings", "no_history")
    ]
    assert drawn[0] == drawn[1] == drawn[2]
    assert drawn[0]["seed"] == 0


def read(table: dict[str, Any]) -> DataConfig:
    source = {"format": "csv", "path": "x.csv", "columns": {"customer_id": "c", "item_id": "i"}}
    return validate(DataConfig, {"name": "shop", "source": source, "protocol": {"a": table}}, "shop.toml")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"kind": "sampled"}, "protocol -> a = .*'temporal', 'leave_last_out', 'held_out_customers', 'fixed'"),
        ({"kind": "temporal", "cuts": 0}, "cuts = 0; input should be greater than or equal to 1"),
        ({"kind": "leave_last_out", "test_days": 7}, "test_days is not a known key"),
        ({"kind": "held_out_customers", "held_out": 0}, "held_out = 0; .*greater than or equal to 1"),
        ({"kind": "held_out_customers", "history_share": 1.0}, "history_share = 1.0; .*less than 1"),
        ({"kind": "held_out_customers", "history": "some"}, "history = 'some'; input should be 'first' or 'none'"),
        ({"kind": "held_out_customers", "ratings": "low"}, "ratings = 'low'; input should be 'positive' or 'all'"),
        ({"kind": "held_out_customers", "min_rating": float("nan")}, "min_rating = nan; .*finite"),
        ({"kind": "held_out_customers", "seed": -1}, "seed = -1"),
        ({"kind": "fixed"}, "protocol -> a -> fixed -> test is missing; add it"),
        ({"kind": "fixed", "test": "t", "development_share": 1}, "development_share = 1; .*less than 1"),
        ({"kind": "cold_items", "goals": ["repeat"]}, "goals -> 0 = 'repeat'; input should be 'new'"),
        ({"kind": "consented", "training": 0}, "training = 0; .*greater than 0"),
        ({"kind": "consented", "personalisation": 1.5}, "personalisation = 1.5; .*less than 1"),
        ({"kind": "consented", "activity": float("inf")}, "activity = inf; .*finite"),
    ],
)
def test_a_wrong_protocol_names_the_key_the_value_and_the_rule(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(table)
