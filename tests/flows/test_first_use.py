"""Difference images that nobody built yet, found by TAP and got by pyvo."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pyvo
from astropy.io import fits
from pyvo.dal.adhoc import DatalinkResults

from tests.flows.service import Service
from tests.waiting import wait_for, web

STATES = "SELECT obs_publisher_did, build_state FROM ivoa.ObsCore WHERE build_state IS NOT NULL"


def at(target: dict[str, Any], *conditions: str) -> str:
    """Images that contain a place."""
    place = f"POINT('ICRS', {target['ra_deg']}, {target['dec_deg']})"
    return " AND ".join(
        (f"SELECT * FROM ivoa.ObsCore WHERE CONTAINS({place}, s_region) = 1", *conditions)
    )


def this_of(row: Any) -> Any:
    """The link to the file, or to what builds it."""
    links = DatalinkResults.from_result_url(row.getdataurl())
    return next(links.bysemantics("#this", include_narrower=False))


def difference_jobs(service: Service) -> int:
    """How many builds were asked for."""
    return web.get(f"{service.url}/builds/difference/async").text.count("<uws:jobref ")


def test_a_difference_is_found_before_it_is_built(
    service: Service, tap: pyvo.dal.TAPService, truth: dict[str, Any]
) -> None:
    target = truth["transients"][1]
    differences = "dataproduct_subtype = 'lsst.difference_image' AND lsst_band = 'i'"
    exposures = tap.search(at(target, "calib_level = 2", "lsst_band = 'i'"))
    found = tap.search(at(target, differences, "build_state IN ('buildable', 'built')"))
    assert set(found["lsst_visit"]) == set(exposures["lsst_visit"])
    row = next(row for row in found if row["build_state"] == "buildable")
    name, visit = str(row["obs_publisher_did"]), row["lsst_visit"]
    for column in ("s_ra", "s_region", "t_min", "t_exptime", "em_min", "access_estsize", "obs_id"):
        assert not np.ma.is_masked(row[column]), column

    this = this_of(row)
    assert "built on first use" in this.description
    first = web.get(this.access_url, timeout=300, follow_redirects=True)
    while first.status_code == 503:  # a busy machine: asked again, as the answer says
        first = web.get(this.access_url, timeout=300, follow_redirects=True)
    assert first.status_code == 200, first.text
    with fits.open(io.BytesIO(first.content)) as hdus:
        assert [h.name for h in hdus[1:4]] == ["IMAGE", "MASK", "VARIANCE"]
        size_kb = len(first.content) / 1000
        assert 0.3 < row["access_estsize"] / size_kb < 3

    jobs = difference_jobs(service)
    after = tap.search(at(target, differences, f"lsst_visit = {visit}", "build_state = 'built'"))
    assert [str(each["obs_publisher_did"]) for each in after] != [name]
    again = web.get(this.access_url, timeout=300, follow_redirects=True)
    assert again.content == first.content
    assert web.get(this_of(after[0]).access_url).content == first.content
    assert difference_jobs(service) == jobs
    left = tap.search(at(target, differences, f"lsst_visit = {visit}", "build_state = 'buildable'"))
    assert len(left) == 0


def test_the_page_of_a_difference_leads_to_its_job(
    service: Service, tap: pyvo.dal.TAPService
) -> None:
    (row,) = tap.search(
        "SELECT TOP 1 * FROM ivoa.ObsCore WHERE build_state = 'buildable' AND lsst_band = 'g'"
    )
    page = web.get(f"{service.url}/images", params={"ID": row["obs_publisher_did"]}).text
    assert "Not built yet" in page and 'action="/jobs/difference"' in page
    head = web.head(f"{service.url}/differences", params={"ID": row["obs_publisher_did"]})
    assert head.status_code == 200 and head.headers["x-skyloom-build-state"] == "buildable"


@pytest.fixture
def own(demo_dir: Path, tmp_path: Path) -> Iterator[Service]:
    """A service over copies of some of the demo's images."""
    images = tmp_path / "images"
    for path in sorted((demo_dir / "survey" / "images").glob("**/*-2-g.fits"))[:6]:
        images.mkdir(exist_ok=True)
        (images / path.name).write_bytes(path.read_bytes())
    service = Service(data_dir=tmp_path / "data")
    service.run("ingest", str(images), "--collection", "own")
    yield service.start()
    service.stop()


def users_of(tap: pyvo.dal.TAPService, name: str) -> set[str]:
    """The products that an image went into."""
    rows = tap.search(
        "SELECT product_id FROM skyloom.product_input "
        f"WHERE input_id = '{name}' AND rejected IS NULL"
    )
    return set(rows["product_id"])


def test_changed_and_withdrawn_inputs_make_products_stale(own: Service, tmp_path: Path) -> None:
    tap = pyvo.dal.TAPService(f"{own.url}/tap")

    def having(state: str) -> set[str]:
        rows = tap.search(STATES)
        return {str(r["obs_publisher_did"]) for r in rows if r["build_state"] == state}

    promised = having("buildable")
    assert len(promised) >= 4 and having("built") == having("stale") == set()
    own.run("build", "differences", "--band", "g", check=False)
    products, failed = having("built"), having("buildable")  # cameras turn: some overlap little
    assert len(products) >= 3 and len(products) + len(failed) == len(promised)

    files = {
        str(row["obs_publisher_did"]): tmp_path / "images" / f"{row['obs_id']}.fits"
        for row in tap.search("SELECT * FROM ivoa.ObsCore WHERE calib_level = 2")
        if users_of(tap, row["obs_publisher_did"])
    }
    (changed, file), (withdrawn, other), *_ = files.items()
    with fits.open(file, mode="update") as hdus:
        hdus[0].header["HISTORY"] = "calibrated again"
    own.run("ingest", str(tmp_path / "images"), "--collection", "own")
    stale = users_of(tap, changed)
    assert having("stale") == stale and having("built") == products - stale
    assert failed < having("buildable") and len(having("buildable")) == len(failed | stale)

    out = own.run("withdraw", str(other)).stdout
    assert f"withdrawn: {withdrawn}" in out
    assert {line for line in out.splitlines() if line.startswith("stale: ")} == {
        f"stale: {name}" for name in users_of(tap, withdrawn)
    }
    assert having("stale") == stale | users_of(tap, withdrawn)
    both = sorted(stale & users_of(tap, withdrawn))[0]
    for path in ("images", "quality"):
        page = web.get(f"{own.url}/{path}", params={"ID": both}).text
        assert f"{changed} was changed" in page and f"{withdrawn} was withdrawn" in page
    wrong = own.run("withdraw", "ivo://no/such?one", check=False)
    assert wrong.returncode == 2 and "ivo://no/such?one" in wrong.stderr

    mixed = own.run("withdraw", str(file), "--collection", "own", check=False)
    assert mixed.returncode == 2 and "--collection" in mixed.stderr
    images = tap.search("SELECT * FROM ivoa.ObsCore WHERE calib_level = 2")
    out = own.run("withdraw", "--collection", "own").stdout
    assert f"withdrawn: {len(images)} images of own" in out
    assert having("stale") and having("built") == having("buildable") == set()


@pytest.fixture
def older(demo_dir: Path, tmp_path: Path) -> Service:
    """The demo as a version left it that listed no differences."""
    with (
        closing(sqlite3.connect(demo_dir / "skyloom.sqlite3")) as source,
        closing(sqlite3.connect(tmp_path / "skyloom.sqlite3")) as copy,
    ):
        source.backup(copy)
        copy.execute("DELETE FROM obscore WHERE origin IN ('virtual', 'built')")
        copy.execute(
            "INSERT INTO changed_place (s_region, lsst_band, thorough) "
            "SELECT s_region, lsst_band, 0 FROM obscore WHERE calib_level = 2"
        )
        copy.commit()
    return Service(data_dir=tmp_path)


def count_promises(service: Service) -> int:
    """Differences that are listed."""
    with closing(sqlite3.connect(service.data_dir / "skyloom.sqlite3", timeout=60)) as database:
        query = "SELECT count(*) FROM obscore WHERE build_state = 'buildable'"
        return int(database.execute(query).fetchone()[0])


def test_init_lists_what_an_older_version_left(older: Service, truth: dict[str, Any]) -> None:
    warned = older.run("doctor", check=False).stdout
    assert "differences that can be built" in warned and "skyloom init" in warned
    assert "listed the differences that can be built" in older.run("init").stdout
    assert count_promises(older) == len(truth["exposures"])
    assert "listed" not in older.run("init").stdout
    assert "differences that can be built" not in older.run("doctor", check=False).stdout


def test_the_service_lists_it_when_it_starts(older: Service, truth: dict[str, Any]) -> None:
    older.start()
    try:
        wait_for(lambda: count_promises(older) == len(truth["exposures"]))
    finally:
        older.stop()
