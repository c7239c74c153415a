"""Proper subtraction against simulated truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.errors import CoverageError, KernelFitError, RecipeError
from app.pixels.background import source_free
from app.pixels.image import bits
from app.pixels.peaks import find_peaks
from app.pixels.proper import subtract_properly
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.psf_field import PsfField

SHAPE = (400, 400)
SCALE = 0.8


def psf_of(paint, fwhm, shape=SHAPE):
    """The PSF that ``paint`` draws, exact, at pixel sampling."""
    stamp = paint((61, 61), np.array([[30.0, 30.0, 1.0]]), fwhm)
    field = PsfField((stamp / stamp.sum())[None], 0, (0.0, 0.0), (1.0, 1.0))
    return CoaddPsf.of_one(field, shape)


def pair(paint, observe, field, seed, *, sharp=3.4, broad=4.8, new=None, shift=(0.0, 0.0)):
    """(science, template): the science image is SCALE times fainter and has a sloping sky."""
    rng = np.random.default_rng(seed)
    stars = field(SHAPE, 90, rng, least=4e3)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    sky = SCALE * paint(SHAPE, stars, broad) + 3.0 + 0.02 * x - 0.01 * y
    if new is not None:
        sky = sky + paint(SHAPE, new, broad)
    beside = stars + np.array([shift[0], shift[1], 0.0])
    template = observe(paint(SHAPE, beside, sharp), rng, noise=8.0, gain=5.0)
    return observe(sky, rng, noise=10.0), template


def psfs(paint, *, sharp=3.4, broad=4.8):
    return psf_of(paint, broad), psf_of(paint, sharp)


def transients(flux, step=50):
    places = np.arange(40, 370, step)
    x, y = np.meshgrid(places + 0.3, places - 0.2)
    return np.stack([x.ravel(), y.ravel(), np.full(x.size, flux)], axis=1)


def subtract(*images_and_psfs):
    return subtract_properly(*images_and_psfs, rescale_variance=False)


def blank_pulls(image):
    """D / sigma as an image, NaN where a source or the border is near."""
    pulls = image.flux / np.sqrt(image.variance)
    pulls[~source_free(image)] = np.nan
    inner = np.full_like(pulls, np.nan)
    inner[20:-20, 20:-20] = pulls[20:-20, 20:-20]
    return inner


def lag_one(pulls, axis):
    near = np.roll(pulls, 1, axis)
    both = np.isfinite(pulls) & np.isfinite(near)
    return float((pulls[both] * near[both]).mean() / np.nanvar(pulls))


@pytest.mark.parametrize(("sharp", "broad"), [(3.4, 4.8), (4.8, 3.4), (4.0, 4.0)])
def test_nothing_but_white_noise_is_left(paint, observe, field, sharp, broad):
    """Whichever image is the sharper one, and when they are alike."""
    images = pair(paint, observe, field, 51, sharp=sharp, broad=broad)
    done = subtract(*images, *psfs(paint, sharp=sharp, broad=broad))
    assert done.registration.scale == pytest.approx(SCALE, rel=0.005)
    pulls = blank_pulls(done.image)
    assert np.nanstd(pulls) == pytest.approx(1.0, abs=0.02)
    assert abs(np.nanmean(pulls)) < 0.03
    assert max(abs(lag_one(pulls, axis)) for axis in (0, 1)) < 0.02
    stars = (done.matched_template.flux > 100) & done.image.usable()
    left = (done.image.flux / np.sqrt(done.image.variance))[stars]
    assert np.count_nonzero(stars) > 1000
    assert left.std() == pytest.approx(1.0, abs=0.08)


def test_new_sources_have_their_flux_their_psf_and_a_score(paint, observe, field):
    new = transients(4e3)
    done = subtract(*pair(paint, observe, field, 52, new=new), *psfs(paint))
    flux, error, score = [], [], []
    for x, y, _ in new:
        column, row = round(x), round(y)
        stamp = done.psf.profile(x, y).stamp(10, dx=x - column, dy=y - row)
        box = np.s_[row - 10 : row + 11, column - 10 : column + 11]
        power = (stamp**2).sum()
        flux.append((stamp * done.image.flux[box]).sum() / power)
        error.append(np.sqrt((stamp**2 * done.image.variance[box]).sum()) / power)
        score.append(done.score[row, column])
    pulls = (np.array(flux) - 4e3) / np.array(error)
    assert np.mean(flux) == pytest.approx(4e3, rel=0.02)
    assert pulls.std() == pytest.approx(1.0, abs=0.25)
    share = np.array(score) / (np.array(flux) / np.array(error))
    assert np.median(share) == pytest.approx(1.0, abs=0.03)
    assert share.min() > 0.5  # on a star less: where that lies is not known as well as its flux
    peaks = find_peaks(done.score, 5.0, 4)
    near = np.hypot(peaks.x[:, None] - new[:, 0], peaks.y[:, None] - new[:, 1])
    assert np.count_nonzero(near.min(axis=0) < 1.5) >= len(new) - 1
    assert len(peaks) <= len(new) + 1


def test_the_score_of_noise_has_a_scatter_of_one(paint, observe, field):
    done = subtract(*pair(paint, observe, field, 53), *psfs(paint))
    inner = done.score[20:-20, 20:-20]
    assert np.nanstd(inner) == pytest.approx(1.0, abs=0.05)
    assert np.nanmax(np.abs(inner)) < 5.5


def test_a_template_that_lies_beside_is_moved(paint, observe, field):
    images = pair(paint, observe, field, 54, shift=(0.3, -0.2))
    done = subtract(*images, *psfs(paint))
    assert done.registration.shift_px == pytest.approx((0.3, -0.2), abs=0.01)
    stars = (done.matched_template.flux > 100) & done.image.usable()
    left = (done.image.flux / np.sqrt(done.image.variance))[stars]
    assert left.std() == pytest.approx(1.0, abs=0.1)


def test_masks_reach_as_far_as_the_filters_and_holes_stay_holes(paint, observe, field):
    science, template = pair(paint, observe, field, 55)
    template.mask[200, 200] |= bits("SAT")
    template.flux[100:110, 300:310] = np.nan
    science.mask[300, 100] |= bits("CR")
    science.flux[300, 100] = 1e6
    template.mask[:, 350] |= bits("BAD")
    template.flux[:, 350] = -1e5
    done = subtract(science, template, *psfs(paint))
    assert done.image.mask[203, 200] & bits("SAT_TEMPLATE")
    assert done.image.mask[300, 100] & bits("CR")
    assert (done.image.mask[100:110, 300:310] & bits("NO_DATA")).all()
    assert np.isnan(done.image.flux[100:110, 300:310]).all()
    assert np.isfinite(done.image.flux[150, 150])
    assert not done.image.mask[150, 150]
    pulls = done.image.flux / np.sqrt(done.image.variance)
    beside = done.image.usable() & (np.abs(done.matched_template.flux) < 100)
    assert np.abs(pulls[beside]).max() < 6.0


def test_errors_say_what_is_missing(paint, observe, field):
    science, template = pair(paint, observe, field, 56)
    own, other = psfs(paint)
    with pytest.raises(RecipeError, match="shape"):
        subtract_properly(
            science,
            replace(
                template,
                flux=template.flux[:-1],
                variance=template.variance[:-1],
                mask=template.mask[:-1],
            ),
            own,
            other,
        )
    rng = np.random.default_rng(1)
    empty = [observe(np.zeros(SHAPE), rng, noise=10.0) for _ in range(2)]
    with pytest.raises(KernelFitError):
        subtract_properly(*empty, own, other)
    nothing = replace(science, flux=np.full(SHAPE, np.nan, dtype=np.float32))
    with pytest.raises(CoverageError):
        subtract_properly(nothing, template, own, other)


def test_variance_is_brought_to_the_scatter_when_that_is_asked_for(paint, observe, field):
    science, template = pair(paint, observe, field, 57)
    low = [replace(each, variance=each.variance / 4) for each in (science, template)]
    done = subtract_properly(*low, *psfs(paint))
    assert done.noise.pull_sigma == pytest.approx(2.0, abs=0.05)
    assert done.noise.variance_factor == pytest.approx(4.0, abs=0.2)
    assert np.nanstd(blank_pulls(done.image)) == pytest.approx(1.0, abs=0.02)
    assert np.nanstd(done.score[20:-20, 20:-20]) == pytest.approx(1.0, abs=0.06)
