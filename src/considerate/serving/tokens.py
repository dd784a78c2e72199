"""Login tokens: who calls, and what the caller may do. RFC 8725 (best practice), RFC 9068 (`at+jwt`).

The shop mints a short-lived token from its own session; the subject of `/v1/me` comes from there and from nowhere else.
"""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import jwt

from considerate.errors import ConfigError
from considerate.serving.token_keys import FileKeys, Keys, UrlKeys
from considerate.settings.service import AuthConfig

log = logging.getLogger(__name__)

TOKEN_TYPE = "at+jwt"  # noqa: S105 - the name of a type, not a secret
MAX_TOKEN_CHARACTERS = 131_072
_FOREIGN_KEYS = ("jwk", "jku", "x5u", "x5c", "crit")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


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

    @property
    def ready(self) -> bool:
        """Whether every key set holds a key."""
        return all(keys.known for keys in self._keys)

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
            One could not be read or holds no key; the others were read.
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
