"""`considerate serve`: the service in the foreground."""

from pathlib import Path
from typing import Annotated

import typer

CONFIG = Path("configs/service.toml")


def serve(
    *,
    config: Annotated[Path, typer.Option("--config", help="The service TOML.")] = CONFIG,
    workers: Annotated[int | None, typer.Option("--workers", help="Processes that answer.")] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on.")] = None,
    database_url: Annotated[str | None, typer.Option("--database-url", help="SQLAlchemy URL of the store.")] = None,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value over the TOML.")] = None,
) -> None:
    """Serve suggestions until Ctrl-C: the workers, and the refresher that follows the champion."""
    from considerate.serving.supervisor import Service, log_to_stderr, prepare
    from considerate.settings.environment import read_environment
    from considerate.settings.service import ServiceConfig
    from considerate.settings.toml import read_toml

    options = {"workers": workers, "port": port, "host": None if host is None else f'"{host}"'}
    given = [f"{key}={value}" for key, value in options.items() if value is not None]
    settings = read_toml(config, ServiceConfig, [*(overrides or ()), *given])
    log_to_stderr()
    service = Service(prepare(settings, read_environment(), database_url=database_url))

    def ready(url: str) -> None:
        typer.echo(f"considerate answers at {url} with {settings.workers} workers; Ctrl-C stops it.")

    service.serve(ready)
    typer.echo("stopped.")
