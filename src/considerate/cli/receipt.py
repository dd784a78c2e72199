"""`considerate receipt`: checking what a customer holds in her hands."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="receipt", help="Consent receipts.", no_args_is_help=True)


@app.callback()
def receipt() -> None:
    """Keep the name of the group although it has one command."""


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="A receipt as GET /v1/me/receipts/{id} gave it.")],
    *,
    keys: Annotated[
        list[Path] | None, typer.Option("--key", help="Public key of the shop (ledger.pub); repeatable.")
    ] = None,
) -> None:
    """Check a receipt, every byte of it; needs no store. Exit code 2 if it was changed."""
    from considerate.consent.receipts import verify_receipt
    from considerate.errors import DataError
    from considerate.settings.environment import read_environment
    from considerate.store.signing import key_id_of, load_public_keys, read_public_key

    try:
        content = file.read_bytes()
    except OSError as error:
        raise DataError(f"{file}: cannot be read: {error.strerror}; check the path") from error
    if keys:
        believed = {key_id_of(key): key for key in map(read_public_key, keys)}
    else:
        believed = dict(load_public_keys(read_environment().home / "keys"))
    found = verify_receipt(content, believed)
    notice = found["privacy_notice"]
    print(f"receipt {found['receipt_id']}: as issued")
    print(
        f"{found['purpose']['id']} {found['event_state']} on {found['event_time']}, {notice['id']} {notice['version']}"
    )
    print(f"ledger event {found['ledger']['seq']}, hash {found['ledger']['hash']}")
