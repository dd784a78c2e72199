"""A copy of everything that is known of one person: JSON to read, Parquet to load elsewhere, in one archive.

Her own data only: every query names her reference, and nothing is worked out across people. Never imported by a worker.
"""

import hashlib
import io
import json
import logging
import zipfile
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pyarrow as pa
import pyarrow.parquet as pq
from sqlalchemy import Connection, Table, select

from considerate.consent.receipts import find_row, is_sound, record_of, sign_receipt
from considerate.privacy.export_schema import TABLES, VERSION
from considerate.privacy.installation import Installation
from considerate.ranking.history import Channel, Kind
from considerate.store.decisions import ServedDecision, decisions_of
from considerate.store.keys import Keys, unseal
from considerate.store.signing import load_signing_key
from considerate.store.statements import untyped
from considerate.store.subjects import customer_id_of, subject_keys
from considerate.store.tables import (
    consent_current,
    consent_event,
    consent_evidence,
    event_exclusion,
    from_micros,
    interaction,
    preference,
    privacy_request,
    subject,
)

log = logging.getLogger(__name__)

Rows = list[dict[str, Any]]
_ARROW = {
    "text": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("us", "UTC"),
    "flag": pa.bool_(),
    "json": pa.string(),
}


def export_person(place: Installation, subject_ref: bytes, *, at: datetime) -> bytes | None:
    """Give the archive of one person; None for somebody erased or unknown.

    Parameters
    ----------
    place
        Where she is known.
    at
        Now.

    Raises
    ------
    StoreError
        Something cannot be read.
    """
    key = load_signing_key(place.home / "keys", create=True)
    with place.transaction() as conn:
        tables = collect(conn, place.keys, subject_ref)
        if tables is None:
            return None
        unsound = [row["seq"] for row in tables["ledger"] if row["event_id"] is None]
        receipts = {
            f"receipts/{row['event_id']}.json": sign_receipt(_record(conn, place, subject_ref, row["event_id"]), key)
            for row in tables["ledger"]
            if row["seq"] not in unsound
        }
    # Past its time is what is not deleted yet; but for her who restricts its use, it is kept.
    kept = tables["subject"][0]["restricted_at"] is not None
    since = None if kept else at - timedelta(days=place.decisions_days)
    with place.decisions() as conn:
        served = decisions_of(conn, subject_ref, since=since)
    tables["decisions"] = [_decision(one) for one in reversed(served)]
    return write_archive(tables, receipts, unsound, at=at)


def collect(conn: Connection, keys: Keys, subject_ref: bytes) -> dict[str, Rows] | None:
    """Read one person's rows, as plain values named as in `export_schema.TABLES`; decisions lie elsewhere."""
    person = conn.execute(select(subject).where(subject.c.subject_ref == subject_ref)).mappings().first()
    customer_id = customer_id_of(conn, keys, subject_ref)
    if person is None or customer_id is None:
        return None
    own = subject_keys(conn, keys, [subject_ref])[subject_ref]
    return {
        "subject": [{**_plain("subject", dict(person)), "customer_id": customer_id}],
        "consents": [
            {
                **_plain("consents", row),
                "purpose": row["purpose_id"],
                "decided_at": _time(row["event_time"]),
                "ledger_seq": row["seq"],
            }
            for row in _rows(conn, consent_current, subject_ref, "purpose_id")
        ],
        "ledger": _ledger(conn, own, subject_ref),
        "preferences": [_plain("preferences", row) for row in _rows(conn, preference, subject_ref, "kind", "key")],
        "exclusions": [_plain("exclusions", row) for row in _rows(conn, event_exclusion, subject_ref, "order_line")],
        "interactions": [
            {
                **_plain("interactions", row),
                "kind": Kind(row["kind"]).name.lower(),
                "channel": Channel(row["channel"]).name.lower(),
            }
            for row in _rows(conn, interaction, subject_ref, "timestamp", "event_id")
        ],
        "requests": [
            {**_plain("requests", row), "request_id": str(UUID(bytes=bytes(row["request_id"])))}
            for row in _rows(conn, privacy_request, subject_ref, "received_at", "request_id")
        ],
    }


def write_archive(
    tables: Mapping[str, Rows], receipts: Mapping[str, bytes], unsound: Sequence[int], *, at: datetime
) -> bytes:
    """Put it into one zip: each table as JSON and as Parquet, receipts, a manifest with the digest of every file.

    The manifest names the ledger positions, `unsound`, of which nothing is told.
    """
    files: dict[str, bytes] = dict(receipts)
    for name in TABLES:
        rows = tables[name]
        files[f"{name}.json"] = json.dumps(rows, ensure_ascii=False, indent=2, default=_iso).encode() + b"\n"
        files[f"{name}.parquet"] = _parquet(name, rows)
    manifest = {
        "schema_version": VERSION,
        "made_at": _iso(at.astimezone(UTC)),
        "rows": {name: len(tables[name]) for name in TABLES},
        "unsound": list(unsound),
        "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("manifest.json", json.dumps(manifest, indent=2))
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _ledger(conn: Connection, key: bytes, subject_ref: bytes) -> Rows:
    columns = [untyped(column).label(column.name) for column in consent_event.columns]
    query = (
        select(*columns, consent_evidence.c.sealed)
        .join_from(consent_event, consent_evidence, isouter=True)
        .where(consent_event.c.subject_ref == subject_ref)
        .order_by(consent_event.c.seq)
    )
    rows = []
    for row in conn.execute(query).mappings():
        if not is_sound(dict(row)):
            # She has her copy all the same: what was changed behind the ledger is the shop's affair to put right.
            log.error("a copy of one's data lacks ledger position %s: not what was once appended", row["seq"])
            rows.append({field.name: None for field in TABLES["ledger"]} | {"seq": row["seq"]})
            continue
        sealed = row["sealed"]
        # What a commitment was made to lies sealed under her own key, bound to the event.
        evidence = None if sealed is None else json.loads(unseal(key, sealed, row["event_id"]))
        event_id = str(UUID(bytes=bytes(row["event_id"])))
        rows.append({**_plain("ledger", dict(row)), "event_id": event_id, "evidence": evidence})
    return rows


def _record(conn: Connection, place: Installation, subject_ref: bytes, event_id: str) -> dict[str, Any]:
    row = find_row(conn, subject_ref, UUID(event_id).bytes)
    assert row is not None  # noqa: S101 - read in this transaction
    return record_of(conn, row, place.controller, retention_days=place.events_days)


def _decision(one: ServedDecision) -> dict[str, Any]:
    items = [{"item_id": item.item_id, "because": list(item.because)} for item in one.items]
    values = {name: getattr(one, name) for name in (field.name for field in TABLES["decisions"])}
    return {
        **values,
        "decision_id": str(one.decision_id),
        "purposes": list(one.purposes),
        "items": items,
        "facts": dict(one.facts),
    }


def _rows(conn: Connection, table: Table, subject_ref: bytes, *order: str) -> Sequence[Mapping[str, Any]]:
    query = select(table).where(table.c.subject_ref == subject_ref).order_by(*(table.c[name] for name in order))
    return [dict(row) for row in conn.execute(query).mappings()]


def _plain(name: str, row: Mapping[str, Any]) -> dict[str, Any]:
    """Give a row's values under the names of the export, in their order; those named otherwise are None for now."""
    values: dict[str, Any] = {}
    for field in TABLES[name]:
        value = row.get(field.name)
        if field.kind == "time":
            value = _time(value)
        elif isinstance(value, bytes | memoryview):
            value = bytes(value).hex()
        values[field.name] = value
    return values


def _time(micros: int | None) -> datetime | None:
    return None if micros is None else from_micros(micros)


def _iso(value: datetime) -> str:
    return value.isoformat().replace("+00:00", "Z")


def _parquet(name: str, rows: Rows) -> bytes:
    schema = pa.schema([pa.field(field.name, _ARROW[field.kind]) for field in TABLES[name]])
    columns = [
        pa.array([_cell(field.kind, row[field.name]) for row in rows], _ARROW[field.kind]) for field in TABLES[name]
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns, schema=schema), buffer)
    return buffer.getvalue()


def _cell(kind: str, value: Any) -> Any:
    return json.dumps(value, ensure_ascii=False) if kind == "json" and value is not None else value
