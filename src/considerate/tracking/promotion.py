"""Promotion: the one door to the alias that the service follows, and the ledger is asked once more at it.

Between a fit and its promotion, hours may pass in which customers change their minds. A model that consent has outrun
is fitted again. Where withdrawals keep coming faster than fits, the last fit may be promoted with those few still in
it, and says how many; one with somebody in it who asked for erasure, objects, has use restricted or may be a minor
never.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import Connection, func, select, update

from considerate.consent.notices import Notice
from considerate.consent.publishing import read_versions
from considerate.consent.since_fit import SinceFit, changes_since
from considerate.errors import ConsentError, StaleModel, TrackingError
from considerate.settings.environment import Environment
from considerate.settings.promotion import PromotionRules
from considerate.store.engine import open_store, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import check_keys
from considerate.store.tables import to_micros, tombstone
from considerate.tracking.client import mlflow_client
from considerate.tracking.registry import CHAMPION, RegisteredVersion, basis_of, refuse_unproved, version_of

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

    from considerate.tracking.training import Trained

NEXT_FIT_WITHIN = timedelta(hours=24)
"""A model that was promoted with withdrawals in it is followed by a fit without them after so long at most."""
PUBLISHED = "considerate.published_at"
WITHDRAWN = "consent.n_withdrawn_since_fit"
NEXT_FIT = "considerate.next_fit_due"


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
    """

    version: RegisteredVersion
    since_fit: SinceFit
    next_fit_due: datetime | None

    @property
    def label(self) -> str:
        """The name by which the service and its answers know the version."""
        return self.version.label

    @property
    def facts(self) -> dict[str, object]:
        """What the JSON line of a training says of it."""
        due = None if self.next_fit_due is None else self.next_fit_due.isoformat()
        return {"promoted": self.label, "withdrawn_since_fit": self.since_fit.withdrawn, "next_fit_due": due}


def promote(
    environment: Environment,
    *,
    name: str,
    version: int,
    at: datetime,
    rules: PromotionRules | None = None,
    despite_withdrawals: bool = False,
) -> Promotion:
    """Make `version` the champion: what the service answers from, within seconds.

    The ledger is asked and the alias moved while nobody can write to the store. Tombstones are marked as rebuilt once
    no champion is left that was fitted on somebody who was erased.

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
        Promote although customers plainly withdrew since the fit; their number is tagged.

    Raises
    ------
    TrackingError
        There is no such version, its consent is not proved, or the version before was published too short a time ago.
    StaleModel
        Consent has outrun the fit.
    StoreError, ConsentError
        The store cannot be opened, or its ledger is not the one that the fit rests on.
    """
    with mlflow_client(environment) as client:
        candidate = version_of(client, name, version)
        # A version that was served before shows nothing new: an operator may always go back to it.
        served_before = _was_published(client, candidate)
        if not served_before:
            _refuse_too_soon(client, name, rules or PromotionRules(), at)
        tags = client.get_run(candidate.run_id).data.tags
        refuse_unproved(tags, name)
        with _ledger(environment, at) as ledger:
            since = ledger.changes_since_fit(tags, name)
            _refuse_stale(candidate, since, despite_withdrawals=despite_withdrawals)
            due = at + NEXT_FIT_WITHIN if since.withdrawn else None
            client.set_model_version_tag(name, str(version), WITHDRAWN, str(since.withdrawn))
            client.set_model_version_tag(name, str(version), NEXT_FIT, "" if due is None else due.isoformat())
            client.set_registered_model_alias(name, CHAMPION, str(version))
            if not served_before:
                client.set_model_version_tag(name, str(version), PUBLISHED, at.astimezone(UTC).isoformat())
            _note_rebuilt(client, ledger)
    return Promotion(candidate, since, due)


def promote_fresh(
    environment: Environment,
    fit: "Callable[[], Trained]",
    *,
    name: str,
    now: Callable[[], datetime],
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
        The version before was published too short a time ago: said before the first fit.
    """
    rules = rules or PromotionRules()
    with mlflow_client(environment) as client:
        _refuse_too_soon(client, name, rules, now())
    for left in range(rules.refits, -1, -1):
        trained = fit()
        if trained.version is None:
            raise TrackingError(f"{name}: the fit registered no version; only a registered one can be promoted")
        version = trained.version.version
        try:
            last = left == 0
            promotion = promote(
                environment, name=name, version=version, at=now(), rules=rules, despite_withdrawals=last
            )
        except StaleModel:
            if last:
                raise
        else:
            return replace(trained, facts={**trained.facts, **promotion.facts}), promotion
    raise AssertionError("unreachable: the last round returns or raises")


@dataclass(frozen=True, slots=True)
class _Ledger:
    """The ledger at one moment, while nobody can write to the store."""

    conn: Connection
    keys: Keys
    versions: Sequence[Notice]
    at: datetime

    def changes_since_fit(self, tags: Mapping[str, str], name: str) -> SinceFit:
        """What has changed since the fit that the tags of a run describe."""
        newest = self.versions[-1]
        basis = basis_of(tags, name, self.versions)
        return changes_since(self.conn, self.keys, basis, at=self.at, notices={newest.notice_id: newest})


@contextmanager
def _ledger(environment: Environment, at: datetime) -> Iterator[_Ledger]:
    versions = read_versions(environment.home / "notices", at=at)
    keys = load_keys(environment.home / "keys", create=False)
    engine = open_store(environment.database_url, create=False)
    try:
        with writing(engine) as conn:
            check_keys(conn, keys)
            yield _Ledger(conn, keys, versions, at)
    finally:
        engine.dispose()


def _refuse_stale(candidate: RegisteredVersion, since: SinceFit, *, despite_withdrawals: bool) -> None:
    if since.fresh or (since.plain and despite_withdrawals):
        return
    again = "fit it again and promote in one go: pipelines/train.py MODEL.toml DATA.toml --promote"
    if since.plain:
        raise StaleModel(
            f"{candidate.label}: since its fit, of those it learnt from: {since}; {again}, "
            "or promote it as it is with --despite-withdrawals: a fit without them is due within 24 hours then"
        )
    raise StaleModel(
        f"{candidate.label}: since its fit, of those it learnt from: {since}; such a model is never served; {again}"
    )


def _refuse_too_soon(client: "MlflowClient", name: str, rules: PromotionRules, at: datetime) -> None:
    published = [
        datetime.fromisoformat(found.tags[PUBLISHED])
        for found in client.search_model_versions(f"name = '{name}'")
        if PUBLISHED in found.tags
    ]
    if not published:
        return
    last = max(published)
    earliest = last + timedelta(hours=rules.min_publish_hours)
    if at < earliest:
        raise TrackingError(
            f"{name}: the model before was published at {last:%Y-%m-%d %H:%M} UTC; [promotion] min_publish_hours = "
            f"{rules.min_publish_hours:g}: wait until {earliest:%Y-%m-%d %H:%M} UTC, or set it to 0 where nobody "
            "outside the shop can compare the lists of two models"
        )


def _was_published(client: "MlflowClient", candidate: RegisteredVersion) -> bool:
    return PUBLISHED in client.get_model_version(candidate.name, str(candidate.version)).tags


def _note_rebuilt(client: "MlflowClient", ledger: _Ledger) -> None:
    waiting = tombstone.c.rebuilt_at.is_(None)
    if not ledger.conn.execute(select(func.count()).select_from(tombstone).where(waiting)).scalar():
        return
    for model in client.search_registered_models():
        served = model.aliases.get(CHAMPION)
        if served is not None and not _without_the_erased(client, ledger, version_of(client, model.name, int(served))):
            return
    ledger.conn.execute(update(tombstone).where(waiting).values(rebuilt_at=to_micros(ledger.at)))


def _without_the_erased(client: "MlflowClient", ledger: _Ledger, champion: RegisteredVersion) -> bool:
    """Whether nobody who was erased is behind a champion; one that cannot show it counts as one that is not."""
    tags = client.get_run(champion.run_id).data.tags
    try:
        refuse_unproved(tags, champion.name)
        since = ledger.changes_since_fit(tags, champion.name)
    except (TrackingError, ConsentError):
        return False
    return since.recalled and not since.erased
