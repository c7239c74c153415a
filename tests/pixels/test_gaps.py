from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from app.pixels.gaps import fill_narrow_gaps, high_variance, with_high_variance
from app.pixels.image import bits

STAR = np.array([[40.3, 39.8, 1e5]])


def holed(image, part):
    flux, variance, mask = image.flux.copy(), image.variance.copy(), image.mask.copy()
    flux[part] = variance[part] = np.nan
    mask[part] = bits("NO_DATA")
    return replace(image, flux=flux, variance=variance, mask=mask)


@pytest.mark.parametrize(
    ("part", "share"),
    [
        (np.s_[:, 40], 0.01),
        (np.s_[40, 40], 0.01),
        (np.s_[39:41, :], 0.03),
        (np.s_[:, 41:43], 0.03),
    ],
)
def test_a_star_is_crossed_along_the_narrow_way(paint, observe, part, share):
    """A straight line would miss up to a fifth of the peak; two pixels wide, 2 % are lost."""
    image = observe(paint((80, 80), STAR, 4.5), np.random.default_rng(0), noise=1.0, gain=1e9)
    done = fill_narrow_gaps(holed(image, part), 4.5)
    assert np.isfinite(done.flux).all() and np.isfinite(done.variance).all()
    assert np.abs(done.flux - image.flux)[part].max() < 0.09 * image.flux.max()
    lost = done.flux[28:53, 28:53].sum() / image.flux[28:53, 28:53].sum() - 1.0
    assert abs(lost) < share
    flags = bits("INTRP", "NO_DATA")
    assert (done.mask[part] == flags).all() and (done.mask == flags).sum() == np.isnan(
        holed(image, part).flux
    ).sum()


def test_a_flat_sky_stays_flat_and_its_variance_sensible(observe):
    image = observe(np.full((60, 60), 500.0), np.random.default_rng(1), noise=0.01, gain=1e9)
    done = fill_narrow_gaps(holed(image, np.s_[20:24, :]), 4.0)
    np.testing.assert_allclose(done.flux[20:24], 500.0, atol=0.1)
    assert (done.variance[20:24] >= 0.99e-4).all() and (done.variance[20:24] < 1e-3).all()


def test_what_is_wide_or_at_the_border_is_left(observe):
    image = observe(np.zeros((60, 60)), np.random.default_rng(2))
    for part in (np.s_[20:40, 20:40], np.s_[:1], np.s_[:, 58:]):
        before = holed(image, part)
        done = fill_narrow_gaps(before, 4.0)
        assert np.isnan(done.flux[part]).all() and np.array_equal(done.mask, before.mask)
    assert fill_narrow_gaps(image, 4.0) is image


def test_high_variance_is_of_areas_not_of_pixels(observe):
    image = observe(np.zeros((256, 320)), np.random.default_rng(3))
    image.variance[64:160, 96:192] *= 6.0
    image.variance[200, 20] *= 100.0
    marked = high_variance(image)
    assert marked[90:130, 125:165].all() and not marked[200, 20] and marked.mean() < 0.2
    mask = with_high_variance(image).mask
    assert ((mask & bits("HIGH_VARIANCE")) != 0)[marked].all() and not mask[~marked].any()


def test_too_little_data_tells_nothing(observe):
    image = observe(np.zeros((64, 64)), np.random.default_rng(4))
    image.variance[:2] *= 50.0
    image.mask[6:] = bits("NO_DATA")
    assert not high_variance(image).any()
