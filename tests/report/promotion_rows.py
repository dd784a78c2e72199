"""The promise about what happens between a fit and its promotion."""

import atexit
import functools
import random
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.consent.test_since_fit import play
from tests.report.gate import learnt_from
from tests.report.rows import Outcome, outcome, row
from tests.report.shop import Shop
from tests.report.training_rows import baskets, cast, fit
from tests.serving.conftest import make_model

from considerate.consent.purposes import Purpose
from considerate.consent.since_fit import judge
from considerate.errors import ConsiderateError, StaleModel, TrackingError
from considerate.ranking.manifest import artefact_digest
from considerate.settings.environment import Environment
from considerate.settings.promotion import PromotionRules
from considerate.store.engine import reading, writing
from considerate.tracking.registry import RegisteredVersion, basis_of

T = Purpose.TRAIN_MODELS
AT_ONCE = PromotionRules(min_publish_hours=0)
NAME = "report"
ACTS = {
    "grant": (True, True),
    "withdraw": (False, True),
    "object": (False, False),
    "restrict": (False, False),
    "erase": (False, False),
    "minor": (False, False),
}
"""What somebody may do after a fit: whether the fit is as good as before, and whether it may be promoted at all."""
REFUSED_MODELS = ("withdraw", "erase")
"""Those of them that the quick form tries to promote against."""


@row("12", "between fit and promotion every change of mind is seen; an erasure always stops it", quick="sqlite")
def outrun(shop: Shop, quick: bool) -> Outcome:
    times = 1 if quick else 17
    acts = [*ACTS] * times
    people = baskets("12", len(acts) + 20)
    refs = cast(shop, people)
    names, held, draw = list(refs), [], random.Random(12)
    for act, name in zip(draw.sample(acts, len(acts)), names, strict=False):
        basis, now = basis_of(learnt_from(shop, refs.values())[1].tags(), NAME), datetime.now(UTC)
        with writing(shop.engine) as conn:
            play(conn, shop.keys, refs[name], act, now)
        with reading(shop.engine) as conn:
            since = judge(conn, shop.keys, basis, at=now + timedelta(seconds=1)).since
        held.append((since.fresh, since.plain) == ACTS[act])
    staying = {name: refs[name] for name in names[len(acts) :]}
    promoted = _promoted(shop, staying, REFUSED_MODELS if quick else [*ACTS])
    return outcome([*held, *promoted, *_fitted_again(shop, staying)], f"{len(promoted)} promotions")


@row("24 pinned", "a promoted model swapped for another one in the registry's files is not fetched", quick="sqlite")
def pinned(shop: Shop, quick: bool) -> Outcome:
    from considerate.tracking.registry import champion_artefact

    refs = cast(shop, baskets("24", 12))
    version = register(shop, refs)
    held = [promotes(shop, version.version)]
    environment = Environment(home=shop.home, data=None, store=shop.url)
    with tempfile.TemporaryDirectory() as name:
        fetched = champion_artefact(environment, Path(name) / "before", name=NAME)
        held.append(fetched is not None and fetched.version == version.version)
        (manifest,) = (
            path for path in (shop.home / "mlartifacts").rglob("manifest.json") if version.run_id in path.parts
        )
        shutil.rmtree(manifest.parent)
        make_model().save(manifest.parent)
        try:
            champion_artefact(environment, Path(name) / "after", name=NAME)
        except ConsiderateError as error:
            held.append("the registry says" in str(error))
        else:
            held.append(False)
    return outcome(held)


@row(
    "25 apart",
    "two models that are served are a day apart: no single purchase shows between them",
    quick="never",
)
def apart(shop: Shop, quick: bool) -> Outcome:
    from considerate.tracking.promotion import promote

    refs = cast(shop, baskets("25-apart", 12))
    held = [promotes(shop, register(shop, refs).version)]
    second, environment = register(shop, refs), Environment(home=shop.home, data=None, store=shop.url)
    try:
        promote(environment, name=NAME, version=second.version, at=datetime.now(UTC), rules=PromotionRules())
    except TrackingError as error:
        held.append("is too close to" in str(error))
    else:
        held.append(False)
    return outcome(held)


@functools.cache
def _tracking() -> Path:
    """Give a tracking database that is laid out already: MLflow takes seconds for that."""
    from considerate.tracking.client import mlflow_client

    home = Path(tempfile.mkdtemp(prefix="considerate-report-"))
    atexit.register(shutil.rmtree, home, ignore_errors=True)
    with mlflow_client(Environment(home=home, data=None)):
        return home / "mlflow.db"


def register(shop: Shop, refs: Mapping[str, bytes]) -> RegisteredVersion:
    """Fit a model on what these customers did, and register it."""
    from considerate.tracking.registry import register_version
    from considerate.tracking.runs import track_run

    if not (shop.home / "mlflow.db").exists():
        shutil.copy(_tracking(), shop.home / "mlflow.db")
    environment = Environment(home=shop.home, data=None, store=shop.url)
    artefact, report = fit(shop, list(refs.values()))
    with tempfile.TemporaryDirectory() as name, track_run(environment, experiment=NAME, name=NAME) as run:
        folder = Path(name) / "artefact"
        artefact.save(folder)
        run.log_tags({**report.tags(), "model_digest": artefact_digest(folder)})
        run.log_artefact(folder)
    return register_version(environment, name=NAME, run_id=run.run_id)


def promotes(shop: Shop, version: int, *, despite_withdrawals: bool = False) -> bool:
    """Whether a version becomes the champion; where it does not, nothing has moved."""
    from considerate.tracking.promotion import promote
    from considerate.tracking.registry import champion

    environment = Environment(home=shop.home, data=None, store=shop.url)
    before = champion(environment, name=NAME)
    try:
        promote(
            environment,
            name=NAME,
            version=version,
            at=datetime.now(UTC),
            rules=AT_ONCE,
            despite_withdrawals=despite_withdrawals,
        )
    except StaleModel:
        if champion(environment, name=NAME) != before:
            raise RuntimeError("refused, and promoted all the same") from None
        return False
    return True


def _promoted(shop: Shop, refs: Mapping[str, bytes], acts: Sequence[str]) -> list[bool]:
    """Fit, let somebody act by a call of the service where there is one, and try to promote; then fit again."""
    held: list[bool] = []
    for act, name in zip(acts, refs, strict=False):
        version = register(shop, refs).version
        _act(shop, act, name, refs[name])
        fresh, plain = ACTS[act]
        held += [promotes(shop, version) == fresh, promotes(shop, version, despite_withdrawals=True) == plain]
    held.append(promotes(shop, register(shop, refs).version))
    return held


def _act(shop: Shop, act: str, name: str, ref: bytes) -> None:
    calls = {
        "withdraw": ("DELETE", f"/v1/me/consents/{T}", None),
        "object": ("PUT", "/v1/me/objection", None),
        "restrict": ("PUT", "/v1/me/restriction", None),
        "erase": ("POST", "/v1/me/privacy-requests", {"type": "erasure"}),
    }
    if act not in calls:
        with writing(shop.engine) as conn:
            play(conn, shop.keys, ref, act, datetime.now(UTC))
        return
    method, path, body = calls[act]
    done = shop.insist(method, path, headers=shop.token(name), **({} if body is None else {"json": body}))
    if done.status_code not in (200, 202):
        raise RuntimeError(done.text)


def _checked(*, at: datetime) -> None:
    """What a command line checks before, this row does not."""


def _fitted_again(shop: Shop, refs: Mapping[str, bytes]) -> list[bool]:
    """Whether a fit that somebody leaves is followed by one without her, and that one is promoted."""
    from considerate.tracking.promotion import promote_fresh
    from considerate.tracking.training import Trained

    leaving, versions = list(refs)[-2:], list[int]()

    def once() -> Trained:
        version = register(shop, refs)
        versions.append(version.version)
        if leaving:
            _act(shop, "withdraw", leaving[0], refs[leaving.pop(0)])
        return Trained(version.run_id, version, (), {})

    environment = Environment(home=shop.home, data=None, store=shop.url)
    _, promotion = promote_fresh(
        environment, once, name=NAME, now=lambda: datetime.now(UTC), check=_checked, rules=AT_ONCE
    )
    return [len(versions) == 3, promotion.version.version == versions[-1], promotion.since_fit.fresh]
