"""Interactions go into the store whole, once, and come back as they went."""

from pathlib import Path

import pyarrow as pa
import pytest
from small_sources import AT, Read
from sqlalchemy import Engine, func, select
from tests.databases import Database

from considerate.consent.decision import ConsentState, Policy
from considerate.consent.facts import read_facts
from considerate.consent.ledger import grant, head
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.interactions.columns import SCHEMA, Interactions, LoadReport
from considerate.interactions.loading import load_into_store
from considerate.interactions.stored import read_stored
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys, load_keys
from considerate.store.subjects import find_subject
from considerate.store.tables import interaction, subject

TRAIN = Purpose.TRAIN_MODELS
ROWS = "anna,soup,2026-01-05T10:00:00,2,1\notto,bread,2026-01-06,1,2\nanna,bread,2026-01-07,,3\n"


@pytest.fixture
def engine(database: Database) -> Engine:
    return database.open()


@pytest.fixture
def keys(tmp_path: Path) -> Keys:
    return load_keys(tmp_path / "keys", create=True)


def counted(engine: Engine) -> tuple[int, int]:
    with reading(engine) as conn:
        rows = conn.execute(select(func.count()).select_from(interaction)).scalar_one()
        people = conn.execute(select(func.count()).select_from(subject)).scalar_one()
    return rows, people


def test_loading_the_same_feed_again_adds_nothing(read: Read, engine: Engine, keys: Keys) -> None:
    interactions = read(ROWS)
    first = load_into_store(interactions, engine, keys, at=AT)
    again = load_into_store(read(ROWS), engine, keys, at=AT)
    assert (first.rows, first.inserted, first.customers) == (3, 3, 2)
    assert (again.inserted, again.already_there) == (0, 3)
    assert counted(engine) == (3, 2)


def test_a_longer_feed_adds_what_is_new(read: Read, engine: Engine, keys: Keys) -> None:
    load_into_store(read(ROWS), engine, keys, at=AT)
    report = load_into_store(read(ROWS + "zoe,soup,2026-02-01,1,4\n"), engine, keys, at=AT)
    assert (report.inserted, report.already_there) == (1, 3)


def test_age_bands_of_known_customers_reach_the_subjects(read: Read, engine: Engine, keys: Keys) -> None:
    load_into_store(read(ROWS), engine, keys, at=AT, age_bands={"anna": "16_17", "stranger": "adult"})
    with reading(engine) as conn:
        anna, otto = (find_subject(conn, keys.lookup(name)) for name in ("anna", "otto"))
    assert anna is not None
    assert anna.age_band == "16_17"
    assert otto is not None
    assert otto.age_band == "unknown"
    assert counted(engine) == (3, 2)


def test_the_news_that_a_customer_is_a_minor_ends_what_she_gave_for_good(
    read: Read, engine: Engine, keys: Keys
) -> None:
    load_into_store(read(ROWS), engine, keys, at=AT, age_bands={"anna": "adult", "otto": "adult"})
    lookup = keys.lookup("anna"), keys.lookup("otto")
    with writing(engine) as conn:
        for one in lookup:
            who = find_subject(conn, one)
            assert who is not None
            grant(conn, keys, who.subject_ref, TRAIN, notice=current_notice(), at=AT, policy=Policy())
    for band in ("16_17", "adult"):
        load_into_store(read(ROWS), engine, keys, at=AT, age_bands={"anna": band, "otto": "adult"})
        with reading(engine) as conn:
            states = [read_facts(conn, one)[1].consents[TRAIN].state for one in lookup]
            assert head(conn).seq == 3
        assert states == [ConsentState.INVALIDATED, ConsentState.GIVEN]


def test_the_age_of_somebody_whom_the_feed_does_not_name_ends_what_she_gave(
    read: Read, engine: Engine, keys: Keys
) -> None:
    load_into_store(read(ROWS), engine, keys, at=AT, age_bands={"anna": "adult"})
    lookup = keys.lookup("anna")
    with writing(engine) as conn:
        anna = find_subject(conn, lookup)
        assert anna is not None
        grant(conn, keys, anna.subject_ref, TRAIN, notice=current_notice(), at=AT, policy=Policy())
    bands = {"anna": "13_15", "stranger": "13_15"}
    report = load_into_store(read("otto,soup,2026-02-01,1,9\n"), engine, keys, at=AT, age_bands=bands)
    with reading(engine) as conn:
        anna, facts = find_subject(conn, lookup), read_facts(conn, lookup)[1]
        assert find_subject(conn, keys.lookup("stranger")) is None
    assert anna is not None
    assert (anna.age_band, facts.consents[TRAIN].state) == ("13_15", ConsentState.INVALIDATED)
    assert report.customers == 1
    assert counted(engine) == (4, 2)


def test_a_load_that_fails_half_way_leaves_nothing(read: Read, engine: Engine, keys: Keys) -> None:
    table = read(ROWS).table
    broken = Interactions(table.set_column(1, "item_id", pa.nulls(3, pa.string())), LoadReport("shop", 3, 3))
    with pytest.raises(StoreError):
        load_into_store(broken, engine, keys, at=AT)
    assert counted(engine) == (0, 0)


def test_what_is_stored_comes_back_under_subject_references(read: Read, engine: Engine, keys: Keys) -> None:
    interactions = read(ROWS)
    load_into_store(interactions, engine, keys, at=AT)
    stored = read_stored(engine)
    assert stored.table.schema.equals(SCHEMA)
    with reading(engine) as conn:
        anna = find_subject(conn, keys.lookup("anna"))
    assert anna is not None
    assert set(stored.table["customer_id"].to_pylist()) >= {anna.subject_ref.hex()}
    assert not {"anna", "otto"} & set(stored.table["customer_id"].to_pylist())
    names = [name for name in SCHEMA.names if name != "customer_id"]
    back = stored.table.select(names).sort_by("event_id")
    assert back.equals(interactions.table.select(names).sort_by("event_id"))
    assert (stored.report.rows_kept, stored.report.customers, stored.report.items) == (3, 2, 2)
    assert stored.report.first == interactions.report.first


def test_stored_rows_without_time_or_value_come_back_without(read: Read, engine: Engine, keys: Keys) -> None:
    interactions = read(ROWS, columns={"customer_id": "customer", "item_id": "item"})
    load_into_store(interactions, engine, keys, at=AT)
    table = read_stored(engine).table
    assert table["timestamp"].null_count == table["value"].null_count == table["order_line"].null_count == 3


def test_an_empty_store_says_how_to_fill_it(engine: Engine) -> None:
    with pytest.raises(StoreError, match="holds no interactions; load some: considerate load CONFIG --into-store"):
        read_stored(engine)
