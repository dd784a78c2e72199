"""No customer can be found in anything that is written beside the store: the whole road, walked by canaries.

Every customer of this small shop has an id made to be searched for. The shop's rows are loaded, consents imported,
models fitted, registered and promoted, the service asked well and badly; then every file that came to be, and every
line that was printed, is searched. Left out are what the test itself wrote, and the quarantine, whose purpose is to
give bad rows back to their owner.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from tests.house.canary_shop import (
    CUSTOMERS,
    N_CUSTOMERS,
    PROMOTE,
    PURPOSES,
    ROOT,
    SERVICE_TOML,
    SILENT,
    Shop,
    ask_well_and_badly,
    serving,
    write_shop,
)
from tests.house.traces import traces

from considerate.privacy.record import is_recorded


@dataclass(frozen=True, slots=True)
class Written:
    """Where the road left its files, and what the service answered.

    Attributes
    ----------
    folder
        Holds `home` (the user's), `var`, `temporary`, and `printed` (what commands printed, the answers, the metrics).
    answers
        Name of a call -> its JSON.
    """

    folder: Path
    answers: dict[str, dict[str, object]]

    @property
    def var(self) -> Path:
        return self.folder / "var"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    brought, kept = tmp_path_factory.mktemp("brought"), tmp_path_factory.mktemp("kept")
    for name in ("home", "var", "temporary", "printed"):
        (kept / name).mkdir()
    shop = Shop(brought, kept)
    write_shop(brought)
    shop.considerate("load", "file.toml", "--into-store")
    shop.considerate("consent", "import", "consents.csv")
    shop.run(ROOT / "pipelines" / "train.py", ROOT / "models" / "blend.toml", "store.toml", "--register")
    shop.run("-c", PROMOTE)
    shop.considerate("token", "--create-key", "--config", SERVICE_TOML)
    with serving(shop) as url:
        answers = ask_well_and_badly(shop, url)
    return Written(kept, answers)


def database(var: Path) -> closing[sqlite3.Connection]:
    return closing(sqlite3.connect(f"file:{var / 'considerate.db'}?mode=ro", uri=True))


@pytest.mark.slow
@pytest.mark.xdist_group("canary")
class TestCanaries:
    def test_one_process_walks_the_road(self, request: pytest.FixtureRequest) -> None:
        # pytest-xdist knows a group by the end of the id; where that is missing, each process walks the road itself.
        grouped = request.config.getoption("loadgroup", default=False)
        assert request.node.nodeid.endswith("@canary") is grouped

    def test_the_road_was_walked(self, written: Written) -> None:
        answers = written.answers
        assert (answers["allowed"]["basis"], answers["allowed"]["reason"]) == ("personalised", "ok")
        assert (answers["silent"]["basis"], answers["silent"]["reason"]) == ("non_personalised", "no_consent")
        assert (answers["withdrawn"]["basis"], answers["withdrawn"]["reason"]) == ("non_personalised", "withdrawn")
        assert answers["purchase"] == {"results": [{"event_id": "till-1", "status": "stored"}]}
        assert answers["click"] == {"results": [{"event_id": "page-1", "status": "stored"}]}
        with database(written.var) as store:
            assert store.execute("SELECT count(*) FROM subject").fetchone() == (N_CUSTOMERS,)
            assert store.execute("SELECT count(*) FROM consent_event").fetchone() == (48 * len(PURPOSES) + 1,)

    def test_nothing_written_names_a_customer(self, written: Written) -> None:
        quarantine = written.var / "quarantine"
        assert traces(quarantine, CUSTOMERS), (
            "the bad rows must come back to their owner, and show that the search finds"
        )
        assert traces(written.folder, CUSTOMERS, without=(quarantine,)) == []

    def test_the_store_s_own_names_for_people_stay_in_the_store(self, written: Written) -> None:
        with database(written.var) as store:
            references = [
                row[0] for row in store.execute("SELECT subject_ref FROM subject UNION SELECT lookup_hmac FROM subject")
            ]
        # The store itself, and the log of decisions, which a person may read: both are swept at her erasure.
        own = ("considerate.db", "decisions.db")
        files = [
            path for path in written.folder.rglob("*") if path.is_file() and not any(name in path.name for name in own)
        ]
        leaks = {
            str(path.relative_to(written.folder))
            for path in files
            for content in [path.read_bytes()]
            if any(reference in content or reference.hex().encode() in content for reference in references)
        }
        assert leaks == set()

    def test_every_file_that_was_written_is_in_the_record_of_processing(self, written: Written) -> None:
        files = [path.relative_to(written.var).as_posix() for path in written.var.rglob("*") if path.is_file()]
        assert any(path.startswith("mlartifacts/") for path in files)
        assert [path for path in files if not is_recorded(path)] == []

    def test_no_array_of_a_model_has_a_row_per_customer(self, written: Written) -> None:
        counts = {N_CUSTOMERS, N_CUSTOMERS - len(SILENT)}
        arrays = [path for path in written.var.rglob("*") if path.suffix in (".npy", ".npz")]
        assert arrays
        guilty = [path.name for path in arrays for shape in shapes(path) if counts & set(shape)]
        assert guilty == []


def shapes(path: Path) -> Iterator[tuple[int, ...]]:
    loaded = np.load(path, allow_pickle=False)
    yield from ((loaded[name].shape for name in loaded.files) if path.suffix == ".npz" else (loaded.shape,))
