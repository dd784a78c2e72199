"""Login tokens: who calls, and what the caller may do. RFC 8725 (best practice), RFC 9068 (`at+jwt`).

The shop mints a short-lived token from its own session; the subject of `/v1/me` comes from there and from nowhere else.
"""

import json
import logging
import re
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPException
from pathlib import Path
from typing import Any, Protocol

import jwt

from considerate.errors import ConfigError
from considerate.settings.service import AuthConfig

log = logging.getLogger(__name__)

TOKEN_TYPE = "at+jwt"  # noqa: S105 - the name of a type, not a secret
MAX_TOKEN_CHARACTERS = 131_072
FETCH_SECONDS = 5.0
_FOREIGN_KEYS = ("jwk", "jku", "x5u", "x5c", "crit")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_SECRET_MEMBERS = frozenset({"d", "k", "priv"})
_CURVES = {"OKP": ("Ed25519",), "EC": ("P-256", "P-384", "P-521", "secp256k1")}


class Scope(StrEnum):
    """What a token opens. A service scope never opens `/v1/me`."""

    ME = "me"
    EVENTS_WRITE = "events:write"
    CATALOGUE_WRITE = "catalogue:write"
    CONSENTS_WRITE = "consents:write"
    EXPORT = "export"


SERVICE_SCOPES = frozenset(Scope) - {Scope.ME}


class InvalidToken(Exception):
    """The token is not to be believed; why is nobody's business but the operator's, and never logged with it."""


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller whose token holds.

    Attributes
    ----------
    subject
        The claim `sub`: the customer's id, or the name of the calling service.
    scopes
        What it may do.
    logged_in_at
        When the customer last proved who she is (the claim `auth_time`), seconds since 1970-01-01 UTC; None where the
        shop does not say.
    """

    subject: str
    scopes: frozenset[str]
    logged_in_at: float | None = None


class Keys(Protocol):
    """Public keys by their id."""

    def find(self, kid: str) -> jwt.PyJWK | None:
        """Give the key, or None. Must not fetch anything: an unknown `kid` is the caller's invention."""

    def refresh(self) -> None:
        """Read the keys again; may block."""


class Verifier:
    """Checks tokens against pinned algorithms, issuer, audience, type, claims and keys.

    Parameters
    ----------
    config
        Whom to believe.
    keys
        Searched in this order.
    max_subject
        Longest accepted `sub`, characters.
    """

    def __init__(self, config: AuthConfig, keys: tuple[Keys, ...], *, max_subject: int) -> None:
        self._config = config
        self._keys = keys
        self._max_subject = max_subject
        self._jwt = jwt.PyJWT(options={"enforce_minimum_key_length": True})

    def verify(self, token: str) -> Caller:
        """Give the caller that `token` names.

        Raises
        ------
        InvalidToken
            Whatever is wrong with it.
        """
        try:
            return self._verify(token)
        except (jwt.PyJWTError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
            raise InvalidToken(type(error).__name__) from error

    def refresh(self) -> None:
        """Read every key set again; may block.

        Raises
        ------
        ConfigError
            One could not be read; the others were.
        """
        failed: ConfigError | None = None
        for keys in self._keys:
            try:
                keys.refresh()
            except ConfigError as error:
                failed = error
        if failed is not None:
            raise failed

    def _verify(self, token: str) -> Caller:
        if len(token) > MAX_TOKEN_CHARACTERS:
            raise InvalidToken("too long")
        header = jwt.get_unverified_header(token)
        if str(header.get("typ", "")).lower().removeprefix("application/") != TOKEN_TYPE:
            raise InvalidToken("type")
        if any(name in header for name in _FOREIGN_KEYS):
            raise InvalidToken("brings its own key or extension")
        kid = header.get("kid")
        if not isinstance(kid, str):
            raise InvalidToken("no key id")
        key = next((found for keys in self._keys if (found := keys.find(kid)) is not None), None)
        if key is None:
            raise InvalidToken("unknown key")
        claims: dict[str, Any] = self._jwt.decode(
            token,
            key,
            algorithms=list(self._config.algorithms),
            audience=self._config.audience,
            issuer=self._config.issuer,
            leeway=self._config.leeway_seconds,
            options={"require": ["exp", "iat", "iss", "aud", "sub", "jti"], "strict_aud": True},
        )
        return self._caller(claims)

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        subject, scope = claims["sub"], claims.get("scope", "")
        if not isinstance(subject, str) or not 0 < len(subject) <= self._max_subject:
            raise InvalidToken("subject")
        subject.encode()  # a lone surrogate is no customer id
        if _CONTROL.search(subject):
            # Loading and the order systems' events refuse them too: nobody could ever be known under such an id.
            raise InvalidToken("subject")
        if not isinstance(claims["jti"], str) or not claims["jti"] or not isinstance(scope, str):
            raise InvalidToken("claims")
        for name in ("exp", "iat"):
            if isinstance(claims[name], bool) or not isinstance(claims[name], int | float):
                raise InvalidToken("times")
        if not 0 < claims["exp"] - claims["iat"] <= self._config.max_token_seconds:
            raise InvalidToken("lives too long")
        return Caller(subject, frozenset(scope.split()), self._logged_in(claims))

    def _logged_in(self, claims: Mapping[str, Any]) -> float | None:
        at = claims.get("auth_time")
        if at is None:
            return None
        if isinstance(at, bool) or not isinstance(at, int | float) or not 0 <= at <= claims["iat"]:
            raise InvalidToken("login time")
        return float(at)


class FileKeys:
    """A JWKS file, read at the first `refresh` and again when it changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int] | None = None
        self._keys: dict[str, jwt.PyJWK] = {}

    def find(self, kid: str) -> jwt.PyJWK | None:
        """Give the key, or None."""
        return self._keys.get(kid)

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


class UrlKeys:
    """A JWKS behind https, fetched at start and then in the background, never because of a request."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._keys: dict[str, jwt.PyJWK] = {}

    def find(self, kid: str) -> jwt.PyJWK | None:
        """Give the key, or None."""
        return self._keys.get(kid)

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


def open_verifier(config: AuthConfig, home: Path, *, max_subject: int) -> Verifier:
    """Build the verifier of a service process; it believes nobody until its first `refresh`."""
    keys: list[Keys] = []
    if config.jwks is not None:
        keys.append(UrlKeys(config.jwks) if config.jwks.startswith("https://") else FileKeys(Path(config.jwks)))
    if config.development_key is not None:
        keys.append(FileKeys(jwks_beside(home / config.development_key)))
    return Verifier(config, tuple(keys), max_subject=max_subject)


def jwks_beside(private_key: Path) -> Path:
    """Where the public half of a development key stands."""
    return private_key.with_suffix(".jwks.json")
