"""A copy: everything of hers, nothing of anybody else's, the same in JSON as in Parquet."""

import hashlib
import io
import json
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, func, select, update
from tests.consent.test_checkpoints import behind_the_triggers
from tests.privacy.known_people import ANNA, AT, BEN

from considerate.consent.receipts import verify_receipt
from considerate.privacy.erasure import erase_customer, finish_erasure
from considerate.privacy.export import export_person
from considerate.privacy.export_schema import TABLES, Field, schema_document
from considerate.privacy.installation import Installation
from considerate.store.engine import reading
from considerate.store.signing import load_public_keys
from considerate.store.tables import consent_event, consent_evidence, decisions, metadata
from considerate.store.wishes import exercise

ROOT = Path(__file__).parents[2]
PYTHON: dict[str, type | tuple[type, ...]] = {
    "text": str,
    "integer": int,
    "number": (int, float),
    "time": str,
    "flag": bool,
    "json": (dict, list),
}


@pytest.fixture
def files(place: Installation, people: dict[str, bytes]) -> dict[str, bytes]:
    content = export_person(place, people[ANNA], at=AT)
    assert content is not None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rows(files: dict[str, bytes], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(files[f"{name}.json"])
    return found


def test_every_table_is_there_in_both_forms_as_the_schema_says(files: dict[str, bytes]) -> None:
    tables = {f"{name}.{form}" for name in TABLES for form in ("json", "parquet")}
    receipts = {f"receipts/{row['event_id']}.json" for row in rows(files, "ledger")}
    assert set(files) == {"manifest.json"} | tables | receipts
    for name, fields in TABLES.items():
        assert rows(files, name), f"{name} is empty"
        for row in rows(files, name):
            assert list(row) == [field.name for field in fields]
            for field in fields:
                assert row[field.name] is None or isinstance(row[field.name], PYTHON[field.kind]), (name, field.name)
                if field.kind == "time" and row[field.name] is not None:
                    assert datetime.fromisoformat(row[field.name]).tzinfo is not None


def plain(field: Field, value: Any) -> Any:
    if value is None:
        return None
    if field.kind == "time":
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return json.loads(value) if field.kind == "json" else value


def test_parquet_holds_what_json_holds(files: dict[str, bytes]) -> None:
    for name, fields in TABLES.items():
        table = pq.read_table(io.BytesIO(files[f"{name}.parquet"])).to_pylist()
        assert [{field.name: plain(field, row[field.name]) for field in fields} for row in table] == rows(files, name)


def test_the_manifest_names_the_digest_of_every_file(files: dict[str, bytes]) -> None:
    manifest = json.loads(files.pop("manifest.json"))
    assert manifest["schema_version"] == 1
    assert manifest["made_at"] == "2026-11-22T12:00:00Z"
    assert manifest["rows"] == {name: len(rows(files, name)) for name in TABLES}
    assert manifest["sha256"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def test_it_says_what_she_did_and_said(files: dict[str, bytes]) -> None:
    assert rows(files, "subject")[0]["customer_id"] == ANNA
    assert [row["state"] for row in rows(files, "consents")] == ["given", "given"]
    assert rows(files, "ledger")[0]["evidence"]["form"] == f"signed by {ANNA}"
    assert len(rows(files, "interactions")) == 40
    assert {(row["kind"], row["channel"]) for row in rows(files, "interactions")} == {("purchase", "online")}
    assert rows(files, "preferences")[0]["key"] == f"brand of {ANNA}"
    assert rows(files, "exclusions")[0] == {
        "order_line": f"line {ANNA} 3",
        "reason": "gift",
        "excluded_at": "2026-11-22T12:00:00Z",
    }
    (decision,) = rows(files, "decisions")
    assert (decision["basis"], decision["reason"], decision["purposes"]) == (
        "personalised",
        "ok",
        ["personalise_onsite"],
    )
    assert decision["items"] == [{"item_id": "item-1", "because": [f"item of {ANNA}"]}]
    assert [row["type"] for row in rows(files, "requests")] == ["access"]


def test_its_receipts_hold_against_the_shop_s_public_key(files: dict[str, bytes], home: Path) -> None:
    public = load_public_keys(home / "keys")
    for row in rows(files, "ledger"):
        record = verify_receipt(files[f"receipts/{row['event_id']}.json"], public)
        assert (record["ledger"]["hash"], record["event_state"]) == (row["hash"], row["state"])


@pytest.mark.parametrize("changed", [{"jurisdiction": "nowhere"}, {"event_time": 2**62}, {"event_id": bytes(16)}])
def test_of_an_entry_that_was_changed_nothing_is_told_and_the_rest_is_there(
    place: Installation,
    engine: Engine,
    people: dict[str, bytes],
    caplog: pytest.LogCaptureFixture,
    changed: dict[str, Any],
) -> None:
    hers = consent_event.c.subject_ref == people[ANNA]
    with behind_the_triggers(engine, emptied=[consent_evidence]) as conn:
        seq = conn.execute(select(func.min(consent_event.c.seq)).where(hers)).scalar_one()
        conn.execute(update(consent_event).where(consent_event.c.seq == seq).values(changed))
        conn.commit()
    content = export_person(place, people[ANNA], at=AT)
    assert content is not None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        manifest, names = json.loads(archive.read("manifest.json")), archive.namelist()
    assert manifest["unsound"] == [seq]
    assert len([name for name in names if name.startswith("receipts/")]) == manifest["rows"]["ledger"] - 1 > 0
    assert f"a copy of one's data lacks ledger position {seq}: not what was once appended" in caplog.text


def test_nothing_in_it_is_anybody_else_s(
    files: dict[str, bytes], place: Installation, engine: Engine, people: dict[str, bytes]
) -> None:
    for content in files.values():
        assert BEN.encode() not in content
        assert people[BEN] not in content
        assert people[BEN].hex().encode() not in content
    # And the test would see it: hers are there.
    assert ANNA.encode() in files["subject.json"]
    assert people[ANNA].hex().encode() in files["ledger.json"]


def test_a_restricted_person_has_her_copy_too(place: Installation, people: dict[str, bytes]) -> None:
    with place.transaction() as conn:
        conn.exec_driver_sql("UPDATE subject SET restricted_at = 1, objected_at = 1")
    content = export_person(place, people[ANNA], at=AT)
    assert content is not None
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert len(json.loads(archive.read("interactions.json"))) == 40
        assert json.loads(archive.read("subject.json"))[0]["restricted_at"] == "1970-01-01T00:00:00.000001Z"


def test_decisions_past_their_time_are_in_the_copy_only_of_who_restricts_use(
    place: Installation, people: dict[str, bytes]
) -> None:
    def decisions_at(at: datetime) -> int:
        content = export_person(place, people[ANNA], at=at)
        assert content is not None
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return len(json.loads(archive.read("decisions.json")))

    over = AT + timedelta(days=place.decisions_days, seconds=1)
    assert (decisions_at(over - timedelta(seconds=1)), decisions_at(over)) == (1, 0)
    with place.transaction() as conn:
        exercise(conn, people[ANNA], "restriction", at=AT)
    assert decisions_at(over) == 1


def test_of_somebody_erased_or_unknown_there_is_none(place: Installation, people: dict[str, bytes]) -> None:
    stone = erase_customer(place, ANNA, at=AT)
    assert stone is not None
    finish_erasure(place, stone.subject_ref, at=AT)
    assert export_person(place, people[ANNA], at=AT) is None
    assert export_person(place, b"nobody-at-all-16", at=AT) is None


def test_every_table_that_knows_people_is_in_a_copy_or_holds_nothing_to_read(engine: Engine) -> None:
    exported = {
        "subject",
        "consent_current",
        "consent_event",
        "consent_evidence",
        "preference",
        "event_exclusion",
        "interaction",
        "served_decision",
        "privacy_request",
    }
    secret = {"subject_key"}  # a key, of no meaning to her
    later = {"tombstone"}  # nobody who has one can ask
    knowing = {
        table.name for known in (metadata, decisions) for table in known.sorted_tables if "subject_ref" in table.c
    }
    assert knowing - exported - secret - later == set()
    with reading(engine) as conn:
        assert conn.execute(metadata.tables["subject"].select()).all() == []


def test_the_document_lists_what_the_code_writes() -> None:
    assert schema_document() in (ROOT / "docs" / "export.md").read_text(encoding="utf-8")
