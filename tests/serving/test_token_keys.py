"""Keys of login tokens: what a JWKS holds is believed, what it has lost is believed no longer."""

import base64
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from considerate.errors import ConfigError
from considerate.serving.token_keys import FileKeys, Keys, UrlKeys, parse_jwks

SYMMETRIC = {"kty": "oct", "k": "AAAA"}
PRIVATE = {"kty": "OKP", "crv": "Ed25519", "x": "AA", "d": "AA"}
BAD: dict[str, tuple[dict[str, Any], str]] = {
    "no kty": ({"crv": "Ed25519", "x": "AA"}, "must be an object with a kty"),
    "kty is a list": ({"kty": ["RSA"]}, "must be an object with a kty"),
    "symmetric": (SYMMETRIC, "public keys only, so sign with a new one"),
    "private": (PRIVATE, "public keys only, so sign with a new one"),
    "private, of an unknown kind": ({"kty": "AKP", "pub": "AA", "priv": "AA"}, "public keys only"),
    "cut short": ({"kty": "OKP", "crv": "Ed25519", "x": "AA"}, "Invalid key parameter"),
    "signs with nothing": ({"kty": "RSA", "alg": "none", "n": "AA", "e": "AQAB"}, "NotImplementedError"),
    "alg is a list": ({"kty": "RSA", "alg": ["RS256"], "n": "AA", "e": "AQAB"}, "unhashable"),
}
"""Entries without a kid that break a rule, and what the log says of it."""


def jwk(kid: str) -> dict[str, Any]:
    raw = Ed25519PrivateKey.generate().public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid, "alg": "EdDSA"}


def jwks(*entries: Any) -> bytes:
    return json.dumps({"keys": entries}).encode()


class Source:
    """A JWKS that a shop publishes, in a file or behind an address."""

    def __init__(self, keys: Keys, path: Path) -> None:
        self.keys = keys
        self._path = path

    def publish(self, text: bytes) -> None:
        self._path.write_bytes(text)
        # As an unpacked archive does, where nothing but the content tells of a change.
        os.utime(self._path, (0, 0))

    def believed(self, *kids: str) -> list[str]:
        return [kid for kid in kids if self.keys.find(kid) is not None]


@contextmanager
def published(path: Path) -> Iterator[str]:
    """Serve a file; give its address."""

    class Shop(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = path.read_bytes()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Shop) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        # http here, which AuthConfig refuses: what is under test is what follows the answer.
        yield f"http://127.0.0.1:{server.server_port}/jwks.json"
        server.shutdown()
        thread.join()


@pytest.fixture(params=["file", "url"])
def source(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Source]:
    path = tmp_path / "jwks.json"
    if request.param == "file":
        yield Source(FileKeys(path), path)
        return
    with published(path) as address:
        yield Source(UrlKeys(address), path)


def test_keys_that_change_are_followed_and_nobody_is_believed_before_the_first(source: Source) -> None:
    source.publish(jwks(jwk("old")))
    assert not source.keys.known
    assert source.believed("old", "new") == []
    source.keys.refresh()
    assert source.keys.known
    assert source.believed("old", "new") == ["old"]
    source.publish(jwks(jwk("new")))
    source.keys.refresh()
    assert source.believed("old", "new") == ["new"]


def test_an_empty_set_takes_the_only_key_away_and_says_so_once(source: Source) -> None:
    stolen = jwks(jwk("stolen"))
    source.publish(stolen)
    source.keys.refresh()
    source.publish(b'{"keys": []}')
    with pytest.raises(ConfigError, match=r"holds no signing key with a kid.*; add the public key of your"):
        source.keys.refresh()
    assert source.believed("stolen") == []
    assert not source.keys.known
    source.keys.refresh()
    assert source.believed("stolen") == []
    source.publish(jwks(jwk("new")))
    source.keys.refresh()
    assert source.believed("stolen", "new") == ["new"]


@pytest.mark.parametrize("bad", BAD)
def test_an_entry_that_breaks_a_rule_keeps_no_stolen_key_in_use(
    source: Source, bad: str, caplog: pytest.LogCaptureFixture
) -> None:
    entry, rule = BAD[bad]
    source.publish(jwks(jwk("stolen"), jwk("good")))
    source.keys.refresh()
    source.publish(jwks(jwk("good"), {**entry, "kid": "bad"}))
    with caplog.at_level(logging.ERROR):
        source.keys.refresh()
        source.keys.refresh()
    assert source.believed("stolen", "good", "bad") == ["good"]
    (line,) = caplog.messages
    assert "jwks.json: keys[1], kid 'bad': " in line
    assert rule in line


@pytest.mark.parametrize("entry", [None, 7, "key", [], {"kid": ["a"]}, {**jwk("a"), "kid": 7}])
def test_what_is_no_entry_at_all_is_passed_over_too(entry: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        found = parse_jwks(jwks(entry, jwk("good")), "keys.json")
    assert list(found) == ["good"]
    assert ["keys.json: keys[0], kid " in line for line in caplog.messages] == [True]


def test_an_entry_without_a_kid_is_named_by_its_place(caplog: pytest.LogCaptureFixture) -> None:
    nameless = {name: value for name, value in jwk("a").items() if name != "kid"}
    with caplog.at_level(logging.ERROR):
        assert list(parse_jwks(jwks(jwk("good"), nameless), "keys.json")) == ["good"]
    assert caplog.messages == [
        "keys.json: keys[1], kid None: must have a kid, which is a text; no token is believed for it: mend the entry"
    ]


@pytest.mark.parametrize("second", [jwk("a"), {**PRIVATE, "kid": "a"}, {**SYMMETRIC, "kid": "a"}])
@pytest.mark.parametrize("order", [1, -1])
def test_a_kid_of_two_keys_or_of_one_that_was_shown_is_nobodys(
    second: dict[str, Any], order: int, caplog: pytest.LogCaptureFixture
) -> None:
    entries = [jwk("a"), second][::order]
    with caplog.at_level(logging.ERROR):
        assert list(parse_jwks(jwks(*entries, jwk("b")), "keys.json")) == ["b"]
    (line,) = caplog.messages
    assert "a kid must be of one key alone" in line or "public keys only" in line


@pytest.mark.parametrize(
    "unknown",
    [
        {"kty": "AKP", "pub": "AA"},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
        {"kty": "OKP", "crv": "X25519", "x": "AA"},
        {"kty": "OKP", "crv": "Ed448", "x": "AA"},
        {"kty": "EC", "crv": "P-192", "x": "AA", "y": "AA"},
        {"kty": "RSA", "alg": "RSA-OAEP", "n": "AA", "e": "AQAB"},
        {"kty": "RSA", "use": "enc", "n": "AA", "e": "AQAB"},
    ],
)
def test_a_kind_of_key_that_nobody_knows_yet_spares_the_rest_of_its_set(
    unknown: dict[str, str], caplog: pytest.LogCaptureFixture
) -> None:
    known = jwk("known")
    for entries in ([{**unknown, "kid": "new"}, known], [known, {**unknown, "kid": "known"}]):
        assert list(parse_jwks(jwks(*entries), "keys.json")) == ["known"]
    assert caplog.messages == []


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b'{"keys": null}', b'{"keys": {}}', b'{"keys": "a"}', b"\xff", b"[" * 100_000]
)
def test_what_is_no_jwks_at_all_leaves_the_keys_as_they_are(source: Source, text: bytes) -> None:
    source.publish(jwks(jwk("good")))
    source.keys.refresh()
    source.publish(text)
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"jwks\.json: not a JWKS: .*; expected \{'keys': \[\.\.\.\]\}"):
            source.keys.refresh()
    assert source.believed("good") == ["good"]


def test_a_file_that_goes_away_leaves_the_keys_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    keys = FileKeys(path)
    path.write_bytes(jwks(jwk("good")))
    keys.refresh()
    path.unlink()
    with pytest.raises(ConfigError, match=r"jwks\.json: cannot be read: .*; set \[auth\] jwks"):
        keys.refresh()
    assert keys.find("good") is not None


def test_keys_behind_a_url_that_does_not_answer_are_a_clear_error() -> None:
    keys = UrlKeys("https://127.0.0.1:9/jwks.json")
    with pytest.raises(ConfigError, match=r"https://127.0.0.1:9/jwks.json: cannot be fetched.*check \[auth\] jwks"):
        keys.refresh()
    assert keys.find("any") is None


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: http://attacker.test/jwks.json\r\nContent-Length: 0\r\n\r\n", "302"),
        (b"no HTTP at all\r\n\r\n", "cannot be fetched"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "not a JWKS"),
    ],
)
def test_a_key_url_that_redirects_or_answers_nonsense_is_a_clear_error(answer: bytes, says: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65_536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        # http here, which AuthConfig refuses: what is under test is what follows the answer.
        with pytest.raises(ConfigError, match=says):
            UrlKeys(f"http://127.0.0.1:{server.getsockname()[1]}/jwks.json").refresh()
        thread.join()
