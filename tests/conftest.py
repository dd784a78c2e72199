"""What holds for every test: where it may write, whom it may call, and which data sets it needs."""

import os
import shutil
import tempfile

import pytest

from considerate.interactions.public_sets import PUBLIC_SETS, copy_at_hand
from considerate.settings.environment import Environment, read_environment

pytest_plugins = ("tests.databases",)


def pytest_configure() -> None:
    """Keep tests out of the reader's var/ and off the network, their child processes too."""
    os.environ["CONSIDERATE_HOME"] = tempfile.mkdtemp(prefix="considerate-tests-")
    # MLflow and BentoML report home unless told not to; everything below runs in a test, offline.
    os.environ.update(BENTOML_DO_NOT_TRACK="True", MLFLOW_DISABLE_TELEMETRY="true", DO_NOT_TRACK="true")


def pytest_unconfigure() -> None:
    """Leave nothing behind."""
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
