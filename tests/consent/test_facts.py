"""What serving asks first, in one statement."""

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Engine, event, update

from considerate.consent.decision import NOBODY, Policy, Reason, effective
from considerate.consent.facts import gpc_evidence, read_facts, remember_gpc
from considerate.consent.ledger import grant, withdraw
from considerate.consent.notices import current_notice
from considerate.consent.projection import read_current
from considerate.consent.purposes import Purpose
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.subjects import find_subject
from considerate.store.tables import consent_current, subject

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)


def test_subject_and_consents_come_in_one_statement(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        for purpose in Purpose:
            grant(conn, keys, adults[0], purpose, notice=current_notice(), at=AT, policy=Policy())
        withdraw(conn, keys, adults[0], Purpose.EMAIL_CAMPAIGN, at=AT)
    fetched: list[Any] = []
    with reading(engine) as conn:
        event.listen(engine, "before_cursor_execute", lambda *call: fetched.append(call[2]))
        who, facts = read_facts(conn, keys.lookup("anna"))
        assert len(fetched) == 1
        assert who == find_subject(conn, keys.lookup("anna"))
        assert facts.consents == read_current(conn, adults[0])
    assert who is not None
    assert who.consent_epoch == 6
    assert (facts.age_band, facts.state, facts.objected, facts.restricted) == ("adult", "active", False, False)
    reasons = {purpose: effective(facts, purpose, at=AT, policy=Policy()).reason for purpose in Purpose}
    assert reasons.pop(Purpose.EMAIL_CAMPAIGN) is Reason.WITHDRAWN
    assert set(reasons.values()) == {Reason.OK}


def test_of_an_unknown_customer_nothing_is_known(engine: Engine, keys: Keys) -> None:
    with reading(engine) as conn:
        assert read_facts(conn, keys.lookup("nobody")) == (None, NOBODY)


def test_a_customer_who_never_decided_has_no_consents(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with reading(engine) as conn:
        who, facts = read_facts(conn, keys.lookup("ben"))
    assert who is not None
    assert who.subject_ref == adults[1]
    assert facts.consents == {}


def test_objection_restriction_and_age_are_facts(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        since = int((AT - timedelta(1)).timestamp() * 1e6)
        changed = {"objected_at": since, "restricted_at": since, "age_band": "16_17", "state": "erasing"}
        conn.execute(update(subject).where(subject.c.subject_ref == adults[0]).values(changed))
        who, facts = read_facts(conn, keys.lookup("anna"))
    assert who is not None
    assert who.objected_at == who.restricted_at == AT - timedelta(1)
    assert (facts.objected, facts.restricted, facts.age_band, facts.state) == (True, True, "16_17", "erasing")


def test_what_a_later_version_wrote_allows_nothing(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        for purpose in (Purpose.TRAIN_MODELS, Purpose.PERSONALISE_ONSITE):
            grant(conn, keys, adults[0], purpose, notice=current_notice(), at=AT, policy=Policy())
        table = consent_current.c
        conn.execute(update(consent_current).where(table.purpose_id == "train_models").values(state="given_twice"))
        conn.execute(update(consent_current).where(table.purpose_id == "personalise_onsite").values(purpose_id="new"))
        _, facts = read_facts(conn, keys.lookup("anna"))
    assert list(facts.consents) == [Purpose.TRAIN_MODELS]
    assert effective(facts, Purpose.TRAIN_MODELS, at=AT, policy=Policy()).reason is Reason.NO_CONSENT


def test_the_first_privacy_signal_of_an_account_is_a_fact_and_raises_its_epoch(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    with writing(engine) as conn:
        assert remember_gpc(conn, adults[0], at=AT)
        assert not remember_gpc(conn, adults[0], at=AT + timedelta(days=1))
    with reading(engine) as conn:
        who, facts = read_facts(conn, keys.lookup("anna"))
        _, others = read_facts(conn, keys.lookup("ben"))
    assert who is not None
    assert (facts.gpc_at, who.consent_epoch) == (AT, 1)
    assert others.gpc_at is None


def test_of_somebody_who_is_being_erased_no_signal_is_noted(engine: Engine, adults: list[bytes]) -> None:
    with writing(engine) as conn:
        conn.execute(update(subject).where(subject.c.subject_ref == adults[0]).values(state="erasing"))
        assert not remember_gpc(conn, adults[0], at=AT)


def test_a_yes_against_the_signal_says_so_and_no_other_does(engine: Engine, adults: list[bytes]) -> None:
    def says(purpose: Purpose, policy: Policy) -> object:
        return gpc_evidence(conn, adults[0], purpose, policy)

    with writing(engine) as conn:
        assert says(Purpose.LINK_IN_STORE, Policy()) is None
        remember_gpc(conn, adults[0], at=AT)
        assert says(Purpose.LINK_IN_STORE, Policy()) == {"conflicts_with_gpc": True}
        assert says(Purpose.TRAIN_MODELS, Policy()) is None
        assert says(Purpose.TRAIN_MODELS, Policy(gpc_strict=True)) == {"conflicts_with_gpc": True}
