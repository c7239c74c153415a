"""ObsCore rows of other services: checked, imported, found, linked; on both engines."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from astropy.table import Table

from app.adql.compile import compile_query
from app.errors import RecipeError, ServiceError
from app.recipes.recipe import ImageRef
from app.services import builds_candidates
from app.services.builds_candidates import CandidateFinder
from app.services.doctor.service import doctor
from app.services.external.service import RowImportService, RowReport
from app.services.links import LinkService
from app.services.publishing.source import FileError
from app.services.signatures import FileSigner
from app.sky.shapes import Circle
from app.sky.stcs import parse_region
from app.stores.health import regions_without_index
from app.stores.kept_files import KeptFiles
from app.stores.metadata import MetadataStores
from app.stores.tables.dataset_rows import UpsertCounts
from app.stores.tables.external_rows import ExternalRowStore
from app.stores.tables.published import PublishedStore
from tests.stores.contract import ROOT, dataset, execute

Row = dict[str, Any]


def row(number: int, **more: Any) -> Row:
    """A row that another service might export."""
    lon = 40.0 + number % 300
    return {
        "obs_publisher_did": f"ivo://other.org/obs?{number}",
        "obs_collection": "other",
        "obs_id": f"obs-{number}",
        "calib_level": 2,
        "dataproduct_type": "image",
        "access_url": f"https://other.org/get/{number}.fits?a=1&b=2",
        "access_format": "application/fits",
        "access_estsize": 1234,
        "s_region": f"Polygon ICRS {lon} 10 {lon + 0.5} 10 {lon + 0.5} 11 {lon} 11",
        "t_min": 59000.0 + number,
        "t_max": 59000.1 + number,
        "em_min": 5e-7,
        "em_max": 6e-7,
        "lsst_band": "r",
    } | more


def write(path: Path, rows: Sequence[Row]) -> Path:
    names = {name: None for each in rows for name in each}
    pq.write_table(pa.Table.from_pylist([names | each for each in rows]), path)
    return path


@pytest.fixture
def service(stores: MetadataStores) -> RowImportService:
    return RowImportService(
        rows=ExternalRowStore(engine=stores.engine), loaders=PublishedStore(engine=stores.engine)
    )


def run(service: RowImportService, path: Path) -> RowReport:
    return service.run(path, progress=lambda done, total: None)


def ask(stores: MetadataStores, text: str) -> list[Row]:
    query = compile_query(
        text,
        catalog=stores.catalogs.current(),
        target=stores.tables.target,
        maxrec=10_000,
        prefixes={"service_url": "https://here.org"},
    )
    return [found for batch in stores.tables.stream(query) for found in batch.to_pylist()]


def faults(report: RowReport) -> list[tuple[int, str]]:
    return [(fault.row, fault.column) for fault in report.faults]


def test_rows_are_found_with_their_own_addresses(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    stores.datasets.upsert([dataset(1, access_url="/datalink/links?ID=x")])
    report = run(service, write(tmp_path / "x.parquet", [row(n) for n in range(200)]))
    assert (report.inserted, report.exit_status) == (200, 0)
    found = ask(
        stores,
        "SELECT obs_id, access_url, s_region FROM ivoa.ObsCore "
        "WHERE CONTAINS(POINT(47.2, 10.5), s_region) = 1",
    )
    assert found == [
        {
            "obs_id": "obs-7",
            "access_url": "https://other.org/get/7.fits?a=1&b=2",
            "s_region": "POLYGON ICRS 47.0 10 47.5 10 47.5 11 47.0 11",
        }
    ]
    (own,) = ask(stores, "SELECT access_url FROM ivoa.ObsCore WHERE obs_collection = 'survey'")
    assert own["access_url"] == "https://here.org/datalink/links?ID=x"
    cone = "SELECT obs_id FROM ivoa.ObsCore WHERE DISTANCE(POINT(s_ra, s_dec), POINT(50.25, 10.5)) "
    assert [r["obs_id"] for r in ask(stores, cone + "< 0.01")] == ["obs-10"]
    assert regions_without_index(stores.engine) == 0


def test_again_changes_nothing_and_changes_are_taken_over(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    rows = [row(n) for n in range(100)]
    run(service, write(tmp_path / "x.parquet", rows))
    again = run(service, write(tmp_path / "x.parquet", rows))
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 100)
    rows[5] |= {"obs_id": "new name", "obs_publisher_did": "IVO://other.org/obs?5"}
    rows[6] |= {"s_region": "CIRCLE ICRS 200 -60 0.5"}
    mixed = run(service, write(tmp_path / "x.parquet", [*rows, row(100)]))
    assert (mixed.inserted, mixed.updated, mixed.unchanged) == (1, 2, 98)
    assert len(ask(stores, "SELECT obs_id FROM ivoa.ObsCore")) == 101
    inside = "SELECT obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT(200, -59.51), s_region) = 1"
    assert [r["obs_id"] for r in ask(stores, inside)] == ["obs-6"]
    gone = "SELECT obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT(46.2, 10.5), s_region) = 1"
    assert ask(stores, gone) == []
    assert regions_without_index(stores.engine) == 0


WRONG: dict[str, tuple[Row, str, str]] = {
    "no identifier": ({"obs_publisher_did": None}, "obs_publisher_did", "empty"),
    "blank": ({"obs_id": " "}, "obs_id", "empty"),
    "level": ({"calib_level": 7}, "calib_level", "0, 1, 2, 3 or 4"),
    "longitude": ({"s_ra": 361.0}, "s_ra", "0 to 360"),
    "latitude": ({"s_dec": -90.5}, "s_dec", "-90 to 90"),
    "times": ({"t_min": 59000.5, "t_max": 59000.1}, "t_min", "t_max"),
    "julian": ({"t_min": None, "t_max": 2459000.5}, "t_max", "Modified Julian Date"),
    "wavelengths": ({"em_min": 7e-7}, "em_min", "em_max"),
    "region": ({"s_region": "POLYGON ICRS 1 2 3"}, "s_region", "pairs"),
    "crossing": ({"s_region": "POLYGON ICRS 0 0 1 1 1 0 0 1"}, "s_region", "cross"),
    "frame": ({"s_region": "POLYGON GALACTIC 0 0 1 1 1 0"}, "s_region", "GALACTIC"),
    "path": ({"access_url": "/get/7"}, "access_url", "absolute"),
    "date": ({"obs_release_date": "yesterday"}, "obs_release_date", "ISO 8601"),
    "size": ({"access_estsize": -1}, "access_estsize", "not negative"),
}


def test_bad_rows_are_listed_and_the_others_imported(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    stores.datasets.upsert([dataset(1)])
    rows = [row(0)]
    for changes, _, _ in WRONG.values():
        rows += [row(len(rows)) | changes, row(len(rows) + 1)]
    rows += [row(0), row(900, obs_publisher_did=dataset(1).dataset_id.upper())]
    report = run(service, write(tmp_path / "x.parquet", rows))
    assert report.exit_status == 1
    assert report.inserted == 1 + len(WRONG)
    wanted = [(2 * k + 2, column) for k, (_, column, _) in enumerate(WRONG.values())]
    assert faults(report) == [
        *wanted,
        (len(rows) - 1, "obs_publisher_did"),
        (len(rows), "obs_publisher_did"),
    ]
    for fault, (_, _, words) in zip(report.faults, WRONG.values(), strict=False):
        assert words in fault.reason
    assert "before" in report.faults[-2].reason and "this service" in report.faults[-1].reason
    assert stores.datasets.get(dataset(1).dataset_id) == dataset(1)


def test_columns_are_matched_in_any_case_and_units_converted(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    table = Table(
        {
            "OBS_PUBLISHER_DID": ["ivo://o.org/a"],
            "Obs_Collection": ["c"],
            "obs_id": ["1"],
            "Calib_Level": ["2"],
            "em_min": [500.0],
            "access_estsize": [1_500_500],
            "s_region": ["10 10 11 10 11 11"],
            "s_pixel_scale": [0.5],
            "preview": ["x"],
        }
    )
    table["em_min"].unit, table["access_estsize"].unit = "nm", "byte"
    for name in ("t.fits", "t.ecsv", "t.vot"):
        path = tmp_path / name
        table.write(path, **({"format": "votable"} if name.endswith("vot") else {}))
        report = run(service, path)
        assert report.faults == []
        assert any("preview" in note for note in report.notes)
    (found,) = ask(stores, "SELECT * FROM ivoa.ObsCore")
    assert found["em_min"] == pytest.approx(5e-7)
    assert (found["calib_level"], found["access_estsize"]) == (2, 1501)
    assert found["s_ra"] == pytest.approx(10.67, abs=0.01)
    assert 1.0 < found["s_fov"] < 2.0
    assert found["s_region"] == "POLYGON ICRS 10 10 11 10 11 11"


def test_text_tables_say_which_value_is_no_number(
    service: RowImportService, tmp_path: Path
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(
        "obs_publisher_did,obs_collection,obs_id,calib_level,s_ra\n"
        "ivo://o.org/1,c,1,2,10.5\nivo://o.org/2,c,2,two,11\nivo://o.org/3,c,3,2,12h\n"
    )
    report = run(service, path)
    assert faults(report) == [(2, "calib_level"), (3, "s_ra")]
    assert report.faults[1].value == "12h"
    assert report.inserted == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("obs_id,calib_level\n1,2\n", "obs_collection, obs_publisher_did"),
        ("obs_id,OBS_ID,obs_publisher_did,obs_collection,calib_level\n1,1,x,c,2\n", "two columns"),
        ("", "empty"),
    ],
)
def test_a_file_that_is_no_obscore(
    service: RowImportService, tmp_path: Path, content: str, words: str
) -> None:
    path = tmp_path / "x.csv"
    path.write_text(content)
    with pytest.raises(FileError, match=words):
        run(service, path)


def test_links_builds_and_doctor_know_that_the_image_is_elsewhere(
    stores: MetadataStores, service: RowImportService, database_url: str, tmp_path: Path
) -> None:
    rows = [row(n, s_region="CIRCLE ICRS 40 10 1") for n in range(3)]
    rows[2]["access_url"] = None
    run(service, write(tmp_path / "x.parquet", rows))
    signer = FileSigner(keys=lambda: [b"k" * 32], clock=lambda: datetime.now(UTC), lifetime_s=60)
    links = LinkService(datasets=stores.datasets, signer=signer)
    table = links.find_links([str(r["obs_publisher_did"]) for r in rows], "https://here.org")
    first, _, third = (link for link in table.links if link.semantics == "#this")
    assert first.access_url == rows[0]["access_url"]
    assert first.content_length == 1_234_000
    assert "no address" in str(third.error_message)
    others = {"#documentation", "#coderived", "#counterpart"}
    assert {link.semantics for link in table.links} - {"#this"} == others
    assert table.descriptors == ()
    finder = CandidateFinder(
        datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
    )
    with pytest.raises(RecipeError, match=r"other\.org/get/0"):
        finder.get(str(rows[0]["obs_publisher_did"]))
    with pytest.raises(RecipeError, match="other services"):
        finder.find(Circle(40.0, 10.0, 0.1), "r")
    assert finder.find(Circle(20.0, 10.0, 0.1), "r") == ()
    findings = {f.subject: f.status for f in doctor(database_url, files=KeptFiles(tmp_path))}
    assert findings["files"] == "ok" and findings["spatial index"] == "ok"


def test_builds_look_at_images_of_this_service_only(
    stores: MetadataStores,
    service: RowImportService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    more: Row = {"lsst_band": "r", "calib_level": 2, "access_url": "/datalink/links?ID=x"}
    image = ImageRef(dataset_id="", planes=(), grid="{}").to_text()
    own = replace(dataset(1, **more), image_ref=image)
    stores.datasets.upsert([own])
    rows = [row(n, s_region=own.columns["s_region"]) for n in range(20)]
    assert run(service, write(tmp_path / "x.parquet", rows)).inserted == 20
    monkeypatch.setattr(builds_candidates, "MAX_CANDIDATES", 5)
    finder = CandidateFinder(
        datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
    )
    found = finder.find(parse_region(str(own.columns["s_region"])), "r")
    assert [candidate.dataset_id for candidate in found] == [own.dataset_id]


def test_polygons_with_edges_that_hardly_bend_are_indexed_too(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    bent = "POLYGON ICRS 10 10 10.0000000001 10.5 10 11 11 11 11 10"
    rows = [row(n) for n in range(200)] + [row(n, s_region=bent) for n in range(200, 203)]
    assert run(service, write(tmp_path / "x.parquet", rows)).inserted == 203
    inside = "SELECT obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT(10.5, 10.5), s_region) = 1"
    assert len(ask(stores, inside)) == 3


def test_the_indexes_are_there_after_a_first_load(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    catalogs = {
        "sqlite": "SELECT name FROM sqlite_schema WHERE type = 'index' AND tbl_name = 'obscore'",
        "postgresql": "SELECT indexname FROM pg_indexes WHERE tablename = 'obscore'",
    }
    query = catalogs[stores.engine.dialect.name]
    before = sorted(str(r[0]) for r in execute(stores, query))
    run(service, write(tmp_path / "x.parquet", [row(n) for n in range(6_000)]))
    assert sorted(str(r[0]) for r in execute(stores, query)) == before


KILLED = """
import os, sys
from pathlib import Path
from app.services.external.service import RowImportService
from app.services.publishing import parquet_files
from app.stores.metadata import open_stores
from app.stores.tables import external_rows
from app.stores.tables.published import PublishedStore
parquet_files.BATCH_ROWS = external_rows.STEP_ROWS = int(sys.argv[3])
stores = open_stores(sys.argv[1])
service = RowImportService(
    rows=external_rows.ExternalRowStore(engine=stores.engine),
    loaders=PublishedStore(engine=stores.engine),
)
calls = []
def progress(done, total):
    calls.append(done)
    if len(calls) == 2:
        os.kill(os.getpid(), 9)
service.run(Path(sys.argv[2]), progress=progress)
"""


@pytest.mark.parametrize(("rows", "batch", "left"), [(50, 20, 40), (12_000, 6_000, 0)])
def test_an_import_that_is_killed_leaves_whole_steps(
    stores: MetadataStores,
    service: RowImportService,
    database_url: str,
    tmp_path: Path,
    rows: int,
    batch: int,
    left: int,
) -> None:
    """Few rows come step by step, many into an empty table at once."""
    path = write(tmp_path / "x.parquet", [row(n) for n in range(rows)])
    command = [sys.executable, "-c", KILLED, database_url, str(path), str(batch)]
    assert subprocess.run(command, cwd=ROOT, check=False).returncode == -9
    assert count(stores) == left
    assert regions_without_index(stores.engine) == 0
    again = run(service, path)
    assert (again.inserted, again.unchanged) == (rows - left, left)
    assert count(stores) == rows
    assert regions_without_index(stores.engine) == 0


def count(stores: MetadataStores) -> int:
    ((rows,),) = execute(stores, "SELECT COUNT(*) FROM obscore")
    return int(rows)


def test_many_rows_into_an_empty_table_and_beside_others(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    rows = [row(n) for n in range(6_000)]
    rows[17] |= {"s_region": None, "s_ra": 12.5, "s_dec": -80.0}
    rows[18] |= {"s_region": None}
    path = write(tmp_path / "x.parquet", rows)
    assert run(service, path).inserted == 6_000
    assert run(service, path).unchanged == 6_000
    more = [row(n) for n in range(6_000, 9_000)]
    changed = [each | {"obs_id": "changed"} for each in rows[:2_000]]
    report = run(service, write(path, [*more, *changed]))
    assert (report.inserted, report.updated) == (3_000, 2_000)
    inside = "SELECT obs_id FROM ivoa.ObsCore WHERE CONTAINS(POINT(47.2, 10.5), s_region) = 1"
    assert len(ask(stores, inside)) == 9_000 // 300
    cone = "SELECT obs_id FROM ivoa.ObsCore WHERE DISTANCE(POINT(s_ra, s_dec), POINT(12.5, -80)) "
    assert [r["obs_id"] for r in ask(stores, cone + "< 0.01")] == ["changed"]
    assert regions_without_index(stores.engine) == 0


def test_a_row_that_comes_meanwhile_stays(
    stores: MetadataStores,
    service: RowImportService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Somebody stores an image of this service while rows for the empty table are gathered."""
    rows = [row(n) for n in range(6_000)]
    rows[5] |= {"obs_publisher_did": dataset(1).dataset_id}
    path = write(tmp_path / "x.parquet", rows)
    monkeypatch.setattr(ExternalRowStore, "_is_empty", lambda _: True)
    stores.datasets.upsert([dataset(1)])
    report = run(service, path)
    assert report.inserted == 5_999
    assert faults(report) == [(6, "obs_publisher_did")]
    assert stores.datasets.get(dataset(1).dataset_id) == dataset(1)
    assert count(stores) == 6_000
    assert regions_without_index(stores.engine) == 0


def test_local_rows_are_never_overwritten(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    own = dataset(3)
    assert stores.datasets.upsert([own]) == UpsertCounts(1, 0, 0)
    path = write(tmp_path / "x.parquet", [row(1, obs_publisher_did=own.dataset_id)])
    report = run(service, path)
    assert (report.inserted, report.refused) == (0, 1)
    assert stores.datasets.get(own.dataset_id) == own


def test_a_broken_file_changes_nothing(
    stores: MetadataStores, service: RowImportService, tmp_path: Path
) -> None:
    path = write(tmp_path / "x.parquet", [row(n) for n in range(1000)])
    content = bytearray(path.read_bytes())
    content[200:2000] = b"\xff" * 1800
    path.write_bytes(content)
    with pytest.raises(ServiceError):
        run(service, path)
    assert ask(stores, "SELECT obs_id FROM ivoa.ObsCore") == []
