"""The commands that load: a report, or one message and exit code 2, and nothing half-written."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from small_sources import HEADER

from considerate.cli.main import main

ROWS = "anna,soup,2026-01-05T10:00:00,2,1\notto,bread,2026-01-06,1,2\n,bread,2026-01-07,1,3\n"
TOML = """
name = "shop"
[source]
format = "csv"
path = "orders.csv"
max_rejected = 0.5
[source.columns]
customer_id = "customer"
item_id = "item"
timestamp = "time"
order_line = "line"
[items]
format = "csv"
path = "orders.csv"
columns = { item_id = "item" }
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """Give a working directory with a feed and its TOML."""
    (tmp_path / "orders.csv").write_text(HEADER + ROWS, encoding="utf-8")
    (tmp_path / "shop.toml").write_text(TOML, encoding="utf-8")
    return tmp_path


Considerate = Callable[..., tuple[int, str, str]]


@pytest.fixture
def considerate(shop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Considerate:
    """Give the command line, run in the shop's folder: arguments in, exit code, output and errors out."""
    monkeypatch.chdir(shop)
    monkeypatch.setenv("CONSIDERATE_HOME", str(shop / "var"))
    monkeypatch.setenv("CONSIDERATE_DATA", str(shop))

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["considerate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        return int(ended.value.code or 0), printed.out, printed.err

    return run


def test_load_prints_what_became_of_every_row(considerate: Considerate) -> None:
    code, out, err = considerate("load", "shop.toml", "--into-store")
    assert (code, err) == (0, "")
    words = " ".join(out.split())
    for said in ("rows read 3", "kept 2", "quarantined 1", "customer_id_missing 1", "customers 2", "items 2"):
        assert said in words
    assert "period 2026-01-05 to 2026-01-06" in words
    assert "2 interactions added, 0 were there already" in words
    assert "anna" not in out
    again = considerate("load", "shop.toml", "--into-store")
    assert "0 interactions added, 2 were there already" in again[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("load", "none.toml"), "none.toml: no such file"),
        (("load", "shop.toml", "--set", "source.path=none.csv"), "none.csv: no such file"),
        (("load", "shop.toml", "--set", "source.max_rejected=0.1"), "1 of 3 rows are bad (33.3%)"),
        (("load", "shop.toml", "--set", "source.colour=1"), "source -> colour is not a known key"),
        (("load", "shop.toml", "--set", "source.columns.item_id=sku"), "no column 'sku'"),
        (("items", "import", "shop.toml", "--set", "items.path=none.csv"), "none.csv: no such file"),
        (("data", "inspect", "none.csv"), "none.csv: no such file"),
        (("data", "inspect", "orders.csv", "--out", "shop.toml"), "--out shop.toml: exists"),
    ],
)
def test_what_is_wrong_is_one_message_and_exit_code_2(
    shop: Path, considerate: Considerate, arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = considerate(*arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err
    assert not (shop / "var" / "considerate.db").exists()
    assert not list(shop.rglob("*.part"))


def test_an_age_that_is_not_understood_is_told_before_anything_is_written(shop: Path, considerate: Considerate) -> None:
    (shop / "people.csv").write_text("id,born\nanna,2012-05-03\n", encoding="utf-8")
    columns = (
        '[customers]\nformat = "csv"\npath = "people.csv"\ncolumns = { customer_id = "id", birth_year = "born" }\n'
    )
    (shop / "shop.toml").write_text(TOML + columns, encoding="utf-8")
    code, _, err = considerate("load", "shop.toml", "--into-store")
    assert code == 2
    assert "customers.columns.birth_year: '2012-05-03' (1), customers concerned: 1; must be a year" in " ".join(
        err.split()
    )
    assert "anna" not in err
    assert not (shop / "var" / "considerate.db").exists()
    (shop / "people.csv").write_text("id,born\nanna,2012\n", encoding="utf-8")
    assert considerate("load", "shop.toml", "--into-store")[0] == 0


def test_items_are_imported_once(considerate: Considerate) -> None:
    assert "2 items added or changed" in considerate("items", "import", "shop.toml")[1]
    assert "0 items added or changed, 2 were the same" in considerate("items", "import", "shop.toml")[1]


def test_an_inspected_file_loads(considerate: Considerate) -> None:
    assert considerate("data", "inspect", "orders.csv", "--out", "guess.toml")[0] == 0
    code, out, _ = considerate("load", "guess.toml", "--set", "source.max_rejected=0.5")
    assert code == 0
    assert "kept" in out


def test_data_lists_the_public_sets_and_where_they_are_looked_for(shop: Path, considerate: Considerate) -> None:
    code, out, _ = considerate("data")
    assert code == 0
    for name in ("complete_journey", "uci_online_retail", "ml_100k", "ml_1m", "gowalla"):
        assert name in out
    assert f"{{data}} is looked for in: {shop}, data" in out
    assert "ml_1m: not complete" in out


def test_the_command_line_starts_without_heavy_libraries() -> None:
    probe = (
        "import sys, considerate.cli.main;"
        "print([m for m in ('pandas', 'duckdb', 'pyarrow', 'mlflow', 'sqlalchemy', 'implicit') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
