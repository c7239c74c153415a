"""Templates from coadds: patches of one tract and a second, rotated tract under one image."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from numpy.typing import NDArray

from app.errors import CoverageError, ImageFormatError, RecipeError, StoppedError
from app.pixels.bright_objects import mark_bright_objects
from app.pixels.bright_shapes import Disc
from app.pixels.grid import Grid
from app.pixels.image import MaskedImage, bits
from app.pixels.lattice import group_by_lattice, offset_px
from app.recipes.recipe import ImageRef, InputUse, PlaneRef
from app.recipes.target import Bounds, cut
from app.stores.fits_layout import product_fits
from app.stores.images import ImageStore
from app.workers.get_template import MergedTemplate, get_template

SCALE_ARCSEC = 0.2
SIZE = 400
NOISE = 2.0
FWHM_PX = 4.0
FLUX = 40_000.0


def tan(shape: tuple[int, int], rotation_deg: float = 0.0, lon_deg: float = 80.0) -> Grid:
    ny, nx = shape
    k, angle = SCALE_ARCSEC / 3600.0, np.radians(rotation_deg)
    header = fits.Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = lon_deg, -30.0
    header["CRPIX1"], header["CRPIX2"] = nx / 2 + 0.5, ny / 2 + 0.5
    header["CD1_1"], header["CD1_2"] = -k * np.cos(angle), k * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = k * np.sin(angle), k * np.cos(angle)
    return Grid.from_header(header, shape)


TRACT = tan((SIZE, SIZE))
OTHER_TRACT = tan((SIZE, SIZE), rotation_deg=25.0, lon_deg=80.0 - 250 * SCALE_ARCSEC / 3600)
TARGET = cut(tan((240, 300), rotation_deg=10.0), (0, 240, 0, 300))
STARS = [(40.0 + 55.0 * i, 40.0 + 60.0 * j) for i in range(5) for j in range(3)]
"""x, y on the target."""

BRIGHT = tuple(
    Disc(float(lon), float(lat), 3.0 / 3600)
    for lon, lat in zip(
        *TARGET.pixel_to_sky([100.0, 150.0, 280.0], [120.0, 60.0, 200.0]), strict=True
    )
)
"""Objects on the target: in single coadds, in the overlap of two patches, and in another tract."""


def sky_of(grid: Grid) -> NDArray[np.float64]:
    """The stars without noise."""
    y, x = np.mgrid[: grid.shape[0], : grid.shape[1]].astype(float)
    sigma = FWHM_PX / 2.3548
    lon, lat = TARGET.pixel_to_sky(*np.array(STARS).T)
    image = np.zeros(grid.shape)
    for star_x, star_y in zip(*grid.sky_to_pixel(lon, lat), strict=True):
        r2 = (x - star_x) ** 2 + (y - star_y) ** 2
        image += FLUX / (2 * np.pi * sigma**2) * np.exp(-0.5 * r2 / sigma**2)
    return image


class Coadds:
    """Products in a folder, as a template build writes them."""

    def __init__(self, folder: Path) -> None:
        self.images = ImageStore(data_dir=folder)
        self._folder = folder
        tract = sky_of(TRACT) + np.random.default_rng(1).normal(0, NOISE, TRACT.shape)
        other = sky_of(OTHER_TRACT) + np.random.default_rng(2).normal(0, NOISE, TRACT.shape)
        self.west = self.write("west", TRACT, tract, (0, SIZE, 0, 230))
        self.east = self.write("east", TRACT, tract, (0, SIZE, 170, SIZE))
        self.other = self.write("other", OTHER_TRACT, other, (0, SIZE, 0, SIZE))

    def write(
        self,
        name: str,
        tract: Grid,
        pixels: NDArray[np.float64],
        window: Bounds,
        zero_point_mag: float = 31.4,
        noise: float = NOISE,
    ) -> ImageRef:
        grid = cut(tract, window)
        flux = pixels[window[0] : window[1], window[2] : window[3]].astype(np.float32)
        image = MaskedImage(
            flux, np.full(flux.shape, noise**2, np.float32), np.zeros(flux.shape, np.int32)
        )
        image.mask[-60:-40, 40:60] = bits("CLIPPED")
        image = mark_bright_objects(image, grid, BRIGHT)
        path = self._folder / f"{name}.fits"
        path.write_bytes(b"".join(product_fits(image, grid, [], [])))
        roles = ("image", "mask", "variance")
        return ImageRef(
            dataset_id=f"ivo://test/{name}",
            planes=tuple(
                PlaneRef(path=path.name, hdu=hdu, role=role)  # type: ignore[arg-type]
                for hdu, role in enumerate(roles, start=1)
            ),
            grid=grid.to_text(),
            band="r",
            fwhm_arcsec=FWHM_PX * SCALE_ARCSEC,
            zero_point_mag=zero_point_mag,
            mask_planes=(("CLIPPED", 11), ("NO_DATA", 8), ("BRIGHT_OBJECT", 21)),
        )

    def template(
        self, *refs: ImageRef, target: Grid = TARGET
    ) -> tuple[MaskedImage, list[InputUse]]:
        merged = self.merged(*refs, target=target)
        return merged.image, list(merged.uses)

    def merged(self, *refs: ImageRef, target: Grid = TARGET) -> MergedTemplate:
        return get_template(
            self.images,
            refs,
            target,
            kernel="lanczos3",
            zero_point_mag=31.4,
            at=lambda stage, done, total: None,
        )


def test_bright_objects_of_several_patches_stay_marked(coadds: Coadds) -> None:
    merged, _ = coadds.template(coadds.west, coadds.east, coadds.other)
    found = (merged.mask & bits("BRIGHT_OBJECT")) != 0
    exact = (mark_bright_objects(merged, TARGET, BRIGHT).mask & ~merged.mask) != 0
    assert not (exact & np.isfinite(merged.flux)).any()
    y, x = np.indices(found.shape)
    lon, lat = (np.array(v) for v in zip(*((d.lon_deg, d.lat_deg) for d in BRIGHT), strict=True))
    apart = [np.hypot(x - i, y - j) for i, j in zip(*TARGET.sky_to_pixel(lon, lat), strict=True)]
    assert np.min(apart, axis=0)[found].max() < 15.0 + 2 * 6.0
    assert all((each[found] < 15.0).any() for each in apart)


@pytest.fixture(scope="module")
def coadds(tmp_path_factory: pytest.TempPathFactory) -> Coadds:
    return Coadds(tmp_path_factory.mktemp("coadds"))


def fluxes(image: MaskedImage) -> NDArray[np.float64]:
    radius = 10
    cuts = [
        image.flux[
            round(y) - radius : round(y) + radius + 1, round(x) - radius : round(x) + radius + 1
        ]
        for x, y in STARS
    ]
    return np.array([cut.astype(np.float64).sum() for cut in cuts])


def blank(image: MaskedImage) -> NDArray[np.bool_]:
    empty = sky_of(TARGET) < 1e-3
    return empty & image.usable()


def test_patches_of_a_tract_are_windows_of_one_lattice() -> None:
    west, east = cut(TRACT, (0, SIZE, 0, 150)), cut(TRACT, (20, SIZE, 250, SIZE))
    assert offset_px(east, west) == (20, 250)
    assert offset_px(OTHER_TRACT, west) is None
    groups = group_by_lattice([west, OTHER_TRACT, east])
    assert groups == [[(0, (0, 0)), (2, (20, 250))], [(1, (0, 0))]]


def test_patches_are_merged_before_the_only_resampling(coadds: Coadds) -> None:
    image, uses = coadds.template(coadds.west, coadds.east)
    whole = coadds.write("whole", TRACT, _joined(coadds), (0, SIZE, 0, SIZE))
    expected, _ = coadds.template(whole)
    both = image.usable() & expected.usable()
    assert both.mean() > 0.95
    np.testing.assert_allclose(image.flux[both], expected.flux[both], rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose(image.variance[both], expected.variance[both], rtol=1e-5)
    assert sum(use.weight or 0.0 for use in uses) == pytest.approx(1.0)
    assert all(use.rejected is None for use in uses)


def _joined(coadds: Coadds) -> NDArray[np.float64]:
    pixels = np.empty(TRACT.shape)
    for ref, start in ((coadds.east, 170), (coadds.west, 0)):
        flux = coadds.images.read(ref).flux
        pixels[:, start : start + flux.shape[1]] = flux
    return pixels


def test_flux_variance_and_mask_across_patches_and_tracts(coadds: Coadds) -> None:
    image, uses = coadds.template(coadds.west, coadds.east, coadds.other)
    assert np.isfinite(image.flux).all()
    assert fluxes(image).mean() == pytest.approx(FLUX, rel=2e-3)
    assert [use.rejected for use in uses] == [None] * 3
    assert image.zero_point_mag == 31.4
    assert image.fwhm_px == pytest.approx(FWHM_PX, rel=0.01)
    assert (image.mask & bits("CLIPPED")).any()


def test_variances_of_overlapping_coadds_are_averaged_not_added_in_quadrature(
    coadds: Coadds,
) -> None:
    once, _ = coadds.template(coadds.west, coadds.east)
    twice, _ = coadds.template(coadds.west, coadds.east, coadds.other)
    both = blank(once) & blank(twice)
    ratio = np.median(twice.variance[both]) / np.median(once.variance[both])
    assert ratio == pytest.approx(1.0, abs=0.02)


def test_a_coadd_elsewhere_is_told_and_none_at_all_is_an_error(coadds: Coadds) -> None:
    far = coadds.write("far", tan((50, 50), lon_deg=81.0), np.zeros((50, 50)), (0, 50, 0, 50))
    _, uses = coadds.template(coadds.west, far)
    assert [use.rejected for use in uses] == [None, "no pixel of it on the image"]
    assert uses[1].weight is None
    with pytest.raises(CoverageError) as fault:
        coadds.template(far)
    numbers = re.findall(r"[-+]?\d+\.\d+", str(fault.value))
    middle = TARGET.pixel_to_sky(149.5, 119.5)
    assert [float(n) for n in numbers[1:]] == pytest.approx([float(v) for v in middle], abs=1e-4)


def test_unusual_variance_of_merged_coadds_is_marked(coadds: Coadds) -> None:
    """A strip in which another coadd, five times as noisy, stands alone."""
    window = (0, SIZE, 230, 300)
    noisy = coadds.write("noisy", TRACT, _joined(coadds), window, noise=5.0 * NOISE)
    image, _ = coadds.template(coadds.west, noisy)
    x, _ = TRACT.sky_to_pixel(*TARGET.pixel_to_sky(*np.indices(TARGET.shape)[::-1]))
    marked = (image.mask & bits("HIGH_VARIANCE")) != 0
    assert marked[(x > 260) & (x < 290)].all()
    assert not marked[(x < 190) | (x > 310)].any()


def test_unlike_scales_are_brought_to_one(coadds: Coadds) -> None:
    brighter = coadds.write(
        "brighter", TRACT, _joined(coadds) * 10.0, (0, SIZE, 0, SIZE), zero_point_mag=33.9
    )
    image, uses = coadds.template(brighter)
    assert uses[0].scale == pytest.approx(0.1)
    assert fluxes(image).mean() == pytest.approx(FLUX, rel=2e-3)


def test_a_coadd_that_cannot_be_read_is_named(coadds: Coadds, tmp_path: Path) -> None:
    with pytest.raises(ImageFormatError, match="ivo://test/west"):
        get_template(
            ImageStore(data_dir=tmp_path),
            [coadds.west],
            TARGET,
            kernel="lanczos3",
            zero_point_mag=None,
            at=lambda *told: None,
        )


def test_it_stops_between_coadds(coadds: Coadds) -> None:
    told: list[tuple[str, int, int]] = []

    def at(stage: str, done: int, total: int) -> None:
        told.append((stage, done, total))
        if done == 1:
            raise StoppedError()

    with pytest.raises(StoppedError):
        get_template(
            coadds.images,
            [coadds.west, coadds.east],
            TARGET,
            kernel="lanczos3",
            zero_point_mag=None,
            at=at,
        )
    assert told == [("merge", 0, 2), ("merge", 1, 2)]


def test_unknown_and_known_zero_points_do_not_mix(coadds: Coadds) -> None:
    from app.pixels.merge import Merger

    image = coadds.images.read(coadds.west)
    merger = Merger(image.shape)
    merger.add(image)
    with pytest.raises(RecipeError, match="zero points"):
        merger.add(MaskedImage(image.flux, image.variance, image.mask))
