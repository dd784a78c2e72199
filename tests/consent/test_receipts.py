"""Receipts: complete, signed, and worthless once a single byte is another one."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import rfc8785
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, text, update
from tests.consent.test_checkpoints import behind_the_triggers

from considerate.consent.decision import Policy
from considerate.consent.events import chain_hash
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import NOTICE, current_notice
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.consent.receipts import (
    MANDATORY,
    find_row,
    missing_fields,
    record_of,
    sign_receipt,
    verify_receipt,
)
from considerate.errors import ConsentError
from considerate.settings.service import ControllerConfig
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.signing import SigningKey, load_public_keys, load_signing_key, rotate_signing_key
from considerate.store.tables import consent_event

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
SHOP = ControllerConfig(id="shop-7", name="Corner Shop", address="1 High Street", contact="privacy@shop.example")
KEY = SigningKey.of(Ed25519PrivateKey.from_private_bytes(bytes(range(32))))


def record(engine: Engine, ref: bytes, event_id: bytes) -> dict[str, Any]:
    with reading(engine) as conn:
        row = find_row(conn, ref, event_id)
        assert row is not None
        return record_of(conn, row, SHOP, retention_days=730)


@pytest.fixture
def given(engine: Engine, keys: Keys, adults: list[bytes]) -> dict[str, Any]:
    """The record of a yes to training."""
    with writing(engine) as conn:
        shown = current_notice("de")
        done = grant(conn, keys, adults[0], Purpose.TRAIN_MODELS, notice=shown, at=AT, policy=Policy())
    return record(engine, adults[0], done.event_id)


def test_a_record_has_every_mandatory_field_and_says_what_was_decided(given: dict[str, Any]) -> None:
    assert missing_fields(given) == []
    assert missing_fields({}) == list(MANDATORY)
    assert given["purpose"]["id"] == "train_models"
    assert given["privacy_notice"] == {
        "id": NOTICE.notice_id,
        "version": NOTICE.version,
        "text_sha256": NOTICE.text_sha256("de"),
    }
    assert (given["language"], given["event_state"], given["event_type"]) == ("de", "given", "expressed")
    assert (given["event_time"], given["validity_duration"]) == ("2026-05-01T12:00:00.000000+00:00", "P730D")
    assert given["pii_controllers"][0]["name"] == "Corner Shop"
    assert (given["retention_period"], given["jurisdiction"]) == ("P730D", "EU")
    assert given["lawful_basis"].startswith("GDPR 6(1)(a)")


def test_a_record_can_be_held_against_the_ledger(given: dict[str, Any]) -> None:
    ledger = given["ledger"]
    found = chain_hash(bytes.fromhex(ledger["prev_hash"]), ledger["event"].encode())
    assert found.hex() == ledger["hash"]
    assert json.loads(ledger["event"])["state"] == given["event_state"]


def test_each_purpose_has_words_of_its_own(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    records = []
    for purpose in Purpose:
        with writing(engine) as conn:
            done = grant(conn, keys, adults[0], purpose, notice=current_notice(), at=AT, policy=Policy())
        records.append(record(engine, adults[0], done.event_id))
    assert len({one["purpose"]["description"] for one in records}) == len(Purpose)
    for purpose, one in zip(Purpose, records, strict=True):
        explicit = PURPOSE_RULES[purpose].explicit
        assert one["lawful_basis"].startswith("GDPR 9(2)(a)") is explicit
        assert {use["sensitive"] for use in one["pii_information"]} == {explicit}
        assert one["withdrawal_method"].endswith(f"DELETE /v1/me/consents/{purpose}")


def test_a_withdrawal_is_valid_for_no_time(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        grant(conn, keys, adults[0], Purpose.TRAIN_MODELS, notice=current_notice(), at=AT, policy=Policy())
        done = withdraw(conn, keys, adults[0], Purpose.TRAIN_MODELS, at=AT)
    found = record(engine, adults[0], done.event_id)
    assert (found["event_state"], found["validity_duration"]) == ("withdrawn", "P0D")


def test_somebody_elses_event_is_not_found(engine: Engine, adults: list[bytes], given: dict[str, Any]) -> None:
    event_id = bytes.fromhex(given["record_id"].replace("-", ""))
    with reading(engine) as conn:
        assert find_row(conn, adults[0], event_id) is not None
        assert find_row(conn, adults[1], event_id) is None
        assert find_row(conn, adults[0], b"no-such-event-16") is None


def test_a_receipt_verifies_and_gives_its_record(given: dict[str, Any]) -> None:
    assert verify_receipt(sign_receipt(given, KEY), KEY.public_keys) == given


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_any_one_changed_byte_is_noticed(given: dict[str, Any]) -> None:
    receipt = sign_receipt(given, KEY)
    for place in range(len(receipt)):
        changed = bytearray(receipt)
        changed[place] ^= 1
        with pytest.raises(ConsentError, match=r"^receipt: "):
            verify_receipt(bytes(changed), KEY.public_keys)


@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_any_one_byte_removed_or_added_is_noticed(given: dict[str, Any]) -> None:
    receipt = sign_receipt(given, KEY)
    for place in range(len(receipt) + 1):
        with pytest.raises(ConsentError, match=r"^receipt: "):
            verify_receipt(receipt[:place] + b" " + receipt[place:], KEY.public_keys)
        if place < len(receipt):
            with pytest.raises(ConsentError, match=r"^receipt: "):
                verify_receipt(receipt[:place] + receipt[place + 1 :], KEY.public_keys)


def test_another_signature_over_the_same_record_is_another_key(given: dict[str, Any], tmp_path: Path) -> None:
    other = load_signing_key(tmp_path / "other", create=True)
    with pytest.raises(ConsentError, match=r"signed with key '[0-9a-f]{32}', which is none of those given; .*--key"):
        verify_receipt(sign_receipt(given, other), KEY.public_keys)


def test_a_record_beside_another_records_signature_is_no_receipt(given: dict[str, Any]) -> None:
    jws = json.loads(sign_receipt(given, KEY))["jws"]
    forged = rfc8785.dumps({**given, "event_state": "withdrawn", "jws": jws})
    with pytest.raises(ConsentError, match="its signature does not hold; it was changed after it was issued"):
        verify_receipt(forged, KEY.public_keys)


@pytest.mark.parametrize("algorithm", ["none", "HS256"])
def test_a_receipt_of_another_algorithm_is_refused(given: dict[str, Any], algorithm: str) -> None:
    _, payload, signature = json.loads(sign_receipt(given, KEY))["jws"].split(".")
    header = json.dumps({"alg": algorithm, "kid": KEY.key_id, "typ": "consent-receipt+jws"}).encode()
    jws = ".".join((base64.urlsafe_b64encode(header).rstrip(b"=").decode(), payload, signature))
    with pytest.raises(ConsentError, match="its signature does not hold"):
        verify_receipt(rfc8785.dumps({**given, "jws": jws}), KEY.public_keys)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b'"jws"', b'{"jws":1}', b'{"jws":"a.b.c"}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_receipt_is_refused(content: bytes) -> None:
    with pytest.raises(ConsentError, match="not a receipt as it was issued, byte for byte; download it again"):
        verify_receipt(content, KEY.public_keys)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("event_state", "withdrawn"),
        ("event_time", "2026-05-02T12:00:00.000000+00:00"),
        ("validity_duration", "P7300D"),
        ("record_id", "7d1c7a52-0000-4000-8000-000000000000"),
        ("pii_principal_id", "7d1c7a52-0000-4000-8000-000000000000"),
        ("purpose", {"id": "email_campaign", "version": 1}),
        ("privacy_notice", {"id": "considerate-suggestions", "version": 9}),
        ("privacy_notice", None),
        ("ledger", {}),
    ],
)
def test_a_signed_receipt_that_says_something_else_than_its_ledger_entry_is_refused(
    given: dict[str, Any], field: str, value: object
) -> None:
    with pytest.raises(ConsentError, match=r"something else than its ledger entry, .* ask the shop that issued it"):
        verify_receipt(sign_receipt({**given, field: value}, KEY), KEY.public_keys)


@pytest.mark.parametrize("part", ["event", "hash", "prev_hash"])
def test_a_signed_receipt_whose_ledger_entry_was_not_hashed_is_refused(given: dict[str, Any], part: str) -> None:
    text = given["ledger"][part]
    changed = text.replace('"given"', '"refused"') if part == "event" else f"{int(text[0], 16) ^ 1:x}{text[1:]}"
    with pytest.raises(ConsentError, match="or that entry's hash does not fit"):
        verify_receipt(sign_receipt({**given, "ledger": {**given["ledger"], part: changed}}, KEY), KEY.public_keys)


def test_nothing_is_said_of_an_event_that_was_changed(
    engine: Engine, adults: list[bytes], given: dict[str, Any]
) -> None:
    event_id = UUID(given["record_id"]).bytes
    with behind_the_triggers(engine) as conn:
        conn.execute(update(consent_event).values(state="withdrawn"))
        row = find_row(conn, adults[0], event_id)
        assert row is not None
        with pytest.raises(ConsentError, match=r"ledger position 1: not what was once appended, .* ledger verify"):
            record_of(conn, row, SHOP, retention_days=730)


@pytest.mark.parametrize("column", ["prev_hash", "hash", "evidence_commit"])
@pytest.mark.parametrize("database", ["sqlite"], indirect=True)
def test_nothing_is_said_of_an_event_with_text_in_the_place_of_bytes(
    engine: Engine, adults: list[bytes], given: dict[str, Any], column: str
) -> None:
    with behind_the_triggers(engine) as conn:
        conn.execute(text(f"UPDATE consent_event SET {column} = lower(hex({column}))"))
        row = find_row(conn, adults[0], UUID(given["record_id"]).bytes)
        assert row is not None
        with pytest.raises(ConsentError, match="ledger position 1: not what was once appended"):
            record_of(conn, row, SHOP, retention_days=730)


def test_a_receipt_outlives_its_key(given: dict[str, Any], tmp_path: Path) -> None:
    receipt = sign_receipt(given, load_signing_key(tmp_path, create=True))
    rotate_signing_key(tmp_path)
    assert verify_receipt(receipt, load_public_keys(tmp_path)) == given
