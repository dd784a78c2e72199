"""Each public data set loads through its config, and its known dirt is reported exactly."""

from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from considerate.interactions.catalogue import read_customers, read_items
from considerate.interactions.columns import Interactions
from considerate.interactions.public_sets import PUBLIC_SETS, PublicSet, copy_at_hand
from considerate.interactions.reading import read_interactions
from considerate.ranking.history import Channel, Kind
from considerate.settings.data import DataConfig
from considerate.settings.environment import Environment, read_environment
from considerate.settings.toml import read_toml

CONFIGS = Path(__file__).parents[2] / "configs"
AT = datetime(2026, 3, 1, tzinfo=UTC)


def config_of(name: str) -> DataConfig:
    return read_toml(CONFIGS / f"{name}.toml", DataConfig)


def load(name: str) -> Interactions:
    return read_interactions(config_of(name), read_environment(), quarantine=None, at=AT)


def kinds(interactions: Interactions) -> set[Kind]:
    return {Kind(code) for code in interactions.table["kind"].unique().to_pylist()}


@pytest.mark.data("uci_online_retail")
@pytest.mark.slow
def test_uci_online_retail_reports_its_dirt_exactly() -> None:
    interactions = load("uci_online_retail")
    report = interactions.report
    assert report.rows_read == 541_909
    assert report.set_aside["no_customer"] == 135_080
    assert report.set_aside["cancellation"] == 9_288
    assert report.set_aside["exact_duplicate"] == 5_268
    assert report.rows_quarantined == 0
    assert report.rows_kept + report.rows_set_aside == 541_909
    assert kinds(interactions) == {Kind.PURCHASE, Kind.RETURN}
    assert interactions.table["event_id"].null_count == 0


@pytest.mark.data("complete_journey")
@pytest.mark.slow
def test_every_row_of_complete_journey_is_a_purchase_in_a_store() -> None:
    interactions = load("complete_journey")
    report = interactions.report
    assert (report.rows_read, report.rows_kept, report.customers, report.items) == (1_469_307, 1_469_307, 2_469, 68_509)
    assert kinds(interactions) == {Kind.PURCHASE}
    assert interactions.table["channel"].unique().to_pylist() == [Channel.STORE]


@pytest.mark.data("complete_journey")
def test_the_catalogue_of_complete_journey_has_titles_and_paths() -> None:
    config = config_of("complete_journey")
    catalogue = read_items(config, read_environment())
    assert len(catalogue) == 92_331
    assert catalogue.category[catalogue.item_ids.index("25671")] == "GROCERY > FRZN ICE > ICE - CRUSHED/CUBED"
    assert len(read_customers(config, read_environment())) == 801


@pytest.mark.data("ml_100k")
def test_ml_100k_loads_with_full_times() -> None:
    interactions = load("ml_100k")
    report = interactions.report
    assert (report.rows_kept, report.customers, report.items) == (100_000, 943, 1_682)
    assert kinds(interactions) == {Kind.RATING}
    assert report.first is not None
    assert report.first.year == 1997


@pytest.mark.data("ml_1m")
def test_ml_1m_knows_every_order_and_no_time() -> None:
    interactions = load("ml_1m")
    report = interactions.report
    assert (report.rows_kept, report.customers, report.items) == (1_000_209, 6_040, 3_706)
    assert interactions.table["position"].null_count == 0
    assert interactions.table["timestamp"].null_count == 1_000_209


@pytest.mark.data("gowalla")
def test_gowalla_loads_train_and_test_without_time() -> None:
    config = config_of("gowalla")
    assert load("gowalla").report.rows_kept == 810_128
    test = config.model_copy(
        update={"source": config.source.model_copy(update={"path": "{data}/gowalla/test.parquet"})}
    )
    report = read_interactions(test, read_environment(), quarantine=None, at=AT).report
    assert (report.rows_kept, report.first) == (217_242, None)


def test_every_public_set_has_a_config_that_reads_its_files() -> None:
    for public_set in PUBLIC_SETS:
        config = config_of(public_set.name)
        assert config.name == public_set.name
        assert config.source.path in public_set.files
        assert config.consent.source == "assumed"


def test_a_copy_is_complete_only_with_all_its_rows(tmp_path: Path) -> None:
    environment = Environment(home=tmp_path, data=tmp_path)
    files = {"{data}/toy/a.parquet": 2, "{data}/toy/b.parquet": 1}
    toy = PublicSet(name="toy", what="", offered="", terms="", files=files)
    assert not copy_at_hand(toy, environment).complete
    (tmp_path / "toy").mkdir()
    for name in ("a", "b"):
        pq.write_table(pa.table({"x": [1]}), tmp_path / "toy" / f"{name}.parquet")
    short = copy_at_hand(toy, environment)
    assert not short.complete
    assert short.problems == (f"{tmp_path / 'toy' / 'a.parquet'}: 1 rows, the complete file has 2",)
    pq.write_table(pa.table({"x": [1, 2]}), tmp_path / "toy" / "a.parquet")
    assert copy_at_hand(toy, environment).complete
    (tmp_path / "toy" / "b.parquet").write_text("no parquet", encoding="utf-8")
    assert copy_at_hand(toy, environment).problems == (
        "{data}/toy/b.parquet: not readable as Parquet; export it again",
    )
