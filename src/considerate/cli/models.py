"""`considerate models`: what is registered, and which version is served."""

from typing import Annotated

import typer

app = typer.Typer(name="models", help="Registered models.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The registered model: the name of the data TOML it was trained on.")]


@app.command(name="list")
def list_(name: Name) -> None:
    """List the versions of a model, newest first; the champion is marked."""
    from considerate.errors import TrackingError
    from considerate.settings.environment import read_environment
    from considerate.tracking.registry import champion, versions

    environment = read_environment()
    served = champion(environment, name=name)
    found = versions(environment, name=name)
    if not found:
        raise TrackingError(f"{name}: no version is registered; train one with pipelines/train.py ... --register")
    for version in found:
        mark = "  champion" if version == served else ""
        print(f"{version.label}  run {version.run_id}{mark}")


@app.command(name="promote")
def promote_(name: Name, version: Annotated[int, typer.Argument(help="Its version, such as 3.")]) -> None:
    """Make a version the champion: what the service answers from, within seconds. An older version rolls back."""
    from considerate.settings.environment import read_environment
    from considerate.tracking.registry import promote

    promoted = promote(read_environment(), name=name, version=version)
    print(f"{promoted.label} is the champion; a service follows it with: considerate serve --set model.name={name}")
