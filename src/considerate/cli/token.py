"""`considerate token`: login tokens on a development machine."""

from pathlib import Path
from typing import Annotated

import typer

CONFIG = Path("configs/service.toml")


def token(
    *,
    customer: Annotated[
        str | None, typer.Option("--customer", help="The customer's id in the shop, or the name of a calling service.")
    ] = None,
    scopes: Annotated[
        list[str] | None,
        typer.Option("--scope", help="What it opens: me (unless said otherwise), or a service scope: events:write ..."),
    ] = None,
    create_key: Annotated[
        bool, typer.Option("--create-key", help="Create the development key if there is none.")
    ] = False,
    minutes: Annotated[float, typer.Option("--minutes", min=0.1, help="How long the token holds.")] = 15,
    config: Annotated[Path, typer.Option("--config", help="The service TOML.")] = CONFIG,
    overrides: Annotated[list[str] | None, typer.Option("--set", help="key=value over the TOML.")] = None,
) -> None:
    """Print a login token signed with the development key; refused unless `auth.development_key` is set.

    In production the shop mints tokens from its own session, and this command has nothing to sign with.
    """
    from datetime import UTC, datetime

    from considerate.errors import ConfigError
    from considerate.serving.development import (
        create_development_key,
        development_key_path,
        mint_token,
        read_development_key,
    )
    from considerate.serving.tokens import Scope, jwks_beside
    from considerate.settings.environment import read_environment
    from considerate.settings.service import ServiceConfig
    from considerate.settings.toml import read_toml

    auth = read_toml(config, ServiceConfig, overrides or ()).auth
    path = development_key_path(auth, read_environment().home)
    if create_key:
        made = create_development_key(path)
        typer.echo(f"{path}: {'created' if made else 'is there already'}; public half in {jwks_beside(path)}", err=True)
    if customer is None:
        if create_key:
            return
        raise ConfigError("--customer is missing; name whom the token is for: considerate token --customer ID")
    if not customer.strip():
        raise ConfigError(
            f"--customer {customer!r} is empty; name whom the token is for: considerate token --customer ID"
        )
    if 60 * minutes > auth.max_token_seconds:
        raise ConfigError(
            f"--minutes {minutes:g}: here a token holds for {auth.max_token_seconds / 60:g} minutes at most; ask for "
            "less, or raise [auth] max_token_seconds"
        )
    wanted = scopes or [Scope.ME.value]
    for scope in wanted:
        if scope not in list(Scope):
            raise ConfigError(f"--scope {scope}: must be one of {', '.join(Scope)}")
    now, key = datetime.now(UTC), read_development_key(path)
    # Whoever may use the development key has just logged in as the customer.
    typer.echo(mint_token(customer, wanted, auth, key, at=now, seconds=60 * minutes, logged_in_at=now))
