from __future__ import annotations

import numpy as np
import pytest

from app.errors import ParameterError
from app.pixels.coadd import coadd
from app.pixels.image import bits
from app.pixels.model_psf import PsfMatched, gaussian_match, model_fwhm_px, psf_match
from app.pixels.separable import convolve_plane
from app.pixels.warped import InMemory, in_memory

MODEL_PX = 6.5


def stamp(paint, fwhm: float) -> np.ndarray:
    painted = paint((61, 61), np.array([[30.0, 30.0, 1.0]]), fwhm)
    return painted / painted.sum()


@pytest.mark.parametrize("fwhm", [3.0, 4.4, 5.8])
def test_a_measured_psf_becomes_the_model_within_a_percent(paint, fwhm):
    """A Gaussian kernel that knows the width only leaves several times as much."""
    psf = stamp(paint, fwhm)
    model = paint((61, 61), np.array([[30.0, 30.0, 1.0]]), MODEL_PX, np.inf)
    matched = convolve_plane(psf.astype(np.float32), psf_match(psf, MODEL_PX))
    guessed = convolve_plane(psf.astype(np.float32), gaussian_match(fwhm, MODEL_PX))
    wrong = np.abs(matched - model).max() / model.max()
    assert wrong < 0.01
    assert np.abs(guessed - model).max() / model.max() > 2.0 * wrong
    assert psf_match(psf, MODEL_PX).stamp().sum() == pytest.approx(1.0, abs=1e-5)


def test_a_sharper_model_is_refused():
    with pytest.raises(ParameterError, match="model FWHM"):
        gaussian_match(5.0, 4.0)


def test_flux_and_blank_sky_noise_after_matching(paint, observe):
    rng = np.random.default_rng(1)
    star = np.array([[100.0, 100.0, 1e5]])
    image = observe(paint((300, 300), star, 4.0), rng, gain=1e9, fwhm_px=4.0)
    matched = PsfMatched(InMemory.of(image), psf_match(stamp(paint, 4.0), MODEL_PX), MODEL_PX)
    done = matched.rows(0, 300)
    assert done.flux[80:121, 80:121].sum() == pytest.approx(
        image.flux[80:121, 80:121].sum(), rel=0.01
    )
    pulls = (done.flux / np.sqrt(done.variance))[150:280, 150:280]
    assert pulls.std() == pytest.approx(1.0, abs=0.08)
    assert matched.weight == pytest.approx(1.0 / np.nanmedian(done.variance), rel=0.02)
    bands = [matched.rows(y, min(y + 7, 300)) for y in range(0, 300, 7)]
    np.testing.assert_array_equal(np.concatenate([b.flux for b in bands]), done.flux)
    np.testing.assert_array_equal(np.concatenate([b.mask for b in bands]), done.mask)


def test_missing_pixels_lend_nothing(observe):
    rng = np.random.default_rng(2)
    image = observe(np.full((80, 80), 1000.0), rng, noise=1.0, gain=1e9, fwhm_px=4.0)
    image.flux[40, 40] = 1e9
    image.mask[40, 40] = bits("CR")
    image.flux[:20] = np.nan
    done = PsfMatched(InMemory.of(image), gaussian_match(4.0, 6.0), 6.0).rows(0, 80)
    held = (done.mask & bits("NO_DATA")) == 0
    assert not held[:20].any() and held[20:, 5:75].sum() == 60 * 70 - 1
    np.testing.assert_allclose(done.flux[held], 1000.0, atol=3.0)
    assert np.isnan(done.flux[~held]).all() and np.isfinite(done.variance[held]).all()


def test_a_stack_of_matched_exposures_has_the_model_width(paint, observe):
    rng = np.random.default_rng(3)
    star = np.array([[50.0, 50.0, 1e6]])
    images = [observe(paint((100, 100), star, f), rng, gain=1e9, fwhm_px=f) for f in (3, 4, 5)]
    inputs = in_memory(images)
    model_px = model_fwhm_px(inputs)
    assert model_px == pytest.approx(5.5)
    matched = [
        PsfMatched(each, psf_match(stamp(paint, f), model_px), model_px)
        for each, f in zip(inputs, (3, 4, 5), strict=True)
    ]
    done = coadd(matched, statistic="mean").image
    assert done.fwhm_px == pytest.approx(5.5, abs=1e-3)
    expected = paint((100, 100), star, 5.5, np.inf)
    assert np.abs(done.flux - expected)[35:66, 35:66].max() < 0.01 * expected.max()
