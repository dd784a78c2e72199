"""Public keys of login tokens: a JWKS (RFC 7517) in a file or behind https. None is ever fetched for a request."""

import json
import logging
import urllib.request
from collections.abc import Mapping
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import jwt

from considerate.errors import ConfigError

log = logging.getLogger(__name__)

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
        self._text: bytes | None = None

    def find(self, kid: str) -> jwt.PyJWK | None:
        """Give the key, or None."""
        return self._keys.get(kid)

    @property
    def known(self) -> bool:
        """Whether there is any."""
        return bool(self._keys)

    def _hold(self, text: bytes, where: str) -> None:
        """Believe what a JWKS holds and nothing else, also where it holds nothing: so the only key is taken away."""
        if text == self._text:
            return
        self._keys = parse_jwks(text, where)
        self._text = text
        if not self._keys:
            raise ConfigError(
                f"{where}: holds no signing key with a kid, so no token signed with one is believed; "
                "add the public key of your token service"
            )


class FileKeys(_HeldKeys):
    """A JWKS file."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path = path

    def refresh(self) -> None:
        """Read the file; its time and size would not tell of every key that was exchanged.

        Raises
        ------
        ConfigError
            It is missing or no JWKS: the keys read before stay. Or it holds no key any more, said once: none stays.
        """
        try:
            text = self._path.read_bytes()
        except OSError as error:
            raise ConfigError(
                f"{self._path}: cannot be read: {error.strerror}; set [auth] jwks to your shop's public keys, "
                "or create a development key: considerate token --create-key"
            ) from error
        self._hold(text, str(self._path))


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
            There is no answer or it is no JWKS: the keys fetched before stay. Or it holds no key any more, said once:
            none stays.
        """
        try:
            with _NO_REDIRECTS.open(self._url, timeout=FETCH_SECONDS) as answer:
                text = answer.read(1_048_576)
        except (OSError, ValueError, HTTPException) as error:
            raise ConfigError(
                f"{self._url}: cannot be fetched: {error}; check [auth] jwks and the network, or use a file"
            ) from error
        self._hold(text, self._url)


def parse_jwks(text: bytes, where: str) -> dict[str, jwt.PyJWK]:
    """Read public signing keys by their `kid`, none where there is none.

    Kinds of key that we do not know are passed over, and so is, with a line in the log, an entry that breaks a rule
    (RFC 7517, section 5): it must not keep a key in use that its set has lost. Its `kid` is nobody's.

    Raises
    ------
    ConfigError
        It is no JWKS at all.
    """
    try:
        entries = json.loads(text)["keys"]
        if not isinstance(entries, list):
            raise TypeError("keys must be a list")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(f"{where}: not a JWKS: {error}; expected {{'keys': [...]}} (RFC 7517)") from error
    keys: dict[str, jwt.PyJWK] = {}
    refused: set[str] = set()
    for place, entry in enumerate(entries):
        kid: Any = entry.get("kid") if isinstance(entry, dict) else None
        try:
            key = _signing_key(entry)
            if key is not None and kid in keys:
                raise ValueError("a kid must be of one key alone")
        except Exception as error:  # whatever one entry holds, the others are heard: a revoked key must go
            rule = str(error) or type(error).__name__
            log.error("%s: keys[%d], kid %r: %s; no token is believed for it: mend the entry", where, place, kid, rule)
            if isinstance(kid, str):
                refused.add(kid)
            continue
        if key is not None:
            keys[kid] = key
    return {kid: key for kid, key in keys.items() if kid not in refused}


def _signing_key(entry: Any) -> jwt.PyJWK | None:
    """Read an entry; None for one that is not for signatures or of a kind that we do not know."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kty"), str):
        raise ValueError("must be an object with a kty")
    if entry["kty"] == "oct" or not _SECRET_MEMBERS.isdisjoint(entry):
        raise ValueError("private or symmetric; a JWKS must hold public keys only, so sign with a new one")
    if entry.get("use", "sig") != "sig" or not _known_kind(entry):
        return None
    if not isinstance(entry.get("kid"), str):
        raise ValueError("must have a kid, which is a text")
    return jwt.PyJWK(entry)


def _known_kind(entry: Mapping[str, Any]) -> bool:
    kind, curve, algorithm = entry["kty"], entry.get("crv"), entry.get("alg")
    if algorithm is not None and algorithm not in jwt.algorithms.get_default_algorithms():
        return False
    # PyJWT reads the longer Edwards curve only where `alg` says so.
    return kind == "RSA" or curve in _CURVES.get(kind, ()) or (curve == "Ed448" and algorithm == "EdDSA")
