"""What the service asks of the store: who is this, what do they allow, what did they do.

What adds something takes `once`, a request that its sender may repeat: it raises AnsweredBefore or KeyReused.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol, TypeVar

from sqlalchemy import Connection

from considerate.consent.decision import Policy, SubjectFacts
from considerate.consent.events import Recorded
from considerate.consent.notices import NoticeShown
from considerate.consent.purposes import Purpose
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Channel, History
from considerate.store.answers import Once
from considerate.store.interactions import NewEvent

T = TypeVar("T")

Status = Literal["stored", "duplicate", "not_recorded"]


@dataclass(frozen=True, slots=True)
class Standing:
    """A customer as the store knows them now.

    Attributes
    ----------
    subject_ref
        The person's random reference, None for a customer the store has never met.
    facts
        What a decision looks at.
    consent_epoch
        Rises with every change of what is allowed.
    """

    subject_ref: bytes | None
    facts: SubjectFacts
    consent_epoch: int


class Customers(Protocol):
    """Consent, history and events. Every method but `catalogue` raises StoreError where the store cannot answer."""

    def standing(self, customer_id: str) -> Standing:
        """Read who this is and what they allow, from the authority, now."""

    def history(
        self, standing: Standing, index: Mapping[str, int], channels: Collection[Channel], *, order_lines: bool = False
    ) -> History:
        """Read what they did, with order lines where evidence is wanted; only after consent was found."""

    def catalogue(self) -> Catalogue | None:
        """Give the catalogue as of now, or as last read; None where it never could be read."""

    def version_of(self, catalogue: Catalogue | None) -> int | None:
        """Give the version of a catalogue that `catalogue` gave; None where it is another one's."""

    def record_own(
        self,
        customer_id: str,
        events: Sequence[NewEvent],
        allows: Callable[[SubjectFacts], bool],
        *,
        at: datetime,
        once: Once[list[Status]] | None = None,
    ) -> list[Status] | None:
        """Store events of one customer if `allows` says so of what holds at the moment of writing; else None."""

    def record(
        self, events: Sequence[tuple[str, NewEvent]], *, at: datetime, once: Once[list[Status]] | None = None
    ) -> list[Status]:
        """Store events of many customers, by customer id; of someone who is being erased, none."""

    def remember_gpc(self, customer_id: str, standing: Standing, *, at: datetime) -> None:
        """Note against the account that one of its devices sends a Global Privacy Control signal.

        `standing` is the caller as read for the request: one whom the store has never met becomes known with it.
        """

    def grant(
        self,
        customer_id: str,
        purpose: Purpose,
        shown: NoticeShown,
        policy: Policy,
        *,
        at: datetime,
        gpc: bool = False,
        once: Once[Recorded] | None = None,
    ) -> Recorded:
        """Record a yes; `gpc` if it came with a Global Privacy Control signal."""

    def withdraw(self, customer_id: str, purposes: Sequence[Purpose], *, at: datetime) -> list[Recorded] | None:
        """Record the end of a yes, or that there never was one; None for a customer the store is forgetting."""

    def change_catalogue(self, change: Callable[[Connection], T]) -> T:
        """Change the catalogue in one transaction; the next list sees it."""
