"""Tokens: one way in, and twenty forged ones that all meet the same closed door (RFC 8725)."""

import base64
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from considerate.errors import ConfigError
from considerate.serving.development import (
    create_development_key,
    development_key_path,
    mint_token,
    read_development_key,
)
from considerate.serving.tokens import InvalidToken, jwks_beside, open_verifier
from considerate.settings.service import AuthConfig

if TYPE_CHECKING:
    from tests.serving.conftest import World

Claims = dict[str, Any]


def now() -> int:
    return int(datetime.now(UTC).timestamp())


def claims(**changes: Any) -> Claims:
    """Give the claims of a good token with changes; None removes a claim."""
    good: Claims = {
        "iss": "https://shop.test",
        "aud": "considerate",
        "sub": "ann",
        "scope": "me",
        "iat": now(),
        "exp": now() + 600,
        "jti": "one",
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forgeries(key: Ed25519PrivateKey, jwks: dict[str, Any]) -> dict[str, str]:
    """Give twenty-odd tokens that must not be believed, by what is wrong with them."""
    kid = jwks["keys"][0]["kid"]
    head = {"typ": "at+jwt", "kid": kid}
    stranger = Ed25519PrivateKey.generate()
    public = key.public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)

    def signed(payload: Claims, with_: Ed25519PrivateKey = key, **header: Any) -> str:
        return jwt.encode(payload, with_, algorithm="EdDSA", headers={**head, **header})

    def hmac(secret: bytes) -> str:
        # Assembled by hand: PyJWT refuses to take a public key for a secret, an attacker does not.
        import hashlib
        import hmac as mac

        signing = f"{part({'alg': 'HS256', **head})}.{part(claims())}"
        digest = mac.new(secret, signing.encode(), hashlib.sha256).digest()
        return f"{signing}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"

    good = signed(claims())
    return {
        "empty": "",
        "not a token": "abc",
        "alg none": f"{part({'alg': 'none', **head})}.{part(claims())}.",
        "alg None with signature": f"{part({'alg': 'None', **head})}.{part(claims())}.{good.split('.')[2]}",
        "unsigned": good.rsplit(".", 1)[0] + ".",
        "changed payload": f"{good.split('.')[0]}.{part(claims(sub='bob'))}.{good.split('.')[2]}",
        "HS256 with our public PEM": hmac(pem),
        "HS256 with our public DER": hmac(der),
        "HS256 with our JWK text": hmac(json.dumps(jwks["keys"][0]).encode()),
        "another key under our kid": signed(claims(), stranger),
        "unknown kid": signed(claims(), kid="other"),
        "no kid": jwt.encode(claims(), key, algorithm="EdDSA", headers={"typ": "at+jwt"}),
        "brings its own jwk": signed(claims(), stranger, jwk={**jwks["keys"][0], "x": "AA"}),
        "points to its own keys": signed(claims(), stranger, jku="https://attacker.test/jwks.json"),
        "x5u": signed(claims(), x5u="https://attacker.test/cert"),
        "unknown crit": signed(claims(), crit=["b64"], b64=True),
        "ID token": signed(claims(), typ="JWT"),
        "refresh token": signed(claims(), typ="rt+jwt"),
        "wrong audience": signed(claims(aud="other")),
        "several audiences": signed(claims(aud=["considerate", "other"])),
        "no audience": signed(claims(aud=None)),
        "wrong issuer": signed(claims(iss="https://attacker.test")),
        "issuer with a prefix of ours": signed(claims(iss="https://shop.test.attacker.test")),
        "expired": signed(claims(iat=now() - 900, exp=now() - 300)),
        "not yet": signed(claims(nbf=now() + 300)),
        "issued in the future": signed(claims(iat=now() + 300, exp=now() + 600)),
        "no expiry": signed(claims(exp=None)),
        "lives for a year": signed(claims(exp=now() + 31_536_000)),
        "no subject": signed(claims(sub=None)),
        "empty subject": signed(claims(sub="")),
        "subject is a number": signed(claims(sub=7)),
        "no id": signed(claims(jti=None)),
        "scope is a list": signed(claims(scope=["me"])),
        "subject too long": signed(claims(sub="a" * 10_001)),
        "expiry is infinite": f"{part({'alg': 'EdDSA', **head})}.{part(claims(exp=float('inf')))}.{good.split('.')[2]}",
    }


@pytest.fixture
def jwks(world: "World") -> dict[str, Any]:
    text = jwks_beside(world.home / "keys" / "development.pem").read_text()
    read: dict[str, Any] = json.loads(text)
    return read


def test_forged_tokens_all_get_the_same_401(world: "World", jwks: dict[str, Any]) -> None:
    client = world.client()
    forged = forgeries(world.signing_key, jwks)
    assert len(forged) >= 20
    answers = {
        name: client("GET", "/v1/me/recommendations", headers={"Authorization": f"Bearer {token}"})
        for name, token in forged.items()
    }
    accepted = [name for name, answer in answers.items() if answer.status_code != 401]
    assert accepted == []
    assert len({answer.content for answer in answers.values()}) == 1
    (challenge,) = {answer.headers["www-authenticate"] for answer in answers.values()}
    assert challenge.startswith("Bearer")


@pytest.mark.parametrize("path", ["/v1/me/recommendations", "/v1/me/consents"])
def test_no_token_another_scheme_or_two_headers_are_the_same_401(world: "World", path: str) -> None:
    client = world.client()
    good = world.token("ann")["Authorization"]
    answers = [
        client("GET", path),
        client("GET", path, headers={"Authorization": "Basic YTpi"}),
        client("GET", path, headers=[("Authorization", good), ("Authorization", good)]),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1


@pytest.mark.parametrize("subject", ["a b", "Zoë Ñandú", "客户", "a" * 10_000, "' OR 1=1 --", "\U0001f600"])
def test_any_customer_id_that_the_shop_signs_is_believed(world: "World", subject: str) -> None:
    assert world.ask(subject)["reason"] == "no_consent"


def test_a_customer_cannot_speak_for_the_till_nor_the_till_for_a_customer(world: "World") -> None:
    client = world.client()
    event = {"customer_id": "ann", "event_id": "1", "kind": "purchase", "item_id": "milk"}
    as_customer = client("POST", "/v1/events", json={"events": [event]}, headers=world.token("ann"))
    assert as_customer.status_code == 403
    for scopes in (("events:write",), ("me", "events:write"), ("unknown",)):
        answer = client("GET", "/v1/me/recommendations", headers=world.token("till", *scopes))
        assert answer.status_code == 403, scopes


def test_a_missing_key_file_names_the_next_step(tmp_path: Path) -> None:
    auth = AuthConfig(issuer="i", audience="a", development_key=Path("keys/d.pem"))
    with pytest.raises(ConfigError, match="considerate token --create-key"):
        open_verifier(auth, tmp_path, max_subject=10).refresh()


def test_no_token_is_minted_without_a_configured_development_key(tmp_path: Path) -> None:
    auth = AuthConfig(issuer="i", audience="a", jwks="jwks.json")
    with pytest.raises(ConfigError, match="development_key is not set"):
        development_key_path(auth, tmp_path)


def test_the_development_key_is_its_owners_alone_and_is_made_once(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "development.pem"
    assert create_development_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o077 == 0
    first = path.read_bytes()
    assert not create_development_key(path)
    assert path.read_bytes() == first
    assert "PRIVATE" not in jwks_beside(path).read_text()


def test_a_development_key_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"development\.pem: cannot be created: .*; check the folder's permissions"):
        create_development_key(tmp_path / "file" / "development.pem")


def test_a_key_set_that_cannot_be_read_keeps_no_other_from_being_read(tmp_path: Path) -> None:
    create_development_key(tmp_path / "d.pem")
    auth = AuthConfig(issuer="i", audience="a", jwks=str(tmp_path / "none.json"), development_key=Path("d.pem"))
    verifier = open_verifier(auth, tmp_path, max_subject=10)
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read"):
        verifier.refresh()
    token = mint_token("ann", ["me"], auth, read_development_key(tmp_path / "d.pem"), at=datetime.now(UTC))
    assert verifier.verify(token).subject == "ann"


@pytest.mark.parametrize("damage", [b"", b"not a key"])
def test_a_damaged_development_key_names_the_next_step(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "development.pem"
    path.write_bytes(damage)
    with pytest.raises(ConfigError, match="not a PEM private key; remove it"):
        read_development_key(path)


def test_a_development_token_lives_no_longer_than_the_service_accepts(tmp_path: Path) -> None:
    auth = AuthConfig(issuer="i", audience="a", development_key=Path("d.pem"), max_token_seconds=60)
    create_development_key(tmp_path / "d.pem")
    token = mint_token(
        "ann", ["me"], auth, read_development_key(tmp_path / "d.pem"), at=datetime.now(UTC), seconds=86_400
    )
    verifier = open_verifier(auth, tmp_path, max_subject=10)
    with pytest.raises(InvalidToken):
        verifier.verify(token)  # no key is read yet
    verifier.refresh()
    assert verifier.verify(token).subject == "ann"
