"""`train.py --register` on the store and the ledger: what a service may serve, and nothing else."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer
from sqlalchemy import select
from typer.testing import CliRunner

import compare
import train
import tune
from considerate.consent.decision import Policy
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError, TrackingError
from considerate.evaluation.preparation import prepare
from considerate.interactions.loading import load_into_store
from considerate.interactions.reading import read_interactions
from considerate.items.catalogue import Catalogue
from considerate.privacy.tombstones import Tombstone, keep_outside
from considerate.ranking.loading import load
from considerate.recommenders.fitting import fit_model
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.settings.model import ModelConfig
from considerate.settings.toml import read_toml
from considerate.store.catalogue import upsert_items
from considerate.store.engine import open_store, reading, writing
from considerate.store.keys import load_keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import subject
from considerate.tracking.client import mlflow_client
from considerate.tracking.promotion import promote
from considerate.tracking.registry import champion, champion_artefact, versions
from considerate.tracking.training import Training, keep_training

CANARY = "canary-customer-"
ITEM_KNN = Path(train.__file__).parents[1] / "models" / "item_knn.toml"
AT = datetime(2026, 4, 1, tzinfo=UTC)
CUSTOMERS = [f"{CANARY}{c:03}" for c in range(60)]
STORE_TOML = """
name = "corner_shop"

[source]
format = "store"

[consent]
source = "ledger"
unknown_age = "adult"
k_item = 5

[protocol.weekly]
kind = "temporal"
test_days = 7
min_customers = 2
k = [5]
"""


@pytest.fixture
def stored(shop: Any) -> Any:
    """The small shop in a store: 54 of 60 customers allowed training, one of them took it back."""
    environment = Environment(home=shop.home, data=None)
    interactions = read_interactions(read_toml(shop.data, DataConfig), environment, quarantine=None, at=AT)
    keys = load_keys(environment.home / "keys", create=True)
    engine = open_store(environment.database_url, create=True)
    try:
        load_into_store(interactions, engine, keys, at=AT)
        with writing(engine) as conn:
            refs = ensure_subjects(conn, keys, CUSTOMERS)
            policy = Policy(unknown_age="adult")
            for customer in CUSTOMERS[:54]:
                ref, notice = refs[customer], current_notice()
                grant(conn, keys, ref, Purpose.TRAIN_MODELS, notice=notice, at=AT, policy=policy)
            withdraw(conn, keys, refs[CUSTOMERS[0]], Purpose.TRAIN_MODELS, at=AT)
    finally:
        engine.dispose()
    shop.data.write_text(STORE_TOML)
    return shop


def shelf_of_products() -> Catalogue:
    bare = Catalogue.of_ids([f"product-{item:02}" for item in range(40)])
    return replace(
        bare, category=np.array([f"TASTE > {item // 4}" for item in range(40)], object), min_age=np.zeros(40, np.int16)
    )


def trained(shop: Any, *, register: bool = True) -> Any:
    environment = Environment(home=shop.home, data=None)
    prepared = prepare(shop.data, environment, None, final=False, at=AT)
    model = read_toml(shop.model, ModelConfig)
    return train.train(model, shop.model, prepared, environment, register=register, say=lambda _: None)


@pytest.mark.slow
def test_the_champion_is_the_model_of_those_who_allow_training(stored: Any, tmp_path: Path) -> None:
    environment = Environment(home=stored.home, data=None)
    done = trained(stored)
    assert done.version.label == "corner_shop-1"
    promote(environment, name="corner_shop", version=done.version.version, at=AT)
    assert champion_artefact(environment, tmp_path / "champion", name="corner_shop") == done.version

    manifest = load(tmp_path / "champion").manifest
    assert manifest.consent.source == "ledger"
    assert manifest.consent.customers == 53
    assert done.facts["consent"]["n_excluded_withdrawn"] == "1"
    assert done.facts["consent"]["n_excluded_absent"] == "6"
    with mlflow_client(environment) as client:
        tags = client.get_model_version("corner_shop", "1").tags
    assert tags["consent.n_total"] == "60"
    assert tags["consent.ledger_seq"] == "55"
    assert tags["model_digest"] == done.facts["model_digest"]


@pytest.mark.slow
def test_figures_are_judged_on_a_cut_and_the_registered_artefact_learnt_from_everything(
    stored: Any, tmp_path: Path
) -> None:
    judged, registered = trained(stored, register=False), trained(stored)
    assert judged.version is None
    assert [figure.value for figure in judged.figures] == [figure.value for figure in registered.figures]
    assert (judged.facts["fitted_on"], registered.facts["fitted_on"]) == ("train", "everything")
    assert judged.facts["model_digest"] != registered.facts["model_digest"]


@pytest.mark.slow
def test_no_customer_id_of_the_store_reaches_mlflow(stored: Any) -> None:
    trained(stored)
    folder = stored.home / "mlartifacts"
    written = [stored.home / "mlflow.db", *(path for path in folder.rglob("*") if path.is_file())]
    environment = Environment(home=stored.home, data=None)
    engine = open_store(environment.database_url, create=False, read_only=True)
    try:
        with engine.connect() as conn:
            refs = [bytes(row[0]) for row in conn.exec_driver_sql("SELECT subject_ref FROM subject")]
    finally:
        engine.dispose()
    assert len(refs) == 60
    forbidden = [CANARY.encode(), *refs, *(ref.hex().encode() for ref in refs)]
    for path in written:
        content = path.read_bytes()
        assert [needle for needle in forbidden if needle in content] == [], path.name


@pytest.mark.slow
def test_one_command_fits_registers_and_promotes_and_proves_what_it_did(
    stored: Any, invoke: Callable[..., Any]
) -> None:
    done = invoke(stored, "--promote")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["promoted"], said["version"], said["withdrawn_since_fit"]) == ("corner_shop-1", "corner_shop-1", 0)
    assert (stored.home / "checkpoints" / "55.json").exists()
    environment = Environment(home=stored.home, data=None)
    assert champion(environment, name="corner_shop").label == "corner_shop-1"  # type: ignore[union-attr]

    again = invoke(stored, "--promote")
    assert (again.returncode, again.stdout) == (2, "")
    assert "min_publish_hours = 24: fit again after" in again.stderr
    assert len(versions(environment, name="corner_shop")) == 1, "said before anything is fitted"


def test_nobody_who_withdrew_before_the_command_began_is_served_by_it(stored: Any, invoke: Callable[..., Any]) -> None:
    behind = invoke(stored, "--promote", "--as-of-seq", "54")  # before the withdrawal
    assert (behind.returncode, behind.stdout) == (2, "")
    assert "--as-of-seq 54 with --promote: who withdrew after that position would be in the model" in behind.stderr
    assert "leave out --as-of-seq, or use --register" in behind.stderr


def test_a_store_from_before_an_erasure_is_not_learnt_from(stored: Any, invoke: Callable[..., Any]) -> None:
    environment = Environment(home=stored.home, data=None)
    engine = open_store(environment.database_url, create=False)
    try:
        with reading(engine) as conn:
            ref = conn.execute(select(subject.c.subject_ref).limit(1)).scalar_one()
    finally:
        engine.dispose()
    keep_outside(stored.home, [Tombstone(ref, 55, AT)])
    done = invoke(stored, "--register")
    assert (done.returncode, done.stdout) == (2, "")
    assert "1 erased customers are in this database again" in done.stderr
    assert "considerate rights replay" in done.stderr
    for pipeline, arguments in ((tune.main, [ITEM_KNN, stored.data]), (compare.main, [stored.data, stored.model])):
        app = typer.Typer()
        app.command()(pipeline)
        other = CliRunner().invoke(app, [str(path) for path in arguments], env={"CONSIDERATE_HOME": str(stored.home)})
        assert other.exit_code == 2
        assert "1 erased customers are in this database again" in other.stderr


def test_registration_of_assumed_consent_is_refused_before_the_fit(shop: Any) -> None:
    environment = Environment(home=shop.home, data=None)
    prepared = prepare(shop.data, environment, None, final=False, at=AT)
    said: list[str] = []
    model = read_toml(shop.model, ModelConfig)
    with pytest.raises(TrackingError, match=r"consent\.source = assumed"):
        train.train(model, shop.model, prepared, environment, register=True, say=said.append)
    assert said == []


def test_a_run_whose_registration_fails_is_taken_back(shop: Any) -> None:
    environment = Environment(home=shop.home, data=None)
    prepared = prepare(shop.data, environment, None, final=False, at=AT)
    model = read_toml(shop.model, ModelConfig)
    artefact = fit_model(model, shop.model, prepared.dataset, prepared.data.consent, np.random.default_rng(0))
    training = Training(model, "buyers", artefact, (), 0.0, 0.0)
    # Assumed consent: `train` refuses it before the fit, the registry once more after the run.
    with pytest.raises(TrackingError, match=r"consent\.source = assumed"):
        keep_training(environment, prepared, training, register=True)
    with mlflow_client(environment) as client:
        experiment = client.get_experiment_by_name("corner_shop")
        assert experiment is not None
        assert list(client.search_runs([experiment.experiment_id])) == []
    assert [path for path in (shop.home / "mlartifacts").rglob("*") if path.is_file()] == []


def test_without_a_store_the_message_says_how_to_make_one(shop: Any, invoke: Callable[..., Any]) -> None:
    shop.data.write_text(STORE_TOML)
    with pytest.raises(StoreError, match="no such database"):
        prepare(shop.data, Environment(home=shop.home, data=None), None, final=False, at=AT)
    assert invoke(shop).returncode == 2


@pytest.mark.slow
def test_a_shop_begins_on_its_catalogue_while_nobody_allows_training(
    stored: Any, invoke: Callable[..., Any], tmp_path: Path
) -> None:
    environment = Environment(home=stored.home, data=None)
    keys, engine = (
        load_keys(environment.home / "keys", create=False),
        open_store(environment.database_url, create=False),
    )
    try:
        with writing(engine) as conn:
            for ref in ensure_subjects(conn, keys, CUSTOMERS).values():
                withdraw(conn, keys, ref, Purpose.TRAIN_MODELS, at=AT)
    finally:
        engine.dispose()
    beginnings = Path(train.__file__).parents[1] / "models" / "blend.beginnings.toml"

    contradictory = invoke(stored, "--protocol", "none", "--final", model=beginnings)
    assert contradictory.returncode == 2
    assert "--final with --protocol none: no test part is cut; leave out one of the two" in contradictory.stderr
    refused = invoke(stored, "--protocol", "none", "--register", model=beginnings)
    assert refused.returncode == 2
    assert "consent leaves 0 of 2,400 rows" in refused.stderr
    assert "--protocol none --register" in refused.stderr

    engine = open_store(environment.database_url, create=False)
    try:
        with writing(engine) as conn:
            upsert_items(conn, shelf_of_products())
    finally:
        engine.dispose()
    done = invoke(stored, "--protocol", "none", "--register", model=beginnings)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["version"], said["fitted_on"], said["rows"][0]["name"]) == (
        "corner_shop-1",
        "everything",
        "fit_seconds",
    )
    promote(environment, name="corner_shop", version=1, at=datetime.now(UTC))
    champion_artefact(environment, tmp_path / "champion", name="corner_shop")
    manifest = load(tmp_path / "champion").manifest
    assert manifest.consent.customers == 0
