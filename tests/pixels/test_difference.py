"""Matching and subtraction against simulated truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from app.errors import CoverageError, KernelFitError, ParameterError, RecipeError
from app.pixels.bands import limit_threads
from app.pixels.coadd import coadd
from app.pixels.convolve import convolve
from app.pixels.decorrelate import whiten
from app.pixels.detect import map_scatter, measure_at, significance
from app.pixels.image import MaskedImage, bits
from app.pixels.matching import match
from app.pixels.peaks import find_peaks
from app.pixels.subtract import subtract
from app.pixels.warp import warp
from app.pixels.warped import in_memory

SHAPE = (400, 400)
SCALE = 0.8


def pair(
    paint, observe, field, seed, *, sharp=3.4, broad=4.8, transients=None, shape=SHAPE, count=90
):
    """(science, template): the science image is SCALE times fainter and has a sloping sky."""
    rng = np.random.default_rng(seed)
    stars = field(shape, count, rng, least=4e3)
    y, x = np.mgrid[: shape[0], : shape[1]]
    sky = SCALE * paint(shape, stars, broad) + 3.0 + 0.02 * x - 0.01 * y
    if transients is not None:
        sky = sky + paint(shape, transients, broad)
    template = observe(paint(shape, stars, sharp), rng, noise=4.0, gain=5.0)
    return observe(sky, rng, noise=10.0), template


def grid_of_transients(flux, step=50):
    places = np.arange(40, 370, step)
    x, y = np.meshgrid(places + 0.3, places - 0.2)
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, flux)], axis=1)


@pytest.mark.parametrize("order", [0, 1, 2])
def test_nothing_is_left_of_what_does_not_change(paint, observe, field, order):
    science, template = pair(paint, observe, field, 21)
    found = match(science, template, spatial_order=order)
    done = subtract(science, template, found, rescale_variance=False)
    assert found.convolved == "template"
    assert found.scale == pytest.approx(SCALE, rel=0.01)
    pulls = (done.image.flux / np.sqrt(done.image.variance))[done.image.usable()]
    assert pulls.std() == pytest.approx(1.0, abs=0.03) and abs(pulls.mean()) < 0.02
    bright = done.matched_template.flux > 100
    good = bright & done.image.usable()
    assert (done.image.flux / np.sqrt(done.image.variance))[good].std() == pytest.approx(
        1.0, abs=0.08
    )
    slope = np.polyfit(done.matched_template.flux[good], done.image.flux[good], 1)[0]
    assert abs(slope) < 0.004
    assert done.quality.pull_sigma == pytest.approx(1.0, abs=0.02)
    assert done.quality.variance_factor == 1.0


@pytest.mark.parametrize("seed", [31, 32])
def test_transients_keep_their_flux(paint, observe, field, seed):
    transients = grid_of_transients(4e3)
    science, template = pair(paint, observe, field, seed, transients=transients)
    done = subtract(science, template, match(science, template))
    model = paint((31, 31), np.array([[15.3, 14.8, 1.0]]), 4.8)
    model /= paint((201, 201), np.array([[100.3, 99.8, 1.0]]), 4.8).sum()
    scatter = map_scatter(significance(done.image, 4.8, calibrate=False))
    found = np.array(
        [measure_at(done.image, x, y, 4.8, psf=model, scatter=scatter) for x, y, _ in transients]
    )
    assert found[:, 0].mean() == pytest.approx(4e3, rel=0.02)
    pulls = (found[:, 0] - 4e3) / found[:, 1]
    assert pulls.std() == pytest.approx(1.0, abs=0.25) and abs(pulls.mean()) < 0.6
    values = significance(done.image, 4.8)
    peaks = find_peaks(values, 5.0, 4)
    hits = np.hypot(peaks.x[:, None] - transients[:, 0], peaks.y[:, None] - transients[:, 1]).min(0)
    assert (hits < 1.5).all()
    assert len(peaks) <= len(transients) + 1


def test_bright_transients_and_variables_do_not_bend_the_kernel(paint, observe, field):
    rng = np.random.default_rng(41)
    shape = SHAPE
    stars = field(shape, 60, rng, least=4e3)
    changed = stars.copy()
    brightest = np.argsort(-stars[:, 2])[:6]
    changed[brightest, 2] *= 1.7
    science = observe(SCALE * paint(shape, changed, 4.8), rng)
    template = observe(paint(shape, stars, 3.4), rng, noise=4.0, gain=5.0)
    found = match(science, template)
    assert found.scale == pytest.approx(SCALE, rel=0.01)
    done = subtract(science, template, found)
    for x, y, flux in stars[brightest[:3]]:
        model = paint((31, 31), np.array([[15 + x - round(x), 15 + y - round(y), 1.0]]), 4.8)
        change = measure_at(done.image, x, y, 4.8, psf=model, scatter=1.0)[0]
        assert change == pytest.approx(0.7 * SCALE * flux, rel=0.03)


def test_new_sources_beside_half_the_stars_do_not_bend_the_kernel(paint, observe, field):
    """Rejecting whole stamps cannot help here: the pixels that changed have to go."""
    rng = np.random.default_rng(1)
    stars = field(SHAPE, 60, rng, least=4e3)
    beside = stars[rng.permutation(60)[:30]].copy()
    angle = rng.uniform(0, 2 * np.pi, 30)
    beside += np.stack([7 * np.cos(angle), 7 * np.sin(angle), -0.7 * beside[:, 2]], axis=1)
    science = observe(SCALE * paint(SHAPE, stars, 4.8) + paint(SHAPE, beside, 4.8), rng)
    template = observe(paint(SHAPE, stars, 3.4), rng, noise=4.0, gain=5.0)
    assert match(science, template).scale == pytest.approx(SCALE, rel=0.01)


def test_the_sharper_image_is_convolved(paint, observe, field):
    """With a broader template the science image is, and the scale stays that of the science."""
    transients = grid_of_transients(4e3)
    rng = np.random.default_rng(51)
    stars = field(SHAPE, 90, rng, least=4e3)
    science = observe(SCALE * paint(SHAPE, stars, 3.4) + paint(SHAPE, transients, 3.4), rng)
    template = observe(paint(SHAPE, stars, 4.8), rng, noise=4.0, gain=5.0)
    found = match(science, template)
    done = subtract(science, template, found)
    assert found.convolved == "science"
    assert found.scale == pytest.approx(SCALE, rel=0.01)
    assert found.kernel.sum == pytest.approx(1 / SCALE, rel=0.01)
    model = paint((31, 31), np.array([[15.3, 14.8, 1.0]]), 4.8)
    fluxes = [
        measure_at(done.image, x, y, 4.8, psf=model, scatter=1.0)[0] for x, y, _ in transients
    ]
    assert np.mean(fluxes) == pytest.approx(4e3, rel=0.025)
    assert done.image.fwhm_px == pytest.approx(4.8, rel=0.05)
    blank = done.image.usable() & (done.matched_template.flux < 20)
    pulls = done.image.flux[blank] / np.sqrt(done.image.variance[blank])
    assert 1.4826 * np.median(np.abs(pulls)) == pytest.approx(1.0, abs=0.08)
    forced = subtract(science, template, match(science, template, convolve="template"))
    assert np.isfinite(forced.image.flux).mean() > 0.99


def test_convolved_variance_is_exact(paint, observe, field):
    science, template = pair(paint, observe, field, 61)
    found = match(science, template)
    kernel = found.kernel.centre()
    rng = np.random.default_rng(62)
    planes = []
    for _ in range(80):
        noise = rng.normal(size=SHAPE) * np.sqrt(template.variance)
        planes.append(convolve(noise.astype(np.float32), kernel))
    propagated = convolve(template.variance, kernel**2)
    inner = np.s_[30:-30, 30:-30]
    ratio = (np.var(planes, axis=0) / propagated)[inner]
    assert ratio.mean() == pytest.approx(1.0, abs=0.02)
    assert ratio[template.variance[inner] > 50].mean() == pytest.approx(1.0, abs=0.05)


def test_few_stars_on_a_small_image(paint, observe):
    rng = np.random.default_rng(71)
    stars = np.array(
        [[60.3, 70.1, 4e4], [180.2, 90.8, 6e4], [120.6, 200.2, 3e4], [40.0, 190.0, 2e4]]
    )
    shape = (256, 256)
    science = observe(SCALE * paint(shape, stars, 4.8), rng)
    template = observe(paint(shape, stars, 3.4), rng, noise=4.0)
    done = subtract(science, template, match(science, template), rescale_variance=False)
    assert done.quality.kernel_sum == pytest.approx(SCALE, rel=0.02)
    pulls = (done.image.flux / np.sqrt(done.image.variance))[done.image.usable()]
    assert pulls.std() == pytest.approx(1.0, abs=0.05)


def test_resampled_template_noise_is_rescaled(paint, observe, tan_grid):
    """Warped and smoothed noise is not white: the measured factor sets the variance right."""
    rng = np.random.default_rng(81)
    stars = np.stack([*rng.uniform(20, 380, (2, 80)), rng.uniform(1e4, 2e5, 80)], axis=1)
    here, there = tan_grid(SHAPE), tan_grid(SHAPE, rotation_deg=0.7, offset_px=(0.4, 0.3))
    moved = np.stack(
        [*here.sky_to_pixel(*there.pixel_to_sky(stars[:, 0], stars[:, 1])), stars[:, 2]], 1
    )
    inputs = [
        warp(observe(paint(SHAPE, stars, 3.2), rng, fwhm_px=3.2), there, here) for _ in range(3)
    ]
    template = coadd(in_memory(inputs)).image
    science = observe(paint(SHAPE, moved, 4.8), rng, noise=2.0, fwhm_px=4.8)
    done = subtract(science, template, match(science, template))
    blank = done.image.usable() & (done.matched_template.flux < 10)
    pulls = done.image.flux[blank] / np.sqrt(done.image.variance[blank])
    assert pulls.std() == pytest.approx(1.0, abs=0.03)
    assert done.quality.variance_factor > 1.01


def test_masks_travel(paint, observe, field):
    science, template = pair(paint, observe, field, 91)
    science.mask[100, 100] = bits("BAD", "DETECTED")
    template.mask[200:203, 200:203] = bits("SAT")
    template.mask[300, 300] = bits("CLIPPED", "REJECTED", "INEXACT_PSF")
    template.flux[120:160, 300:340] = np.nan
    template.mask[120:160, 300:340] = bits("NO_DATA")
    done = subtract(science, template, match(science, template))
    mask = done.image.mask
    assert mask[100, 100] == bits("BAD")
    assert mask[204, 204] & bits("SAT_TEMPLATE") and not mask[201, 201] & bits("SAT")
    assert not mask[230, 230] & bits("SAT_TEMPLATE")
    assert mask[300, 300] == 0
    assert mask[140, 320] & bits("NO_DATA") and np.isnan(done.image.flux[140, 320])
    assert mask[118, 320] & bits("EDGE") and np.isfinite(done.image.flux[118, 320])
    assert mask[100, 320] == 0
    np.testing.assert_array_equal(np.isnan(done.image.flux), (mask & bits("NO_DATA")) != 0)
    np.testing.assert_array_equal(np.isnan(done.image.variance), (mask & bits("NO_DATA")) != 0)
    assert (mask[0] & bits("EDGE", "NO_DATA")).all()


def test_images_that_tell_nothing_are_errors(paint, observe, field):
    rng = np.random.default_rng(101)
    blank = observe(np.zeros(SHAPE), rng)
    science, template = pair(paint, observe, field, 102)
    flat = MaskedImage(
        np.zeros(SHAPE, np.float32), np.ones(SHAPE, np.float32), np.zeros(SHAPE, np.int32)
    )
    nothing = MaskedImage(
        np.full(SHAPE, np.nan, np.float32),
        np.full(SHAPE, np.nan, np.float32),
        np.full(SHAPE, 256, np.int32),
    )
    saturated = replace(template, mask=np.full(SHAPE, bits("SAT"), np.int32))
    for bad in (blank, flat, nothing, saturated):
        with pytest.raises((KernelFitError, CoverageError)):
            match(science, bad)
        with pytest.raises((KernelFitError, CoverageError)):
            match(bad, template)
    with pytest.raises((KernelFitError, CoverageError)):
        match(blank, observe(np.zeros(SHAPE), rng))
    with pytest.raises(RecipeError):
        match(science, observe(np.zeros((50, 50)), rng))
    with pytest.raises(ParameterError, match="convolve"):
        match(science, template, convolve="both")
    with pytest.raises(ParameterError, match="spatial_order"):
        match(science, template, spatial_order=7)


def test_bytes_do_not_depend_on_threads(paint, observe, field):
    science, template = pair(paint, observe, field, 111, shape=(256, 256), count=40)
    results = []
    for threads in (1, 2, 3):
        with limit_threads(threads):
            results.append(subtract(science, template, match(science, template, spatial_order=1)))
    for other in results[1:]:
        assert other.quality == results[0].quality
        for plane in ("flux", "variance", "mask"):
            mine, theirs = getattr(results[0].image, plane), getattr(other.image, plane)
            assert mine.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("convolved", ["template", "science"])
@pytest.mark.parametrize("order", [0, 2])
def test_whitening_makes_noise_white_and_keeps_flux(paint, observe, field, convolved, order):
    rng = np.random.default_rng(121)
    stars, new = field(SHAPE, 90, rng, least=4e3), grid_of_transients(4e3)
    broad, sharp = (4.8, 3.4) if convolved == "template" else (3.4, 4.8)
    science = observe(SCALE * paint(SHAPE, stars, broad) + paint(SHAPE, new, broad), rng)
    template = observe(paint(SHAPE, stars, sharp), rng, noise=12.0)
    found = match(science, template, spatial_order=order)
    plain = subtract(science, template, found, rescale_variance=False)
    white = whiten(plain, science, template, found)
    assert found.convolved == convolved
    assert white.image.fwhm_px < plain.image.fwhm_px
    inner = white.image.usable() & (paint(SHAPE, np.concatenate([stars, new]), 4.8) < 1)
    for image, correlated in ((plain.image, True), (white.image, False)):
        pulls = np.where(inner, image.flux / np.sqrt(image.variance), 0.0)
        assert pulls[inner].std() == pytest.approx(1.0, abs=0.02)
        for axis in (0, 1):
            both = inner & np.roll(inner, 1, axis)
            lag = (pulls * np.roll(pulls, 1, axis))[both].mean()
            assert lag > 0.022 if correlated else abs(lag) < 0.012
    assert white.pull_sigma == pytest.approx(1.0, abs=0.02)
    model = paint((31, 31), np.array([[15.3, 14.8, 1.0]]), max(broad, sharp))
    model = convolve(model.astype(np.float32), white.psi.centre()).astype(np.float64)
    fluxes = [measure_at(white.image, x, y, 4.8, psf=model, scatter=1.0)[0] for x, y, _ in new]
    assert np.mean(fluxes) == pytest.approx(4e3, rel=0.025)


def test_gaussian_pair_gives_the_gaussian_kernel(paint, observe, field):
    rng = np.random.default_rng(131)
    stars = field(SHAPE, 60, rng, least=2e4)
    sharp = paint(SHAPE, stars, 3.5, np.inf)
    science = observe(gaussian_filter(sharp, 1.4), rng)
    template = observe(sharp, rng, noise=2.0, gain=20.0)
    kernel = match(science, template).kernel.centre()
    v, u = np.mgrid[-10:11, -10:11]
    truth = np.exp(-(u * u + v * v) / (2 * 1.4**2)) / (2 * np.pi * 1.4**2)
    assert kernel.sum() == pytest.approx(1.0, rel=0.003)
    wrong = gaussian_filter(kernel - truth, 3.5 / 2.3548)
    assert np.abs(wrong).max() < 0.01 * gaussian_filter(truth, 3.5 / 2.3548).max()


def test_a_noisy_image_that_is_convolved_keeps_its_scale(paint, observe):
    """Noise of the regressor pulls a plain fit's kernel sum down, here by more than 6 %."""
    x, y = np.meshgrid(np.arange(30, 380, 40), np.arange(30, 380, 40))
    sums = []
    for seed in (5, 6, 7, 8):
        rng = np.random.default_rng(seed)
        shifts = rng.uniform(-0.5, 0.5, (2, x.size))
        flux = rng.uniform(1500, 3000, x.size)
        stars = np.stack([x.ravel() + shifts[0], y.ravel() + shifts[1], flux], axis=1)
        science = observe(paint(SHAPE, stars, 3.0), rng, noise=10.0, gain=1e9, fwhm_px=3.0)
        template = observe(paint(SHAPE, stars, 3.3), rng, noise=2.0, gain=1e9, fwhm_px=3.3)
        found = match(science, template)
        assert found.convolved == "science"
        sums.append(found.kernel.sum)
    assert 0.98 < np.mean(sums) < 1.015
