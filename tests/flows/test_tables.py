"""An operator publishes tables and rows while the service runs; its users find them at once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import pyvo
from astropy.table import Table
from pyvo.dal.adhoc import DatalinkResults

from tests.flows.service import Service
from tests.waiting import wait_for, web


@pytest.fixture
def running(database_url: str, tmp_path: Path) -> Iterator[Service]:
    """An empty service of its own."""
    environment = {"SKYLOOM_DATABASE_URL": database_url, "COLUMNS": "200"}
    service = Service(data_dir=tmp_path / "data", environment=environment).start()
    yield service
    service.stop()


def test_a_table_is_published_and_taken_back(running: Service, tmp_path: Path) -> None:
    path = tmp_path / "stars.ecsv"
    table = Table({"ra": [10.0, 20.0, 30.0], "dec": [1.0, 2.0, 3.0], "mag": [20.5, 21.5, 22.5]})
    table["ra"].unit = table["dec"].unit = "deg"
    table["mag"].unit = "mag"
    table["mag"].description = "Brightness <in r>"
    table.write(path)
    tap = pyvo.dal.TAPService(f"{running.url}/tap")
    assert "survey.stars" not in tap.tables
    done = running.run("ingest-table", str(path), "--name", "survey.stars")
    assert "3 rows" in done.stdout

    def names() -> list[str]:
        return list(pyvo.dal.TAPService(f"{running.url}/tap").tables.keys())

    wait_for(lambda: "survey.stars" in names())
    cone = "SELECT mag FROM survey.stars WHERE DISTANCE(POINT(ra, dec), POINT(20, 2)) < 0.1"
    found = tap.search(cone)
    assert list(found["mag"]) == [21.5]
    assert found.fielddescs[0].unit == "mag"
    described = tap.search(
        "SELECT column_name, unit, description FROM tap_schema.columns "
        "WHERE table_name = 'survey.stars' ORDER BY column_index"
    )
    assert [str(name) for name in described["column_name"]] == ["ra", "dec", "mag"]
    assert str(described["description"][2]) == "Brightness <in r>"
    (column,) = [c for c in names_of(running) if c.name == "mag"]
    assert str(column.unit) == "mag"
    assert "survey.stars" in web.get(f"{running.url}/query").text
    refused = running.run("ingest-table", str(path), "--name", "survey.stars", check=False)
    assert refused.returncode == 2
    assert "--replace" in refused.stderr and "Traceback" not in refused.stderr
    assert "survey.stars" in running.run("tables").stdout
    running.run("drop-table", "survey.stars")
    wait_for(lambda: "survey.stars" not in names())
    with pytest.raises(pyvo.dal.DALQueryError, match=r"survey\.stars"):
        tap.search(cone)


def names_of(running: Service) -> list[object]:
    """Columns of the published table as /tap/tables gives them."""
    return list(pyvo.dal.TAPService(f"{running.url}/tap").tables["survey.stars"].columns)


def test_rows_of_another_service_are_found_and_linked(running: Service, tmp_path: Path) -> None:
    path, report = tmp_path / "rows.csv", tmp_path / "report.json"
    head = "obs_publisher_did,obs_collection,obs_id,calib_level,s_region,access_url,access_format"
    lines = [
        f"ivo://o.org/{n},far,{n},{n},CIRCLE ICRS {10 * n} 20 1,https://o.org/{n}.fits,image/fits"
        for n in range(1, 7)
    ]
    path.write_text("\n".join([head, *lines]) + "\n")
    done = running.run("ingest", "--rows", str(path), "--report", str(report), check=False)
    assert done.returncode == 1, done.stderr
    assert "0, 1, 2, 3 or 4" in done.stdout
    told = json.loads(report.read_text())
    assert [(fault["row"], fault["column"], fault["value"]) for fault in told["faults"]] == [
        (5, "calib_level", "5"),
        (6, "calib_level", "6"),
    ]
    assert told["counts"]["inserted"] == 4
    tap = pyvo.dal.TAPService(f"{running.url}/tap")
    (found,) = tap.search(
        "SELECT * FROM ivoa.ObsCore WHERE CONTAINS(POINT('ICRS', 30.5, 20), s_region) = 1"
    )
    assert found["access_url"] == "https://o.org/3.fits"
    links = DatalinkResults.from_result_url(
        f"{running.url}/datalink/links?ID={found['obs_publisher_did']}"
    )
    (this,) = links.bysemantics("#this", include_narrower=False)
    assert this.access_url == "https://o.org/3.fits"
    page = web.get(f"{running.url}/images", params={"ID": found["obs_publisher_did"]})
    assert page.status_code == 200
    assert "https://o.org/3.fits" in page.text and "another service" in page.text
    build = web.get(f"{running.url}/builds/difference/sync", params={"ID": "ivo://o.org/2"})
    assert build.status_code == 400 and "another service" in build.text
    assert running.run("doctor").returncode == 0
    wrong = running.run("ingest", "--rows", str(path), "--collection", "x", check=False)
    assert wrong.returncode == 2 and "--rows stands alone" in wrong.stderr
