"""Fluxes, positions and noise through warp and coadd, against analytic stars."""

from __future__ import annotations

import numpy as np
import pytest

from app.pixels.coadd import coadd
from app.pixels.covariance import box_noise_ratio
from app.pixels.image import MaskedImage
from app.pixels.warp import warp
from app.pixels.warped import in_memory

SHAPE = (300, 300)
STARS = np.array([[80.3, 90.7, 2e4], [150.6, 210.2, 5e5], [220.1, 120.9, 1e5]])


def integrated(shape, stars, fwhm_px, paint):
    """Stars integrated over pixels, by painting on a grid five times finer."""
    fine = stars.copy()
    fine[:, :2] = 5 * stars[:, :2] + 2
    image = paint((5 * shape[0], 5 * shape[1]), fine, 5 * fwhm_px, 4.765)
    return image.reshape(shape[0], 5, shape[1], 5).sum(axis=(1, 3))


def moments(image, x, y, reach):
    """Flux and centroid within a Gaussian-weighted box about (x, y), weights iterated."""
    row, column = round(y), round(x)
    part = np.s_[row - reach : row + reach + 1, column - reach : column + reach + 1]
    v, u = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    cut = image[part].astype(np.float64)
    at_x, at_y = x - column, y - row
    for _ in range(20):
        weight = np.exp(-0.5 * ((u - at_x) ** 2 + (v - at_y) ** 2) / 3.0**2) * cut
        step_x = 2 * ((weight * (u - at_x)).sum() / weight.sum())
        step_y = 2 * ((weight * (v - at_y)).sum() / weight.sum())
        at_x, at_y = at_x + step_x, at_y + step_y
    near = np.hypot(u - at_x, v - at_y) < reach
    return cut[near].sum(), column + at_x, row + at_y


@pytest.mark.parametrize("kernel", ["lanczos3", "lanczos5"])
def test_stars_keep_flux_and_place_through_warp_and_clipped_coadd(tan_grid, paint, kernel):
    rng = np.random.default_rng(2)
    target = tan_grid(SHAPE)
    sky = target.pixel_to_sky(STARS[:, 0], STARS[:, 1])
    warped = []
    for fwhm in (3.0, 3.6, 4.4, 5.2, 3.3):
        grid = tan_grid(
            SHAPE,
            rotation_deg=rng.uniform(-40, 40),
            scale_arcsec=rng.uniform(0.18, 0.22),
            offset_px=tuple(rng.uniform(-5, 5, 2)),
        )
        stars = STARS.copy()
        stars[:, 0], stars[:, 1] = grid.sky_to_pixel(*sky)
        flux = integrated(SHAPE, stars, fwhm, paint)
        flux = flux + 0.05 * rng.normal(size=SHAPE)  # so little that biases of 1e-4 show
        variance = 100.0 + np.maximum(flux, 0.0)
        image = MaskedImage(
            flux.astype(np.float32),
            variance.astype(np.float32),
            np.zeros(SHAPE, np.int32),
            fwhm_px=fwhm,
        )
        warped.append(warp(image, grid, target, kernel=kernel))
    done = coadd(in_memory(warped)).image
    profile = integrated((61, 61), np.array([[30.0, 30.0, 1.0]]), 5.2, paint)
    assert profile.sum() > 0.99
    for x, y, flux in STARS:
        total, at_x, at_y = moments(done.flux, x, y, 25)
        inside = np.mean(
            [
                moments(integrated((61, 61), np.array([[30.0, 30.0, 1.0]]), f, paint), 30, 30, 25)[
                    0
                ]
                for f in (3.0, 3.6, 4.4, 5.2, 3.3)
            ]
        )
        assert total / (flux * inside) == pytest.approx(1.0, abs=1e-3)
        assert at_x == pytest.approx(x, abs=0.01) and at_y == pytest.approx(y, abs=0.01)


def test_the_variance_of_a_coadd_is_its_scatter_and_boxes_tell_the_covariance(tan_grid):
    """Neighbours share noise: per pixel the plane is right, sums over boxes scatter more, by the
    share of the variance that interpolation moved into covariances."""
    rng = np.random.default_rng(6)
    target, shape, inner = tan_grid((700, 700)), (760, 760), np.s_[170:530, 170:530]
    warped, noises = [], rng.uniform(5, 12, 8)
    for n, noise in enumerate(noises):
        variance = np.full(shape, noise**2, np.float32)
        flux = (noise * rng.normal(size=shape)).astype(np.float32)
        grid = tan_grid(shape, rotation_deg=7.0 * n + 3.0, offset_px=(0.3 * n, 0.1 * n))
        image = MaskedImage(flux, variance, np.zeros(shape, np.int32), fwhm_px=4.0)
        whole = warp(image, grid, target)
        warped.append(MaskedImage(whole.flux[inner], whole.variance[inner], whole.mask[inner]))
    coadded = coadd(in_memory(warped), statistic="mean")
    pulls = coadded.image.flux / np.sqrt(coadded.image.variance)
    assert pulls.std() == pytest.approx(1.0, abs=0.02)
    squares = np.array(coadded.weights) ** 2
    kept = (squares * [image.variance.mean() for image in warped]).sum()
    expected = np.sqrt((squares * noises**2).sum() / kept)
    ratio = box_noise_ratio(coadded.image)
    assert 1.05 < expected < 1.25
    assert ratio == pytest.approx(expected, abs=0.05)


def test_independent_pixels_have_a_box_noise_ratio_of_one(observe):
    rng = np.random.default_rng(9)
    assert box_noise_ratio(observe(np.zeros((600, 600)), rng)) == pytest.approx(1.0, abs=0.03)
    assert box_noise_ratio(observe(np.zeros((10, 600)), rng)) is None
