"""Broken files, missing inputs, a full disk, a killed server: each is told, nothing is lost.

The images are the ten real DECam exposures of one field.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import pyvo
from astropy.io import fits

from tests.flows.service import Service
from tests.jobs import phase_at_end
from tests.machine import SHARED
from tests.waiting import wait_for, web

ROOT = Path(__file__).resolve().parents[2]
DECAM = SHARED / "realdata" / "decam_i_2016_2018"
PROFILE = ROOT / "tests" / "profiles" / "decam_i_2016_2018.toml"
POSITION = "CIRCLE 318.10824 -66.01572 0.001"
SKY_MAP = {
    "SKYLOOM_SKYMAP_PATCH_PX": "600",
    "SKYLOOM_SKYMAP_PIXEL_SCALE_ARCSEC": "0.262",
    "SKYLOOM_SKYMAP_RINGS": "480",
}

pytestmark = pytest.mark.needs("shared")


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which ``now`` was ingested, then renamed ``kept``: the ten exposures, one more in
    a band of its own, and a data folder."""
    folder = tmp_path_factory.mktemp("faults")
    images = folder / "now" / "images"
    images.mkdir(parents=True)
    for path in DECAM.glob("DEC-*.fits"):
        shutil.copy(path, images)
    lonely = images / "DEC-LONELY.mini.fits"
    shutil.copy(DECAM / "DEC-OBS18a.mini.fits", lonely)
    fits.setval(lonely, "FILTER", value="z DECam SDSS c0004 9260.0 1520.0")
    made = Service(data_dir=folder / "now" / "data", environment=SKY_MAP)
    made.run("ingest", str(images), "--collection", "decam", "--profile", str(PROFILE))
    (folder / "now").rename(folder / "kept")
    return folder


@pytest.fixture
def images(ingested: Path) -> Path:
    """A copy of the images that a test may spoil, where they were ingested."""
    now = ingested / "now"
    shutil.rmtree(now, ignore_errors=True)
    shutil.copytree(ingested / "kept", now, dirs_exist_ok=True)
    return now / "images"


@pytest.fixture
def service(images: Path) -> Iterator[Service]:
    """The images, ingested; a test starts the server as it needs it."""
    made = Service(data_dir=images.parent / "data", environment=SKY_MAP)
    yield made
    made.stop()


def identifiers(service: Service, pattern: str) -> list[str]:
    """obs_publisher_did of the images whose obs_id has the pattern."""
    tap = pyvo.dal.TAPService(f"{service.url}/tap")
    rows = tap.search("SELECT obs_publisher_did FROM ivoa.ObsCore WHERE calib_level = 2")
    return sorted(str(i) for i in rows["obs_publisher_did"] if re.search(pattern, str(i), re.I))


def template(service: Service, **parameters: object) -> httpx.Response:
    """Ask for a template, synchronously."""
    return web.get(f"{service.url}/builds/template/sync", params=parameters, timeout=300)


def test_a_truncated_input_is_named(service: Service, images: Path) -> None:
    service.start()
    truncated = images / "DEC-OBS18b.mini.fits"
    truncated.write_bytes(truncated.read_bytes()[:300_000])
    inputs = identifiers(service, "OBS18")
    explicit = template(service, TEMPLATE_IDS=",".join(inputs), ID=inputs[0])
    assert explicit.status_code >= 400
    assert "OBS18b" in explicit.text and str(images) not in explicit.text
    without = [i for i in inputs if "OBS18b" not in i]
    assert template(service, TEMPLATE_IDS=",".join(without), ID=inputs[0]).status_code == 200


def test_a_truncated_input_of_an_automatic_choice_is_left_out(
    service: Service, images: Path
) -> None:
    service.start()
    truncated = images / "DEC-OBS18b.mini.fits"
    truncated.write_bytes(truncated.read_bytes()[:300_000])
    answer = template(service, POS=POSITION, BAND="i", FWHM_FRACTION=1)
    assert answer.status_code == 200, answer.text
    tap = pyvo.dal.TAPService(f"{service.url}/tap")
    left_out = tap.search(
        "SELECT input_id, rejected FROM skyloom.product_input WHERE rejected IS NOT NULL"
    )
    assert any("OBS18b" in str(i) for i in left_out["input_id"])


def test_a_band_with_one_image_has_no_difference(service: Service) -> None:
    service.start()
    (lonely,) = identifiers(service, "LONELY")
    answer = web.get(f"{service.url}/builds/difference/sync", params={"ID": lonely}, timeout=300)
    assert 400 <= answer.status_code < 500
    assert re.search(r"band .?z", answer.text), answer.text


def test_expired_links_are_refused(service: Service) -> None:
    service.environment = SKY_MAP | {"SKYLOOM_LINK_LIFETIME_S": "1"}
    service.start()
    answer = web.get(
        f"{service.url}/datalink/links", params={"ID": identifiers(service, "OBS18a")[0]}
    )
    found = re.search(r"http[^<]+/files/[^<]+", answer.text)
    assert found
    url = found.group(0).replace("&amp;", "&")
    time.sleep(2.1)
    late = web.get(url)
    assert late.status_code == 403
    assert "expired" in late.text


def small_disk(folder: Path) -> tuple[str, ...]:
    """A command prefix under which ``folder`` is a file system of 400 kB."""
    folder.mkdir(parents=True, exist_ok=True)
    script = f'mount -t tmpfs -o size=400k tmpfs "{folder}" && exec "$@"'
    return ("unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh")


@pytest.mark.needs("unshare")
def test_a_full_disk_for_products(service: Service) -> None:
    service.prefix = small_disk(service.data_dir / "products")
    service.start()
    answer = template(service, POS=POSITION, BAND="i")
    assert answer.status_code in {503, 507}, answer.text
    assert "space" in answer.text
    assert str(service.data_dir) not in answer.text
    tap = pyvo.dal.TAPService(f"{service.url}/tap")
    assert len(tap.search("SELECT obs_id FROM ivoa.ObsCore WHERE build_state = 'built'")) == 0
    service.stop()
    service.prefix = ()
    service.start()
    assert template(service, POS=POSITION, BAND="i").status_code == 200


def without_room(data: Path) -> tuple[str, ...]:
    """A command prefix under which results find a full disk, products, caches and the data folder
    itself one that is read only; the database can be written."""
    for name in ("results", "products", "cache", "database", "work"):
        (data / name).mkdir(parents=True, exist_ok=True)
    lines = (
        f'cd "{data}"',
        "mount --bind . .",
        f'cd "{data}"',
        "mount --bind database database",
        "mount -t tmpfs -o size=8k tmpfs results",
        "mount -o remount,bind,ro .",
        'cd / && exec "$@"',
    )
    namespace = ("unshare", "--user", "--map-root-user", "--mount")
    return (*namespace, "sh", "-c", " && ".join(lines), "sh")


@pytest.mark.needs("unshare")
def test_a_full_and_a_read_only_disk_are_told_and_reading_goes_on(
    tmp_path: Path, images: Path
) -> None:
    data = tmp_path / "tight"
    prefix = without_room(data)
    database = f"sqlite:///{data / 'database' / 'skyloom.sqlite3'}"
    service = Service(data_dir=data, environment=SKY_MAP | {"SKYLOOM_DATABASE_URL": database})
    service.run("ingest", str(images), "--collection", "decam", "--profile", str(PROFILE))
    (data / "signing.key").write_text("ab" * 32)
    service.prefix = prefix
    service.start()
    try:
        told = web.get(f"{service.url}/tap/availability").text
        assert "true</" in told and "nothing can be written (Read-only file system)" in told
        image = identifiers(service, "OBS18a")[0]
        for _ in range(2):
            cut = {"ID": image, "POS": POSITION.replace("0.001", "0.003")}
            assert web.get(f"{service.url}/soda/sync", params=cut).status_code == 200
        answer = template(service, POS=POSITION, BAND="i")
        assert answer.status_code == 503 and "read only" in answer.text, answer.text
        query = {"LANG": "ADQL", "QUERY": "SELECT * FROM TAP_SCHEMA.columns", "PHASE": "RUN"}
        job = web.post(f"{service.url}/tap/async", data=query).headers["location"]
        assert phase_at_end(job) == "ERROR"
        assert "No space is left" in web.get(f"{job}/error").text
        assert str(data) not in web.get(f"{job}/error").text + answer.text
    finally:
        service.stop()


def test_a_killed_server_finishes_its_jobs_after_a_restart(service: Service) -> None:
    service.environment = SKY_MAP | {"SKYLOOM_LEASE_S": "3600"}
    service.start()
    job = web.post(
        f"{service.url}/builds/template/async",
        data={"POS": POSITION, "BAND": "i", "PHASE": "RUN"},
    ).headers["location"]
    wait_for(lambda: web.get(f"{job}/phase").text == "EXECUTING")
    service.kill()
    service.start()
    assert phase_at_end(job) == "COMPLETED", web.get(f"{job}/error").text


def test_two_at_the_same_moment_share_one_build(service: Service) -> None:
    service.start()
    jobs = [
        web.post(
            f"{service.url}/builds/template/async",
            data={"POS": POSITION, "BAND": "i", "PHASE": "RUN"},
        ).headers["location"]
        for _ in range(4)
    ]
    assert [phase_at_end(job) for job in jobs] == ["COMPLETED"] * 4
    results = {web.get(f"{job}/results/result", follow_redirects=True).content for job in jobs}
    assert len(results) == 1
    tap = pyvo.dal.TAPService(f"{service.url}/tap")
    assert len(tap.search("SELECT obs_id FROM ivoa.ObsCore WHERE build_state = 'built'")) == 1
    products = list((service.data_dir / "products").rglob("*.fits"))
    assert len(products) == 1


def test_an_aborted_job_stops(service: Service) -> None:
    service.start()
    job = web.post(
        f"{service.url}/builds/template/async",
        data={"POS": POSITION, "BAND": "i", "PHASE": "RUN"},
    ).headers["location"]
    web.post(f"{job}/phase", data={"PHASE": "ABORT"})
    assert phase_at_end(job) == "ABORTED"
    time.sleep(3)
    tap = pyvo.dal.TAPService(f"{service.url}/tap")
    assert len(tap.search("SELECT obs_id FROM ivoa.ObsCore WHERE build_state = 'built'")) == 0
