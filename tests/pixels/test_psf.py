"""The PSF measured on simulated exposures against the one they were simulated with."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.errors import CoverageError
from app.pixels.background import estimate_background
from app.pixels.image import MaskedImage, bits
from app.pixels.psf import measure_psf_field
from app.pixels.psf_field import Profile, PsfField
from app.pixels.psf_stars import find_stars

SAMPLING = 0.25


def true_profile(observation, x, y):
    return Profile(observation.psf.fine_stamp(x, y, 25, SAMPLING), SAMPLING)


def errors_at_stars(truth, observation, field):
    """Relative FWHM error, relative sigma error and errors of both ellipticities."""
    stars = np.flatnonzero(truth.sources.is_star & observation.inside(20))[::5]
    table = []
    for n in stars:
        x, y = float(observation.x[n]), float(observation.y[n])
        true, model = true_profile(observation, x, y).shape(), field.profile(x, y).shape()
        off = np.subtract(model.ellipticity, true.ellipticity)
        table.append(
            (model.fwhm_px / true.fwhm_px - 1.0, model.sigma_px / true.sigma_px - 1.0, *off)
        )
    return np.array(table)


@pytest.fixture(scope="module")
def fields(truth):
    return [measure_psf_field(each.image) for each in truth.observations]


def test_width_and_ellipticity_at_the_stars_of_every_exposure(truth, fields):
    squares = []
    for observation, field in zip(truth.observations, fields, strict=True):
        errors = errors_at_stars(truth, observation, field)
        assert np.abs(errors[:, :2].mean(axis=0)).max() < 0.005
        assert np.sqrt((errors[:, :2] ** 2).mean(axis=0)).max() < 0.01
        assert np.abs(errors[:, 2:].mean(axis=0)).max() < 0.006
        squares.append((errors[:, 2:] ** 2).mean(axis=0))
    assert np.sqrt(np.mean(squares, axis=0)).max() < 0.005


def with_a_fiftieth_of_its_noise(settings, observation):
    """The light that truly falls, which the variance plane tells, with little noise on it."""
    image, gain = observation.image, settings.gain_e_per_adu
    light = image.variance.astype(np.float64) * gain**2 - settings.read_noise_e**2
    noise = np.random.default_rng(1).normal(0.0, 0.02, image.shape) * np.sqrt(image.variance)
    flux = np.where(image.mask == 0, (light - settings.sky_e) / gain + noise, image.flux)
    return replace(image, flux=flux.astype(np.float32))


def test_without_noise_the_model_is_nearer_than_few_stars_allow(truth):
    """What is left is the model's own error; the rest of the errors above is noise."""
    for observation in truth.observations:
        field = measure_psf_field(with_a_fiftieth_of_its_noise(truth.settings, observation))
        errors = errors_at_stars(truth, observation, field)
        assert np.abs(errors[:, 0].mean()) < 0.004
        assert np.sqrt((errors[:, 0] ** 2).mean()) < 0.004
        assert np.abs(errors[:, 2:].mean(axis=0)).max() < 0.002
        assert np.sqrt((errors[:, 2:] ** 2).mean(axis=0)).max() < 0.003


def test_the_model_follows_the_field_better_than_its_middle_does(truth, fields):
    """What a constant PSF would be wrong by is several times what the model is wrong by."""
    observation, field = truth.observations[8], fields[8]
    ny, nx = observation.image.shape
    middle = field.profile(nx / 2, ny / 2).shape()
    stars = np.flatnonzero(truth.sources.is_star & observation.inside(20))[::5]
    flat, varying = [], []
    for n in stars:
        x, y = float(observation.x[n]), float(observation.y[n])
        true = true_profile(observation, x, y).shape().ellipticity
        flat.append(np.subtract(middle.ellipticity, true))
        varying.append(np.subtract(field.profile(x, y).shape().ellipticity, true))
    assert np.std(varying) < 0.3 * np.std(flat)


def test_stamps_are_of_unit_sum_and_the_pixels_of_a_star(truth, fields):
    for observation, field in zip(truth.observations, fields, strict=True):
        profile = field.profile(300.0, 500.0)
        wings = 0.025 if observation.psf.beta is None else 0.012  # no Moffat has Kolmogorov's
        for dx, dy in ((0.0, 0.0), (0.4, -0.3)):
            stamp = profile.stamp(10, dx=dx, dy=dy)
            true = observation.psf.stamp(300.0, 500.0, 10, dx=dx, dy=dy)
            assert stamp.sum() == pytest.approx(1.0)
            assert np.abs(stamp - true / true.sum()).max() < wings * true.max()


def test_selected_stars_are_stars(truth):
    points = truth.sources.half_light_arcsec == 0.0
    for observation in truth.observations:
        stars = find_stars(observation.image, estimate_background(observation.image))
        near = np.hypot(stars.x[:, None] - observation.x, stars.y[:, None] - observation.y) < 1.5
        assert len(stars) >= 25
        assert (near & points).any(axis=1).mean() > 0.9
        mask = observation.image.mask[np.rint(stars.y).astype(int), np.rint(stars.x).astype(int)]
        assert not (mask & bits("SAT", "BAD")).any()


@pytest.mark.parametrize("count", [1, 3, 5])
def test_few_stars_give_a_constant_psf(paint, observe, count):
    rng = np.random.default_rng(count)
    places = np.array([[60.3, 70.1], [180.2, 90.8], [120.6, 200.2], [40.7, 190.4], [200.9, 30.2]])
    stars = np.concatenate([places, np.full((5, 1), 4e4)], axis=1)[:count]
    field = measure_psf_field(observe(paint((256, 256), stars, 4.0), rng))
    assert field is not None and field.degree == 0 and field.stars == count
    shape = field.profile(10.0, 200.0).shape()
    assert shape.fwhm_px == pytest.approx(4.0, rel=0.02)
    assert np.abs(shape.ellipticity).max() < 0.02


def test_a_neighbour_a_galaxy_and_cosmic_rays_change_little(paint, observe, field):
    rng = np.random.default_rng(3)
    stars = field((400, 400), 30, rng, least=1e4)
    sky = paint((400, 400), stars, 4.0)
    neighbours = stars[::3] + np.array([5.0, 3.0, 0.0])
    galaxies = np.stack([*rng.uniform(20, 380, (2, 12)), np.full(12, 4e4)], axis=1)
    sky += paint((400, 400), neighbours * [1, 1, 0.3], 4.0) + paint((400, 400), galaxies, 5.2)
    image = observe(sky, rng)
    image.flux[rng.integers(0, 400, 60), rng.integers(0, 400, 60)] += 3e3
    measured = measure_psf_field(image)
    assert measured is not None
    assert measured.profile(200.0, 200.0).shape().fwhm_px == pytest.approx(4.0, rel=0.015)


def test_no_star_is_told_as_unknown(observe):
    rng = np.random.default_rng(7)
    blank = observe(np.zeros((300, 300)), rng)
    assert measure_psf_field(blank) is None
    blank.flux[rng.integers(0, 300, 40), rng.integers(0, 300, 40)] += 2e3
    assert measure_psf_field(blank) is None
    hidden = MaskedImage(blank.flux, blank.variance, np.full((300, 300), bits("SAT"), np.int32))
    assert measure_psf_field(hidden) is None


def test_moments_and_width_of_a_gaussian_are_its_own():
    half, ixx, iyy, ixy = 24, 5.0, 3.0, 1.2
    v, u = np.mgrid[-half : half + 1, -half : half + 1].astype(np.float64)
    inverse = np.linalg.inv([[ixx, ixy], [ixy, iyy]])
    values = np.exp(
        -0.5 * (inverse[0, 0] * u * u + 2 * inverse[0, 1] * u * v + inverse[1, 1] * v * v)
    )
    field = PsfField((values / values.sum())[None], 0, (0.0, 0.0), (1.0, 1.0))
    shape = field.profile(3.0, 4.0).shape()
    assert (shape.ixx, shape.iyy, shape.ixy) == pytest.approx((ixx, iyy, ixy), rel=1e-3)
    sigma = (ixx * iyy - ixy**2) ** 0.25
    assert shape.sigma_px == pytest.approx(sigma, rel=1e-3)
    assert shape.fwhm_px == pytest.approx(2.3548 * sigma, rel=2e-3)


def test_a_stamp_without_a_peak_has_no_shape():
    with pytest.raises(CoverageError):
        Profile(np.zeros((21, 21)), 1.0).shape()
