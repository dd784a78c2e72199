"""Promises about time: what the consent check costs, and that no answer's time tells who is asking."""

import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import httpx
from scipy.stats import ks_2samp
from tests.report.rights_rows import asked
from tests.report.rows import Outcome, outcome, row, within
from tests.report.shop import ROOT, Shop, free_port
from tests.report.two_ways import UNCHECKED

from considerate.consent.purposes import Purpose
from considerate.settings.environment import child_environment

P = Purpose.PERSONALISE_ONSITE
MEDIAN_SECONDS, P99_SECONDS = 0.001, 0.005
"""What the consent check may add to an answer."""
LEAST_P = 0.01
"""Below this, two samples of times do not come from one distribution."""
PATH = "/v1/me/recommendations"
NO_ID = "00000000-0000-4000-8000-000000000007"
NOT_YOURS = (404, "urn:considerate:problem:not-found")
SAME_TIME: dict[str, tuple[int, str | None]] = {
    PATH: (200, "non_personalised"),
    f"/v1/me/receipts/{NO_ID}": NOT_YOURS,
    f"/v1/me/privacy-requests/{NO_ID}": NOT_YOURS,
    "/v1/me/preferences": (200, None),
}
"""Routes whose answer is one for all of them: lists, nobody's id, and what nobody has stated; and that answer."""


@row(
    "check",
    "the consent check adds at most 1 ms to an answer at the median, 5 ms at p99: one route with and without it",
    quick="sqlite",
)
def check(shop: Shop, quick: bool) -> Outcome:
    customer = "row-check"
    shop.know(customer, P)
    shop.buy(customer, ["milk"])
    with one_worker(shop) as client:
        return cost(shop, client, customer, quick=quick)


def cost(shop: Shop, client: httpx.Client, customer: str, *, quick: bool) -> Outcome:
    """Measure what the check adds to a list, and show that one way looks the customer up and the other does not."""
    ways = {"with": shop.token(customer), "without": {**shop.token(customer), UNCHECKED: "1"}}
    seconds, answers = interleaved(client, ways, 40 if quick else 5_000)
    middle, high = ({way: at(times) for way, times in seconds.items()} for at in (statistics.median, p99))
    held = [answers == {(200, "personalised")}]
    if not quick:
        held += [middle["with"] - middle["without"] <= MEDIAN_SECONDS, high["with"] - high["without"] <= P99_SECONDS]
    withdrawn = shop.insist("DELETE", f"/v1/me/consents/{P}", headers=shop.token(customer))
    held.append(withdrawn.status_code == 200)
    # A way that only seems to leave the check out would cost as much as the other.
    for way, found in (("with", "non_personalised"), ("without", "personalised")):
        held.append(_told(client.get(PATH, headers=ways[way])) == (200, found))
    told = [
        f"{name} {_ms(of['with'])} with, {_ms(of['without'])} without: {_ms(of['with'] - of['without'])}"
        for name, of in (("median", middle), ("p99", high))
    ]
    came = outcome(held, "; ".join(told))
    return Outcome(2 * len(seconds["with"]), came.violations, came.note)


@row("36 time", "nor does the time of an answer tell unknown, erased, minor and silent customers apart", quick="never")
def same_time(shop: Shop, quick: bool) -> Outcome:
    people = {kind: f"row-36-time-{kind}" for kind in ("unknown", "erased", "minor", "silent")}
    shop.know(people["erased"])
    shop.know(people["minor"], age_band="13_15")
    shop.know(people["silent"], age_band="unknown")
    for kind in ("erased", "minor", "silent"):
        shop.buy(people[kind], ["milk", "bread"])
    asked(shop, people["erased"], "erasure")
    owner = "row-36-time-owner"
    theirs = _addresses(shop, owner)
    held, notes = [], []
    with one_worker(shop) as client:
        # Under an id of one's own there is something.
        held += [client.get(address, headers=shop.token(owner)).status_code == 200 for address in theirs]
        for path in SAME_TIME:
            callers = {kind: shop.token(customer) for kind, customer in people.items()}
            alike = likeness(client, callers, path)
            if min(alike.values()) <= LEAST_P:
                # One in a hundred comparisons falls below by chance alone; what tells people apart does so again.
                alike = likeness(client, callers, path)
            held += [p > LEAST_P for p in alike.values()]
            notes.append(f"{path.split('/')[3]} {', '.join(f'{kind} {p:.2g}' for kind, p in alike.items())}")
    return outcome(held, f"p against unknown: {'; '.join(notes)}")


def likeness(
    client: httpx.Client, callers: Mapping[str, Mapping[str, str]], path: str, *, calls: int = 500
) -> dict[str, float]:
    """Give by kind of caller how probable times as far from those of an unknown one are where there is no difference.

    The test is that of Kolmogorov and Smirnov for two samples, of `calls` each.

    Raises
    ------
    RuntimeError
        Not every answer was the one of this route.
    """
    seconds, answers = interleaved(client, callers, calls, path=path)
    if answers != {SAME_TIME[path]}:
        raise RuntimeError(f"{path}: answered {answers}, not {SAME_TIME[path]} alone")
    return {kind: float(ks_2samp(seconds["unknown"], seconds[kind]).pvalue) for kind in callers if kind != "unknown"}


@contextmanager
def one_worker(shop: Shop) -> Iterator[httpx.Client]:
    """Start one worker more that answers with and without the look-up; give a client that keeps its connection."""
    port = free_port()
    run_file = shop.home / "run" / str(shop.port) / "service.json"
    environment = child_environment({"CONSIDERATE_HOME": str(shop.home), "OPENBLAS_NUM_THREADS": "1"})
    command = [sys.executable, "-W", "ignore", "-m", "tests.report.two_ways", str(run_file), str(port)]
    with shop.log.open("ab") as stream:
        process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=stream, stderr=stream)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            if not within(60, lambda: _answers(client)):
                raise RuntimeError("the worker that answers in two ways does not start")
            yield client
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(30)


def interleaved(
    client: httpx.Client, ways: Mapping[str, Mapping[str, str]], calls: int, *, path: str = PATH
) -> tuple[dict[str, list[float]], set[tuple[int, str | None]]]:
    """Call in each way `calls` times, in an order of chance, so that what else the machine does hits all alike.

    Returns
    -------
        Seconds of each call by way, and the answers there were: status and, of a list, its basis, of a problem, its
        type.
    """
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    order, chance, came = list(ways), random.Random(1), set[tuple[int, str | None]]()
    for number in range(-20, calls):  # the first few warm up
        chance.shuffle(order)
        for way in order:
            started = time.perf_counter()
            answer = client.get(path, headers=dict(ways[way]))
            took = time.perf_counter() - started
            came.add(_told(answer))
            if number >= 0:
                seconds[way].append(took)
    return seconds, came


def p99(seconds: Sequence[float]) -> float:
    """Give what ninety-nine in a hundred stay below."""
    return statistics.quantiles(seconds, n=100)[98]


def _told(answer: httpx.Response) -> tuple[int, str | None]:
    body = answer.json()
    return answer.status_code, body.get("basis", body.get("type"))


def _addresses(shop: Shop, owner: str) -> tuple[str, str]:
    """Let somebody take back a consent and ask for a copy; give the addresses of that receipt and of that request."""
    shop.know(owner, P)
    receipt = shop.insist("DELETE", f"/v1/me/consents/{P}", headers=shop.token(owner)).json()
    return f"/v1/me/receipts/{receipt['receipt_id']}", asked(shop, owner, "access")


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").status_code == 200
    except httpx.HTTPError:
        return False


def _ms(seconds: float) -> str:
    return f"{1000 * seconds:.2f} ms"
