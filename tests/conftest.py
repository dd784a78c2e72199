"""What holds for every test: where it may write, whom it may call, and which data sets it needs."""

import gc
import os
import shutil
import signal
import tempfile
from functools import partial
from pathlib import Path

import hypothesis
import psutil
import pytest

from considerate.interactions.public_sets import PUBLIC_SETS, copy_at_hand
from considerate.settings.environment import Environment, read_environment

pytest_plugins = ("tests.databases",)


MEMORY = Path("/dev/shm")
"""Where Linux keeps files in memory."""

FILES_BYTES = 6 << 30
"""What the files of all tests take at most, generously."""


def pytest_configure(config: pytest.Config) -> None:
    """Keep tests out of the reader's var/ and off the network, their child processes too."""
    if not hasattr(config, "workerinput"):
        _keep_files_in_memory(config)
    if not os.environ.get("CI"):
        # As Hypothesis has it in CI by itself: a pause of the machine is no defect.
        hypothesis.settings.register_profile("unhurried", deadline=None)
        hypothesis.settings.load_profile("unhurried")
    # A background job of a shell ignores Ctrl-C, and so would what the tests start and interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # The suite starts hundreds of programs: each keeps what it compiled for the next, whatever the shell says.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["CONSIDERATE_HOME"] = tempfile.mkdtemp(prefix="considerate-tests-")
    # MLflow and BentoML report home unless told not to; everything below runs in a test, offline.
    os.environ.update(BENTOML_DO_NOT_TRACK="True", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")


def _keep_files_in_memory(config: pytest.Config) -> None:
    """Let temporary files lie in memory where there is room: tests wait for a shared disk more than for anything."""
    free = psutil.virtual_memory().available
    if not MEMORY.is_dir() or min(shutil.disk_usage(MEMORY).free, free) < 2 * FILES_BYTES:
        return
    os.environ["TMPDIR"] = tempfile.mkdtemp(prefix="considerate-tests-", dir=MEMORY)
    # PostgreSQL runs as a user of its own.
    os.chmod(os.environ["TMPDIR"], 0o711)
    tempfile.tempdir = None
    config.add_cleanup(partial(shutil.rmtree, os.environ["TMPDIR"], ignore_errors=True))


def pytest_collection_finish() -> None:
    """Let the collector of garbage leave alone what thousands of tests are made of."""
    gc.collect()
    gc.freeze()


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
    gc.unfreeze()
    shutil.rmtree(os.environ["CONSIDERATE_HOME"], ignore_errors=True)


def missing(name: str, environment: Environment) -> str | None:
    """Say why the data set `name` cannot be read here, or nothing if it can."""
    (public_set,) = (public_set for public_set in PUBLIC_SETS if public_set.name == name)
    copy = copy_at_hand(public_set, environment)
    return None if copy.complete else "; ".join(copy.problems)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip a test whose data set is not at hand; in CI, where all are, fail it."""
    for marker in item.iter_markers("data"):
        (name,) = marker.args
        reason = missing(name, read_environment())
        if reason is not None and os.environ.get("CI"):
            pytest.fail(f"in CI every data set is at hand, but: {reason}", pytrace=False)
        elif reason is not None:
            pytest.skip(reason)
