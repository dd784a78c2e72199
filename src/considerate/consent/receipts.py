"""Receipts: what was decided, in the fields of ISO/IEC TS 27560:2023, signed so that anyone can check it later.

A receipt is the record in canonical JSON (RFC 8785) with one more field, `jws`: the same record signed with Ed25519, as
a compact JWS (RFC 7515). It is checked byte for byte: a file in which anything was changed is no receipt.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

import jwt
import rfc8785
from jwt.utils import base64url_decode, base64url_encode
from sqlalchemy import Connection, select

from considerate.consent.decision import ConsentState
from considerate.consent.events import HASHED, canonical_row, chain_hash, is_chained
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError
from considerate.settings.service import ControllerConfig
from considerate.store.signing import PublicKeys, SigningKey
from considerate.store.statements import untyped
from considerate.store.tables import consent_event, from_micros, notice

SCHEMA = "considerate.receipt.v1; ISO/IEC TS 27560:2023"
TYPE = "consent-receipt+jws"
MANDATORY = (
    "schema_version",
    "record_id",
    "receipt_id",
    "pii_principal_id",
    "privacy_notice",
    "language",
    "purpose",
    "pii_information",
    "pii_controllers",
    "storage_locations",
    "retention_period",
    "jurisdiction",
    "recipient_third_parties",
    "withdrawal_method",
    "event_time",
    "validity_duration",
    "entity_id",
    "event_type",
    "event_state",
)
"""Fields that the specification asks of every record."""

_DAY = 86_400_000_000
_RIGHTS = ("access", "portability", "erasure", "restriction", "objection", "withdrawal", "complaint")
_PURPOSES: Mapping[str, tuple[str, tuple[str, ...]]] = {
    Purpose.PERSONALISE_ONSITE: ("suggestions from one's own history", ("orders", "ratings", "clicks on the pages")),
    Purpose.TRAIN_MODELS: ("learning which products go together", ("orders", "ratings", "clicks on the pages")),
    Purpose.LINK_IN_STORE: ("purchases at a till, for the uses that are on", ("purchases at a till",)),
    Purpose.EMAIL_CAMPAIGN: ("product suggestions by e-mail", ("e-mail address", "orders")),
    Purpose.SENSITIVE_CATEGORIES: ("sensitive products, for the uses that are on", ("orders of sensitive products",)),
}
_UNKNOWN = ("a purpose of another version of this software", ("see the notice",))


def find_row(conn: Connection, subject_ref: bytes, event_id: bytes) -> Mapping[str, Any] | None:
    """Read one ledger event of one person; None for an unknown event and for somebody else's, which look the same."""
    event = consent_event.c
    columns = (untyped(column).label(column.name) for column in consent_event.columns)
    query = select(*columns).where(event.event_id == event_id, event.subject_ref == subject_ref)
    row = conn.execute(query).mappings().first()
    return None if row is None else dict(row)


def is_sound(row: Mapping[str, Any]) -> bool:
    """Whether a ledger row, read `untyped`, is what was once appended, as far as it can tell by itself."""
    previous, values = row["prev_hash"], [row[name] for name in HASHED]
    return isinstance(previous, bytes) and is_chained([previous, row["hash"], *values], previous)


def record_of(
    conn: Connection, row: Mapping[str, Any], controller: ControllerConfig, *, retention_days: int
) -> dict[str, Any]:
    """Give the record of a ledger event as plain JSON: the fields `MANDATORY`, those of the GDPR, its ledger entry.

    Parameters
    ----------
    conn
        From `store.engine.reading`; the text of the notice is looked up.
    row
        From `find_row`.
    controller
        Who decides on purposes and means.
    retention_days
        How long what the purpose uses is kept.

    Raises
    ------
    ConsentError
        The event is not as it was recorded: nothing is said of it, as a receipt of it would bear out who changed it.
    """
    if not is_sound(row):
        raise ConsentError(
            f"ledger position {row['seq']}: not what was once appended, so there is no receipt of it; "
            "run: considerate ledger verify"
        )
    event = canonical_row([row[name] for name in HASHED]).decode()
    found = notice.c.notice_id == row["notice_id"], notice.c.version == row["notice_version"]
    text = conn.execute(select(notice.c.text_sha256).where(*found, notice.c.locale == row["locale"])).scalar()
    told = _told(json.loads(event))
    says, uses = _PURPOSES.get(row["purpose_id"], _UNKNOWN)
    explicit = row["event_type"] == "explicit"
    return {
        "schema_version": SCHEMA,
        **told,
        "privacy_notice": {**told["privacy_notice"], "text_sha256": text},
        "purpose": {**told["purpose"], "description": says},
        "pii_information": [{"pii_type": use, "sensitive": explicit} for use in uses],
        "pii_controllers": [
            {
                "id": controller.id,
                "name": controller.name,
                "address": controller.address,
                "contact": controller.contact,
                "role": "controller",
                "type": controller.type,
            }
        ],
        "storage_locations": list(controller.storage_locations),
        "retention_period": f"P{retention_days}D",
        "jurisdiction": row["jurisdiction"] or controller.jurisdiction,
        "recipient_third_parties": list(controller.recipients),
        "withdrawal_method": f"one call or click, no reason: DELETE /v1/me/consents/{row['purpose_id']}",
        "lawful_basis": "GDPR 9(2)(a), explicit consent" if explicit else "GDPR 6(1)(a), consent",
        "rights": list(_RIGHTS),
        "authority": controller.authority,
        "ledger": {
            **told["ledger"],
            "prev_hash": row["prev_hash"].hex(),
            "hash": row["hash"].hex(),
            "event": event,
        },
    }


def _told(event: Mapping[str, Any]) -> dict[str, Any]:
    """Give what a record repeats of its ledger entry, from the canonical JSON that the chain covers."""
    given = event["state"] == ConsentState.GIVEN.value
    days = (event["expires_at"] - event["event_time"]) // _DAY if given and event["expires_at"] is not None else 0
    return {
        "record_id": str(UUID(event["event_id"])),
        "receipt_id": str(UUID(event["event_id"])),
        "pii_principal_id": str(UUID(event["subject_ref"])),
        "privacy_notice": {"id": event["notice_id"], "version": event["notice_version"]},
        "language": event["locale"],
        "purpose": {"id": event["purpose_id"], "version": event["purpose_version"]},
        "event_time": _time(event["event_time"]),
        "validity_duration": f"P{days}D",
        "entity_id": event["actor"],
        "event_type": event["event_type"],
        "event_state": event["state"],
        "collection_method": event["method"],
        "ledger": {"seq": event["seq"], "recorded_at": _time(event["recorded_at"])},
    }


def sign_receipt(record: Mapping[str, Any], key: SigningKey) -> bytes:
    """Give the receipt of a record: the bytes to be kept."""
    payload = rfc8785.dumps(dict(record))
    jws = jwt.PyJWS().encode(payload, key.private, algorithm="EdDSA", headers={"kid": key.key_id, "typ": TYPE})
    return rfc8785.dumps({**record, "jws": jws})


def verify_receipt(content: bytes, keys: PublicKeys) -> dict[str, Any]:
    """Check a receipt, every byte of it; give its record.

    Parameters
    ----------
    content
        As downloaded.
    keys
        Of the installation that issued it, earlier ones too.

    Raises
    ------
    ConsentError
        It is no receipt, was changed, was signed with another key, or says something else than its ledger entry.
    """
    try:
        receipt: dict[str, Any] = json.loads(content)
        jws: str = receipt.pop("jws")
        # Base64 has spare bits, and JSON has spaces: only one way to write a receipt is right.
        strict = all(base64url_encode(base64url_decode(part)).decode() == part for part in jws.split("."))
        if not strict or rfc8785.dumps({**receipt, "jws": jws}) != content:
            raise ValueError
        header = jwt.get_unverified_header(jws)
        key_id = header["kid"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, *_JSON_ERRORS) as error:
        raise ConsentError(
            "receipt: not a receipt as it was issued, byte for byte; download it again and do not reformat the file"
        ) from error
    key = keys.get(key_id)
    if key is None:
        raise ConsentError(
            f"receipt: signed with key {str(key_id)[:40]!r}, which is none of those given; name the public key of the "
            "shop that issued it: --key ledger.pub"
        )
    try:
        payload = jwt.PyJWS().decode(jws, key, algorithms=["EdDSA"])
        if header.get("typ") != TYPE or payload != rfc8785.dumps(receipt):
            raise ValueError
    except (jwt.PyJWTError, ValueError) as error:
        raise ConsentError("receipt: its signature does not hold; it was changed after it was issued") from error
    if not _bears_out(receipt):
        raise ConsentError(
            "receipt: it says something else than its ledger entry, or that entry's hash does not fit; do not rely on "
            "it, and ask the shop that issued it"
        )
    return receipt


def _bears_out(record: Mapping[str, Any]) -> bool:
    """Whether a record says what its ledger entry says, and that entry is the one that was hashed into the chain."""
    try:
        entry = record["ledger"]
        hashed = chain_hash(bytes.fromhex(entry["prev_hash"]), entry["event"].encode())
        told = _told(json.loads(entry["event"]))
        parts = ("privacy_notice", "purpose", "ledger")
        said = {name: {key: record[name][key] for key in told[name]} for name in parts}
        said |= {name: record[name] for name in told if name not in parts}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
        return False
    return bool(hashed.hex() == entry["hash"] and said == told)


def missing_fields(record: Mapping[str, Any]) -> Sequence[str]:
    """Name the mandatory fields that a record lacks."""
    return [name for name in MANDATORY if name not in record]


def _time(micros: int) -> str:
    return from_micros(micros).isoformat(timespec="microseconds")


_JSON_ERRORS = (rfc8785.CanonicalizationError, jwt.PyJWTError)
