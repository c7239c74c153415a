"""The suites every backend passes. A backend's test module subclasses them and says only what
differs: how its stores are opened and the few statements that are written in its own SQL."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import sqlalchemy as sa

from app.adql.compiled import CompiledQuery
from app.errors import (
    JobNotFoundError,
    ServiceError,
    StoppedError,
    StorageQuotaError,
    StoreUnavailableError,
    TimeLimitError,
    UsageError,
)
from app.schema.allowances import Allowance
from app.schema.fields import Field
from app.schema.rows import DatasetRow, ProductInput, ProductQuality, Value
from app.stores.metadata import MetadataStores, open_stores
from app.stores.tables.control import StatementControl
from app.stores.tables.dataset_rows import UpsertCounts
from app.uws.job import Job, JobError, JobKind, JobResult, Phase
from app.uws.transitions import step

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]

COUNTING = "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < :last) "


def field(name: str, kind: Any) -> Field:
    """A result column of a kind."""
    datatypes: dict[str, Any] = {"integer": "long", "real": "double", "boolean": "boolean"}
    return Field(name=name, kind=kind, datatype=datatypes.get(kind, "char"))


def dataset(number: int, *, region: str | None = None, **columns: Value) -> DatasetRow:
    """A plausible dataset row; a square of 0.2 deg near RA 10 Dec -20 unless told otherwise."""
    lon = 10.0 + 0.01 * number
    square = f"POLYGON ICRS {lon} -20 {lon + 0.2} -20 {lon + 0.2} -19.8 {lon} -19.8"
    values: dict[str, Value] = {
        "obs_publisher_did": f"ivo://Test.Example/survey?image-{number:04d}",
        "obs_collection": "survey",
        "obs_id": f"image-{number:04d}",
        "calib_level": 2,
        "s_ra": lon + 0.1,
        "s_dec": -19.9,
        "s_region": region or square,
        "t_min": 60000.0 + number,
        "lsst_visit": 5_000_000_000 + number,
        "lsst_band": "i",
    }
    return DatasetRow(
        columns=values | columns,
        file_path=f"/images/{number:04d}.fits",
        file_hdu=1,
        file_size=2880 * (number + 1),
        file_mtime_ns=1_700_000_000_123_456_789 + number,
        file_checksum=f"sum-{number}",
        image_ref=json.dumps({"dataset_id": number}),
    )


def wavy_square(lon_deg: float, lat_deg: float, bend_rad: float) -> str:
    """A square of 0.1 deg whose edges follow a sine wave of ``bend_rad`` with 10 vertices each."""
    bend = math.degrees(bend_rad)
    steps = [(k / 10, bend * math.sin(2 * math.pi * k / 10)) for k in range(10)]
    corners = (
        [(0.1 * f, b) for f, b in steps]
        + [(0.1 - b, 0.1 * f) for f, b in steps]
        + [(0.1 - 0.1 * f, 0.1 - b) for f, b in steps]
        + [(b, 0.1 - 0.1 * f) for f, b in steps]
    )
    pairs = (f"{lon_deg + x:.12f} {lat_deg + y:.12f}" for x, y in corners)
    return "POLYGON ICRS " + " ".join(pairs)


def product(number: int, recipe_key: str) -> DatasetRow:
    """A built product."""
    row = dataset(number, obs_publisher_did=f"ivo://test.example/products?difference/{recipe_key}")
    return replace(row, origin="built", recipe_key=recipe_key, file_path=f"products/{number}.fits")


def new_job(job_id: str, *, phase: Phase = Phase.QUEUED, age_s: float = 0.0, **more: Any) -> Job:
    """A job created ``age_s`` before NOW."""
    job = Job(
        job_id=job_id,
        kind="tap",
        phase=phase,
        creation_time=NOW - timedelta(seconds=age_s),
        destruction=NOW + timedelta(days=7),
    )
    return replace(job, **more)


class TableStoreContract:
    """What any TableStore does. Backends give ``overflow_sql``, a statement whose arithmetic
    leaves the range of its type."""

    overflow_sql: str

    @pytest.fixture
    def single(self, database_url: str) -> Iterator[MetadataStores]:
        """Stores with at most two connections, so that a leaked one is noticed."""
        opened = open_stores(database_url, pool_size=1)
        yield opened
        opened.close()

    @pytest.fixture
    def ask(self, stores: MetadataStores) -> Callable[..., list[pa.RecordBatch]]:
        """Run a statement and collect its batches."""

        def run(sql: str, fields: Sequence[Field], **binds: Value) -> list[pa.RecordBatch]:
            return list(stores.tables.stream(query(stores, sql, fields, **binds)))

        return run

    def test_columns_have_the_types_of_their_fields(
        self, ask: Callable[..., list[pa.RecordBatch]]
    ) -> None:
        fields = [field("n", "integer"), field("x", "real"), field("t", "text")]
        sql = "SELECT 3 AS n, 1 AS x, 'a' AS t UNION ALL SELECT NULL, NULL, NULL ORDER BY 1 DESC"
        (batch,) = ask(sql, fields)
        assert batch.schema.types == [pa.int64(), pa.float64(), pa.string()]
        assert sorted(batch.to_pylist(), key=str) == sorted(
            [{"n": 3, "x": 1.0, "t": "a"}, {"n": None, "x": None, "t": None}], key=str
        )

    def test_values_are_converted_to_the_kind_of_the_field(
        self, ask: Callable[..., list[pa.RecordBatch]]
    ) -> None:
        fields = [field("flag", "boolean"), field("total", "integer"), field("text", "text")]
        sql = COUNTING + "SELECT 1 = 1 AS flag, sum(n) AS total, max(n) AS text FROM c"
        (batch,) = ask(sql, fields, last=10)
        assert batch.to_pylist() == [{"flag": True, "total": 55, "text": "10"}]

    def test_floats_come_back_bit_for_bit(
        self, stores: MetadataStores, ask: Callable[..., list[pa.RecordBatch]]
    ) -> None:
        value = 0.1 + 0.2
        stores.datasets.upsert([dataset(1, t_exptime=value)])
        (batch,) = ask("SELECT t_exptime FROM obscore", [field("t_exptime", "real")])
        assert batch.to_pylist() == [{"t_exptime": value}]

    def test_an_empty_answer_is_one_empty_batch_with_its_columns(
        self, ask: Callable[..., list[pa.RecordBatch]]
    ) -> None:
        sql = "SELECT obs_id, s_ra FROM obscore WHERE obs_id = :name"
        (batch,) = ask(sql, [field("obs_id", "text"), field("s_ra", "real")], name="none such")
        assert batch.num_rows == 0
        assert batch.schema.names == ["obs_id", "s_ra"]
        assert batch.schema.types == [pa.string(), pa.float64()]

    def test_batches_are_full_and_in_order(self, stores: MetadataStores) -> None:
        asked = query(stores, COUNTING + "SELECT n FROM c", [field("n", "integer")], last=250)
        batches = list(stores.tables.stream(asked, batch_rows=100))
        assert [batch.num_rows for batch in batches] == [100, 100, 50]
        assert [n for batch in batches for n in batch.column(0).to_pylist()] == list(range(1, 251))

    def test_binds_are_values_whatever_they_hold(
        self, ask: Callable[..., list[pa.RecordBatch]]
    ) -> None:
        text = "it's 100% :name \\ ; DROP TABLE obscore --"
        (batch,) = ask("SELECT CAST(:value AS text) AS v", [field("v", "text")], value=text)
        assert batch.to_pylist() == [{"v": text}]

    def test_text_sorts_and_compares_by_code_point(
        self, stores: MetadataStores, ask: Callable[..., list[pa.RecordBatch]]
    ) -> None:
        names = ["a", "B", "_", "Z", "é", "10", "9", "a b", "A-b", "ab"]
        rows = [dataset(n, target_name=name) for n, name in enumerate(names)]
        stores.datasets.upsert(rows)
        fields = [field("target_name", "text")]
        (batch,) = ask("SELECT target_name FROM obscore ORDER BY target_name", fields)
        assert batch.column(0).to_pylist() == sorted(names)
        sql = "SELECT min(target_name) AS target_name FROM obscore WHERE target_name > :than"
        assert ask(sql, fields, than="Z")[0].column(0).to_pylist() == ["_"]

    def test_a_query_cannot_write(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(1)])
        sql = "DELETE FROM obscore RETURNING obs_id"
        with pytest.raises(ServiceError):
            list(stores.tables.stream(query(stores, sql, [field("obs_id", "text")])))
        assert len(stores.datasets.get_many([dataset(1).dataset_id])) == 1

    def test_a_long_query_is_stopped(self, single: MetadataStores) -> None:
        sql = COUNTING + "SELECT count(*) AS n FROM c"
        endless = query(single, sql, [field("n", "integer")], last=10**15)
        for _ in range(3):
            with pytest.raises(TimeLimitError) as caught:
                list(single.tables.stream(endless, time_limit_s=0.2))
            assert caught.value.args == ("The query", 0.2)
        short = query(single, sql, [field("n", "integer")], last=10)
        (batch,) = single.tables.stream(short, time_limit_s=30)
        assert batch.to_pylist() == [{"n": 10}]

    def test_the_time_limit_covers_later_batches_too(self, single: MetadataStores) -> None:
        asked = query(single, COUNTING + "SELECT n FROM c", [field("n", "integer")], last=10**15)
        stream = single.tables.stream(asked, batch_rows=100, time_limit_s=0.5)
        with pytest.raises(TimeLimitError):
            for _ in stream:
                pass

    def test_closing_early_gives_the_connection_back(self, single: MetadataStores) -> None:
        asked = query(single, COUNTING + "SELECT n FROM c", [field("n", "integer")], last=10**15)
        for _ in range(5):
            stream = single.tables.stream(asked, batch_rows=10)
            assert next(stream).num_rows == 10
            stream.close()
        assert "Checked out connections: 0" in single.reader.pool.status()
        single.datasets.upsert([dataset(1)])

    def test_a_stream_may_move_between_threads(self, stores: MetadataStores) -> None:
        asked = query(stores, COUNTING + "SELECT n FROM c", [field("n", "integer")], last=30)
        stream = stores.tables.stream(asked, batch_rows=10)
        found: list[int] = []
        for _ in range(3):
            worker = threading.Thread(
                target=lambda: found.extend(next(stream).column(0).to_pylist())
            )
            worker.start()
            worker.join()
        assert found == list(range(1, 31))

    def test_an_open_stream_does_not_hold_up_writers(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(n) for n in range(20)])
        asked = query(stores, "SELECT obs_id FROM obscore", [field("obs_id", "text")])
        stream = stores.tables.stream(asked, batch_rows=5)
        next(stream)
        assert stores.datasets.upsert([dataset(99)]).inserted == 1
        assert sum(batch.num_rows for batch in stream) == 15

    def test_a_statement_is_stopped_from_another_thread(self, single: MetadataStores) -> None:
        endless = query(
            single, COUNTING + "SELECT count(*) AS n FROM c", [field("n", "integer")], last=10**15
        )
        for delay_s in (0.0, 0.01, 0.3):
            control = StatementControl()
            canceller = threading.Timer(delay_s, control.cancel)
            canceller.start()
            with pytest.raises(StoppedError):
                list(single.tables.stream(endless, time_limit_s=60, control=control))
            canceller.join()
        assert "Checked out connections: 0" in single.reader.pool.status()
        single.tables.ping()

    def test_a_stream_is_stopped_between_batches(self, single: MetadataStores) -> None:
        asked = query(single, COUNTING + "SELECT n FROM c", [field("n", "integer")], last=10**15)
        control = StatementControl()
        stream = single.tables.stream(asked, batch_rows=10, control=control)
        next(stream)
        control.cancel()
        with pytest.raises(StoppedError):
            for _ in stream:
                pass
        single.tables.ping()

    def test_stopping_before_the_start_and_after_the_end(self, single: MetadataStores) -> None:
        asked = query(single, "SELECT 1 AS n", [field("n", "integer")])
        control = StatementControl()
        assert len(list(single.tables.stream(asked, control=control))) == 1
        control.cancel()
        with pytest.raises(StoppedError):
            list(single.tables.stream(asked, control=control))
        assert len(list(single.tables.stream(asked))) == 1

    def test_data_that_break_a_query_are_the_users_fault(self, stores: MetadataStores) -> None:
        with pytest.raises(UsageError, match="The data made the query fail"):
            list(stores.tables.stream(query(stores, self.overflow_sql, [field("n", "integer")])))

    def test_ping(self, stores: MetadataStores) -> None:
        stores.tables.ping()


def query(
    stores: MetadataStores, sql: str, fields: Sequence[Field], **binds: Value
) -> CompiledQuery:
    """A compiled query written by hand."""
    return CompiledQuery(
        sql=sql, binds=binds, fields=tuple(fields), maxrec=10**6, target=stores.tables.target
    )


class DatasetStoreContract:
    """What the DatasetStore does. Backends give ``around``: identifiers of the rows that the
    spatial index offers for a position."""

    def around(self, stores: MetadataStores, lon_deg: float, lat_deg: float) -> set[str]:
        """obs_id of the rows near a position, by the index alone."""
        raise AssertionError("a backend says how")

    def test_rows_come_back_as_they_went_in(self, stores: MetadataStores) -> None:
        row = dataset(1, access_url="/datalink/links?ID=x", s_xel1=2048, obs_title="M 31 – Kern")
        assert stores.datasets.upsert([row]) == UpsertCounts(1, 0, 0)
        assert stores.datasets.get_many([row.dataset_id]) == [row]

    def test_equal_rows_are_left_alone_and_changed_ones_replaced(
        self, stores: MetadataStores
    ) -> None:
        rows = [dataset(n) for n in range(1200)]
        assert stores.datasets.upsert(rows) == UpsertCounts(1200, 0, 0)
        assert stores.datasets.upsert(rows) == UpsertCounts(0, 0, 1200)
        rows[7] = dataset(7, target_name="new")
        rows[1100] = replace(rows[1100], file_mtime_ns=5)
        assert stores.datasets.upsert([*rows, dataset(5000)]) == UpsertCounts(1, 2, 1198)
        found = stores.datasets.get_many([rows[7].dataset_id, rows[1100].dataset_id])
        assert found == [rows[7], rows[1100]]

    def test_a_value_that_became_unknown_is_null_again(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(1, target_name="M 31")])
        stores.datasets.upsert([dataset(1, target_name=None)])
        (row,) = stores.datasets.get_many([dataset(1).dataset_id])
        assert "target_name" not in row.columns

    def test_identifiers_are_compared_without_case(self, stores: MetadataStores) -> None:
        row = dataset(1)
        stores.datasets.upsert([row])
        shouted = dataset(1, obs_publisher_did=row.dataset_id.upper())
        assert stores.datasets.upsert([shouted]) == UpsertCounts(0, 1, 0)
        assert stores.datasets.get_many([row.dataset_id.lower()]) == [shouted]

    def test_of_two_rows_with_one_identifier_the_later_wins(self, stores: MetadataStores) -> None:
        rows = [dataset(1, target_name="first"), dataset(1, target_name="second")]
        assert stores.datasets.upsert(rows) == UpsertCounts(1, 1, 0)
        assert stores.datasets.get_many([rows[0].dataset_id]) == [rows[1]]

    def test_an_identifier_that_no_database_keeps_is_unknown(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(1)])
        asked = ["a\0b", "\ud800", dataset(1).dataset_id]
        assert [row.dataset_id for row in stores.datasets.get_many(asked)] == asked[2:]
        with pytest.raises(JobNotFoundError):
            stores.jobs.get("a\0b")

    def test_get_many_keeps_the_order_asked(self, stores: MetadataStores) -> None:
        rows = [dataset(n) for n in range(600)]
        stores.datasets.upsert(rows)
        ids = [row.dataset_id for row in reversed(rows)]
        found = stores.datasets.get_many([ids[0], "ivo://no/such", *ids[1:], ids[0]])
        assert [row.dataset_id for row in found] == [*ids, ids[0]]
        assert stores.datasets.get_many([]) == []

    @pytest.mark.parametrize(
        ("columns", "words"),
        [
            ({"obs_id": None}, "obs_id must not be null"),
            ({"colour": "red"}, "no column 'colour'"),
            ({"s_ra": "east"}, "s_ra = 'east' is no real"),
            ({"calib_level": "two"}, "calib_level = 'two' is no integer"),
            ({"lsst_visit": 2**63}, "lsst_visit = 9223372036854775808 is no integer"),
            ({"target_name": "caf\udce9"}, "not Unicode text"),
            ({"target_name": "a\0b"}, "not Unicode text"),
            ({"s_region": "CIRCLE ICRS 1 2 3"}, "not a POLYGON"),
            ({"s_region": "POLYGON ICRS 1 2 3"}, "POLYGON"),
        ],
    )
    def test_bad_rows_are_refused_and_nothing_is_written(
        self, stores: MetadataStores, columns: dict[str, Value], words: str
    ) -> None:
        with pytest.raises(UsageError, match=words):
            stores.datasets.upsert([dataset(1), dataset(2, **columns), dataset(3)])
        assert stores.datasets.get_many([dataset(1).dataset_id, dataset(3).dataset_id]) == []

    def test_what_is_not_finite_is_unknown(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(1, s_resolution=float("nan"), em_max=float("inf"))])
        (row,) = stores.datasets.get_many([dataset(1).dataset_id])
        assert "s_resolution" not in row.columns and "em_max" not in row.columns

    def test_rows_without_position_or_region_are_stored(self, stores: MetadataStores) -> None:
        row = replace(dataset(1), columns={**dataset(1).columns, "s_region": None, "s_ra": None})
        stores.datasets.upsert([row])
        assert self.around(stores, 10.1, -19.9) == set()

    def test_the_spatial_index_follows_every_change(self, stores: MetadataStores) -> None:
        stores.datasets.upsert([dataset(0), dataset(50)])
        assert self.around(stores, 10.1, -19.9) == {"image-0000"}
        moved = "POLYGON ICRS 200 60 200.2 60 200.2 60.2 200 60.2"
        stores.datasets.upsert([dataset(0, region=moved)])
        assert self.around(stores, 10.1, -19.9) == set()
        assert self.around(stores, 200.1, 60.1) == {"image-0000"}
        gone = {**dataset(0).columns, "s_region": None}
        stores.datasets.upsert([replace(dataset(0), columns=gone)])
        assert self.around(stores, 200.1, 60.1) == set()

    def test_regions_at_the_pole_and_across_the_meridian_are_indexed(
        self, stores: MetadataStores
    ) -> None:
        pole = "POLYGON ICRS 0 89.5 90 89.5 180 89.5 270 89.5"
        seam = "POLYGON ICRS 359.9 -0.1 0.1 -0.1 0.1 0.1 359.9 0.1"
        stores.datasets.upsert([dataset(1, region=pole), dataset(2, region=seam)])
        assert self.around(stores, 123.0, 89.99) == {"image-0001"}
        assert self.around(stores, 0.0, 90.0) == {"image-0001"}
        assert self.around(stores, 359.95, 0.0) == {"image-0002"}
        assert self.around(stores, 0.05, 0.0) == {"image-0002"}

    @pytest.mark.parametrize("bend_rad", [0.0, 3e-10, 1e-9, 3e-9, 1e-8, 3e-8, 1e-6])
    def test_outlines_that_hardly_bend_are_indexed(
        self, stores: MetadataStores, bend_rad: float
    ) -> None:
        region = wavy_square(10.0, -20.0, bend_rad)
        stores.datasets.upsert([dataset(n) for n in range(100, 110)])
        stores.datasets.upsert([dataset(1, region=region), dataset(2)])
        assert self.around(stores, 10.05, -19.95) >= {"image-0001"}
        (row,) = stores.datasets.get_many([dataset(1).dataset_id])
        assert row.columns["s_region"] == region

    def test_rows_of_a_file_that_are_no_longer_in_it_go(self, stores: MetadataStores) -> None:
        chips = [replace(dataset(n), file_path="/images/mosaic.fits") for n in range(3)]
        built = replace(product(9, "k"), file_path="/images/mosaic.fits")
        stores.datasets.upsert([*chips, built, dataset(50)])
        keep = [chips[0].dataset_id.upper()]
        gone = stores.datasets.remove_others(
            file_path="/images/mosaic.fits", collection="survey", keep=keep
        )
        assert gone == 2
        ids = [row.dataset_id for row in (*chips, built, dataset(50))]
        left = [row.dataset_id for row in stores.datasets.get_many(ids)]
        assert left == [ids[0], ids[3], ids[4]]
        assert "image-0001" not in self.around(stores, 10.15, -19.9)

    def test_known_files_are_those_that_were_ingested(self, stores: MetadataStores) -> None:
        other = dataset(3, obs_collection="other")
        stores.datasets.upsert([dataset(1), dataset(2), other, product(4, "k")])
        assert stores.datasets.known_files("survey") == {
            row.file_path: (row.file_size, row.file_mtime_ns) for row in (dataset(1), dataset(2))
        }

    def test_concurrent_writers_of_the_same_rows_agree(self, stores: MetadataStores) -> None:
        rows = [dataset(n) for n in range(300)]
        with ThreadPoolExecutor(6) as pool:
            counts = list(pool.map(lambda _: stores.datasets.upsert(rows), range(6)))
        assert sum(c.inserted for c in counts) == 300
        assert sum(c.unchanged for c in counts) == 5 * 300
        assert len(stores.datasets.get_many([row.dataset_id for row in rows])) == 300


class PublishContract:
    """A product, its provenance and the jobs that wait for it change together."""

    def inputs(self, product_id: str) -> list[ProductInput]:
        """One science image and two templates, one of them left out."""
        return [
            ProductInput(product_id=product_id, input_id="ivo://x?b", role="template", weight=0.7),
            ProductInput(
                product_id=product_id, input_id="ivo://x?a", role="template", rejected="no overlap"
            ),
            ProductInput(
                product_id=product_id, input_id="ivo://x?s", role="science", input_checksum="c"
            ),
        ]

    def publish(self, stores: MetadataStores, row: DatasetRow, inputs: list[ProductInput]) -> None:
        """Publish as a build does."""
        numbers = {"n_inputs": len(inputs), "depth_mag": 24.5, "noise": math.nan}
        words = {"kernel": "lanczos3", "missing_patches": None}
        quality = ProductQuality(product_id=row.dataset_id, numbers=numbers, words=words)
        stores.datasets.publish(row, inputs, quality, result_media_type="image/fits", now=NOW)

    def test_the_product_is_found_with_its_inputs(self, stores: MetadataStores) -> None:
        row = product(1, "key-1")
        self.publish(stores, row, self.inputs(row.dataset_id))
        assert stores.datasets.find_by_recipe("key-1") == row
        assert stores.datasets.find_by_recipe("key-2") is None
        found = stores.datasets.inputs_of(row.dataset_id.upper())
        assert [(i.role, i.input_id) for i in found] == [
            ("science", "ivo://x?s"),
            ("template", "ivo://x?a"),
            ("template", "ivo://x?b"),
        ]
        assert sorted(found, key=repr) == sorted(self.inputs(row.dataset_id), key=repr)
        assert stores.datasets.products_of("IVO://x?b") == [found[2]]

    def test_publishing_again_replaces(self, stores: MetadataStores) -> None:
        row = product(1, "key-1")
        self.publish(stores, row, self.inputs(row.dataset_id))
        self.publish(stores, row, self.inputs(row.dataset_id)[:1])
        assert len(stores.datasets.inputs_of(row.dataset_id)) == 1
        quality = execute(
            stores,
            "SELECT obs_publisher_did, n_inputs, depth_mag, noise, kernel, missing_patches "
            "FROM build_quality",
        )
        known = (row.dataset_id, 1, 24.5, None, "lanczos3", None)
        assert [tuple(each) for each in quality] == [known]

    def test_waiting_and_running_jobs_of_the_recipe_are_completed(
        self, stores: MetadataStores
    ) -> None:
        until = NOW + timedelta(seconds=30)
        lease = {"lease_owner": "me", "lease_until": until, "start_time": NOW}
        stores.jobs.add(new_job("runs", phase=Phase.EXECUTING, recipe_key="k", **lease))
        stores.jobs.add(new_job("waits", recipe_key="k"))
        stores.jobs.add(new_job("aborted", phase=Phase.ABORTED, recipe_key="k"))
        stores.jobs.add(new_job("other", recipe_key="another"))
        row = product(1, "k")
        self.publish(stores, row, self.inputs(row.dataset_id))
        for job_id in ("runs", "waits"):
            job = stores.jobs.get(job_id)
            assert job.phase is Phase.COMPLETED
            assert (job.end_time, job.lease_owner, job.lease_until) == (NOW, None, None)
            assert job.results == (
                JobResult(
                    result_id="result",
                    media_type="image/fits",
                    dataset_id=row.dataset_id,
                    size_bytes=row.file_size,
                ),
            )
        assert stores.jobs.get("aborted").phase is Phase.ABORTED
        assert stores.jobs.get("other").phase is Phase.QUEUED
        assert stores.jobs.held_bytes("") == 2 * row.file_size

    def test_a_failed_publication_leaves_nothing_behind(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("waits", recipe_key="k"))
        row = product(1, "k")
        twice = self.inputs(row.dataset_id)[:1] * 2
        with pytest.raises(ServiceError):
            self.publish(stores, row, twice)
        assert stores.datasets.find_by_recipe("k") is None
        assert stores.datasets.inputs_of(row.dataset_id) == []
        assert execute(stores, "SELECT * FROM build_quality") == []
        assert stores.jobs.get("waits").phase is Phase.QUEUED


FULL_JOB = Job(
    job_id="full",
    kind="difference",
    phase=Phase.ERROR,
    owner="ada",
    run_id="my run",
    service_url="https://example.org/skyloom",
    parameters=(("ID", "ivo://x?a"), ("ID", "ivo://x?b"), ("band", "i")),
    upload_bytes=7,
    creation_time=NOW,
    start_time=NOW + timedelta(microseconds=1),
    end_time=NOW + timedelta(seconds=3),
    quote=NOW + timedelta(seconds=5),
    execution_duration_s=600,
    destruction=NOW + timedelta(days=7),
    results=(JobResult(result_id="result", media_type="text/csv", path="results/x", size_bytes=1),),
    error=JobError(message="too few stamps", transient=False, fault="KernelFitError"),
    recipe_key="abc",
    progress={"stage": "warp", "done": 3, "total": 10},
    attempts=2,
    lease_owner="host:1",
    lease_until=NOW + timedelta(seconds=30),
)

CLAIMER = """
import json, sys
from datetime import UTC, datetime
from app.stores.metadata import open_stores
stores = open_stores(sys.argv[1])
mine = []
while True:
    job = stores.jobs.claim(
        kinds=["tap"], owner=sys.argv[2], now=datetime.now(UTC), lease_s=60, max_attempts=3
    )
    if job is None:
        break
    assert stores.jobs.renew(job.job_id, sys.argv[2], job.lease_until, {"stage": "x"})
    mine.append(job.job_id)
print(json.dumps(mine))
"""


class JobStoreContract:
    """What the JobStore does."""

    def claim(
        self,
        stores: MetadataStores,
        *,
        owner: str = "me",
        now: datetime = NOW,
        kinds: Sequence[JobKind] = ("tap", "template", "difference"),
        max_attempts: int = 3,
    ) -> Job | None:
        """Claim with a lease of 30 s."""
        return stores.jobs.claim(
            kinds=kinds, owner=owner, now=now, lease_s=30.0, max_attempts=max_attempts
        )

    def test_a_job_comes_back_as_it_went_in(self, stores: MetadataStores) -> None:
        stores.jobs.add(FULL_JOB)
        stores.jobs.add(new_job("plain"))
        assert stores.jobs.get("full") == FULL_JOB
        assert stores.jobs.get("plain") == new_job("plain")

    def test_an_account_holds_what_its_jobs_do(self, stores: MetadataStores) -> None:
        allowance = Allowance(storage_bytes=30)
        stores.jobs.add(replace(FULL_JOB, account="ada", upload_bytes=9), allowance)
        stores.jobs.add(new_job("other", account="grace"))
        assert stores.jobs.held_bytes("ada") == 10
        assert stores.jobs.held_bytes("grace") == 0
        for size, refused in ((20, False), (21, True)):
            job = new_job(f"brings {size}", account="ada", upload_bytes=size)
            if refused:
                with pytest.raises(StorageQuotaError) as told:
                    stores.jobs.add(job, allowance)
                assert told.value.args == (30, 7 * 86400)
            else:
                stores.jobs.add(job, allowance)
                stores.jobs.delete(job.job_id)
        stores.jobs.delete("full")
        stores.jobs.require_room("ada", allowance, 30, NOW)
        with pytest.raises(StorageQuotaError):
            stores.jobs.require_room("ada", allowance, 31, NOW)

    def test_unknown_jobs(self, stores: MetadataStores) -> None:
        with pytest.raises(JobNotFoundError):
            stores.jobs.get("nobody")
        with pytest.raises(JobNotFoundError):
            stores.jobs.delete("nobody")

    def test_delete(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("a"))
        stores.jobs.delete("a")
        with pytest.raises(JobNotFoundError):
            stores.jobs.get("a")

    def test_lists_are_newest_first_and_filtered(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("old", age_s=100))
        stores.jobs.add(new_job("new", age_s=1, phase=Phase.PENDING, owner="ada"))
        stores.jobs.add(new_job("middle", age_s=50, phase=Phase.COMPLETED))
        stores.jobs.add(new_job("archived", age_s=10, phase=Phase.ARCHIVED))
        stores.jobs.add(new_job("build", kind="template"))

        def ids(**filters: Any) -> list[str]:
            return [job.job_id for job in stores.jobs.list_jobs(kinds=["tap"], **filters)]

        assert ids() == ["new", "middle", "old"]
        assert ids(last=2) == ["new", "middle"]
        assert ids(after=NOW - timedelta(seconds=50)) == ["new"]
        assert ids(phases=[Phase.QUEUED, Phase.COMPLETED]) == ["middle", "old"]
        assert ids(phases=[Phase.ARCHIVED]) == ["archived"]
        assert ids(owners=["ada"]) == ["new"]

    def test_replace_compares_the_phase(self, stores: MetadataStores) -> None:
        job = new_job("a", phase=Phase.PENDING)
        stores.jobs.add(job)
        queued = step(job, "run", NOW)
        assert stores.jobs.replace(queued, old_phase=Phase.PENDING)
        assert not stores.jobs.replace(step(job, "abort", NOW), old_phase=Phase.PENDING)
        assert stores.jobs.get("a") == queued

    def test_replace_may_compare_the_lease(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("a"))
        job = self.claim(stores)
        assert job is not None
        done = step(job, "complete", NOW)
        assert not stores.jobs.replace(done, old_phase=Phase.EXECUTING, lease_owner="other")
        assert stores.jobs.replace(done, old_phase=Phase.EXECUTING, lease_owner="me")

    def test_claim_takes_the_oldest_of_the_kinds(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("young", age_s=1))
        stores.jobs.add(new_job("old", age_s=9))
        stores.jobs.add(new_job("oldest", age_s=99, kind="template"))
        stores.jobs.add(new_job("pending", age_s=999, phase=Phase.PENDING))
        job = self.claim(stores, kinds=["tap"])
        assert job is not None and job == stores.jobs.get("old")
        assert (job.phase, job.attempts, job.start_time) == (Phase.EXECUTING, 1, NOW)
        assert (job.lease_owner, job.lease_until) == ("me", NOW + timedelta(seconds=30))
        assert getattr(self.claim(stores, kinds=["tap"]), "job_id", None) == "young"
        assert self.claim(stores, kinds=["tap"]) is None

    def queue(self, stores: MetadataStores, account: str, count: int, **more: Any) -> None:
        """Have somebody queue jobs one after the other."""
        for number in range(count):
            job = new_job(f"{account}-{number}", phase=Phase.PENDING, account=account, **more)
            stores.jobs.add(job)
            assert stores.jobs.replace(step(job, "run", NOW), old_phase=Phase.PENDING)

    def claimed(self, stores: MetadataStores, count: int) -> list[str | None]:
        """Names of the next jobs."""
        return [getattr(self.claim(stores), "job_id", None) for _ in range(count)]

    def test_many_jobs_of_one_do_not_hold_back_the_one_of_another(
        self, stores: MetadataStores
    ) -> None:
        self.queue(stores, "greedy", 200, age_s=100)
        assert self.claimed(stores, 3) == ["greedy-0", "greedy-1", "greedy-2"]
        self.queue(stores, "other", 1)
        assert stores.jobs.queued_before(stores.jobs.get("other-0")) == 1
        assert self.claimed(stores, 3) == ["greedy-3", "other-0", "greedy-4"]

    def test_two_with_many_jobs_take_turns_whoever_came_first(self, stores: MetadataStores) -> None:
        self.queue(stores, "early", 6, age_s=100)
        self.queue(stores, "late", 6)
        names = [str(name).partition("-")[0] for name in self.claimed(stores, 12)]
        assert names == ["early", "late"] * 6

    def test_a_lost_job_is_run_before_those_that_wait(self, stores: MetadataStores) -> None:
        self.queue(stores, "a", 2)
        assert self.claimed(stores, 1) == ["a-0"]
        later = NOW + timedelta(seconds=31)
        assert getattr(self.claim(stores, now=later), "job_id", None) == "a-0"

    def test_a_lease_that_ran_out_is_claimed_by_another(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("a"))
        assert self.claim(stores, owner="first") is not None
        assert self.claim(stores, owner="second", now=NOW + timedelta(seconds=29)) is None
        later = NOW + timedelta(seconds=31)
        job = self.claim(stores, owner="second", now=later)
        assert job is not None and (job.attempts, job.lease_owner) == (2, "second")
        assert not stores.jobs.renew("a", "first", later)
        assert stores.jobs.renew("a", "second", later + timedelta(seconds=30))

    def test_renew_notes_progress_and_sees_an_abort(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("a"))
        job = self.claim(stores)
        assert job is not None
        until = NOW + timedelta(seconds=60)
        assert stores.jobs.renew("a", "me", until, {"stage": "warp", "done": 1, "total": 4})
        renewed = stores.jobs.get("a")
        assert renewed.lease_until == until
        assert renewed.progress == {"stage": "warp", "done": 1, "total": 4}
        stores.jobs.replace(step(renewed, "abort", NOW), old_phase=Phase.EXECUTING)
        assert not stores.jobs.renew("a", "me", until)

    def test_a_job_that_kills_its_workers_is_given_up(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("poison"))
        now = NOW
        for _ in range(3):
            assert self.claim(stores, now=now) is not None
            now += timedelta(seconds=31)
        assert self.claim(stores, now=now) is None
        job = stores.jobs.get("poison")
        assert job.phase is Phase.ERROR and job.end_time == now
        assert job.error is not None and "tried 3 times" in job.error.message

    def test_a_recipe_executes_once_at_a_time(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("first", age_s=5, recipe_key="k"))
        stores.jobs.add(new_job("second", age_s=4, recipe_key="k"))
        stores.jobs.add(new_job("third", age_s=3, recipe_key="other"))
        claimed = [self.claim(stores), self.claim(stores), self.claim(stores)]
        assert [job.job_id if job else None for job in claimed] == ["first", "third", None]
        second = stores.jobs.get("second")
        assert not stores.jobs.replace(step(second, "start", NOW), old_phase=Phase.QUEUED)

    def test_expired_jobs(self, stores: MetadataStores) -> None:
        stores.jobs.add(new_job("past", destruction=NOW))
        stores.jobs.add(new_job("long past", destruction=NOW - timedelta(days=1)))
        stores.jobs.add(new_job("future", destruction=NOW + timedelta(microseconds=1)))
        assert [job.job_id for job in stores.jobs.expired(NOW)] == ["long past", "past"]

    def test_of_many_threads_one_gets_each_job(self, stores: MetadataStores) -> None:
        for number in range(30):
            stores.jobs.add(new_job(f"job-{number}", age_s=number))

        def work(owner: int) -> list[str]:
            taken = []
            while (job := self.claim(stores, owner=str(owner))) is not None:
                taken.append(job.job_id)
            return taken

        with ThreadPoolExecutor(8) as pool:
            taken = [job_id for ids in pool.map(work, range(8)) for job_id in ids]
        assert sorted(taken) == sorted(f"job-{number}" for number in range(30))

    def test_of_many_threads_one_starts_a_recipe(self, stores: MetadataStores) -> None:
        for number in range(8):
            stores.jobs.add(new_job(f"job-{number}", recipe_key="same"))
        barrier = threading.Barrier(8)

        def work(owner: int) -> Job | None:
            barrier.wait()
            return self.claim(stores, owner=str(owner))

        with ThreadPoolExecutor(8) as pool:
            claimed = [job for job in pool.map(work, range(8)) if job is not None]
        assert len(claimed) == 1

    def test_of_several_processes_one_gets_each_job(
        self, stores: MetadataStores, database_url: str
    ) -> None:
        for number in range(60):
            stores.jobs.add(new_job(f"job-{number}", age_s=number))
        command = [sys.executable, "-c", CLAIMER, database_url]
        workers = [
            subprocess.Popen([*command, f"worker-{n}"], cwd=ROOT, stdout=subprocess.PIPE)
            for n in range(3)
        ]
        taken = [job for worker in workers for job in json.loads(worker.communicate()[0])]
        assert [worker.returncode for worker in workers] == [0, 0, 0]
        assert sorted(taken) == sorted(f"job-{number}" for number in range(60))


def unreachable(url: str) -> None:
    """Every store says that the database is unavailable, and nothing else."""
    stores = open_stores(url)
    calls: list[Callable[[], object]] = [
        stores.tables.ping,
        lambda: list(stores.tables.stream(query(stores, "SELECT 1 AS n", [field("n", "integer")]))),
        lambda: stores.datasets.get_many(["x"]),
        lambda: stores.datasets.upsert([dataset(1)]),
        lambda: stores.jobs.get("x"),
        lambda: stores.jobs.add(new_job("x")),
    ]
    for call in calls:
        with pytest.raises(StoreUnavailableError):
            call()
    stores.close()


def execute(stores: MetadataStores, sql: str, **binds: Value) -> list[sa.Row[Any]]:
    """Rows of a statement written by hand."""
    with stores.engine.connect() as connection:
        return list(connection.execute(sa.text(sql), binds))
