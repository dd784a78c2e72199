"""Telling a database that was rolled back: it lacks what this installation keeps outside of it.

Three files know what a backup does not: the ledger's newest signed head (`checkpoints/head.json`: withdrawals), the
tombstones of the erased, and the objections, restrictions and ages of minors.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine

from considerate.consent.checkpoints import check_against
from considerate.consent.signed_heads import Checkpoint, signed_head
from considerate.privacy.kept_wishes import KeptWish, read_wishes, refuse_unapplied_wishes
from considerate.privacy.tombstones import Tombstone, read_outside, refuse_unapplied
from considerate.store.engine import reading
from considerate.store.signing import load_public_keys

NEWEST = 500
"""A database that lacks any line of a file lacks one of its newest, as the lines are in the order of the acts."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What the files say; read before the database is, in which everything that they say must be found.

    Attributes
    ----------
    signed
        The newest signed head, None where nothing is signed.
    stones, wishes
        Oldest first.
    """

    signed: Checkpoint | None
    stones: Sequence[Tombstone]
    wishes: Sequence[KeptWish]

    def newest(self) -> "Outside":
        """Give the newest lines of each file."""
        return Outside(self.signed, self.stones[-NEWEST:], self.wishes[-NEWEST:])


def read_what_is_outside(home: Path) -> Outside:
    """Read the files; those that did not change are not read again.

    Raises
    ------
    StoreError, ConsentError
        One cannot be read as what it is.
    """
    return Outside(signed_head(home / "checkpoints"), read_outside(home), read_wishes(home))


def check_taken_back(engine: Engine, home: Path) -> None:
    """Refuse a database in which erased people are back, or objections, restrictions or ages are forgotten.

    The ledger's head is not looked at: `consent.checkpoints.take_checkpoint` does.

    Raises
    ------
    StoreError
        It is so; names how many and the command that puts it right.
    """
    stones, wishes = read_outside(home), read_wishes(home)
    with reading(engine) as conn:
        refuse_unapplied(conn, stones)
        refuse_unapplied_wishes(conn, wishes)


def check_not_rolled_back(conn: Connection, outside: Outside, keys_folder: Path) -> None:
    """Refuse a database that lacks anything of `outside`.

    Parameters
    ----------
    conn
        From `store.engine.reading`, and not used since `outside` was read.
    outside
        From `read_what_is_outside`.
    keys_folder
        Of the installation: who may have signed.

    Raises
    ------
    StoreError, ConsentError
        It does; names what is missing and the next step.
    """
    refuse_unapplied(conn, outside.stones)
    refuse_unapplied_wishes(conn, outside.wishes)
    if outside.signed is not None:
        check_against(conn, [outside.signed], load_public_keys(keys_folder))
