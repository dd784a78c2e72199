"""Promotion: one door to the alias, and the ledger is asked at it."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, insert, select, update
from tests.proofs import proof_now

from considerate.consent.decision import Policy
from considerate.consent.ledger import grant, head, withdraw
from considerate.consent.notices import NOTICE, current_notice
from considerate.consent.publishing import publish
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError, StaleModel, StoreError, TrackingError
from considerate.ranking.manifest import artefact_digest
from considerate.settings.environment import Environment
from considerate.settings.promotion import PromotionConfig, PromotionRules
from considerate.settings.toml import read_toml
from considerate.store.engine import open_store, reading, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import notice, subject, to_micros, tombstone
from considerate.store.wishes import change_epoch, exercise
from considerate.tracking.client import mlflow_client
from considerate.tracking.promotion import Promotion, next_fit_due, promote, promote_fresh
from considerate.tracking.registry import RegisteredVersion, champion, register_version
from considerate.tracking.training import Trained

TRAIN = Purpose.TRAIN_MODELS
AT_ONCE = PromotionRules(min_publish_hours=0)
Tracked = Callable[[dict[str, object]], str]


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def engine(environment: Environment) -> Iterator[Engine]:
    proof_now(environment)  # makes the store and the keys where this test is the first
    opened = open_store(environment.database_url, create=False)
    yield opened
    opened.dispose()


@pytest.fixture
def keys(environment: Environment, engine: Engine) -> Keys:
    return load_keys(environment.home / "keys", create=False)


@pytest.fixture
def people(engine: Engine, keys: Keys, request: pytest.FixtureRequest) -> list[bytes]:
    """Three adults of the test's own who allow training."""
    names = [f"{request.node.name} {place}" for place in range(3)]
    with writing(engine) as conn:
        refs = list(ensure_subjects(conn, keys, names, age_bands=dict.fromkeys(names, "adult")).values())
        for ref in refs:
            grant(conn, keys, ref, TRAIN, notice=current_notice(), at=now(), policy=Policy())
    return refs


@pytest.fixture
def fitted(environment: Environment, tracked: Tracked) -> Callable[..., RegisteredVersion]:
    """Register a model fitted on the ledger as it is now, or was, for the moment `at`."""

    def fit(name: str, *, at: datetime | None = None, seq: int | None = None) -> RegisteredVersion:
        return register_version(environment, name=name, run_id=tracked(dict(proof_now(environment, at=at, seq=seq))))

    return fit


Fitted = Callable[..., RegisteredVersion]


def leave(engine: Engine, keys: Keys, ref: bytes) -> None:
    with writing(engine) as conn:
        withdraw(conn, keys, ref, TRAIN, at=now())


def tags_of(environment: Environment, version: RegisteredVersion) -> dict[str, str]:
    with mlflow_client(environment) as client:
        return dict(client.get_model_version(version.name, str(version.version)).tags)


def test_promoting_moves_the_alias_and_moves_it_back(environment: Environment, fitted: Fitted) -> None:
    first, second = fitted("moves"), fitted("moves")
    assert (first.version, second.version) == (1, 2)
    assert champion(environment, name="moves") is None
    promoted = promote(environment, name="moves", version=2, at=now())
    assert (promoted.version, promoted.since_fit.fresh, promoted.next_fit_due) == (second, True, None)
    assert champion(environment, name="moves") == second
    promote(environment, name="moves", version=1, at=now(), rules=AT_ONCE)
    assert champion(environment, name="moves") == first
    assert tags_of(environment, first)["consent.n_withdrawn_since_fit"] == "0"


def test_a_withdrawal_between_fit_and_promotion_stops_it_unless_it_is_asked_for_by_name(
    environment: Environment, engine: Engine, keys: Keys, people: list[bytes], fitted: Fitted
) -> None:
    version = fitted("withdrawn")
    leave(engine, keys, people[0])
    leave(engine, keys, people[1])
    with pytest.raises(StaleModel, match=r"withdrawn-1: since its fit, .*: 2 withdrawn; fit it again .*--promote, or"):
        promote(environment, name="withdrawn", version=1, at=now())
    assert champion(environment, name="withdrawn") is None
    at = now()
    promoted = promote(environment, name="withdrawn", version=1, at=at, despite_withdrawals=True)
    assert champion(environment, name="withdrawn") == version
    assert (promoted.since_fit.withdrawn, promoted.next_fit_due) == (2, at + timedelta(hours=24))
    tags = tags_of(environment, version)
    assert tags["consent.n_withdrawn_since_fit"] == "2"
    assert tags["considerate.next_fit_due"] == (at + timedelta(hours=24)).isoformat()
    assert promoted.facts["withdrawn_since_fit"] == 2


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"objected_at": 1}, "1 objecting"),
        ({"restricted_at": 1}, "1 restricted"),
        ({"age_band": "16_17"}, "1 not of age, or of unknown age"),
    ],
)
def test_who_objects_is_restricted_or_a_minor_since_the_fit_stops_it_always(  # noqa: PLR0917 - pytest calls it
    environment: Environment,
    engine: Engine,
    people: list[bytes],
    fitted: Fitted,
    columns: dict[str, object],
    said: str,
) -> None:
    name = f"rights {said[2:5]}".replace(" ", "_")
    fitted(name)
    since = {column: to_micros(now()) if column.endswith("_at") else value for column, value in columns.items()}
    with writing(engine) as conn:
        conn.execute(update(subject).where(subject.c.subject_ref == people[0]).values(**since))
    for despite in (False, True):
        with pytest.raises(StaleModel, match=f"{name}-1: .*{said}; such a model is never served; fit it again"):
            promote(environment, name=name, version=1, at=now(), despite_withdrawals=despite)
    assert champion(environment, name=name) is None
    assert promote(environment, name=name, version=fitted(name).version, at=now()).since_fit.fresh


def erase(engine: Engine, ref: bytes) -> None:
    """The first step of an erasure."""
    with writing(engine) as conn:
        conn.execute(update(subject).where(subject.c.subject_ref == ref).values(state="erasing"))
        conn.execute(insert(tombstone), {"subject_ref": ref, "seq": 0, "erased_at": to_micros(now())})


def rebuilt(engine: Engine, ref: bytes) -> bool:
    with reading(engine) as conn:
        query = select(tombstone.c.rebuilt_at).where(tombstone.c.subject_ref == ref)
        return conn.execute(query).scalar_one() is not None


def test_an_erasure_is_rebuilt_once_no_champion_was_fitted_with_her(
    environment: Environment, engine: Engine, keys: Keys, people: list[bytes], fitted: Fitted
) -> None:
    with mlflow_client(environment) as client:  # champions of other tests are not this one's business
        for model in client.search_registered_models():
            for alias in model.aliases:
                client.delete_registered_model_alias(model.name, alias)
    fitted("rebuilt"), fitted("rebuilt"), fitted("other")
    promote(environment, name="other", version=1, at=now())
    promote(environment, name="rebuilt", version=1, at=now())
    erase(engine, people[0])
    for version in (1, 2):
        with pytest.raises(StaleModel, match="1 erased; such a model is never served"):
            promote(environment, name="rebuilt", version=version, at=now(), rules=AT_ONCE)
    promote(environment, name="rebuilt", version=fitted("rebuilt").version, at=now(), rules=AT_ONCE)
    assert not rebuilt(engine, people[0]), "the other model still knows what she did"
    promote(environment, name="other", version=fitted("other").version, at=now(), rules=AT_ONCE)
    assert rebuilt(engine, people[0])


def test_what_is_fitted_daily_is_promoted_and_nothing_in_between(environment: Environment, fitted: Fitted) -> None:
    start = now()
    fitted("daily", at=start)
    promote(environment, name="daily", version=1, at=start + timedelta(hours=3))  # after fits that were outrun
    between = start + timedelta(hours=21, minutes=59)
    fitted("daily", at=between)
    said = r"daily: a fit as of .* is too close to daily-1, .* min_publish_hours = 24: fit again after"
    with pytest.raises(TrackingError, match=said):
        promote(environment, name="daily", version=2, at=start + timedelta(hours=48))
    with pytest.raises(TrackingError, match="daily: a fit as of"):
        promote_fresh(environment, lambda: pytest.fail("fitted"), name="daily", now=lambda: between, check=believe)

    # The same command, the next night: a little earlier, and the night of the clocks after it.
    for version, hours in ((3, 23.99), (4, 46.9)):
        fitted("daily", at=start + timedelta(hours=hours))
        promote(environment, name="daily", version=version, at=start + timedelta(hours=hours + 0.3))
    with pytest.raises(TrackingError, match="is too close to daily-3"):
        promote(environment, name="daily", version=2, at=start + timedelta(hours=72))


def test_the_way_back_is_always_open_and_no_new_publication(environment: Environment, fitted: Fitted) -> None:
    start = now()
    for version, hours in ((1, 0), (2, 24)):
        fitted("back", at=start + timedelta(hours=hours))
        promote(environment, name="back", version=version, at=start + timedelta(hours=hours))
    promote(environment, name="back", version=1, at=start + timedelta(hours=25))
    assert tags_of(environment, RegisteredVersion("back", 1, ""))["considerate.published_at"] == start.isoformat()
    promote(environment, name="back", version=2, at=start + timedelta(hours=25))


def test_a_champion_whose_promotion_was_cut_short_counts_as_served(environment: Environment, fitted: Fitted) -> None:
    start = now()
    for hours in (0, 1):
        fitted("cut", at=start + timedelta(hours=hours))
    with mlflow_client(environment) as client:
        client.set_registered_model_alias("cut", "champion", "1")
    with pytest.raises(TrackingError, match="is too close to cut-1"):
        promote(environment, name="cut", version=2, at=start + timedelta(hours=1))


def test_a_fit_that_carries_out_an_erasure_is_not_held_back(
    environment: Environment, engine: Engine, people: list[bytes], fitted: Fitted
) -> None:
    start = now()
    fitted("owing", at=start)
    promote(environment, name="owing", version=1, at=start)
    erase(engine, people[0])
    fitted("owing", at=start + timedelta(hours=1))
    promote(environment, name="owing", version=2, at=start + timedelta(hours=1))
    assert rebuilt(engine, people[0])
    fitted("owing", at=start + timedelta(hours=2))
    with pytest.raises(TrackingError, match="is too close to owing-2"):
        promote(environment, name="owing", version=3, at=start + timedelta(hours=2))


def test_the_fit_that_follows_withdrawals_is_not_held_back(
    environment: Environment, engine: Engine, keys: Keys, people: list[bytes], fitted: Fitted
) -> None:
    start = now()
    fitted("next", at=start)
    leave(engine, keys, people[0])
    promoted = promote(environment, name="next", version=1, at=now(), despite_withdrawals=True)
    assert next_fit_due(environment, name="next") == promoted.next_fit_due is not None
    fitted("next", at=start + timedelta(hours=1))
    promote(environment, name="next", version=2, at=start + timedelta(hours=1))
    assert next_fit_due(environment, name="next") is None
    fitted("next", at=start + timedelta(hours=2))
    with pytest.raises(TrackingError, match="is too close to next-2"):
        promote(environment, name="next", version=3, at=start + timedelta(hours=2))


def test_while_everybody_is_judged_others_write_and_what_they_wrote_is_seen(
    environment: Environment, engine: Engine, keys: Keys, people: list[bytes], fitted: Fitted
) -> None:
    version = fitted("unlocked")

    def promoted_while(act: Callable[[], object], *, despite: bool) -> Promotion:
        def meanwhile(*, at: datetime) -> None:
            act()  # it would wait for the lock, and fail, if the promotion held one already

        return promote(environment, name="unlocked", version=1, at=now(), despite_withdrawals=despite, check=meanwhile)

    def objects() -> None:
        with writing(engine) as conn:
            exercise(conn, people[1], "objection", at=now())

    with pytest.raises(StaleModel, match="1 withdrawn; fit it again"):
        promoted_while(lambda: leave(engine, keys, people[0]), despite=False)
    assert champion(environment, name="unlocked") is None
    promoted = promoted_while(lambda: leave(engine, keys, people[2]), despite=True)
    assert (champion(environment, name="unlocked"), promoted.since_fit.withdrawn) == (version, 2)
    assert tags_of(environment, version)["consent.n_withdrawn_since_fit"] == "2"
    with pytest.raises(StaleModel, match="1 objecting, 2 withdrawn; such a model is never served"):
        promoted_while(objects, despite=True)


def test_an_erasure_that_comes_last_of_all_stops_it(
    environment: Environment, engine: Engine, keys: Keys, people: list[bytes], fitted: Fitted
) -> None:
    fitted("last")

    def erased(*, at: datetime) -> None:
        with writing(engine) as conn:
            change_epoch(conn, people[0], state="erasing")
            conn.execute(insert(tombstone), {"subject_ref": people[0], "seq": 0, "erased_at": to_micros(at)})

    with pytest.raises(StaleModel, match="1 erased; such a model is never served"):
        promote(environment, name="last", version=1, at=now(), despite_withdrawals=True, check=erased)
    assert champion(environment, name="last") is None
    assert not rebuilt(engine, people[0])


def test_a_store_that_is_not_to_be_believed_promotes_nothing(environment: Environment, fitted: Fitted) -> None:
    fitted("doubted")

    def doubt(*, at: datetime) -> None:
        raise StoreError("1 erased customers are in this database again")

    with pytest.raises(StoreError, match="are in this database again"):
        promote(environment, name="doubted", version=1, at=now(), check=doubt)
    with pytest.raises(StoreError, match="are in this database again"):
        promote_fresh(environment, Fits(fitted, "doubted", []), name="doubted", now=now, check=doubt)
    assert champion(environment, name="doubted") is None


def test_who_withdrew_before_the_fit_began_is_never_served_knowingly(
    environment: Environment, engine: Engine, keys: Keys, people: list[bytes], fitted: Fitted
) -> None:
    with reading(engine) as conn:
        position = head(conn).seq
    leave(engine, keys, people[0])
    fitted("earlier", seq=position)
    said = rf"1 withdrawn; it was fitted as of ledger position {position}, 1 events before the ledger's end, so some"
    for despite in (False, True):
        with pytest.raises(StaleModel, match=said):
            promote(environment, name="earlier", version=1, at=now(), despite_withdrawals=despite)
    assert champion(environment, name="earlier") is None


def test_a_version_whose_artefact_is_not_pinned_is_refused(environment: Environment, fitted: Fitted) -> None:
    version = fitted("loose")
    with mlflow_client(environment) as client:
        client.delete_model_version_tag("loose", str(version.version), "model_digest")
    with pytest.raises(TrackingError, match="loose-1: registered without the tag model_digest; train it again"):
        promote(environment, name="loose", version=1, at=now())


def believe(*, at: datetime) -> None:
    """Nothing is wrong with the store."""


class Fits:
    """Fits that are outrun: before each promotion, what comes next happens."""

    def __init__(self, fitted: Fitted, name: str, meanwhile: list[Callable[[], None]]) -> None:
        self._fitted, self._name, self._meanwhile, self.done = fitted, name, list(meanwhile), 0

    def __call__(self) -> Trained:
        version = self._fitted(self._name)
        self.done += 1
        if self._meanwhile:
            self._meanwhile.pop(0)()
        return Trained(version.run_id, version, (), {})


def test_a_fit_that_consent_outruns_is_made_again(
    environment: Environment, engine: Engine, keys: Keys, people: list[bytes], fitted: Fitted
) -> None:
    happens = [lambda: leave(engine, keys, people[0]), lambda: erase(engine, people[1])]
    fits = Fits(fitted, "again", happens)
    trained, promotion = promote_fresh(environment, fits, name="again", now=now, rules=AT_ONCE, check=believe)
    assert (fits.done, promotion.label, promotion.since_fit.fresh) == (3, "again-3", True)
    assert trained.version == champion(environment, name="again") == promotion.version
    assert trained.facts == {"promoted": "again-3", "withdrawn_since_fit": 0, "next_fit_due": None} | {
        "rebuild_due": promotion.rebuild_due
    }


def test_after_three_refits_plain_withdrawals_no_longer_hold_it_up(
    environment: Environment, engine: Engine, keys: Keys, people: list[bytes], fitted: Fitted
) -> None:
    def back_and_away() -> None:
        with writing(engine) as conn:
            withdraw(conn, keys, people[0], TRAIN, at=now())
        with writing(engine) as conn:
            grant(conn, keys, people[0], TRAIN, notice=current_notice(), at=now(), policy=Policy())
        leave(engine, keys, people[outrun.pop()])

    outrun = [0, 1, 2]
    fits = Fits(fitted, "busy", [back_and_away] * 3)
    _, promotion = promote_fresh(environment, fits, name="busy", now=now, rules=PromotionRules(refits=2), check=believe)
    assert (fits.done, promotion.label, promotion.since_fit.withdrawn) == (3, "busy-3", 1)
    assert promotion.next_fit_due is not None


def test_after_three_refits_a_right_still_stops_it(
    environment: Environment, engine: Engine, people: list[bytes], fitted: Fitted
) -> None:
    erased = list(people)
    fits = Fits(fitted, "never", [lambda: erase(engine, erased.pop())] * 3)
    with pytest.raises(StaleModel, match=r"never-3: .*1 erased; such a model is never served"):
        promote_fresh(environment, fits, name="never", now=now, rules=PromotionRules(refits=2), check=believe)
    assert champion(environment, name="never") is None


def test_a_fit_without_a_version_cannot_be_promoted(environment: Environment) -> None:
    with pytest.raises(TrackingError, match="nothing: the fit registered no version"):
        promote_fresh(environment, lambda: Trained("run", None, (), {}), name="nothing", now=now, check=believe)


def test_a_model_fitted_on_another_ledger_is_refused(
    environment: Environment, tracked: Tracked, proof: dict[str, object], people: list[bytes]
) -> None:
    register_version(environment, name="foreign", run_id=tracked(proof | {"consent.ledger_head": "ab" * 32}))
    with pytest.raises(ConsentError, match="fitted on another ledger"):
        promote(environment, name="foreign", version=1, at=now())
    assert champion(environment, name="foreign") is None


def test_under_a_notice_older_than_what_the_store_has_published_nothing_is_promoted(
    environment: Environment, engine: Engine, fitted: Fitted
) -> None:
    version = fitted("old notice")
    later = replace(NOTICE, version=2, oldest_valid=2)
    with writing(engine) as conn:
        publish(conn, [later])
    try:
        with pytest.raises(ConsentError, match="the store knows version 2, the folder `notices` ends at 1; copy that"):
            promote(environment, name="old notice", version=version.version, at=now())
    finally:
        with writing(engine) as conn:
            conn.execute(delete(notice).where(notice.c.version == later.version))
    assert champion(environment, name="old notice") is None


@pytest.mark.slow
def test_without_its_store_nothing_is_promoted(tmp_path: Path, artefact: Path, proof: dict[str, object]) -> None:
    from considerate.tracking.runs import track_run

    bare = Environment(home=tmp_path / "bare", data=None)
    with track_run(bare, experiment="shop", name="popularity") as run:
        run.log_tags({**proof, "model_digest": artefact_digest(artefact)})
        run.log_artefact(artefact)
    register_version(bare, name="bare", run_id=run.run_id)
    with pytest.raises(StoreError, match="no master key"):
        promote(bare, name="bare", version=1, at=now())
    load_keys(bare.home / "keys", create=True)
    with pytest.raises(StoreError, match="no such database"):
        promote(bare, name="bare", version=1, at=now())
    assert champion(bare, name="bare") is None


def test_the_committed_rules_are_the_defaults() -> None:
    path = Path(__file__).parents[2] / "configs" / "promotion.toml"
    assert read_toml(path, PromotionConfig) == PromotionConfig()
    assert PromotionRules() == PromotionRules(min_publish_hours=24, refits=3)
