"""`considerate ledger`: showing that nobody changed the consents, and that the newest ones are still there."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(name="ledger", help="The consent ledger.", no_args_is_help=True)

Folder = Annotated[
    Path | None, typer.Option("--checkpoints", help="Folder of the checkpoints; the installation's own if not given.")
]


@app.command()
def checkpoint() -> None:
    """Sign the ledger's head and write it to checkpoints/SEQ.json; print it, so that somebody else can keep it."""
    from datetime import UTC, datetime

    from considerate.consent.checkpoints import take_checkpoint
    from considerate.settings.environment import read_environment
    from considerate.store.engine import open_store

    environment = read_environment()
    engine = open_store(environment.database_url, create=False)
    try:
        taken = take_checkpoint(
            engine, environment.home / "checkpoints", environment.home / "keys", at=datetime.now(UTC)
        )
    finally:
        engine.dispose()
    if taken is None:
        print("the ledger is empty; there is nothing to sign yet")
    else:
        print(f"checkpoint {taken.seq}: head {taken.head_hash}, signed {taken.time} with key {taken.key_id}")
        print((environment.home / "checkpoints" / f"{taken.seq}.json").read_text(), end="")


@app.command()
def verify(
    *,
    checkpoints: Folder = None,
    keys: Annotated[
        list[Path] | None, typer.Option("--key", help="Public key to believe instead of those in keys/; repeatable.")
    ] = None,
) -> None:
    """Check the chain from its first event and every checkpoint; exit code 2 with the first bad position if any is."""
    from time import perf_counter

    from considerate.consent.auditing import audit
    from considerate.errors import ConsentError
    from considerate.settings.environment import read_environment
    from considerate.store.engine import open_store, reading
    from considerate.store.signing import key_id_of, load_public_keys, read_public_key

    environment = read_environment()
    believed = {key_id_of(key): key for key in map(read_public_key, keys)} if keys else None
    engine = open_store(environment.database_url, create=False, read_only=True)
    started = perf_counter()
    try:
        with reading(engine) as conn:
            found = audit(
                conn,
                checkpoints or environment.home / "checkpoints",
                load_public_keys(environment.home / "keys") if believed is None else believed,
            )
    finally:
        engine.dispose()
    if found.problems:
        raise ConsentError("\n".join(found.problems))
    print(f"{found.head.seq:,} events, head {found.head.hash.hex()}: as recorded ({perf_counter() - started:.2f} s)")
    proved = f"up to event {found.newest:,}" if found.checkpoints else "take one: considerate ledger checkpoint"
    print(f"{found.checkpoints:,} checkpoints hold: {proved}")
    if found.without_file:
        missing = ", ".join(str(seq) for seq in found.without_file)
        print(f"without a file here: {missing}; their copies in the database hold")


@app.command()
def replay() -> None:
    """Write the state in force (consent_current) anew from the ledger, and say how many entries were wrong."""
    from considerate.consent.checkpoints import check_against_checkpoints
    from considerate.consent.ledger import head
    from considerate.consent.ledger import verify as first_bad
    from considerate.consent.projection import rebuild_projection
    from considerate.errors import ConsentError
    from considerate.privacy.rolled_back import check_not_rolled_back, read_what_is_outside
    from considerate.settings.environment import read_environment
    from considerate.store.engine import open_store, writing
    from considerate.store.signing import load_public_keys

    environment = read_environment()
    engine = open_store(environment.database_url, create=False)
    try:
        outside = read_what_is_outside(environment.home)
        with writing(engine) as conn:
            # First, as every later change of a customer would hide what was forgotten of her.
            check_not_rolled_back(conn, outside, environment.home / "keys")
            # What a changed ledger says must not become what is in force.
            check_against_checkpoints(
                conn, environment.home / "checkpoints", load_public_keys(environment.home / "keys")
            )
            bad = first_bad(conn)
            # Behind the end only a wrong projection can point: that is what is put right here.
            if bad is not None and bad <= head(conn).seq:
                raise ConsentError(
                    f"ledger position {bad}: not what was once appended; restore a backup before anything is replayed"
                )
            wrong = rebuild_projection(conn)
    finally:
        engine.dispose()
    print(f"{wrong:,} entries were wrong, missing or too many, and are right now" if wrong else "nothing was wrong")


@app.command("accept-loss")
def accept(
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Every consent ends, and every customer is asked again.")] = False,
) -> None:
    """Go on with a restored backup although the ledger once went further: what is lost may have been withdrawals."""
    from datetime import UTC, datetime

    from considerate.consent.checkpoints import take_checkpoint
    from considerate.consent.restoring import accept_loss
    from considerate.errors import ConsentError
    from considerate.privacy.rolled_back import check_taken_back
    from considerate.settings.environment import read_environment
    from considerate.store.engine import open_store
    from considerate.store.keys import load_keys

    if not yes:
        raise ConsentError(
            "accept-loss ends every consent in this store, since any of them may have been withdrawn in what is lost; "
            "restore a newer backup if there is one, else say: considerate ledger accept-loss --yes"
        )
    environment = read_environment()
    folder, at = environment.home / "checkpoints", datetime.now(UTC)
    engine = open_store(environment.database_url, create=False)
    try:
        # First, as every later change of a customer would hide what was forgotten of her.
        check_taken_back(engine, environment.home)
        loss = accept_loss(engine, load_keys(environment.home / "keys", create=False), folder, at=at)
        take_checkpoint(engine, folder, environment.home / "keys", at=at)
    finally:
        engine.dispose()
    if not loss.checkpoints:
        print("nothing is lost: the ledger agrees with every checkpoint; nothing was changed")
    else:
        aside = ", ".join(str(seq) for seq in loss.checkpoints)
        print(f"{loss.invalidated:,} consents ended; checkpoints set aside: {aside}")


@app.command("rotate-key")
def rotate() -> None:
    """Put a new signing key in place; what the old one signed stays verifiable by its public half."""
    from considerate.settings.environment import read_environment
    from considerate.store.signing import rotate_signing_key

    old, new = rotate_signing_key(read_environment().home / "keys")
    print(f"signing key {new.key_id} instead of {old.key_id}; a running service takes it up when it starts again")
