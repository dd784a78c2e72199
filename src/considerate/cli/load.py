"""`considerate load`: read interactions and say what became of every row."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from datetime import datetime

    from considerate.interactions.columns import Interactions, LoadReport
    from considerate.interactions.loading import StoreLoadReport
    from considerate.settings.data import DataConfig
    from considerate.settings.environment import Environment

ConfigPath = Annotated[Path, typer.Argument(help="A data TOML, such as configs/complete_journey.toml.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value over the TOML: source.max_rejected=0.1; repeatable."),
]
DataFolder = Annotated[
    Path | None, typer.Option("--data", help="Folder that holds copies of data sets; looked in before all others.")
]


def load(
    config: ConfigPath,
    into_store: Annotated[bool, typer.Option("--into-store", help="Write the interactions into the store.")] = False,
    overrides: Overrides = None,
    data: DataFolder = None,
) -> None:
    """Read interactions, validate them and print what became of every row.

    Rows left out go to the quarantine (var/quarantine/NAME.parquet) with their reasons. With --into-store the others
    are written into the store, all or none; loading the same feed again adds nothing.
    """
    from considerate.interactions.reading import utc_now  # noqa: PLC0415 - the command line starts fast
    from considerate.settings.data import DataConfig  # noqa: PLC0415
    from considerate.settings.environment import read_environment  # noqa: PLC0415
    from considerate.settings.toml import read_toml  # noqa: PLC0415

    environment = environment_with(read_environment(), data)
    settings = read_toml(config, DataConfig, overrides or ())
    at = utc_now()
    interactions = _read(settings, environment, at)
    print_report(interactions.report)
    if into_store:
        _print_stored(_write(interactions, settings, environment, at), environment)


def environment_with(environment: "Environment", data: Path | None) -> "Environment":
    """Give the environment with `data` as the first place to look for data sets."""
    return environment if data is None else replace(environment, data=data)


def _read(settings: "DataConfig", environment: "Environment", at: "datetime") -> "Interactions":
    from considerate.interactions.reading import read_interactions  # noqa: PLC0415

    if settings.source.format == "store":
        from considerate.interactions.stored import read_stored  # noqa: PLC0415
        from considerate.store.engine import open_store  # noqa: PLC0415

        return read_stored(open_store(environment.database_url, create=False, read_only=True))
    return read_interactions(settings, environment, quarantine=environment.home / "quarantine", at=at)


def _write(
    interactions: "Interactions", settings: "DataConfig", environment: "Environment", at: "datetime"
) -> "StoreLoadReport":
    from considerate.errors import ConfigError  # noqa: PLC0415
    from considerate.interactions.catalogue import legal_age_bands, read_customers  # noqa: PLC0415
    from considerate.interactions.loading import load_into_store  # noqa: PLC0415
    from considerate.privacy.kept_wishes import keep_minors  # noqa: PLC0415
    from considerate.privacy.rolled_back import check_not_rolled_back, read_what_is_outside  # noqa: PLC0415
    from considerate.store.engine import open_store, reading  # noqa: PLC0415
    from considerate.store.keys import load_keys  # noqa: PLC0415

    if settings.source.format == "store":
        raise ConfigError("--into-store: the source is the store itself; leave the option out")
    bands = legal_age_bands(read_customers(settings, environment), at)
    engine = open_store(environment.database_url, create=True)
    try:
        keys = load_keys(environment.home / "keys", create=True)
        outside = read_what_is_outside(environment.home)
        with reading(engine) as conn:
            # First, as every later change of a customer would hide what was forgotten of her.
            check_not_rolled_back(conn, outside, environment.home / "keys")
        report = load_into_store(interactions, engine, keys, at=at, age_bands=bands)
        with reading(engine) as conn:
            keep_minors(conn, environment.home, at=at)
        return report
    finally:
        engine.dispose()


def print_report(report: "LoadReport") -> None:
    """Print a load report as a table of counts."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table(title=report.name, box=None, show_header=False, title_justify="left", padding=(0, 2, 0, 0))
    table.add_column()
    table.add_column(justify="right")
    table.add_row("rows read", f"{report.rows_read:,}")
    table.add_row("kept", f"{report.rows_kept:,}")
    table.add_row("set aside", f"{report.rows_set_aside:,}")
    for reason, count in report.set_aside.items():
        table.add_row(f"  {reason}", f"{count:,}")
    table.add_row("quarantined", f"{report.rows_quarantined:,}")
    for reason, count in report.quarantined.items():
        table.add_row(f"  {reason}", f"{count:,}")
    if report.returns_from_cancellations:
        table.add_row("returns from cancellations", f"{report.returns_from_cancellations:,}")
    table.add_row("customers", f"{report.customers:,}")
    table.add_row("items", f"{report.items:,}")
    if report.first is not None and report.last is not None:
        table.add_row("period", f"{report.first:%Y-%m-%d} to {report.last:%Y-%m-%d}")
    else:
        table.add_row("period", "none: the source has no time")
    table.add_row("peak memory", f"{report.peak_mb:,.0f} MB")
    table.add_row("seconds", f"{report.seconds:.1f}")
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    if report.quarantine is not None:
        console.print(f"Rows left out, with their reasons: {report.quarantine}")


def _print_stored(stored: "StoreLoadReport", environment: "Environment") -> None:
    from considerate.store.engine import public_url  # noqa: PLC0415

    print(
        f"{public_url(environment.database_url)}: {stored.inserted:,} interactions added, "
        f"{stored.already_there:,} were there already, {stored.customers:,} customers, {stored.seconds:.1f} s"
    )
