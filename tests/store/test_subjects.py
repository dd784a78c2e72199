"""Subjects: found by id, stored without it."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, delete, func, select

from considerate.errors import StoreError
from considerate.store.engine import open_store, reading, recording, writing
from considerate.store.keys import Keys
from considerate.store.subjects import (
    Subject,
    customer_id_of,
    ensure_subjects,
    find_subject,
    new_ref,
    subject_by_ref,
    subject_keys,
)
from considerate.store.tables import subject, subject_key

AT = datetime(2026, 5, 1, tzinfo=UTC)


def test_a_subject_is_made_once_and_found_by_id(engine: Engine, keys: Keys) -> None:
    with writing(engine) as conn:
        first = ensure_subjects(conn, keys, ["7", "8", "7"], age_bands={"7": "adult"}, at=AT)
        again = ensure_subjects(conn, keys, ["8", "9"], at=AT)
    assert list(first) == ["7", "8"]
    assert again["8"] == first["8"]
    assert len({*first.values(), *again.values()}) == 3
    with reading(engine) as conn:
        known = find_subject(conn, keys.lookup("7"))
        assert known == Subject(first["7"], "active", "adult", 0, None, None)
        assert subject_by_ref(conn, first["7"]) == known
        assert find_subject(conn, keys.lookup("10")) is None
        assert subject_by_ref(conn, b"nobody" * 2) is None


def test_a_reference_is_a_random_uuid() -> None:
    refs = {new_ref() for _ in range(1_000)}
    assert len(refs) == 1_000
    assert all(uuid.UUID(bytes=ref).version == 4 for ref in refs)


def test_an_id_can_be_read_back_until_its_key_is_destroyed(engine: Engine, keys: Keys) -> None:
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, ["Grüße, Nr. 7"])["Grüße, Nr. 7"]
        assert customer_id_of(conn, keys, ref) == "Grüße, Nr. 7"
        assert len(subject_keys(conn, keys, [ref])[ref]) == 32
        conn.execute(delete(subject_key))
        assert customer_id_of(conn, keys, ref) is None
        assert subject_keys(conn, keys, [ref]) == {}


def test_no_customer_id_is_readable_in_the_file(keys: Keys, store_file: Path) -> None:
    engine = open_store(f"sqlite:///{store_file}", create=False)
    with writing(engine) as conn:
        ensure_subjects(conn, keys, ["canary-4711"])
    engine.dispose()
    assert b"canary-4711" not in b"".join(path.read_bytes() for path in store_file.parent.glob("considerate.db*"))


def test_a_new_age_band_replaces_the_old_one_and_ends_cached_results(engine: Engine, keys: Keys) -> None:
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, ["7"], age_bands={"7": "adult"})["7"]
        ensure_subjects(conn, keys, ["7"], age_bands={"7": "adult"})
        unchanged = subject_by_ref(conn, ref)
        ensure_subjects(conn, keys, ["7"], age_bands={"7": "16_17"})
        changed = subject_by_ref(conn, ref)
        ensure_subjects(conn, keys, ["7"])
        assert subject_by_ref(conn, ref) == changed
    assert unchanged is not None
    assert changed is not None
    assert (unchanged.age_band, unchanged.consent_epoch) == ("adult", 0)
    assert (changed.age_band, changed.consent_epoch) == ("16_17", 1)


def test_an_age_alone_corrects_who_is_known_and_makes_nobody(engine: Engine, keys: Keys) -> None:
    with writing(engine) as conn:
        ref = ensure_subjects(conn, keys, ["7"], age_bands={"7": "adult"})["7"]
        refs = ensure_subjects(conn, keys, ["8"], age_bands={"7": "16_17", "stranger": "16_17"})
        known = subject_by_ref(conn, ref)
        assert conn.execute(select(func.count()).select_from(subject)).scalar() == 2
    assert known is not None
    assert (known.age_band, refs["7"], list(refs)) == ("16_17", ref, ["8", "7"])


def test_an_unknown_age_band_is_refused(engine: Engine, keys: Keys) -> None:
    with pytest.raises(StoreError, match=r"age_band '42': must be one of unknown, u13"), writing(engine) as conn:
        ensure_subjects(conn, keys, ["7"], age_bands={"7": "42"})


def test_a_store_belongs_to_one_master_key(engine: Engine, keys: Keys) -> None:
    with writing(engine) as conn:
        ensure_subjects(conn, keys, ["7"])
    other = Keys.from_master(b"o" * 32)
    message = rf"master key {other.fingerprint}: .* under master key {keys.fingerprint}; restore the keys folder"
    with pytest.raises(StoreError, match=message), writing(engine) as conn:
        ensure_subjects(conn, other, ["7"])


def test_recorders_who_meet_the_same_new_customer_agree_on_one_subject(engine: Engine, keys: Keys) -> None:
    def meet(number: int) -> dict[str, bytes]:
        with recording(engine) as conn:
            return ensure_subjects(conn, keys, [f"{(number + place) % 20}" for place in range(20)])

    with ThreadPoolExecutor(8) as pool:
        met = list(pool.map(meet, range(24)))
    assert all(one == met[0] for one in met)
    with reading(engine) as conn:
        assert conn.execute(select(func.count()).select_from(subject)).scalar() == 20
        assert len(subject_keys(conn, keys, list(met[0].values()))) == 20


def test_an_age_is_not_something_to_record_beside_others(engine: Engine, keys: Keys) -> None:
    with recording(engine) as conn:
        ensure_subjects(conn, keys, ["7"])
        with pytest.raises(StoreError, match="write lock"):
            ensure_subjects(conn, keys, ["7"], age_bands={"7": "adult"})


def test_subjects_are_made_under_the_write_lock_only(engine: Engine, keys: Keys) -> None:
    with reading(engine) as conn, pytest.raises(StoreError, match="write lock"):
        ensure_subjects(conn, keys, ["7"])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(), max_size=8))
def test_any_text_is_an_id(engine: Engine, keys: Keys, ids: list[str]) -> None:
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, ids)
        assert list(refs) == list(dict.fromkeys(ids))
        assert {ref: customer_id_of(conn, keys, ref) for ref in refs.values()} == {v: k for k, v in refs.items()}


@pytest.mark.parametrize(
    "odd", ["", "a b", "x" * 10_000, "\ud800", "'; DROP TABLE subject; --", "\x00", "\u00e9", "e\u0301"]
)
def test_odd_ids_are_told_apart(engine: Engine, keys: Keys, odd: str) -> None:
    with writing(engine) as conn:
        refs = ensure_subjects(conn, keys, [odd, "plain"])
        assert customer_id_of(conn, keys, refs[odd]) == odd
        assert refs[odd] != refs["plain"]
