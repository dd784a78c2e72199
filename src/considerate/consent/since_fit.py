"""What has changed since a fit for those it learnt from: what a promotion asks before a model may be served."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import Connection, select

from considerate.consent.checkpoints import head_at
from considerate.consent.decision import Policy, Reason, SubjectFacts, age_allowed
from considerate.consent.notices import Notice
from considerate.consent.snapshot import Person, Standing, digest_of, people_at
from considerate.errors import ConsentError
from considerate.store.keys import Keys
from considerate.store.tables import consent_event, subject

Change = Literal["withdrawn", "erased", "objected", "restricted", "minor", "other"]


@dataclass(frozen=True, slots=True)
class FitBasis:
    """On which position of the ledger a fit rests, as the tags of its run say.

    Attributes
    ----------
    seq, head
        Last event that counted, and its hash in hex.
    at
        The moment for which consent was judged.
    policy
        Of the shop, then, with the notices in force.
    digest
        Keyed digest of who might be learnt from.
    """

    seq: int
    head: str
    at: datetime
    policy: Policy
    digest: str


@dataclass(frozen=True, slots=True)
class SinceFit:
    """How many of those a fit might learn from stand differently now; each counts once, the gravest first.

    Attributes
    ----------
    erased, objected, restricted, minor
        Who asked for erasure, objects, has use restricted, or may be a minor by now. Those whom the fit left out for
        their age may be counted here too.
    other
        Whose grant does not hold any longer for another reason, such as a notice that has changed.
    withdrawn
        Who plainly withdrew training, or what widens it, or whose grant has run out.
    recalled
        Whether the set of people the fit rests on can be computed anew. Where it cannot, somebody's age, or the lifting
        of an objection or a restriction, has changed it since.
    """

    erased: int = 0
    objected: int = 0
    restricted: int = 0
    minor: int = 0
    other: int = 0
    withdrawn: int = 0
    recalled: bool = True

    @property
    def plain(self) -> bool:
        """Whether nothing but plain withdrawals speaks against the fit."""
        return self.recalled and not (self.erased or self.objected or self.restricted or self.minor or self.other)

    @property
    def fresh(self) -> bool:
        """Whether nothing speaks against it."""
        return self.plain and not self.withdrawn

    def __str__(self) -> str:
        """Counts of people, without those that are zero."""
        counted = {
            "erased": self.erased,
            "objecting": self.objected,
            "restricted": self.restricted,
            "not of age, or of unknown age": self.minor,
            "with another ground gone": self.other,
            "withdrawn": self.withdrawn,
        }
        said = ", ".join(f"{n} {what}" for what, n in counted.items() if n)
        return said or ("none" if self.recalled else "an age, an objection or a restriction was corrected")


@dataclass(frozen=True, slots=True)
class Judgement:
    """How those a fit might learn from stand at one moment, and what was read to say so.

    To judge everybody takes seconds where customers are many. `judge_again` brings a judgement up to date by looking
    at those alone whom something has happened to since.

    Attributes
    ----------
    basis
        What the fit rests on.
    at, policy
        The moment, and the shop's policy at it.
    then
        How everybody in the ledger at the fit stood at it, by subject reference.
    changes
        Those a fit might learn from who stand differently now.
    recalled
        As in `SinceFit`.
    seq, epochs
        Last event of the ledger, and everybody's consent epoch, when this was judged.
    """

    basis: FitBasis
    at: datetime
    policy: Policy
    then: Mapping[bytes, Standing]
    changes: Mapping[bytes, Change]
    recalled: bool
    seq: int
    epochs: Mapping[bytes, int]

    @property
    def since(self) -> SinceFit:
        """The changes, counted."""
        counts = Counter(self.changes.values())
        return SinceFit(
            erased=counts["erased"],
            objected=counts["objected"],
            restricted=counts["restricted"],
            minor=counts["minor"],
            other=counts["other"],
            withdrawn=counts["withdrawn"],
            recalled=self.recalled,
        )

    @property
    def erased(self) -> frozenset[bytes]:
        """References of those who were erased since the fit."""
        return frozenset(reference for reference, change in self.changes.items() if change == "erased")


def judge(
    conn: Connection, keys: Keys, basis: FitBasis, *, at: datetime, notices: Mapping[str, Notice] | None = None
) -> Judgement:
    """Hold everybody's standing now against that at a fit.

    Parameters
    ----------
    conn
        From `store.engine.reading`: it takes too long to hold up whoever writes.
    keys
        Of this installation.
    basis
        What the fit rests on.
    at
        Now.
    notices
        In force now; those of the fit if None.

    Raises
    ------
    ConsentError
        The fit rests on another ledger than that of this store, or on a part that is missing.
    """
    found = head_at(conn, basis.seq).hash.hex()
    if found != basis.head:
        raise ConsentError(
            f"ledger position {basis.seq}: its hash is {found[:12]} here and {basis.head[:12]} in the run; the model "
            "was fitted on another ledger, or this one was changed: check it with considerate ledger verify"
        )
    policy = basis.policy if notices is None else replace(basis.policy, notices=notices)
    seq, epochs = head_at(conn, None).seq, _epochs(conn)
    people = people_at(conn, basis.seq, basis.at, basis.policy, recalled=True)
    recalled = digest_of(people, keys) == basis.digest
    then = {reference: person.standing for reference, person in people.items()}
    now = people_at(conn, seq, at, policy)
    return Judgement(basis, at, policy, then, _changes(then, now, basis, recalled=recalled), recalled, seq, epochs)


def judge_again(conn: Connection, judgement: Judgement) -> Judgement:
    """Bring a judgement up to date, for the same moment `at`.

    Parameters
    ----------
    conn
        From `store.engine.writing`: nothing can change any more until it ends.
    judgement
        From `judge`, a while ago.
    """
    basis = judgement.basis
    seq, epochs = head_at(conn, None).seq, _epochs(conn)
    after = select(consent_event.c.subject_ref).where(consent_event.c.seq > judgement.seq).distinct()
    touched = set(conn.execute(after).scalars())
    touched.update(ref for ref, epoch in epochs.items() if judgement.epochs.get(ref) != epoch)
    touched.intersection_update(judgement.then)
    if not touched:
        return replace(judgement, seq=seq, epochs=epochs)
    people = people_at(conn, basis.seq, basis.at, basis.policy, recalled=True, only=touched)
    then = {reference: person.standing for reference, person in people.items()}
    # The digest stays what it was exactly if nobody's part in it has changed.
    recalled = judgement.recalled and all(
        standing.use == judgement.then[reference].use for reference, standing in then.items()
    )
    now = people_at(conn, seq, judgement.at, judgement.policy, only=touched)
    changes = {reference: change for reference, change in judgement.changes.items() if reference not in touched}
    changes |= _changes(then, now, basis, recalled=recalled)
    return replace(
        judgement, then={**judgement.then, **then}, changes=changes, recalled=recalled, seq=seq, epochs=epochs
    )


def _epochs(conn: Connection) -> dict[bytes, int]:
    return dict(conn.execute(select(subject.c.subject_ref, subject.c.consent_epoch)).all())


def _changes(
    then: Mapping[bytes, Standing], now: Mapping[bytes, Person], basis: FitBasis, *, recalled: bool
) -> dict[bytes, Change]:
    # No age has a time. As long as the digest agrees, nobody's has changed who was taken; else whoever is a minor now
    # is taken for one who was not.
    taken = (Reason.OK,) if recalled else (Reason.OK, Reason.MINOR_OR_AGE_UNKNOWN)
    changes = {}
    for reference, standing in then.items():
        if standing.training in taken and not standing.erased:
            change = _change(standing, now[reference].facts, now[reference].standing, basis.policy)
            if change is not None:
                changes[reference] = change
    return changes


def _change(then: Standing, facts: SubjectFacts, now: Standing, policy: Policy) -> Change | None:
    grave: Mapping[Change, bool] = {
        "erased": facts.state != "active",
        "objected": facts.objected,
        "restricted": facts.restricted,
        "minor": not age_allowed(facts.age_band, policy),
    }
    for change, holds in grave.items():
        if holds:
            return change
    if now.training is Reason.OK:
        narrowed = (then.in_store and not now.in_store) or (then.sensitive and not now.sensitive)
        return "withdrawn" if narrowed else None
    return "withdrawn" if now.training in (Reason.WITHDRAWN, Reason.EXPIRED, Reason.GPC) else "other"
