"""Images that lie elsewhere: ingested, found, cut, looked at, built from and downloaded as those of
this machine, with few bytes read."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table
from starlette.testclient import TestClient

from app.config import Config
from app.main import create_app
from app.pixels.image import MASK_PLANES
from app.services.doctor.finding import Finding
from app.services.ingest.report import IngestReport, Status
from app.wiring_builds import run_builds
from app.wiring_care import examine
from app.wiring_database import initialise
from app.wiring_images import open_ingest
from tests.http.archive import serving
from tests.services.survey import (
    CENTRE,
    SIZE_PX,
    Exposure,
    exposure_header,
    simulate,
    standard_exposures,
)
from tests.storages import HttpStorage, S3Storage, http_storage, s3_storage

COLLECTION = "field"
SKYMAP = {
    "skymap_pixel_scale_arcsec": 0.4,
    "skymap_patch_px": 400,
    "skymap_patch_border_px": 20,
    "skymap_tract_patches": 60,
    "skymap_rings": 80,
}


@dataclass
class Archive:
    """A service over a data folder of its own."""

    config: Config
    client: TestClient

    def ingest(self, *paths: Path | str, force: bool = False) -> IngestReport:
        """Publish images."""
        with open_ingest(self.config) as service:
            return service.run(paths, collection=COLLECTION, force=force)

    def ids(self) -> list[str]:
        """Of all images."""
        query = (
            "SELECT obs_publisher_did FROM ivoa.ObsCore "
            "WHERE dataproduct_subtype = 'lsst.visit_image' ORDER BY obs_publisher_did"
        )
        answer = self.client.get(
            "/tap/sync", params={"QUERY": query, "LANG": "ADQL", "RESPONSEFORMAT": "csv"}
        )
        return answer.text.split()[1:]

    def finding(self) -> Finding:
        """What the doctor says of files elsewhere."""
        findings = examine(self.config, deep=False, repair=False)
        (found,) = [each for each in findings if each.subject == "files elsewhere"]
        return found

    def cut(self, dataset_id: str, **other: str) -> bytes:
        """A cutout of some 40 pixels."""
        place = {"ID": dataset_id, "CIRCLE": f"{CENTRE[0]} {CENTRE[1]} 0.0022", **other}
        answer = self.client.get("/soda/sync", params=place)
        assert answer.status_code == 200, answer.text
        return answer.content

    def this(self, dataset_id: str, semantics: str = "#this") -> str:
        """The path of a link of an image."""
        table = self.client.get("/datalink/links", params={"ID": dataset_id}).content
        rows = parse_single_table(io.BytesIO(table)).to_table()
        urls = {str(row["semantics"]): str(row["access_url"]) for row in rows}
        return urlsplit(urls[semantics]).path


@contextmanager
def open_archive(folder: Path, **settings: Any) -> Iterator[Archive]:
    """A service of the real wiring."""
    told = {"remote_retries": 0, "remote_timeout_s": 20.0, "remote_fresh_s": 0.0, **settings}
    config = Config(data_dir=folder, workers=1, authority="test.local", **SKYMAP, **told)
    initialise(config)
    with TestClient(create_app(config)) as client:
        yield Archive(config, client)


def write_image(folder: Path, exposure: Exposure) -> Path:
    """Three planes whose headers say all that the built-in profile looks for."""
    flux, mask, variance = simulate(exposure)
    header = exposure_header(exposure)
    header["INSTRUME"], header["VISIT"], header["FILTER"] = "Cam", exposure.visit, exposure.band
    header["MJD-OBS"], header["EXPTIME"], header["BUNIT"] = exposure.mjd, 30.0, "adu"
    header["MAGZERO"] = 27.0
    mask_header = header.copy()
    mask_header.update({f"MP_{name}": MASK_PLANES[name] for name in ("BAD", "SAT")})
    path = folder / f"{exposure.band}-{exposure.visit}.fits"
    units = [
        fits.PrimaryHDU(),
        fits.ImageHDU(flux, header=header, name="IMAGE"),
        fits.ImageHDU(mask, header=mask_header, name="MASK"),
        fits.ImageHDU(variance, header=header, name="VARIANCE"),
    ]
    fits.HDUList(units).writeto(path)
    return path


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five plain exposures, one in Rice tiles, one compressed as a whole."""
    folder = tmp_path_factory.mktemp("images")
    paths = [write_image(folder, exposure) for exposure in standard_exposures()[:5]]
    with fits.open(paths[0]) as plain:
        units = [
            fits.CompImageHDU(unit.data, header=unit.header, compression_type="RICE_1")
            for unit in plain[1:]
        ]
        fits.HDUList([plain[0].copy(), *units]).writeto(folder / "rice.fits.fz")
        plain.writeto(folder / "packed.fits.gz")
    return folder


@pytest.fixture(scope="module")
def storage(images: Path) -> Iterator[HttpStorage]:
    """They behind an address."""
    with http_storage(images) as made:
        yield made


@pytest.fixture(scope="module")
def both(
    images: Path, storage: HttpStorage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Archive, Archive]]:
    """The same images, of this machine and elsewhere."""
    addresses = [f"{storage.url}/{path.name}" for path in sorted(images.iterdir())]
    with (
        open_archive(tmp_path_factory.mktemp("here")) as here,
        open_archive(tmp_path_factory.mktemp("there")) as there,
    ):
        assert here.ingest(images).exit_status == 0
        assert there.ingest(*addresses).exit_status == 0
        yield here, there


def test_rows_are_those_of_local_files(both: tuple[Archive, Archive]) -> None:
    here, _ = both
    assert len(here.ids()) == 7
    query = "SELECT * FROM ivoa.ObsCore ORDER BY obs_publisher_did"
    asked = {"QUERY": query, "LANG": "ADQL", "RESPONSEFORMAT": "csv"}
    local, remote = (each.client.get("/tap/sync", params=asked).text for each in both)
    assert local == remote
    asked = {"POS": f"CIRCLE {CENTRE[0]} {CENTRE[1]} 0.001", "CALIB": "2"}
    found = [each.client.get("/sia/query", params=asked).text.count("<TR>") for each in both]
    assert found == [7, 7]


@pytest.mark.parametrize("name", ["i-2", "rice", "packed"])
def test_cutouts_are_those_of_local_files(both: tuple[Archive, Archive], name: str) -> None:
    here, there = both
    dataset_id = f"ivo://test.local/field?{name}"
    local, remote = here.cut(dataset_id), there.cut(dataset_id)
    assert local == remote
    with fits.open(io.BytesIO(remote)) as found:
        assert found[1].data.shape[0] < SIZE_PX / 2 and len(found) == 4


def test_little_more_is_read_than_is_sent(storage: HttpStorage, tmp_path: Path) -> None:
    wide = np.random.default_rng(1).normal(size=(1500, 1500)).astype(np.float32)
    header = exposure_header(standard_exposures()[0])
    header["CRPIX1"] = header["CRPIX2"] = 750.5
    fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(wide, header)]).writeto(
        storage.folder / "wide.fits"
    )
    with open_archive(tmp_path) as fresh:
        assert fresh.ingest(f"{storage.url}/wide.fits").exit_status == 0
        name = "ivo://test.local/field?wide"
        fresh.cut(name, CIRCLE=f"{CENTRE[0] + 0.03} {CENTRE[1]} 0.001")
        for kept in (tmp_path / "cache" / "remote").iterdir():
            kept.unlink()
        storage.forget()
        sent = fresh.cut(name, CIRCLE=f"{CENTRE[0]} {CENTRE[1]} 0.0105")
        assert len(sent) > 120_000
        assert len(sent) / 2 < storage.sent_bytes <= 3 * len(sent)
        storage.forget()
        assert fresh.cut(name, CIRCLE=f"{CENTRE[0]} {CENTRE[1]} 0.0105") == sent
        assert storage.sent_bytes == 0
        content = (storage.folder / "wide.fits").read_bytes()
        whole = fresh.client.get(fresh.this(name))
        assert whole.content == content
        assert whole.headers["content-length"] == str(len(content))
        assert storage.sent_bytes == len(content)  # sent through, nothing kept of it
    (storage.folder / "wide.fits").unlink()


def test_pictures_psfs_stamps_and_pages(both: tuple[Archive, Archive]) -> None:
    dataset_id = "ivo://test.local/field?i-2"
    place = f"CIRCLE {CENTRE[0]} {CENTRE[1]} 0.002"
    for path, asked in (
        ("/previews", {"ID": dataset_id}),
        ("/psf", {"ID": dataset_id, "POS": f"{CENTRE[0]} {CENTRE[1]}"}),
        ("/soda/sync", {"ID": dataset_id, "POS": place, "RESPONSEFORMAT": "image/png"}),
        ("/stamps", {"POS": f"{CENTRE[0]} {CENTRE[1]}", "SIZE": "0.002"}),
    ):
        answers = [each.client.get(path, params=asked) for each in both]
        assert [each.status_code for each in answers] == [200, 200], (path, answers[1].text[:300])
        assert answers[0].content == answers[1].content, path


def test_a_difference_is_that_of_local_files(both: tuple[Archive, Archive]) -> None:
    exposure = "ivo://test.local/field?i-5"
    asked = ("difference", (("ID", exposure),))
    products = [next(iter(run_builds(each.config, [asked]))) for each in both]
    assert products[0][0] == products[1][0]
    assert products[0][1] != products[1][1]
    assert Path(products[0][1]).read_bytes() == Path(products[1][1]).read_bytes()


def test_downloads(both: tuple[Archive, Archive], images: Path, storage: HttpStorage) -> None:
    _, there = both
    content = (images / "i-3.fits").read_bytes()
    url = there.this("ivo://test.local/field?i-3")
    assert url.endswith("/i-3.fits")
    whole = there.client.get(url)
    assert whole.content == content and whole.headers["content-length"] == str(len(content))
    head = there.client.head(url)
    assert head.headers["content-length"] == str(len(content)) and not head.content
    storage.forget()
    for asked, start, stop in (
        ("bytes=100-299", 100, 300),
        ("bytes=2880-", 2880, len(content)),
        ("bytes=-77", len(content) - 77, len(content)),
    ):
        part = there.client.get(url, headers={"Range": asked})
        assert part.status_code == 206 and part.content == content[start:stop]
        assert part.headers["content-range"] == f"bytes {start}-{stop - 1}/{len(content)}"
    assert storage.sent_bytes == 200 + len(content) - 2880 + 77
    beyond = there.client.get(url, headers={"Range": f"bytes={len(content)}-"})
    assert beyond.status_code == 416
    etag = whole.headers["etag"]
    assert there.client.get(url, headers={"If-None-Match": etag}).status_code == 304
    changed = {"Range": "bytes=0-9", "If-Range": '"another"'}
    assert there.client.get(url, headers=changed).status_code == 200
    forged = url.replace("/files/", "/files/x")
    assert there.client.get(forged).status_code == 403


def test_packages(both: tuple[Archive, Archive], images: Path) -> None:
    _, there = both
    packed = there.client.get(there.this("ivo://test.local/field?i-3", "#package"))
    with tarfile.open(fileobj=io.BytesIO(packed.content)) as found:
        held = found.extractfile("i-3/i-3.fits")
        assert held is not None and held.read() == (images / "i-3.fits").read_bytes()


def test_unchanged_files_are_not_read_again(
    both: tuple[Archive, Archive], images: Path, storage: HttpStorage
) -> None:
    _, there = both
    storage.forget()
    report = there.ingest(*(f"{storage.url}/{path.name}" for path in sorted(images.iterdir())))
    assert {each.status for each in report.files} == {Status.UNCHANGED}
    assert storage.requests == {"HEAD": 7}


def test_faults_of_the_storage(both: tuple[Archive, Archive], storage: HttpStorage) -> None:
    _, there = both
    dataset_id = "ivo://test.local/field?i-4"
    asked = {"ID": dataset_id, "CIRCLE": f"{CENTRE[0]} {CENTRE[1]} 0.001"}
    url = there.this(dataset_id)
    storage.fault = "status 500"
    try:
        for answer in (there.client.get("/soda/sync", params=asked), there.client.get(url)):
            assert answer.status_code == 503
            assert "The storage of i-4.fits does not answer now (status 500)" in answer.text
            assert answer.headers["retry-after"] and "127.0.0.1" not in answer.text
        (finding,) = [
            f
            for f in examine(there.config, deep=False, repair=False)
            if f.subject == "files elsewhere"
        ]
        assert finding.status == "fail" and "7 are not known" in finding.message
    finally:
        storage.fault = None
    assert there.client.get("/soda/sync", params=asked).status_code == 200


def test_files_that_change(images: Path, tmp_path: Path) -> None:
    (tmp_path / "served").mkdir()
    path = write_image(tmp_path / "served", standard_exposures()[0])
    with http_storage(tmp_path / "served") as storage, open_archive(tmp_path / "data") as archive:
        address = f"{storage.url}/i-1.fits"
        archive.ingest(address)
        (dataset_id,) = archive.ids()
        url, before = archive.this(dataset_id), archive.cut(dataset_id)
        path.unlink()
        write_image(tmp_path, Exposure(visit=1, sky=500.0)).rename(path)
        after = archive.cut(dataset_id)
        with fits.open(io.BytesIO(before)) as old, fits.open(io.BytesIO(after)) as new:
            assert (new[1].data - old[1].data).mean() > 400
        (finding,) = [
            f
            for f in examine(archive.config, deep=False, repair=False)
            if f.subject == "files elsewhere"
        ]
        assert finding.status == "warn" and "1 are changed" in finding.message
        assert [each.status for each in archive.ingest(address).files] == [Status.PUBLISHED]
        path.unlink()
        assert archive.client.get(url).status_code == 404
        gone = archive.client.get("/soda/sync", params={"ID": dataset_id})
        assert gone.status_code == 422 and "the file does not exist" in gone.text
        assert [each.status for each in archive.ingest(address).files] == [Status.REFUSED]


def test_buckets(images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with ExitStack() as stack:
        s3: S3Storage = stack.enter_context(s3_storage(monkeypatch))
        for name in ("i-1.fits", "i-2.fits", "rice.fits.fz"):
            s3.put(f"night 1/{name}", (images / name).read_bytes())
        s3.put("night 1/notes.txt", b"no image")
        s3.put("other/i-3.fits", (images / "i-3.fits").read_bytes())
        settings = {"s3_endpoint": s3.endpoint, "s3_region": "us-east-1"}
        archive = stack.enter_context(open_archive(tmp_path, **settings))
        report = archive.ingest("s3://survey/night 1", "s3://survey/other/i-3.fits")
        assert report.exit_status == 0 and len(report.files) == 4
        assert [each.rpartition("?")[2] for each in archive.ids()] == ["i-1", "i-2", "i-3", "rice"]
        again = archive.ingest("s3://survey/night 1", "s3://survey/other/i-3.fits")
        assert {each.status for each in again.files} == {Status.UNCHANGED}
        plain, tiled = (
            archive.cut("ivo://test.local/field?i-2"),
            archive.cut("ivo://test.local/field?rice"),
        )
        here = stack.enter_context(open_archive(tmp_path / "here"))
        here.ingest(images)
        assert plain == here.cut("ivo://test.local/field?i-2")
        assert tiled == here.cut("ivo://test.local/field?rice")
        url = archive.this("ivo://test.local/field?i-3")
        assert archive.client.get(url).content == (images / "i-3.fits").read_bytes()
        page = archive.client.get("/images", params={"ID": "ivo://test.local/field?i-3"})
        assert "not-to-be-told" not in page.text and "AKIA" not in page.text


def test_astropy_opens_our_links_by_address(both: tuple[Archive, Archive]) -> None:
    here, _ = both
    dataset_id = "ivo://test.local/field?i-2"
    with serving(create_app(here.config)) as url:
        asked = f"{url}/soda/sync?ID={dataset_id.replace('?', '%3F')}&PIXELS=5+24+5+24"
        with fits.open(asked, use_fsspec=True) as found:
            assert found[1].data.shape == (20, 20)
        whole = url + here.this(dataset_id)
        with fits.open(whole, use_fsspec=True) as found:
            part = found[1].section[10:20, 30:50]
    expected = here.client.get(here.this(dataset_id)).content
    with fits.open(io.BytesIO(expected)) as local:
        np.testing.assert_array_equal(part, local[1].data[10:20, 30:50])
