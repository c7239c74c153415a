from __future__ import annotations

import numpy as np
import pytest

from app.errors import ParameterError
from app.pixels.model_psf import ModelPsf, gaussian_match, psf_match
from app.pixels.psf_field import Profile
from app.pixels.separable import convolve_plane

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


@pytest.mark.parametrize("profile", ["gaussian", "doublegaussian"])
def test_a_model_has_the_width_that_it_is_named_by(profile):
    model = ModelPsf(MODEL_PX, profile)
    assert Profile(model.stamp(), 1.0).shape().fwhm_px == pytest.approx(MODEL_PX, rel=1e-3)
    assert model.stamp().sum() == pytest.approx(1.0)


def test_a_double_gaussian_has_wings():
    single, double = (ModelPsf(MODEL_PX, name).stamp(30) for name in ("gaussian", "doublegaussian"))
    assert double[30, 44] > 100.0 * single[30, 44]
