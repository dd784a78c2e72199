"""A small shop whose customers have habits, as a CSV file, and a way to run a pipeline on it like a reader would."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import train

ROOT = Path(__file__).parents[2]
CANARY = "canary-customer-"

DATA_TOML = """
name = "corner_shop"

[source]
format = "csv"
path = "{csv}"

[source.columns]
customer_id = "who"
item_id = "what"
timestamp = "when"

[source.values]
kind = "purchase"

[consent]
source = "assumed"
k_item = 2
k_pair = 2

[protocol.weekly]
kind = "temporal"
test_days = 7
min_customers = 2
k = [5]
"""


@dataclass(frozen=True)
class Shop:
    """Where the small shop's files are.

    Attributes
    ----------
    data
        The data TOML.
    model
        A model TOML.
    home
        CONSIDERATE_HOME of the run.
    """

    data: Path
    model: Path
    home: Path


def purchases() -> str:
    """Ten tastes of four products each; everybody buys mostly her own taste, again and again."""
    rng = np.random.default_rng(11)
    start = datetime(2026, 1, 5, 8, tzinfo=UTC)
    lines = ["who,what,when"]
    for customer in range(60):
        taste = customer % 10
        for _ in range(40):
            own = rng.random() < 0.9
            product = 4 * taste + rng.integers(4) if own else rng.integers(40)
            when = start + timedelta(minutes=int(rng.integers(60 * 24 * 60)))
            lines.append(f"{CANARY}{customer:03},product-{product:02},{when:%Y-%m-%d %H:%M:%S}")
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="session")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corner shop") / "purchases.csv"
    path.write_text(purchases())
    return path


@pytest.fixture(scope="session")
def tracked_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home whose tracking database is laid out already: MLflow takes seconds for that."""
    from considerate.settings.environment import Environment
    from considerate.tracking.client import mlflow_client

    home = tmp_path_factory.mktemp("home")
    with mlflow_client(Environment(home=home, data=None)):
        pass
    return home


@pytest.fixture
def shop(tmp_path: Path, csv: Path, tracked_home: Path) -> Shop:
    data, model, home = tmp_path / "corner_shop.toml", tmp_path / "buyers.toml", tmp_path / "home"
    data.write_text(DATA_TOML.format(csv=csv))
    model.write_text('algorithm = "popularity"\n')
    shutil.copytree(tracked_home, home)
    return Shop(data, model, home)


def command(shop: Shop, model: Path | None = None) -> list[str]:
    return [sys.executable, "-W", "error", "pipelines/train.py", str(model or shop.model), str(shop.data)]


def environment(shop: Shop) -> dict[str, str]:
    return {**os.environ, "CONSIDERATE_HOME": str(shop.home)}


@pytest.fixture
def run() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run train.py to its end."""

    def train(shop: Shop, *options: str, model: Path | None = None) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*command(shop, model), *options],
            cwd=ROOT,
            env=environment(shop),
            capture_output=True,
            text=True,
            check=False,
        )

    return train


@pytest.fixture
def start() -> Callable[[Shop, int], "subprocess.Popen[str]"]:
    """Start train.py with its messages on the given file descriptor."""

    def train(shop: Shop, messages: int) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command(shop), cwd=ROOT, env=environment(shop), stdout=subprocess.PIPE, stderr=messages, text=True
        )

    return train


@pytest.fixture
def invoke() -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run the same command within this process, which spares the seconds of its imports."""
    app = typer.Typer()
    app.command()(train.main)

    def invoke(shop: Shop, *options: str, model: Path | None = None) -> "subprocess.CompletedProcess[str]":
        arguments = [str(model or shop.model), str(shop.data), *options]
        done = CliRunner().invoke(app, arguments, env={"CONSIDERATE_HOME": str(shop.home)})
        assert isinstance(done.exception, SystemExit | None), repr(done.exception)
        return subprocess.CompletedProcess(arguments, done.exit_code, done.stdout, done.stderr)

    return invoke
