"""Pairs on which subtractions fail: each leaves noise, or the numbers say that it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.pixels.decorrelate import whiten
from app.pixels.image import MaskedImage, bits
from app.pixels.matching import match
from app.pixels.subtract import subtract

SHAPE = (500, 500)
SCALE = 0.9
STARS_LOOKED_AT = 60


def pooled_rms(image: MaskedImage, stars: Any) -> float:
    """rms of D / sqrt(V) in boxes of 7 px on the brightest stars with all pixels usable."""
    usable, pulls = image.usable(bits("BAD", "SAT", "SAT_TEMPLATE", "NO_DATA", "EDGE")), []
    for x, y, _ in stars[np.argsort(-stars[:, 2])]:
        box = np.s_[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4]
        if usable[box].size == 49 and usable[box].all():
            pulls.append((image.flux[box] / np.sqrt(image.variance[box])).ravel())
        if len(pulls) == STARS_LOOKED_AT:
            break
    assert len(pulls) >= 5
    return float(np.sqrt(np.mean(np.concatenate(pulls).astype(np.float64) ** 2)))


def subtracted(science: MaskedImage, template: MaskedImage) -> tuple[MaskedImage, Any]:
    found = match(science, template, spatial_order="auto")
    plain = subtract(science, template, found, rescale_variance=False)
    return whiten(plain, science, template, found).image, plain.quality


def hold(image: MaskedImage, quality: Any, stars: Any) -> None:
    """Noise is left at the stars, or the residual at bright pixels tells that it is not."""
    rms = pooled_rms(image, stars)
    if rms < 1.15:
        pulls = image.flux / np.sqrt(image.variance)
        blank = image.usable() & (np.abs(pulls) < 5)
        assert pulls[blank].std() == pytest.approx(1.0, abs=0.05)
    else:
        assert quality.bright_chi > 1.15


@pytest.mark.parametrize(("offset", "most"), [(0.1, 1.05), (0.3, 1.1), (1.0, 1.8)])
def test_shear_of_the_astrometry(paint, observe, field, offset, most):
    """Positions are off by up to ``offset`` px, growing over the image."""
    rng = np.random.default_rng(3)
    stars = field(SHAPE, 120, rng, least=4e3)
    moved = stars.copy()
    moved[:, 0] += offset * (2 * stars[:, 1] / SHAPE[0] - 1)
    moved[:, 1] += offset * (2 * stars[:, 0] / SHAPE[1] - 1)
    science = observe(SCALE * paint(SHAPE, moved, 4.8), rng)
    template = observe(paint(SHAPE, stars, 3.4), rng, noise=4.0, gain=5.0)
    image, quality = subtracted(science, template)
    hold(image, quality, stars)
    assert pooled_rms(image, stars) < most
    assert quality.scale == pytest.approx(SCALE, rel=0.01)


def test_galaxies_whose_cores_have_another_colour(paint, observe, field):
    """Their cores are a tenth brighter in the science image, their discs are not."""
    rng = np.random.default_rng(4)
    stars = field(SHAPE, 120, rng, least=4e3)
    galaxies = field(SHAPE, 40, rng, least=4e3)
    cores = galaxies * (1, 1, 0.3)
    disc = paint(SHAPE, galaxies, 9.0)
    science = SCALE * (paint(SHAPE, stars, 4.8) + disc + 1.1 * paint(SHAPE, cores, 4.8))
    template = paint(SHAPE, stars, 3.4) + disc + paint(SHAPE, cores, 3.4)
    image, quality = subtracted(observe(science, rng), observe(template, rng, noise=4.0, gain=5.0))
    assert pooled_rms(image, stars) < 1.05
    assert quality.scale == pytest.approx(SCALE, rel=0.015)


def test_steep_backgrounds(paint, observe, field):
    rng = np.random.default_rng(5)
    stars = field(SHAPE, 120, rng, least=4e3)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]] / SHAPE[0]
    science = observe(SCALE * paint(SHAPE, stars, 4.8) + 100 * (1 + x + 0.5 * y * y), rng)
    template = observe(paint(SHAPE, stars, 3.4) + 50 * (2 - y), rng, noise=4.0, gain=5.0)
    image, quality = subtracted(science, template)
    hold(image, quality, stars)
    assert quality.scale == pytest.approx(SCALE, rel=0.01)


def test_eight_stars(paint, observe, field):
    rng = np.random.default_rng(6)
    stars = field(SHAPE, 8, rng, least=3e4)
    science = observe(SCALE * paint(SHAPE, stars, 4.8), rng)
    template = observe(paint(SHAPE, stars, 3.4), rng, noise=4.0, gain=5.0)
    found = match(science, template, spatial_order="auto")
    assert found.kernel.order == 0
    image, quality = subtracted(science, template)
    hold(image, quality, stars)


@pytest.mark.parametrize("science_fwhm_px", [1.8, 2.4])
def test_undersampled(paint, observe, field, science_fwhm_px):
    rng = np.random.default_rng(7)
    stars = field(SHAPE, 120, rng, least=4e3)
    moved = stars + np.array([0.3, -0.4, 0.0])
    science = observe(SCALE * paint(SHAPE, moved, science_fwhm_px), rng)
    template = observe(paint(SHAPE, stars, 1.8), rng, noise=4.0, gain=5.0)
    hold(*subtracted(science, template), stars)


def test_bleeds_and_bad_columns(paint, observe, field):
    rng = np.random.default_rng(8)
    stars = field(SHAPE, 120, rng, least=4e3)
    planes = []
    for scale, fwhm_px, noise, gain in ((SCALE, 4.8, 10.0, 1.0), (1.0, 3.4, 4.0, 5.0)):
        image = observe(scale * paint(SHAPE, stars, fwhm_px), rng, noise=noise, gain=gain)
        full = 5e3
        image.mask[image.flux > full] |= bits("SAT")
        for column in np.unique(np.nonzero(image.flux > full)[1])[::3]:
            row = int(np.argmax(image.flux[:, column]))
            bleed = np.s_[max(0, row - 40) : row + 40, column]
            image.flux[bleed], image.mask[bleed] = full, image.mask[bleed] | bits("SAT")
        image.flux[:] = np.minimum(image.flux, full)
        planes.append(image)
    science, template = planes
    science.flux[:, 211], science.mask[:, 211] = 3e4, bits("BAD")
    template.flux[:, 333:335], template.mask[:, 333:335] = -500.0, bits("BAD")
    image, quality = subtracted(science, template)
    hold(image, quality, stars)
    assert quality.scale == pytest.approx(SCALE, rel=0.015)


def test_a_template_of_worse_seeing(paint, observe, field):
    rng = np.random.default_rng(9)
    stars = field(SHAPE, 120, rng, least=4e3)
    science = observe(SCALE * paint(SHAPE, stars, 3.2), rng)
    template = observe(paint(SHAPE, stars, 4.6), rng, noise=4.0, gain=5.0)
    image, quality = subtracted(science, template)
    hold(image, quality, stars)
    assert quality.scale == pytest.approx(SCALE, rel=0.01)
