"""`considerate consent`: bringing consents in."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

SERVICE_TOML = Path("configs/service.toml")

app = typer.Typer(name="consent", help="The consents of customers.", no_args_is_help=True)


@app.callback()
def consent() -> None:
    """Keep the name of the group although it has one command so far."""


@app.command("import")
def import_file(
    file: Annotated[
        Path, typer.Argument(help="CSV or Parquet: customer_id, purpose, state, event_time, notice_id ...")
    ],
    *,
    config: Annotated[
        Path, typer.Option("--config", help="The service TOML: whether the privacy signal is heeded strictly.")
    ] = SERVICE_TOML,
) -> None:
    """Record the consents that a shop already has, with their time and evidence; the same file again adds nothing.

    Columns: customer_id, purpose, state (given, refused, withdrawn), event_time (ISO 8601, UTC unless it says
    otherwise; a no of a day alone or without a zone counts at the latest moment it may mean), notice_id,
    notice_version; may have locale, age_band, jurisdiction. Any other column is evidence, and a record that says
    `given` needs some. Rows that cannot be recorded are written to quarantine/ with their reason.
    """
    from rich.console import Console
    from rich.table import Table

    from considerate.consent.decision import Policy
    from considerate.consent.importing import import_consents
    from considerate.consent.publishing import in_force, publish, read_versions
    from considerate.consent.restoring import lost_until
    from considerate.errors import ConsentError
    from considerate.privacy.kept_wishes import keep_minors
    from considerate.privacy.rolled_back import check_not_rolled_back, read_what_is_outside
    from considerate.settings.environment import read_environment
    from considerate.settings.service import PolicyConfig, ServiceConfig
    from considerate.settings.toml import read_toml
    from considerate.store.engine import open_store, reading, writing
    from considerate.store.keys import load_keys

    # A shop that runs without one in its usual place lives by the defaults; one that was named must be there.
    absent = config == SERVICE_TOML and not config.exists()
    shop = PolicyConfig() if absent else read_toml(config, ServiceConfig).policy
    environment, at = read_environment(), datetime.now(UTC)
    versions = read_versions(environment.home / "notices", at=at)
    engine = open_store(environment.database_url, create=True)
    try:
        keys = load_keys(environment.home / "keys", create=True)
        outside = read_what_is_outside(environment.home)
        with writing(engine) as conn:
            # First, as every later change of a customer would hide what was forgotten of her.
            check_not_rolled_back(conn, outside, environment.home / "keys")
            publish(conn, versions)
        quarantine = environment.home / "quarantine"
        policy = Policy(shop.unknown_age, shop.gpc_strict, in_force(versions))
        report = import_consents(
            file,
            engine,
            keys,
            at=at,
            quarantine=quarantine,
            policy=policy,
            lost_until=lost_until(environment.home / "checkpoints"),
        )
        with reading(engine) as conn:
            keep_minors(conn, environment.home, at=at)
    finally:
        engine.dispose()
    table = Table(title=f"{report.rows:,} consent records of {report.customers:,} customers", title_justify="left")
    table.add_column("what became of them")
    table.add_column("rows", justify="right")
    for state, rows in report.recorded.items():
        table.add_row(f"recorded: {state}", f"{rows:,}")
    table.add_row("already in the ledger", f"{report.repeated:,}")
    table.add_row("older than what the ledger knows", f"{report.older:,}")
    if report.erasing:
        table.add_row("of customers who are being erased", f"{report.erasing:,}")
    for rule, rows in report.rejected.items():
        table.add_row(f"left out: {rule}", f"{rows:,}")
    console = Console()
    console.print(table)
    if report.quarantine is not None:
        console.print(f"rows left out: {report.quarantine}")
    if report.rows and not (sum(report.recorded.values()) or report.repeated or report.older):
        raise ConsentError(
            f"{file}: all {report.rows:,} records are left out, each for the reason above; "
            "correct them and import again"
        )
    console.print(f"ledger: {report.head.seq:,} events, head {report.head.hash.hex()}", soft_wrap=True)
