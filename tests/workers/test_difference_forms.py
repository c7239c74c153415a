"""The forms of a difference as products: snap, likelihood, matched template, free pixels, given
stars."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from astropy.io import fits

from app.errors import ComputationError, KernelFitError
from app.pixels.grid import Grid
from app.pixels.image import bits
from app.pixels.psf_field import Profile
from app.recipes.recipe import BuildReport, DifferenceOptions
from tests.psf_recipe import psf_stamp
from tests.services.survey import (
    SCALE_ARCSEC,
    TRANSIENT,
    TRANSIENT_FLUX,
    Exposure,
    standard_exposures,
    star_field,
    write_exposure,
)
from tests.workers.test_tasks import aperture, plan_of, run

*TEMPLATES, SCIENCE = standard_exposures()[:5]
FIRST = Exposure(visit=21, fwhm_px=3.2, mjd=60200, transient=True, sky=4)
SECOND = Exposure(visit=22, fwhm_px=3.1, mjd=60200.001)
"""Two exposures one after the other, on the same pixels."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("field")
    for exposure in (*TEMPLATES, SCIENCE, FIRST, SECOND):
        write_exposure(path, exposure)
    return path


def build(
    folder: Path,
    data_dir: Path,
    options: DifferenceOptions,
    *,
    templates: Any = TEMPLATES,
    science: Exposure = SCIENCE,
) -> BuildReport:
    plan = plan_of(folder, templates, data_dir=data_dir, science=science)
    return run(replace(plan, recipe=replace(plan.recipe, difference=options)))


def place_of_transient(report: BuildReport) -> tuple[float, float]:
    x, y = Grid.from_text(report.grid).sky_to_pixel(*TRANSIENT)
    return float(x), float(y)


def quiet(hdus: Any, report: BuildReport, reach_px: float = 15) -> Any:
    """Pixels without flags, away from the transient."""
    x, y = place_of_transient(report)
    rows, columns = np.indices(hdus["IMAGE"].data.shape)
    good = (hdus["MASK"].data == 0) & np.isfinite(hdus["IMAGE"].data)
    return good & (np.hypot(columns - x, rows - y) > reach_px)


def test_a_snap_difference(folder: Path, tmp_path: Path) -> None:
    options = DifferenceOptions(method="snap")
    made = build(folder, tmp_path, options, templates=[SECOND], science=FIRST)
    with fits.open(made.path) as hdus:
        header, kernel = hdus[0].header, hdus["KERNEL"]
        assert header["SUBMETH"] == "snap" and header["KERNORD"] == 0 and "BKGORD" not in header
        assert kernel.data.shape == (1, 7, 7)
        pulls = (hdus["IMAGE"].data / np.sqrt(hdus["VARIANCE"].data))[quiet(hdus, made)]
    assert header["KERNSUM"] == pytest.approx(1.0, abs=0.02)
    assert pulls.std() == pytest.approx(1.0, abs=0.05) and abs(pulls.mean()) < 0.1
    assert aperture(made, *TRANSIENT) == pytest.approx(TRANSIENT_FLUX, rel=0.1)
    assert [use.role for use in made.uses] == ["science", "template"]
    assert len(made.sources) >= 1


def test_a_likelihood_image(folder: Path, tmp_path: Path) -> None:
    made = build(folder, tmp_path, DifferenceOptions(method="likelihood"))
    x, y = place_of_transient(made)
    at = np.s_[round(y) - 1 : round(y) + 2, round(x) - 1 : round(x) + 2]
    with fits.open(made.path) as hdus:
        header, score = hdus[0].header, hdus["SCORE"].data
        assert header["SUBMETH"] == "likelihood" and header["PRECONV"] == "science"
        assert header["PSFOF"] == "difference" and header["NDIASRC"] == len(made.sources)
        good = quiet(hdus, made)
        assert score[good].std() == pytest.approx(1.0, abs=0.08)
        pulls = hdus["IMAGE"].data / np.sqrt(hdus["VARIANCE"].data)
        np.testing.assert_allclose(pulls[good], score[good], atol=0.05)
        peak = hdus["IMAGE"].data[at].max()
        assert hdus["MASK"].data[round(y), round(x)] & bits("DETECTED")
        assert score[at].max() > 20
        table = hdus["DIASOURCES"].data
        assert hdus["PSF"].header["PSFNX"] == hdus["IMAGE"].header["NAXIS1"]
    stamp = psf_stamp(made.path, x, y)
    assert peak / stamp.max() == pytest.approx(TRANSIENT_FLUX, rel=0.05)
    width = Profile(stamp, 1.0).shape().fwhm_px
    assert made.fwhm_arcsec == pytest.approx(width * SCALE_ARCSEC, rel=0.05)
    assert width > 1.2 * 4.2
    brightest = table[np.argmax(table["psf_inst_flux"])]
    assert brightest["psf_inst_flux"] == pytest.approx(TRANSIENT_FLUX, rel=0.05)


def test_a_matched_template(folder: Path, tmp_path: Path) -> None:
    """It has the PSF of the science image and holds its stars, but not the transient."""
    made = build(folder, tmp_path, DifferenceOptions(product="matched"))
    with fits.open(made.path) as hdus:
        header = hdus[0].header
        assert header["PRODUCT"] == "matched" and header["CONVOLVD"] == "template"
        assert "DIASOURCES" not in hdus and hdus["KERNEL"].header["CONVOLVD"] == "template"
        assert hdus["IMAGE"].header["BUNIT"] == "adu" and "SHARPENS" not in header
        with fits.open(folder / f"i-{SCIENCE.visit}.fits") as raw:
            science = next(hdu.data for hdu in raw if hdu.data is not None)
        flux, usable = hdus["IMAGE"].data, (hdus["MASK"].data & bits("BAD", "NO_DATA")) == 0
    assert made.fwhm_arcsec == pytest.approx(4.2 * SCALE_ARCSEC, rel=0.03)
    assert Profile(psf_stamp(made.path, 100.0, 90.0), 1.0).shape().fwhm_px == pytest.approx(
        4.2, rel=0.03
    )
    lon, lat, total = star_field(60)
    x, y = Grid.from_text(made.grid).sky_to_pixel(lon, lat)
    inside = (x > 15) & (x < 185) & (y > 15) & (y < 185) & (total > 5e3)
    ratios = []
    for column, row in zip(np.rint(x[inside]), np.rint(y[inside]), strict=True):
        box = np.s_[int(row) - 4 : int(row) + 5, int(column) - 4 : int(column) + 5]
        if usable[box].all():
            ratios.append(flux[box].sum() / science[box].sum())
    assert len(ratios) >= 3 and np.median(ratios) == pytest.approx(1.0, abs=0.03)
    assert abs(aperture(made, *TRANSIENT, radius_px=5)) < 0.2 * TRANSIENT_FLUX
    assert (made.t_min, made.exposure_s) == (60001, 120)
    assert made.sources == ()


def test_free_pixels_and_the_header(folder: Path, tmp_path: Path) -> None:
    options = DifferenceOptions(kernel_basis="delta", kernel_lambda=3.0, kernel_spatial_order=0)
    made = build(folder, tmp_path, options)
    with fits.open(made.path) as hdus:
        assert hdus[0].header["KERNBAS"] == "delta" and hdus[0].header["KERNLAM"] == 3.0
        pulls = (hdus["IMAGE"].data / np.sqrt(hdus["VARIANCE"].data))[quiet(hdus, made)]
    assert pulls.std() == pytest.approx(1.0, abs=0.15)
    assert aperture(made, *TRANSIENT) == pytest.approx(TRANSIENT_FLUX, rel=0.1)


def test_given_widths_choose_the_kernel(folder: Path, tmp_path: Path) -> None:
    """The broader image is convolved when it is called the sharper one; the card says so."""
    widths = {"science_fwhm_arcsec": 3.0 * SCALE_ARCSEC, "template_fwhm_arcsec": 5.0 * SCALE_ARCSEC}
    told = {}
    for name, options in {
        "measured": DifferenceOptions(kernel_spatial_order=0),
        "given": DifferenceOptions(kernel_spatial_order=0, **widths),
    }.items():
        with fits.open(build(folder, tmp_path / name, options).path) as hdus:
            told[name] = hdus[0].header, hdus["KERNEL"].header
    measured, given = (header for header, _ in told.values())
    assert measured["CONVOLVD"] == "template" and given["CONVOLVD"] == "science"
    assert measured["SCIFWHM"] == pytest.approx(4.2 * SCALE_ARCSEC, rel=0.05)
    assert measured["TMPFWHM"] < measured["SCIFWHM"]
    assert [given[card] for card in ("SCIFWHM", "TMPFWHM")] == pytest.approx([*widths.values()])
    assert 0 < measured["KSUMSIG"] < 0.05 * measured["KERNSUM"]
    assert 0 <= measured["MASKED"] < 0.3


def test_given_stars_and_why_some_were_not_taken(folder: Path, tmp_path: Path) -> None:
    lon, lat, total = star_field(60)
    bright = np.argsort(-total)[:25]
    given = tuple((float(lon[n]), float(lat[n])) for n in bright)
    options = DifferenceOptions(candidates=(*given, (10.0, 10.0)), kernel_spatial_order=0)
    made = build(folder, tmp_path, options)
    with fits.open(made.path) as hdus:
        stars, header = hdus["KERNEL_STARS"].data, hdus[0].header
    used = stars["USED"]
    assert len(stars) == 26 and used.sum() == header["NSTAMPS"] >= 3
    assert (~used).sum() == header["NSTAMREJ"]
    assert (stars["REASON"][used] == "").all() and (stars["REASON"][~used] != "").all()
    assert "outside the image" in set(stars["REASON"])
    x, y = Grid.from_text(made.grid).sky_to_pixel(lon[bright], lat[bright])
    for star in stars[used]:
        assert np.hypot(x - star["X"], y - star["Y"]).min() < 1
    nowhere = DifferenceOptions(candidates=((150.0, 2.02), (150.02, 2.0)))
    with pytest.raises(KernelFitError, match=r"0 were found"):
        build(folder, tmp_path, nowhere)


Method = Literal["kernel", "zogy", "snap", "likelihood"]


@pytest.mark.parametrize("method", ["kernel", "zogy", "snap", "likelihood"])
def test_an_image_without_stars_is_an_error_that_says_so(method: Method, tmp_path: Path) -> None:
    empty, other = (Exposure(visit=visit, stars=0, mjd=60400 + visit) for visit in (41, 42))
    for exposure in (empty, other):
        write_exposure(tmp_path, exposure)
    with pytest.raises(ComputationError, match=r"usable stamps; 0 were found|stars that show"):
        build(
            tmp_path, tmp_path, DifferenceOptions(method=method), templates=[other], science=empty
        )


@pytest.mark.parametrize("method", ["kernel", "zogy", "snap", "likelihood"])
def test_where_the_template_has_nothing_the_product_says_so(
    method: Method, folder: Path, tmp_path: Path
) -> None:
    aside = Exposure(visit=43, fwhm_px=3.1, offset_px=(40, 0), mjd=60001)
    write_exposure(tmp_path, aside)
    write_exposure(tmp_path, FIRST)
    made = build(
        tmp_path, tmp_path, DifferenceOptions(method=method), templates=[aside], science=FIRST
    )
    with fits.open(made.path) as hdus:
        flux, mask = hdus["IMAGE"].data, hdus["MASK"].data
        assert hdus[0].header["COVERAGE"] == pytest.approx(0.8, abs=0.03)
    none = (mask & bits("NO_DATA")) != 0
    np.testing.assert_array_equal(np.isnan(flux), none)
    assert none[:, 162:].all() and not none[:, 5:110].any()
