"""What every route has in common: errors that repeat nothing, limits, headers, metrics and a complete description."""

import json
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from considerate.consent.purposes import Purpose
from considerate.errors import ConfigError
from considerate.serving.metrics import KEPT_SECONDS, Metrics
from considerate.serving.models import OneModel
from considerate.serving.tokens import open_verifier

if TYPE_CHECKING:
    from tests.serving.conftest import World

SECRET = "canary-7f3a"


def test_a_body_that_is_too_large_is_413_whether_it_says_so_or_not(world: "World") -> None:
    client, headers = world.client(), world.token("ann")
    body = json.dumps({"events": [{"event_id": "1", "kind": "view", "item_id": "milk", "surface": "x" * 300_000}]})

    async def chunks() -> AsyncIterator[bytes]:
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000].encode()

    announced = client("POST", "/v1/me/events", content=body, headers=headers)
    counted = client("POST", "/v1/me/events", content=chunks(), headers=headers)
    lying = client("POST", "/v1/me/events", content=chunks(), headers={**headers, "Content-Length": "7"})
    assert (announced.status_code, counted.status_code, lying.status_code) == (413, 413, 413)
    for answer in (announced, counted, lying):
        assert answer.headers["content-type"] == "application/problem+json"
    assert "262,144 bytes" in announced.json()["detail"]


@pytest.mark.parametrize("body", [b"{", b"", b"\xff\xfe", b"[" * 5_000, b"NaN,", b'{"events": [}'])
def test_a_malformed_body_is_a_problem_of_the_caller(world: "World", body: bytes) -> None:
    headers = {**world.token("ann"), "Content-Type": "application/json"}
    answer = world.client()("POST", "/v1/me/events", content=body, headers=headers)
    assert answer.status_code in (400, 422), answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"events": ' + b"1" * 4_400 + b"}", b'{"events": "\xff"}'])
def test_a_body_that_no_parser_takes_says_what_may_be_wrong(world: "World", body: bytes) -> None:
    headers = {**world.token("ann"), "Content-Type": "application/json"}
    answer = world.client()("POST", "/v1/me/events", content=body, headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:considerate:problem:malformed")
    assert answer.json()["detail"] == (
        "The body is nested too deeply, holds a number too long, or is not UTF-8; send plain JSON."
    )


def test_no_answer_and_no_log_repeats_what_was_sent(world: "World", caplog: pytest.LogCaptureFixture) -> None:
    client = world.client()
    event = {"event_id": SECRET, "kind": SECRET, "item_id": 7, "value": SECRET, "timestamp": SECRET}
    grant = {"notice_id": "n", "notice_version": SECRET, "locale": SECRET}
    answers = [
        client("POST", "/v1/me/events", json={"events": [event]}, headers=world.token(SECRET)),
        client("POST", "/v1/events", json={"events": [event]}, headers=world.token(SECRET, "events:write")),
        client("PUT", "/v1/me/consents/train_models", json=grant, headers=world.token(SECRET)),
        client("PUT", f"/v1/me/consents/{SECRET}", json=grant, headers=world.token(SECRET)),
        client("GET", f"/v1/me/recommendations?surface={SECRET}", headers=world.token(SECRET)),
        client("GET", f"/v1/me/recommendations?n={SECRET}", headers=world.token(SECRET)),
        client("GET", f"/v1/{SECRET}", headers=world.token(SECRET)),
        client("GET", "/v1/me/recommendations", headers={"Authorization": f"Bearer {SECRET}"}),
        client("GET", "/v1/me/recommendations", headers=world.token(SECRET)),
    ]
    assert [answer.status_code for answer in answers] == [422, 422, 422, 422, 422, 422, 404, 401, 200]
    assert not [answer.text for answer in answers if SECRET in answer.text]
    assert SECRET not in caplog.text


def test_who_asks_is_in_the_token_alone(world: "World") -> None:
    world.know("ann", Purpose.PERSONALISE_ONSITE)
    world.know("bob")
    world.buy("ann", "milk")
    client = world.client()
    for path in ("?customer_id=ann", "?sub=ann", "?user=ann"):
        assert client("GET", f"/v1/me/recommendations{path}", headers=world.token("bob")).status_code == 422
    answer = client(
        "GET", "/v1/me/recommendations", headers={**world.token("bob"), "X-User-Id": "ann", "Cookie": "sub=ann"}
    )
    assert answer.json()["reason"] == "no_consent"


@pytest.mark.parametrize(
    "query",
    [
        "n=0",
        "n=-1",
        "n=x",
        "surface=",
        "surface=nowhere",
        "mode=all",
        "what=1",
        "exclude=",
        "exclude=a%00",
        "context=%0A",
    ],
)
def test_a_query_out_of_range_is_422(world: "World", query: str) -> None:
    answer = world.client()("GET", f"/v1/me/recommendations?{query}", headers=world.token("ann"))
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"


def test_an_unknown_path_and_a_wrong_method_are_problems(world: "World") -> None:
    client = world.client()
    assert client("GET", "/v2/anything").status_code == 404
    wrong = client("PATCH", "/v1/events")
    assert wrong.status_code == 405
    assert wrong.headers["content-type"] == "application/problem+json"
    assert wrong.headers["allow"] == "POST"


def test_a_wrong_method_is_told_every_right_one(world: "World") -> None:
    client = world.client()
    for path, allowed in (
        ("/v1/me/consents", "DELETE, GET"),
        ("/v1/me/preferences", "DELETE, GET, PUT"),
        ("/v1/me/exclusions/a/b", "DELETE, PUT"),
    ):
        answer = client("PATCH", path)
        assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


def test_no_answer_sends_the_caller_elsewhere(world: "World") -> None:
    client = world.client()
    for path in ("/v1/me/recommendations/", "/v1/recommendations/default/", "/livez/"):
        answer = client("GET", path, headers={**world.token("ann"), "Host": "attacker.test"})
        assert (answer.status_code, answer.headers.get("location")) == (404, None), path


@pytest.mark.parametrize("token", ["good", "bad", "none"])
def test_no_answer_of_me_is_kept_by_a_cache(world: "World", token: str) -> None:
    client = world.client()
    headers = {"good": world.token("ann"), "bad": {"Authorization": "Bearer x"}, "none": {}}[token]
    paths = client("GET", "/openapi.json").json()["paths"]
    called = 0
    for template, methods in paths.items():
        path = template.replace("{purpose}", "train_models")
        path = re.sub(r"{\w+}", "00000000-0000-4000-8000-000000000000", path)
        for method in methods if path.startswith("/v1/me") else ():
            answer = client(method.upper(), path, headers=headers)
            assert answer.headers.get_list("cache-control") == ["no-store"], f"{method} {path}"
            assert answer.headers.get_list("vary") == ["Authorization, Sec-GPC"], f"{method} {path}"
            assert "set-cookie" not in answer.headers, f"{method} {path}"
            called += 1
    assert called >= 8


def test_the_default_list_is_the_same_for_all_and_may_be_cached(world: "World") -> None:
    client = world.client()
    answers = [
        client("GET", "/v1/recommendations/default", headers=h) for h in ({}, world.token("ann"), {"Cookie": "a=b"})
    ]
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].headers["cache-control"].startswith("public")
    assert "set-cookie" not in answers[0].headers


def test_a_default_list_that_is_empty_or_made_without_a_model_is_kept_by_no_cache(world: "World") -> None:
    class NoCatalogue:
        """A store whose catalogue could never be read."""

        def __getattr__(self, name: str) -> Any:
            return getattr(world.customers, name)

        def catalogue(self) -> None:
            return None

    path = "/v1/recommendations/default"
    empty = world.client(customers=NoCatalogue())("GET", path)
    assert (empty.json()["items"], empty.headers.get_list("cache-control")) == ([], ["no-store"])
    no_model = world.client(models=OneModel(None))("GET", path)
    assert no_model.json()["items"]
    assert no_model.headers.get_list("cache-control") == ["no-store"]


def test_the_description_is_complete(world: "World") -> None:
    document = world.client()("GET", "/openapi.json").json()
    assert document["openapi"].startswith("3.1")
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["type"], scheme["scheme"]) == ("http", "bearer")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            name = f"{method} {path}"
            assert operation["summary"], name
            assert operation["tags"], name
            if "security" in operation:
                assert {"401", "403", "422", "429"} <= operation["responses"].keys(), name
                for status, answer in operation["responses"].items():
                    if status == "204" or "application/zip" in answer["content"]:
                        continue
                    # Of a head that is too large, the server below says so before anything of ours reads it.
                    (media,) = answer["content"].keys() - ({"text/plain"} if status == "400" else set()) or {None}
                    if media is None:
                        continue
                    assert (media == "application/problem+json") == (int(status) >= 400), f"{name} {status}"
                    assert answer["content"][media]["schema"]["$ref"], f"{name} {status}"
            assert "customer_id" not in json.dumps(operation.get("parameters", [])), name


def test_a_worker_that_can_check_no_token_is_not_ready_but_alive(world: "World") -> None:
    auth = world.config.auth.model_copy(update={"jwks": str(world.home / "shop.json")})
    verifier = open_verifier(auth, world.home, max_subject=100)
    with pytest.raises(ConfigError, match="cannot be read"):
        verifier.refresh()
    client = world.client(verifier=verifier)
    answer = client("GET", "/readyz")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "2")
    assert answer.headers["content-type"] == "application/problem+json"
    assert "check [auth] jwks" in answer.json()["detail"]
    assert client("GET", "/livez").status_code == 200
    shutil.copy(world.home / "keys" / "development.jwks.json", world.home / "shop.json")
    verifier.refresh()
    assert client("GET", "/readyz").json() == {"status": "ok"}


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
def test_probes_answer(world: "World", path: str) -> None:
    assert world.client()("GET", path).json() == {"status": "ok"}


def test_metrics_name_routes_and_reasons_and_no_one(world: "World") -> None:
    client = world.client()
    client("GET", "/v1/me/recommendations", headers=world.token(SECRET))
    client("DELETE", "/v1/me/consents/train_models", headers=world.token(SECRET))
    client("GET", f"/v1/{SECRET}")
    client(SECRET, "/v1/events")
    text = client("GET", "/metrics").text
    assert 'route="/v1/me/consents/{purpose}"' in text
    assert 'considerate_requests_total{method="GET",route="unmatched",status="404"} 1.0' in text
    assert (
        'considerate_recommendations_total{basis="non_personalised",model_version="considerate-1",'
        'reason="no_consent",surface="home"} 1.0'
    ) in text
    assert "considerate_history_reads_total 0.0" in text
    assert SECRET not in text


def test_the_counters_of_all_workers_are_merged_every_so_often_at_most(tmp_path: Path) -> None:
    """The merging alone: prometheus_client shares counters between processes only if it is loaded for that."""
    now, looked = [0.0], tmp_path / "counters"
    looked.mkdir()
    metrics = Metrics(looked, now=lambda: now[0])
    assert metrics.exposition() == b""
    looked.rmdir()  # a second merge would fail now
    now[0] += 0.9 * KEPT_SECONDS
    assert metrics.exposition() == b""
    now[0] += 0.2 * KEPT_SECONDS
    with pytest.raises(ValueError, match=r"does not exist|not a directory"):
        metrics.exposition()


class Exploding:
    """Customers whose every answer is a bug."""

    def __getattr__(self, name: str) -> Any:
        raise RuntimeError(f"{SECRET} caused this")


def test_an_unforeseen_error_is_a_plain_500_and_its_log_line_holds_no_value(
    world: "World", caplog: pytest.LogCaptureFixture
) -> None:
    answer = world.client(customers=Exploding())("GET", "/v1/me/consents", headers=world.token("ann"))
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["cache-control"] == "no-store"
    assert "RuntimeError at" in caplog.text
    assert SECRET not in caplog.text + answer.text
