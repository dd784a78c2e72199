"""The decision: a truth table, and each reason alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from considerate.consent.decision import (
    NOBODY,
    Consent,
    ConsentState,
    Decision,
    Policy,
    Reason,
    SubjectFacts,
    age_allowed,
    effective,
    effective_all,
)
from considerate.consent.notices import NOTICE
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.store.subjects import AGE_BANDS, AgeBand

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
POLICY = Policy()
GIVEN = Consent(
    state=ConsentState.GIVEN,
    seq=1,
    purpose_version=1,
    notice_id=NOTICE.notice_id,
    notice_version=NOTICE.version,
    event_time=AT - timedelta(days=1),
    expires_at=AT + timedelta(days=1),
)
ADULT = SubjectFacts(age_band="adult")
PURPOSES = list(Purpose)
ON_SITE, IN_STORE, SENSITIVE = Purpose.PERSONALISE_ONSITE, Purpose.LINK_IN_STORE, Purpose.SENSITIVE_CATEGORIES
CHANGED_NOTICE = Policy(notices={NOTICE.notice_id: replace(NOTICE, version=2, oldest_valid=2)})


def saying(consent: Consent = GIVEN, purpose: Purpose = Purpose.TRAIN_MODELS, **facts: Any) -> SubjectFacts:
    return replace(ADULT, consents={purpose: consent}, **facts)


LETTERS = {"P": ON_SITE, "T": Purpose.TRAIN_MODELS, "L": IN_STORE, "M": Purpose.EMAIL_CAMPAIGN, "S": SENSITIVE}
TABLE = {
    # granted   effective   effective with a Global Privacy Control signal
    "":        ("",        ""),
    "P":       ("P",       "P"),
    "T":       ("T",       "T"),
    "L":       ("",        ""),
    "M":       ("M",       ""),
    "S":       ("",        ""),
    "PT":      ("PT",      "PT"),
    "PL":      ("PL",      "P"),
    "PM":      ("PM",      "P"),
    "PS":      ("PS",      "P"),
    "TL":      ("TL",      "T"),
    "TM":      ("TM",      "T"),
    "TS":      ("TS",      "T"),
    "LM":      ("M",       ""),
    "LS":      ("",        ""),
    "MS":      ("MS",      ""),
    "PTL":     ("PTL",     "PT"),
    "PTM":     ("PTM",     "PT"),
    "PTS":     ("PTS",     "PT"),
    "PLM":     ("PLM",     "P"),
    "PLS":     ("PLS",     "P"),
    "PMS":     ("PMS",     "P"),
    "TLM":     ("TLM",     "T"),
    "TLS":     ("TLS",     "T"),
    "TMS":     ("TMS",     "T"),
    "LMS":     ("MS",      ""),
    "PTLM":    ("PTLM",    "PT"),
    "PTLS":    ("PTLS",    "PT"),
    "PTMS":    ("PTMS",    "PT"),
    "PLMS":    ("PLMS",    "P"),
    "TLMS":    ("TLMS",    "T"),
    "PTLMS":   ("PTLMS",   "PT"),
}  # fmt: skip
"""Written by hand: what each of the 32 combinations of grants opens. L and S only widen others."""


def of(letters: str) -> frozenset[Purpose]:
    return frozenset(LETTERS[letter] for letter in letters)


def opened(facts: SubjectFacts, policy: Policy = POLICY, *, gpc: bool = False, at: datetime = AT) -> frozenset[Purpose]:
    return frozenset(p for p in Purpose if effective(facts, p, at=at, policy=policy, gpc=gpc).allowed)


def test_the_hand_written_table_has_every_combination_once() -> None:
    assert len(TABLE) == 32
    assert {of(granted) for granted in TABLE} == {
        frozenset(subset) for size in range(6) for subset in combinations(Purpose, size)
    }


@pytest.mark.parametrize("granted", TABLE)
def test_what_grants_open_is_what_the_hand_written_table_says(granted: str) -> None:
    facts = replace(ADULT, consents=dict.fromkeys(of(granted), GIVEN))
    without_signal, with_signal = TABLE[granted]
    assert opened(facts) == of(without_signal)
    assert opened(facts, gpc=True) == of(with_signal)
    seen_later = replace(facts, gpc_at=GIVEN.event_time + timedelta(hours=1))
    assert opened(seen_later) == of(with_signal), "a device without the header is bound by the one that sent it"
    answered = replace(facts, gpc_at=GIVEN.event_time - timedelta(hours=1))
    assert opened(answered) == opened(answered, gpc=True) == of(without_signal), "given after the signal was seen"


NOTHING_OPENS: dict[str, tuple[dict[str, Any], Policy]] = {
    "objected": ({"objected": True}, POLICY),
    "restricted": ({"restricted": True}, POLICY),
    **{f"age {band}": ({"age_band": band}, POLICY) for band in ("unknown", "u13", "13_15", "16_17")},
    **{f"age {band}, adults only": ({"age_band": band}, Policy(unknown_age="adult")) for band in ("u13", "16_17")},
    "erasing": ({"state": "erasing"}, POLICY),
    "erased": ({"state": "erased"}, POLICY),
    "no notice": ({}, Policy(notices={})),
    "notice changed": ({}, CHANGED_NOTICE),
    "gpc, strict": ({"gpc_at": AT}, Policy(gpc_strict=True)),
    **{f"consent {state}": ({"said": state}, POLICY) for state in ConsentState if state is not ConsentState.GIVEN},
}


@pytest.mark.parametrize("case", NOTHING_OPENS)
def test_no_combination_of_grants_opens_anything_where_the_person_or_the_shop_closes_it(case: str) -> None:
    changes, policy = NOTHING_OPENS[case]
    consent = replace(GIVEN, state=changes.get("said", ConsentState.GIVEN))
    facts = {name: value for name, value in changes.items() if name != "said"}
    for granted in TABLE:
        everything = replace(ADULT, consents=dict.fromkeys(of(granted), consent), **facts)
        assert opened(everything, policy) == frozenset(), granted
    expired = replace(ADULT, consents=dict.fromkeys(Purpose, GIVEN))
    assert opened(expired, at=AT + timedelta(days=1)) == frozenset()


@pytest.mark.parametrize("purpose", [IN_STORE, SENSITIVE])
def test_a_purpose_that_only_widens_others_ends_with_the_last_of_them(purpose: Purpose) -> None:
    ended = replace(GIVEN, state=ConsentState.WITHDRAWN)
    for wide in PURPOSE_RULES[purpose].requires:
        facts = replace(ADULT, consents={purpose: GIVEN, wide: GIVEN})
        assert effective(facts, purpose, at=AT, policy=POLICY).allowed
        facts = replace(ADULT, consents={purpose: GIVEN, wide: ended})
        assert not effective(facts, purpose, at=AT, policy=POLICY).allowed
    facts = replace(ADULT, consents={purpose: GIVEN, ON_SITE: ended})
    assert effective(facts, purpose, at=AT, policy=POLICY).reason is Reason.WITHDRAWN


def test_a_yes_after_the_signal_wins_for_its_own_purpose_alone() -> None:
    later = replace(GIVEN, event_time=AT)
    given = {ON_SITE: GIVEN, IN_STORE: later, SENSITIVE: GIVEN, Purpose.EMAIL_CAMPAIGN: GIVEN}
    facts = replace(ADULT, consents=given, gpc_at=AT - timedelta(hours=1))
    for gpc in (False, True):
        assert opened(facts, gpc=gpc) == {ON_SITE, IN_STORE}
        assert opened(facts, Policy(gpc_strict=True), gpc=gpc) == frozenset(), "on-site itself has no later yes"


@pytest.mark.parametrize("state", list(ConsentState))
@pytest.mark.parametrize("purpose", PURPOSES)
def test_only_a_given_consent_allows(state: ConsentState, purpose: Purpose) -> None:
    facts = replace(ADULT, consents={**dict.fromkeys(Purpose, GIVEN), purpose: replace(GIVEN, state=state)})
    decision = effective(facts, purpose, at=AT, policy=POLICY)
    expected = {
        ConsentState.GIVEN: Reason.OK,
        ConsentState.WITHDRAWN: Reason.WITHDRAWN,
        ConsentState.EXPIRED: Reason.EXPIRED,
        ConsentState.SUPERSEDED: Reason.NOTICE_CHANGED,
    }
    assert decision.reason is expected.get(state, Reason.NO_CONSENT)
    assert decision.allowed is (state is ConsentState.GIVEN)


def test_no_record_means_no() -> None:
    for purpose in Purpose:
        assert effective(NOBODY, purpose, at=AT, policy=Policy(unknown_age="adult")) == Decision(
            False, Reason.NO_CONSENT
        )


REFUSALS: dict[str, tuple[SubjectFacts, Policy, bool, Reason]] = {
    "none": (saying(), POLICY, False, Reason.OK),
    "withdrawn": (saying(replace(GIVEN, state=ConsentState.WITHDRAWN)), POLICY, False, Reason.WITHDRAWN),
    "another notice": (saying(replace(GIVEN, notice_id="other")), POLICY, False, Reason.NOTICE_CHANGED),
    "a material change": (saying(), CHANGED_NOTICE, False, Reason.NOTICE_CHANGED),
    "another meaning": (saying(replace(GIVEN, purpose_version=0)), POLICY, False, Reason.NOTICE_CHANGED),
    "expired": (saying(replace(GIVEN, expires_at=AT)), POLICY, False, Reason.EXPIRED),
    "objected": (saying(objected=True), POLICY, False, Reason.OBJECTED),
    "restricted": (saying(restricted=True), POLICY, False, Reason.RESTRICTED),
    "minor": (saying(age_band="16_17"), POLICY, False, Reason.MINOR_OR_AGE_UNKNOWN),
    "unknown age": (saying(age_band="unknown"), POLICY, False, Reason.MINOR_OR_AGE_UNKNOWN),
    "unknown age, adults only": (saying(age_band="unknown"), Policy(unknown_age="adult"), False, Reason.OK),
    "erasing": (saying(state="erasing"), POLICY, False, Reason.NO_CONSENT),
    "erased": (saying(state="erased"), POLICY, False, Reason.NO_CONSENT),
    "gpc": (saying(), POLICY, True, Reason.OK),
    "gpc, strict": (saying(), Policy(gpc_strict=True), True, Reason.GPC),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_each_test_refuses_alone_with_its_own_reason(name: str) -> None:
    facts, policy, gpc, reason = REFUSALS[name]
    decision = effective(facts, Purpose.TRAIN_MODELS, at=AT, policy=policy, gpc=gpc)
    assert decision == Decision(reason is Reason.OK, reason)


def test_a_change_that_is_not_material_keeps_consents() -> None:
    reworded = Policy(notices={NOTICE.notice_id: replace(NOTICE, version=2, oldest_valid=1, material=False)})
    assert effective(saying(), Purpose.TRAIN_MODELS, at=AT, policy=reworded).allowed


def test_a_grant_ends_at_the_very_moment_it_expires() -> None:
    expires = AT + timedelta(days=1)
    before, then = expires - timedelta(microseconds=1), expires
    assert effective(saying(), Purpose.TRAIN_MODELS, at=before, policy=POLICY).allowed
    assert effective(saying(), Purpose.TRAIN_MODELS, at=then, policy=POLICY).reason is Reason.EXPIRED
    forever = saying(replace(GIVEN, expires_at=None))
    assert effective(forever, Purpose.TRAIN_MODELS, at=AT + timedelta(days=9_999), policy=POLICY).allowed


@pytest.mark.parametrize("purpose", PURPOSES)
@pytest.mark.parametrize("strict", [False, True])
def test_gpc_denies_what_shares_data_and_in_strict_mode_everything(purpose: Purpose, strict: bool) -> None:
    facts = replace(ADULT, consents=dict.fromkeys(Purpose, GIVEN))
    decision = effective(facts, purpose, at=AT, policy=Policy(gpc_strict=strict), gpc=True)
    shares = purpose in {Purpose.LINK_IN_STORE, Purpose.EMAIL_CAMPAIGN, Purpose.SENSITIVE_CATEGORIES}
    assert decision.allowed is not (shares or strict)
    assert effective(facts, purpose, at=AT, policy=Policy(gpc_strict=strict), gpc=False).allowed


@pytest.mark.parametrize("band", AGE_BANDS)
def test_only_adults_are_profiled(band: AgeBand) -> None:
    assert age_allowed(band, POLICY) is (band == "adult")
    assert age_allowed(band, Policy(unknown_age="adult")) is (band in ("adult", "unknown"))


def test_a_use_that_rests_on_several_purposes_needs_them_all() -> None:
    till = (Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE)
    both = replace(ADULT, consents=dict.fromkeys(till, GIVEN))
    assert effective_all(both, till, at=AT, policy=POLICY) == Decision(True, Reason.OK)
    assert effective_all(saying(), till, at=AT, policy=POLICY) == Decision(False, Reason.NO_CONSENT)
    assert effective_all(both, till, at=AT, policy=POLICY, gpc=True).reason is Reason.GPC
    seen = replace(both, gpc_at=AT)
    assert effective_all(seen, till, at=AT, policy=POLICY).reason is Reason.GPC
    assert not effective_all(both, (), at=AT, policy=POLICY).allowed


CONSENTS = st.builds(
    Consent,
    state=st.sampled_from(list(ConsentState)),
    seq=st.just(1),
    purpose_version=st.integers(0, 2),
    notice_id=st.sampled_from([NOTICE.notice_id, "other"]),
    notice_version=st.integers(0, 2),
    event_time=st.sampled_from([AT - timedelta(2), AT]),
    expires_at=st.none() | st.sampled_from([AT - timedelta(1), AT, AT + timedelta(1)]),
)
FACTS = st.builds(
    SubjectFacts,
    consents=st.dictionaries(st.sampled_from(PURPOSES), CONSENTS),
    age_band=st.sampled_from(AGE_BANDS),
    state=st.sampled_from(["active", "erasing", "erased"]),
    objected=st.booleans(),
    restricted=st.booleans(),
    gpc_at=st.none() | st.just(AT - timedelta(1)),
)
POLICIES = st.builds(
    Policy,
    unknown_age=st.sampled_from(["deny", "adult"]),
    gpc_strict=st.booleans(),
    notices=st.sampled_from([POLICY.notices, CHANGED_NOTICE.notices, {}]),
)


@given(facts=FACTS, purpose=st.sampled_from(PURPOSES), policy=POLICIES, gpc=st.booleans())
def test_allowed_means_that_every_test_holds(facts: SubjectFacts, purpose: Purpose, policy: Policy, gpc: bool) -> None:
    def holds(purpose: Purpose) -> bool:
        consent, notice = facts.consents.get(purpose), policy.notices.get(NOTICE.notice_id)
        rule = PURPOSE_RULES[purpose]
        signalled = gpc or facts.gpc_at is not None
        return all(
            [
                consent is not None and consent.state == "given",
                consent is not None and consent.notice_id == NOTICE.notice_id,
                consent is not None and notice is not None and consent.notice_version >= notice.oldest_valid,
                consent is not None and consent.purpose_version == rule.version,
                consent is not None and (consent.expires_at is None or consent.expires_at > AT),
                not facts.objected,
                not facts.restricted,
                facts.age_band == "adult" or (facts.age_band == "unknown" and policy.unknown_age == "adult"),
                facts.state == "active",
                not rule.requires or any(holds(wide) for wide in rule.requires),
                not (signalled and (rule.gpc_denies or policy.gpc_strict))
                or (consent is not None and facts.gpc_at is not None and consent.event_time >= facts.gpc_at),
            ]
        )

    decision = effective(facts, purpose, at=AT, policy=policy, gpc=gpc)
    assert decision.allowed is holds(purpose)
    assert (decision.reason is Reason.OK) is decision.allowed
