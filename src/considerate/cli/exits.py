"""How a command ends: 0 when it did what it says, 2 on an error one can put right, 130 on Ctrl-C."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from considerate.errors import ConsiderateError


@contextmanager
def clear_exits() -> Iterator[None]:
    """Turn an error of ours into its message on standard error and exit code 2, and Ctrl-C into code 130."""
    try:
        yield
    except ConsiderateError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    except KeyboardInterrupt:
        print("stopped; nothing half-written was left behind", file=sys.stderr)
        raise typer.Exit(130) from None
