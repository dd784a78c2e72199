"""The service under schemathesis, for a few seconds."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_no_answer_breaks_the_description() -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.report.fuzz", "--quick"]
    done = subprocess.run(command, check=False, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    sent = {row["name"]: row["baseline"] for row in found["rows"] if not row["name"].startswith("fuzz_log")}
    assert set(sent) == {"fuzz_customer/sqlite", "fuzz_shop/sqlite"}
    assert min(sent.values()) >= 20
