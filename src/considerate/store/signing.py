"""The signing key of an installation (Ed25519): what it signs can be checked by anyone who has its public half.

keys/ledger.key            private, PEM, readable by its owner alone
keys/ledger.pub            its public half, to be given to auditors
keys/ledger-<key id>.pub   public halves of earlier keys: what they signed stays verifiable
"""

import hashlib
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from considerate.errors import StoreError
from considerate.store.files import drafted
from considerate.store.keys import write_secret

_PRIVATE = "ledger.key"
_PUBLIC = "ledger.pub"
PublicKeys = Mapping[str, Ed25519PublicKey]
"""Key id -> public key."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key; its repr shows the id alone.

    Attributes
    ----------
    key_id
        The first 32 hex digits of the SHA-256 of the public key's 32 bytes.
    private
        What signs.
    """

    key_id: str
    private: Ed25519PrivateKey = field(repr=False)

    @classmethod
    def of(cls, private: Ed25519PrivateKey) -> "SigningKey":
        """Name a key."""
        return cls(key_id_of(private.public_key()), private)

    @property
    def public_keys(self) -> PublicKeys:
        """The public half, under its id."""
        return {self.key_id: self.private.public_key()}

    def sign(self, content: bytes) -> bytes:
        """Give the 64 bytes of a signature; the same content always has the same one."""
        return self.private.sign(content)


def signed_by(keys: PublicKeys, key_id: str, signature: bytes, content: bytes) -> bool:
    """Whether the key `key_id` of `keys` made this signature."""
    key = keys.get(key_id)
    if key is None:
        return False
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def key_id_of(public: Ed25519PublicKey) -> str:
    """Name a public key."""
    return hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).hexdigest()[:32]


def load_signing_key(folder: Path, *, create: bool) -> SigningKey:
    """Read the signing key of an installation.

    Parameters
    ----------
    folder
        The installation's keys folder.
    create
        Make the key where it is missing. The public half of the one that was there stays, as in `rotate_signing_key`.

    Raises
    ------
    StoreError
        It is missing, others may read it, or it is no Ed25519 key.
    """
    path = folder / _PRIVATE
    if create and not path.exists():
        # What the lost key signed can be verified by this file alone: where it cannot be kept, no key is made.
        if (folder / _PUBLIC).exists():
            _keep_earlier(folder, read_public_key(folder / _PUBLIC))
        write_secret(path, _private_pem(Ed25519PrivateKey.generate()))
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            content = file.read()
    except FileNotFoundError as error:
        raise StoreError(
            f"{path}: no signing key; restore it from your backup, or make one: considerate ledger checkpoint"
        ) from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    if mode & 0o077:
        raise StoreError(f"{path}: mode {mode:04o} lets others read it, must be 0600; run: chmod 600 {path}")
    try:
        private = load_pem_private_key(content, None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise StoreError(f"{path}: not a PEM private key; restore it from your backup") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise StoreError(f"{path}: not an Ed25519 key; restore it from your backup")
    if create:
        _publish(folder, private.public_key())
    return SigningKey.of(private)


def load_public_keys(folder: Path) -> PublicKeys:
    """Read the public halves of the key in use and of every earlier one.

    Raises
    ------
    StoreError
        One of the files is no Ed25519 public key.
    """
    keys = (read_public_key(path) for path in sorted(folder.glob("ledger*.pub")))
    return {key_id_of(key): key for key in keys}


def read_public_key(path: Path) -> Ed25519PublicKey:
    """Read one public key.

    Raises
    ------
    StoreError
        The file is missing or no Ed25519 public key in PEM.
    """
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; name the ledger.pub of the shop") from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise StoreError(
            f"{path}: not a PEM public key; name the ledger.pub of the shop, or restore it from your backup"
        ) from error
    if not isinstance(key, Ed25519PublicKey):
        raise StoreError(f"{path}: not an Ed25519 key; restore it from your backup")
    return key


def rotate_signing_key(folder: Path) -> tuple[SigningKey, SigningKey]:
    """Put a new signing key in the place of the old one, whose public half stays; give the old and the new.

    Raises
    ------
    StoreError
        There is no key yet, or the folder cannot be written.
    """
    old = load_signing_key(folder, create=False)
    new = SigningKey.of(Ed25519PrivateKey.generate())
    try:
        # Public halves first: whenever this stops, whatever was or will be signed can be verified.
        _keep_earlier(folder, old.private.public_key())
        _keep_earlier(folder, new.private.public_key())
        with drafted(folder / _PRIVATE, _private_pem(new.private), private=True) as draft:
            os.replace(draft, folder / _PRIVATE)
    except OSError as error:
        raise StoreError(f"{folder}: cannot be written: {error.strerror}; check its permissions") from error
    _write_public(folder / _PUBLIC, new.private.public_key())
    return old, new


def _private_pem(private: Ed25519PrivateKey) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _publish(folder: Path, public: Ed25519PublicKey) -> None:
    try:
        earlier = read_public_key(folder / _PUBLIC)
    except StoreError:
        # Missing, or not a key: nothing to keep.
        earlier = public
    if key_id_of(earlier) != key_id_of(public):
        _keep_earlier(folder, earlier)
    _write_public(folder / _PUBLIC, public)


def _keep_earlier(folder: Path, public: Ed25519PublicKey) -> None:
    _write_public(folder / f"ledger-{key_id_of(public)}.pub", public)


def _write_public(path: Path, public: Ed25519PublicKey) -> None:
    content = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    try:
        if path.exists() and path.read_bytes() == content:
            return
        with drafted(path, content, private=False) as draft:
            os.replace(draft, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be written: {error.strerror}; check the folder's permissions") from error
