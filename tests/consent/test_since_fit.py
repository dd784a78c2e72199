"""Between a fit and its promotion: every change of mind is seen, whatever its kind and whenever it comes."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, func, insert, select, update

from considerate.consent.decision import ConsentState, Policy
from considerate.consent.events import ConsentEvent
from considerate.consent.ledger import append, grant, head, withdraw
from considerate.consent.notices import NOTICE, current_notice
from considerate.consent.purposes import PURPOSE_RULES, Purpose
from considerate.consent.since_fit import FitBasis, SinceFit, judge, judge_again
from considerate.consent.snapshot import snapshot_from_ledger
from considerate.errors import ConsentError
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import subject, to_micros, tombstone

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LATER = AT + timedelta(hours=6)
TRAIN, LINK = Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE
ALL = (TRAIN, LINK, Purpose.SENSITIVE_CATEGORIES)


def do(engine: Engine, keys: Keys, ref: bytes, act: str, at: datetime) -> None:
    """One thing a customer, or the shop for her, may do."""
    with writing(engine) as conn:
        play(conn, keys, ref, act, at)


def play(conn: Connection, keys: Keys, ref: bytes, act: str, at: datetime) -> None:
    # What is noted beside the ledger raises her epoch, as each act of the store does.
    row = update(subject).where(subject.c.subject_ref == ref).values(consent_epoch=subject.c.consent_epoch + 1)
    match act:
        case "grant" | "link":
            purpose = TRAIN if act == "grant" else LINK
            append(conn, keys, ConsentEvent(ref, purpose, ConsentState.GIVEN, current_notice(), at), at=at)
        case "withdraw" | "unlink":
            withdraw(conn, keys, ref, TRAIN if act == "withdraw" else LINK, at=at)
        case "object":
            conn.execute(row.values(objected_at=func.coalesce(subject.c.objected_at, to_micros(at))))
        case "allow":
            conn.execute(row.values(objected_at=None))
        case "restrict":
            conn.execute(row.values(restricted_at=func.coalesce(subject.c.restricted_at, to_micros(at))))
        case "minor":
            conn.execute(row.values(age_band="16_17"))
        case "signal":
            conn.execute(row.values(gpc_at=func.coalesce(subject.c.gpc_at, to_micros(at))))
        case "erase":
            event = ConsentEvent(ref, TRAIN, ConsentState.ERASED, current_notice(), at, method="erasure")
            append(conn, keys, event, at=at)
            stone = {"subject_ref": ref, "seq": head(conn).seq, "erased_at": to_micros(at)}
            conn.execute(insert(tombstone), stone)
            conn.execute(row.values(state="erasing", age_band="unknown"))


def fit(engine: Engine, keys: Keys, at: datetime = AT, policy: Policy | None = None) -> FitBasis:
    policy = policy or Policy()
    snapshot = snapshot_from_ledger(engine, keys, at, policy)
    return FitBasis(snapshot.head.seq, snapshot.head.hash.hex(), at, policy, snapshot.digest)


def since(engine: Engine, keys: Keys, basis: FitBasis, at: datetime = LATER) -> SinceFit:
    with reading(engine) as conn:
        return judge(conn, keys, basis, at=at).since


def allow(engine: Engine, keys: Keys, refs: Sequence[bytes], purposes: Sequence[Purpose] = ALL) -> None:
    with writing(engine) as conn:
        for ref in refs:
            for purpose in purposes:
                grant(conn, keys, ref, purpose, notice=current_notice(), at=AT, policy=Policy())


def test_a_fit_that_nothing_has_happened_to_is_fresh(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    assert since(engine, keys, fit(engine, keys)).fresh, "an empty ledger"
    allow(engine, keys, adults[:2])
    basis = fit(engine, keys)
    do(engine, keys, adults[2], "grant", LATER)
    do(engine, keys, adults[0], "grant", LATER)
    found = since(engine, keys, basis)
    assert (found, str(found)) == (SinceFit(), "none")


@pytest.mark.parametrize("act", ["withdraw", "unlink", "signal"])
def test_a_plain_withdrawal_of_what_the_fit_used_makes_it_stale(
    engine: Engine, keys: Keys, adults: list[bytes], act: str
) -> None:
    allow(engine, keys, adults)
    basis = fit(engine, keys)
    do(engine, keys, adults[0], act, AT + timedelta(hours=1))
    found = since(engine, keys, basis)
    assert found == SinceFit(withdrawn=1)
    assert (found.fresh, found.plain, str(found)) == (False, True, "1 withdrawn")
    assert since(engine, keys, fit(engine, keys, LATER)).fresh, "the next fit knows"


def test_a_grant_that_ran_out_counts_as_withdrawn(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[:1], [TRAIN])
    basis = fit(engine, keys)
    after = AT + timedelta(days=PURPOSE_RULES[TRAIN].ttl_days)
    assert since(engine, keys, basis, after - timedelta(seconds=1)).fresh
    assert since(engine, keys, basis, after) == SinceFit(withdrawn=1)


GRAVE = {"erase": "1 erased", "object": "1 objecting", "restrict": "1 restricted"}


@pytest.mark.parametrize("act", GRAVE)
def test_rights_exercised_since_a_fit_are_never_plain_even_after_a_withdrawal(
    engine: Engine, keys: Keys, adults: list[bytes], act: str
) -> None:
    allow(engine, keys, adults)
    basis = fit(engine, keys)
    do(engine, keys, adults[0], "withdraw", AT + timedelta(hours=1))
    do(engine, keys, adults[0], act, AT + timedelta(hours=2))
    found = since(engine, keys, basis)
    assert (found.plain, found.recalled, str(found)) == (False, True, GRAVE[act])
    assert since(engine, keys, fit(engine, keys, LATER)).fresh


def test_rights_exercised_before_the_fit_or_by_others_do_not_count(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    allow(engine, keys, adults[:2])
    do(engine, keys, adults[1], "object", AT)
    basis = fit(engine, keys)
    do(engine, keys, adults[2], "erase", LATER)
    do(engine, keys, adults[1], "erase", LATER)
    assert since(engine, keys, basis).fresh


def test_whoever_turns_out_to_be_a_minor_after_the_fit_was_in_it(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    allow(engine, keys, adults)
    do(engine, keys, adults[2], "minor", AT)
    basis = fit(engine, keys)
    assert since(engine, keys, basis).fresh, "a minor whom the fit left out is none of its business"
    do(engine, keys, adults[0], "minor", LATER)
    found = since(engine, keys, basis)
    assert (found.plain, found.recalled, found.minor) == (False, False, 2)
    assert str(found) == "2 not of age, or of unknown age"


def test_a_lifted_objection_makes_the_fit_one_that_cannot_be_recalled(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    allow(engine, keys, adults)
    do(engine, keys, adults[0], "object", AT)
    basis = fit(engine, keys)
    do(engine, keys, adults[0], "allow", LATER)
    found = since(engine, keys, basis)
    assert (found.plain, str(found)) == (False, "an age, an objection or a restriction was corrected")


def test_an_objection_from_a_clock_that_runs_ahead_is_heeded_by_fit_and_promotion(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    allow(engine, keys, adults)
    basis = fit(engine, keys)
    do(engine, keys, adults[0], "object", LATER + timedelta(minutes=5))
    assert since(engine, keys, basis).objected == 1


def test_a_notice_that_changed_is_not_a_plain_withdrawal(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[:1])
    basis = fit(engine, keys)
    with writing(engine) as conn:
        event = ConsentEvent(adults[0], TRAIN, ConsentState.SUPERSEDED, current_notice(), LATER)
        append(conn, keys, event, at=LATER)
    assert since(engine, keys, basis) == SinceFit(other=1)


def test_a_new_notice_that_changes_training_outruns_the_fit(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[:1], [TRAIN])
    basis = fit(engine, keys)
    for purpose, expected in ((LINK, SinceFit()), (TRAIN, SinceFit(other=1))):
        newer = replace(NOTICE, version=2, material=True, oldest_of={purpose: 2})
        with reading(engine) as conn:
            found = judge(conn, keys, basis, at=LATER, notices={NOTICE.notice_id: newer}).since
        assert found == expected


def test_the_policy_of_the_fit_is_the_one_that_counts(engine: Engine, keys: Keys) -> None:
    with writing(engine) as conn:
        (ref,) = ensure_subjects(conn, keys, ["dora"]).values()
    do(engine, keys, ref, "grant", AT)
    lenient = fit(engine, keys, policy=Policy(unknown_age="adult"))
    strict = fit(engine, keys, policy=Policy(unknown_age="adult", gpc_strict=True))
    do(engine, keys, ref, "signal", AT + timedelta(hours=1))
    assert since(engine, keys, lenient).fresh
    assert since(engine, keys, strict) == SinceFit(withdrawn=1)


@pytest.mark.parametrize(
    ("act", "expected"),
    [
        ("grant", SinceFit()),
        ("withdraw", SinceFit(withdrawn=1)),
        ("object", SinceFit(objected=1)),
        ("restrict", SinceFit(restricted=1)),
        ("minor", SinceFit(minor=1, recalled=False)),
        ("erase", SinceFit(erased=1)),
    ],
)
def test_a_judgement_is_brought_up_to_date_by_those_alone_whom_something_has_happened_to(
    engine: Engine, keys: Keys, adults: list[bytes], act: str, expected: SinceFit
) -> None:
    allow(engine, keys, adults)
    basis = fit(engine, keys)
    with reading(engine) as conn:
        judged = judge(conn, keys, basis, at=LATER)
    do(engine, keys, adults[1], act, LATER)
    with writing(engine) as conn:
        again = judge_again(conn, judged)
    assert (judged.since, again.since) == (SinceFit(), expected)
    assert again.erased == (frozenset({adults[1]}) if act == "erase" else frozenset())
    with writing(engine) as conn:
        # The same objects: nobody was looked at again.
        assert judge_again(conn, again).changes is again.changes


def test_another_ledger_is_refused(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[:1], [TRAIN])
    basis = fit(engine, keys)
    other = FitBasis(basis.seq, "ab" * 32, basis.at, basis.policy, basis.digest)
    with pytest.raises(ConsentError, match=r"ledger position 1: its hash is .* fitted on another ledger, or this one"):
        since(engine, keys, other)
    ahead = FitBasis(9, basis.head, basis.at, basis.policy, basis.digest)
    with pytest.raises(ConsentError, match="ledger position 9: the ledger ends at 1"):
        since(engine, keys, ahead)


ACTS = st.lists(
    st.tuples(
        st.integers(0, 3),
        st.sampled_from(["grant", "withdraw", "link", "unlink", "object", "restrict", "minor", "signal", "erase"]),
    ),
    max_size=10,
)


def standing(acts: Sequence[tuple[int, str]], who: int) -> tuple[bool, bool, frozenset[str]]:
    """Whether a customer may be learnt from, and at the till, and which rights stand against her: by her acts."""
    train = link = False
    answered = signalled = False
    rights = set()
    for customer, act in acts:
        if customer != who or "erase" in rights:
            continue
        if act in ("object", "restrict", "minor", "erase"):
            rights.add(act)
        elif act == "signal":
            answered &= signalled  # a yes before the first signal does not answer it
            signalled = True
        elif act in ("grant", "withdraw"):
            train = act == "grant"
        else:
            link = answered = act == "link"
    train &= not rights
    return train, train and link and (answered or not signalled), frozenset(rights)


@pytest.mark.slow
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=ACTS, between=ACTS)
@example(before=[(0, "grant")], between=[(0, "minor"), (0, "erase")])
def test_of_a_hundred_interleavings_none_promotes_what_consent_has_outrun(
    engine: Engine, keys: Keys, before: list[Any], between: list[Any]
) -> None:
    with writing(engine) as conn:
        serial = conn.execute(select(func.count()).select_from(subject)).scalar_one()
        names = [f"{serial} {place}" for place in range(4)]
        refs = list(ensure_subjects(conn, keys, names, age_bands=dict.fromkeys(names, "adult")).values())

    def live(acts: Sequence[tuple[int, str]], start: datetime, done: Sequence[tuple[int, str]]) -> None:
        gone = {who for who, act in done if act == "erase"}
        with writing(engine) as conn:
            for place, (who, act) in enumerate(acts):
                if who not in gone:
                    play(conn, keys, refs[who], act, start + timedelta(seconds=place))
                if act == "erase":
                    gone.add(who)

    # People of earlier examples stay as they are; time goes on.
    start = AT + timedelta(minutes=serial)
    live(before, start, [])
    basis = fit(engine, keys, start + timedelta(minutes=1))
    half, end = len(between) // 2, start + timedelta(minutes=3)
    live(between[:half], start + timedelta(minutes=2), before)
    with reading(engine) as conn:
        judged = judge(conn, keys, basis, at=end)
    live(between[half:], start + timedelta(minutes=2, seconds=30), [*before, *between[:half]])
    found = since(engine, keys, basis, end)
    with writing(engine) as conn:
        brought = judge_again(conn, judged).since
    # Whom nothing has happened to since need not be judged again; only a fit that cannot be recalled counts others too.
    # One that could not be recalled once is refused, even if an erasure has taken the age that was in the way.
    if judged.recalled and found.recalled:
        assert brought == found
    else:
        assert (brought.plain, brought.recalled) == (False, False)

    expected: Counter[str] = Counter()
    exact = True
    for who in range(4):
        train, link, had = standing(before, who)
        now_train, now_link, rights = standing([*before, *between], who)
        new = rights - had
        if train:
            grave = next((right for right in ("erase", "object", "restrict", "minor") if right in new), None)
            expected[grave or ("withdrawn" if not now_train or (link and not now_link) else "fresh")] += 1
        # No age has a time, and erasure takes it: then more may be counted than the fit took, never fewer.
        exact &= not ((train and "minor" in new) or ("minor" in had and "erase" in new))
    counts = {
        "erase": found.erased,
        "object": found.objected,
        "restrict": found.restricted,
        "minor": found.minor,
        "withdrawn": found.withdrawn,
    }
    if exact:
        assert found.recalled
        assert counts == {act: expected[act] for act in counts}
    else:
        assert all(counts[act] >= expected[act] for act in counts)
    assert found.fresh <= (not set(expected) - {"fresh"})
    assert found.plain <= (not set(expected) - {"fresh", "withdrawn"})
