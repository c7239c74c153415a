"""Progressive surveys: stars where another HEALPix says they are, their light kept, no seams."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import astropy.units as u
import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from astropy_healpix import HEALPix
from fastapi import FastAPI
from mocpy import MOC
from PIL import Image
from starlette.testclient import TestClient

from app.errors import NotFoundError, UsageError
from app.http import hips
from app.http.context import ServiceAddress
from app.http.faults import install_fault_handlers
from app.pixels.grid import Grid
from app.pixels.healpix_grid import HealpixGrid
from app.recipes.recipe import ImageRef, PlaneRef
from app.schema.rows import DatasetRow
from app.services.builds_candidates import CandidateFinder
from app.services.hips.service import HipsReport, HipsService
from app.services.hips.shelf import HipsShelf
from app.services.hips.survey import fitting_tile_order
from app.sky.stcs import format_region
from app.stores.hips_files import HipsFolder, Tile
from app.stores.metadata import MetadataStores, open_stores
from tests.databases import database_at
from tests.services.survey import add_star

SCALE_ARCSEC = 0.4
SIZE_PX = 300
FWHM_PX = 3.5
ZERO_POINTS = (27.0, 28.5)
NANOJANSKY = 31.4
ORDER = 10
WIDTH = 512
APERTURE_ARCSEC = 7.0
OFFSETS = [(0.0, 0.0), (25.0, 20.0), (-30.0, 15.0), (-20.0, -30.0), (30.0, -25.0)]
"""East and north of the centre (arcsec); the first lies where tiles meet."""
FLUX_NJY = 5.0e6


def corner_near(lon: float, lat: float) -> SkyCoord:
    """Where four tiles of the finest order meet."""
    healpix = HEALPix(nside=2**ORDER, order="nested", frame="icrs")
    cell = healpix.lonlat_to_healpix(lon * u.deg, lat * u.deg)
    return healpix.healpix_to_skycoord(cell, dx=0.0, dy=0.0)


@dataclass
class Scene:
    """Two images about a centre, turned against each other, and their stars."""

    centre: SkyCoord
    stores: MetadataStores
    data_dir: Path
    service: HipsService

    @property
    def stars(self) -> list[SkyCoord]:
        return [
            self.centre.spherical_offsets_by(east * u.arcsec, north * u.arcsec)
            for east, north in OFFSETS
        ]

    def publish(self, number: int, *, band: str = "r", checksum: str = "") -> DatasetRow:
        """One image."""
        row = self.image(number, band=band, checksum=checksum)
        self.stores.datasets.upsert([row])
        return row

    def image(self, number: int, *, band: str, checksum: str) -> DatasetRow:
        angle, step = np.radians(33.0 * number), SCALE_ARCSEC / 3600.0
        wcs = WCS(naxis=2)
        wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
        wcs.wcs.crval = [self.centre.ra.deg, self.centre.dec.deg]
        wcs.wcs.crpix = [(SIZE_PX + 1) / 2] * 2
        turn = [[-np.cos(angle), np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        wcs.wcs.cd = step * np.array(turn)
        wcs.wcs.radesys = "ICRS"
        flux = np.zeros((SIZE_PX, SIZE_PX))
        counts = FLUX_NJY * 10 ** (0.4 * (ZERO_POINTS[number] - NANOJANSKY))
        for star in self.stars:
            add_star(flux, *map(float, wcs.world_to_pixel(star)), counts, FWHM_PX)
        rng = np.random.default_rng(number)
        flux += rng.normal(0.0, 1e-4 * counts, flux.shape)
        variance = np.full(flux.shape, (1e-4 * counts) ** 2)
        path = self.data_dir / f"{band}-{number}.fits"
        header = wcs.to_header()
        planes = [fits.PrimaryHDU()] + [
            fits.ImageHDU(each.astype(np.float32), header) for each in (flux, variance)
        ]
        fits.HDUList(planes).writeto(path, overwrite=True)
        return self.row(path, header, number, band, checksum)

    def row(
        self, path: Path, header: fits.Header, number: int, band: str, checksum: str
    ) -> DatasetRow:
        grid = Grid.from_header(header, (SIZE_PX, SIZE_PX))
        name = f"ivo://test.local/field?{band}/{number}"
        ref = ImageRef(
            dataset_id=name,
            planes=(
                PlaneRef(path=str(path), hdu=1, role="image"),
                PlaneRef(path=str(path), hdu=2, role="variance"),
            ),
            grid=grid.to_text(),
            band=band,
            t_min=60000.0 + number,
            t_max=60000.1 + number,
            zero_point_mag=ZERO_POINTS[number],
            checksum=checksum or f"sum-{number}",
        )
        return DatasetRow(
            columns={
                "dataproduct_type": "image",
                "calib_level": 2,
                "obs_collection": "field",
                "obs_id": name,
                "obs_publisher_did": name,
                "access_url": "/datalink/links?ID=x",
                "s_region": format_region(grid.footprint()),
                "lsst_band": band,
            },
            file_path=str(path),
            file_hdu=1,
            file_size=1,
            file_mtime_ns=1,
            file_checksum=ref.checksum,
            image_ref=ref.to_text(),
        )

    def make(self, out: Path | None = None, **asked: Any) -> HipsReport:
        """The survey in band r."""
        plan = {"band": "r", "order": None, "title": None} | asked
        survey = self.service.plan("field", **plan)
        return self.service.run(survey, out or self.service.place_of(survey), lambda *_: None)

    @property
    def folder(self) -> HipsFolder:
        return HipsFolder(self.data_dir / "hips" / "field-r")


@contextmanager
def open_scene(url: str, folder: Path, *, place: tuple[float, float]) -> Iterator[Scene]:
    """An empty archive; its stars are about the corner of tiles next to ``place``."""
    stores = open_stores(url)
    service = HipsService(
        finder=CandidateFinder(
            datasets=stores.datasets, tables=stores.tables, catalogs=stores.catalogs
        ),
        data_dir=folder,
        authority="test.local",
        workers=1,
        clock=lambda: datetime(2026, 3, 1, tzinfo=UTC),
    )
    try:
        yield Scene(corner_near(*place), stores, folder, service)
    finally:
        stores.close()


@pytest.fixture
def scene(fresh_sqlite_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Scene]:
    place = getattr(request, "param", (150.0, 2.0))
    with open_scene(fresh_sqlite_url, tmp_path, place=place) as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """Two images and their survey, which nobody changes."""
    folder = tmp_path_factory.mktemp("hips")
    url = database_at(folder / "skyloom.sqlite3")
    with open_scene(url, folder, place=(150.0, 2.0)) as opened:
        for number in range(2):
            opened.publish(number)
        opened.make(title="A field\nin r")
        yield opened


def numbers_of(tile: Tile) -> Any:
    """HEALPix numbers of the pixels of a tile in FITS order, as HiPS clients know it: columns run
    along the odd bits, rows against the even ones."""
    column, row = np.meshgrid(np.arange(WIDTH), np.arange(WIDTH))
    even, odd = WIDTH - 1 - row, column
    inside = np.zeros_like(even)
    for bit in range(9):
        inside |= ((even >> bit) & 1) << (2 * bit)
        inside |= ((odd >> bit) & 1) << (2 * bit + 1)
    return tile.number * WIDTH**2 + inside


def numbers_with_data(folder: HipsFolder, order: int) -> tuple[Any, Any]:
    """HEALPix numbers and values (nJy/arcsec2) of all pixels that have data."""
    places, values = [], []
    for tile in folder.tiles():
        if tile.order == order:
            pixels = folder.read_tile(tile)
            assert pixels is not None
            known = np.isfinite(pixels)
            places.append(numbers_of(tile)[known])
            values.append(pixels[known].astype(float))
    return np.concatenate(places), np.concatenate(values)


def pixels_of(folder: HipsFolder, order: int) -> tuple[SkyCoord, Any]:
    """Their positions instead of the numbers."""
    numbers, values = numbers_with_data(folder, order)
    healpix = HEALPix(nside=2**order * WIDTH, order="nested", frame="icrs")
    return healpix.healpix_to_skycoord(numbers), values


def pixel_area(order: int) -> float:
    """In arcsec2."""
    return float(HEALPix(nside=2**order * WIDTH).pixel_area.to_value(u.arcsec**2))


@pytest.mark.parametrize(
    "scene",
    [(150.0, 2.0), (0.0, -20.0), (90.0, 70.0), (225.0, -41.8)],
    ids=["equator", "RA 0", "edge of base cells in the north", "where polar caps begin"],
    indirect=True,
)
def test_stars_are_in_their_places_with_their_light(scene: Scene) -> None:
    for number in range(2):
        scene.publish(number)
    report = scene.make()
    assert report.faults == ()
    where, values = pixels_of(scene.folder, ORDER)
    for star in scene.stars:
        near = where.separation(star) < APERTURE_ARCSEC * u.arcsec
        flux = values[near].sum() * pixel_area(ORDER)
        assert flux == pytest.approx(FLUX_NJY, rel=0.01)
        east, north = star.spherical_offsets_to(where[near])
        for each in (east, north):
            off = (each.to_value(u.arcsec) * values[near]).sum() / values[near].sum()
            assert abs(off) < 0.02
    # No seams: wherever the middle of both images shows the sky there are pixels, each once.
    inner = where.separation(scene.centre) < 50 * u.arcsec
    wanted = np.pi * 50**2 / pixel_area(ORDER)
    assert inner.sum() == pytest.approx(wanted, rel=2e-3)


def test_coarser_tiles_are_means_of_finer_ones(made: Scene) -> None:
    finer, values = numbers_with_data(made.folder, ORDER)
    for order in range(ORDER - 1, 2, -1):
        parents, place = np.unique(finer >> 2, return_inverse=True)
        means = np.bincount(place, values) / np.bincount(place)
        numbers, found = numbers_with_data(made.folder, order)
        by_number = np.argsort(numbers)
        assert np.array_equal(numbers[by_number], parents)
        assert np.allclose(found[by_number], means, rtol=1e-4, atol=1e-6 * np.abs(means).max())
        finer, values = parents, means


def test_headers_place_pixels_where_healpix_does(made: Scene) -> None:
    for tile in made.folder.tiles():
        with fits.open(made.folder.tile_path(tile, "fits")) as opened:
            header = opened[0].header
        assert (header["ORDER"], header["NPIX"]) == (tile.order, tile.number)
        assert header["BUNIT"] == "nJy/arcsec2"
        places = WCS(header).pixel_to_world([0, 511, 100], [0, 511, 300])
        numbers = numbers_of(tile)[[0, 511, 300], [0, 511, 100]]
        truth = HEALPix(nside=2**tile.order * WIDTH, order="nested", frame="icrs")
        assert (places.separation(truth.healpix_to_skycoord(numbers)) < 1e-3 * u.arcsec).all()


def test_grids_agree_with_healpix_everywhere() -> None:
    rng = np.random.default_rng(5)
    for order in (0, 1, 5):
        every = 12 * 4**order
        for number in range(every) if every < 50 else rng.integers(0, every, 60):
            grid = HealpixGrid(order, int(number), WIDTH)
            x, y = rng.integers(0, WIDTH, (2, 40))
            lon, lat = grid.pixel_to_sky(x.astype(float), y.astype(float))
            truth = HEALPix(nside=2**order * WIDTH, order="nested", frame="icrs")
            wanted = truth.healpix_to_skycoord(numbers_of(Tile(order, int(number)))[y, x])
            assert (wanted.separation(SkyCoord(lon, lat, unit="deg")) < 1e-5 * u.arcsec).all()
            back = grid.sky_to_pixel(lon, lat)
            assert np.allclose(back, (x, y), atol=1e-6)


def test_pictures_lie_upside_down_and_are_transparent_without_data(made: Scene) -> None:
    tile = next(each for each in made.folder.tiles() if each.order == ORDER)
    pixels = made.folder.read_tile(tile)
    assert pixels is not None
    with Image.open(made.folder.tile_path(tile, "png")) as opened:
        grey, alpha = np.moveaxis(np.asarray(opened)[::-1], -1, 0)
    assert np.array_equal(alpha == 255, np.isfinite(pixels))
    assert set(np.unique(alpha)) <= {0, 255}
    bright = np.nan_to_num(pixels, nan=-np.inf)
    assert grey[np.unravel_index(bright.argmax(), bright.shape)] == grey.max()
    order_of_light = np.argsort(pixels[np.isfinite(pixels)])
    assert (np.diff(grey[np.isfinite(pixels)][order_of_light].astype(int)) >= 0).all()


def test_allsky_shows_tiles_row_by_row(made: Scene) -> None:
    (tile,) = (each for each in made.folder.tiles() if each.order == 3)
    row, column = divmod(tile.number, 27)
    with Image.open(made.folder.path / "Norder3" / "Allsky.png") as opened:
        assert opened.size == (27 * 64, 29 * 64)
        alpha = np.asarray(opened)[..., 1]
    here = np.zeros(alpha.shape, bool)
    here[64 * row : 64 * row + 64, 64 * column : 64 * column + 64] = True
    assert alpha[here].any()
    assert not alpha[~here].any()
    with fits.open(made.folder.path / "Norder3" / "Allsky.fits") as opened:
        assert np.array_equal(np.isfinite(opened[0].data[::-1]), alpha == 255)
    with Image.open(made.folder.tile_path(tile, "png")) as opened:
        whole = np.asarray(opened)[..., 1] > 0
    small = whole.reshape(64, 8, 64, 8).any(axis=(1, 3))
    assert np.array_equal(alpha[here].reshape(64, 64) > 0, small)


def test_properties_and_moc(made: Scene) -> None:
    told = made.folder.properties()
    for name in (
        *("creator_did", "obs_title", "dataproduct_type", "hips_version", "hips_release_date"),
        *("hips_status", "hips_frame", "hips_order", "hips_tile_format"),
    ):
        assert told[name]
    assert told["creator_did"] == "ivo://test.local/hips/field-r"
    assert told["obs_title"] == "A field in r"
    assert (told["hips_order"], told["hips_order_min"]) == (str(ORDER), "3")
    assert (told["hips_frame"], told["hips_tile_width"]) == ("equatorial", "512")
    middle = SkyCoord(told["hips_initial_ra"], told["hips_initial_dec"], unit="deg")
    assert middle.separation(made.centre) < 10 * u.arcsec
    low, high = map(float, told["hips_pixel_cut"].split())
    assert low < 0.0 < high
    moc = MOC.from_fits(made.folder.path / "Moc.fits")
    assert moc.contains_skycoords(SkyCoord(made.stars)).all()
    finest = np.array([tile.number for tile in made.folder.tiles() if tile.order == ORDER])
    tiles = MOC.from_healpix_cells(finest, np.full(len(finest), ORDER, np.uint8), max_depth=ORDER)
    assert moc.difference(tiles).empty()
    assert moc.degrade_to_order(ORDER) == tiles
    assert float(told["moc_sky_fraction"]) == pytest.approx(moc.sky_fraction, rel=1e-5)


def stamps(folder: HipsFolder) -> dict[Path, int]:
    """When each file was written."""
    return {path: path.stat().st_mtime_ns for path in folder.path.rglob("Npix*") if path.is_file()}


def test_what_is_whole_is_kept_and_what_changed_is_made_again(scene: Scene) -> None:
    row = scene.publish(0)
    first = scene.make()
    assert first.made
    before = stamps(scene.folder)
    again = scene.make()
    assert (again.made, again.kept) == (0, first.made)
    assert stamps(scene.folder) == before
    scene.publish(1)
    more = scene.make()
    assert more.made
    assert stamps(scene.folder) != before
    scene.stores.datasets.withdraw([row.dataset_id])
    scene.make()
    with_one = HipsFolder(scene.data_dir / "other")
    scene.make(with_one.path)
    for tile in with_one.tiles():
        ours, theirs = scene.folder.read_tile(tile), with_one.read_tile(tile)
        assert ours is not None
        assert theirs is not None
        assert np.array_equal(ours, theirs, equal_nan=True)
    assert set(scene.folder.tiles()) == set(with_one.tiles())


def test_a_run_that_was_stopped_goes_on(scene: Scene) -> None:
    for number in range(2):
        scene.publish(number)
    survey = scene.service.plan("field", band="r", order=None, title=None)
    assert len(survey.blocks) > 1

    def stop(done: int, _all: int) -> None:
        if done:
            raise KeyboardInterrupt

    out = scene.service.place_of(survey)
    with pytest.raises(KeyboardInterrupt):
        scene.service.run(survey, out, stop)
    assert scene.folder.properties() == {}
    assert HipsShelf(folder=scene.data_dir / "hips").surveys() == ()
    done = scene.make()
    assert done.kept
    assert done.made + done.kept == len(survey.blocks)
    whole = HipsFolder(scene.data_dir / "at-once")
    scene.make(whole.path)
    assert set(whole.tiles()) == set(scene.folder.tiles())


def test_images_that_cannot_be_read_are_told_and_left_out(scene: Scene) -> None:
    for number in range(2):
        scene.publish(number)
    (scene.data_dir / "r-1.fits").write_bytes(b"no image")
    report = scene.make()
    (fault,) = report.faults
    assert "ivo://test.local/field?r/1" in fault
    scene.publish(1)
    mended = scene.make()
    assert mended.made
    assert mended.faults == ()


def test_coarser_surveys_keep_the_light_as_well(scene: Scene) -> None:
    scene.publish(0)
    scene.make(order=ORDER - 1)
    assert {tile.order for tile in scene.folder.tiles()} == set(range(3, ORDER))
    where, values = pixels_of(scene.folder, ORDER - 1)
    for star in scene.stars:
        near = where.separation(star) < APERTURE_ARCSEC * u.arcsec
        assert values[near].sum() * pixel_area(ORDER - 1) == pytest.approx(FLUX_NJY, rel=0.02)


def test_wrong_requests(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="collection 'field'"):
        scene.make(band=None)
    scene.publish(0)
    scene.publish(1, band="g")
    with pytest.raises(UsageError, match="--band: choose one of g, r"):
        scene.make(band=None)
    with pytest.raises(UsageError, match="--band z: collection 'field' has g, r"):
        scene.make(band="z")
    with pytest.raises(UsageError, match=f"--order 12: .* {ORDER - 2} to {ORDER}"):
        scene.make(order=12)
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "thesis.tex").write_text("mine")
    with pytest.raises(UsageError, match=r"--out .*/taken: this folder holds something"):
        scene.make(taken)
    assert [each.name for each in taken.iterdir()] == ["thesis.tex"]


def test_orders_follow_the_pixels_of_images() -> None:
    assert fitting_tile_order([0.2, 0.2, 30.0]) == 11
    assert fitting_tile_order([0.4]) == ORDER
    assert fitting_tile_order([1000.0]) == 3


@pytest.fixture
def client(made: Scene) -> Iterator[TestClient]:
    app = FastAPI()
    install_fault_handlers(app)
    shelf = HipsShelf(folder=made.data_dir / "hips")
    app.include_router(hips.router(shelf=shelf, address=ServiceAddress(base_url=None)))
    with TestClient(app, raise_server_exceptions=False) as opened:
        yield opened


def test_the_service_lists_and_sends_surveys(made: Scene, client: TestClient) -> None:
    (made.data_dir / "hips" / "unfinished" / "Norder3").mkdir(parents=True, exist_ok=True)
    listed = client.get("/hips")
    assert listed.headers["content-type"].startswith("text/plain")
    records = [
        dict(line.replace(" ", "").split("=", 1) for line in record.splitlines())
        for record in listed.text.split("\n\n")
    ]
    (record,) = records
    assert record["hips_service_url"] == "http://testserver/hips/field-r"
    assert record["creator_did"] == "ivo://test.local/hips/field-r"
    assert record["hips_status"] and record["hips_release_date"]
    tile = next(each for each in made.folder.tiles() if each.order == ORDER)
    folder = 10000 * (tile.number // 10000)
    url = f"/hips/field-r/Norder{ORDER}/Dir{folder}/Npix{tile.number}"
    picture = client.get(f"{url}.png")
    assert picture.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(picture.content)).size == (512, 512)
    assert picture.headers["cache-control"] == "public, max-age=3600"
    kept = client.get(f"{url}.png", headers={"If-None-Match": picture.headers["etag"]})
    assert (kept.status_code, kept.content) == (304, b"")
    assert client.head(f"{url}.fits").headers["content-length"] == str(
        made.folder.tile_path(tile, "fits").stat().st_size
    )
    assert "hips_order" in client.get("/hips/field-r/properties").text
    assert client.get("/hips/field-r/Moc.fits").headers["content-type"] == "application/fits"
    assert client.get("/hips/field-r/Norder3/Allsky.png").status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/hips/field-r/../../r-0.fits",
        "/hips/field-r/%2e%2e/%2e%2e/r-0.fits",
        "/hips/..%2f..%2f/properties",
        "/hips/%2e%2e/properties",
        "/hips/field-r/.skyloom/block-8-1",
        "/hips/field-r/Norder3/Dir0/Npix1.png",
        "/hips/field-r/Norder3/Dir0/..%2fAllsky.png",
        "/hips/unfinished/properties",
        "/hips/nothing/properties",
        "/hips/field-r/",
    ],
)
def test_nothing_else_is_sent(made: Scene, client: TestClient, path: str) -> None:
    (made.data_dir / "properties").write_text("secret = 1")
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text


def test_rows_of_a_collection_without_zero_points(scene: Scene) -> None:
    row = scene.image(0, band="r", checksum="")
    ref = replace(ImageRef.from_text(row.image_ref), zero_point_mag=None)
    scene.stores.datasets.upsert([replace(row, image_ref=ref.to_text())])
    scene.make()
    assert scene.folder.properties()["hips_pixel_unit"] == "arcsec-2"
    where, values = pixels_of(scene.folder, ORDER)
    counts = FLUX_NJY * 10 ** (0.4 * (ZERO_POINTS[0] - NANOJANSKY))
    near = where.separation(scene.stars[1]) < APERTURE_ARCSEC * u.arcsec
    assert values[near].sum() * pixel_area(ORDER) == pytest.approx(counts, rel=0.01)
