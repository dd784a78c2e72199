"""Keys: kept to their owner, unrelated between domains, and of no use when changed."""

import hashlib
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from considerate.errors import StoreError
from considerate.store.keys import Keys, commit, load_keys, seal, unseal

KEYS = Keys.from_master(bytes(range(32)))


def test_a_master_key_is_made_once_and_readable_by_its_owner_alone(tmp_path: Path) -> None:
    made = load_keys(tmp_path / "keys", create=True)
    path = tmp_path / "keys" / "master.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(path.read_bytes()) == 32
    assert [file.name for file in path.parent.iterdir()] == ["master.key"]
    assert load_keys(tmp_path / "keys", create=True) == made == load_keys(tmp_path / "keys", create=False)


def test_two_installations_have_different_keys(tmp_path: Path) -> None:
    one, other = (load_keys(tmp_path / name, create=True) for name in ("one", "other"))
    assert one.fingerprint != other.fingerprint
    assert one.lookup("7") != other.lookup("7")


def test_a_missing_key_is_not_replaced_by_a_new_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"master\.key: no master key; restore it from your backup"):
        load_keys(tmp_path, create=False)
    assert list(tmp_path.iterdir()) == []


def test_a_key_that_others_may_read_is_refused(tmp_path: Path) -> None:
    load_keys(tmp_path, create=True)
    (tmp_path / "master.key").chmod(0o644)
    with pytest.raises(StoreError, match=r"mode 0644 lets others read it, must be 0600; run: chmod 600"):
        load_keys(tmp_path, create=False)


@pytest.mark.parametrize("size", [0, 31, 33])
def test_a_key_of_another_length_is_refused(tmp_path: Path, size: int) -> None:
    path = tmp_path / "master.key"
    path.write_bytes(b"x" * size)
    path.chmod(0o600)
    with pytest.raises(StoreError, match=rf"{size} bytes, must be 32; restore it from your backup"):
        load_keys(tmp_path, create=True)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match=r"cannot be created: .*; check the folder's permissions"):
        load_keys(tmp_path / "file" / "keys", create=True)


def test_a_folder_in_the_place_of_the_key_cannot_be_read(tmp_path: Path) -> None:
    (tmp_path / "master.key").mkdir()
    with pytest.raises(StoreError, match=r"cannot be read: .*; check its permissions"):
        load_keys(tmp_path, create=False)


def test_a_lookup_is_no_plain_hash_of_an_id() -> None:
    ids = [str(number) for number in range(2_000)]
    lookups = {KEYS.lookup(id_) for id_ in ids}
    assert len(lookups) == 2_000
    for algorithm in ("md5", "sha1", "sha256"):
        assert lookups.isdisjoint(hashlib.new(algorithm, id_.encode()).digest() for id_ in ids)


def test_pseudonyms_of_two_domains_cannot_be_joined() -> None:
    assert KEYS.pseudonym("log", "7") == KEYS.pseudonym("log", "7")
    assert KEYS.pseudonym("log", "7") != KEYS.pseudonym("experiment", "7")
    assert bytes.fromhex(KEYS.pseudonym("log", "7")) not in KEYS.lookup("7")


def test_keys_do_not_show_themselves() -> None:
    assert repr(KEYS) == f"Keys(fingerprint='{KEYS.fingerprint}')"


@given(st.text())
def test_every_text_has_a_lookup(text: str) -> None:
    assert len(KEYS.lookup(text)) == 32
    assert len(KEYS.pseudonym("log", text)) == 32


def test_lone_surrogates_have_a_lookup_too() -> None:
    assert KEYS.lookup("\ud800") != KEYS.lookup("\ud801")


def test_a_subject_key_opens_for_its_subject_only() -> None:
    plain, wrapped = KEYS.new_subject_key(b"a" * 16)
    assert KEYS.unwrap(wrapped, b"a" * 16) == plain
    assert plain not in wrapped
    with pytest.raises(StoreError, match="does not open with this key"):
        KEYS.unwrap(wrapped, b"b" * 16)
    with pytest.raises(StoreError, match="restore the keys folder that belongs to this database"):
        Keys.from_master(b"x" * 32).unwrap(wrapped, b"a" * 16)


def test_a_changed_byte_anywhere_is_noticed() -> None:
    sealed = seal(b"k" * 32, b"evidence", b"event")
    for place in range(len(sealed)):
        changed = bytearray(sealed)
        changed[place] ^= 1
        with pytest.raises(StoreError, match="does not open"):
            unseal(b"k" * 32, bytes(changed), b"event")
    with pytest.raises(StoreError, match="does not open"):
        unseal(b"k" * 32, b"", b"event")


def test_a_commitment_says_nothing_without_the_key() -> None:
    assert commit(b"a" * 32, b"{}") != commit(b"b" * 32, b"{}")
    assert commit(b"a" * 32, b"{}") != hashlib.sha256(b"{}").digest()
