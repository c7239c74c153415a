"""All the real images through the ingest, each folder by its own profile."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS

from app.pixels.grid import Grid
from app.pixels.image import bits
from app.recipes.recipe import ImageRef
from app.schema.rows import DatasetRow
from app.services.ingest.report import IngestReport, Status
from app.services.ingest.service import IngestService
from app.sky.predicates import contains_point
from app.sky.shapes import Point, Polygon
from app.sky.stcs import parse_region
from app.stores.images import ImageStore
from app.stores.metadata import MetadataStores, open_stores
from tests.databases import database_at
from tests.machine import SHARED

ROOT = Path(__file__).resolve().parents[2]
REAL = SHARED / "realdata"
FOLDERS = (
    "decam_i_2016_2018",
    "decam_bok_cutouts",
    "rubin_alerts",
    "galactic_centre",
    "odd_headers",
)

pytestmark = pytest.mark.needs("shared")


def profile_of(folder: str) -> Path:
    return ROOT / "tests" / "profiles" / f"{folder}.toml"


@dataclass(frozen=True)
class Ingested:
    """The store after all folders were ingested, and the report of each."""

    stores: MetadataStores
    reports: dict[str, IngestReport]

    def rows(self, folder: str) -> dict[str, DatasetRow]:
        """Dataset row by the path of its file below the folder (the last HDU of several)."""
        report = self.reports[folder]
        ids = [name for file in report.files for name in file.datasets]
        rows = self.stores.datasets.get_many(ids)
        return {Path(row.file_path).relative_to(REAL / folder).as_posix(): row for row in rows}

    def refs(self, folder: str) -> dict[str, ImageRef]:
        return {name: ImageRef.from_text(r.image_ref) for name, r in self.rows(folder).items()}


@pytest.fixture(scope="module")
def ingested(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingested]:
    url = database_at(tmp_path_factory.mktemp("ingest") / "skyloom.sqlite3")
    stores = open_stores(url)
    service = IngestService(datasets=stores.datasets, authority="test.org", workers=1)
    reports = {
        name: service.run([REAL / name], collection=name, profile=profile_of(name))
        for name in FOLDERS
    }
    yield Ingested(stores, reports)
    stores.close()


def test_every_file_gives_rows_or_a_reason(ingested: Ingested) -> None:
    for folder, report in ingested.reports.items():
        present = sorted(p for p in (REAL / folder).rglob("*.fits*") if p.is_file())
        assert [file.path for file in report.files] == [str(p) for p in present]
        for file in report.files:
            assert file.datasets or file.reason
    assert {name: r.exit_status for name, r in ingested.reports.items()} == {
        **dict.fromkeys(FOLDERS, 0),
        "odd_headers": 1,
    }


def test_refused_files_say_why(ingested: Ingested) -> None:
    reasons = {Path(path).name: why for path, why in ingested.reports["odd_headers"].refused}
    assert set(reasons) == {
        "aia_171_level1.fits",
        "hips_tile.fits",
        "small_MI_corrupt_img.fits",
        "validate.fits",
    }
    assert "positions on the Sun" in reasons["aia_171_level1.fits"]
    assert "not on the sky" in reasons["hips_tile.fits"]
    assert "no CRPIX1, CRPIX2" in reasons["small_MI_corrupt_img.fits"]
    assert "no image with pixels" in reasons["validate.fits"]
    (partly,) = [f for f in ingested.reports["odd_headers"].files if f.path.endswith("test0.fits")]
    assert partly.status is Status.PUBLISHED
    assert len(partly.datasets) == 3
    assert "UNITLESS" in partly.notes[0]


def test_a_second_run_changes_nothing_and_opens_nothing(ingested: Ingested) -> None:
    service = IngestService(datasets=ingested.stores.datasets, authority="test.org", workers=1)
    for name in FOLDERS:
        report = service.run([REAL / name], collection=name, profile=profile_of(name))
        assert (report.inserted, report.updated, report.removed) == (0, 0, 0)
        assert not any(file.status is Status.PUBLISHED for file in report.files)
        before = ingested.reports[name]
        assert report.refused == before.refused
        assert report.counts()["unchanged"] == before.counts()["published"]


@dataclass(frozen=True)
class Truth:
    """What astropy alone says of an image."""

    corners: np.ndarray
    vertex_pixels: np.ndarray
    scale_deg: float
    valid: np.ndarray


def truth_of(row: DatasetRow, vertices: np.ndarray) -> Truth:
    with warnings.catch_warnings(), fits.open(row.file_path) as hdulist:
        warnings.simplefilter("ignore")
        hdu = hdulist[row.file_hdu]
        wcs = WCS(hdu.header, hdulist)
        wcs = wcs if wcs.naxis == 2 else wcs.celestial
        ny, nx = hdu.shape
        x = np.array([-0.5, nx - 0.5, nx - 0.5, -0.5])
        y = np.array([-0.5, -0.5, ny - 0.5, ny - 0.5])
        sky = wcs.pixel_to_world(x, y).icrs
        near = wcs.pixel_to_world([(nx - 1) / 2, (nx + 1) / 2], [(ny - 1) / 2] * 2).icrs
        places = SkyCoord(*vertices.T, unit="deg", frame="icrs")
        return Truth(
            corners=np.stack([sky.ra.deg, sky.dec.deg], axis=1),
            vertex_pixels=np.stack(wcs.world_to_pixel(places), axis=1),
            scale_deg=near[0].separation(near[1]).deg,
            valid=np.isfinite(hdu.data),
        )


def test_footprints_agree_with_astropy_at_the_corners(ingested: Ingested) -> None:
    """The outer pixel corners are vertices; where NaN pixels line the border, every vertex lies
    on the border of the valid ones."""
    whole = trimmed = 0
    for folder in FOLDERS:
        for name, row in ingested.rows(folder).items():
            if name == "manyaxes.fits":  # astropy refuses its header
                continue
            region = parse_region(str(row.columns["s_region"]))
            assert isinstance(region, Polygon)
            vertices = np.array(region.vertices)
            truth = truth_of(row, vertices)
            sides = (truth.valid[0], truth.valid[-1], truth.valid[:, 0], truth.valid[:, -1])
            if not all(side.all() for side in sides):
                assert_on_border(truth)
                trimmed += 1
                continue
            for lon, lat in truth.corners:
                across = ((vertices[:, 0] - lon + 180) % 360 - 180) * np.cos(np.radians(lat))
                off = np.hypot(across, vertices[:, 1] - lat)
                assert off.min() < 0.1 * truth.scale_deg, name
            whole += 1
    assert whole > 130
    assert trimmed == 2


def assert_on_border(truth: Truth) -> None:
    """Within 1.5 px of a vertex there are valid pixels, and pixels that are not (or no pixels)."""
    padded = np.pad(truth.valid, 3)
    for x, y in truth.vertex_pixels:
        rows, columns = np.mgrid[0 : padded.shape[0], 0 : padded.shape[1]]
        near = np.hypot(columns - 3 - x, rows - 3 - y) < 1.5
        assert padded[near].any()
        assert not padded[near].all()


def test_the_galactic_centre_is_found_in_icrs(ingested: Ingested) -> None:
    sgr_a = Point(266.41683, -29.00781)
    rows = ingested.rows("galactic_centre")
    assert {row.columns["lsst_band"] for row in rows.values()} == {"J", "H", "K", "E"}
    for row in rows.values():
        region = parse_region(str(row.columns["s_region"]))
        assert contains_point(region, sgr_a)
        assert not contains_point(region, Point(0.0, 0.0))


def test_decam_exposures_have_their_true_epochs(ingested: Ingested) -> None:
    rows = ingested.rows("decam_i_2016_2018")
    for name, row in rows.items():
        if name.startswith("DEC-OBS"):
            year = {"04": "2018-08-04", "18": "2016-08-18"}[name[7:9]]
            night = {"2018-08-04": 58334, "2016-08-18": 57618}[year]
            assert night <= float(str(row.columns["t_min"])) < night + 1
            assert row.columns["calib_level"] == 2
            length_d = float(str(row.columns["t_max"])) - float(str(row.columns["t_min"]))
            assert length_d == pytest.approx(330 / 86400)
    first = rows["DEC-OBS04a.mini.fits"]
    assert first.columns["t_min"] == pytest.approx(58334.39133794, abs=2e-5)  # its own MJD-OBS
    assert len({r.columns["lsst_visit"] for n, r in rows.items() if n.startswith("DEC")}) == 10


def test_published_products_are_level_3(ingested: Ingested) -> None:
    rows = ingested.rows("decam_i_2016_2018")
    levels = {
        n: (r.columns["calib_level"], r.columns["dataproduct_subtype"])
        for n, r in rows.items()
        if "/" in n
    }
    assert levels == {
        "published/FinalDifference.fits": (3, "lsst.difference_image"),
        "published/Stack-DEC-OBS04.fits": (3, "lsst.template_coadd"),
        "published/Stack-DEC-OBS18.fits": (3, "lsst.template_coadd"),
    }
    old = rows["published/Stack-DEC-OBS18.fits"].columns
    assert 57618 < float(str(old["t_min"])) < float(str(old["t_max"])) < 57619
    assert "s_resolution" not in old


def test_alert_cutouts_by_kind(ingested: Ingested) -> None:
    kinds = {
        "scie": (2, "lsst.visit_image"),
        "temp": (3, "lsst.template_coadd"),
        "diff": (3, "lsst.difference_image"),
    }
    rows = ingested.rows("rubin_alerts")
    assert len(rows) == 72
    for name, row in rows.items():
        kind = name.rsplit("_", 1)[1][:4]
        assert (row.columns["calib_level"], row.columns["dataproduct_subtype"]) == kinds[kind]
        assert ("t_min" not in row.columns) == (kind == "temp")
        ref = ImageRef.from_text(row.image_ref)
        assert ref.zero_point_mag == 31.4
        assert [plane.role for plane in ref.planes] == ["image", "variance"]
    stored = fits.getdata(REAL / "rubin_alerts" / "169813005919846484_i_scie.fits", 1)
    image = ImageStore(data_dir=Path()).read(
        ImageRef.from_text(rows["169813005919846484_i_scie.fits"].image_ref)
    )
    assert np.array_equal(image.variance, stored)


def test_companions_are_linked_and_read(ingested: Ingested) -> None:
    report = ingested.reports["decam_bok_cutouts"]
    companions = [file for file in report.files if file.status is Status.COMPANION]
    marks = ("_oow_", "_ood_", ".wht.")
    assert {f.path for f in companions} == {
        f.path for f in report.files if any(mark in f.path for mark in marks)
    }
    assert len(companions) == 58
    store = ImageStore(data_dir=Path())
    refs = ingested.refs("decam_bok_cutouts")
    assert {ref.band for ref in refs.values()} == {"g", "r", "z"}
    flagged = 0
    for name, ref in refs.items():
        weight_path = str(REAL / "decam_bok_cutouts" / name)
        for mark in ("_ooi_", "_oki_"):
            weight_path = weight_path.replace(mark, "_oow_")
        if "_oow_" not in weight_path:
            weight_path = weight_path.replace(".fits", ".wht.fits")
        weight = fits.getdata(weight_path, 1).astype(float)
        image = store.read(ref)
        weighted = weight > 0
        assert np.allclose(image.variance[weighted], 1 / weight[weighted], rtol=1e-5), name
        assert ((image.mask & bits("BAD")) != 0)[~weighted].all()
        if (mask_path := Path(weight_path.replace("_oow_", "_ood_"))).exists() and "_ood_" in str(
            mask_path
        ):
            codes = fits.getdata(mask_path, 1)
            assert (((image.mask & bits("SAT")) != 0) >= np.isin(codes, (3, 4))).all()
            flagged += int(np.isin(codes, (3, 4)).sum())
    assert flagged > 100


def test_weights_are_the_noise_of_the_pixels(ingested: Ingested) -> None:
    """Units of flux and weight agree: sky scatter over the weights' sigma is about one."""
    ratios = []
    for ref in ingested.refs("decam_bok_cutouts").values():
        image = ImageStore(data_dir=Path()).read(ref)
        sky = image.flux[image.usable()]
        low, high = np.percentile(sky, [16, 50])
        ratios.append((high - low) / np.sqrt(np.median(image.variance[image.usable()])))
    assert 0.7 < np.median(ratios) < 1.3


def test_odd_headers_are_described_without_invention(ingested: Ingested) -> None:
    rows = ingested.rows("odd_headers")
    assert rows["manyaxes.fits"].columns["dataproduct_type"] == "cube"
    assert rows["vla_first_4d.fits"].columns["dataproduct_type"] == "image"
    calexp = ImageRef.from_text(rows["HSC-0908120-056-small.fits"].image_ref)
    assert [plane.role for plane in calexp.planes] == ["image", "variance", "mask"]
    assert dict(calexp.mask_planes)["NO_DATA"] == 9
    assert not {"t_min", "t_exptime", "lsst_band"} & set(rows["HSC-0908120-056-small.fits"].columns)
    assert rows["dss.14.29.56-62.41.05.fits.gz"].columns["t_exptime"] == 4200
    day = rows["dss.14.29.56-62.41.05.fits.gz"].columns
    assert (day["t_min"], day["t_max"]) == (42848.0, 42849.0)
    for row in rows.values():
        assert json.loads(row.image_ref)["grid"]
        grid = Grid.from_text(ImageRef.from_text(row.image_ref).grid)
        assert (row.columns["s_xel2"], row.columns["s_xel1"]) == grid.shape
        for plane in ImageRef.from_text(row.image_ref).planes:
            assert Path(plane.path).exists()


def test_images_of_every_compression_are_read(ingested: Ingested) -> None:
    refs = ingested.refs("odd_headers")
    store = ImageStore(data_dir=Path())
    tiled = [store.read(refs[f"m13_{kind}.fits"]).flux for kind in ("rice", "gzip", "plio")]
    assert np.array_equal(tiled[0], tiled[1])
    assert tiled[2].shape == (300, 300)
    assert np.allclose(store.read(refs["m13_hcomp.fits"]).flux, tiled[0], atol=200)
    assert store.read(refs["dist_lookup.fits.gz"]).shape == (100, 100)


def test_checksums_are_of_the_files(ingested: Ingested) -> None:
    import hashlib

    row = ingested.rows("odd_headers")["tnx.fits"]
    digest = hashlib.sha256(Path(row.file_path).read_bytes()).hexdigest()
    assert row.file_checksum == digest == ImageRef.from_text(row.image_ref).checksum


def test_rows_are_in_the_spatial_index(ingested: Ingested) -> None:
    with ingested.stores.engine.connect() as connection:
        rows = connection.execute(sa.text("SELECT count(*) FROM obscore")).scalar_one()
        boxes = connection.execute(
            sa.text("SELECT count(*) FROM obscore_s_region_outline")
        ).scalar_one()
    assert rows == boxes > 140
