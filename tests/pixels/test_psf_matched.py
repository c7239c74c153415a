"""Exposures of simulated truth, brought to one PSF: what their stars are then."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray

from app.pixels.coadd import coadd
from app.pixels.image import MaskedImage, bits
from app.pixels.model_psf import MARGIN, ModelPsf
from app.pixels.psf import measure_psf_field
from app.pixels.psf_coadd import CoaddPsf, warp_psf
from app.pixels.psf_field import Profile
from app.pixels.psf_matched import (
    MatchedTo,
    PsfMatched,
    automatic_fwhm_px,
    match_psfs,
    sample_psf,
)
from app.pixels.spans import Spans
from app.pixels.warp import warp
from app.pixels.warped import InMemory, in_memory
from tests.truth.exposures import Observation, simulate
from tests.truth.settings import TruthSettings

FIELD = TruthSettings(seed=34, exposures=6)
STAR_FLUX = 1e5
REACH_PX = 45
"""How far out each noiseless star is drawn."""
STEP_PX = 100
FWHM_ERROR = 0.01
SHAPE_ERROR = 0.015
"""Largest residual of a star minus the model fitted to it, as a share of the peak."""


@dataclass(frozen=True)
class Stars:
    """Noiseless stars on the target, and the exposures' real pixels with their measured PSFs."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    painted: list[InMemory]
    measured: list[CoaddPsf]
    widths: list[InMemory]

    def matched(self, model_fwhm_px: float | None = None, **options) -> MatchedTo:
        sampled = [sample_psf(psf, None) for psf in self.measured]
        width = model_fwhm_px or automatic_fwhm_px(self.widths, sampled)
        return match_psfs(sampled, ModelPsf(width, **options), self.widths[0].shape)

    def each(self, image: MaskedImage, margin_px: int = REACH_PX):
        """(offset x, offset y, stamp) of the stars that are whole."""
        for x, y in zip(self.x, self.y, strict=True):
            i, j = round(x), round(y)
            box = np.s_[j - margin_px : j + margin_px + 1, i - margin_px : i + margin_px + 1]
            stamp = image.flux[box].astype(np.float64)
            whole = stamp.shape == (2 * margin_px + 1,) * 2 and np.isfinite(stamp).all()
            if whole and stamp.sum() > 0.5 * STAR_FLUX:
                yield x - i, y - j, stamp


def painted(observation: Observation, x, y) -> MaskedImage:
    """Stars of this exposure's true PSF at pixels of it."""
    canvas, r = np.zeros(observation.image.shape), REACH_PX
    for star_x, star_y in zip(x, y, strict=True):
        i, j = round(star_x), round(star_y)
        if min(i, j) > r and max(i, j) < canvas.shape[0] - r - 1:
            stamp = observation.psf.stamp(star_x, star_y, r, dx=star_x - i, dy=star_y - j)
            canvas[j - r : j + r + 1, i - r : i + r + 1] += STAR_FLUX * stamp
    ones = np.ones(canvas.shape, dtype=np.float32)
    return MaskedImage(canvas.astype(np.float32), ones, np.zeros(canvas.shape, np.int32))


@pytest.fixture(scope="module")
def stars() -> Stars:
    truth, grid = simulate(FIELD), FIELD.target_grid()
    rng = np.random.default_rng(1)
    places = np.mgrid[50 : FIELD.size_px : STEP_PX, 50 : FIELD.size_px : STEP_PX]
    x, y = (v.ravel() + rng.uniform(-0.5, 0.5, v.size) for v in places)
    images, psfs, widths = [], [], []
    for each in truth.observations:
        there = each.grid.sky_to_pixel(*grid.pixel_to_sky(x, y))
        images.append(warp(painted(each, *there), each.grid, grid))
        field = measure_psf_field(each.image)
        assert field is not None
        psf = warp_psf(CoaddPsf.of_one(field, each.image.shape), each.grid, grid)
        assert psf is not None
        psfs.append(psf)
        width = psf.typical_shape().fwhm_px
        flat = np.ones(grid.shape, dtype=np.float32)
        sky = MaskedImage(flat, flat, np.zeros(grid.shape, np.int32), fwhm_px=width)
        widths.append(InMemory.of(sky))
    return Stars(x, y, in_memory(images), psfs, widths)


def convolved(stars: Stars, to: MatchedTo) -> list[PsfMatched]:
    return [
        PsfMatched(each, kernel, to.model.fwhm_px)
        for each, kernel in zip(stars.painted, to.kernels, strict=True)
    ]


def residual(stamp, dx: float, dy: float, model: ModelPsf) -> float:
    """Of the star minus the model times what fits it best, over the peak."""
    half = stamp.shape[0] // 2
    wanted = Profile(model.stamp(half + 1), 1.0).stamp(half, dx=dx, dy=dy)
    scale = (stamp * wanted).sum() / (wanted**2).sum()
    return float(np.abs(stamp - scale * wanted).max() / (scale * wanted.max()))


@pytest.mark.parametrize("profile", ["gaussian", "doublegaussian"])
def test_the_stars_of_every_exposure_become_the_model(stars, profile):
    to = stars.matched(profile=profile)
    model = Profile(to.model.stamp(), 1.0).shape()
    assert model.fwhm_px == pytest.approx(to.model.fwhm_px, rel=1e-3)
    widths, residuals, seeing = [], [], []
    for before, after in zip(stars.painted, convolved(stars, to), strict=True):
        seeing += [Profile(s, 1.0).shape().fwhm_px for *_, s in stars.each(before.image, 30)]
        for dx, dy, stamp in stars.each(after.rows(0, FIELD.size_px), 30):
            widths.append(Profile(stamp, 1.0).shape().fwhm_px / model.fwhm_px)
            residuals.append(residual(stamp, dx, dy, to.model))
    assert len(widths) > 60 and max(seeing) > 1.8 * min(seeing)
    assert np.abs(np.array(widths) - 1.0).max() < FWHM_ERROR
    assert max(residuals) < SHAPE_ERROR
    assert to.known == ("psf",) * len(to.kernels)


def test_flux_is_conserved_and_the_stack_has_the_model_psf(stars):
    to = stars.matched()
    warps = convolved(stars, to)
    everywhere = set[tuple[float, float]]()
    for origin, each in zip(stars.painted, warps, strict=True):
        was, now = (
            {(dx, dy): stamp.sum() for dx, dy, stamp in stars.each(image)}
            for image in (origin.image, each.rows(0, FIELD.size_px))
        )
        assert len(now) > 20
        everywhere = everywhere & set(now) if everywhere else set(now)
        assert [now[place] / was[place] for place in now] == pytest.approx(
            [1.0] * len(now), abs=1e-3
        )
    done = coadd(warps, statistic="mean").image
    assert done.fwhm_px == pytest.approx(to.model.fwhm_px, rel=1e-6)
    whole = [each for each in stars.each(done, 30) if each[:2] in everywhere]
    assert len(whole) > 15
    for dx, dy, stamp in whole:
        assert Profile(stamp, 1.0).shape().fwhm_px == pytest.approx(to.model.fwhm_px, rel=0.01)
        assert residual(stamp, dx, dy, to.model) < SHAPE_ERROR


def test_no_kernel_sharpens(stars):
    to = stars.matched()
    assert to.model.fwhm_px >= MARGIN * max(each.fwhm_px for each in stars.widths)
    sampled = [sample_psf(psf, None) for psf in stars.measured]
    assert to.model.fwhm_px >= max(each.widest_px for each in sampled)
    noisier = [(kernel.centre() ** 2).sum() for kernel in to.kernels]
    assert max(noisier) < 1.0


def test_a_width_stands_for_a_psf_that_is_not_known(paint, observe):
    star = np.array([[100.0, 100.0, 1e5]])
    rng = np.random.default_rng(2)
    image = observe(paint((201, 201), star, 4.0, np.inf), rng, noise=0.1, gain=1e9, fwhm_px=4.0)
    own, model = sample_psf(None, 4.0), ModelPsf(6.0)
    assert own is not None and own.known == "fwhm" and sample_psf(None, None) is None
    to = match_psfs([own], model, image.shape)
    matched = PsfMatched(InMemory.of(image), to.kernels[0], 6.0)
    done = matched.rows(0, 201)
    assert matched.weight == pytest.approx(1.0 / np.nanmedian(done.variance), rel=0.02)
    stamp = done.flux[70:131, 70:131].astype(np.float64)
    assert Profile(stamp, 1.0).shape().fwhm_px == pytest.approx(6.0, rel=0.003)


@pytest.fixture
def noisy(observe, stars) -> tuple[InMemory, MatchedTo]:
    """Blank sky of unit noise in place of the third exposure."""
    shape = stars.widths[0].shape
    image = observe(np.zeros(shape), np.random.default_rng(3), noise=1.0, gain=1e9)
    return InMemory.of(image), stars.matched()


def test_variance_is_that_of_the_pixels_and_bands_leave_no_trace(noisy):
    blank, to = noisy
    matched = PsfMatched(blank, to.kernels[2], to.model.fwhm_px)
    done = matched.rows(0, FIELD.size_px)
    pulls = (done.flux / np.sqrt(done.variance))[30:-30, 30:-30]
    assert pulls.std() == pytest.approx(1.0, abs=0.03)
    assert matched.weight == pytest.approx(1.0 / np.nanmedian(done.variance), rel=0.05)
    bands = [matched.rows(y, min(y + 37, FIELD.size_px)) for y in range(0, FIELD.size_px, 37)]
    for plane in ("flux", "variance", "mask"):
        joined = np.concatenate([getattr(band, plane) for band in bands])
        np.testing.assert_array_equal(joined, getattr(done, plane))


def test_masks_spread_and_missing_pixels_lend_nothing(noisy):
    blank, to = noisy
    image, reach = blank.image, to.kernels[1].reach_px()
    image.mask[300, 300] = bits("SUSPECT")
    image.mask[100, 100] = bits("CR")
    image.flux[100, 100] = 1e9
    image.flux[:20] = np.nan
    image.flux[400, 200:500] += 1e6
    trail = np.zeros(image.shape, dtype=np.bool_)
    trail[400, 200:500] = True
    left_out = PsfMatched(blank, to.kernels[1], to.model.fwhm_px, Spans.from_mask(trail))
    done = left_out.rows(0, FIELD.size_px)
    suspect = (done.mask & bits("SUSPECT")) != 0
    assert suspect.sum() == (2 * reach + 1) ** 2
    assert suspect[300 - reach : 301 + reach, 300 - reach : 301 + reach].all()
    none = (done.mask & bits("NO_DATA")) != 0
    assert none[:20].all() and none[100, 100] and none[30:-30, 30:-30].sum() == 1
    np.testing.assert_array_equal(none, np.isnan(done.flux))
    assert np.abs(done.flux[~none]).max() < 10.0
    inexact = (done.mask & bits("INEXACT_PSF")) != 0
    assert inexact[21].all() and inexact[401, 200:500].all()
    assert not inexact[200:300, 200:300].any()
