"""Pixels of one exposure that differ from what the others agree on, one by one.

Where the sky is bright exposures of different seeing differ without any fault. A broader one than
the others should show their median image blurred by the difference of the widths; a sharper one may
be above the median by what Gaussian peaks of the two widths differ, but not in the wings of a
source, where blurring adds light. A share of the brightness
around is allowed on top of that and of the noise, so that cores of stars stay and what hits them in
one exposure still goes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.artefacts.band import Band
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.warped import Warped

Plane = NDArray[np.float32]
Codes = NDArray[np.uint8]

SEEING_MARGIN: Final = 0.4
"""Share of the foretold difference by which it may be wrong: profiles are no Gaussians."""
BRIGHTNESS_SHARE: Final = 0.1
UNKNOWN_SHARE: Final = 0.6
"""The second where the seeing of an exposure is unknown, or where only two see the place."""
SIGMA_STEP_PX: Final = 0.1
LEAST_SIGMA_PX: Final = 0.3
MOST_SIGMA_PX: Final = 5.0
FAR_SHARE: Final = 0.5
QUIET, LOW, HIGH, FAR = 0, 1, 2, 3
"""FAR: also beyond :data:`FAR_SHARE` of the brightness around, which no PSF explains."""


def typical_fwhm_px(inputs: Sequence[Warped]) -> float | None:
    """The median FWHM (px) of those known; None without any."""
    known = [each.fwhm_px for each in inputs if each.fwhm_px is not None]
    return float(np.median(known)) if known else None


@dataclass(frozen=True, slots=True)
class Shelter:
    """Widths of the inputs (px, NaN unknown) and Gaussian profiles (sigmas, size) to blur with."""

    fwhm_px: Plane
    profiles: Plane

    @classmethod
    def of(cls, inputs: Sequence[Warped]) -> Shelter:
        """For the seeing differences of these inputs."""
        widths = np.array([each.fwhm_px or np.nan for each in inputs], dtype=np.float32)
        known = widths[np.isfinite(widths)]
        most = np.sqrt(known.max() ** 2 - known.min() ** 2) * FWHM_TO_SIGMA if known.size else 0
        most = min(float(most), MOST_SIGMA_PX)
        sigmas = SIGMA_STEP_PX * np.arange(1, int(most / SIGMA_STEP_PX) + 2)
        half = int(np.ceil(2.5 * most)) + 1
        lines = np.exp(-0.5 * (np.arange(-half, half + 1) / sigmas[:, None]) ** 2)
        return cls(widths, (lines / lines.sum(axis=1)[:, None]).astype(np.float32))

    @property
    def reach(self) -> int:
        """Rows needed beyond those asked for."""
        return int(self.profiles.shape[1]) // 2


def deviating(
    band: Band, n: int, shelter: Shelter, low_sigma: float, high_sigma: float, rows: slice
) -> Codes:
    """QUIET, LOW, HIGH or FAR for each pixel of input ``n`` in these rows of those ``band`` holds.

    How far it is from the median.
    """
    codes = np.zeros((rows.stop - rows.start, band.cube.shape[2]), dtype=np.uint8)
    _deviating(
        band.cube,
        n,
        band.variance[n],
        band.centre,
        band.centre_variance,
        band.count,
        rows.start,
        shelter.fwhm_px,
        shelter.profiles,
        np.float32(low_sigma),
        np.float32(high_sigma),
        codes,
    )
    return codes


@njit(cache=True, nogil=True)
def _brightest(centre: Plane, y: int, x: int) -> float:
    bright = 0.0
    for j in range(max(0, y - 1), min(centre.shape[0], y + 2)):
        for i in range(max(0, x - 1), min(centre.shape[1], x + 2)):
            bright = max(bright, abs(centre[j, i]))
    return bright


@njit(cache=True, nogil=True, inline="always")
def _mirrored(place: int, size: int) -> int:
    inside = -place - 1 if place < 0 else 2 * size - 1 - place if place >= size else place
    return min(max(inside, 0), size - 1)


@njit(cache=True, nogil=True)
def _blurred(centre: Plane, y: int, x: int, profile: Plane) -> float:
    """The median image blurred; beyond its border it is mirrored, so that a star which the border
    cuts is blurred alike."""
    rows, nx = centre.shape
    half = profile.size // 2
    total, weight = 0.0, 0.0
    for j in range(y - half, y + half + 1):
        down = profile[j - y + half]
        if down < 1e-5:
            continue
        line = centre[_mirrored(j, rows)]
        for i in range(x - half, x + half + 1):
            value = line[_mirrored(i, nx)]
            if not np.isnan(value):
                part = down * profile[i - x + half]
                total += part * value
                weight += part
    return total / weight


@njit(cache=True, nogil=True)
def typical_at(cube: NDArray[np.float32], y: int, x: int, fwhm_px: Plane) -> float:
    """Median FWHM of the inputs that see a pixel; NaN where one is unknown or two see it only."""
    widths = np.empty(cube.shape[0], dtype=np.float32)
    seen = 0
    for k in range(cube.shape[0]):
        if not np.isnan(cube[k, y, x]):
            widths[seen] = fwhm_px[k]
            seen += 1
    return float(np.median(widths[:seen])) if seen > 2 else np.nan


@njit(cache=True, nogil=True)
def _foretold(
    centre: Plane,
    y: int,
    x: int,
    bright: float,
    own: float,
    typical: float,
    profiles: Plane,
    wing: float,
) -> tuple[float, float]:
    """What an input of FWHM ``own`` should show beyond the median, and how far that may be off.

    A sharper input has less light than the median where blurring adds ``wing`` or more to that.
    """
    if not (own > 0.0 and typical > 0.0):
        return 0.0, UNKNOWN_SHARE * bright
    sigma = np.sqrt(abs(own * own - typical * typical)) * FWHM_TO_SIGMA
    if sigma < LEAST_SIGMA_PX:
        return 0.0, BRIGHTNESS_SHARE * bright
    if own < typical and wing == np.inf:
        return 0.0, brightness_share(own, typical) * bright
    entry = min(int(sigma / SIGMA_STEP_PX + 0.5), profiles.shape[0]) - 1
    less = _blurred(centre, y, x, profiles[entry]) - centre[y, x]
    if own < typical:
        share = BRIGHTNESS_SHARE if less > wing else brightness_share(own, typical)
        return 0.0, share * bright
    return less, BRIGHTNESS_SHARE * bright + SEEING_MARGIN * abs(less)


@njit(cache=True, nogil=True)
def brightness_share(own: float, typical: float) -> float:
    """By which share of the brightness peaks of two FWHM may differ."""
    if not (own > 0.0 and typical > 0.0):
        return UNKNOWN_SHARE
    return BRIGHTNESS_SHARE + (1.0 + SEEING_MARGIN) * abs((typical / own) ** 2 - 1.0)


@njit(cache=True, nogil=True)
def _deviating(
    cube: NDArray[np.float32],
    n: int,
    variance: Plane,
    centre: Plane,
    centre_variance: Plane,
    count: NDArray[np.int32],
    first: int,
    fwhm_px: Plane,
    profiles: Plane,
    low_sigma: float,
    high_sigma: float,
    codes: Codes,
) -> None:
    limit, inputs, own, common = low_sigma * low_sigma, len(cube), fwhm_px[n], np.median(fwhm_px)
    flux = cube[n]
    for row in range(codes.shape[0]):
        y = row + first
        for x in range(codes.shape[1]):
            apart = flux[y, x] - centre[y, x]
            noise = variance[y, x] + centre_variance[y, x]
            if not apart * apart > limit * noise:
                continue
            error = np.sqrt(centre_variance[y, x])
            bright = max(0.0, _brightest(centre, y, x) - 3.0 * error)
            expected, allowed = 0.0, 0.0
            if bright > 0.0:
                whole = count[y, x] == inputs and inputs > 2
                typical = common if whole else typical_at(cube, y, x, fwhm_px)
                expected, allowed = _foretold(
                    centre,
                    y,
                    x,
                    bright,
                    own,
                    typical,
                    profiles,
                    3.0 * error if apart > 0.0 else np.inf,
                )
            beyond, sigma = abs(apart - expected) - allowed, np.sqrt(noise)
            if beyond > FAR_SHARE * bright + high_sigma * sigma:
                codes[row, x] = 3
            else:
                codes[row, x] = 2 if beyond > high_sigma * sigma else beyond > low_sigma * sigma
