"""The development key and the tokens minted with it. A production shop mints its own and never has this key."""

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import uuid4

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from considerate.errors import ConfigError
from considerate.serving.tokens import TOKEN_TYPE, jwks_beside
from considerate.settings.service import AuthConfig


def development_key_path(config: AuthConfig, home: Path) -> Path:
    """Where the development key stands.

    Raises
    ------
    ConfigError
        None is configured, so none may be used.
    """
    if config.development_key is None:
        raise ConfigError(
            "[auth] development_key is not set: this service believes only your shop's own tokens; mint one there, "
            "or set development_key on a development machine"
        )
    return home / config.development_key


def create_development_key(path: Path) -> bool:
    """Create the key (0600) and its JWKS unless there is one; say whether it did.

    Raises
    ------
    ConfigError
        It cannot be written, or what is there is no Ed25519 key.
    """
    if path.exists():
        _write_jwks(read_development_key(path), path)
        return False
    key = Ed25519PrivateKey.generate()
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        _write_jwks(key, path)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be created: {error.strerror}; check the folder's permissions") from error
    return True


def read_development_key(path: Path) -> Ed25519PrivateKey:
    """Read the private key.

    Raises
    ------
    ConfigError
        It is missing, or no Ed25519 key.
    """
    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such key; create it: considerate token --create-key") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; check its permissions") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ConfigError(f"{path}: not a PEM private key; remove it, then: considerate token --create-key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise ConfigError(f"{path}: not an Ed25519 key; remove it, then: considerate token --create-key")
    return key


def mint_token(
    subject: str,
    scopes: Sequence[str],
    config: AuthConfig,
    key: Ed25519PrivateKey,
    *,
    at: datetime,
    seconds: float = 900,
    logged_in_at: datetime | None = None,
) -> str:
    """Mint a token as the shop would from its own session.

    Parameters
    ----------
    subject
        The customer's id, or the name of a service.
    scopes
        `me` for a customer, service scopes otherwise.
    config
        Issuer and audience.
    key
        Signs it.
    at
        Now.
    seconds
        How long it holds, at most `config.max_token_seconds`.
    logged_in_at
        When the customer proved who she is; unsaid if None.
    """
    claims: dict[str, object] = {
        "iss": config.issuer,
        "aud": config.audience,
        "sub": subject,
        "scope": " ".join(scopes),
        "iat": int(at.timestamp()),
        "exp": int((at + timedelta(seconds=min(seconds, config.max_token_seconds))).timestamp()),
        "jti": str(uuid4()),
    }
    if logged_in_at is not None:
        claims["auth_time"] = int(logged_in_at.timestamp())
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"typ": TOKEN_TYPE, "kid": _jwk(key)["kid"]})


def _jwk(key: Ed25519PrivateKey) -> dict[str, str]:
    raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    needed = {"crv": "Ed25519", "kty": "OKP", "x": _base64url(raw)}
    thumbprint = hashlib.sha256(json.dumps(needed, separators=(",", ":"), sort_keys=True).encode())  # RFC 7638
    return {**needed, "kid": _base64url(thumbprint.digest()), "alg": "EdDSA", "use": "sig"}


def _base64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _write_jwks(key: Ed25519PrivateKey, path: Path) -> None:
    jwks_beside(path).write_text(json.dumps({"keys": [_jwk(key)]}, indent=1) + "\n")
