"""Sources fitted together on one stamp."""

from __future__ import annotations

import numpy as np
import pytest

from app.pixels.dia_images import Stamp
from app.pixels.dia_psf_fit import fit_psfs, forced_psfs, light_on
from app.pixels.psf_field import Profile

SIDE = 41
SIGMA_PX = 2.0
NOISE = 3.0


def profile(half_px: int) -> Profile:
    """A Gaussian whose samples go so far."""
    v, u = np.mgrid[-half_px : half_px + 1, -half_px : half_px + 1]
    samples = np.exp(-0.5 * (u**2 + v**2) / SIGMA_PX**2)
    return Profile(samples / samples.sum(), 1.0)


def stamp(stars, *, bad=(), seed: int | None = None) -> Stamp:
    """Around the pixel (100, 200); stars are (x, y, flux)."""
    y, x = np.mgrid[200 - SIDE // 2 : 201 + SIDE // 2, 100 - SIDE // 2 : 101 + SIDE // 2]
    flux = np.zeros((SIDE, SIDE))
    for star_x, star_y, total in stars:
        square = (x - star_x) ** 2 + (y - star_y) ** 2
        flux += total * np.exp(-0.5 * square / SIGMA_PX**2) / (2.0 * np.pi * SIGMA_PX**2)
    if seed is not None:
        flux += np.random.default_rng(seed).normal(0.0, NOISE, flux.shape)
    good = np.ones((SIDE, SIDE), np.bool_)
    for part in bad:
        good[part] = False
    variance = np.full((SIDE, SIDE), NOISE**2)
    return Stamp(100, 200, flux, variance, np.zeros((SIDE, SIDE), np.int64), good)


STARS = [(97.3, 200.4, 8000.0), (103.1, 198.8, -5000.0)]
STARTS = np.array([(97.0, 200.0), (103.0, 199.0)])
settings = {"reach_px": 3.0, "own_px": 8, "scatter": 1.0}


def test_blends_are_told_apart_with_psfs_of_different_reach():
    profiles = [profile(11), profile(16)]
    found = fit_psfs(stamp(STARS), profiles, STARTS, **settings)
    for fit, (x, y, flux) in zip(found, STARS, strict=True):
        assert fit.converged
        assert (fit.x, fit.y) == pytest.approx((x, y), abs=5e-3)  # that of Lanczos weights
        assert fit.flux == pytest.approx(flux, rel=2e-3)
        assert fit.n_pixels == 17 * 17 and fit.chi2 < 1.0
    light = light_on(stamp(STARS), found, profiles)
    assert light.sum(axis=(1, 2)) == pytest.approx([8000.0, -5000.0], rel=3e-3)
    assert np.abs(light.sum(axis=0) - stamp(STARS).flux).max() < 2.0


def test_errors_tell_the_scatter():
    profiles = [profile(14)] * 2
    pulls = []
    for seed in range(150):
        found = fit_psfs(stamp(STARS, seed=seed), profiles, STARTS, **settings)
        for fit, (x, y, flux) in zip(found, STARS, strict=True):
            pulls.append(
                ((fit.x - x) / fit.x_err, (fit.y - y) / fit.y_err, (fit.flux - flux) / fit.flux_err)
            )
    assert np.std(pulls, axis=0) == pytest.approx(1.0, abs=0.12)
    assert np.mean(pulls, axis=0) == pytest.approx(0.0, abs=0.2)


def test_places_that_are_given_are_kept():
    places = np.array([(97.3, 200.4), (103.1, 198.8)])
    found = forced_psfs(stamp(STARS), [profile(14)] * 2, places, own_px=8, scatter=2.0)
    assert [(fit.x, fit.y) for fit in found] == [(97.3, 200.4), (103.1, 198.8)]
    assert [fit.flux for fit in found] == pytest.approx([8000.0, -5000.0], rel=1e-3)
    assert all(fit.converged and np.isnan(fit.x_err) and np.isnan(fit.y_err) for fit in found)
    alone = forced_psfs(stamp(STARS), [profile(14)], places[:1], own_px=8, scatter=2.0)[0]
    expected = 2.0 * NOISE * np.sqrt(4.0 * np.pi * SIGMA_PX**2)
    assert alone.flux_err == pytest.approx(expected, rel=1e-3)


def test_a_source_on_unusable_pixels_takes_no_part():
    hidden = stamp(STARS, bad=[np.s_[:, 20:]])
    left, right = fit_psfs(hidden, [profile(14)] * 2, STARTS, **settings)
    assert np.isfinite(left.flux) and left.n_pixels == 17 * 11
    assert np.isnan(right.flux) and np.isnan(right.chi2) and not right.converged
    assert (right.x, right.y) == (103.0, 199.0)
    assert (light_on(hidden, [left, right], [profile(14)] * 2)[1] == 0.0).all()


def test_what_runs_away_stays_at_its_start():
    fit = fit_psfs(stamp(STARS), [profile(14)], np.array([(97.0, 206.5)]), **settings)[0]
    assert not fit.converged and (fit.x, fit.y) == (97.0, 206.5)
    assert np.isfinite(fit.flux) and np.isnan(fit.x_err)


def test_two_at_one_place_are_not_told_apart():
    places = np.array([(97.3, 200.4)] * 2)
    found = forced_psfs(stamp(STARS), [profile(14)] * 2, places, own_px=8, scatter=1.0)
    assert all(np.isnan(fit.flux) and np.isnan(fit.flux_err) for fit in found)
