"""SQLite passes the suites of tables and datasets."""

from __future__ import annotations

import resource
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.errors import StoreUnavailableError, UsageError
from app.schema.rows import Value
from app.sky.boxes import box_of
from app.sky.shapes import Point
from app.stores.database import open_engine, write_transaction
from app.stores.metadata import MetadataStores, open_stores
from app.stores.sqlite_native import SWITCH, handle_of, native_sqlite
from app.stores.tables.control import StatementControl
from tests.stores.contract import (
    COUNTING,
    ROOT,
    DatasetStoreContract,
    PublishContract,
    TableStoreContract,
    dataset,
    execute,
    field,
    query,
    unreachable,
)

NUMBER = field("n", "integer")


@pytest.fixture
def database_url(fresh_sqlite_url: str) -> str:
    """SQLite only."""
    return fresh_sqlite_url


class TestTables(TableStoreContract):
    overflow_sql = "SELECT abs(-9223372036854775808) AS n"

    def test_rows_are_read_by_compiled_code(self, stores: MetadataStores) -> None:
        pooled = stores.engine.raw_connection()
        assert handle_of(pooled.info) is not None
        pooled.close()


class TestTablesByPython(TestTables):
    """Without SQLite's C functions every answer is the same."""

    @pytest.fixture(autouse=True)
    def switched_off(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As on a Python whose SQLite cannot be reached."""
        monkeypatch.setenv(SWITCH, "off")

    def test_rows_are_read_by_compiled_code(self, stores: MetadataStores) -> None:
        assert native_sqlite() is None


def test_a_statement_rests_while_it_is_to_give_way(stores: MetadataStores) -> None:
    asked = query(stores, COUNTING + "SELECT count(*) AS n FROM c", [NUMBER], last=2_000_000)
    control = StatementControl()

    def times_left() -> int:
        """How often its thread gave its core back by itself."""
        before = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
        (batch,) = stores.tables.stream(asked, control=control, time_limit_s=60)
        assert batch.to_pylist() == [{"n": 2_000_000}]
        return resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - before

    alone = times_left()
    control.pace.rest = 1.0
    resting = times_left()
    control.pace.rest = 0.0
    assert resting > 10 + 2 * max(alone, times_left())


ODD = """
CREATE TABLE odd (n, x, flag, t);
INSERT INTO odd VALUES
  (1, 0.1, 1, 'text'), (NULL, NULL, NULL, NULL), (-9223372036854775808, 3, 0, ''),
  (2.9, 9007199254740993, 2, 7), (-2.9, '1e3', 0.5, 0.30000000000000004), ('12', -0.0, '', x'4142'),
  (9223372036854775807, 1e308, 'x', 'Straße 🙂'), (1e15, -1e-320, 0.0, -1e300);
"""


def odd_rows(url: str, sql: str, *, batch_rows: int = 10_000) -> list[dict[str, object]]:
    """Rows of a table whose values have any type, read with fields of every kind."""
    stores = open_stores(url)
    fields = [
        field("n", "integer"),
        field("x", "real"),
        field("flag", "boolean"),
        field("t", "text"),
    ]
    try:
        batches = list(stores.tables.stream(query(stores, sql, fields), batch_rows=batch_rows))
    finally:
        stores.close()
    for batch in batches:
        batch.validate(full=True)
    return [row for batch in batches for row in batch.to_pylist()]


@pytest.mark.parametrize("batch_rows", [1, 3, 8, 100])
def test_values_of_any_type_are_converted_alike(
    fresh_sqlite_url: str, monkeypatch: pytest.MonkeyPatch, batch_rows: int
) -> None:
    with sqlite3.connect(fresh_sqlite_url.removeprefix("sqlite:///")) as connection:
        connection.executescript(ODD)
    sql = "SELECT a.* FROM odd AS a, odd AS b, odd AS c ORDER BY a.rowid, b.rowid"
    by_machine = odd_rows(fresh_sqlite_url, sql, batch_rows=batch_rows)
    monkeypatch.setenv(SWITCH, "off")
    by_python = odd_rows(fresh_sqlite_url, sql, batch_rows=batch_rows)
    assert repr(by_machine) == repr(by_python)
    assert len(by_machine) == 512
    assert by_machine[192]["n"] == 2
    assert by_machine[-1]["t"] == "-1e+300"


@pytest.mark.parametrize("native", ["on", "off"])
@pytest.mark.parametrize(
    "values", ["'abc', 1, 1, 'x'", "1e300, 1, 1, 'x'", "1, 'abc', 1, 'x'", "x'00ff', 1, 1, 'x'"]
)
def test_a_value_that_cannot_be_converted_is_told(
    fresh_sqlite_url: str, monkeypatch: pytest.MonkeyPatch, native: str, values: str
) -> None:
    monkeypatch.setenv(SWITCH, native)
    with pytest.raises(UsageError, match="The data made the query fail"):
        odd_rows(fresh_sqlite_url, f"SELECT {values}")


def test_long_texts_find_room(fresh_sqlite_url: str) -> None:
    sql = (
        "WITH RECURSIVE c(k) AS (SELECT 0 UNION ALL SELECT k + 1 FROM c WHERE k < 40) "
        "SELECT k, k, k, substr(replace(hex(zeroblob(50000)), '0', 'é'), 1, k * k * 60) FROM c"
    )
    texts = [str(row["t"]) for row in odd_rows(fresh_sqlite_url, sql)]
    assert texts == ["é" * (k * k * 60) for k in range(41)]


def test_python_functions_run_inside_compiled_reading(stores: MetadataStores) -> None:
    many = "WITH RECURSIVE c(k) AS (SELECT 1 UNION ALL SELECT k + 1 FROM c WHERE k < 5000) "
    asked = query(stores, many + "SELECT adql_integer(k) AS n FROM c", [field("n", "integer")])

    def total(_: int) -> int:
        return sum(sum(b.column(0).to_pylist()) for b in stores.tables.stream(asked))

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(total, range(40))) == {5000 * 5001 // 2}


def numbers(stores: MetadataStores, sql: str, **binds: Value) -> list[object]:
    """The first column of a query."""
    asked = query(stores, sql, [field("n", "integer")], **binds)
    return [n for batch in stores.tables.stream(asked) for n in batch.column(0).to_pylist()]


def test_a_statement_asked_again_takes_its_new_values_and_the_table_as_it_is(
    stores: MetadataStores,
) -> None:
    change(stores, "CREATE TABLE kept (n INTEGER)", "INSERT INTO kept VALUES (1), (2), (3), (4)")
    sql = "SELECT n FROM kept WHERE n > :least ORDER BY n"
    assert numbers(stores, sql, least=1) == [2, 3, 4]
    assert numbers(stores, sql, least=3) == [4]
    assert numbers(stores, sql, least=None) == []
    change(stores, "DROP TABLE kept", "CREATE TABLE kept (other TEXT, n INTEGER)")
    change(stores, "INSERT INTO kept VALUES ('x', 9)")
    assert numbers(stores, sql, least=3) == [9]


def change(stores: MetadataStores, *statements: str) -> None:
    """Run statements that give no rows."""
    with write_transaction(stores.engine) as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


def test_a_statement_left_in_the_middle_begins_anew(stores: MetadataStores) -> None:
    many = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5000) "
    asked = query(stores, many + "SELECT n FROM c", [field("n", "integer")])
    rows = stores.tables.stream(asked)
    assert next(rows).column(0)[0].as_py() == 1
    rows.close()
    assert numbers(stores, asked.sql) == list(range(1, 5001))


def test_kept_statements_do_not_hold_the_file_open(fresh_sqlite_url: str) -> None:
    stores = open_stores(fresh_sqlite_url)
    for number in range(50):
        assert numbers(stores, f"SELECT {number} AS n") == [number]
    file = Path(fresh_sqlite_url.removeprefix("sqlite:///")).resolve()
    assert file in open_files()
    stores.close()
    assert file not in open_files()


def open_files() -> set[Path]:
    """What this process has open."""
    return {link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}


class TestDatasets(DatasetStoreContract):
    def around(self, stores: MetadataStores, lon_deg: float, lat_deg: float) -> set[str]:
        box = box_of(Point(lon_deg, lat_deg))
        rows = execute(
            stores,
            "SELECT obs_id FROM obscore WHERE row_id IN (SELECT row_id FROM "
            "obscore_s_region_outline "
            "WHERE x_min <= :x1 AND x_max >= :x0 AND y_min <= :y1 AND y_max >= :y0 "
            "AND z_min <= :z1 AND z_max >= :z0)",
            x0=box.x_min,
            x1=box.x_max,
            y0=box.y_min,
            y1=box.y_max,
            z0=box.z_min,
            z1=box.z_max,
        )
        return {str(row[0]) for row in rows}

    def test_a_deleted_row_takes_its_box_along(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(1)])
        with stores.engine.begin() as connection:
            connection.exec_driver_sql("DELETE FROM obscore")
        assert execute(stores, "SELECT * FROM obscore_s_region_outline") == []


class TestPublish(PublishContract):
    pass


WRITER = """
import sys
from tests.stores.contract import dataset, new_job
from app.stores.metadata import open_stores
stores = open_stores(sys.argv[1])
start = int(sys.argv[2])
for number in range(start, start + 40):
    stores.datasets.upsert([dataset(number)])
    stores.jobs.add(new_job(f"job-{number}"))
    stores.datasets.get_many([dataset(number).dataset_id])
"""


def test_many_processes_write_and_none_meets_a_locked_database(
    stores: MetadataStores, database_url: str
) -> None:
    writers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, database_url, str(1000 * n)],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
        )
        for n in range(4)
    ]
    complaints = [writer.communicate()[1] for writer in writers]
    assert complaints == [""] * 4
    assert execute(stores, "SELECT count(*) FROM obscore")[0][0] == 160
    assert execute(stores, "SELECT count(*) FROM obscore_s_region_outline")[0][0] == 160


def test_a_database_in_a_folder_that_is_gone_is_unavailable(tmp_path: Path) -> None:
    unreachable(f"sqlite:///{tmp_path / 'gone' / 'x.sqlite3'}")


def test_a_file_that_is_no_database_is_unavailable(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite3"
    path.write_bytes(b"SIMPLE  =                    T" * 200)
    unreachable(f"sqlite:///{path}")


def test_a_spoilt_database_is_unavailable_not_a_crash(
    stores: MetadataStores, fresh_sqlite_url: str
) -> None:
    stores.datasets.upsert([dataset(n) for n in range(300)])
    stores.close()
    path = Path(fresh_sqlite_url.removeprefix("sqlite:///"))
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    path.write_bytes(data)
    with pytest.raises(StoreUnavailableError):
        stores.datasets.get_many([dataset(1).dataset_id])


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("sqlite://", "must name a file"),
        ("sqlite:///:memory:", "must name a file"),
        ("mysql://host/db", "no known engine"),
        ("nonsense", "cannot be read"),
    ],
)
def test_a_wrong_url_is_told(url: str, words: str) -> None:
    with pytest.raises(StoreUnavailableError, match=words):
        open_engine(url)
