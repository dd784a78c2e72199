"""`considerate items`: the catalogue."""

from typing import Annotated

import typer

from considerate.cli.load import ConfigPath, DataFolder, Overrides, environment_with

app = typer.Typer(help="The catalogue: what the shop sells.", no_args_is_help=True)


@app.callback()
def items() -> None:
    """Keep `import` a subcommand, though it is the only one."""


@app.command("import")
def import_(
    config: ConfigPath,
    overrides: Overrides = None,
    data: DataFolder = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and report, write nothing.")] = False,
) -> None:
    """Read the table `items` of a data TOML into the store: new items are added, changed ones replaced, others stay."""
    from considerate.errors import ConfigError  # noqa: PLC0415 - the command line starts fast
    from considerate.interactions.catalogue import read_items_report  # noqa: PLC0415
    from considerate.settings.data import DataConfig  # noqa: PLC0415
    from considerate.settings.environment import read_environment  # noqa: PLC0415
    from considerate.settings.toml import read_toml  # noqa: PLC0415
    from considerate.store.catalogue import upsert_items  # noqa: PLC0415
    from considerate.store.engine import open_store, public_url, writing  # noqa: PLC0415

    environment = environment_with(read_environment(), data)
    settings = read_toml(config, DataConfig, overrides or ())
    if settings.items is None:
        raise ConfigError(f"{config}: items is missing; add the table [items] with path and columns")
    catalogue, report = read_items_report(settings, environment)
    print(f"{report.rows_read:,} rows read, {report.items:,} items, {report.without_id:,} rows without a usable id")
    for column, count in report.not_understood.items():
        print(f"{column}: {count:,} values not understood, items kept without them")
    if dry_run:
        return
    engine = open_store(environment.database_url, create=True)
    try:
        with writing(engine) as conn:
            changed = upsert_items(conn, catalogue)
    finally:
        engine.dispose()
    same = len(catalogue) - changed
    print(f"{public_url(environment.database_url)}: {changed:,} items added or changed, {same:,} were the same")
