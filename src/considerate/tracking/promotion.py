"""Promotion: the one door to the alias that the service follows, and the ledger is asked once more at it.

Between a fit and its promotion, hours may pass in which customers change their minds. A model that consent has outrun
is fitted again. Where withdrawals keep coming faster than fits, the last fit may be promoted with those few still in
it, and says how many; one with somebody in it who asked for erasure, objects, has use restricted or may be a minor
never.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from considerate.consent.since_fit import SinceFit, judge_again
from considerate.errors import ConsentError, StaleModel, TrackingError
from considerate.settings.environment import Environment
from considerate.settings.promotion import PromotionRules
from considerate.tracking.client import mlflow_client
from considerate.tracking.interval import NEXT_FIT, PUBLISHED, refuse_too_soon
from considerate.tracking.ledger import Ledger, note_rebuilt, open_ledger
from considerate.tracking.registry import (
    CHAMPION,
    DIGEST,
    RegisteredVersion,
    basis_of,
    events_left_out,
    refuse_unproved,
    version_of,
)

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from considerate.tracking.training import Trained

NEXT_FIT_WITHIN = timedelta(hours=24)
"""A model that was promoted with withdrawals in it is followed by a fit without them after so long at most."""
WITHDRAWN = "consent.n_withdrawn_since_fit"


class Check(Protocol):
    """Asks whether the store is to be believed: that it is not older than an erasure, say."""

    def __call__(self, *, at: datetime) -> object:
        """Raise where it is not; `at` is now."""


def _nothing(*, at: datetime) -> None:
    pass


@dataclass(frozen=True, slots=True)
class Promotion:
    """A version that is served from now on.

    Attributes
    ----------
    version
        The new champion.
    since_fit
        What had changed for its customers since it was fitted: nothing, or plain withdrawals.
    next_fit_due
        By when a fit without those who withdrew must follow; None where nobody had.
    rebuild_due
        How many erasures still wait, since a model in use under another name was fitted on those people.
    """

    version: RegisteredVersion
    since_fit: SinceFit
    next_fit_due: datetime | None
    rebuild_due: int = 0

    @property
    def label(self) -> str:
        """The name by which the service and its answers know the version."""
        return self.version.label

    @property
    def facts(self) -> dict[str, object]:
        """What the JSON line of a training says of it."""
        due = None if self.next_fit_due is None else self.next_fit_due.isoformat()
        return {
            "promoted": self.label,
            "withdrawn_since_fit": self.since_fit.withdrawn,
            "next_fit_due": due,
            "rebuild_due": self.rebuild_due,
        }


def promote(
    environment: Environment,
    *,
    name: str,
    version: int,
    at: datetime,
    rules: PromotionRules | None = None,
    despite_withdrawals: bool = False,
    check: Check = _nothing,
) -> Promotion:
    """Make `version` the champion: what the service answers from, within seconds.

    Everybody in it is judged while others go on writing; then, for as long as nobody can write to the store, those
    alone whom something has happened to meanwhile, and the alias is moved. A tombstone is marked as rebuilt once no
    champion is left that was fitted on her.

    Parameters
    ----------
    environment
        Of this installation: its registry, its store, its keys.
    name, version
        Which model. An older version is held to the same rules.
    at
        Now.
    rules
        Of the shop; the defaults if None.
    despite_withdrawals
        Promote although customers plainly withdrew since the fit; their number is tagged. A fit as of an earlier
        position of the ledger is not promoted with them: some had withdrawn before it began.
    check
        Asked just before the alias is moved, while others can still write.

    Raises
    ------
    TrackingError
        There is no such version, its consent is not proved, or it lies too close to one that was served before.
    StaleModel
        Consent has outrun the fit.
    StoreError, ConsentError
        The store cannot be opened, or its ledger is not the one that the fit rests on.
    """
    with mlflow_client(environment) as client:
        candidate = version_of(client, name, version)
        tags = client.get_run(candidate.run_id).data.tags
        refuse_unproved(tags, name)
        if not candidate.digest:
            raise TrackingError(
                f"{candidate.label}: registered without the tag {DIGEST}; train it again with --register"
            )
        # A version that was served before shows nothing new: an operator may always go back to it.
        served_before = _was_published(client, candidate)
        with open_ledger(environment, at=at) as ledger:
            if not served_before:
                as_of = basis_of(tags, name).at
                refuse_too_soon(client, ledger, name=name, as_of=as_of, rules=rules or PromotionRules())
            judgement = ledger.judge(tags, name)
            since = judgement.since
            _refuse_stale(candidate, since, tags, despite_withdrawals=despite_withdrawals)
            due = _note_withdrawals(client, candidate, since, at)
            waiting = ledger.waiting()
            rebuilt = waiting - _in_other_champions(client, ledger, waiting, name)
            check(at=at)
            with ledger.locked() as conn:
                latest = judge_again(conn, judgement).since
                if latest != since:
                    since = latest
                    _refuse_stale(candidate, since, tags, despite_withdrawals=despite_withdrawals)
                    due = _note_withdrawals(client, candidate, since, at)
                client.set_registered_model_alias(name, CHAMPION, str(version))
                note_rebuilt(conn, rebuilt, at=at)
            if not served_before:
                client.set_model_version_tag(name, str(version), PUBLISHED, at.astimezone(UTC).isoformat())
            return Promotion(candidate, since, due, len(ledger.waiting()))


def promote_fresh(
    environment: Environment,
    fit: "Callable[[], Trained]",
    *,
    name: str,
    now: Callable[[], datetime],
    check: Check,
    rules: PromotionRules | None = None,
) -> "tuple[Trained, Promotion]":
    """Fit and promote; fit again, up to `rules.refits` times, as long as consent outruns the fit.

    Parameters
    ----------
    environment
        Of this installation.
    fit
        Reads the store as it is now, fits, and registers under `name`.
    name
        Of the registered model.
    now
        The clock.
    check
        As in `promote`.
    rules
        Of the shop; the defaults if None.

    Returns
    -------
        The last training, with the facts of its promotion, and that.

    Raises
    ------
    StaleModel
        The last fit too was outrun, and not by plain withdrawals alone.
    TrackingError
        A model as of now lies too close to one that was served before: said before the first fit.
    """
    rules = rules or PromotionRules()
    with mlflow_client(environment) as client, open_ledger(environment, at=now()) as ledger:
        refuse_too_soon(client, ledger, name=name, as_of=ledger.at, rules=rules)
    for left in range(rules.refits, -1, -1):
        trained = fit()
        if trained.version is None:
            raise TrackingError(f"{name}: the fit registered no version; only a registered one can be promoted")
        version = trained.version.version
        try:
            last = left == 0
            promotion = promote(
                environment, name=name, version=version, at=now(), rules=rules, despite_withdrawals=last, check=check
            )
        except StaleModel:
            if last:
                raise
        else:
            return replace(trained, facts={**trained.facts, **promotion.facts}), promotion
    raise AssertionError("unreachable: the last round returns or raises")


def next_fit_due(environment: Environment, *, name: str) -> datetime | None:
    """Give by when a fit must follow the champion, None where nobody in it had withdrawn at its promotion."""
    with mlflow_client(environment) as client:
        found = client.search_registered_models(filter_string=f"name = '{name}'")
        version = found[0].aliases.get(CHAMPION) if found else None
        tags = {} if version is None else client.get_model_version(name, str(version)).tags
    return datetime.fromisoformat(tags[NEXT_FIT]) if tags.get(NEXT_FIT) else None


def _refuse_stale(
    candidate: RegisteredVersion, since: SinceFit, tags: Mapping[str, str], *, despite_withdrawals: bool
) -> None:
    left_out = events_left_out(tags, candidate.name)
    if since.fresh or (since.plain and despite_withdrawals and not left_out):
        return
    again = "fit it again and promote in one go: pipelines/train.py MODEL.toml DATA.toml --promote"
    outrun = f"{candidate.label}: since its fit, of those it learnt from: {since}"
    if since.plain and left_out:
        raise StaleModel(
            f"{outrun}; it was fitted as of ledger position {tags['consent.ledger_seq']}, {left_out} events before the "
            f"ledger's end, so some had withdrawn before it began; such a model is never served; {again}"
        )
    if since.plain:
        raise StaleModel(
            f"{outrun}; {again}, "
            "or promote it as it is with --despite-withdrawals: a fit without them is due within 24 hours then"
        )
    raise StaleModel(f"{outrun}; such a model is never served; {again}")


def _note_withdrawals(
    client: "MlflowClient", candidate: RegisteredVersion, since: SinceFit, at: datetime
) -> datetime | None:
    due = at + NEXT_FIT_WITHIN if since.withdrawn else None
    name, version = candidate.name, str(candidate.version)
    client.set_model_version_tag(name, version, WITHDRAWN, str(since.withdrawn))
    client.set_model_version_tag(name, version, NEXT_FIT, "" if due is None else due.isoformat())
    return due


def _was_published(client: "MlflowClient", candidate: RegisteredVersion) -> bool:
    return PUBLISHED in client.get_model_version(candidate.name, str(candidate.version)).tags


def _in_other_champions(
    client: "MlflowClient", ledger: Ledger, waiting: frozenset[bytes], name: str
) -> frozenset[bytes]:
    """Give those of `waiting` whom a champion of another name was, or may have been, fitted on."""
    inside: frozenset[bytes] = frozenset()
    for model in client.search_registered_models() if waiting else ():
        served = model.aliases.get(CHAMPION)
        if served is not None and model.name != name:
            inside |= waiting & _erased_in(client, ledger, waiting, version_of(client, model.name, int(served)))
    return inside


def _erased_in(
    client: "MlflowClient", ledger: Ledger, waiting: frozenset[bytes], champion: RegisteredVersion
) -> frozenset[bytes]:
    """Give who was erased since a champion's fit; a champion that cannot show it counts as one with everybody in it."""
    tags = client.get_run(champion.run_id).data.tags
    try:
        refuse_unproved(tags, champion.name)
        judgement = ledger.judge(tags, champion.name)
    except (TrackingError, ConsentError):
        return waiting
    return judgement.erased if judgement.recalled else waiting
