"""From a data TOML to a fold: what is read, what stays out, and when the store is left alone."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from considerate.consent.decision import Policy
from considerate.consent.ledger import grant
from considerate.consent.notices import NOTICE, current_notice
from considerate.consent.publishing import publish
from considerate.consent.purposes import Purpose
from considerate.errors import ConfigError, ConsentError
from considerate.evaluation.preparation import consented_dataset, prepare_fold
from considerate.evaluation.protocols import choose_protocol
from considerate.items.catalogue import Catalogue
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment
from considerate.settings.toml import validate
from considerate.store.catalogue import upsert_items
from considerate.store.engine import open_store, writing
from considerate.store.keys import load_keys
from considerate.store.subjects import ensure_subjects

AT = datetime(2026, 6, 1, tzinfo=UTC)
COLUMNS = {"customer_id": "who", "item_id": "what", "timestamp": "when"}
PURCHASES = """who,what,when
ann,apple,2026-01-01
ann,test-strip,2026-01-02
bob,apple,2026-01-03
bob,bread,2026-01-20
ann,bread,2026-01-21
bob,apple,2026-01-21
"""


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(home=tmp_path / "home", data=None)


def config(folder: Path, source: dict[str, Any] | None = None, **more: Any) -> DataConfig:
    (folder / "purchases.csv").write_text(PURCHASES)
    values = {
        "name": "shop",
        "source": {
            "format": "csv",
            "path": str(folder / "purchases.csv"),
            "columns": COLUMNS,
            "values": {"kind": "purchase"},
            **(source or {}),
        },
        "consent": {"source": "assumed", "k_item": 1, "k_pair": 1},
        **more,
    }
    return validate(DataConfig, values, "shop.toml")


def test_with_assumed_consent_no_store_is_opened_or_made(environment: Environment, tmp_path: Path) -> None:
    dataset = consented_dataset(config(tmp_path), environment, at=AT)
    assert dataset.customers.ids == ("ann", "bob")
    assert dataset.events.n_events == 6
    assert not (environment.home / "considerate.db").exists()


def test_rows_of_sensitive_items_stay_out_even_where_consent_is_assumed(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "items.csv").write_text("what,class\napple,\nbread,\ntest-strip,health\n")
    items = {
        "format": "csv",
        "path": str(tmp_path / "items.csv"),
        "columns": {"item_id": "what", "sensitive": "class"},
    }
    dataset = consented_dataset(config(tmp_path, items=items), environment, at=AT)
    assert dataset.items.ids == ("apple", "bread")
    assert dataset.consent.rows_left_out == {"sensitive": 1}


def test_rows_of_items_that_nobody_has_classified_stay_out_where_the_shop_says_so(
    environment: Environment, tmp_path: Path
) -> None:
    (tmp_path / "items.csv").write_text("what,class\napple,none\nbread,\n")  # test-strip is not in it at all
    items = {
        "format": "csv",
        "path": str(tmp_path / "items.csv"),
        "columns": {"item_id": "what", "sensitive": "class"},
        "unclassified": "sensitive",
    }
    dataset = consented_dataset(config(tmp_path, items=items), environment, at=AT)
    assert dataset.items.ids == ("apple",)
    assert dataset.consent.rows_left_out == {"sensitive": 3}


def test_what_the_store_classes_as_sensitive_stays_out_wherever_the_rows_come_from(
    environment: Environment, tmp_path: Path
) -> None:
    data = config(tmp_path, consent={"unknown_age": "adult", "k_item": 5, "k_pair": 5})
    keys = load_keys(environment.home / "keys", create=True)
    engine = open_store(environment.database_url, create=True)
    try:
        with writing(engine) as conn:
            for ref in ensure_subjects(conn, keys, ["ann", "bob"]).values():
                policy = Policy(unknown_age="adult")
                grant(conn, keys, ref, Purpose.TRAIN_MODELS, notice=current_notice(), at=AT, policy=policy)
        unclassed = consented_dataset(data, environment, at=AT).consent
        shelf = replace(
            Catalogue.of_ids(["apple", "bread", "test-strip"]), sensitive=np.array(["", "unknown", "health"], object)
        )
        with writing(engine) as conn:
            upsert_items(conn, shelf)
    finally:
        engine.dispose()
    assert (unclassed.rows_left_out, unclassed.tags()["consent.sensitive_items"]) == ({}, "no catalogue")
    dataset = consented_dataset(data, environment, at=AT)
    assert dataset.items.ids == ("apple",)
    assert dataset.consent.rows_left_out == {"sensitive": 3}
    assert dataset.consent.tags()["consent.sensitive_items"] == "2"


def test_a_position_of_the_ledger_needs_the_ledger(environment: Environment, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ledger position 3: shop reads no ledger; leave out --as-of-seq"):
        consented_dataset(config(tmp_path), environment, at=AT, seq=3)


def test_nothing_is_learnt_under_a_notice_older_than_what_the_store_has_published(
    environment: Environment, tmp_path: Path
) -> None:
    load_keys(environment.home / "keys", create=True)
    engine = open_store(environment.database_url, create=True)
    with writing(engine) as conn:
        publish(conn, [replace(NOTICE, version=2, oldest_valid=2)])
    engine.dispose()
    ledger = {"source": "ledger", "k_item": 5, "k_pair": 5}
    with pytest.raises(ConsentError, match=r"the store knows version 2, the folder `notices` ends at 1; copy"):
        consented_dataset(config(tmp_path, consent=ledger), environment, at=AT)


def test_rows_of_the_store_need_the_ledger(environment: Environment, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r'consent\.source = assumed; must be "ledger" where source\.format = "store"'
    ):
        consented_dataset(config(tmp_path, source={"format": "store"}), environment, at=AT)


def test_a_temporal_fold_comes_with_popularity_judged_on_it(environment: Environment, tmp_path: Path) -> None:
    data = config(tmp_path, protocol={"week": {"kind": "temporal", "test_days": 7, "k": [1]}})
    prepared = prepare_fold(data, environment, choose_protocol(data, None, "shop.toml"), final=True, at=AT)
    # In train apple has two buyers and test-strip one; bread, bought after the cut, is nobody's.
    assert prepared.folds[0].train.items.ids == ("apple", "test-strip")
    assert prepared.popularity[0].figures["ndcg_at_1"].tolist() == [1.0]  # bob buys apple again
    assert prepared.data_digest == prepared.dataset.digest
    assert prepared.protocol == "week"


FIXED = {"k": [2], "goals": ["new"], "kind": "fixed"}
TIMELESS = {"columns": {"customer_id": "who", "item_id": "what"}}


def test_a_fixed_fold_reads_the_public_test_file_when_final(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "test.csv").write_text("who,what\nann,bread\nbob,test-strip\n")
    protocol = {"fixed": {**FIXED, "test": str(tmp_path / "test.csv")}}
    data = config(tmp_path, source=TIMELESS, protocol=protocol)
    (tmp_path / "purchases.csv").write_text("who,what\nann,apple\nann,test-strip\nbob,apple\nbob,bread\n")
    prepared = prepare_fold(data, environment, choose_protocol(data, None, "shop.toml"), final=True, at=AT)
    (popular,) = prepared.popularity
    assert popular.figures["ndcg_at_2"].tolist() == [1.0, 1.0]  # one item is left to suggest, and it is the right one
    assert prepared.folds[0].at is None
    assert prepared.dataset.events.n_events == 4


def test_the_public_test_file_is_not_opened_for_the_development_part(environment: Environment, tmp_path: Path) -> None:
    protocol = {"fixed": {**FIXED, "test": str(tmp_path / "not there.csv"), "development_share": 0.4}}
    data = config(tmp_path, source=TIMELESS, protocol=protocol)
    people = "".join(f"c{c},i{i}\n" for c in range(8) for i in range(5))
    (tmp_path / "purchases.csv").write_text(f"who,what\n{people}")
    prepared = prepare_fold(data, environment, choose_protocol(data, None, "shop.toml"), final=False, at=AT)
    assert prepared.folds[0].part == "val"
    assert 0 < prepared.folds[0].train.events.n_events < 40


def test_what_is_known_of_items_and_customers_comes_with_the_data(environment: Environment, tmp_path: Path) -> None:
    (tmp_path / "items.csv").write_text("what,name\napple,Red\nquince,Yellow\n")
    (tmp_path / "people.csv").write_text("who,age\nann,34\nzoe,70\n")
    items = {"format": "csv", "path": str(tmp_path / "items.csv"), "columns": {"item_id": "what", "title": "name"}}
    customers = {
        "format": "csv",
        "path": str(tmp_path / "people.csv"),
        "columns": {"customer_id": "who", "age_band": "age"},
    }
    dataset = consented_dataset(config(tmp_path, items=items, customers=customers), environment, at=AT)
    assert dataset.catalogue.item_ids == ("apple", "quince")
    assert dataset.events.traits is not None
    assert [dataset.events.traits.at(c) for c in (0, 1)] == [("age_band=25-34",), ()]


def test_rolling_cuts_come_with_popularity_judged_at_each(environment: Environment, tmp_path: Path) -> None:
    table = {"kind": "temporal", "test_days": 6, "cuts": 2, "k": [1]}
    data = config(tmp_path, protocol={"weeks": table})
    later = "ann,apple,2026-01-10\nbob,test-strip,2026-01-12\n"
    (tmp_path / "purchases.csv").write_text(PURCHASES + later)
    prepared = prepare_fold(data, environment, choose_protocol(data, None, "shop.toml"), final=True, at=AT)
    assert [fold.label for fold in prepared.folds] == ["cut_1", "cut_2"]
    assert [(one.label, one.goal) for one in prepared.popularity] == [
        (label, goal) for label in ("cut_1", "cut_2") for goal in ("repeat", "new")
    ]
    assert prepared.part == "test"
