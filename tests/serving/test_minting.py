"""What docs/tokens.md tells a shop to do is what the service believes; and keys change without a refused customer."""

import base64
import json
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from considerate.errors import ConfigError
from considerate.serving.token_keys import FileKeys, Keys, UrlKeys
from considerate.serving.tokens import InvalidToken, Scope, Verifier
from considerate.settings.service import AuthConfig

ROOT = Path(__file__).parents[2]
DOCUMENT = ROOT / "docs" / "tokens.md"
AUTH = AuthConfig(issuer="https://shop.example", audience="considerate", jwks="jwks.json")
Mint = Callable[..., str]


@pytest.fixture
def mint() -> Mint:
    """Give the function that docs/tokens.md shows, as a reader would copy it."""
    (example,) = re.findall(r"```python\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), flags=re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(example, "docs/tokens.md", "exec"), names)
    made: Mint = names["mint"]
    return made


def jwks(**keys: Ed25519PrivateKey) -> str:
    entries = []
    for kid, key in keys.items():
        raw = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
        entries.append({"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA", "use": "sig"})
    return json.dumps({"keys": entries})


def verifier(keys: Keys) -> Verifier:
    return Verifier(AUTH, (keys,), max_subject=10_000)


def test_a_token_minted_as_the_document_says_is_believed(mint: Mint, tmp_path: Path) -> None:
    key, path = Ed25519PrivateKey.generate(), tmp_path / "jwks.json"
    path.write_text(jwks(k1=key))
    service = verifier(FileKeys(path))
    service.refresh()
    logged_in = datetime.now(UTC) - timedelta(minutes=3)
    caller = service.verify(mint("customer 1", logged_in, key, "k1"))
    assert (caller.subject, caller.scopes, caller.logged_in_at) == (
        "customer 1",
        frozenset({"me"}),
        float(int(logged_in.timestamp())),
    )


def test_the_document_names_every_scope_and_every_claim(mint: Mint) -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert [scope for scope in Scope if f"| `{scope}` |" not in text] == []
    token = mint("a", datetime.now(UTC), Ed25519PrivateKey.generate(), "k1")
    claims = jwt.decode(token, options={"verify_signature": False})
    assert [name for name in claims if f"`{name}`" not in text] == []


@pytest.mark.parametrize("at", ["now", True, -1, 1e12, float("nan"), [1]])
def test_a_login_time_that_is_none_is_refused(at: Any, tmp_path: Path) -> None:
    key, path = Ed25519PrivateKey.generate(), tmp_path / "jwks.json"
    path.write_text(jwks(k1=key))
    service = verifier(FileKeys(path))
    service.refresh()
    now = int(datetime.now(UTC).timestamp())
    claims = {"iss": AUTH.issuer, "aud": AUTH.audience, "sub": "a", "iat": now, "exp": now + 60, "jti": "1"}
    headers = {"typ": "at+jwt", "kid": "k1"}
    assert service.verify(jwt.encode(claims, key, algorithm="EdDSA", headers=headers)).logged_in_at is None
    with pytest.raises(InvalidToken):
        service.verify(jwt.encode({**claims, "auth_time": at}, key, algorithm="EdDSA", headers=headers))


def test_keys_change_without_a_refused_customer_and_a_key_taken_away_is_believed_no_longer(
    mint: Mint, tmp_path: Path
) -> None:
    old, new, path = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), tmp_path / "jwks.json"
    service = verifier(FileKeys(path))
    by_old, by_new = (mint("ann", datetime.now(UTC), key, kid) for key, kid in ((old, "old"), (new, "new")))

    def believed() -> list[bool]:
        service.refresh()
        return [_holds(service, token) for token in (by_old, by_new)]

    path.write_text(jwks(old=old))
    assert believed() == [True, False]
    path.write_text(jwks(old=old, new=new))
    assert believed() == [True, True]
    path.write_text(jwks(new=new))
    assert believed() == [False, True]
    path.write_text("damaged")
    with pytest.raises(ConfigError, match="not a JWKS"):
        service.refresh()
    assert [_holds(service, token) for token in (by_old, by_new)] == [False, True], "the keys read before stay"


def _holds(service: Verifier, token: str) -> bool:
    try:
        return service.verify(token).subject == "ann"
    except InvalidToken:
        return False


def test_no_token_whatever_its_kid_makes_the_service_fetch_keys(mint: Mint) -> None:
    key, asked = Ed25519PrivateKey.generate(), []

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = jwks(k1=key).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        # http here, which AuthConfig refuses: what is under test is when keys are fetched.
        service = verifier(UrlKeys(f"http://127.0.0.1:{server.server_port}/jwks.json"))
        service.refresh()
        assert _holds(service, mint("ann", datetime.now(UTC), key, "k1"))
        stranger = Ed25519PrivateKey.generate()
        assert not any(_holds(service, mint("ann", datetime.now(UTC), stranger, f"k{n}")) for n in range(50))
        server.shutdown()
        thread.join()
    assert asked == ["/jwks.json"]
