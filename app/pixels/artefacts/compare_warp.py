"""Compare-warp: artefacts as what a PSF-matched exposure has and the static sky has not.

After lsst.drp.tasks CompareWarpAssembleCoadd (its thresholds are the defaults here). All exposures
are brought to one PSF, so that their clipped mean is a model of the static sky that any of them can
be compared with, star cores included. Differences that show up in a few epochs only are artefacts;
what changes in many is a variable source, or a fault of the model, and stays.

Smoothing to the model PSF hides and spreads what is smaller. So pixels in which an exposure
deviates by itself (:mod:`app.pixels.artefacts.deviants`) are candidates of their own, and the
median takes their place, as that of missing pixels, before the exposure is smoothed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import ParameterError
from app.pixels.artefacts.band import Band, band_rows, read_band
from app.pixels.artefacts.deviants import FAR, FAR_SHARE, HIGH, Shelter, deviating, typical_fwhm_px
from app.pixels.artefacts.epochs import CompareWarpOptions, Seen, Sky, judge
from app.pixels.artefacts.footprints import Bools, Footprints
from app.pixels.artefacts.found import Artefacts
from app.pixels.artefacts.ordering import clipped_rows, order_rows
from app.pixels.artefacts.streaks import find_streaks
from app.pixels.bands import Between, over_rows
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.model_psf import coadd_psf_match, gaussian_match, model_fwhm_px
from app.pixels.networks import sorting_network
from app.pixels.psf_coadd import CoaddPsf
from app.pixels.separable import SeparableKernel, convolve_rows
from app.pixels.spans import Spans, union
from app.pixels.statistics import robust_sigma
from app.pixels.warped import Warped

Plane = NDArray[np.float32]
Cube = NDArray[np.float32]

MEMORY_BYTES: Final = 1 << 27
GUESS_FWHM_PX: Final = 4.0
SAMPLE_BANDS: Final = 4
SAMPLE_ROWS: Final = 16


def compare_warp(
    inputs: Sequence[Warped],
    *,
    kernels: Sequence[SeparableKernel] | None = None,
    options: CompareWarpOptions | None = None,
    memory_bytes: int = MEMORY_BYTES,
    between_bands: Between = lambda *_: None,
) -> Artefacts:
    """The artefacts of ``inputs`` (of one grid and flux scale, sky taken off).

    ``kernels`` (see :func:`matching_kernels`) bring each input to the model PSF; without them it is
    the FWHMs that are matched. Reads every input once, by bands of rows that take up to
    ``memory_bytes`` together. Inputs of weight 0 have none. ``between_bands`` is called before each
    band, and before each input is judged.
    Raises ParameterError when there is not one kernel for each input.
    """
    if kernels is not None and len(kernels) != len(inputs):
        raise ParameterError("kernels", f"{len(kernels)} kernels for {len(inputs)} inputs")
    used = [n for n, each in enumerate(inputs) if each.weight > 0]
    if len(used) < 2:
        return Artefacts((), (), ()).placed((), len(inputs))
    kept = [inputs[n] for n in used]
    every = matching_kernels(inputs, [None] * len(inputs)) if kernels is None else kernels
    chosen = [every[n] for n in used]
    search = _Search(kept, chosen, options or CompareWarpOptions(), memory_bytes, between_bands)
    return search.run().placed(used, len(inputs))


def matching_kernels(
    inputs: Sequence[Warped], psfs: Sequence[CoaddPsf | None]
) -> list[SeparableKernel]:
    """What brings each input to the model PSF: from its own PSF where that is known, else a
    Gaussian, from its FWHM."""
    model = model_fwhm_px(inputs) or GUESS_FWHM_PX
    typical = typical_fwhm_px(inputs) or GUESS_FWHM_PX
    kernels: list[SeparableKernel] = []
    for each, psf in zip(inputs, psfs, strict=True):
        known = None if psf is None else coadd_psf_match(psf, model)
        kernels.append(known or gaussian_match(each.fwhm_px or typical, model))
    return kernels


class _Search:
    """One pass over the pixels, then the judgement."""

    def __init__(
        self,
        inputs: Sequence[Warped],
        kernels: Sequence[SeparableKernel],
        options: CompareWarpOptions,
        memory_bytes: int,
        between: Between,
    ) -> None:
        self._between = between
        self._inputs = inputs
        self._kernels = kernels
        self._options = options
        self._memory_bytes = memory_bytes
        self._shape = inputs[0].shape
        self._shelter = Shelter.of(inputs)
        self._smoothed = max(kernel.half_px for kernel in kernels)
        self._reach = self._smoothed + self._shelter.reach
        self._power = np.array([kernel.power for kernel in kernels], dtype=np.float32)
        typical = typical_fwhm_px(inputs) or GUESS_FWHM_PX
        self._psf_sigma = typical * FWHM_TO_SIGMA

    def run(self) -> Artefacts:
        """Find the artefacts."""
        ny, nx = self._shape
        significance, centre = np.zeros((2, ny, nx), dtype=np.float32)
        sky = Sky(significance, centre, np.zeros((ny, nx), dtype=np.int32))
        noise = self._noise_factors()
        parts: dict[int, Seen] = {}

        def rows(start: int, stop: int) -> None:
            parts[start] = self._look(start, stop, noise, sky)

        size = band_rows(len(self._inputs), nx, self._reach, self._memory_bytes)
        over_rows(rows, ny, band_rows=size, between=self._between)
        ordered = [parts[start] for start in sorted(parts)]
        numbers = range(len(self._inputs))
        seen = Seen(
            *(
                tuple(union(getattr(part, name)[n] for part in ordered) for n in numbers)
                for name in ("detected", "low", "high", "far", "absent")
            )
        )
        pixels, counts = judge(seen, sky, self._psf_sigma, self._options, self._between)
        return Artefacts.joined(pixels, counts, self._streaks(seen, sky))

    def _streaks(self, seen: Seen, sky: Sky) -> list[Spans]:
        """The trails of each input, sought in all that differs in any way."""
        found: list[Spans] = []
        for each, low, detected in zip(self._inputs, seen.low, seen.detected, strict=True):
            self._between(self._shape[0], self._shape[0])
            candidates = Footprints.of(union((low, detected)))
            found.append(find_streaks(candidates, each, sky.centre))
        return found

    # -- pixels -----------------------------------------------------------------------------

    def _noise_factors(self) -> Plane:
        """Variance of each matched exposure about the static sky, per variance expected.

        Pixels of a warped image share noise, which smoothing brings out.
        """
        ny = self._shape[0]
        first = np.linspace(0, max(ny - SAMPLE_ROWS, 0), min(SAMPLE_BANDS, ny)).astype(int)
        pulls: list[list[Plane]] = [[] for _ in self._inputs]
        for start in sorted(set(first.tolist())):
            band = read_band(self._inputs, start, min(start + SAMPLE_ROWS, ny), self._reach)
            matched, _ = self._matched(band)
            model, kept = self._static(band, matched)
            for n, own in enumerate(pulls):
                pull = (matched[n] - model) / np.sqrt(self._variance(band, n, 1.0, kept))
                own.append(pull[np.isfinite(pull)])
        widths = [robust_sigma(np.concatenate(own)) ** 2 for own in pulls]
        return np.array([w if w > 0 else 1.0 for w in widths], dtype=np.float32)

    def _matched(self, band: Band) -> tuple[Cube, list[NDArray[np.uint8]]]:
        """Core rows of all inputs with the model PSF, NaN where one has no value; codes of those.

        Pixels that deviate, and missing ones, are the median's before smoothing. At the border of
        the image the sky goes on as its mirror image: stars that are cut stay alike.
        """
        core, options = band.core, self._options
        low = max(core.start - self._smoothed, 0)
        rows = slice(low, min(core.stop + self._smoothed, len(band.centre)))
        matched = np.empty((len(band.cube), core.stop - core.start, band.cube.shape[2]), np.float32)
        codes: list[NDArray[np.uint8]] = []
        for n, kernel in enumerate(self._kernels):
            found = deviating(band, n, self._shelter, options.low_sigma, options.high_sigma, rows)
            whole = np.zeros(band.centre.shape, dtype=np.float32)
            _fill(band.cube[n, rows], band.centre[rows], found, whole[rows])
            half = kernel.half_px
            smooth = convolve_rows(band.mirrored(whole, half), kernel)
            _blank(band.cube[n, core], smooth, half, matched[n])
            codes.append(found[core.start - low : core.stop - low])
        return matched, codes

    def _static(self, band: Band, matched: Cube) -> tuple[Plane, Plane]:
        """Clipped mean of the matched exposures, and the weight that it kept."""
        shape = matched.shape[1:]
        model, scatter, kept = np.empty((3, *shape), dtype=np.float32)
        count = np.empty(shape, dtype=np.int32)
        order_rows(matched, sorting_network(len(matched)), model, scatter, count)
        options, noise = self._options, np.ones(shape, dtype=np.float32)
        weights = band.weights / self._power
        clipped_rows(
            matched,
            weights,
            noise,
            options.clip_sigma,
            options.clip_iterations,
            model,
            scatter,
            kept,
        )
        return model, kept

    def _variance(self, band: Band, n: int, factor: float, kept: Plane) -> Plane:
        """Of the difference of a matched exposure and the model."""
        own = np.float32(factor * self._power[n]) * band.variance[n][band.core]
        total: Plane = (own + 1.0 / np.maximum(kept, np.float32(1e-30))).astype(np.float32)
        return total

    def _look(self, start: int, stop: int, noise: Plane, sky: Sky) -> Seen:
        band = read_band(self._inputs, start, stop, self._reach)
        matched, codes = self._matched(band)
        model, kept = self._static(band, matched)
        sky.significance[start:stop] = np.nan_to_num(model * np.sqrt(kept))
        sky.centre[start:stop] = band.centre[band.core]
        sky.seen[start:stop] = band.count[band.core]
        detected: list[Spans] = []
        far: list[Spans] = []
        for n, code in enumerate(codes):
            variance = self._variance(band, n, noise[n], kept)
            sigma = np.float32(self._options.detect_sigma)
            share = np.float32(self._options.match_share)
            found = _differs(matched[n], model, variance, sigma, share)
            detected.append(Spans.from_mask(found, first_row=start))
            found = _differs(matched[n], model, variance, sigma, np.float32(FAR_SHARE))
            far.append(Spans.from_mask(found | (code == FAR), first_row=start))
        missing = np.isnan(band.cube[:, band.core])
        return Seen(
            tuple(detected),
            tuple(Spans.from_mask(each > 0, first_row=start) for each in codes),
            tuple(Spans.from_mask(each >= HIGH, first_row=start) for each in codes),
            tuple(far),
            tuple(Spans.from_mask(each, first_row=start) for each in missing),
        )


@njit(cache=True, nogil=True)
def _fill(flux: Plane, centre: Plane, codes: NDArray[np.uint8], out: Plane) -> None:
    """Flux where it is good and does not deviate, else the median, else 0."""
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            value = flux[y, x]
            if codes[y, x] or np.isnan(value):
                value = centre[y, x]
            out[y, x] = np.float32(0.0) if np.isnan(value) else value


@njit(cache=True, nogil=True)
def _blank(flux: Plane, smooth: Plane, left: int, out: Plane) -> None:
    """Smoothed values, from column ``left`` on, where the exposure has one of its own, else NaN."""
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            out[y, x] = np.float32(np.nan) if np.isnan(flux[y, x]) else smooth[y, left + x]


@njit(cache=True, nogil=True)
def _differs(matched: Plane, model: Plane, variance: Plane, sigma: float, share: float) -> Bools:
    found = np.zeros(matched.shape, dtype=np.bool_)
    for y in range(matched.shape[0]):
        for x in range(matched.shape[1]):
            apart = abs(matched[y, x] - model[y, x]) - share * abs(model[y, x])
            found[y, x] = apart > 0.0 and apart * apart > sigma * sigma * variance[y, x]
    return found
