"""PSF width, background, noise scale, photometric scale, detection."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from app.errors import CoverageError, ParameterError
from app.pixels.background import estimate_background, noise_ratio, scale_variance, sky_level
from app.pixels.detect import gaussian_psf, map_scatter, measure_at, significance
from app.pixels.image import MaskedImage, bits
from app.pixels.psf import measure_fwhm_px, measure_psf
from app.pixels.scaling import measured_scale, rescaled
from app.pixels.warped import in_memory

SHAPE = (256, 256)


def empty(value=0.0, variance=1.0):
    return MaskedImage(
        np.full(SHAPE, value, np.float32),
        np.full(SHAPE, variance, np.float32),
        np.zeros(SHAPE, np.int32),
    )


@pytest.mark.parametrize("fwhm_px", [2.2, 3.5, 5.0, 8.0])
def test_width_of_stars(paint, observe, field, fwhm_px):
    rng = np.random.default_rng(int(10 * fwhm_px))
    stars = field(SHAPE, 40, rng, least=5e3)
    image = observe(paint(SHAPE, stars, fwhm_px), rng)
    assert measure_fwhm_px(image) == pytest.approx(fwhm_px, rel=0.04)


def test_width_with_few_stars_galaxies_and_cosmic_rays(paint, observe):
    rng = np.random.default_rng(6)
    stars = np.array([[60.3, 70.1, 4e4], [180.2, 90.8, 6e4], [120.6, 200.2, 3e4]])
    galaxies = np.stack([rng.uniform(20, 236, 4), rng.uniform(20, 236, 4), np.full(4, 5e4)], axis=1)
    sky = paint(SHAPE, stars, 4.0)
    for galaxy in galaxies:
        sky += paint(SHAPE, galaxy[None], rng.uniform(7, 12))
    image = observe(sky, rng)
    image.flux[rng.integers(0, 256, 30), rng.integers(0, 256, 30)] += 5e3
    assert measure_fwhm_px(image) == pytest.approx(4.0, rel=0.06)


def test_no_stars_no_width(observe):
    rng = np.random.default_rng(7)
    assert measure_fwhm_px(observe(np.zeros(SHAPE), rng)) is None
    assert measure_fwhm_px(empty()) is None
    assert measure_fwhm_px(empty(np.nan)) is None
    saturated = observe(np.zeros(SHAPE), rng)
    saturated.mask[:] = bits("SAT")
    assert measure_fwhm_px(saturated) is None


def test_psf_model_and_stamp_describe_the_star(paint, observe, field):
    rng = np.random.default_rng(9)
    image = observe(paint(SHAPE, field(SHAPE, 25, rng, least=2e4), 4.5), rng)
    truth = paint((31, 31), np.array([[15.0, 15.0, 1.0]]), 4.5)
    model = measure_psf(image)
    assert model is not None
    stamp = model.stamp(15)
    assert stamp.sum() == pytest.approx(1.0)
    assert np.abs(stamp - truth / truth.sum()).max() < 0.03 * truth.max()
    shifted = model.stamp(15, dx=0.4, dy=-0.3)
    assert (shifted * np.arange(-15, 16)).sum() == pytest.approx(0.4, abs=0.02)


def test_background_follows_a_slope_under_stars(paint, observe, field):
    rng = np.random.default_rng(11)
    y, x = np.mgrid[:256, :256]
    slope = 500.0 + 0.2 * x - 0.1 * y
    image = observe(paint(SHAPE, field(SHAPE, 25, rng), 4.0), rng)
    image = MaskedImage((image.flux + slope).astype(np.float32), image.variance, image.mask)
    found = estimate_background(image)
    assert np.abs(found.level - slope).max() < 5.0
    assert found.noise == pytest.approx(10.0, rel=0.15)
    assert sky_level(image).mean == pytest.approx(slope.mean(), abs=3.0)


def test_variance_scale_is_found_under_stars(paint, observe, field):
    rng = np.random.default_rng(12)
    image = observe(paint(SHAPE, field(SHAPE, 60, rng), 4.0), rng)
    wrong = MaskedImage(image.flux, (image.variance / 2.5).astype(np.float32), image.mask)
    assert scale_variance(image) == pytest.approx(1.0, abs=0.05)
    assert scale_variance(wrong) == pytest.approx(2.5, rel=0.05)
    assert noise_ratio(wrong) == pytest.approx(np.sqrt(2.5), rel=0.03)
    with pytest.raises(CoverageError, match="variance"):
        scale_variance(MaskedImage(image.flux, image.variance * 1e4, image.mask))
    with pytest.raises(CoverageError):
        scale_variance(empty(np.nan))


def test_a_rescaled_image_has_its_variance_scaled_too():
    done = rescaled(empty(2.0), 10.0, 27.5)
    assert done.flux[0, 0] == pytest.approx(20.0) and done.variance[0, 0] == pytest.approx(100.0)
    assert done.zero_point_mag == 27.5
    with pytest.raises(ParameterError):
        rescaled(empty(), float("nan"), None)


def scale_of(image, reference):
    return measured_scale(*in_memory([image, reference]))


@pytest.mark.parametrize("seeing", [(4.0, 4.0), (3.2, 4.6), (4.6, 3.2)])
def test_scale_from_stars(paint, observe, field, seeing):
    rng = np.random.default_rng(13)
    stars = field(SHAPE, 60, rng, least=4e3)
    varied = stars.copy()
    varied[:4, 2] *= 3.0
    image = observe(0.37 * paint(SHAPE, varied, seeing[0]), rng, noise=4.0)
    reference = observe(paint(SHAPE, stars, seeing[1]) + 100.0, rng)
    scale = scale_of(image, reference)
    assert scale.method == "stars" and scale.stars >= 10
    assert scale.value == pytest.approx(1 / 0.37, rel=0.01)
    assert abs(scale.value * 0.37 - 1.0) < 4 * scale.error * 0.37 + 0.005


def test_scale_without_sources_is_an_error(observe):
    rng = np.random.default_rng(14)
    with pytest.raises(CoverageError):
        scale_of(observe(np.zeros(SHAPE), rng), observe(np.zeros(SHAPE), rng))


def test_scale_of_tall_images_is_found_band_by_band(paint, observe, field, monkeypatch):
    rng = np.random.default_rng(16)
    shape = (700, 300)
    stars = field(shape, 90, rng, least=4e3)
    image = observe(0.6 * paint(shape, stars, 3.4), rng)
    reference = observe(paint(shape, stars, 4.1), rng)
    whole = scale_of(image, reference)
    monkeypatch.setattr("app.pixels.scaling.BAND_ROWS", 130)
    banded = scale_of(image, reference)
    assert banded.value == pytest.approx(1 / 0.6, rel=0.005)
    assert abs(banded.stars - whole.stars) <= 3


def test_memory_of_scaling_does_not_grow_with_height(paint, observe, field, monkeypatch):
    monkeypatch.setattr("app.pixels.scaling.BAND_ROWS", 100)

    def peak_bytes(rows):
        rng = np.random.default_rng(17)
        sky = paint((rows, 200), field((rows, 200), rows // 8, rng, least=4e3), 4.0)
        inputs = in_memory([observe(sky, rng), observe(sky, rng)])
        tracemalloc.start()
        measured_scale(*inputs)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return peak

    peak_bytes(200)  # what is made once
    assert peak_bytes(1200) < 1.3 * peak_bytes(400)


@pytest.mark.parametrize("correlated", [False, True])
def test_significance_of_noise_is_standard_normal(observe, correlated):
    rng = np.random.default_rng(15)
    image = observe(np.zeros((400, 400)), rng)
    if correlated:
        smooth = gaussian_filter(image.flux, 0.8)
        image = MaskedImage(smooth, np.full_like(smooth, smooth.var()), image.mask)
    values = significance(image, 4.0)
    assert np.std(values[20:-20, 20:-20]) == pytest.approx(1.0, abs=0.05)
    raw = map_scatter(significance(image, 4.0, calibrate=False))
    assert raw == pytest.approx(1.0, abs=0.05) if not correlated else raw > 1.5


def test_flux_and_error_of_point_sources(paint, observe):
    rng = np.random.default_rng(16)
    stars = np.array(
        [
            [20.0 + 24 * i + 0.13 * j, 20.0 + 24 * j + 0.21 * i, 3e3]
            for i in range(16)
            for j in range(16)
        ]
    )
    image = observe(paint((420, 420), stars, 4.0, np.inf), rng, gain=3.0)
    scatter = map_scatter(significance(observe(np.zeros((420, 420)), rng), 4.0, calibrate=False))
    found = np.array([measure_at(image, x, y, 4.0, scatter=scatter) for x, y, _ in stars])
    pulls = (found[:, 0] - 3e3) / found[:, 1]
    assert np.mean(found[:, 0]) == pytest.approx(3e3, rel=0.01)
    assert pulls.std() == pytest.approx(1.0, abs=0.12) and abs(pulls.mean()) < 0.2


def test_places_without_data_are_not_measured(observe):
    rng = np.random.default_rng(17)
    image = observe(np.zeros(SHAPE), rng)
    image.flux[90:110, 90:110] = np.nan
    values = significance(image, 4.0)
    assert np.isnan(values[100, 100]) and np.isfinite(values[60, 60])
    for x, y in ((100.0, 100.0), (-50.0, 10.0), (10.0, 1e4)):
        with pytest.raises(CoverageError):
            measure_at(image, x, y, 4.0)
    with pytest.raises(ParameterError, match="fwhm_px"):
        gaussian_psf(0.0)
    with pytest.raises(CoverageError):
        significance(empty(np.nan), 4.0)
