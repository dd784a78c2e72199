"""Keys: one master file, one derived key per domain, one data key per subject.

A pseudonym is an HMAC under a secret key, never a plain hash: ids are short enough to be tried one by one.
Keys of different domains are unrelated (HKDF, RFC 5869), so pseudonyms of two domains cannot be joined.
"""

import hashlib
import hmac
import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from considerate.errors import StoreError
from considerate.store.files import drafted

_FILE = "master.key"
_SIZE = 32
_NONCE = 12


def derive(master: bytes, domain: str) -> bytes:
    """Give the 32-byte key of a domain."""
    return HKDF(algorithm=SHA256(), length=_SIZE, salt=None, info=f"considerate.v1.{domain}".encode()).derive(master)


@dataclass(frozen=True, slots=True)
class Keys:
    """The derived keys of one installation; their repr shows none of them.

    Attributes
    ----------
    fingerprint
        Names the master key without revealing it.
    """

    fingerprint: str
    _master: bytes = field(repr=False)
    _lookup: bytes = field(repr=False)
    _wrap: bytes = field(repr=False)

    @classmethod
    def from_master(cls, master: bytes) -> "Keys":
        """Derive everything from 32 secret bytes."""
        return cls(
            fingerprint=hmac.digest(derive(master, "fingerprint"), b"", "sha256").hex()[:16],
            _master=master,
            _lookup=derive(master, "lookup"),
            _wrap=derive(master, "subject-key"),
        )

    def lookup(self, customer_id: str) -> bytes:
        """Give the 32 bytes under which the store finds a customer of the shop."""
        # surrogatepass: any string a token may carry has a lookup; it is simply that of an unknown customer.
        return hmac.digest(self._lookup, customer_id.encode("utf-8", "surrogatepass"), "sha256")

    def pseudonym(self, domain: str, value: str) -> str:
        """Give 32 hex digits that stand for `value` within `domain` (`log`, `experiment` ...) only."""
        key = derive(self._master, f"pseudonym.{domain}")
        return hmac.digest(key, value.encode("utf-8", "surrogatepass"), "sha256").hex()[:32]

    def new_subject_key(self, subject_ref: bytes) -> tuple[bytes, bytes]:
        """Make a subject's data key; give it plain (32 bytes) and wrapped for the store."""
        plain = os.urandom(_SIZE)
        return plain, seal(self._wrap, plain, subject_ref)

    def unwrap(self, wrapped: bytes, subject_ref: bytes) -> bytes:
        """Give a subject's data key from its wrapped form.

        Raises
        ------
        StoreError
            It was wrapped under another master key, for another subject, or was changed.
        """
        return unseal(self._wrap, wrapped, subject_ref)


def seal(key: bytes, plain: bytes, bound_to: bytes) -> bytes:
    """Encrypt with AES-256-GCM: nonce and ciphertext, readable only together with `bound_to`."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plain, bound_to)


def unseal(key: bytes, sealed: bytes, bound_to: bytes) -> bytes:
    """Decrypt what `seal` gave.

    Raises
    ------
    StoreError
        Another key, another `bound_to`, or changed bytes.
    """
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], bound_to)
    except (InvalidTag, ValueError) as error:
        raise StoreError(
            "a sealed value does not open with this key; it was changed, or the master key is another installation's: "
            "restore the keys folder that belongs to this database"
        ) from error


def commit(key: bytes, content: bytes) -> bytes:
    """Give the 32-byte commitment to `content` under a subject's key: binding, and empty of meaning without it."""
    return hmac.digest(key, b"considerate.v1.evidence" + content, hashlib.sha256().name)


def load_keys(folder: Path, *, create: bool) -> Keys:
    """Read the master key of an installation.

    Parameters
    ----------
    folder
        Holds `master.key`: 32 bytes, readable by its owner alone.
    create
        Make the folder and the key where they are missing.

    Raises
    ------
    StoreError
        The key is missing, of another length, or others may read it.
    """
    path = folder / _FILE
    if create and not path.exists():
        write_secret(path, os.urandom(_SIZE))
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            master = file.read(_SIZE + 1)
    except FileNotFoundError as error:
        raise StoreError(
            f"{path}: no master key; restore it from your backup, or for a new store run: considerate db upgrade"
        ) from error
    except OSError as error:
        raise StoreError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    if mode & 0o077:
        raise StoreError(f"{path}: mode {mode:04o} lets others read it, must be 0600; run: chmod 600 {path}")
    if len(master) != _SIZE:
        raise StoreError(f"{path}: {len(master)} bytes, must be {_SIZE}; restore it from your backup")
    return Keys.from_master(master)


def write_secret(path: Path, content: bytes) -> None:
    """Write a secret for its owner alone (0600), whole or not at all; one that is there already stays.

    Raises
    ------
    StoreError
        It cannot be written.
    """
    try:
        with drafted(path, content, private=True) as draft, suppress(FileExistsError):
            os.link(draft, path)
    except OSError as error:
        raise StoreError(f"{path}: cannot be created: {error.strerror}; check the folder's permissions") from error
