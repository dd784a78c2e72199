"""What the routes of receipts, of the consent history and of a consent platform take and give."""

from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field

from considerate.serving.schemas import Id, Input, Name, Whole


class HistoryEntry(BaseModel):
    """One event of the ledger, and what it takes to check its place in the chain.

    `hash` is the SHA-256 of `clr.v1`, the 32 bytes of `prev_hash` and the UTF-8 of `event`.
    """

    seq: int
    receipt_id: UUID
    purpose: str
    state: str
    notice_id: str
    notice_version: int
    locale: str
    method: str
    decided_at: datetime
    recorded_at: datetime
    expires_at: datetime | None
    evidence: Annotated[dict[str, Any] | None, Field(description="What was kept to show the decision.")]
    event: Annotated[str, Field(description="The event as it was hashed: canonical JSON (RFC 8785).")]
    prev_hash: str
    hash: str


class ConsentHistory(BaseModel):
    """The caller's own part of the ledger, newest first."""

    events: list[HistoryEntry]
    next: Annotated[int | None, Field(description="Value of `before` for the rest; null at the end.")]


class HistoryQuery(Input):
    """Which part of it."""

    limit: Annotated[int, Field(ge=1, le=500)] = 100
    before: Annotated[int | None, Field(ge=1, le=2**53, description="Only events before this `seq`.")] = None


class ReceiptNotice(BaseModel):
    """Which notice was read."""

    id: str
    version: int
    text_sha256: str | None


class ReceiptPurpose(BaseModel):
    """What was decided about."""

    id: str
    version: int
    description: str


class ReceiptInformation(BaseModel):
    """What kind of data the purpose uses."""

    pii_type: str
    sensitive: bool


class ReceiptController(BaseModel):
    """Who decides what the data is used for."""

    id: str
    name: str
    address: str
    contact: str
    role: str
    type: str


class ReceiptLedger(BaseModel):
    """Where the decision stands in the ledger."""

    seq: int
    recorded_at: datetime
    prev_hash: str
    hash: str
    event: str


class Receipt(BaseModel):
    """A record in the fields of ISO/IEC TS 27560:2023 with those of the GDPR, and its signature."""

    schema_version: str
    record_id: UUID
    receipt_id: UUID
    pii_principal_id: UUID
    privacy_notice: ReceiptNotice
    language: str
    purpose: ReceiptPurpose
    pii_information: list[ReceiptInformation]
    pii_controllers: list[ReceiptController]
    storage_locations: list[str]
    retention_period: str
    jurisdiction: str
    recipient_third_parties: list[str]
    withdrawal_method: str
    event_time: datetime
    validity_duration: str
    entity_id: str
    event_type: str
    event_state: str
    lawful_basis: str
    collection_method: str
    rights: list[str]
    authority: str
    ledger: ReceiptLedger
    jws: Annotated[str, Field(description="The record in canonical JSON, signed: compact JWS (RFC 7515), EdDSA.")]


class PlatformRecord(Input):
    """One decision from the shop's own consent platform; what it says is judged as in `considerate consent import`."""

    customer_id: Id
    purpose: Name
    state: Name
    event_time: Name
    notice_id: Name
    notice_version: Annotated[Whole, Field(ge=0, le=99_999_999)]
    locale: Name = "en"
    age_band: Name | None = None
    jurisdiction: Name | None = None
    evidence: Annotated[
        dict[Annotated[str, Field(min_length=1, max_length=100)], Annotated[str, Field(max_length=4_000)]],
        Field(max_length=50, default_factory=dict, description="What shows the decision; needed for a yes."),
    ]


class PlatformRecords(Input):
    """Decisions of many customers."""

    consents: Annotated[list[PlatformRecord], Field(min_length=1)]


class PlatformResult(BaseModel):
    """What became of one decision."""

    status: Literal["recorded", "repeated", "older", "erasing", "left_out"]
    rule: Annotated[str | None, Field(description="Why it is left out.")] = None
    receipt_id: UUID | None = None


class PlatformResults(BaseModel):
    """What became of the decisions, in their order."""

    results: list[PlatformResult]
