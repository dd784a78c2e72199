"""Promises about what may be kept between the service and a browser."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
from tests.report.identity_rows import own
from tests.report.rights_rows import BECAUSE, answered
from tests.report.rows import Outcome, outcome, row
from tests.report.shop import Shop

from considerate.consent.purposes import Purpose

P = Purpose.PERSONALISE_ONSITE
_OF_ONE_HOP = ("connection", "content-length", "transfer-encoding", "keep-alive", "date", "server", "host")


class Cache(ThreadingHTTPServer):
    """A shared cache that heeds `Cache-Control` of an answer and nothing else: neither `Vary` nor who is asking.

    A careless one on purpose: a good one would keep no answer to a request with a token in the first place.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__(("127.0.0.1", 0), _Through)
        self.upstream = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10)
        self.kept: dict[str, httpx.Response] = {}
        self.hits = 0

    def answer(self, path: str, headers: dict[str, str]) -> httpx.Response:
        """Give what was kept for a path, or ask the service and keep what may be kept."""
        kept = self.kept.get(path)
        if kept is not None:
            self.hits += 1
            return kept
        answer = self.upstream.get(path, headers=headers)
        rules = {rule.strip() for rule in answer.headers.get("cache-control", "").split(",")}
        if not rules & {"no-store", "private", "no-cache"}:
            self.kept[path] = answer
        return answer


class _Through(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Cache

    def do_GET(self) -> None:
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
        answer = self.server.answer(self.path, headers)
        self.send_response(answer.status_code)
        for name, value in answer.headers.items():
            if name not in _OF_ONE_HOP:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer.content)))
        self.end_headers()
        self.wfile.write(answer.content)

    def log_message(self, format: str, *args: Any) -> None:
        return


@contextmanager
def cache_before(shop: Shop) -> Iterator[tuple[Cache, httpx.Client]]:
    """Put a cache before a shop; give it and a client that asks through it."""
    cache = Cache(shop.port)
    thread = threading.Thread(target=cache.serve_forever, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{cache.server_port}", timeout=10) as client:
            yield cache, client
    finally:
        cache.shutdown()
        cache.server_close()
        cache.upstream.close()
        thread.join()


@row("39 cache", "through a cache that two customers share, nobody is shown the other's list", quick="sqlite")
def shared_cache(shop: Shop, quick: bool) -> Outcome:
    pairs, held = 20 if quick else 1_000, []
    bought = {f"row-39-cache-{number}": ("milk", "bread")[number % 2] for number in range(10)}
    for customer, item in bought.items():
        shop.know(customer, P)
        shop.buy(customer, [item])
    headers = {customer: shop.token(customer) for customer in bought}
    with cache_before(shop) as (cache, client), ThreadPoolExecutor(2) as pool:
        seen = set()
        for number in range(pairs):
            pair = [f"row-39-cache-{(number + step) % 10}" for step in (0, 1)]
            answers = list(pool.map(lambda one: client.get(BECAUSE, headers=headers[one]).json(), pair))
            held += [own(answer) == {bought[one]} for one, answer in zip(pair, answers, strict=True)]
            seen |= {answer["decision_id"] for answer in answers}
        held += [len(seen) == 2 * pairs, cache.hits == 0]
        # It does keep what anybody may see.
        both = [client.get("/v1/recommendations/default") for _ in range(2)]
        held += [one.status_code == 200 and answered(one.json()) for one in both]
        held += [both[0].content == both[1].content, cache.hits == 1]
    return outcome(held, f"{pairs} pairs")
