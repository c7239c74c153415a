"""Forced PSF photometry: fluxes are right on average, errors tell how far off single ones are."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from app.pixels.detect import gaussian_psf
from app.pixels.forced import ForcedFlux, edge_distance_px, measure_forced, window_about
from app.pixels.image import MaskedImage, bits
from app.pixels.psf_field import Profile

FWHM_PX = 3.2
SIZE_PX = 83
SKY_SIGMA = 4.0
TRIALS = 400
PROFILE = Profile(gaussian_psf(FWHM_PX), 1.0)


def scene(
    rng: np.random.Generator, total: float, x: float, y: float, *, smooth_px: float = 0.0
) -> MaskedImage:
    """A star on noise of standard deviation SKY_SIGMA, which neighbours share if it is smoothed."""
    noise = rng.normal(size=(SIZE_PX + 20,) * 2)
    if smooth_px:
        noise = gaussian_filter(noise, smooth_px) * 2 * np.sqrt(np.pi) * smooth_px
    flux = SKY_SIGMA * noise[10:-10, 10:-10]
    flux += total * star(x, y)
    variance = np.full(flux.shape, SKY_SIGMA**2)
    return MaskedImage(
        flux.astype(np.float32), variance.astype(np.float32), np.zeros(flux.shape, np.int32)
    )


def star(x: float, y: float) -> NDArray[np.float64]:
    """Unit flux at a place."""
    yy, xx = np.mgrid[0:SIZE_PX, 0:SIZE_PX]
    sigma = FWHM_PX / 2.3548
    light = np.exp(-((xx - x) ** 2 + (yy - y) ** 2) / (2 * sigma**2))
    return np.asarray(light / (2 * np.pi * sigma**2))


def measured(smooth_px: float, total: float) -> tuple[NDArray[np.float64], list[ForcedFlux]]:
    """Pulls of many stars at places of their own."""
    rng = np.random.default_rng(5)
    found = []
    for _ in range(TRIALS):
        x, y = rng.uniform(40.5, 42.5, 2)
        image = scene(rng, total, x, y, smooth_px=smooth_px)
        found.append(measure_forced(image, x, y, PROFILE, FWHM_PX))
    return np.array([(each.flux - total) / each.error for each in found]), found


@pytest.mark.parametrize("total", [0.0, 500.0])
@pytest.mark.parametrize("smooth_px", [0.0, 0.8, 1.3])
def test_pulls_scatter_by_one_whatever_neighbours_share(smooth_px: float, total: float) -> None:
    pulls, found = measured(smooth_px, total)
    assert np.std(pulls) == pytest.approx(1.0, abs=0.1)
    assert np.mean(pulls) == pytest.approx(0.0, abs=4 / np.sqrt(TRIALS))
    if smooth_px:
        independent = SKY_SIGMA / np.sqrt((PROFILE.samples**2).sum())
        assert np.median([each.error for each in found]) > 1.5 * independent


def test_the_background_is_told_and_taken_off_if_asked() -> None:
    rng = np.random.default_rng(8)
    image = scene(rng, 2000.0, 41.2, 40.9)
    level = MaskedImage(image.flux + np.float32(30.0), image.variance, image.mask)
    kept = measure_forced(level, 41.2, 40.9, PROFILE, FWHM_PX)
    taken = measure_forced(level, 41.2, 40.9, PROFILE, FWHM_PX, subtract_background=True)
    assert kept.background == pytest.approx(30.0, abs=5 * kept.background_error)
    assert 0 < kept.background_error < 0.3
    assert kept.flux - 2000.0 > 20 * kept.error
    assert taken.flux == pytest.approx(2000.0, abs=4 * taken.error)
    assert taken.error > kept.error


def test_pixels_that_cannot_be_used_are_left_out_and_told() -> None:
    image = scene(np.random.default_rng(3), 3000.0, 41.0, 41.0)
    mask, flux = image.mask.copy(), image.flux.copy()
    mask[41, :], flux[41, :] = bits("CR"), 60000.0
    mask[41, 43] |= bits("SAT")
    mask[10, 10] = bits("STREAK")
    found = measure_forced(MaskedImage(flux, image.variance, mask), 41, 41, PROFILE, FWHM_PX)
    assert found.flux == pytest.approx(3000.0, abs=4 * found.error)
    assert found.mask == bits("CR", "SAT")
    assert 0.5 < found.usable_share < 0.8
    mask[39:44, 38:45] |= bits("BAD")
    lost = measure_forced(MaskedImage(flux, image.variance, mask), 41, 41, PROFILE, FWHM_PX)
    assert np.isnan(lost.flux) and np.isnan(lost.error)
    assert lost.usable_share < 0.5


def test_a_star_at_the_edge_is_measured_by_what_is_there() -> None:
    x, y = 41.0, -0.3
    image = scene(np.random.default_rng(4), 5000.0, x, y)
    found = measure_forced(image, x, y, PROFILE, FWHM_PX)
    assert found.flux == pytest.approx(5000.0, abs=4 * found.error)
    assert 0.5 < found.usable_share < 0.7
    assert edge_distance_px(image.shape, x, y) == pytest.approx(0.2)
    assert edge_distance_px(image.shape, SIZE_PX - 0.75, y + 9) == pytest.approx(0.25)


def test_windows_end_at_the_image() -> None:
    assert window_about((100, 200), 5.2, 50.0, 10) == (40, 61, 0, 16)
    assert window_about((100, 200), 199.4, 99.4, 10) == (89, 100, 189, 200)
