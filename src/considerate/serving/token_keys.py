"""Public keys of login tokens: a JWKS (RFC 7517) in a file or behind https. None is ever fetched for a request."""

import json
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import jwt

from considerate.errors import ConfigError

FETCH_SECONDS = 5.0
_SECRET_MEMBERS = frozenset({"d", "k", "priv"})
_CURVES = {"OKP": ("Ed25519",), "EC": ("P-256", "P-384", "P-521", "secp256k1")}


class Keys(Protocol):
    """Public keys by their id."""

    def find(self, kid: str) -> jwt.PyJWK | None:
        """Give the key, or None. Must not fetch anything: an unknown `kid` is the caller's invention."""

    def refresh(self) -> None:
        """Read the keys again; may block."""

    @property
    def known(self) -> bool:
        """Whether there is any: until then, nobody who signs with them is believed."""


class _HeldKeys:
    """Keys as they were last read."""

    def __init__(self) -> None:
        self._keys: dict[str, jwt.PyJWK] = {}

    def find(self, kid: str) -> jwt.PyJWK | None:
        """Give the key, or None."""
        return self._keys.get(kid)

    @property
    def known(self) -> bool:
        """Whether there is any."""
        return bool(self._keys)


class FileKeys(_HeldKeys):
    """A JWKS file, read at the first `refresh` and again when it changes."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path
        self._stamp: tuple[int, int] | None = None

    def refresh(self) -> None:
        """Read the file if it changed since.

        Raises
        ------
        ConfigError
            It is missing or no JWKS of public keys. The keys read before stay.
        """
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_size) == self._stamp:
                return
            text = self._path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{self._path}: cannot be read: {error.strerror}; set [auth] jwks to your shop's public keys, "
                "or create a development key: considerate token --create-key"
            ) from error
        self._keys = parse_jwks(text, str(self._path))
        self._stamp = (stat.st_mtime_ns, stat.st_size)


class _StayThere(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: it could lead from https to where anyone may answer."""

    def redirect_request(self, *_: Any) -> None:
        """Refuse."""


_NO_REDIRECTS = urllib.request.build_opener(_StayThere)


class UrlKeys(_HeldKeys):
    """A JWKS behind https, fetched at start and then in the background, never because of a request."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self._url = url

    def refresh(self) -> None:
        """Fetch the keys.

        Raises
        ------
        ConfigError
            The answer is no JWKS of public keys, or there is none. The keys fetched before stay.
        """
        try:
            with _NO_REDIRECTS.open(self._url, timeout=FETCH_SECONDS) as answer:
                text = answer.read(1_048_576)
        except (OSError, ValueError, HTTPException) as error:
            raise ConfigError(
                f"{self._url}: cannot be fetched: {error}; check [auth] jwks and the network, or use a file"
            ) from error
        self._keys = parse_jwks(text, self._url)


def parse_jwks(text: bytes, where: str) -> dict[str, jwt.PyJWK]:
    """Read public signing keys by their `kid`; kinds of key that we do not know are skipped (RFC 7517, section 5).

    Raises
    ------
    ConfigError
        No JSON, no key, or a key that must not be here: private or symmetric.
    """
    try:
        entries = json.loads(text)["keys"]
        keys: dict[str, jwt.PyJWK] = {}
        for entry in entries:
            if entry.get("kty") == "oct" or not _SECRET_MEMBERS.isdisjoint(entry):
                raise ConfigError(f"{where}: holds a private or symmetric key; a JWKS must hold public keys only")
            if entry.get("use", "sig") == "sig" and isinstance(entry.get("kid"), str) and _known_kind(entry):
                keys[entry["kid"]] = jwt.PyJWK(entry)
    except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError) as error:
        raise ConfigError(f"{where}: not a JWKS: {error}; expected {{'keys': [...]}} (RFC 7517)") from error
    if not keys:
        raise ConfigError(f"{where}: holds no signing key with a kid; add the public key of your token service")
    return keys


def _known_kind(entry: Mapping[str, Any]) -> bool:
    kind, curve, algorithm = entry["kty"], entry.get("crv"), entry.get("alg")
    if algorithm is not None and algorithm not in jwt.algorithms.get_default_algorithms():
        return False
    # PyJWT reads the longer Edwards curve only where `alg` says so.
    return kind == "RSA" or curve in _CURVES.get(kind, ()) or (curve == "Ed448" and algorithm == "EdDSA")
