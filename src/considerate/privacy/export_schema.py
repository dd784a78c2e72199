"""What an export holds, table by table: the one list behind its files and behind docs/export.md."""

from typing import Literal, NamedTuple

Kind = Literal["text", "integer", "number", "time", "flag", "json"]
VERSION = 1


class Field(NamedTuple):
    """A column of an export.

    Attributes
    ----------
    kind
        text, integer, number; time: ISO 8601 in UTC in JSON, a timestamp in Parquet; flag: true or false; json: an
        object or list in JSON, its text in Parquet.
    meaning
        For whoever reads her own data.
    """

    name: str
    kind: Kind
    meaning: str


TABLES: dict[str, tuple[Field, ...]] = {
    "subject": (
        Field("customer_id", "text", "your id in the shop"),
        Field("subject_ref", "text", "the random reference under which everything else is kept"),
        Field("age_band", "text", "u13, 13_15, 16_17, adult or unknown"),
        Field("age_source", "text", "who said so: shop or none"),
        Field("state", "text", "active, or erasing"),
        Field("consent_epoch", "integer", "how often a choice of yours, or your age, was recorded"),
        Field("objected_at", "time", "since when you object to profiling"),
        Field("restricted_at", "time", "since when use of your data is restricted"),
        Field("gpc_at", "time", "when a browser of yours first sent a Global Privacy Control signal"),
        Field("created_at", "time", "since when the shop's suggestions know you"),
    ),
    "consents": (
        Field("purpose", "text", "what it is about"),
        Field("state", "text", "given, refused, withdrawn ..."),
        Field("decided_at", "time", "when you decided"),
        Field("expires_at", "time", "when a yes ends by itself"),
        Field("notice_id", "text", "the notice you were shown"),
        Field("notice_version", "integer", "its version"),
        Field("purpose_version", "integer", "version of the purpose's meaning"),
        Field("ledger_seq", "integer", "where it stands in the ledger"),
    ),
    "ledger": (
        Field("seq", "integer", "position in the ledger"),
        Field("event_id", "text", "id of the event, and of its receipt"),
        Field("subject_ref", "text", "your reference"),
        Field("purpose_id", "text", "what it is about"),
        Field("purpose_version", "integer", "version of the purpose's meaning"),
        Field("notice_id", "text", "the notice you were shown"),
        Field("notice_version", "integer", "its version"),
        Field("locale", "text", "its language"),
        Field("state", "text", "what held afterwards"),
        Field("event_type", "text", "expressed, or explicit"),
        Field("method", "text", "by which way"),
        Field("actor", "text", "who acted: customer, or a role of the shop"),
        Field("event_time", "time", "when you acted"),
        Field("recorded_at", "time", "when it was recorded"),
        Field("expires_at", "time", "when a yes ends by itself"),
        Field("jurisdiction", "text", "law under which you were asked"),
        Field("evidence", "json", "what shows the act; readable by nobody once you are erased"),
        Field("evidence_commit", "text", "commitment to the evidence, hex"),
        Field("schema_version", "integer", "form of the event"),
        Field("prev_hash", "text", "hash of the event before, hex"),
        Field("hash", "text", "hash of this event, hex: what a receipt can be held against"),
    ),
    "preferences": (
        Field("kind", "text", "item, category or brand"),
        Field("key", "text", "which one"),
        Field("polarity", "text", "like or dislike"),
        Field("stated_at", "time", "when you said so"),
    ),
    "exclusions": (
        Field("order_line", "text", "a purchase that must not count"),
        Field("reason", "text", "gift, not_me or other"),
        Field("excluded_at", "time", "since when"),
    ),
    "interactions": (
        Field("event_id", "text", "id of the event"),
        Field("item_id", "text", "the product"),
        Field("kind", "text", "purchase, return, rating, view, click, cart, like or dismiss"),
        Field("value", "number", "quantity or rating"),
        Field("timestamp", "time", "when"),
        Field("position", "integer", "order, where there is no time"),
        Field("channel", "text", "online or store"),
        Field("order_line", "text", "the purchase, as the order system names it"),
        Field("decision_id", "text", "the list it followed from"),
        Field("surface", "text", "the place of that list"),
        Field("received_at", "time", "when it was stored"),
    ),
    "decisions": (
        Field("decision_id", "text", "id of a list you were shown"),
        Field("at", "time", "when"),
        Field("surface", "text", "where"),
        Field("basis", "text", "personalised, stated_preferences or non_personalised"),
        Field("reason", "text", "why"),
        Field("purposes", "json", "consents that were used"),
        Field("consent_epoch", "integer", "the state of what you allowed"),
        Field("consent_seq", "integer", "the ledger event that allowed it"),
        Field("notice_version", "integer", "the notice you had read"),
        Field("model_version", "text", "the model behind it"),
        Field("catalogue_version", "integer", "the catalogue behind it"),
        Field("items", "json", "the products, best first, each with those of yours that spoke for it"),
        Field("facts", "json", "what else led to it"),
    ),
    "requests": (
        Field("request_id", "text", "a request of yours for access or erasure"),
        Field("type", "text", "access or erasure"),
        Field("status", "text", "pending, in_progress, completed or cancelled"),
        Field("received_at", "time", "when it came"),
        Field("due_at", "time", "by when it must be answered"),
        Field("completed_at", "time", "when it was"),
        Field("steps", "json", "what was done"),
    ),
}


def schema_document() -> str:
    """Give the tables as Markdown, as they stand in docs/export.md."""
    parts = []
    for name, fields in TABLES.items():
        rows = [f"| `{one.name}` | {one.kind} | {one.meaning} |" for one in fields]
        parts.append("\n".join([f"### {name}", "", "| column | kind | meaning |", "|---|---|---|", *rows, ""]))
    return "\n".join(parts)
