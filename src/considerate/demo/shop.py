"""The shop in the demo: it mints login tokens from its own session and calls the service."""

from datetime import UTC, datetime
from pathlib import Path

import httpx

from considerate.demo.stage import World
from considerate.demo.tour import Shop
from considerate.serving.development import development_key_path, mint_token, read_development_key
from considerate.settings.environment import Environment
from considerate.settings.service import ServiceConfig
from considerate.settings.toml import read_toml

SERVICE = Path("configs/service.toml")


def open_shop(environment: Environment, url: str, world: World) -> Shop:
    """Connect to the service at `url` with the installation's development key."""
    auth = read_toml(SERVICE, ServiceConfig).auth
    key = read_development_key(development_key_path(auth, environment.home))
    return Shop(
        client=httpx.Client(base_url=url, timeout=10),
        customer_token=lambda customer: mint_token(customer, ["me"], auth, key, at=datetime.now(UTC)),
        service_token=lambda: mint_token("orders", ["events:write"], auth, key, at=datetime.now(UTC)),
        titles=world.titles,
        bought=world.bought,
    )
