"""Bringing the schema up to date; the only module that imports alembic."""

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection


def upgrade_schema(conn: Connection, revision: str = "head") -> None:
    """Upgrade the schema inside the caller's transaction; nothing is done where it is up to date."""
    command.upgrade(_config(conn), revision)


def _config(conn: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", "considerate.store:migrations")
    config.attributes["connection"] = conn
    return config
