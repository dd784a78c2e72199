"""The tables of the store, for SQLite and PostgreSQL alike.

Times are whole microseconds since 1970-01-01 UTC: exact, and the same in every database.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    Table,
    Text,
)

metadata = MetaData()

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BIG = BigInteger().with_variant(Integer, "sqlite")


def to_micros(at: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware time.

    >>> to_micros(datetime(1970, 1, 1, 0, 0, 1, tzinfo=UTC))
    1000000
    """
    return (at - _EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Give the time of `to_micros` back, in UTC."""
    return _EPOCH + timedelta(microseconds=micros)


subject = Table(
    "subject",
    metadata,
    Column("subject_ref", LargeBinary(16), primary_key=True),
    # Both ways back to the person; erasure empties them.
    Column("lookup_hmac", LargeBinary(32), unique=True),
    Column("customer_id_enc", LargeBinary),
    Column("age_band", Text, nullable=False),
    Column("age_source", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("consent_epoch", _BIG, nullable=False),
    Column("objected_at", _BIG),
    Column("restricted_at", _BIG),
    Column("gpc_at", _BIG),
    Column("created_at", _BIG, nullable=False),
    CheckConstraint("age_band IN ('unknown', 'u13', '13_15', '16_17', 'adult')", name="age_band_known"),
    CheckConstraint("state IN ('active', 'erasing', 'erased')", name="state_known"),
)

subject_key = Table(
    "subject_key",
    metadata,
    Column("subject_ref", LargeBinary(16), ForeignKey("subject.subject_ref"), primary_key=True),
    Column("wrapped_key", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

key_check = Table(
    "key_check",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("fingerprint", Text, nullable=False),
)
"""One row: the fingerprint of the master key under which this store was written."""

notice = Table(
    "notice",
    metadata,
    Column("notice_id", Text, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("locale", Text, primary_key=True),
    Column("text_sha256", Text, nullable=False),
    Column("material", Boolean, nullable=False),
    Column("valid_from", _BIG, nullable=False),
)

consent_event = Table(
    "consent_event",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=False),
    Column("event_id", LargeBinary(16), nullable=False, unique=True),
    Column("subject_ref", LargeBinary(16), ForeignKey("subject.subject_ref"), nullable=False),
    Column("purpose_id", Text, nullable=False),
    Column("purpose_version", Integer, nullable=False),
    Column("notice_id", Text, nullable=False),
    Column("notice_version", Integer, nullable=False),
    Column("locale", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("event_type", Text, nullable=False),
    Column("method", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("event_time", _BIG, nullable=False),
    Column("recorded_at", _BIG, nullable=False),
    Column("expires_at", _BIG),
    Column("jurisdiction", Text),
    Column("evidence_commit", LargeBinary(32)),
    Column("schema_version", Integer, nullable=False),
    Column("prev_hash", LargeBinary(32), nullable=False),
    Column("hash", LargeBinary(32), nullable=False),
    Index("consent_event_by_subject", "subject_ref", "purpose_id", "seq"),
)
"""Append-only: triggers refuse UPDATE and DELETE."""

consent_evidence = Table(
    "consent_evidence",
    metadata,
    Column("event_id", LargeBinary(16), ForeignKey("consent_event.event_id"), primary_key=True),
    Column("sealed", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)
"""What `consent_event.evidence_commit` commits to, sealed under the subject's key."""

consent_current = Table(
    "consent_current",
    metadata,
    Column("subject_ref", LargeBinary(16), ForeignKey("subject.subject_ref"), primary_key=True),
    Column("purpose_id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("seq", _BIG, nullable=False),
    Column("purpose_version", Integer, nullable=False),
    Column("notice_id", Text, nullable=False),
    Column("notice_version", Integer, nullable=False),
    Column("event_time", _BIG, nullable=False),
    Column("expires_at", _BIG),
    sqlite_with_rowid=False,
)
"""The last ledger event of each subject and purpose: a projection that can be rebuilt at any time."""

interaction = Table(
    "interaction",
    metadata,
    Column("subject_ref", LargeBinary(16), ForeignKey("subject.subject_ref"), primary_key=True),
    Column("event_id", Text, primary_key=True),
    Column("item_id", Text, nullable=False),
    Column("kind", SmallInteger, nullable=False),
    Column("value", Float),
    Column("timestamp", _BIG),
    Column("position", _BIG),
    Column("channel", SmallInteger, nullable=False),
    Column("order_line", Text),
    Column("decision_id", Text),
    Column("surface", Text),
    Column("received_at", _BIG, nullable=False),
    sqlite_with_rowid=False,
)
"""Without rowid: the rows of one subject lie side by side, so that a history is one short range read."""

item = Table(
    "item",
    metadata,
    Column("item_id", Text, primary_key=True),
    Column("group_id", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("category", Text, nullable=False),
    Column("brand", Text, nullable=False),
    Column("image_url", Text, nullable=False),
    Column("price", Float),
    Column("min_age", SmallInteger, nullable=False),
    Column("sensitive", Text, nullable=False),
    Column("in_stock", Boolean, nullable=False),
    Column("features", JSON, nullable=False),
    Column("changed_in", _BIG, nullable=False, server_default="0", index=True),
)
"""`changed_in` is the version of the catalogue in which the item last changed."""

catalogue_state = Table(
    "catalogue_state",
    metadata,
    Column("id", SmallInteger, primary_key=True, autoincrement=False),
    Column("version", _BIG, nullable=False),
)
"""One row: how often the catalogue has changed."""

preference = Table(
    "preference",
    metadata,
    Column("subject_ref", LargeBinary(16), ForeignKey("subject.subject_ref"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("key", Text, primary_key=True),
    Column("polarity", Text, nullable=False),
    Column("stated_at", _BIG, nullable=False),
    CheckConstraint("kind IN ('item', 'category', 'brand')", name="preference_kind_known"),
    CheckConstraint("polarity IN ('like', 'dislike')", name="polarity_known"),
    sqlite_with_rowid=False,
)
"""What a customer said she likes or does not like."""

event_exclusion = Table(
    "event_exclusion",
    metadata,
    Column("subject_ref", LargeBinary(16), ForeignKey("subject.subject_ref"), primary_key=True),
    Column("order_line", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    Column("excluded_at", _BIG, nullable=False),
    sqlite_with_rowid=False,
)
"""Purchases that count for nothing, by their customer's own wish: a gift, not hers."""

privacy_request = Table(
    "privacy_request",
    metadata,
    Column("request_id", LargeBinary(16), primary_key=True),
    Column("subject_ref", LargeBinary(16), ForeignKey("subject.subject_ref"), nullable=False),
    Column("type", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("received_at", _BIG, nullable=False),
    Column("due_at", _BIG, nullable=False),
    Column("completed_at", _BIG),
    Column("steps", JSON, nullable=False),
    CheckConstraint("type IN ('access', 'erasure')", name="request_type_known"),
    CheckConstraint("status IN ('pending', 'in_progress', 'completed', 'cancelled')", name="request_status_known"),
    Index("privacy_request_by_subject", "subject_ref", "received_at"),
)

tombstone = Table(
    "tombstone",
    metadata,
    Column("subject_ref", LargeBinary(16), ForeignKey("subject.subject_ref"), primary_key=True),
    Column("seq", _BIG, nullable=False),
    Column("erased_at", _BIG, nullable=False),
    Column("rebuilt_at", _BIG),
)
"""Who was erased, and whether every model has been fitted anew since; `seq` is the ledger's head at that moment."""

idempotent_answer = Table(
    "idempotent_answer",
    metadata,
    Column("caller", LargeBinary(32), primary_key=True),
    Column("key_hash", LargeBinary(32), primary_key=True),
    Column("request_hash", LargeBinary(32), nullable=False),
    Column("status", Integer, nullable=False),
    Column("answer", Text, nullable=False),
    Column("created_at", _BIG, nullable=False),
    sqlite_with_rowid=False,
)
"""What a request with an Idempotency-Key was answered; `caller` is a pseudonym of this table's own."""

ledger_checkpoint = Table(
    "ledger_checkpoint",
    metadata,
    Column("seq", _BIG, primary_key=True, autoincrement=False),
    Column("head_hash", LargeBinary(32), nullable=False),
    Column("taken_at", _BIG, nullable=False),
    Column("key_id", Text, nullable=False),
    Column("signature", LargeBinary(64), nullable=False),
)
"""Copies of the signed checkpoints; those that count lie outside the database."""

decisions = MetaData()

served_decision = Table(
    "served_decision",
    decisions,
    Column("decision_id", LargeBinary(16), primary_key=True),
    Column("subject_ref", LargeBinary(16)),
    Column("at", _BIG, nullable=False),
    Column("surface", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("purposes", Text, nullable=False),
    Column("consent_epoch", _BIG),
    Column("consent_seq", _BIG),
    Column("notice_version", Integer),
    Column("model_version", Text),
    Column("catalogue_version", _BIG),
    Column("items", JSON, nullable=False),
    Column("facts", JSON, nullable=False),
    Index("served_decision_by_subject", "subject_ref", "at"),
    Index("served_decision_by_time", "at"),
)
"""What was shown and on what ground, for 90 days: with SQLite in a file of its own, else beside the other tables."""
