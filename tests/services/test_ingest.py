"""What a group relies on when it ingests: nothing twice, nothing lost, nothing stops the run."""

from __future__ import annotations

import bz2
import gzip
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.io import fits

from app.errors import UsageError
from app.pixels.image import MASK_PLANES, bits
from app.recipes.recipe import ImageRef
from app.services.ingest.files import FoundFile
from app.services.ingest.pool import read_in_pool
from app.services.ingest.profile_reader import parse_profile
from app.services.ingest.read_file import FileReader, FileResult
from app.services.ingest.report import IngestReport, Status
from app.services.ingest.service import IngestService
from app.sky.predicates import contains_point
from app.sky.shapes import Point
from app.sky.stcs import parse_region
from app.stores.image_files import ImageFiles
from app.stores.images import ImageStore
from app.stores.metadata import MetadataStores, open_stores

ON_BOTH_ENGINES = {
    "test_a_three_plane_file_needs_no_profile",
    "test_a_changed_file_updates_its_row",
    "test_rows_of_vanished_hdus_go",
    "test_two_files_cannot_have_one_identifier",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """What touches the store in its own way runs on both engines, the rest on SQLite."""
    if metafunc.function.__name__ in ON_BOTH_ENGINES:
        metafunc.parametrize("stores", ["sqlite", "postgres"], indirect=True)


@pytest.fixture
def stores(request: pytest.FixtureRequest) -> Iterator[MetadataStores]:
    engine = getattr(request, "param", "sqlite")
    opened = open_stores(request.getfixturevalue(f"fresh_{engine}_url"))
    yield opened
    opened.close()


def wcs_header(ra: float = 150.0, dec: float = 2.0, **cards: Any) -> fits.Header:
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = ra, dec
    header["CRPIX1"], header["CRPIX2"] = 32.5, 24.5
    header["CD1_1"], header["CD1_2"], header["CD2_1"], header["CD2_2"] = -5e-5, 0.0, 0.0, 5e-5
    header["RADESYS"] = "ICRS"
    for key, value in cards.items():
        header[key.replace("_", "-")] = value
    return header


def write_image(path: Path, *, ra: float = 150.0, seed: int = 1, **cards: Any) -> Path:
    """A three-plane file as the built-in profile knows them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    mask_header = wcs_header(ra)
    for bit, name in enumerate(reversed(MASK_PLANES)):  # bits of its own
        mask_header[f"HIERARCH MP_{name}"] = bit
    flux = rng.normal(0, 10, (48, 64)).astype("f4")
    mask = np.zeros((48, 64), "i4")
    mask[3, 5] = 1 << mask_header["MP_SAT"]
    primary = fits.Header(
        {"FILTER": "r", "EXPTIME": 30.0, "MJD-OBS": 60000.5, "VISIT": 7, "DETECTOR": 3}
    )
    primary.update(fits.Header(cards))
    fits.HDUList(
        [
            fits.PrimaryHDU(header=primary),
            fits.ImageHDU(flux, wcs_header(ra), name="IMAGE"),
            fits.ImageHDU(mask, mask_header, name="MASK"),
            fits.ImageHDU(np.full((48, 64), 100, "f4"), wcs_header(ra), name="VARIANCE"),
        ]
    ).writeto(path, overwrite=True)
    return path


def ingest(stores: MetadataStores, *paths: Path, **options: Any) -> IngestReport:
    service = IngestService(datasets=stores.datasets, authority="test.org", workers=1)
    return service.run(paths, **{"collection": "night", **options})


def by_name(report: IngestReport) -> dict[str, Any]:
    return {Path(file.path).name: file for file in report.files}


def test_a_three_plane_file_needs_no_profile(stores: MetadataStores, tmp_path: Path) -> None:
    path = write_image(tmp_path / "data" / "a.fits", TELESCOP="Tele", INSTRUME="Cam", OBJECT="M1")
    report = ingest(stores, tmp_path / "data")
    assert (report.inserted, report.exit_status, report.refused) == (1, 0, [])
    (row,) = stores.datasets.get_many(["ivo://test.org/night?a"])
    columns = row.columns
    expected = {
        "dataproduct_type": "image",
        "dataproduct_subtype": "lsst.visit_image",
        "calib_level": 2,
        "obs_collection": "night",
        "obs_id": "a",
        "access_url": "/datalink/links?ID=ivo%3A%2F%2Ftest.org%2Fnight%3Fa",
        "access_format": "application/x-votable+xml;content=datalink",
        "access_estsize": round(path.stat().st_size / 1000),
        "target_name": "M1",
        "facility_name": "Tele",
        "instrument_name": "Cam",
        "s_xel1": 64,
        "s_xel2": 48,
        "t_min": 60000.5,
        "t_exptime": 30.0,
        "lsst_band": "r",
        "lsst_filter": "r",
        "lsst_visit": 7,
        "lsst_detector": 3,
        "lsst_ccdvisitid": 7003,
    }
    assert {name: columns.get(name) for name in expected} == expected
    assert columns["t_max"] == pytest.approx(60000.5 + 30 / 86400)
    assert columns["s_pixel_scale"] == pytest.approx(0.18)
    assert columns["em_min"] < 6.2e-7 < columns["em_max"]
    assert "s_resolution" not in columns  # nothing says it
    image = ImageStore(data_dir=tmp_path).read(ImageRef.from_text(row.image_ref))
    assert image.mask[3, 5] == bits("SAT")
    assert (image.variance == 100).all()
    assert ImageRef.from_text(row.image_ref).noise == pytest.approx(10.0)


def test_a_second_run_changes_nothing(stores: MetadataStores, tmp_path: Path) -> None:
    for name in "abc":
        write_image(tmp_path / "d" / f"{name}.fits")
    first = ingest(stores, tmp_path / "d")
    for path in (tmp_path / "d").iterdir():  # spoilt unseen: it must not even be opened
        status, content = path.stat(), path.read_bytes()
        path.write_bytes(bytes(len(content)))
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    second = ingest(stores, tmp_path / "d")
    assert (first.inserted, second.inserted, second.updated, second.unchanged) == (3, 0, 0, 0)
    assert second.counts()["unchanged"] == 3
    forced = ingest(stores, tmp_path / "d", force=True)
    assert len(forced.refused) == 3


def test_the_same_files_read_again_change_nothing(stores: MetadataStores, tmp_path: Path) -> None:
    write_image(tmp_path / "d" / "a.fits")
    ingest(stores, tmp_path / "d")
    again = ingest(stores, tmp_path / "d", force=True)
    assert (again.inserted, again.updated, again.unchanged) == (0, 0, 1)


def test_a_changed_file_updates_its_row(stores: MetadataStores, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.fits")
    write_image(tmp_path / "b.fits")
    ingest(stores, tmp_path)
    write_image(path, ra=151.0, FILTER="g")
    os.utime(path, ns=(1, 1))
    report = ingest(stores, tmp_path)
    assert (report.inserted, report.updated, report.counts()["unchanged"]) == (0, 1, 1)
    (row,) = stores.datasets.get_many(["ivo://test.org/night?a"])
    assert row.columns["lsst_band"] == "g"
    assert contains_point(parse_region(str(row.columns["s_region"])), Point(151.0, 2.0))
    assert row.file_mtime_ns == 1


def chips(path: Path, names: str) -> None:
    """A file of several chips, each with an error and a data quality plane by EXTVER."""
    units: list[Any] = [fits.PrimaryHDU()]
    for version, name in enumerate(names, start=1):
        ra = 150.0 + ord(name) / 100
        flux = np.full((48, 64), version, "f4")
        units += [
            fits.ImageHDU(flux, wcs_header(ra), name="SCI", ver=version),
            fits.ImageHDU(flux * 2, name="ERR", ver=version),
            fits.ImageHDU((flux > 1).astype("i2"), name="DQ", ver=version),
        ]
    fits.HDUList(units).writeto(path, overwrite=True)


def test_several_chips_and_their_planes(stores: MetadataStores, tmp_path: Path) -> None:
    path = tmp_path / "mosaic.fits"
    chips(path, "abc")
    report = ingest(stores, path)
    ids = [f"ivo://test.org/night?mosaic:SCI{n}" for n in (1, 2, 3)]
    assert report.files[0].datasets == tuple(ids)
    rows = stores.datasets.get_many(ids)
    assert [row.file_hdu for row in rows] == [1, 4, 7]
    assert [row.columns["obs_id"] for row in rows] == ["mosaic:SCI1", "mosaic:SCI2", "mosaic:SCI3"]
    for version, row in enumerate(rows, start=1):
        image = ImageStore(data_dir=tmp_path).read(ImageRef.from_text(row.image_ref))
        assert (image.flux == version).all()
        assert (image.variance == (2 * version) ** 2).all()
        assert (image.mask == (bits("BAD") if version > 1 else 0)).all()


def test_rows_of_vanished_hdus_go(stores: MetadataStores, tmp_path: Path) -> None:
    path = tmp_path / "mosaic.fits"
    chips(path, "abc")
    write_image(tmp_path / "other.fits")
    ingest(stores, tmp_path)
    chips(path, "ab")
    os.utime(path, ns=(1, 1))
    report = ingest(stores, tmp_path)
    assert report.removed == 1
    ids = [f"ivo://test.org/night?mosaic:SCI{n}" for n in (1, 2, 3)] + [
        "ivo://test.org/night?other"
    ]
    assert [row.dataset_id for row in stores.datasets.get_many(ids)] == [ids[0], ids[1], ids[3]]


def spoilt(folder: Path) -> dict[str, str]:
    """Files that are wrong in every way, and a part of the reason each must be given."""
    folder.mkdir()
    good = write_image(folder / "good.fits").read_bytes()
    (folder / "empty.fits").write_bytes(b"")
    (folder / "text.fits").write_text("no FITS at all" * 1000)
    (folder / "head.fits").write_bytes(good[:1500])
    (folder / "cut.fits").write_bytes(good[:15000])
    (folder / "cut.fits.gz").write_bytes(
        gzip.compress(np.random.default_rng(1).bytes(9) + good)[:9000]
    )
    (folder / "cut_variance.fits").write_bytes(good[:-5000])
    (folder / "table.fits").write_bytes(table_bytes())
    (folder / "nan.fits").write_bytes(image_bytes(np.full((48, 64), np.nan, "f4"), wcs_header()))
    (folder / "nowcs.fits").write_bytes(image_bytes(np.zeros((48, 64), "f4"), fits.Header()))
    singular = wcs_header()
    singular["CD1_1"] = 0.0
    (folder / "singular.fits").write_bytes(image_bytes(np.zeros((48, 64), "f4"), singular))
    nowhere = wcs_header()
    nowhere["CRVAL1"] = 1e30
    (folder / "nowhere_wcs.fits").write_bytes(image_bytes(np.zeros((48, 64), "f4"), nowhere))
    second = good.index(b"XTENSION", good.index(b"XTENSION") + 80)
    (folder / "cut_header.fits").write_bytes(good[: second + 500])
    (folder / "cut_first.fits.gz").write_bytes(gzip.compress(good)[:3000])
    last = good.rindex(b"XTENSION")
    corrupt = good[:last] + good[last:].replace(b"'           /", b"'      U    /", 1)
    (folder / "corrupt.fits.gz").write_bytes(gzip.compress(corrupt))
    negative = good.replace(b"GCOUNT  =                    1", b"GCOUNT  =                  -64")
    (folder / "negative.fits.gz").write_bytes(gzip.compress(negative))
    first = image_bytes(np.zeros((48, 64), "f4"), wcs_header())
    (folder / "endless.fits.gz").write_bytes(gzip.compress(first + bytes(9_000_000)))
    (folder / "endless.fits.bz2").write_bytes(bz2.compress(first + bytes(9_000_000)))
    (folder / "gone.fits").symlink_to(folder / "nowhere.fits")
    huge = image_bytes(np.zeros((48, 64), "f4"), wcs_header()).replace(
        b"NAXIS2  =                   48", b"NAXIS2  =           4000000000"
    )
    (folder / "huge.fits").write_bytes(huge)
    return {
        "empty.fits": "not a FITS file",
        "text.fits": "not a FITS file",
        "head.fits": "not a FITS file",
        "cut.fits": "truncated",
        "cut.fits.gz": "not a FITS file",
        "cut_variance.fits": "truncated",
        "table.fits": "no image with pixels",
        "nan.fits": "no valid pixel",
        "nowcs.fits": "no WCS",
        "singular.fits": "broken WCS",
        "nowhere_wcs.fits": "broken WCS",
        "cut_header.fits": "truncated: it ends in the header of HDU 2",
        "cut_first.fits.gz": "truncated",
        "corrupt.fits.gz": "the header of HDU 3 is corrupt",
        "negative.fits.gz": "the header of HDU 1 is corrupt",
        "endless.fits.gz": "a header has no end",
        "endless.fits.bz2": "a header has no end",
        "gone.fits": "No such file",
        "huge.fits": "truncated",
    }


def image_bytes(data: Any, header: fits.Header) -> bytes:
    return hdu_bytes(fits.PrimaryHDU(data, header))


def table_bytes() -> bytes:
    column = fits.Column("A", "J", array=np.arange(3))
    return hdu_bytes(fits.PrimaryHDU(), fits.BinTableHDU.from_columns([column]))


def hdu_bytes(*units: Any) -> bytes:
    import io

    buffer = io.BytesIO()
    fits.HDUList(list(units)).writeto(buffer)
    return buffer.getvalue()


def test_bad_files_are_refused_and_never_stop_the_run(
    stores: MetadataStores, tmp_path: Path
) -> None:
    reasons = spoilt(tmp_path / "d")
    report = ingest(stores, tmp_path / "d")
    assert report.inserted == 1
    assert report.exit_status == 1
    refused = {Path(path).name: reason for path, reason in report.refused}
    assert set(refused) == set(reasons)
    for name, part in reasons.items():
        assert part in refused[name], (name, refused[name])
        assert str(tmp_path) not in refused[name]


def test_the_report_is_readable_by_machines(stores: MetadataStores, tmp_path: Path) -> None:
    spoilt(tmp_path / "d")
    report = ingest(stores, tmp_path / "d")
    value = json.loads(json.dumps(report.to_json()))
    assert value["counts"] == {
        "files": 20,
        "published": 1,
        "unchanged": 0,
        "companions": 0,
        "refused": 19,
        "rows inserted": 1,
        "rows updated": 0,
        "rows unchanged": 0,
        "rows removed": 0,
    }
    status = {Path(file["path"]).name: file["status"] for file in value["files"]}
    assert status["good.fits"] == "published"


def test_two_files_cannot_have_one_identifier(stores: MetadataStores, tmp_path: Path) -> None:
    write_image(tmp_path / "one" / "a.fits")
    write_image(tmp_path / "two" / "a.fits", seed=2)
    report = ingest(stores, tmp_path / "one", tmp_path / "two")
    assert report.inserted == 1
    assert report.refused == [
        (str(tmp_path / "two" / "a.fits"), "a.fits already has its identifier")
    ]
    assert ingest(stores, tmp_path / "two").exit_status == 1
    (tmp_path / "one" / "a.fits").unlink()  # a file that was moved takes its row along
    moved = ingest(stores, tmp_path / "two")
    assert (moved.updated, moved.exit_status) == (1, 0)
    (row,) = stores.datasets.get_many(["ivo://test.org/night?a"])
    assert row.file_path == str(tmp_path / "two" / "a.fits")


def test_ctrl_c_keeps_what_was_read(stores: MetadataStores, tmp_path: Path) -> None:
    for n in range(6):
        write_image(tmp_path / "d" / f"{n}.fits", seed=n)

    def interrupt(done: int, total: int) -> None:
        assert total == 6
        if done == 3:
            raise KeyboardInterrupt

    report = ingest(stores, tmp_path / "d", progress=interrupt)
    assert (report.interrupted, report.inserted, report.exit_status) == (True, 3, 130)
    assert len(stores.datasets.known_files("night")) == 3
    rest = ingest(stores, tmp_path / "d")
    assert (rest.inserted, rest.counts()["unchanged"]) == (3, 3)


def test_progress_counts_every_file(stores: MetadataStores, tmp_path: Path) -> None:
    spoilt(tmp_path / "d")
    seen: list[tuple[int, int]] = []
    ingest(stores, tmp_path / "d", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (20, 20)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


class DeadlyReader(FileReader):
    """Dies as a crashing library or the kernel's memory killer makes it die."""

    def read(self, file: FoundFile) -> FileResult:
        if "deadly" in file.name:
            os._exit(9)
        return super().read(file)


def test_workers_give_the_same_rows_and_survive_a_killed_reader(tmp_path: Path) -> None:
    paths = [write_image(tmp_path / f"{n}.fits", seed=n) for n in range(4)]
    paths.insert(2, write_image(tmp_path / "deadly.fits"))
    files = [FoundFile(str(p), p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in paths]
    reader = DeadlyReader(parse_profile(""), "test.org", "night", ImageFiles(tmp_path))
    from collections import deque

    results = list(read_in_pool(reader, deque(files), 2))
    assert [result.file for result in results] == files
    assert results[2].reason == "its reader crashed or was killed"
    plain = FileReader(parse_profile(""), "test.org", "night", ImageFiles(tmp_path))
    for file, result in zip(files, results, strict=True):
        if "deadly" not in file.name:
            assert result == plain.read(file)


@pytest.mark.parametrize("name", ["products", "", "a b", "../x", "a?b", "x#y"])
def test_collection_names_are_checked(stores: MetadataStores, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="collection"):
        ingest(stores, tmp_path, collection=name)


def test_a_path_that_is_not_there(stores: MetadataStores, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file or folder"):
        ingest(stores, tmp_path / "nowhere")


def test_nan_and_no_data_borders_are_outside(stores: MetadataStores, tmp_path: Path) -> None:
    path = write_image(tmp_path / "a.fits")
    with fits.open(path, mode="update") as hdulist:
        hdulist["IMAGE"].data[:, :10] = np.nan
        hdulist["IMAGE"].data[20:24, 30:40] = np.nan  # a hole is no border
        hdulist["MASK"].data[40:, :] |= 1 << hdulist["MASK"].header["MP_NO_DATA"]
    ingest(stores, path)
    (row,) = stores.datasets.get_many(["ivo://test.org/night?a"])
    region = parse_region(str(row.columns["s_region"]))
    from app.pixels.grid import Grid

    grid = Grid.from_text(ImageRef.from_text(row.image_ref).grid)
    inside = {(12, 5), (62, 38), (35, 22)}
    outside = {(8, 5), (30, 42), (5, 45)}
    for x, y in inside | outside:
        lon, lat = grid.pixel_to_sky(x, y)
        assert contains_point(region, Point(float(lon), float(lat))) == ((x, y) in inside)
    assert len(region.vertices) == 4  # type: ignore[union-attr]


def test_companion_files_by_name(stores: MetadataStores, tmp_path: Path) -> None:
    flux = np.full((48, 64), 5.0, "f4")
    (tmp_path / "x_img.fits").write_bytes(image_bytes(flux, wcs_header()))
    (tmp_path / "x_wht.fits").write_bytes(image_bytes(np.full((48, 64), 0.25, "f4"), fits.Header()))
    (tmp_path / "y_wht.fits").write_bytes(image_bytes(flux, wcs_header()))
    profile = tmp_path / "p.toml"
    profile.write_text("[[companion]]\nrole = 'weight'\nmatch = '_img'\npath = '_wht'\n")
    report = ingest(stores, tmp_path, profile=profile)
    files = by_name(report)
    assert files["x_wht.fits"].status is Status.COMPANION
    assert files["x_wht.fits"].reason == "companion of x_img.fits"
    assert files["y_wht.fits"].status is Status.PUBLISHED  # nobody's companion
    (row,) = stores.datasets.get_many(["ivo://test.org/night?x_img"])
    image = ImageStore(data_dir=tmp_path).read(ImageRef.from_text(row.image_ref))
    assert (image.variance == 4.0).all()
    assert ImageRef.from_text(row.image_ref).noise == pytest.approx(2.0)


def test_the_share_of_usable_pixels_is_noted(stores: MetadataStores, tmp_path: Path) -> None:
    flux, weight = np.full((48, 64), 5.0, "f4"), np.full((48, 64), 0.25, "f4")
    flux[:, :16], weight[:, 12:20] = np.nan, 0.0
    (tmp_path / "x_img.fits").write_bytes(image_bytes(flux, wcs_header()))
    (tmp_path / "x_wht.fits").write_bytes(image_bytes(weight, fits.Header()))
    profile = tmp_path / "p.toml"
    profile.write_text("[[companion]]\nrole = 'weight'\nmatch = '_img'\npath = '_wht'\n")
    ingest(stores, tmp_path, profile=profile)
    (row,) = stores.datasets.get_many(["ivo://test.org/night?x_img"])
    told = ImageRef.from_text(row.image_ref).usable_fraction
    assert told == pytest.approx(1 - 20 / 64, abs=1e-3)


def test_the_noise_of_an_image_without_a_noise_plane_is_that_of_its_pixels(
    stores: MetadataStores, tmp_path: Path
) -> None:
    flux = np.random.default_rng(2).normal(100.0, 3.0, (512, 512)).astype("f4")
    flux[:300:8, 3] = np.nan
    (tmp_path / "plain.fits").write_bytes(image_bytes(flux, wcs_header()))
    ingest(stores, tmp_path)
    (row,) = stores.datasets.get_many(["ivo://test.org/night?plain"])
    assert ImageRef.from_text(row.image_ref).noise == pytest.approx(3.0, rel=0.1)


def test_a_damaged_companion_is_named(stores: MetadataStores, tmp_path: Path) -> None:
    flux = np.full((48, 64), 5.0, "f4")
    (tmp_path / "x_img.fits").write_bytes(image_bytes(flux, wcs_header()))
    (tmp_path / "x_wht.fits").write_bytes(image_bytes(flux[:40], fits.Header()))
    profile = tmp_path / "p.toml"
    profile.write_text("[[companion]]\nrole = 'weight'\nmatch = '_img'\npath = '_wht'\n")
    report = ingest(stores, tmp_path, profile=profile)
    assert report.refused == [
        (str(tmp_path / "x_img.fits"), "no HDU of its companion x_wht.fits fits it")
    ]


def test_compressed_copies_give_the_same_region(stores: MetadataStores, tmp_path: Path) -> None:
    import bz2

    plain = write_image(tmp_path / "d" / "a.fits")
    (tmp_path / "d" / "b.fits.gz").write_bytes(gzip.compress(plain.read_bytes()))
    (tmp_path / "d" / "c.fits.bz2").write_bytes(bz2.compress(plain.read_bytes()))
    with fits.open(plain) as hdulist:
        packed = [
            hdulist[0],
            *(fits.CompImageHDU(h.data, h.header, name=h.name) for h in hdulist[1:]),
        ]
        fits.HDUList(packed).writeto(tmp_path / "d" / "d.fits.fz")
    shutil.copy(plain, tmp_path / "d" / "e.FIT")
    (tmp_path / "d" / ".hidden.fits").write_bytes(b"")
    report = ingest(stores, tmp_path / "d")
    assert (report.inserted, len(report.files)) == (5, 5)
    rows = stores.datasets.get_many([f"ivo://test.org/night?{name}" for name in "abcde"])
    assert len({row.columns["s_region"] for row in rows}) == 1
    masks = {
        ImageStore(data_dir=tmp_path).read(ImageRef.from_text(r.image_ref)).mask.tobytes()
        for r in rows
    }
    assert len(masks) == 1


def test_who_may_have_an_image_is_told_by_options_or_profile(
    stores: MetadataStores, tmp_path: Path
) -> None:
    profile = tmp_path / "p.toml"
    profile.write_text(
        "[columns]\ndata_rights = { cards = ['RIGHTS'] }\n"
        "obs_release_date = { cards = ['RELEASE'] }\n"
    )
    write_image(tmp_path / "held.fits", RIGHTS="Proprietary", RELEASE="2027-03-01")
    write_image(tmp_path / "wrong.fits", RIGHTS="ours", seed=2)
    write_image(tmp_path / "when.fits", RELEASE="next year", seed=3)
    report = ingest(stores, tmp_path, profile=profile)
    refused = dict(report.refused)
    assert "'ours': one of public, secure, proprietary" in refused[str(tmp_path / "wrong.fits")]
    assert "'next year' is no date" in refused[str(tmp_path / "when.fits")]
    (row,) = stores.datasets.of_file(str(tmp_path / "held.fits"))
    assert row.columns["data_rights"] == "proprietary"
    assert str(row.columns["obs_release_date"]).startswith("2027-03-01")
    ingest(stores, tmp_path, profile=profile, columns={"data_rights": "secure"}, force=True)
    for name in ("held.fits", "wrong.fits"):
        (row,) = stores.datasets.of_file(str(tmp_path / name))
        assert row.columns["data_rights"] == "secure"
