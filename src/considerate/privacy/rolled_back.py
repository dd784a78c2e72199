"""Telling a database that was rolled back: it lacks what this installation keeps outside of it.

Three files know what a backup does not: the ledger's newest signed head (`checkpoints/head.json`: withdrawals), the
tombstones of the erased, and the objections, restrictions and ages of minors.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, select

from considerate.consent.checkpoints import check_against
from considerate.consent.signed_heads import Checkpoint, signed_head
from considerate.privacy.kept_wishes import KeptWish, newest_held, read_wishes, refuse_unapplied_wishes
from considerate.privacy.tombstones import Tombstone, read_outside, refuse_unapplied
from considerate.store.engine import reading
from considerate.store.signing import load_public_keys
from considerate.store.statements import CHUNK
from considerate.store.tables import subject

Line = TypeVar("Line", Tombstone, KeptWish)

NEWEST = 500
"""Lines of each file that a look every few seconds compares: of people whom the database knows, the newest.

Lines are in the order of the acts, so an older database lacks the newest ones, but for those of people who became known
after it was made. They are no reason to refuse it, and must not hide a line of somebody whom it knows.
"""
MOST = 10_000
"""Lines of each file that such a look reads at most: what lies further back is found by a start, a fit or an import."""


@dataclass(frozen=True, slots=True)
class Outside:
    """What the files say; read before the database is, in which everything that they say must be found.

    Attributes
    ----------
    signed
        The newest signed head, None where nothing is signed.
    stones, wishes
        Oldest first.
    newest_only
        Only the newest lines are to be compared.
    """

    signed: Checkpoint | None
    stones: Sequence[Tombstone]
    wishes: Sequence[KeptWish]
    newest_only: bool = False

    def newest(self) -> "Outside":
        """Give what is compared in a look every few seconds: the newest lines of each file, see `NEWEST`."""
        return replace(self, newest_only=True)


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
        From `store.engine.reading` or `writing`, and not used since `outside` was read.
    outside
        From `read_what_is_outside`.
    keys_folder
        Of the installation: who may have signed.

    Raises
    ------
    StoreError, ConsentError
        It does; names what is missing and the next step.
    """
    stones, wishes = outside.stones, outside.wishes
    if outside.newest_only:
        stones = _of_people_here(conn, reversed(stones[-MOST:]))
        # Of the erased, none is missing: they must not hide a line of the living either.
        wishes = _of_people_here(conn, newest_held(wishes[-MOST:]), subject.c.state == "active")
    refuse_unapplied(conn, stones)
    refuse_unapplied_wishes(conn, wishes)
    if outside.signed is not None:
        check_against(conn, [outside.signed], load_public_keys(keys_folder))


def _of_people_here(conn: Connection, newest_first: Iterable[Line], *conditions: ColumnElement[bool]) -> list[Line]:
    """Give the first lines about people whom the database knows, at least `NEWEST` where there are so many."""
    lines, here = iter(newest_first), list[Line]()
    while len(here) < NEWEST and (part := list(islice(lines, CHUNK))):
        refs = {line.subject_ref for line in part}
        query = select(subject.c.subject_ref).where(subject.c.subject_ref.in_(refs), *conditions)
        known = set(conn.execute(query).scalars())
        here += [line for line in part if line.subject_ref in known]
    return here
