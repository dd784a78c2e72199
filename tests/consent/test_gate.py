"""The gate: who and what gets through, against a plain restatement of the rules."""

from collections import Counter
from collections.abc import Sequence, Set
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, func, insert, select, update

from considerate.consent.decision import ConsentState, Policy
from considerate.consent.events import ConsentEvent
from considerate.consent.gate import ConsentedInteractions, ConsentReport, keep_consented
from considerate.consent.ledger import append_many, grant, head, withdraw
from considerate.consent.notices import NoticeShown, current_notice
from considerate.consent.purposes import Purpose
from considerate.consent.snapshot import snapshot_assumed, snapshot_from_ledger
from considerate.errors import ConsentError
from considerate.interactions.columns import SCHEMA, Interactions, LoadReport
from considerate.settings.data import ConsentConfig
from considerate.store.engine import reading, writing
from considerate.store.keys import Keys
from considerate.store.subjects import ensure_subjects
from considerate.store.tables import event_exclusion, subject, to_micros

AT = datetime(2026, 5, 1, 12, tzinfo=UTC)
LEDGER = ConsentConfig()
ASSUMED = LEDGER.model_copy(update={"source": "assumed", "k_item": 1})
ONLINE, STORE = 0, 1


def rows(
    *said: tuple[str, str, int], bought: Sequence[datetime | None] = (), lines: Sequence[str | None] = ()
) -> Interactions:
    """Interactions of (customer, item, channel), with their times and order lines where a test looks at these."""
    columns: dict[str, list[Any]] = {name: [None] * len(said) for name in SCHEMA.names}
    columns |= {
        "customer_id": [customer for customer, _, _ in said],
        "item_id": [item for _, item, _ in said],
        "channel": [channel for _, _, channel in said],
        "kind": [0] * len(said),
        "event_id": [f"e{number}" for number in range(len(said))],
        "timestamp": list(bought) or [None] * len(said),
        "order_line": list(lines) or [None] * len(said),
    }
    return Interactions(pa.table(columns, schema=SCHEMA), LoadReport("test", len(said), len(said)))


def kept(consented: ConsentedInteractions) -> list[tuple[str, str, int]]:
    table = consented.table
    return list(zip(*(table[name].to_pylist() for name in ("customer_id", "item_id", "channel")), strict=True))


def assert_adds_up(report: ConsentReport) -> None:
    assert report.customers_total == report.customers_kept + sum(report.customers_left_out.values())
    assert report.rows_total == report.rows_kept + sum(report.rows_left_out.values())


def allow(engine: Engine, keys: Keys, ref: bytes, *purposes: Purpose) -> None:
    with writing(engine) as conn:
        for purpose in purposes:
            grant(conn, keys, ref, purpose, notice=current_notice(), at=AT, policy=Policy())


def change(engine: Engine, ref: bytes, **columns: Any) -> None:
    """Write into the row of a subject."""
    with writing(engine) as conn:
        conn.execute(update(subject).where(subject.c.subject_ref == ref).values(**columns))


def exclude(engine: Engine, *lines: tuple[bytes, str]) -> None:
    """Let customers say that they do not want purchases to count."""
    made = [{"subject_ref": ref, "order_line": line, "reason": "gift", "excluded_at": 0} for ref, line in lines]
    with writing(engine) as conn:
        conn.execute(insert(event_exclusion), made)


def test_only_rows_of_those_who_allow_training_get_through(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    allow(engine, keys, adults[1], Purpose.PERSONALISE_ONSITE, Purpose.LINK_IN_STORE)
    allow(engine, keys, adults[2], Purpose.TRAIN_MODELS)
    with writing(engine) as conn:
        withdraw(conn, keys, adults[2], Purpose.TRAIN_MODELS, at=AT)
    said = rows(("anna", "a", ONLINE), ("ben", "a", ONLINE), ("cleo", "b", ONLINE), ("dora", "b", ONLINE))
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    consented, report = keep_consented(said, snapshot, config=LEDGER, at=AT)
    assert kept(consented) == [("anna", "a", ONLINE)]
    assert report.customers_left_out == {"absent": 2, "withdrawn": 1}
    assert report.rows_left_out == {"absent": 2, "withdrawn": 1}
    assert (report.customers_total, report.customers_kept, report.rows_total, report.rows_kept) == (4, 1, 4, 1)
    with reading(engine) as conn:
        assert (report.ledger_seq, report.ledger_head) == (5, head(conn).hash.hex())
    assert consented.report is report


def test_till_rows_need_the_link_too(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    allow(engine, keys, adults[1], Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE)
    allow(engine, keys, adults[2], Purpose.TRAIN_MODELS)
    said = rows(("anna", "a", ONLINE), ("anna", "b", STORE), ("ben", "b", STORE), ("cleo", "b", STORE))
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    consented, report = keep_consented(said, snapshot, config=LEDGER, at=AT)
    assert kept(consented) == [("anna", "a", ONLINE), ("ben", "b", STORE)]
    assert report.rows_left_out == {"link_in_store": 2}
    assert report.customers_left_out == {"link_in_store": 1}


def test_sensitive_rows_need_the_explicit_switch_too(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    allow(engine, keys, adults[1], Purpose.TRAIN_MODELS, Purpose.SENSITIVE_CATEGORIES)
    allow(engine, keys, adults[2], Purpose.SENSITIVE_CATEGORIES)
    said = rows(("anna", "pill", ONLINE), ("ben", "pill", ONLINE), ("cleo", "pill", ONLINE), ("anna", "a", ONLINE))
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    consented, report = keep_consented(said, snapshot, config=LEDGER, at=AT, sensitive_items={"pill", "unsold"})
    assert kept(consented) == [("ben", "pill", ONLINE), ("anna", "a", ONLINE)]
    assert report.rows_left_out == {"absent": 1, "sensitive": 1}
    assert_adds_up(report)


def test_a_row_that_breaks_several_rules_counts_under_the_first(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    said = rows(("anna", "pill", STORE), ("anna", "pill", ONLINE), ("dora", "pill", STORE))
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    _, report = keep_consented(said, snapshot, config=LEDGER, at=AT, sensitive_items={"pill"})
    assert report.rows_left_out == {"absent": 1, "link_in_store": 1, "sensitive": 1}
    assert report.customers_left_out == {"absent": 1, "link_in_store": 1}
    assert_adds_up(report)


def test_rows_of_the_store_are_judged_by_subject_reference(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    said = rows((adults[0].hex(), "a", ONLINE), (adults[1].hex(), "a", ONLINE), ("f" * 32, "a", ONLINE))
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    consented, report = keep_consented(said, snapshot, config=LEDGER, at=AT)
    assert kept(consented) == [(adults[0].hex(), "a", ONLINE)]
    assert report.customers_left_out == {"absent": 2}


def test_a_shop_may_use_hexadecimal_ids_of_its_own(engine: Engine, keys: Keys) -> None:
    odd = ["0" * 32, "A" * 32, "z" * 32]
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, odd, age_bands=dict.fromkeys(odd, "adult"))
    allow(engine, keys, refs["0" * 32], Purpose.TRAIN_MODELS)
    allow(engine, keys, refs["z" * 32], Purpose.TRAIN_MODELS)
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    consented, _ = keep_consented(rows(*((id_, "a", ONLINE) for id_ in odd)), snapshot, config=LEDGER, at=AT)
    assert [customer for customer, _, _ in kept(consented)] == ["0" * 32, "z" * 32]


def test_purchases_a_customer_took_out_do_not_count_and_others_of_hers_do(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    allow(engine, keys, adults[1], Purpose.TRAIN_MODELS)
    exclude(engine, (adults[0], "gift"), (adults[1], "own"), (adults[2], "other"))
    said = rows(
        ("anna", "a", ONLINE), (adults[0].hex(), "b", ONLINE), ("ben", "a", ONLINE), ("anna", "c", ONLINE),
        lines=["gift", "own", "gift", None],
    )  # fmt: skip
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    consented, report = keep_consented(said, snapshot, config=LEDGER, at=AT)
    assert kept(consented) == [(adults[0].hex(), "b", ONLINE), ("ben", "a", ONLINE), ("anna", "c", ONLINE)]
    assert report.rows_left_out == {"customer_excluded": 1}


def test_rows_past_retention_are_not_learnt_from(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    oldest = AT - timedelta(days=730)
    said = rows(
        ("anna", "kept", ONLINE), ("anna", "old", ONLINE), ("anna", "timeless", ONLINE),
        bought=[oldest, oldest - timedelta(microseconds=1), None],
    )  # fmt: skip
    consented, report = keep_consented(said, snapshot_from_ledger(engine, keys, AT, Policy()), config=LEDGER, at=AT)
    assert [item for _, item, _ in kept(consented)] == ["kept", "timeless"]
    assert (report.rows_left_out, report.tags()["consent.events_days"]) == ({"retention": 1}, "730")
    _, assumed = keep_consented(said, snapshot_assumed(), config=ASSUMED, at=AT)
    assert (assumed.rows_left_out, assumed.tags()["consent.events_days"]) == ({}, "none")


def test_a_customer_who_objects_or_is_restricted_erased_or_a_minor_is_left_out_at_once(
    engine: Engine, keys: Keys
) -> None:
    names = ["objecting", "restricted", "erasing", "minor", "fine"]
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, names, age_bands=dict.fromkeys(names, "adult"))
    for name in names:
        allow(engine, keys, refs[name], Purpose.TRAIN_MODELS)
    ahead = to_micros(AT + timedelta(minutes=5))  # another machine's clock
    change(engine, refs["objecting"], objected_at=ahead)
    change(engine, refs["restricted"], restricted_at=ahead)
    change(engine, refs["erasing"], state="erasing")
    change(engine, refs["minor"], age_band="16_17")
    said = rows(*((name, "a", ONLINE) for name in names))
    consented, report = keep_consented(said, snapshot_from_ledger(engine, keys, AT, Policy()), config=LEDGER, at=AT)
    assert kept(consented) == [("fine", "a", ONLINE)]
    assert report.customers_left_out == {"objected": 1, "restricted": 1, "erased": 1, "minor": 1}
    assert_adds_up(report)


def test_a_privacy_signal_takes_till_rows_out_and_where_it_is_strict_the_customer(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE)
    change(engine, adults[0], gpc_at=to_micros(AT + timedelta(days=1)))
    later = AT + timedelta(days=2)
    said = rows(("anna", "a", ONLINE), ("anna", "b", STORE))
    _, report = keep_consented(said, snapshot_from_ledger(engine, keys, later, Policy()), config=LEDGER, at=later)
    assert report.rows_left_out == {"link_in_store": 1}
    strict = LEDGER.model_copy(update={"gpc_strict": True})
    snapshot = snapshot_from_ledger(engine, keys, later, Policy(gpc_strict=True))
    _, report = keep_consented(said, snapshot, config=strict, at=later)
    assert report.customers_left_out == {"gpc": 1}


def test_the_digest_can_be_computed_anew_from_a_position_and_tells_sets_of_people_apart(
    engine: Engine, keys: Keys, adults: list[bytes]
) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    digest = snapshot_from_ledger(engine, keys, AT, Policy()).digest
    allow(engine, keys, adults[1], Purpose.PERSONALISE_ONSITE)
    assert snapshot_from_ledger(engine, keys, AT, Policy()).digest == digest, "says nothing about training"
    allow(engine, keys, adults[0], Purpose.LINK_IN_STORE)
    wider = snapshot_from_ledger(engine, keys, AT, Policy()).digest
    allow(engine, keys, adults[1], Purpose.TRAIN_MODELS)
    assert len({digest, wider, snapshot_from_ledger(engine, keys, AT, Policy()).digest}) == 3
    assert snapshot_from_ledger(engine, keys, AT, Policy(), seq=1).digest == digest
    assert snapshot_from_ledger(engine, keys, AT, Policy(), seq=3).digest == wider
    other = Keys.from_master(bytes(reversed(range(32))))
    assert snapshot_from_ledger(engine, other, AT, Policy(), seq=1).digest != digest, "without the keys it says nothing"


def test_assumed_consent_reads_no_store_and_still_leaves_sensitive_rows_out() -> None:
    said = rows(("anna", "a", STORE), ("ben", "pill", ONLINE))
    consented, report = keep_consented(
        said, snapshot_assumed(), config=ASSUMED, at=AT, sensitive_items=frozenset({"pill"})
    )
    assert kept(consented) == [("anna", "a", STORE)]
    assert (report.source, report.ledger_seq, report.ledger_head, report.k_item) == ("assumed", 0, "", 1)
    assert_adds_up(report)


def test_no_rows_are_no_error(engine: Engine, keys: Keys) -> None:
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    for given_rows, config, shot in ((rows(), ASSUMED, snapshot_assumed()), (rows(), LEDGER, snapshot)):
        consented, report = keep_consented(given_rows, shot, config=config, at=AT, sensitive_items={"pill"})
        assert (len(consented.table), report.customers_total, report.rows_total) == (0, 0, 0)


def test_nobody_else_makes_consented_interactions() -> None:
    _, report = keep_consented(rows(("anna", "a", ONLINE)), snapshot_assumed(), config=ASSUMED, at=AT)
    with pytest.raises(ConsentError, match=r"made by consent\.gate\.keep_consented alone; call that"):
        ConsentedInteractions(rows(("ben", "a", ONLINE)).table, report)


def test_assumed_consent_does_not_stand_in_for_the_ledger(engine: Engine, keys: Keys) -> None:
    with pytest.raises(ConsentError, match=r"consent of source assumed: the data TOML says \[consent\] source = 'le"):
        keep_consented(rows(), snapshot_assumed(), config=LEDGER, at=AT)
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    with pytest.raises(ConsentError, match=r"consent of source ledger: .* or change the TOML"):
        keep_consented(rows(), snapshot, config=ASSUMED, at=AT)


def test_a_snapshot_holds_for_its_moment_and_policy_only(engine: Engine, keys: Keys) -> None:
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy())
    with pytest.raises(ConsentError, match="take the snapshot for that moment"):
        keep_consented(rows(), snapshot, config=LEDGER, at=AT + timedelta(seconds=1))
    adult = LEDGER.model_copy(update={"unknown_age": "adult"})
    with pytest.raises(ConsentError, match=r"unknown_age = 'deny': the data TOML says 'adult'; take the snapshot"):
        keep_consented(rows(), snapshot, config=adult, at=AT)


def test_a_position_behind_the_end_of_the_ledger_is_refused(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    with pytest.raises(ConsentError, match="ledger position 2: the ledger ends at 1; name a position from 0 to 1"):
        snapshot_from_ledger(engine, keys, AT, Policy(), seq=2)


def test_the_proof_of_a_run_adds_up(engine: Engine, keys: Keys, adults: list[bytes]) -> None:
    allow(engine, keys, adults[0], Purpose.TRAIN_MODELS)
    said = rows(("anna", "a", ONLINE), ("anna", "b", STORE), ("ben", "a", ONLINE))
    _, report = keep_consented(said, snapshot_from_ledger(engine, keys, AT, Policy()), config=LEDGER, at=AT)
    tags = report.tags()
    excluded = sum(int(value) for name, value in tags.items() if name.startswith("consent.n_excluded_"))
    assert int(tags["consent.n_total"]) == int(tags["consent.n_included"]) + excluded == 2
    assert tags["consent.as_of"] == AT.isoformat()
    assert (tags["consent.ledger_seq"], tags["consent.ledger_head"]) == ("1", report.ledger_head)
    assert all(len(value) < 500 for value in tags.values())
    assert not any(name in value for value in tags.values() for name in ("anna", "ben", adults[0].hex()))


PEOPLE = ["anna", "ben", "cleo", "dora", "emil"]
BANDS = ["adult", "adult", "16_17", "unknown", "adult"]
DAYS = st.sampled_from([0, 1, 900])
ACTS = st.lists(
    st.tuples(
        st.integers(0, 4),
        st.sampled_from([Purpose.TRAIN_MODELS, Purpose.LINK_IN_STORE, Purpose.SENSITIVE_CATEGORIES]),
        st.sampled_from(list(ConsentState)),
        DAYS,
        st.sampled_from([current_notice(), NoticeShown("terms", 1, "en")]),
    ),
    max_size=20,
)
ROWS = st.lists(
    st.tuples(
        st.sampled_from([*PEOPLE, "nobody"]),
        st.sampled_from(["a", "pill"]),
        st.sampled_from([ONLINE, STORE]),
        st.sampled_from([1, 730, 731]),  # days ago
        st.sampled_from(["own", "gift", None]),  # order line
    ),
    max_size=15,
)
RIGHTS = st.lists(st.sampled_from(["", "", "objected", "restricted", "erased"]), min_size=5, max_size=5)
GIFTS = st.sets(st.sampled_from(PEOPLE), max_size=2)


def oracle(acts: Sequence[Any], row: Any, rights: Sequence[str], gifts: Set[str], unknown_age: str) -> str | None:
    """Why `row` stays out, from the acts alone; None if it gets through."""
    customer, item, channel, days_ago, line = row

    def reason(purpose: Purpose) -> str | None:
        own = [act for act in acts if customer != "nobody" and PEOPLE[act[0]] == customer and act[1] is purpose]
        if not own:
            return "absent"
        _, _, state, days, shown = own[-1]
        if state is not ConsentState.GIVEN:
            named = {"withdrawn": "withdrawn", "expired": "expired", "superseded": "notice_changed"}
            return named.get(state.value, "absent")
        if shown.notice_id == "terms":
            return "notice_changed"
        if days == 900:
            return "expired"
        if right := rights[PEOPLE.index(customer)]:
            return right
        band = BANDS[PEOPLE.index(customer)]
        return None if band == "adult" or (band == "unknown" and unknown_age == "adult") else "minor"

    erased = customer in PEOPLE and rights[PEOPLE.index(customer)] == "erased"
    if erased and any(PEOPLE[act[0]] == customer for act in acts):
        return "erased"
    rules = {
        "retention": days_ago == 731,
        "customer_excluded": customer in gifts and line == "gift",
        "link_in_store": channel == STORE and reason(Purpose.LINK_IN_STORE) is not None,
        "sensitive": item == "pill" and reason(Purpose.SENSITIVE_CATEGORIES) is not None,
    }
    return reason(Purpose.TRAIN_MODELS) or next((rule for rule, holds in rules.items() if holds), None)


@pytest.mark.slow
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    acts=ACTS,
    said=ROWS,
    share=st.floats(0, 1),
    rights=RIGHTS,
    gifts=GIFTS,
    unknown_age=st.sampled_from(["deny", "adult"]),
)
def test_what_gets_through_equals_a_brute_force_reading_of_the_ledger(  # noqa: PLR0917 - hypothesis calls it
    engine: Engine,
    keys: Keys,
    acts: list[Any],
    said: list[Any],
    share: float,
    rights: list[str],
    gifts: set[str],
    unknown_age: Any,
) -> None:
    # Customers of this example: ids of their own, so that each example starts from an empty record.
    with writing(engine) as conn:
        serial = conn.execute(select(func.count()).select_from(subject)).scalar_one()
        start = head(conn).seq
        names = [f"{serial} {name}" for name in PEOPLE]
        refs = list(ensure_subjects(conn, keys, names, age_bands=dict(zip(names, BANDS, strict=True))).values())
        events = [
            ConsentEvent(refs[who], purpose, state, shown, AT - timedelta(days=days))
            for who, purpose, state, days, shown in acts
        ]
        append_many(conn, keys, events, at=AT)
    for ref, right in zip(refs, rights, strict=True):
        if right:
            change(engine, ref, **({"state": "erasing"} if right == "erased" else {f"{right}_at": to_micros(AT)}))
    if gifts:
        exclude(engine, *((refs[PEOPLE.index(name)], "gift") for name in gifts))
    counted = round(share * len(acts))
    snapshot = snapshot_from_ledger(engine, keys, AT, Policy(unknown_age=unknown_age), seq=start + counted)
    config = LEDGER.model_copy(update={"unknown_age": unknown_age})
    own = [(customer if customer == "nobody" else f"{serial} {customer}", *rest) for customer, *rest in said]
    offered = rows(
        *((customer, item, channel) for customer, item, channel, *_ in own),
        bought=[AT - timedelta(days=row[3]) for row in own],
        lines=[row[4] for row in own],
    )
    consented, report = keep_consented(offered, snapshot, config=config, at=AT, sensitive_items={"pill"})

    whys = [oracle(acts[:counted], row, rights, gifts, unknown_age) for row in said]
    assert kept(consented) == [tuple(row[:3]) for row, why in zip(own, whys, strict=True) if why is None]
    assert report.rows_left_out == Counter(why for why in whys if why is not None)
    through = {row[0] for row, why in zip(said, whys, strict=True) if why is None}
    assert report.customers_kept == len(through)
    assert report.customers_total == len({row[0] for row in said})
    assert report.ledger_seq == start + counted
    assert_adds_up(report)
