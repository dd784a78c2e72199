"""Databases that were rolled back, on either kind: what an older backup looks like to whoever opens it."""

from sqlalchemy import Engine, delete, text, update

from considerate.consent.projection import rebuild_projection
from considerate.store.engine import writing
from considerate.store.tables import consent_event, consent_evidence, ledger_checkpoint, subject


def forget_events(engine: Engine, *, left: int) -> None:
    """Take back every consent event after the first `left`, and all that followed from them."""
    with writing(engine) as conn:
        sqlite = conn.dialect.name == "sqlite"
        triggers: list[tuple[str, str]] = []
        if sqlite:
            known = conn.execute(text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'"))
            triggers = [(name, statement) for name, statement in known]
            for name, _ in triggers:
                conn.execute(text(f"DROP TRIGGER {name}"))
        else:
            conn.execute(text("ALTER TABLE consent_event DISABLE TRIGGER USER"))
        conn.execute(delete(consent_evidence))
        conn.execute(delete(ledger_checkpoint).where(ledger_checkpoint.c.seq > left))
        # What is in force is worked out anew from what is left, which is what it was then.
        conn.execute(text("DELETE FROM consent_current"))
        conn.execute(delete(consent_event).where(consent_event.c.seq > left))
        rebuild_projection(conn)
        for _, statement in triggers:
            conn.execute(text(statement))
        if not sqlite:
            conn.execute(text("ALTER TABLE consent_event ENABLE TRIGGER USER"))


def forget_wishes(engine: Engine, subject_ref: bytes) -> None:
    """Take back that she objected or restricted use."""
    with writing(engine) as conn:
        values = {"objected_at": None, "restricted_at": None, "consent_epoch": 0}
        conn.execute(update(subject).where(subject.c.subject_ref == subject_ref).values(**values))
