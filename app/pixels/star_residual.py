"""What a subtraction leaves of stars, as a part of their flux, beyond noise.

A kernel is fitted to few stars and is one smooth function of the place: it leaves a percent or so
of each, of either sign, which no pixel's variance knows of. It is part of the error of any flux on
a difference where the template shows a source, a variable star above all.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.dia_images import DiaImages, Layer, cut_stamp
from app.pixels.dia_psf_fit import PsfFit, forced_psf

Floats = NDArray[np.float64]

MOST_STARS: Final = 60
LEAST_STARS: Final = 4
LEAST_SNR: Final = 20.0
"""Fainter stars say little."""
MOST_SQUARE: Final = 12.0
"""Residuals beyond 3.5 sigma, those of variable stars, count as that."""
SHARES: Final = np.linspace(0.0, 0.1, 401)


def star_residual(
    images: DiaImages, places: Iterable[tuple[float, float]], scatter: float
) -> float | None:
    """Standard deviation of residual / flux of the stars at ``places`` (x, y; the brightest first),
    noise taken off; None when too few of them are seen on the template.

    By maximum likelihood of normal residuals with outliers cut. ``scatter``: a factor on the noise
    of the difference.
    """
    pairs = [
        (_forced(images.difference, x, y, scatter), _forced(images.template, x, y, 1.0))
        for x, y in islice(places, MOST_STARS)
    ]
    seen = [(left, star) for left, star in pairs if star.flux > LEAST_SNR * star.flux_err]
    usable = [(left.flux, left.flux_err, star.flux) for left, star in seen if left.flux_err > 0]
    if len(usable) < LEAST_STARS:
        return None
    residual, error, flux = np.array(usable).T
    variance = error**2 + (SHARES[:, None] * flux) ** 2
    cost = np.minimum(residual**2 / variance, MOST_SQUARE) + np.log(variance)
    return float(SHARES[int(np.argmin(cost.sum(axis=1)))])


def _forced(layer: Layer, x: float, y: float, scatter: float) -> PsfFit:
    stamp = cut_stamp(layer, round(x), round(y), layer.half_px)
    return forced_psf(stamp, layer.profile(x, y), x, y, scatter)
