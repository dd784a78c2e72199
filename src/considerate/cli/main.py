"""`considerate`: the operator's command line."""

import sys

import typer

from considerate.cli import consent, data, db, items, ledger, load, models, receipt, rights, serve, token
from considerate.errors import ConsiderateError

app = typer.Typer(
    name="considerate",
    help="Recommendations that ask first.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.command("load")(load.load)
app.add_typer(items.app, name="items")
app.add_typer(data.app, name="data")
app.add_typer(consent.app, name="consent")
app.add_typer(db.app, name="db")
app.add_typer(ledger.app, name="ledger")
app.add_typer(models.app, name="models")
app.add_typer(rights.app, name="rights")
app.add_typer(receipt.app, name="receipt")
app.command("serve")(serve.serve)
app.command("token")(token.token)


def main() -> None:
    """Run the command line: an error of ours is one message on standard error and exit code 2."""
    try:
        app()
    except ConsiderateError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
