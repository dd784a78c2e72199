"""`make fuzz`: the service's own description under schemathesis, as a customer and as the shop's systems.

No answer may be a 5xx, and none may have a status or a body that the description does not foresee. The exit code is 1
if one has; what was sent is printed then.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from tests.report.shop import open_shop

from considerate.consent.purposes import Purpose

SECONDS, QUICK_SECONDS = 600, 10
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
SERVICE_SCOPES = ("events:write", "catalogue:write", "consents:write")


def fuzz(url: str, token: str, seconds: int, *operations: str) -> int:
    """Run schemathesis against the operations whose paths match, and give its exit code."""
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"),
        *("--header", f"Authorization: {token}", "--checks", CHECKS, "--max-time", str(seconds), "--workers", "2"),
        *("--seed", "1", "--no-color", "--continue-on-failure", "--warnings", "off"),
        *operations,
    ]
    return subprocess.run(command, check=False).returncode


def main(
    quick: Annotated[bool, typer.Option("--quick", help=f"{QUICK_SECONDS} seconds instead of {SECONDS}.")] = False,
) -> None:
    """Fuzz a service of two workers on SQLite, half of the time as each kind of caller."""
    seconds = (QUICK_SECONDS if quick else SECONDS) // 2
    with tempfile.TemporaryDirectory(prefix="considerate-fuzz-") as name:
        home = Path(name) / "home"
        (home / "keys").mkdir(parents=True)
        url = f"sqlite:///{home / 'considerate.db'}"
        with open_shop("sqlite", url, home, workers=2) as shop:
            shop.know("fuzz", *Purpose)
            shop.buy("fuzz", ["milk", "bread"])
            base = f"http://127.0.0.1:{shop.port}"
            me, till = shop.token("fuzz"), shop.token("till", *SERVICE_SCOPES)
            codes = {
                "customer": fuzz(base, me["Authorization"], seconds, "--include-path-regex", "^/v1/(me|session|rec)"),
                "shop": fuzz(base, till["Authorization"], seconds, "--exclude-path-regex", "^/v1/me"),
            }
    rows = [
        {"name": f"fuzz/{who}", "value": code, "baseline": 0, "reach": 0, "ok": not code} for who, code in codes.items()
    ]
    ok = not any(codes.values())
    print(json.dumps({"rows": rows, "ok": ok, "quick": quick, "seconds": 2 * seconds}))
    raise typer.Exit(0 if ok else 1)


if __name__ == "__main__":
    typer.run(main)
