"""SQLite passes the suites of tables and datasets."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from app.errors import StoreUnavailableError
from app.sky.boxes import box_of
from app.sky.shapes import Point
from app.stores.database import open_engine
from app.stores.metadata import MetadataStores
from tests.stores.contract import (
    ROOT,
    DatasetStoreContract,
    PublishContract,
    TableStoreContract,
    dataset,
    execute,
    unreachable,
)


@pytest.fixture
def database_url(fresh_sqlite_url: str) -> str:
    """SQLite only."""
    return fresh_sqlite_url


class TestTables(TableStoreContract):
    overflow_sql = "SELECT abs(-9223372036854775808) AS n"


class TestDatasets(DatasetStoreContract):
    def around(self, stores: MetadataStores, lon_deg: float, lat_deg: float) -> set[str]:
        box = box_of(Point(lon_deg, lat_deg))
        rows = execute(
            stores,
            "SELECT obs_id FROM obscore WHERE row_id IN (SELECT row_id FROM obscore_region_index "
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
        assert execute(stores, "SELECT * FROM obscore_region_index") == []


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
    assert execute(stores, "SELECT count(*) FROM obscore_region_index")[0][0] == 160


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
