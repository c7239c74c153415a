"""What a difference owes to the border of its template, and the PSF that it brings."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from astropy.io import fits

from app.pixels.image import bits
from app.pixels.psf_field import Profile
from app.recipes.recipe import BuildReport, DifferenceOptions
from app.workers.product import QUALITY_COMMENTS
from tests.psf_recipe import psf_stamp
from tests.services.survey import SCALE_ARCSEC, standard_exposures, write_exposure
from tests.workers.test_tasks import plan_of, run

*TEMPLATES, SCIENCE = standard_exposures()[:5]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("field")
    for exposure in (*TEMPLATES, SCIENCE):
        write_exposure(path, exposure)
    return path


def difference(folder: Path, data_dir: Path, options: DifferenceOptions) -> BuildReport:
    plan = plan_of(folder, TEMPLATES, data_dir=data_dir, science=SCIENCE)
    return run(replace(plan, recipe=replace(plan.recipe, difference=options)))


@pytest.mark.parametrize(
    ("convolve", "kept", "fwhm_px"), [("template", "science", 4.2), ("science", "template", 2.98)]
)
def test_the_psf_is_that_of_the_image_that_was_not_convolved(
    folder: Path,
    tmp_path: Path,
    convolve: Literal["template", "science"],
    kept: str,
    fwhm_px: float,
) -> None:
    made = difference(folder, tmp_path, DifferenceOptions(convolve=convolve, decorrelate=False))
    with fits.open(made.path) as hdus:
        assert hdus[0].header["PSFOF"] == kept
        names = set(hdus["PSF"].data["INPUT"])
        assert hdus["PSF"].header["PSFNX"] == hdus["IMAGE"].header["NAXIS1"]
    shape = Profile(psf_stamp(made.path, 100.0, 90.0), 1.0).shape()
    assert shape.fwhm_px == pytest.approx(fwhm_px, rel=0.03)
    assert made.fwhm_arcsec == pytest.approx(fwhm_px * SCALE_ARCSEC, rel=0.03)
    inputs = [SCIENCE] if kept == "science" else TEMPLATES
    assert names == {each.dataset_id for each in inputs}


@pytest.mark.parametrize(("convolve", "narrower"), [("template", True), ("science", False)])
def test_noise_is_made_white_and_the_psf_follows(
    folder: Path, tmp_path: Path, convolve: Literal["template", "science"], narrower: bool
) -> None:
    """Smoothed noise is sharpened; that of an image which had to be sharpened is smoothed."""
    lags, shapes, pulls = [], [], []
    for decorrelate in (False, True):
        options = DifferenceOptions(convolve=convolve, decorrelate=decorrelate)
        made = difference(folder, tmp_path / str(decorrelate), options)
        with fits.open(made.path) as hdus:
            assert hdus[0].header["DECORR"] is decorrelate
            assert hdus[0].header["KERNORD"] in (0, 1, 2)
            pull = hdus["IMAGE"].data / np.sqrt(hdus["VARIANCE"].data)
            quiet = (hdus["MASK"].data == 0) & (np.abs(pull) < 4)
        pulls.append(float(pull[quiet].std()))
        pull = np.where(quiet, pull, 0.0)
        both = quiet & np.roll(quiet, 1, 1)
        lags.append(float((pull * np.roll(pull, 1, 1))[both].mean()))
        shape = Profile(psf_stamp(made.path, 100.0, 90.0), 1.0).shape()
        shapes.append(shape.fwhm_px)
        assert made.fwhm_arcsec == pytest.approx(shape.fwhm_px * SCALE_ARCSEC, rel=0.03)
    assert (shapes[1] < shapes[0]) is narrower
    assert abs(lags[1]) < 0.5 * abs(lags[0])
    assert pulls == pytest.approx([1.0, 1.0], abs=0.05)


def test_with_a_border_the_kernel_finds_its_pixels_at_the_edges(
    folder: Path, tmp_path: Path
) -> None:
    flagged = []
    for border_px in (0, 20):
        made = difference(folder, tmp_path, DifferenceOptions(border_px=border_px))
        with fits.open(made.path) as hdus:
            mask, flux = hdus["MASK"].data, hdus["IMAGE"].data
            assert flux.shape == (200, 200)
            assert hdus[0].header["BORDER"] == border_px
        flagged.append(int(np.count_nonzero(mask & bits("EDGE"))))
    assert flagged[1] < 0.5 * flagged[0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("keyword", QUALITY_COMMENTS)
def test_comments_fit_their_cards(keyword: str) -> None:
    assert QUALITY_COMMENTS[keyword] in str(fits.Card(keyword, 0.5, QUALITY_COMMENTS[keyword]))
