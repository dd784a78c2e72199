"""`make fuzz`: the service's own description under schemathesis, as a customer and as the shop's systems.

No answer may be a 5xx, none may have a status, a type or a body that the description does not foresee, and nothing
that breaks the description may be taken. The exit code is 1 otherwise; what was sent is printed then, and so is the
seed that sends it again.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from tests.report.empty_databases import chosen_kinds, database
from tests.report.shop import Kind, Shop, open_shop

from considerate.consent.purposes import Purpose

SECONDS, QUICK_SECONDS = 600, 10
LEAST_SECONDS = 3
"""A round shorter than this reads the description and sends next to nothing."""
NOT_PROMISED = ",".join(
    (
        # A 422 may also name a rule that no schema can say: a key that stands for another request, an item named twice.
        "positive_data_acceptance",
        # What is deleted is the wish: a request that was taken back can still be looked at.
        "use_after_free",
        # One customer is erased and makes herself known again all the time here; her requests go with her.
        "ensure_resource_availability",
    )
)
LEAST_REQUESTS = 20
"""Fewer show nothing: on a busy machine a caller is given longer rounds until she has sent so many."""
MOST_ROUNDS_FOR_THEM = 4
SERVICE_SCOPES = ("events:write", "catalogue:write", "consents:write")
CALLERS = {
    "customer": ("--include-path-regex", "^/v1/(me|session|rec|transparency)"),
    "shop": ("--exclude-path-regex", "^/v1/me"),
}
REFUSALS = [400, 401, 403, 404, 405, 406, 408, 409, 413, 415, 422, 428, 429]
"""What says no to a request that breaks the description; a body of megabytes is too large before it is looked at."""
_SENT = re.compile(r"^\s+(\d+) generated", re.MULTILINE)
_OUT_OF_TIME = "Time limit reached"


def fuzz(shop: Shop, caller: str, seconds: int, seed: int) -> tuple[int, int]:
    """Run schemathesis once as one kind of caller; give how many requests it made and its exit code."""
    # Another one each time: whatever she is, an earlier round may have had her erased.
    customer = f"fuzz-{seed}"
    if caller == "customer":
        shop.know(customer, *Purpose)
        shop.buy(customer, ["milk", "bread"])
    headers = shop.token(customer) if caller == "customer" else shop.token("till", *SERVICE_SCOPES)
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"http://127.0.0.1:{shop.port}/openapi.json"),
        *("--header", f"Authorization: {headers['Authorization']}", "--max-time", str(seconds)),
        *("--workers", "2", "--seed", str(seed), "--no-color", "--continue-on-failure", "--warnings", "off"),
        *("--checks", "all", "--exclude-checks", NOT_PROMISED, "--suppress-health-check", "all"),
        *CALLERS[caller],
    ]
    (shop.home / "schemathesis.toml").write_text(f"[checks.negative_data_rejection]\nexpected-statuses = {REFUSALS}\n")
    # Elsewhere than in the repository, where it would leave its examples.
    done = subprocess.run(command, check=False, cwd=shop.home, capture_output=True, text=True)
    sent = sum(map(int, _SENT.findall(done.stdout)))
    # On a busy machine the time may be over before the first request; the next round takes longer.
    code = done.returncode if sent or _OUT_OF_TIME in done.stdout else 1
    if code:
        # Bodies of megabytes would hide what was wrong with them.
        told = "\n".join(line[:400] for line in done.stdout.splitlines())
        print(told[-20_000:], done.stderr[-5_000:], f"{caller} on {shop.kind}, seed {seed}", sep="\n")
    return sent, code


def fuzz_for(kind: Kind, seconds: int, first_seed: int) -> list[dict[str, Any]]:
    """Fuzz a service of two workers on one database, half of the time as each kind of caller, in rounds."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="considerate-fuzz-") as name, database(kind, Path(name)) as url:
        home = Path(name) / "home"
        (home / "keys").mkdir(parents=True)
        with open_shop(kind, url, home, workers=2) as shop:
            for caller in CALLERS:
                ends, sent, failed, seed = time.monotonic() + seconds / 2, 0, 0, first_seed
                longer = LEAST_SECONDS
                while sent < LEAST_REQUESTS or ends - time.monotonic() >= LEAST_SECONDS:
                    # In rounds: one alone stops at so many examples of each route, whatever time is left.
                    more, code = fuzz(shop, caller, max(longer, int(ends - time.monotonic())), seed)
                    longer = 2 * longer if sent + more < LEAST_REQUESTS else LEAST_SECONDS
                    if time.monotonic() > ends and sent + more < LEAST_REQUESTS:
                        code = code or int(seed - first_seed + 1 >= MOST_ROUNDS_FOR_THEM)
                    sent, failed, seed = sent + more, failed + bool(code), seed + 1
                    if failed:
                        break
                row = {"name": f"fuzz_{caller}/{kind}", "value": failed, "baseline": sent, "reach": 0, "ok": not failed}
                print(f"{row['name']}: {sent:,} requests in {seed - first_seed} rounds", flush=True)
                rows.append(row)
            unforeseen = shop.log.read_text().count("unforeseen")
        rows.append({"name": f"fuzz_log/{kind}", "value": unforeseen, "baseline": 0, "reach": 0, "ok": not unforeseen})
    return rows


def main(
    quick: Annotated[bool, typer.Option("--quick", help=f"{QUICK_SECONDS} seconds, on SQLite alone.")] = False,
    seconds: Annotated[int, typer.Option("--seconds", min=1, help="For all databases together.")] = SECONDS,
    kinds: Annotated[list[str] | None, typer.Option("--database", help="sqlite or postgresql; both if none.")] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the first round.")] = 1,
) -> None:
    """Fuzz services of two workers, half of the time as each kind of caller."""
    chosen = chosen_kinds(kinds or (["sqlite"] if quick else None))
    share = (QUICK_SECONDS if quick else seconds) // len(chosen)
    rows = [row for kind in chosen for row in fuzz_for(kind, share, seed)]
    ok = all(row["ok"] for row in rows)
    print(json.dumps({"rows": rows, "ok": ok, "quick": quick, "seconds": share * len(chosen)}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
