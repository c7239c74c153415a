"""The PSF that a template build keeps in its product, against the stars of the simulated field."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from astropy.io import fits

from app.pixels.grid import Grid
from app.pixels.psf_field import Profile
from app.recipes.recipe import BuildPlan, BuildReport, ImageRef, Recipe, TemplateOptions
from app.recipes.target import cut
from app.stores.images import ImageStore
from app.stores.warps import WarpStore
from app.workers.tasks import build
from app.workers.work import Limits
from tests.psf_recipe import psf_stamp
from tests.truth.files import write_exposures

SIZE_PX = 500


def make(
    folder: Path,
    refs: tuple[ImageRef, ...],
    grid: Grid,
    name: str,
    source: Literal["exposures", "coadds"] = "exposures",
) -> BuildReport:
    """Build a template of the references in this process."""
    recipe = Recipe(
        kind="template",
        band="r",
        grid=grid.to_text(),
        inputs=tuple((ref.dataset_id, ref.checksum) for ref in refs),
        template=TemplateOptions(statistic="mean", source=source),
    )
    plan = BuildPlan(
        recipe=recipe,
        dataset_id=f"ivo://test.local/{name}",
        output_path=str(folder / f"{name}.fits"),
        inputs=refs,
    )
    return build(
        plan,
        lambda: False,
        lambda *_: None,
        ImageStore(data_dir=Path("/")),
        WarpStore(folder=folder / "warps", max_bytes=2**30),
        Limits(),
    )


def as_input(report: BuildReport) -> ImageRef:
    """A product as an input of the next build."""
    return ImageRef(
        dataset_id=report.dataset_id,
        planes=report.planes,
        grid=report.grid,
        band="r",
        zero_point_mag=report.zero_point_mag,
        checksum=report.checksum,
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("psf")


@pytest.fixture(scope="module")
def refs(truth, folder):
    """The exposures as files, their headers wrong about the seeing."""
    written = write_exposures(truth, folder)
    return tuple(replace(ref, fwhm_arcsec=3.0) for ref in written)


@pytest.fixture(scope="module")
def grid(truth):
    return truth.settings.target_grid(SIZE_PX)


@pytest.fixture(scope="module")
def report(folder, refs, grid):
    return make(folder, refs, grid, "template")


def true_fwhm_px(truth, grid, x, y, weights):
    """Of the weighted sum of the true profiles of the inputs that reach a place."""
    lon, lat = grid.pixel_to_sky(x, y)
    total = 0.0
    for seen in truth.observations:
        at = [float(v) for v in seen.grid.sky_to_pixel(lon, lat)]
        if all(0 < v < n for v, n in zip(at, seen.image.shape[::-1], strict=True)):
            total = total + weights[seen.number] * radial(seen, *at)
    radius = np.arange(total.size) * 0.05
    half = int(np.argmax(total < 0.5 * total[0]))
    return float(2.0 * np.interp(0.5 * total[0], total[[half, half - 1]], radius[[half, half - 1]]))


def radial(seen, x, y):
    """Azimuthal mean of the true PSF in steps of 0.05 px."""
    profile = Profile(seen.psf.fine_stamp(x, y, 20, 0.25), 0.25)
    angle = np.arange(0.0, 2.0 * np.pi, np.pi / 12)[:, None]
    radius = np.arange(0.0, 10.0, 0.05)[None, :]
    return profile.values(radius * np.cos(angle), radius * np.sin(angle)).mean(axis=0)


def test_the_width_at_a_place_is_that_of_the_stars(truth, report, grid):
    psf = ImageStore(data_dir=Path("/")).read_psf(as_input(report))
    assert psf is not None
    with fits.open(report.path) as hdus:
        rows = hdus["INPUTS"].data
        weights = {int(r["dataset_id"].rpartition("?")[2]): r["weight"] for r in rows}
        assert hdus[0].header["NPSF"] == len(truth.observations)
        stated = hdus[0].header["FWHM"]
    widths = []
    for x, y in ((60.0, 70.0), (250.0, 250.0), (430.0, 100.0), (120.0, 400.0)):
        width = psf.profile(x, y).shape().fwhm_px
        assert width == pytest.approx(true_fwhm_px(truth, grid, x, y, weights), rel=0.01)
        widths.append(width * grid.pixel_scale_arcsec)
    assert min(widths) < stated < max(widths)
    assert report.fwhm_arcsec == stated


def test_it_is_small_and_a_cached_warp_gives_the_same(folder, refs, grid, report):
    with fits.open(report.path) as hdus:
        size = sum(hdus[name].filebytes() for name in ("PSF", "PSF_BASIS"))
        names = set(hdus["PSF"].data["INPUT"])
    assert size < 1_000_000
    assert names == {ref.dataset_id for ref in refs}
    content = Path(report.path).read_bytes()
    assert make(folder, refs, grid, "template").checksum == report.checksum
    assert Path(report.path).read_bytes() == content


def test_a_template_as_input_brings_its_psf(folder, grid, report):
    again = make(folder, (as_input(report),), grid, "copy")
    assert again.fwhm_arcsec == pytest.approx(report.fwhm_arcsec, rel=2e-3)
    with fits.open(again.path) as hdus:
        assert set(hdus["PSF"].data["INPUT"]) == {report.dataset_id}


@pytest.fixture(scope="module")
def patches(folder, refs, grid):
    """Two coadds on the pixels of one tract; the second is of half of the exposures."""
    west = make(folder, refs, cut(grid, (0, SIZE_PX, 0, 300)), "west")
    east = make(folder, refs[:5], cut(grid, (0, SIZE_PX, 200, SIZE_PX)), "east")
    return west, east


def true_shape(truth, grid, x, y, weights):
    """Of the true stars of the inputs that reach a place, with those weights, on these pixels."""
    lon, lat = grid.pixel_to_sky(x, y)
    fine = 0.25 * np.arange(-60.0, 61.0)
    sky = grid.pixel_to_sky(*np.meshgrid(x + fine, y + fine))
    total = 0.0
    for seen in truth.observations:
        at_x, at_y = (float(v) for v in seen.grid.sky_to_pixel(lon, lat))
        ny, nx = seen.image.shape
        if 0 < at_x < nx and 0 < at_y < ny:
            own = Profile(seen.psf.fine_stamp(at_x, at_y, 22, 0.25), 0.25)
            there_x, there_y = seen.grid.sky_to_pixel(*sky)
            total = total + weights[seen.number] * own.values(there_x - at_x, there_y - at_y)
    return Profile(total, 0.25).shape()


@pytest.mark.parametrize(
    ("x", "members"), [(90.0, (0,)), (250.0, (0, 1)), (410.0, (1,))], ids=["west", "both", "east"]
)
def test_the_psf_of_merged_coadds_is_that_of_the_exposures_under_the_place(
    truth, folder, patches, grid, x, members
):
    turned = truth.settings.wcs(360, 30.0, (0.0, 0.0), distorted=True)
    target = Grid.from_header(turned, (360, 360))
    made = make(folder, tuple(map(as_input, patches)), target, "merged", "coadds")
    weights = np.zeros(len(truth.observations))
    for number in members:
        for row in fits.getdata(patches[number].path, "PSF"):
            weights[int(row["INPUT"].rpartition("?")[2])] += row["WEIGHT"]
    at = target.sky_to_pixel(*grid.pixel_to_sky(x, 260.0))
    stamp = psf_stamp(made.path, *map(float, at))
    found, true = Profile(stamp, 1.0).shape(), true_shape(truth, target, *at, weights)
    assert found.fwhm_px == pytest.approx(true.fwhm_px, rel=0.01)
    assert np.abs(np.subtract(found.ellipticity, true.ellipticity)).max() < 0.005
    with fits.open(made.path) as hdus:
        assert set(hdus["PSF"].data["INPUT"]) == {patch.dataset_id for patch in patches}
        assert hdus[0].header["NPSF"] == 2
        assert hdus[0].header["FWHM"] == pytest.approx(
            true.fwhm_px * target.pixel_scale_arcsec, rel=0.15
        )


def test_a_psf_in_the_file_is_preferred_to_the_stars(truth, folder, refs):
    """A file whose PSF extension says another width than its stars show."""
    path = folder / "with_psf.fits"
    v, u = np.mgrid[-20:21, -20:21]
    stamp = np.exp(-0.5 * (u * u + v * v) / 4.0**2)
    with fits.open(refs[0].planes[0].path) as hdus:
        fits.HDUList([*hdus, fits.ImageHDU(stamp, name="PSF")]).writeto(path)
    planes = tuple(replace(plane, path=str(path)) for plane in refs[0].planes)
    ref = replace(refs[0], planes=planes, checksum="own")
    made = make(folder, (ref,), Grid.from_text(ref.grid), "own")
    scale = truth.observations[0].grid.pixel_scale_arcsec
    assert made.fwhm_arcsec == pytest.approx(2.3548 * 4.0 * scale, rel=0.01)


def test_without_stars_the_psf_is_unknown(folder, refs):
    """Noise alone: no PSF tables, and no width is made up."""
    path = folder / "blank.fits"
    with fits.open(refs[1].planes[0].path) as hdus:
        rng = np.random.default_rng(3)
        hdus["IMAGE"].data = rng.normal(0.0, 17.0, hdus["IMAGE"].data.shape).astype(np.float32)
        hdus["VARIANCE"].data[:] = 17.0**2
        hdus["MASK"].data[:] = 0
        hdus.writeto(path)
    planes = tuple(replace(plane, path=str(path)) for plane in refs[1].planes)
    ref = replace(refs[1], planes=planes, checksum="blank", fwhm_arcsec=None)
    made = make(folder, (ref,), Grid.from_text(ref.grid), "blank")
    assert made.fwhm_arcsec is None
    with fits.open(made.path) as hdus:
        assert "PSF" not in hdus and hdus[0].header["NPSF"] == 0
