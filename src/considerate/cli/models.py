"""`considerate models`: what is registered, and which version is served."""

from pathlib import Path
from typing import Annotated

import typer

PROMOTION = Path("configs/promotion.toml")

app = typer.Typer(name="models", help="Registered models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The registered model: the name of the data TOML it was trained on.")]


@app.command(name="list")
def list_(name: Name) -> None:
    """List the versions of a model, newest first; the champion is marked, and by when a fit must follow it."""
    from datetime import UTC, datetime

    from considerate.errors import TrackingError
    from considerate.settings.environment import read_environment
    from considerate.tracking.promotion import next_fit_due
    from considerate.tracking.registry import champion, versions

    environment = read_environment()
    served = champion(environment, name=name)
    found = versions(environment, name=name)
    if not found:
        raise TrackingError(f"{name}: no version is registered; train one with pipelines/train.py ... --register")
    for version in found:
        mark = "  champion" if version == served else ""
        print(f"{version.label}  run {version.run_id}{mark}")
    if (due := next_fit_due(environment, name=name)) is not None:
        late = " (overdue)" if due < datetime.now(UTC) else ""
        print(f"some in the champion have withdrawn: a fit without them is due by {due:%Y-%m-%d %H:%M} UTC{late}")


@app.command(name="promote")
def promote_(
    name: Name,
    version: Annotated[int, typer.Argument(help="Its version, such as 3.")],
    *,
    despite_withdrawals: Annotated[
        bool, typer.Option("--despite-withdrawals", help="Although customers withdrew since its fit.")
    ] = False,
    config: Annotated[Path, typer.Option("--config", help="The promotion TOML.")] = PROMOTION,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value over the TOML.")] = None,
) -> None:
    """Make a version the champion: what the service answers from, within seconds. An older version rolls back.

    The ledger is asked once more: a version fitted on somebody who has since asked for erasure, objected, had use
    restricted or may be a minor is refused, and so is one with plain withdrawals unless the option is given.
    """
    from datetime import UTC, datetime
    from functools import partial

    from considerate.privacy.before_fit import check_store
    from considerate.settings.environment import read_environment
    from considerate.settings.promotion import PromotionConfig
    from considerate.settings.toml import read_toml
    from considerate.tracking.promotion import promote

    environment = read_environment()
    promoted = promote(
        environment,
        name=name,
        version=version,
        at=datetime.now(UTC),
        rules=read_toml(config, PromotionConfig, overrides or ()).promotion,
        despite_withdrawals=despite_withdrawals,
        check=partial(check_store, environment),
    )
    if promoted.next_fit_due is not None:
        print(
            f"{promoted.since_fit.withdrawn} of those it learnt from withdrew since; "
            f"a fit without them is due by {promoted.next_fit_due:%Y-%m-%d %H:%M} UTC"
        )
    if promoted.rebuild_due:
        print(f"{promoted.rebuild_due} erasures still wait for a fit of another model in use")
    print(f"{promoted.label} is the champion; a service follows it with: considerate serve --set model.name={name}")
