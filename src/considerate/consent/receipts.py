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
from considerate.consent.events import HASHED, canonical_row
from considerate.consent.purposes import Purpose
from considerate.errors import ConsentError
from considerate.settings.service import ControllerConfig
from considerate.store.signing import PublicKeys, SigningKey
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
    query = select(consent_event).where(event.event_id == event_id, event.subject_ref == subject_ref)
    row = conn.execute(query).mappings().first()
    return None if row is None else dict(row)


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
    """
    found = notice.c.notice_id == row["notice_id"], notice.c.version == row["notice_version"]
    text = conn.execute(select(notice.c.text_sha256).where(*found, notice.c.locale == row["locale"])).scalar()
    given = row["state"] == ConsentState.GIVEN.value
    days = (row["expires_at"] - row["event_time"]) // _DAY if given and row["expires_at"] is not None else 0
    says, uses = _PURPOSES.get(row["purpose_id"], _UNKNOWN)
    explicit = row["event_type"] == "explicit"
    return {
        "schema_version": SCHEMA,
        "record_id": str(UUID(bytes=row["event_id"])),
        "receipt_id": str(UUID(bytes=row["event_id"])),
        "pii_principal_id": str(UUID(bytes=row["subject_ref"])),
        "privacy_notice": {"id": row["notice_id"], "version": row["notice_version"], "text_sha256": text},
        "language": row["locale"],
        "purpose": {"id": row["purpose_id"], "version": row["purpose_version"], "description": says},
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
        "event_time": _time(row["event_time"]),
        "validity_duration": f"P{days}D",
        "entity_id": row["actor"],
        "event_type": row["event_type"],
        "event_state": row["state"],
        "lawful_basis": "GDPR 9(2)(a), explicit consent" if explicit else "GDPR 6(1)(a), consent",
        "collection_method": row["method"],
        "rights": list(_RIGHTS),
        "authority": controller.authority,
        "ledger": {
            "seq": row["seq"],
            "recorded_at": _time(row["recorded_at"]),
            "prev_hash": row["prev_hash"].hex(),
            "hash": row["hash"].hex(),
            "event": canonical_row([row[name] for name in HASHED]).decode(),
        },
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
        It is no receipt, was changed, or was signed with another key.
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
    return receipt


def missing_fields(record: Mapping[str, Any]) -> Sequence[str]:
    """Name the mandatory fields that a record lacks."""
    return [name for name in MANDATORY if name not in record]


def _time(micros: int) -> str:
    return from_micros(micros).isoformat(timespec="microseconds")


_JSON_ERRORS = (rfc8785.CanonicalizationError, jwt.PyJWTError)
