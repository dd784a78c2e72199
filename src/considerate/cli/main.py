"""`considerate`: the operator's command line."""

import sys

import typer

from considerate.errors import ConsiderateError

app = typer.Typer(
    name="considerate",
    help="Recommendations that ask first.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command line: an error of ours is one message on standard error and exit code 2."""
    try:
        app()
    except ConsiderateError as error:
        print(error, file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
