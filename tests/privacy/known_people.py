"""Two customers who left something in every table, and what is left of them."""

import json
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy import Engine, select

from considerate.consent.decision import Policy
from considerate.consent.ledger import grant
from considerate.consent.notices import current_notice
from considerate.consent.purposes import Purpose
from considerate.privacy.installation import Installation
from considerate.privacy.requests import open_request
from considerate.ranking.history import Kind
from considerate.store.answers import CUSTOMER, Once, Repeatable, do_once
from considerate.store.decisions import DecidedItem, ServedDecision, insert_decisions
from considerate.store.engine import reading
from considerate.store.interactions import NewEvent, append_events
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import decisions, metadata, subject
from considerate.store.wishes import Preference, exclude_line, replace_preferences

AT = datetime(2026, 11, 22, 12, tzinfo=UTC)
ANNA, BEN = "canary.anna@shop.example", "canary.ben@shop.example"
NUMBERS = {ANNA: 1, BEN: 2}


def fill(place: Installation, customer: str) -> bytes:
    """Let a customer leave something everywhere; what only she can have said names her."""
    number = NUMBERS[customer]
    with place.transaction() as conn:
        ref = ensure_subjects(conn, place.keys, [customer], age_bands={customer: "adult"}, at=AT)[customer]
        for purpose in (Purpose.PERSONALISE_ONSITE, Purpose.TRAIN_MODELS):
            evidence = {"form": f"signed by {customer}"}
            notice = current_notice()
            grant(conn, place.keys, ref, purpose, notice=notice, at=AT, policy=Policy(), evidence=evidence)
        events = [
            NewEvent(
                f"order {customer} {row}",
                f"item-{row}",
                Kind.PURCHASE,
                AT - timedelta(days=row),
                order_line=f"line {customer} {row}",
            )
            for row in range(40)
        ]
        append_events(conn, ref, events, at=AT)
        replace_preferences(conn, ref, [Preference("brand", f"brand of {customer}", "like")], at=AT)
        exclude_line(conn, ref, f"line {customer} 3", reason="gift", at=AT)
        asked = Repeatable(CUSTOMER, customer, f"key-{number}", "00")
        do_once(conn, place.keys, Once(asked, lambda _: json.dumps({"done": number})), lambda: True, at=AT)
        open_request(conn, ref, "access", at=AT)
    with place.decisions() as log:
        served = ServedDecision(
            UUID(int=number),
            ref,
            AT,
            "home",
            "personalised",
            "ok",
            purposes=("personalise_onsite",),
            consent_epoch=2,
            consent_seq=1,
            notice_version=1,
            model_version="m-1",
            catalogue_version=1,
            items=(DecidedItem("item-1", (f"item of {customer}",)),),
            facts={"goal": "all"},
        )
        insert_decisions(log, [served.row()])
    return ref


def rows_of(place: Installation, ref: bytes) -> dict[str, int]:
    """Count a person's rows in every table that knows subjects."""
    counts = {}
    for known, transaction in ((metadata, place.transaction), (decisions, place.decisions)):
        with transaction() as conn:
            for table in known.sorted_tables:
                if "subject_ref" in table.c:
                    query = select(table.c.subject_ref).where(table.c.subject_ref == ref)
                    counts[table.name] = len(conn.execute(query).all())
    return counts


def state_of(engine: Engine, ref: bytes) -> str:
    """Give a subject's state."""
    with reading(engine) as conn:
        return str(conn.execute(select(subject.c.state).where(subject.c.subject_ref == ref)).scalar_one())
