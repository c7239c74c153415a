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
from app.pixels.dia_psf_fit import PsfFit, fit_psfs
from app.pixels.psf_field import Profile

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

    def light(self, stamp: Stamp) -> list[Floats]:
        """What each source has on the pixels of a stamp; nothing where it was not measured."""
        return [
            np.nan_to_num(fit.flux) * stamp.psf(profile, fit.x, fit.y)[0]
            for fit, profile in zip(self.fits, self.profiles, strict=True)
        ]


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
    left = stamp.flux - sum(found.light(stamp))
    shape = found.profiles[0].stamp(layer.half_px)
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
    found, at_y, at_x = 0.0, 0, 0
    for y in range(ny):
        for x in range(nx):
            if not good[y, x]:
                continue
            signal, noise, seen = 0.0, 0.0, 0.0
            for j in range(max(0, y - half), min(ny, y + half + 1)):
                for i in range(max(0, x - half), min(nx, x + half + 1)):
                    if good[j, i]:
                        value = psf[j - y + half, i - x + half]
                        signal += value * flux[j, i]
                        noise += value * value * variance[j, i]
                        seen += value * value
            if seen >= LEAST_SHARE * whole and signal * signal > found * found * noise:
                found, at_y, at_x = signal / np.sqrt(noise), y, x
    return at_y, at_x, found
