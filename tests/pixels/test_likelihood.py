"""The likelihood image of a difference against simulated truth."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from app.errors import CoverageError, RecipeError
from app.pixels.dia_images import DiaImages, Layer, gaussian_coadd_psf
from app.pixels.dia_sources import find_dia_sources
from app.pixels.image import bits
from app.pixels.image_pairs import subtract_images
from app.pixels.likelihood import Likelihood, subtract_likelihood
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField

SHAPE = (500, 500)
SCALE = 0.9
NEW_FLUX = 900.0
PAIRS = [(4.8, 3.4, 4.0), (4.0, 4.0, 10.0), (3.2, 4.6, 4.0)]
"""FWHM of science and template, noise of the template: the last one is broader."""


def psf_of(paint: Any, fwhm_px: float) -> CoaddPsf:
    stamp = paint((61, 61), np.array([[30.0, 30.0, 1.0]]), fwhm_px)
    return CoaddPsf.of_one(PsfField(stamp[None] / stamp.sum(), 0, (0, 0), (1, 1)), SHAPE)


class Sky:
    """A pair, new sources on a lattice of places in one, and its likelihood."""

    def __init__(self, paint, observe, field, seed, science_fwhm, template_fwhm, noise):
        rng = np.random.default_rng(seed)
        self.stars = field(SHAPE, 100, rng, least=4e3)
        x, y = np.meshgrid(np.arange(40, 470, 50) + 0.3, np.arange(40, 470, 50) - 0.2)
        self.new = np.column_stack([x.ravel(), y.ravel(), np.full(x.size, NEW_FLUX)])
        sky = SCALE * paint(SHAPE, self.stars, science_fwhm) + paint(SHAPE, self.new, science_fwhm)
        self.science = observe(sky + 5, rng, fwhm_px=science_fwhm)
        self.template = observe(
            paint(SHAPE, self.stars, template_fwhm), rng, noise=noise, gain=5, fwhm_px=template_fwhm
        )
        self.psf = psf_of(paint, science_fwhm)
        near = np.concatenate([self.stars, self.new])
        self.blank = paint(SHAPE, near, 1.5 * max(science_fwhm, template_fwhm)) < 0.5

    def likelihood(self) -> Likelihood:
        return subtract_likelihood(self.science, self.template, self.psf, spatial_order="auto")


@pytest.mark.parametrize("pair", PAIRS)
def test_its_noise_is_as_told_and_sources_have_their_flux(paint, observe, field, pair):
    scores, scatters, fluxes, peaks = [], [], [], []
    for seed in (3, 4, 5):
        sky = Sky(paint, observe, field, seed, *pair)
        made = sky.likelihood()
        values = made.score.values
        quiet = np.isfinite(values) & sky.blank
        scatters.append(values[quiet].std())
        own = (made.image.flux / np.sqrt(made.image.variance))[quiet]
        np.testing.assert_allclose(own, values[quiet], atol=0.02)
        profile = made.psf.profile(250, 250)
        for x, y, _ in sky.new:
            part = np.s_[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4]
            v, u = np.mgrid[-3:4, -3:4]
            shape = profile.values(u - (x - round(x)), v - (y - round(y)))
            at = np.unravel_index(np.argmax(shape), shape.shape)
            fluxes.append((made.image.flux[part] / shape)[at])
            scores.append(values[part][at])
            if np.hypot(*(sky.stars[:, :2] - (x, y)).T).min() > 15:
                peaks.append((made.image.flux[part] / shape)[3, [0, 6]].mean())
    assert np.mean(scatters) == pytest.approx(1.0, abs=0.02)
    assert np.median(fluxes) == pytest.approx(NEW_FLUX, rel=0.03)
    assert np.median(peaks) == pytest.approx(NEW_FLUX, rel=0.06)
    assert np.std(np.array(scores)[np.abs(np.array(scores) - np.median(scores)) < 4]) < 1.25


@pytest.mark.parametrize("pair", PAIRS)
def test_sources_are_found_on_it_as_it_is(paint, observe, field, pair):
    sky = Sky(paint, observe, field, 6, *pair)
    made, plain = sky.likelihood(), subtract_images(sky.science, sky.template)
    layers = [
        Layer(image, gaussian_coadd_psf(image.fwhm_px, SHAPE))
        for image in (plain.image, sky.science, plain.matched_template)
    ]
    found = find_dia_sources(DiaImages(*layers), score=made.score.values)
    x, y = np.array([(each.fit.x, each.fit.y) for each in found.sources]).T
    near = np.hypot(x[:, None] - sky.new[:, 0], y[:, None] - sky.new[:, 1])
    assert (near.min(axis=0) < 2).sum() >= 0.95 * len(sky.new)
    assert (near.min(axis=1) > 4).sum() <= 2
    assert (found.mask & bits("DETECTED")).any()


def test_a_variance_that_is_wrong_is_set_right(paint, observe, field):
    sky = Sky(paint, observe, field, 3, *PAIRS[1])
    sky.science.variance[:] /= 9
    sky.template.variance[:] /= 9
    made = sky.likelihood()
    quiet = np.isfinite(made.score.values) & sky.blank
    assert made.score.values[quiet].std() == pytest.approx(1.0, abs=0.03)
    assert made.quality.variance_factor == pytest.approx(9.0, rel=0.1)


def test_defects_make_no_rings(paint, observe, field):
    sky = Sky(paint, observe, field, 7, *PAIRS[0])
    sky.science.flux[:, 212], sky.science.mask[:, 212] = 1e5, bits("BAD")
    made = sky.likelihood()
    beside = sky.blank & np.isfinite(made.score.values)
    beside[:, :180] = beside[:, 244:] = False
    assert beside.sum() > 5000
    assert made.score.values[beside].std() == pytest.approx(1.0, abs=0.1)


def test_what_it_cannot_be_made_of(paint, observe, field):
    sky = Sky(paint, observe, field, 8, *PAIRS[0])
    cut = observe(np.zeros((100, 100)), np.random.default_rng(0))
    with pytest.raises(RecipeError, match="differ in shape"):
        subtract_likelihood(sky.science, cut, sky.psf)
    elsewhere = CoaddPsf(sky.psf.components, SHAPE).cut((600, 700, 600, 700))
    assert elsewhere is None
    with pytest.raises(CoverageError, match="PSF"):
        subtract_likelihood(sky.science, sky.template, CoaddPsf((), SHAPE))
