"""Bringing in the consents a shop already has: nothing stretched, nothing lost, nothing twice."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from traceback import format_exception
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, select, update

from considerate.consent.decision import ConsentState, Policy, Reason, effective
from considerate.consent.facts import read_facts, remember_gpc
from considerate.consent.importing import ImportReport, import_consents
from considerate.consent.ledger import grant, head, verify, withdraw
from considerate.consent.minors import end_grants_of_minors
from considerate.consent.notices import NOTICE, current_notice
from considerate.consent.projection import projection, replay
from considerate.consent.purposes import Purpose
from considerate.consent.records import RULES
from considerate.consent.shredding import record_erasure, shred
from considerate.errors import ConsentError, DataError
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys, unseal
from considerate.store.subjects import ensure_subjects, find_subject, subject_keys
from considerate.store.tables import consent_event, consent_evidence, subject

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
GOOD = {
    "customer_id": "7",
    "purpose": "train_models",
    "state": "given",
    "event_time": "2026-03-01T09:30:00+01:00",
    "notice_id": NOTICE.notice_id,
    "notice_version": "1",
    "locale": "de",
    "age_band": "adult",
    "form": "paper form 17",
}


def row(**changed: str) -> dict[str, str]:
    return {**GOOD, **changed}


def written(folder: Path, *rows: dict[str, str], name: str = "consents.csv") -> Path:
    path = folder / name
    lines = [",".join(GOOD), *(",".join(each[column] for column in GOOD) for each in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def imported(engine: Engine, keys: Keys, path: Path, **more: Any) -> ImportReport:
    given = {"at": AT, "quarantine": path.parent / "quarantine", "policy": Policy(), "lost_until": None}
    return import_consents(path, engine, keys, **{**given, **more})


def reason(engine: Engine, keys: Keys, customer: str, purpose: Purpose = Purpose.TRAIN_MODELS) -> Reason:
    with reading(engine) as conn:
        _, facts = read_facts(conn, keys.lookup(customer))
    return effective(facts, purpose, at=AT, policy=Policy()).reason


def test_a_record_keeps_its_time_notice_and_evidence(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    report = imported(engine, keys, written(tmp_path, GOOD))
    assert (report.rows, report.recorded, report.rejected, report.quarantine) == (1, {"given": 1}, {}, None)
    with reading(engine) as conn:
        event = conn.execute(select(consent_event)).one()
        who = find_subject(conn, keys.lookup("7"))
        assert who is not None
        key = subject_keys(conn, keys, [who.subject_ref])[who.subject_ref]
        evidence = unseal(key, conn.execute(select(consent_evidence.c.sealed)).scalar_one(), event.event_id)
        assert report.head == head(conn)
    acted = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
    assert event.event_time == acted.timestamp() * 1e6
    assert event.recorded_at == AT.timestamp() * 1e6
    assert event.expires_at == (acted + timedelta(days=730)).timestamp() * 1e6
    assert (event.method, event.locale, event.notice_version) == ("import", "de", 1)
    assert evidence == b'{"form":"paper form 17","imported_from":"consents.csv"}'
    assert who.age_band == "adult"
    assert reason(engine, keys, "7") is Reason.OK


def test_the_same_file_again_adds_nothing(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, row(customer_id="8"), GOOD)
    first, again = imported(engine, keys, path), imported(engine, keys, path)
    assert (first.recorded, first.repeated, first.customers) == ({"given": 2}, 1, 2)
    assert (again.recorded, again.repeated, again.older) == ({}, 3, 0)
    assert again.head == first.head


def test_after_an_erasure_nothing_in_the_ledger_can_be_worked_out_from_the_file(
    engine: Engine, keys: Keys, tmp_path: Path
) -> None:
    path = written(tmp_path, GOOD)
    imported(engine, keys, path)
    with writing(engine) as conn:
        before = conn.execute(select(consent_event)).one()
        record_erasure(conn, keys, before.subject_ref, at=AT)
        conn.execute(update(subject).values(state="erasing"))
        shred(conn, before.subject_ref)
    # The same words under the same master key, of somebody new: another id.
    assert imported(engine, keys, path).recorded == {"given": 1}
    with reading(engine) as conn:
        ids = conn.execute(select(consent_event.c.event_id)).scalars().all()
    assert len(set(ids)) == 3


def test_a_yes_after_a_privacy_signal_says_that_it_overrides_it(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, ["7"])["7"]
        remember_gpc(conn, ref, at=datetime(2026, 2, 1, tzinfo=UTC))
    said = [
        row(purpose="email_campaign"),
        row(purpose="link_in_store", event_time="2026-01-01"),
        row(purpose="train_models"),
        row(purpose="sensitive_categories", state="refused"),
    ]
    imported(engine, keys, written(tmp_path, *said))
    imported(
        engine,
        keys,
        written(tmp_path, row(purpose="personalise_onsite"), name="strict.csv"),
        policy=Policy(gpc_strict=True),
    )
    with reading(engine) as conn:
        key = subject_keys(conn, keys, [ref])[ref]
        query = select(consent_event.c.purpose_id, consent_event.c.event_id, consent_evidence.c.sealed)
        rows = conn.execute(query.join_from(consent_event, consent_evidence)).all()
    conflicts = {
        purpose for purpose, event_id, sealed in rows if b'"conflicts_with_gpc":true' in unseal(key, sealed, event_id)
    }
    assert conflicts == {"email_campaign", "personalise_onsite"}


def test_a_later_choice_stands_against_an_older_file(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, ["7"], age_bands={"7": "adult"})["7"]
        grant(conn, keys, ref, Purpose.TRAIN_MODELS, notice=current_notice(), at=AT, policy=Policy())
        withdraw(conn, keys, ref, Purpose.TRAIN_MODELS, at=AT)
    report = imported(engine, keys, written(tmp_path, GOOD, row(purpose="email_campaign")))
    assert (report.recorded, report.older) == ({"given": 1}, 1)
    assert reason(engine, keys, "7") is Reason.WITHDRAWN
    assert reason(engine, keys, "7", Purpose.EMAIL_CAMPAIGN) is Reason.OK


def test_a_customers_history_is_recorded_in_its_order(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    said = [
        row(event_time="2026-04-03T00:00:00Z"),
        row(event_time="2026-04-01T00:00:00Z"),
        row(event_time="2026-04-02T00:00:00", state="withdrawn", notice_id="", notice_version="", form=""),
    ]
    report = imported(engine, keys, written(tmp_path, *said))
    assert report.recorded == {"given": 2, "withdrawn": 1}
    with reading(engine) as conn:
        states = conn.execute(select(consent_event.c.state).order_by(consent_event.c.seq)).scalars().all()
        assert verify(conn) is None
        assert projection(conn) == replay(conn)
    assert states == ["given", "withdrawn", "given"]
    assert reason(engine, keys, "7") is Reason.OK


@pytest.mark.parametrize("no_first", [True, False])
def test_of_a_yes_and_a_no_in_the_same_moment_the_no_stands(
    engine: Engine, keys: Keys, tmp_path: Path, no_first: bool
) -> None:
    yes, no = GOOD, row(state="withdrawn")
    imported(engine, keys, written(tmp_path, *([no, yes] if no_first else [yes, no])))
    assert reason(engine, keys, "7") is Reason.WITHDRAWN
    # In a second file as well.
    imported(engine, keys, written(tmp_path, row(purpose="link_in_store", state="withdrawn"), name="one.csv"))
    late = imported(engine, keys, written(tmp_path, row(purpose="link_in_store"), name="two.csv"))
    assert (late.recorded, late.older) == ({}, 1)


def test_a_yes_from_between_two_withdrawals_that_comes_late_does_not_turn_consent_on(
    engine: Engine, keys: Keys, tmp_path: Path
) -> None:
    imported(engine, keys, written(tmp_path, GOOD))
    with writing(engine) as conn:
        who = find_subject(conn, keys.lookup("7"))
        assert who is not None
        for hours in (5, 3):
            withdraw(conn, keys, who.subject_ref, Purpose.TRAIN_MODELS, at=AT - timedelta(hours=hours))
    delayed = row(event_time=(AT - timedelta(hours=4)).isoformat())
    report = imported(engine, keys, written(tmp_path, delayed, name="delayed.csv"))
    assert (report.recorded, report.older) == ({}, 1)
    assert reason(engine, keys, "7") is Reason.WITHDRAWN


def test_a_yes_from_before_a_loss_of_the_ledger_does_not_come_back_with_a_file(
    engine: Engine, keys: Keys, tmp_path: Path
) -> None:
    # Whoever became known after the backup is a stranger to it, and so is her withdrawal.
    acted = datetime(2026, 3, 1, 8, 30, tzinfo=UTC)
    said = [GOOD, row(customer_id="8", event_time="2026-03-01T08:30:01Z"), row(customer_id="9", state="refused")]
    report = imported(engine, keys, written(tmp_path, *said), lost_until=acted)
    assert (report.recorded, report.older) == ({"given": 1, "refused": 1}, 1)
    assert [reason(engine, keys, who) for who in ("7", "8")] == [Reason.NO_CONSENT, Reason.OK]


REJECTED = {
    "no_customer": row(customer_id=" "),
    "unknown_purpose": row(purpose="Train_Models"),
    "bad_time": row(event_time="0001-01-01T00:00:00+14:00"),
    "future_time": row(event_time="2026-05-01T12:05:01Z"),
    "unknown_age_band": row(age_band="42"),
    "unknown_notice": row(notice_id="terms"),
    "minor": row(age_band="16_17"),
    "no_evidence": row(form=""),
}


@pytest.mark.parametrize("rule", REJECTED)
def test_a_yes_that_cannot_be_shown_is_left_out_and_kept_for_correction(
    engine: Engine, keys: Keys, tmp_path: Path, rule: str
) -> None:
    report = imported(engine, keys, written(tmp_path, row(customer_id="8"), REJECTED[rule]))
    assert (report.rows, report.recorded, report.rejected) == (2, {"given": 1}, {rule: 1})
    assert report.quarantine == tmp_path / "quarantine" / "consents-consents.parquet"
    table = pq.read_table(report.quarantine)
    assert table["row"].to_pylist() == [2]
    assert table["rule"].to_pylist() == [rule]
    assert table["form"].to_pylist() == [REJECTED[rule]["form"]]


def test_a_no_from_a_clock_that_runs_ahead_counts_from_now(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    imported(engine, keys, written(tmp_path, GOOD))
    path = written(tmp_path, row(state="withdrawn", event_time="2027-01-01"), name="ahead.csv")
    assert imported(engine, keys, path).recorded == {"withdrawn": 1}
    assert reason(engine, keys, "7") is Reason.WITHDRAWN
    # Known by what it said, and so not recorded again although the time has moved on.
    assert imported(engine, keys, path, at=AT + timedelta(hours=1)).repeated == 1
    with reading(engine) as conn:
        times = conn.execute(select(consent_event.c.event_time).order_by(consent_event.c.seq)).scalars().all()
    assert times[-1] == AT.timestamp() * 1e6


@pytest.mark.parametrize(
    ("said", "counts"),
    [
        ("2026-04-29", datetime(2026, 4, 30, 12, tzinfo=UTC)),
        ("2026-05-01", AT),
        ("20260501", AT),
        ("2026-04-30T21:00:00", datetime(2026, 5, 1, 9, tzinfo=UTC)),
        ("2026-05-01T06:00", AT),
        ("2026-05-01T10:00:00+02:00", datetime(2026, 5, 1, 8, tzinfo=UTC)),
    ],
)
def test_a_no_counts_at_the_latest_moment_that_its_row_may_mean(
    engine: Engine, keys: Keys, tmp_path: Path, said: str, counts: datetime
) -> None:
    given = row(event_time=(counts - timedelta(minutes=1)).isoformat())
    imported(engine, keys, written(tmp_path, given))
    no = written(tmp_path, row(state="withdrawn", event_time=said), name="no.csv")
    assert imported(engine, keys, no).recorded == {"withdrawn": 1}
    assert reason(engine, keys, "7") is Reason.WITHDRAWN
    with reading(engine) as conn:
        times = conn.execute(select(consent_event.c.event_time).order_by(consent_event.c.seq)).scalars().all()
    assert times[-1] == counts.timestamp() * 1e6
    assert imported(engine, keys, no, at=AT + timedelta(hours=30)).repeated == 1


@pytest.mark.parametrize(
    ("said", "counts"),
    [("2026-03-01", datetime(2026, 3, 1, tzinfo=UTC)), ("2026-03-01T09:30", datetime(2026, 3, 1, 9, 30, tzinfo=UTC))],
)
def test_a_yes_counts_at_the_earliest(engine: Engine, keys: Keys, tmp_path: Path, said: str, counts: datetime) -> None:
    imported(engine, keys, written(tmp_path, row(event_time=said)))
    with reading(engine) as conn:
        assert conn.execute(select(consent_event.c.event_time)).scalar_one() == counts.timestamp() * 1e6


def test_a_yes_from_a_clock_a_few_minutes_ahead_counts_from_now(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    path = written(tmp_path, row(event_time="2026-05-01T12:05:00Z"))
    assert imported(engine, keys, path).recorded == {"given": 1}
    assert imported(engine, keys, path, at=AT + timedelta(seconds=1)).repeated == 1
    with reading(engine) as conn:
        event = conn.execute(select(consent_event)).one()
    assert event.event_time == AT.timestamp() * 1e6
    assert event.expires_at == (AT + timedelta(days=730)).timestamp() * 1e6
    # A withdrawal by the shop's own clock, a moment later, is the later word.
    with writing(engine) as conn:
        withdraw(conn, keys, event.subject_ref, Purpose.TRAIN_MODELS, at=AT + timedelta(seconds=1))
    assert imported(engine, keys, path, at=AT + timedelta(minutes=10)).repeated == 1
    assert reason(engine, keys, "7") is Reason.WITHDRAWN


@pytest.mark.parametrize("time", ["yesterday", "", "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-14:00"])
def test_a_yes_at_no_possible_time_is_left_out(engine: Engine, keys: Keys, tmp_path: Path, time: str) -> None:
    assert imported(engine, keys, written(tmp_path, row(event_time=time))).rejected == {"bad_time": 1}


def age_band(engine: Engine, keys: Keys, customer: str = "7") -> str | None:
    with reading(engine) as conn:
        who = find_subject(conn, keys.lookup(customer))
    return None if who is None else who.age_band


@pytest.mark.parametrize("minor_first", [True, False])
def test_a_yes_left_out_because_a_minor_gave_it_still_says_that_she_is_one(
    engine: Engine, keys: Keys, tmp_path: Path, minor_first: bool
) -> None:
    """Else an unknown age, which some shops count as adult, would let her other grants stand."""
    rows = [row(age_band="16_17", purpose="personalise_onsite"), row(age_band="")]
    report = imported(engine, keys, written(tmp_path, *(rows if minor_first else rows[::-1])))
    assert (report.rows, report.recorded, report.rejected) == (2, {}, {"minor": 2})
    assert age_band(engine, keys) == "16_17"


def later(engine: Engine, keys: Keys, band: str) -> None:
    """The shop's customer table says another age."""
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, ["7"], age_bands={"7": band})
        end_grants_of_minors(conn, keys, list(refs.values()), at=AT)


def test_a_yes_of_somebody_known_to_be_a_minor_is_left_out_although_its_row_says_no_age(
    engine: Engine, keys: Keys, tmp_path: Path
) -> None:
    later(engine, keys, "16_17")
    path = written(tmp_path, row(age_band=""), row(customer_id="8"), row(purpose="email_campaign", state="withdrawn"))
    report = imported(engine, keys, path)
    assert (report.rows, report.customers) == (3, 2)
    assert (report.recorded, report.rejected) == ({"given": 1, "withdrawn": 1}, {"minor": 1})
    table = pq.read_table(report.quarantine)
    assert (table["row"].to_pylist(), table["rule"].to_pylist()) == ([1], ["minor"])
    later(engine, keys, "adult")
    assert reason(engine, keys, "7") is Reason.NO_CONSENT


@pytest.mark.parametrize("said_by_its_row", [True, False])
def test_a_yes_left_out_as_a_minors_does_not_come_alive_with_her_birthday(
    engine: Engine, keys: Keys, tmp_path: Path, said_by_its_row: bool
) -> None:
    later(engine, keys, "16_17")
    path = written(
        tmp_path, row(age_band="16_17" if said_by_its_row else ""), row(event_time="2026-02-01", age_band="")
    )
    assert imported(engine, keys, path).rejected == {"minor": 2}
    assert imported(engine, keys, path).repeated == 2
    later(engine, keys, "adult")
    again = imported(engine, keys, written(tmp_path, GOOD, row(event_time="2026-02-01"), name="of age.csv"))
    assert (again.recorded, again.repeated, again.rejected) == ({}, 2, {})
    before = row(event_time="2026-01-01")
    assert imported(engine, keys, written(tmp_path, before, name="before.csv")).older == 1
    assert reason(engine, keys, "7") is Reason.NO_CONSENT
    with reading(engine) as conn:
        rows = conn.execute(select(consent_event.c.state, consent_event.c.method, consent_event.c.actor)).all()
        assert verify(conn) is None
        assert projection(conn) == replay(conn)
    assert [tuple(one) for one in rows] == [("invalidated", "import", "shop")] * 2
    # She is asked then like anybody.
    asked = row(event_time="2026-04-01", age_band="")
    assert imported(engine, keys, written(tmp_path, asked, name="asked.csv")).recorded == {"given": 1}
    assert reason(engine, keys, "7") is Reason.OK


def test_an_old_yes_of_a_minor_ends_nothing_that_she_gave_later(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    grown, young = row(event_time="2026-01-01"), row(event_time="2024-01-01", age_band="16_17")
    imported(engine, keys, written(tmp_path, grown))
    report = imported(engine, keys, written(tmp_path, young, grown, name="history.csv"))
    assert (report.recorded, report.repeated, report.rejected) == ({}, 1, {"minor": 1})
    assert reason(engine, keys, "7") is Reason.OK


@pytest.mark.parametrize("said_by_a_file", [True, False])
def test_what_a_customer_gave_before_she_was_found_to_be_a_minor_does_not_come_back_with_her_birthday(
    engine: Engine, keys: Keys, tmp_path: Path, said_by_a_file: bool
) -> None:
    path = written(tmp_path, GOOD, row(customer_id="8"), row(purpose="personalise_onsite"))
    imported(engine, keys, path)
    if said_by_a_file:
        imported(engine, keys, written(tmp_path, row(purpose="email_campaign", age_band="16_17"), name="found.csv"))
    else:
        later(engine, keys, "16_17")
    with reading(engine) as conn:
        who = find_subject(conn, keys.lookup("7"))
        assert who is not None
        ended = select(consent_event.c.purpose_id, consent_event.c.method, consent_event.c.actor)
        rows = conn.execute(ended.where(consent_event.c.state == "invalidated").order_by(consent_event.c.seq)).all()
        assert verify(conn) is None
        assert projection(conn) == replay(conn)
    ended_here = [("train_models", "admin", "shop"), ("personalise_onsite", "admin", "shop")]
    of_the_file = [("email_campaign", "import", "shop")] if said_by_a_file else []
    assert [tuple(one) for one in rows] == of_the_file + ended_here
    later(engine, keys, "16_17")
    later(engine, keys, "adult")
    assert reason(engine, keys, "7") is Reason.NO_CONSENT
    assert imported(engine, keys, path).repeated == 3
    assert reason(engine, keys, "7") is Reason.NO_CONSENT
    assert reason(engine, keys, "8") is Reason.OK
    with reading(engine) as conn:
        assert len(conn.execute(select(consent_event)).all()) == 5 + len(of_the_file)


def test_of_what_a_file_says_about_an_age_the_latest_stands_and_not_to_know_is_no_news(
    engine: Engine, keys: Keys, tmp_path: Path
) -> None:
    young, grown = row(age_band="16_17", event_time="2024-01-01"), row(age_band="adult", event_time="2026-01-01")
    imported(engine, keys, written(tmp_path, grown, young))
    assert age_band(engine, keys) == "adult"
    imported(engine, keys, written(tmp_path, row(customer_id="8", age_band="u13"), row(customer_id="8"), name="b.csv"))
    assert age_band(engine, keys, "8") == "u13"
    imported(engine, keys, written(tmp_path, row(customer_id="8", age_band="unknown", form="other"), name="c.csv"))
    assert age_band(engine, keys, "8") == "u13"


@pytest.mark.parametrize(
    "ages",
    [
        ("16_17", "adult", "16_17"),
        ("u13", "13_15", "u13"),
        ("adult", "16_17", "16_17"),
        ("13_15", "u13", "u13"),
        ("unknown", "adult", "adult"),
        ("adult", "adult", "adult"),
    ],
)
def test_an_import_may_set_or_lower_an_age_and_never_raises_one(
    engine: Engine, keys: Keys, tmp_path: Path, ages: tuple[str, str, str]
) -> None:
    known, said, then = ages
    with writing(engine) as conn:
        ensure_subjects(conn, keys, ["7"], age_bands={"7": known})
    report = imported(engine, keys, written(tmp_path, row(state="refused", age_band=said)))
    assert (report.recorded, report.customers) == ({"refused": 1}, 1)
    assert age_band(engine, keys) == then


def test_an_old_file_makes_no_adult_of_someone_since_found_to_be_a_minor(
    engine: Engine, keys: Keys, tmp_path: Path
) -> None:
    path = written(tmp_path, GOOD)
    imported(engine, keys, path)
    assert reason(engine, keys, "7") is Reason.OK
    with writing(engine) as conn:
        ensure_subjects(conn, keys, ["7"], age_bands={"7": "16_17"})
    assert imported(engine, keys, path).repeated == 1
    assert age_band(engine, keys) == "16_17"
    # What the file brought before she was found out is ended now, at the latest.
    assert reason(engine, keys, "7") is Reason.NO_CONSENT


@pytest.mark.parametrize(
    "notice", [{"notice_version": "2"}, {"notice_version": "0"}, {"notice_version": "one"}, {"locale": "fr"}]
)
def test_a_yes_to_words_that_nobody_knows_is_left_out(
    engine: Engine, keys: Keys, tmp_path: Path, notice: dict[str, str]
) -> None:
    assert imported(engine, keys, written(tmp_path, row(**notice))).rejected == {"unknown_notice": 1}


def test_every_rule_is_tried_in_a_test() -> None:
    assert {*REJECTED, "unknown_state"} == set(RULES)


MISSPELT = [
    "Train_Models ",
    "train-models",
    "Train Models",
    "train_model",
    "personalize.onsite",
    "train_models;email_campaign",
    "",
    " ",
    "*",
    "all",
    "Any",
    "everything",
    "all purposes",
    "all_cookies",
    "any consent",
    "personalise_onsite train_models",
    "personalise_onsite and allergy_alerts",
    "consent.train_models",
    "purpose:train_models",
]


@pytest.mark.parametrize(
    "unclear",
    [
        row(state="revoked"),
        row(state="withdrawn", event_time="?"),
        row(state="refused", customer_id=""),
        *(row(state="withdrawn", purpose=purpose) for purpose in MISSPELT),
        row(state="withdrawn", event_time="2026-W18"),
        row(state="withdrawn", event_time="9999-12-31"),
    ],
)
def test_a_no_that_cannot_be_understood_stops_the_import(
    engine: Engine, keys: Keys, tmp_path: Path, unclear: dict[str, str]
) -> None:
    path = written(tmp_path, row(customer_id="8"), unclear)
    with pytest.raises(ConsentError, match=r"1 rows that do not say `given` cannot .* nothing was recorded: correct"):
        imported(engine, keys, path)
    with reading(engine) as conn:
        assert head(conn).seq == 0
        assert find_subject(conn, keys.lookup("8")) is None
    assert (tmp_path / "quarantine" / "consents-consents.parquet").exists()


@pytest.mark.parametrize("purpose", ["newsletter", "allergy_alerts", "link_in_bio", "sms", "personal_shopper"])
def test_another_purpose_of_the_shop_is_none_of_our_business(
    engine: Engine, keys: Keys, tmp_path: Path, purpose: str
) -> None:
    report = imported(engine, keys, written(tmp_path, GOOD, row(purpose=purpose, state="withdrawn")))
    assert (report.recorded, report.rejected) == ({"given": 1}, {"unknown_purpose": 1})


def test_a_no_needs_neither_notice_nor_evidence_nor_age(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    bare = row(state="refused", notice_id="", notice_version="", locale="", form="", age_band="u13")
    assert imported(engine, keys, written(tmp_path, bare)).recorded == {"refused": 1}
    with reading(engine) as conn:
        who = find_subject(conn, keys.lookup("7"))
    assert who is not None
    assert who.age_band == "u13"


def test_parquet_with_its_own_types_is_read_like_csv(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    times = pa.array([datetime(2026, 3, 1, 8, 30, tzinfo=UTC)], pa.timestamp("ms", tz="UTC"))
    columns = {**{name: [value] for name, value in GOOD.items()}, "customer_id": pa.array([7]), "event_time": times}
    path = tmp_path / "consents.parquet"
    pq.write_table(pa.table({**columns, "notice_version": pa.array([1], pa.int16())}), path)
    assert imported(engine, keys, path).recorded == {"given": 1}
    # The same record as in the CSV.
    assert imported(engine, keys, written(tmp_path, GOOD)).repeated == 1


def test_ids_keep_their_leading_zeros(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    imported(engine, keys, written(tmp_path, row(customer_id="007")))
    assert (reason(engine, keys, "007"), reason(engine, keys, "7")) == (Reason.OK, Reason.NO_CONSENT)


def test_files_that_cannot_be_read_are_named(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: no such file; check the path"):
        imported(engine, keys, tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(DataError, match=r"empty\.csv: not a readable CSV .* or Parquet file; export it again"):
        imported(engine, keys, tmp_path / "empty.csv")
    canary = ",".join([*GOOD.values(), "canary@example.org"])
    (tmp_path / "more.csv").write_text(",".join(GOOD) + f"\n{canary}\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"more\.csv: not a readable CSV \(UTF-8, a value for each column") as caught:
        imported(engine, keys, tmp_path / "more.csv")
    assert "canary" not in "".join(format_exception(caught.value))
    (tmp_path / "latin.csv").write_bytes(",".join(GOOD).encode() + b"\nM\xfcller" + b",x" * (len(GOOD) - 1) + b"\n")
    with pytest.raises(DataError, match=r"latin\.csv: not a readable CSV \(UTF-8,"):
        imported(engine, keys, tmp_path / "latin.csv")
    (tmp_path / "header.csv").write_bytes(",".join(GOOD).encode() + b",f\xfcr\n" + b"x," * len(GOOD) + b"x\n")
    with pytest.raises(DataError, match=r"header\.csv: not a readable CSV \(UTF-8,"):
        imported(engine, keys, tmp_path / "header.csv")
    (tmp_path / "twice.csv").write_text(",".join([*GOOD, "form"]) + "\n" + "x," * len(GOOD) + "x\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"twice\.csv: column form is there more than once; rename or remove one"):
        imported(engine, keys, tmp_path / "twice.csv")
    (tmp_path / "false.parquet").write_bytes(b"no parquet")
    with pytest.raises(DataError, match=r"false\.parquet: not a readable"):
        imported(engine, keys, tmp_path / "false.parquet")
    with pytest.raises(DataError, match="no rows; export the consent records again"):
        imported(engine, keys, written(tmp_path))
    (tmp_path / "short.csv").write_text("customer_id,purpose,state\n7,train_models,given\n", encoding="utf-8")
    with pytest.raises(DataError, match="column event_time, notice_id, notice_version is missing; a file of consent"):
        imported(engine, keys, tmp_path / "short.csv")


def test_a_column_of_lists_is_refused(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    path = tmp_path / "lists.parquet"
    pq.write_table(pa.table({**{name: [value] for name, value in GOOD.items()}, "form": [[1]]}), path)
    with pytest.raises(
        DataError, match=r"column form is of type list<.*; must be text, whole numbers or times: convert"
    ):
        imported(engine, keys, path)


def test_a_quarantine_that_cannot_be_written_stops_the_import(engine: Engine, keys: Keys, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    path = written(tmp_path, GOOD, row(form=""))
    with pytest.raises(DataError, match=r"rejected rows cannot be written: .*; check the folder"):
        imported(engine, keys, path, quarantine=tmp_path / "file" / "quarantine")
    with reading(engine) as conn:
        assert head(conn).seq == 0


def test_the_quarantine_is_its_owners_alone_and_there_whole_or_not_at_all(
    engine: Engine, keys: Keys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, GOOD, row(form=""))
    target = imported(engine, keys, path).quarantine
    assert target is not None
    assert target.stat().st_mode & 0o777 == 0o600
    before = target.read_bytes()

    def full_disk(_: pa.Table, file: Any) -> None:
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full_disk)
    with pytest.raises(DataError, match="rejected rows cannot be written: No space left on device"):
        imported(engine, keys, path)
    assert [file.name for file in target.parent.iterdir()] == [target.name]
    assert target.read_bytes() == before


def test_given_is_the_only_state_that_a_file_can_permit_with() -> None:
    from considerate.consent.records import STATES

    assert list(STATES.values()) == [ConsentState.GIVEN, ConsentState.REFUSED, ConsentState.WITHDRAWN]
