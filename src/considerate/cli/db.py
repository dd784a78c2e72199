"""`considerate db`: the store itself."""

import typer

app = typer.Typer(name="db", help="The database.", no_args_is_help=True)


@app.callback()
def db() -> None:
    """Keep the name of the group although it has one command so far."""


@app.command()
def upgrade() -> None:
    """Create the database and its keys, or bring an older schema up to date; does nothing where all is current."""
    from considerate.settings.environment import read_environment
    from considerate.store.engine import REVISIONS, open_store
    from considerate.store.keys import load_keys

    environment = read_environment()
    open_store(environment.database_url, create=True).dispose()
    keys = load_keys(environment.home / "keys", create=True)
    print(f"{environment.database_url}: schema {REVISIONS[-1]}, master key {keys.fingerprint}")
