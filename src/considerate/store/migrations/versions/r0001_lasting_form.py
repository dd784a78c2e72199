"""Subjects, the consent ledger in its lasting form, interactions and items."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")
APPEND_ONLY = ("consent_event",)


def column(name: str, type_: Any, *args: Any, **kwargs: Any) -> sa.Column[Any]:
    return sa.Column(name, type_, *args, nullable=kwargs.pop("nullable", False), **kwargs)


def reference() -> sa.Column[Any]:
    return column("subject_ref", sa.LargeBinary(16), sa.ForeignKey("subject.subject_ref"))


def upgrade() -> None:
    op.create_table(
        "subject",
        column("subject_ref", sa.LargeBinary(16), primary_key=True),
        column("lookup_hmac", sa.LargeBinary(32), unique=True, nullable=True),
        column("customer_id_enc", sa.LargeBinary, nullable=True),
        column("age_band", sa.Text),
        column("age_source", sa.Text),
        column("state", sa.Text),
        column("consent_epoch", BIG),
        column("objected_at", BIG, nullable=True),
        column("restricted_at", BIG, nullable=True),
        column("created_at", BIG),
        sa.CheckConstraint("age_band IN ('unknown', 'u13', '13_15', '16_17', 'adult')", name="age_band_known"),
        sa.CheckConstraint("state IN ('active', 'erasing', 'erased')", name="state_known"),
    )
    op.create_table(
        "subject_key",
        reference(),
        column("wrapped_key", sa.LargeBinary),
        sa.PrimaryKeyConstraint("subject_ref"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "key_check",
        column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        column("fingerprint", sa.Text),
    )
    op.create_table(
        "notice",
        column("notice_id", sa.Text),
        column("version", sa.Integer, autoincrement=False),
        column("locale", sa.Text),
        column("text_sha256", sa.Text),
        column("material", sa.Boolean),
        column("valid_from", BIG),
        sa.PrimaryKeyConstraint("notice_id", "version", "locale"),
    )
    _create_ledger()
    op.create_table(
        "interaction",
        reference(),
        column("event_id", sa.Text),
        column("item_id", sa.Text),
        column("kind", sa.SmallInteger),
        column("value", sa.Float, nullable=True),
        column("timestamp", BIG, nullable=True),
        column("position", BIG, nullable=True),
        column("channel", sa.SmallInteger),
        column("order_line", sa.Text, nullable=True),
        column("decision_id", sa.Text, nullable=True),
        column("surface", sa.Text, nullable=True),
        column("received_at", BIG),
        sa.PrimaryKeyConstraint("subject_ref", "event_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "item",
        column("item_id", sa.Text, primary_key=True),
        column("group_id", sa.Text),
        column("title", sa.Text),
        column("category", sa.Text),
        column("brand", sa.Text),
        column("image_url", sa.Text),
        column("price", sa.Float, nullable=True),
        column("min_age", sa.SmallInteger),
        column("sensitive", sa.Text),
        column("in_stock", sa.Boolean),
        column("features", sa.JSON),
    )
    op.create_table(
        "catalogue_state",
        column("id", sa.SmallInteger, primary_key=True, autoincrement=False),
        column("version", BIG),
    )


def _create_ledger() -> None:
    op.create_table(
        "consent_event",
        column("seq", BIG, primary_key=True, autoincrement=False),
        column("event_id", sa.LargeBinary(16), unique=True),
        reference(),
        column("purpose_id", sa.Text),
        column("purpose_version", sa.Integer),
        column("notice_id", sa.Text),
        column("notice_version", sa.Integer),
        column("locale", sa.Text),
        column("state", sa.Text),
        column("event_type", sa.Text),
        column("method", sa.Text),
        column("actor", sa.Text),
        column("event_time", BIG),
        column("recorded_at", BIG),
        column("expires_at", BIG, nullable=True),
        column("jurisdiction", sa.Text, nullable=True),
        column("evidence_commit", sa.LargeBinary(32), nullable=True),
        column("schema_version", sa.Integer),
        column("prev_hash", sa.LargeBinary(32)),
        column("hash", sa.LargeBinary(32)),
    )
    op.create_index("consent_event_by_subject", "consent_event", ["subject_ref", "purpose_id", "seq"])
    op.create_table(
        "consent_evidence",
        column("event_id", sa.LargeBinary(16), sa.ForeignKey("consent_event.event_id")),
        column("sealed", sa.LargeBinary),
        sa.PrimaryKeyConstraint("event_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "consent_current",
        reference(),
        column("purpose_id", sa.Text),
        column("state", sa.Text),
        column("seq", BIG),
        column("purpose_version", sa.Integer),
        column("notice_id", sa.Text),
        column("notice_version", sa.Integer),
        column("event_time", BIG),
        column("expires_at", BIG, nullable=True),
        sa.PrimaryKeyConstraint("subject_ref", "purpose_id"),
        sqlite_with_rowid=False,
    )
    for table in APPEND_ONLY:
        for statement in append_only_triggers(table, op.get_bind().dialect.name):
            op.execute(statement)


def append_only_triggers(table: str, dialect: str) -> list[str]:
    message = f"{table} is append-only"
    if dialect == "sqlite":
        refuse = f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
        # INSERT OR REPLACE removes rows without asking the other two.
        taken = f"EXISTS (SELECT 1 FROM {table} WHERE event_id = NEW.event_id)"  # noqa: S608 - our own name
        next_seq = f"(SELECT coalesce(max(seq), 0) + 1 FROM {table})"  # noqa: S608 - our own name
        elsewhere = f"NEW.seq <> {next_seq} OR {taken}"
        return [
            f"CREATE TRIGGER {table}_no_update BEFORE UPDATE ON {table} {refuse}",
            f"CREATE TRIGGER {table}_no_delete BEFORE DELETE ON {table} {refuse}",
            f"CREATE TRIGGER {table}_only_at_end BEFORE INSERT ON {table} WHEN {elsewhere} {refuse}",
        ]
    return [
        f"CREATE FUNCTION {table}_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{message}'; END $$",
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {table}_refuse()",
        f"CREATE FUNCTION {table}_at_end() RETURNS trigger LANGUAGE plpgsql AS "  # noqa: S608 - our own name
        f"$$ BEGIN IF NEW.seq <> (SELECT coalesce(max(seq), 0) + 1 FROM {table}) "
        f"THEN RAISE EXCEPTION '{message}'; END IF; RETURN NEW; END $$",
        f"CREATE TRIGGER {table}_only_at_end BEFORE INSERT ON {table} FOR EACH ROW EXECUTE FUNCTION {table}_at_end()",
    ]
