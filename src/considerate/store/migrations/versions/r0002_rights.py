"""Rights: preferences, exclusions, requests, tombstones; checkpoints, repeated requests, and served decisions."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def column(name: str, type_: Any, *args: Any, **kwargs: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, *args, nullable=kwargs.pop("nullable", False), **kwargs)


def reference() -> sa.Column[Any]:
    return column("subject_ref", sa.LargeBinary(16), sa.ForeignKey("subject.subject_ref"))


def upgrade() -> None:
    op.add_column("subject", sa.Column("gpc_at", BIG))
    op.add_column("item", column("changed_in", BIG, server_default="0"))
    op.create_index("ix_item_changed_in", "item", ["changed_in"])
    op.create_table(
        "preference",
        reference(),
        column("kind", sa.Text),
        column("key", sa.Text),
        column("polarity", sa.Text),
        column("stated_at", BIG),
        sa.PrimaryKeyConstraint("subject_ref", "kind", "key"),
        sa.CheckConstraint("kind IN ('item', 'category', 'brand')", name="preference_kind_known"),
        sa.CheckConstraint("polarity IN ('like', 'dislike')", name="polarity_known"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "event_exclusion",
        reference(),
        column("order_line", sa.Text),
        column("reason", sa.Text),
        column("excluded_at", BIG),
        sa.PrimaryKeyConstraint("subject_ref", "order_line"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "privacy_request",
        column("request_id", sa.LargeBinary(16), primary_key=True),
        reference(),
        column("type", sa.Text),
        column("status", sa.Text),
        column("received_at", BIG),
        column("due_at", BIG),
        column("completed_at", BIG, nullable=True),
        column("steps", sa.JSON),
        sa.CheckConstraint("type IN ('access', 'erasure')", name="request_type_known"),
        sa.CheckConstraint(
            "status IN ('pending', 'in_progress', 'completed', 'cancelled')", name="request_status_known"
        ),
    )
    op.create_index("privacy_request_by_subject", "privacy_request", ["subject_ref", "received_at"])
    op.create_table(
        "tombstone",
        reference(),
        column("seq", BIG),
        column("erased_at", BIG),
        column("rebuilt_at", BIG, nullable=True),
        sa.PrimaryKeyConstraint("subject_ref"),
    )
    _create_service_tables()


def _create_service_tables() -> None:
    op.create_table(
        "idempotent_answer",
        column("caller", sa.LargeBinary(32)),
        column("key_hash", sa.LargeBinary(32)),
        column("request_hash", sa.LargeBinary(32)),
        column("status", sa.Integer),
        column("answer", sa.Text),
        column("created_at", BIG),
        sa.PrimaryKeyConstraint("caller", "key_hash"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "ledger_checkpoint",
        column("seq", BIG, primary_key=True, autoincrement=False),
        column("head_hash", sa.LargeBinary(32)),
        column("taken_at", BIG),
        column("key_id", sa.Text),
        column("signature", sa.LargeBinary(64)),
    )
    if op.get_bind().dialect.name != "postgresql":
        return  # with SQLite the decisions have a file of their own, so that writing them holds up nobody's consent
    op.create_table(
        "served_decision",
        column("decision_id", sa.LargeBinary(16), primary_key=True),
        column("subject_ref", sa.LargeBinary(16), nullable=True),
        column("at", BIG),
        column("surface", sa.Text),
        column("basis", sa.Text),
        column("reason", sa.Text),
        column("purposes", sa.Text),
        column("consent_epoch", BIG, nullable=True),
        column("consent_seq", BIG, nullable=True),
        column("notice_version", sa.Integer, nullable=True),
        column("model_version", sa.Text, nullable=True),
        column("catalogue_version", BIG, nullable=True),
        column("items", sa.JSON),
        column("facts", sa.JSON),
    )
    op.create_index("served_decision_by_subject", "served_decision", ["subject_ref", "at"])
    op.create_index("served_decision_by_time", "served_decision", ["at"])
