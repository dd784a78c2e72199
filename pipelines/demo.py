"""From a year of real purchases to consent-checked suggestions, in one command: `make demo`.

Everything it writes lies in `var/demo`, which each run makes anew.
"""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from considerate.cli.exits import clear_exits
from considerate.demo.comparison import best, print_comparison
from considerate.demo.processes import free_port, mlflow_ui, service, stop_on_sigterm, wait_for_ctrl_c
from considerate.demo.shop import open_shop
from considerate.demo.stage import build_world, empty_home
from considerate.demo.tour import say_addresses, walk, wide_console
from considerate.evaluation.preparation import prepare
from considerate.evaluation.report import steps
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment, read_environment
from considerate.settings.model import ModelConfig
from considerate.settings.promotion import PromotionRules
from considerate.settings.toml import read_toml
from considerate.tracking.promotion import promote
from train import train

SOURCE, SHOP = Path("configs/complete_journey.toml"), Path("configs/demo.toml")
MODELS = tuple(Path(f"models/{name}.toml") for name in ("popularity", "item_knn", "als", "blend"))


def main(
    *,
    once: Annotated[bool, typer.Option("--once", help="End after the tour.")] = False,
    port: Annotated[int, typer.Option(help="Of the service; the next free one where it is taken.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Of the MLflow UI; likewise.")] = 5000,
) -> None:
    """Load, train, promote, serve, and walk through it over HTTP."""
    screen, at = wide_console(), datetime.now(UTC)
    with clear_exits(), empty_home(read_environment().home / "demo") as home:
        environment = Environment(home=home, data=read_environment().data)
        port = free_port(port, screen)
        mlflow_port = free_port(mlflow_port, screen, besides=port)
        screen.print("Loading, training and the tour take one to two minutes.")
        screen.rule("A year of purchases, and who agreed to what")
        world = build_world(read_toml(SOURCE, DataConfig), environment, screen, at=at)
        screen.rule("Four models, trained on those who allow it")
        with steps(Console(stderr=True), "reading the store", total=4 * len(MODELS) + 1) as say:
            prepared = prepare(SHOP, environment, None, final=False, at=at)
            trained = [
                train(read_toml(path, ModelConfig), path, prepared, environment, register=True, say=say)
                for path in MODELS
            ]
        print_comparison(prepared, MODELS, trained, screen)
        champion = best(trained)
        # Nobody outside compares the lists of a demo.
        rules = PromotionRules(min_publish_hours=0)
        promote(environment, name=champion.name, version=champion.version, at=datetime.now(UTC), rules=rules)
        screen.print(f"[bold]{champion.label}[/bold] is promoted: the service follows the alias `champion`.")
        with service(home, port, SHOP) as url, mlflow_ui(environment, mlflow_port) as mlflow_url:
            walk(open_shop(environment, url, world), world.cast, screen)
            took = datetime.now(UTC) - at
            screen.rule(f"Done in {took / timedelta(seconds=1):.0f} s")
            if once:
                screen.print("Service and MLflow are stopped now. To keep them running: make demo")
            else:
                say_addresses(home, url, mlflow_url, world.cast, screen)
                wait_for_ctrl_c()


if __name__ == "__main__":
    stop_on_sigterm()
    typer.run(main)
