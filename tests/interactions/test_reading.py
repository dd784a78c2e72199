"""Every row becomes an interaction or is accounted for."""

from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_sources import AT, COLUMNS, HEADER, Read, config_of, left_out

from considerate.errors import ConfigError, DataError
from considerate.interactions.columns import SCHEMA
from considerate.interactions.reading import read_interactions
from considerate.ranking.history import Channel, Kind
from considerate.settings.environment import Environment

GOOD = "anna,soup,2026-01-05T10:00:00,2,1\n"


def test_a_good_row_becomes_an_interaction(read: Read) -> None:
    interactions = read(GOOD)
    assert interactions.table.schema.equals(SCHEMA)
    (row,) = interactions.table.drop_columns(["timestamp"]).to_pylist()
    assert row == {
        "customer_id": "anna",
        "item_id": "soup",
        "kind": Kind.PURCHASE,
        "value": 2.0,
        "position": None,
        "channel": Channel.ONLINE,
        "order_line": "1",
        "event_id": "1",
        "decision_id": None,
        "surface": None,
    }
    report = interactions.report
    assert (report.rows_read, report.rows_kept, report.rows_quarantined, report.rows_set_aside) == (1, 1, 0, 0)
    assert report.first == report.last == datetime(2026, 1, 5, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        (",soup,2026-01-05,1,1", {"customer_id_missing"}),
        ("  ,soup,2026-01-05,1,1", {"customer_id_missing"}),
        ("anna,,2026-01-05,1,1", {"item_id_missing"}),
        (f"{'x' * 257},soup,2026-01-05,1,1", {"customer_id_too_long"}),
        (f"anna,{'x' * 10_000},2026-01-05,1,1", {"item_id_too_long"}),
        (f"anna,soup,2026-01-05,1,{'x' * 300}", {"order_line_too_long"}),
        ("an\0na,soup,2026-01-05,1,1", {"customer_id_control_character"}),
        ('anna,"so\nup",2026-01-05,1,1', {"item_id_control_character"}),
        ("anna,soup,2026-13-45,1,1", {"timestamp_unreadable"}),
        ("anna,soup,soon,1,1", {"timestamp_unreadable"}),
        ("anna,soup,,1,1", {"timestamp_missing"}),
        ("anna,soup,1969-05-05,1,1", {"timestamp_too_early"}),
        ("anna,soup,2026-03-01T00:00:01,1,1", {"timestamp_in_future"}),
        ("anna,soup,99999-01-01,1,1", {"timestamp_in_future"}),
        ("anna,soup,2026-01-05,many,1", {"value_not_a_number"}),
        ("anna,soup,2026-01-05,nan,1", {"value_not_a_number"}),
        ("anna,soup,2026-01-05,1e999,1", {"value_not_a_number"}),
        ("anna,soup,2026-01-05,0,1", {"quantity_not_positive"}),
        (",,soon,x,1", {"customer_id_missing", "item_id_missing", "timestamp_unreadable", "value_not_a_number"}),
        ("anna,soup", {"unreadable_line"}),
        ("anna,soup,2026-01-05,1,1,more", {"unreadable_line"}),
    ],
)
def test_a_bad_row_is_quarantined_under_every_rule_it_breaks(
    read: Read, tmp_path: Path, row: str, reasons: set[str]
) -> None:
    report = read("otto,bread,2026-01-01,1,9\n" + row + "\n").report
    assert set(report.quarantined) == reasons
    assert (report.rows_read, report.rows_kept, report.rows_quarantined) == (2, 1, 1)
    ((kept_reasons, _),) = left_out(tmp_path)
    assert set(kept_reasons) == reasons


@pytest.mark.parametrize(
    "name", ["a b", " padded ", "Zoë", "名前", "🛒", "o'brien", 'say "hi"', "x" * 256, "007", "1e5"]
)
def test_ids_are_taken_as_they_are(read: Read, name: str) -> None:
    quoted = '"' + name.replace('"', '""') + '"'
    table = read(f"{quoted},{quoted},2026-01-05,1,1\n").table
    assert table["customer_id"].to_pylist() == table["item_id"].to_pylist() == [name]


def test_the_second_of_two_equal_order_lines_is_quarantined(read: Read, tmp_path: Path) -> None:
    report = read(GOOD + "otto,bread,2026-01-06,1,1\n" + "otto,bread,2026-01-06,1,2\n").report
    assert report.quarantined == {"duplicate_order_line": 1}
    assert left_out(tmp_path) == [(["duplicate_order_line"], 2)]


def test_a_bad_row_does_not_take_the_order_line_of_a_good_one(read: Read) -> None:
    report = read(",soup,2026-01-05,1,1\n" + GOOD).report
    assert report.quarantined == {"customer_id_missing": 1}
    assert report.rows_kept == 1


def test_event_ids_are_unique_per_customer_and_not_beyond(read: Read) -> None:
    columns = {"customer_id": "customer", "item_id": "item", "event_id": "line"}
    rows = "anna,soup,,,e1\notto,soup,,,e1\nanna,bread,,,e1\n"
    interactions = read(rows, columns=columns)
    assert interactions.report.quarantined == {"duplicate_event_id": 1}
    assert interactions.table["event_id"].to_pylist() == ["e1", "e1"]


def test_equal_events_without_an_id_get_different_ids_and_the_same_ones_again(read: Read) -> None:
    columns = {"customer_id": "customer", "item_id": "item", "timestamp": "time"}
    rows = "anna,soup,2026-01-05,,\nanna,soup,2026-01-05,,\notto,soup,2026-01-05,,\nanna,soup,2026-01-06,,\n"
    first, again = (read(rows, columns=columns).table["event_id"].to_pylist() for _ in range(2))
    assert first == again
    assert first[1] == first[0] + "-2"
    assert first[2] == first[0]
    assert first[3] not in first[:3]


def test_times_with_a_zone_are_turned_into_utc_and_naive_ones_taken_for_it(read: Read) -> None:
    report = read("a,x,2026-01-05T10:00:00+02:00,1,1\nb,x,2026-01-05 09:00:00,1,2\n").report
    assert report.first == datetime(2026, 1, 5, 8, tzinfo=UTC)
    assert report.last == datetime(2026, 1, 5, 9, tzinfo=UTC)


def test_other_ways_to_write_a_time_are_named_in_the_toml(read: Read) -> None:
    report = read("a,x,12/1/2010 8:26,1,1\n", timestamp_format="%m/%d/%Y %H:%M").report
    assert report.first == datetime(2010, 12, 1, 8, 26, tzinfo=UTC)


def test_a_row_with_an_order_needs_no_time(read: Read) -> None:
    columns = {"customer_id": "customer", "item_id": "item", "timestamp": "time", "position": "line"}
    interactions = read("a,x,,,7\na,y,2026-01-01,,x\na,z,,,\n", columns=columns)
    assert interactions.report.quarantined == {"position_not_an_integer": 1, "timestamp_and_position_missing": 1}
    assert interactions.table["position"].to_pylist() == [7]


def test_a_source_without_time_and_order_is_read(read: Read) -> None:
    interactions = read(GOOD, columns={"customer_id": "customer", "item_id": "item"})
    assert interactions.report.first is None
    assert interactions.table["timestamp"].null_count == 1


def test_rows_set_aside_are_counted_per_rule_and_not_held_against_the_limit(read: Read, tmp_path: Path) -> None:
    rows = GOOD + ",soup,2026-01-05,1,2\n,POST,2026-01-05,1,3\n" + "anna,POST,2026-01-05,1,4\n"
    aside = {"no_customer": "customer IS NULL", "no_product": "item = 'POST'"}
    report = read(rows, set_aside=aside, max_rejected=0).report
    assert report.set_aside == {"no_customer": 2, "no_product": 2}
    assert (report.rows_kept, report.rows_set_aside, report.rows_quarantined) == (1, 3, 0)
    assert [number for _, number in left_out(tmp_path)] == [2, 3, 4] or len(left_out(tmp_path)) == 3


def test_exact_duplicates_are_the_second_and_later_equal_rows(read: Read, tmp_path: Path) -> None:
    report = read(GOOD * 3 + "otto,soup,2026-01-05T10:00:00,2,2\n", set_aside={"twice": "exact_duplicate"}).report
    assert report.set_aside == {"twice": 2}
    assert left_out(tmp_path) == [(["twice"], 2), (["twice"], 3)]
    assert report.rows_kept == 2


def test_a_complete_cancellation_is_set_aside_and_yields_a_return(read: Read) -> None:
    rows = GOOD + "anna,soup,2026-01-07,-2,C1\n,soup,2026-01-07,-2,C2\n"
    interactions = read(rows, set_aside={"cancellation": "starts_with(line, 'C')", "no_customer": "customer IS NULL"})
    report = interactions.report
    assert report.set_aside == {"cancellation": 2, "no_customer": 1}
    assert (report.rows_kept, report.rows_set_aside, report.returns_from_cancellations) == (1, 2, 1)
    assert interactions.table["kind"].to_pylist() == [Kind.PURCHASE, Kind.RETURN]
    assert interactions.table["value"].to_pylist() == [2.0, 2.0]


def test_a_return_may_carry_the_order_line_of_its_purchase(read: Read) -> None:
    interactions = read(GOOD + "anna,soup,2026-01-07,-2,1\n", when={"return": "quantity::DOUBLE < 0"})
    assert interactions.table["event_id"].to_pylist() == ["1", "return:1"]
    assert interactions.table["value"].to_pylist() == [2.0, 2.0]


def test_kinds_and_channels_are_read_from_columns(read: Read) -> None:
    columns = {"customer_id": "customer", "item_id": "item", "kind": "time", "channel": "line"}
    interactions = read("a,x,View,,store\na,y,cart,,online\na,z,stare,,moon\n", columns=columns)
    assert interactions.table["kind"].to_pylist() == [Kind.VIEW, Kind.CART]
    assert interactions.table["channel"].to_pylist() == [Channel.STORE, Channel.ONLINE]
    assert interactions.report.quarantined == {"kind_unknown": 1, "channel_unknown": 1}


def test_a_rating_needs_a_value(read: Read) -> None:
    report = read("a,x,2026-01-05,4,1\na,y,2026-01-05,,2\n", values={"kind": "rating"}).report
    assert report.quarantined == {"value_missing": 1}


def test_too_many_bad_rows_stop_the_load_with_the_counts(read: Read, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"1 of 2 rows are bad \(50.0%\).*max_rejected = 5.0%.*item_id_missing 1.*cor"):
        read(GOOD + "anna,,2026-01-05,1,2\n", max_rejected=0.05)
    assert left_out(tmp_path) == [(["item_id_missing"], 2)]


def test_a_load_that_leaves_nothing_out_removes_an_older_quarantine(read: Read, tmp_path: Path) -> None:
    assert read(GOOD + ",x,2026-01-05,1,2\n").report.quarantine is not None
    assert read(GOOD).report.quarantine is None
    assert list((tmp_path / "quarantine").iterdir()) == []


def test_the_quarantine_is_for_its_owner_alone(read: Read, tmp_path: Path) -> None:
    read(GOOD + ",x,2026-01-05,1,2\n")
    assert (tmp_path / "quarantine" / "shop.parquet").stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("rows", [",x,2026-01-05,1,2\n", "anna,soup\n"])
def test_a_source_without_a_usable_row_is_refused(read: Read, rows: str) -> None:
    with pytest.raises(DataError, match=r"no row is usable: .* 1; correct the mapping"):
        read(rows)


def test_a_source_set_aside_as_a_whole_is_refused(read: Read) -> None:
    with pytest.raises(DataError, match=r"every row is set aside \(all 1\); check source.set_aside"):
        read(GOOD, set_aside={"all": "true"})


def test_no_message_quotes_a_row(read: Read) -> None:
    with pytest.raises(DataError) as caught:
        read("canary-7,,2026-01-05,1,1\n", max_rejected=0)
    assert "canary-7" not in str(caught.value)


def test_several_files_are_one_source_and_keep_their_row_numbers(tmp_path: Path, read: Read) -> None:
    (tmp_path / "a.csv").write_text(HEADER + GOOD + ",x,2026-01-05,1,2\n", encoding="utf-8")
    (tmp_path / "b.csv").write_text("line,customer,item,time,quantity\n3,,x,2026-01-05,1\n", encoding="utf-8")
    report = read(tmp_path / "*.csv").report
    assert (report.rows_read, report.rows_quarantined) == (3, 2)
    file = tmp_path / "quarantine" / "shop.parquet"
    rows = duckdb.connect().execute(f"SELECT parse_filename(file), row_number FROM '{file}' ORDER BY 1").fetchall()
    assert rows == [("a.csv", 2), ("b.csv", 1)]


def test_files_whose_ids_differ_in_type_are_read_as_text(tmp_path: Path, read: Read) -> None:
    with duckdb.connect() as connection:
        select = "SELECT {} AS customer, 'x' AS item, TIMESTAMP '2026-01-05' AS time, 1 AS quantity, {} AS line"
        connection.execute(f"COPY ({select.format('42', '1')}) TO '{tmp_path / 'a.parquet'}'")
        connection.execute(f"COPY ({select.format(chr(39) + 'A1' + chr(39), '2')}) TO '{tmp_path / 'b.parquet'}'")
        connection.execute(f"COPY ({select.format('43.0::DOUBLE', '3')}) TO '{tmp_path / 'c.parquet'}'")
    assert read(tmp_path / "[ab].parquet", format="parquet").table["customer_id"].to_pylist() == ["42", "A1"]
    assert read(tmp_path / "c.parquet", format="parquet").table["customer_id"].to_pylist() == ["43"]


def test_column_names_are_quoted(read: Read) -> None:
    evil = 'x" FROM source; DROP TABLE mapped; --'
    header = "customer,item,time,quantity," + '"' + evil.replace('"', '""') + '"\n'
    table = read(GOOD, header=header, columns=COLUMNS | {"order_line": evil}).table
    assert table["order_line"].to_pylist() == ["1"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"columns": COLUMNS | {"colour": "item"}}, "source.columns -> colour; must be one of channel"),
        ({"values": {"kind": "gift"}}, "source.values.kind = 'gift'; must be one of purchase"),
        ({"values": {"channel": "moon"}}, "source.values.channel = 'moon'; must be one of online, store"),
        ({"values": {"value": "two"}}, "source.values.value = 'two'; must be a number"),
        ({"values": {"item_id": "x"}}, "source.values -> item_id; must be one of"),
        ({"when": {"gift": "true"}}, "source.when -> gift; must be one of purchase"),
        ({"when": {"return": "quantity < 0"}}, "source.when.return = 'quantity < 0'.*must be a SQL condition"),
        ({"set_aside": {"x": "true); DROP TABLE mapped; --"}}, "source.set_aside.x.*must be a SQL condition"),
        ({"set_aside": {"x": "colour = 1"}}, "source.set_aside.x = 'colour = 1'.*must be a SQL condition"),
        ({"columns": COLUMNS | {"value": ["item", "quantity"]}}, "source.columns.value = .*must be one column"),
        ({"earliest": "long ago"}, "source.earliest = 'long ago'; must be a date such as"),
        ({"encoding": "klingon"}, "encoding = 'klingon'; must be one that Python knows"),
    ],
)
def test_a_wrong_mapping_is_one_clear_error(read: Read, source: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(GOOD, **source)


def test_the_store_is_not_read_as_a_file(environment: Environment) -> None:
    config = config_of("x", format="store")
    with pytest.raises(ConfigError, match="is read from the database: use read_stored"):
        read_interactions(config, environment, quarantine=None, at=AT)


CELL = st.one_of(
    st.sampled_from(["", " ", "a", "b", "1", "2026-01-05", "-3", "C1"]),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=6),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(CELL, CELL, CELL, CELL, CELL), min_size=1, max_size=8))
def test_the_counts_of_a_report_add_up_whatever_the_rows(read: Read, rows: list[tuple[str, ...]]) -> None:
    text = "".join(",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows)
    text += GOOD.replace(",1\n", ",the good one\n")
    aside = {"cancellation": "starts_with(line, 'C')", "twice": "exact_duplicate"}
    interactions = read(text, set_aside=aside)
    report = interactions.report
    assert report.rows_kept >= 1
    assert report.rows_read == report.rows_kept + report.rows_set_aside + report.rows_quarantined
    assert len(interactions.table) == report.rows_kept + report.returns_from_cancellations
    keys = list(zip(*(interactions.table[name].to_pylist() for name in ("customer_id", "event_id")), strict=True))
    assert len(set(keys)) == len(keys)
