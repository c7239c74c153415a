"""Sources that share light: fitted together, and those found that others hide.

Two point sources nearer than about two FWHM are one peak of the score, which is smoothed by the PSF
once more. They show when what was found is fitted and taken off: where a point source stands out of
the rest, all are fitted again with it, and it is kept when they then leave no more than noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.detect import LEAST_SHARE
from app.pixels.dia_footprints import Peak
from app.pixels.dia_images import Layer, Stamp, cut_stamp
from app.pixels.dia_psf_fit import PsfFit, fit_psfs, light_on
from app.pixels.psf_field import Profile
from app.pixels.psf_planes import psf_planes

Floats = NDArray[np.float64]

MOST_TOGETHER: Final = 8
"""Sources that are fitted together."""
MOST_HIDDEN: Final = 2
HIDDEN_SIGMA: Final = 5.0
HIDDEN_SHARE: Final = 0.05
"""What stands out of the rest is no source unless it has this part of the strongest peak's score:
less is what a PSF that is a little wrong leaves."""
WORST_CHI2: Final = 1.5


@dataclass(frozen=True, slots=True)
class Blend:
    """Sources and the PSFs they were fitted with; the last of them are the ``hidden`` ones."""

    fits: tuple[PsfFit, ...]
    profiles: tuple[Profile, ...]
    hidden: tuple[Peak, ...] = ()

    def light(self, stamp: Stamp) -> Floats:
        """See :func:`light_on`."""
        return light_on(stamp, self.fits, self.profiles)


def shared_stamp(layer: Layer, places: Floats) -> Stamp:
    """Around all places (n, 2); ``good`` only near to one of them."""
    low, high = places.min(axis=0), places.max(axis=0)
    (x, y), half = np.rint(0.5 * (low + high)).astype(int).tolist(), layer.half_px
    stamp = cut_stamp(layer, x, y, half + ceil(0.5 * float((high - low).max())))
    if len(places) == 1:
        return stamp
    near = np.zeros_like(stamp.good)
    for each_x, each_y in places.tolist():
        near[stamp.square(each_x, each_y, half)] = True
    return replace(stamp, good=stamp.good & near)


def fit_blend(
    layer: Layer, peaks: Sequence[Peak], profiles: Sequence[Profile], scatter: float
) -> Blend:
    """Places and fluxes of the sources at ``peaks``, and of no more than MOST_HIDDEN others."""
    places = np.array([(peak.x, peak.y) for peak in peaks], dtype=np.float64)
    first = found = _fit(layer, places, profiles, scatter)
    least = max(HIDDEN_SIGMA, HIDDEN_SHARE * max(abs(peak.score) for peak in peaks))
    for _ in range(min(MOST_HIDDEN, MOST_TOGETHER - len(peaks))):
        peak = _hidden(layer, found, scatter)
        if not abs(peak.score) > least:
            break
        places = np.array([*((fit.x, fit.y) for fit in found.fits), (peak.x, peak.y)])
        more = (*found.profiles, layer.profile(peak.x, peak.y))
        found = replace(_fit(layer, places, more, scatter), hidden=(*found.hidden, peak))
        if all(_is_good(fit) for fit in found.fits):
            return found
    return first


def _fit(layer: Layer, places: Floats, profiles: Sequence[Profile], scatter: float) -> Blend:
    fits = fit_psfs(
        shared_stamp(layer, places),
        profiles,
        places,
        reach_px=layer.fwhm_px,
        own_px=layer.half_px,
        scatter=scatter,
    )
    return Blend(tuple(fits), tuple(profiles))


def _is_good(fit: PsfFit) -> bool:
    """Whether a source stands out and leaves no more than noise."""
    snr = abs(fit.flux) / fit.flux_err
    return fit.converged and snr > HIDDEN_SIGMA and fit.reduced_chi2 < WORST_CHI2


def _hidden(layer: Layer, found: Blend, scatter: float) -> Peak:
    """What stands out most when the sources are taken off."""
    stamp = shared_stamp(layer, np.array([(fit.x, fit.y) for fit in found.fits]))
    left = stamp.flux - found.light(stamp).sum(axis=0)
    side, first = 2 * layer.half_px + 1, -float(layer.half_px)
    shape = psf_planes(found.profiles[0], first, first, (side, side))[0]
    row, column, score = _highest(left, stamp.variance, stamp.good, shape)
    corner = stamp.x - stamp.half_px, stamp.y - stamp.half_px
    return Peak(corner[0] + column, corner[1] + row, score / scatter)


@njit(cache=True, nogil=True)
def _highest(
    flux: Floats, variance: Floats, good: NDArray[np.bool_], psf: Floats
) -> tuple[int, int, float]:
    """Row, column and signed score of the pixel where a point source stands out most."""
    ny, nx = flux.shape
    half, whole = psf.shape[0] // 2, (psf**2).sum()
    planes = np.zeros((3, ny + 2 * half, nx + 2 * half))
    inner = planes[:, half : half + ny, half : half + nx]
    inner[0], inner[1], inner[2] = good * flux, good * variance, good * 1.0
    found, at_y, at_x = 0.0, 0, 0
    for y in range(ny):
        signal, noise, seen = np.zeros(nx), np.zeros(nx), np.zeros(nx)
        for j in range(psf.shape[0]):
            for i in range(psf.shape[1]):
                value, square = psf[j, i], psf[j, i] ** 2
                for x in range(nx):
                    signal[x] += value * planes[0, y + j, x + i]
                    noise[x] += square * planes[1, y + j, x + i]
                    seen[x] += square * planes[2, y + j, x + i]
        for x in range(nx):
            told = good[y, x] and seen[x] >= LEAST_SHARE * whole
            if told and signal[x] ** 2 > found * found * noise[x]:
                found, at_y, at_x = signal[x] / np.sqrt(noise[x]), y, x
    return at_y, at_x, found
