"""The signing key: one private file, public halves that last."""

import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from considerate.errors import StoreError
from considerate.store.signing import (
    load_public_keys,
    load_signing_key,
    read_public_key,
    rotate_signing_key,
    signed_by,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def test_the_key_is_made_once_and_read_again(folder: Path) -> None:
    made = load_signing_key(folder, create=True)
    assert load_signing_key(folder, create=True).key_id == made.key_id == load_signing_key(folder, create=False).key_id
    assert stat.S_IMODE((folder / "ledger.key").stat().st_mode) == 0o600
    assert list(load_public_keys(folder)) == [made.key_id]
    assert len(made.key_id) == 32
    assert "private" not in repr(made)


def test_a_signature_holds_for_its_content_and_key_alone(folder: Path, tmp_path: Path) -> None:
    key, other = load_signing_key(folder, create=True), load_signing_key(tmp_path / "other", create=True)
    keys = load_public_keys(folder)
    signature = key.sign(b"head")
    assert signed_by(keys, key.key_id, signature, b"head")
    assert not signed_by(keys, key.key_id, signature, b"heads")
    assert not signed_by(keys, key.key_id, signature[:-1], b"head")
    assert not signed_by(keys, key.key_id, other.sign(b"head"), b"head")
    assert not signed_by(keys, other.key_id, other.sign(b"head"), b"head")


def test_what_an_earlier_key_signed_stays_verifiable(folder: Path) -> None:
    first = load_signing_key(folder, create=True)
    signature = first.sign(b"head")
    old, new = rotate_signing_key(folder)
    _, newest = rotate_signing_key(folder)
    assert old.key_id == first.key_id
    keys = load_public_keys(folder)
    assert set(keys) == {old.key_id, new.key_id, newest.key_id}
    assert signed_by(keys, first.key_id, signature, b"head")
    assert load_signing_key(folder, create=False).key_id == newest.key_id
    assert stat.S_IMODE((folder / "ledger.key").stat().st_mode) == 0o600


def test_a_lost_public_half_is_written_again(folder: Path) -> None:
    key = load_signing_key(folder, create=True)
    (folder / "ledger.pub").unlink()
    load_signing_key(folder, create=True)
    assert list(load_public_keys(folder)) == [key.key_id]


def test_what_a_lost_key_signed_stays_verifiable(folder: Path) -> None:
    lost = load_signing_key(folder, create=True)
    signature = lost.sign(b"head")
    (folder / "ledger.key").unlink()
    made = load_signing_key(folder, create=True)
    assert made.key_id != lost.key_id
    assert read_public_key(folder / f"ledger-{lost.key_id}.pub") == lost.private.public_key()
    assert read_public_key(folder / "ledger.pub") == made.private.public_key()
    assert signed_by(load_public_keys(folder), lost.key_id, signature, b"head")


def test_no_key_is_made_beside_a_public_half_that_cannot_be_kept(folder: Path) -> None:
    load_signing_key(folder, create=True)
    (folder / "ledger.key").unlink()
    (folder / "ledger.pub").write_bytes(b"no key")
    with pytest.raises(StoreError, match=r"not a PEM public key; name the ledger\.pub of the shop"):
        load_signing_key(folder, create=True)
    assert not (folder / "ledger.key").exists()


def test_a_key_from_elsewhere_does_not_replace_the_public_half_of_the_one_before(folder: Path, tmp_path: Path) -> None:
    first = load_signing_key(folder, create=True)
    other = load_signing_key(tmp_path / "other", create=True)
    (tmp_path / "other" / "ledger.key").replace(folder / "ledger.key")
    assert load_signing_key(folder, create=True).key_id == other.key_id
    assert set(load_public_keys(folder)) == {first.key_id, other.key_id}


def test_a_missing_key_says_how_to_make_one(folder: Path) -> None:
    with pytest.raises(StoreError, match="no signing key; restore it from your backup, or make one: considerate ledg"):
        load_signing_key(folder, create=False)
    with pytest.raises(StoreError, match="no signing key"):
        rotate_signing_key(folder)


def test_a_key_that_others_may_read_is_refused(folder: Path) -> None:
    load_signing_key(folder, create=True)
    (folder / "ledger.key").chmod(0o644)
    with pytest.raises(StoreError, match=r"mode 0644 lets others read it, must be 0600; run: chmod 600"):
        load_signing_key(folder, create=False)


def test_a_key_of_another_kind_is_refused(folder: Path) -> None:
    load_signing_key(folder, create=True)
    other = generate_private_key(SECP256R1())
    (folder / "ledger.key").write_bytes(other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public = other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "ledger.pub").write_bytes(public)
    with pytest.raises(StoreError, match=r"ledger\.key: not an Ed25519 key; restore it"):
        load_signing_key(folder, create=False)
    with pytest.raises(StoreError, match=r"ledger\.pub: not an Ed25519 key; restore it"):
        load_public_keys(folder)


def test_what_is_no_key_is_refused(folder: Path) -> None:
    load_signing_key(folder, create=True)
    (folder / "ledger.key").write_bytes(b"no key")
    (folder / "ledger.pub").write_bytes(b"no key")
    with pytest.raises(StoreError, match="not a PEM private key; restore it"):
        load_signing_key(folder, create=False)
    with pytest.raises(StoreError, match=r"not a PEM public key; name the ledger\.pub"):
        load_public_keys(folder)
    with pytest.raises(StoreError, match=r"nowhere\.pub: cannot be read: No such file .* name the ledger\.pub"):
        read_public_key(folder / "nowhere.pub")


def test_a_folder_that_cannot_be_written_is_named(folder: Path) -> None:
    folder.parent.mkdir(exist_ok=True)
    folder.write_text("a file")
    with pytest.raises(StoreError, match=r"ledger\.key: cannot be (created|read)"):
        load_signing_key(folder, create=True)
