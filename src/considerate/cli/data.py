"""`considerate data`: the public data sets, and a first mapping for a file of one's own."""

from pathlib import Path
from typing import Annotated

import typer

from considerate.cli.load import DataFolder, environment_with

app = typer.Typer(help="Public data sets, and files of your own.", invoke_without_command=True)


@app.callback()
def data(context: typer.Context, folder: DataFolder = None) -> None:
    """List the public data sets: what each is, who offers it on what terms, and whether it is at hand."""
    if context.invoked_subcommand is not None:
        return
    from considerate.interactions.public_sets import PUBLIC_SETS, copy_at_hand  # noqa: PLC0415 - starts fast
    from considerate.settings.environment import read_environment  # noqa: PLC0415

    environment = environment_with(read_environment(), folder)
    for public_set in PUBLIC_SETS:
        copy = copy_at_hand(public_set, environment)
        state = f"complete, in {copy.found}" if copy.complete else "not complete"
        print(f"{public_set.name}: {state}")
        print(f"  what     {public_set.what}")
        print(f"  offered  {public_set.offered}")
        print(f"  terms    {public_set.terms}")
        print(f"  config   configs/{public_set.name}.toml")
        for path in public_set.files:
            print(f"  file     {path}")
        for problem in copy.problems:
            print(f"  problem  {problem}")
    folders = ", ".join(str(place) for place in environment.data_folders)
    print(f"{{data}} is looked for in: {folders} (--data, CONSIDERATE_DATA, then data/)")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="A CSV or Parquet file of interactions.")],
    out: Annotated[Path | None, typer.Option("--out", help="Write the TOML here instead of printing it.")] = None,
) -> None:
    """Guess how a file maps to interactions, and write the data TOML to correct."""
    from considerate.errors import ConfigError  # noqa: PLC0415 - the command line starts fast
    from considerate.interactions.inspecting import inspect_file  # noqa: PLC0415
    from considerate.settings.environment import read_environment  # noqa: PLC0415

    guess = inspect_file(file, read_environment(), name=None if out is None else out.name)
    if out is None:
        print(guess.toml, end="")
        return
    try:
        with out.open("x", encoding="utf-8") as target:
            target.write(guess.toml)
    except FileExistsError as error:
        raise ConfigError(f"--out {out}: exists; choose another name, or remove it first") from error
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written: {error.strerror}; choose another folder") from error
    missing = f"; fill in {' and '.join(guess.missing)}" if guess.missing else ""
    print(f"{out}: a guess from {guess.rows:,} rows{missing}. Correct it, then run: considerate load {out}")
