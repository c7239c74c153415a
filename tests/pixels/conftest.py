"""Simulated skies whose truth the tests know."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from astropy.io.fits import Header
from numpy.typing import NDArray

from app.pixels.grid import Grid
from app.pixels.image import MaskedImage

Stars = NDArray[np.float64]
"""Rows of x, y, flux."""


def _tan_grid(
    shape: tuple[int, int],
    *,
    scale_arcsec: float = 0.2,
    rotation_deg: float = 0.0,
    lon_deg: float = 150.0,
    lat_deg: float = 2.0,
    offset_px: tuple[float, float] = (0.0, 0.0),
    flipped: bool = False,
) -> Grid:
    ny, nx = shape
    k, angle = scale_arcsec / 3600.0, np.radians(rotation_deg)
    parity = 1.0 if flipped else -1.0
    header = Header()
    header["CTYPE1"], header["CTYPE2"] = "RA---TAN", "DEC--TAN"
    header["CRVAL1"], header["CRVAL2"] = lon_deg, lat_deg
    header["CRPIX1"] = nx / 2 + 0.5 + offset_px[0]
    header["CRPIX2"] = ny / 2 + 0.5 + offset_px[1]
    header["CD1_1"], header["CD1_2"] = parity * k * np.cos(angle), k * np.sin(angle)
    header["CD2_1"], header["CD2_2"] = -parity * k * np.sin(angle), k * np.cos(angle)
    return Grid.from_header(header, shape)


def _paint(
    shape: tuple[int, int], stars: Stars, fwhm_px: float, beta: float = 3.5
) -> NDArray[np.float64]:
    """Moffat stars of the given total fluxes, without noise; beta inf is a Gaussian."""
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    image = np.zeros(shape)
    alpha = fwhm_px / (2.0 * np.sqrt(2.0 ** (1.0 / beta) - 1.0)) if np.isfinite(beta) else 1.0
    sigma = fwhm_px / np.sqrt(8.0 * np.log(2.0))
    for star_x, star_y, flux in stars:
        r2 = (x - star_x) ** 2 + (y - star_y) ** 2
        if np.isfinite(beta):
            peak = (beta - 1.0) / (np.pi * alpha**2)
            image += flux * peak * (1.0 + r2 / alpha**2) ** (-beta)
        else:
            image += flux * np.exp(-0.5 * r2 / sigma**2) / (2.0 * np.pi * sigma**2)
    return image


def _observe(
    sky: NDArray[np.float64],
    rng: np.random.Generator,
    *,
    noise: float = 10.0,
    gain: float = 1.0,
    fwhm_px: float | None = None,
    zero_point_mag: float | None = None,
) -> MaskedImage:
    """Gaussian noise of known variance: sky noise squared plus flux / gain."""
    variance = noise**2 + np.maximum(sky, 0.0) / gain
    flux = sky + rng.normal(size=sky.shape) * np.sqrt(variance)
    return MaskedImage(
        flux.astype(np.float32),
        variance.astype(np.float32),
        np.zeros(sky.shape, dtype=np.int32),
        fwhm_px=fwhm_px,
        zero_point_mag=zero_point_mag,
    )


def _field(
    shape: tuple[int, int], count: int, rng: np.random.Generator, *, least: float = 2e3
) -> Stars:
    """Random stars with N(>f) ~ f^-0.6, none brighter than 100 times the least."""
    x = rng.uniform(8, shape[1] - 9, count)
    y = rng.uniform(8, shape[0] - 9, count)
    flux = np.minimum(least * rng.uniform(1e-3, 1, count) ** (-1 / 0.6), 100 * least)
    return np.stack([x, y, flux], axis=1)


@pytest.fixture
def tan_grid() -> Callable[..., Grid]:
    return _tan_grid


@pytest.fixture
def paint() -> Callable[..., NDArray[np.float64]]:
    return _paint


@pytest.fixture
def observe() -> Callable[..., MaskedImage]:
    return _observe


@pytest.fixture
def field() -> Callable[..., Stars]:
    return _field
