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
from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.errors import ParameterError
from app.pixels.artefacts.band import Band, band_rows, read_band
from app.pixels.artefacts.deviants import HIGH, Shelter, deviating, typical_fwhm_px
from app.pixels.artefacts.footprints import Bools, Footprints, grow, with_peak
from app.pixels.artefacts.found import Artefacts
from app.pixels.artefacts.ordering import clipped_rows, order_rows
from app.pixels.bands import Between, over_rows
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.model_psf import gaussian_match, model_fwhm_px
from app.pixels.networks import sorting_network
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


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareWarpOptions:
    """Thresholds. Sigmas are of pixels, of PSF widths for ``grow_sigma`` and ``bright_grow``.

    ``match_share`` of the model may be left by a kernel that knows the width of a PSF only.
    """

    clip_sigma: float = 2.5
    clip_iterations: int = 3
    detect_sigma: float = 7.5
    match_share: float = 0.1
    least_pixels: int = 4
    grow_sigma: float = 0.4
    least_good: float = 0.05
    low_sigma: float = 3.0
    high_sigma: float = 4.5
    epoch_share: float = 0.4
    epochs: float = 2.0
    epochs_per_input: float = 0.03
    spatial_share: float = 0.5
    bright_sigma: float = 300.0
    bright_grow: float = 2.4


@dataclass(frozen=True, slots=True)
class _Sky:
    """Target-sized planes of the static sky: its flux over its noise, and inputs seen."""

    significance: Plane
    seen: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class _Seen:
    """For each input the pixels that differ after matching, those that do by themselves (low and
    high), and those without a usable value."""

    detected: tuple[Spans, ...]
    low: tuple[Spans, ...]
    high: tuple[Spans, ...]
    absent: tuple[Spans, ...]


def compare_warp(
    inputs: Sequence[Warped],
    *,
    kernels: Sequence[SeparableKernel] | None = None,
    options: CompareWarpOptions | None = None,
    memory_bytes: int = MEMORY_BYTES,
    between_bands: Between = lambda *_: None,
) -> Artefacts:
    """The artefacts of ``inputs`` (of one grid and flux scale, sky taken off).

    ``kernels`` bring each input to the model PSF (default: Gaussians, from the FWHMs). Reads every
    input once, by bands of rows that take up to ``memory_bytes`` together. Inputs of weight 0 have
    none. ``between_bands`` is called before each band, and before each input is judged.
    Raises ParameterError when there is not one kernel for each input.
    """
    if kernels is not None and len(kernels) != len(inputs):
        raise ParameterError("kernels", f"{len(kernels)} kernels for {len(inputs)} inputs")
    used = [n for n, each in enumerate(inputs) if each.weight > 0]
    pixels, footprints = [Spans.empty()] * len(inputs), [0] * len(inputs)
    if len(used) > 1:
        kept = [inputs[n] for n in used]
        chosen = _kernels(kept) if kernels is None else [kernels[n] for n in used]
        search = _Search(kept, chosen, options or CompareWarpOptions(), memory_bytes, between_bands)
        found = search.run()
        for n, spans, count in zip(used, found.pixels, found.footprints, strict=True):
            pixels[n], footprints[n] = spans, count
    return Artefacts(tuple(pixels), tuple(footprints))


def _kernels(inputs: Sequence[Warped]) -> list[SeparableKernel]:
    model = model_fwhm_px(inputs) or GUESS_FWHM_PX
    typical = typical_fwhm_px(inputs) or GUESS_FWHM_PX
    return [gaussian_match(each.fwhm_px or typical, model) for each in inputs]


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
        sky = _Sky(np.zeros((ny, nx), np.float32), np.zeros((ny, nx), np.int32))
        noise = self._noise_factors()
        parts: dict[int, _Seen] = {}

        def rows(start: int, stop: int) -> None:
            parts[start] = self._look(start, stop, noise, sky)

        size = band_rows(len(self._inputs), nx, self._reach, self._memory_bytes)
        over_rows(rows, ny, band_rows=size, between=self._between)
        ordered = [parts[start] for start in sorted(parts)]
        numbers = range(len(self._inputs))
        seen = _Seen(
            *(
                tuple(union(getattr(part, name)[n] for part in ordered) for n in numbers)
                for name in ("detected", "low", "high", "absent")
            )
        )
        return self._judge(seen, sky)

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

        Pixels that deviate, and missing ones, are the median's before smoothing.
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
            smooth = convolve_rows(band.padded(whole, kernel.half_px), kernel)
            _blank(band.cube[n, core], smooth, matched[n])
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

    def _look(self, start: int, stop: int, noise: Plane, sky: _Sky) -> _Seen:
        band = read_band(self._inputs, start, stop, self._reach)
        matched, codes = self._matched(band)
        model, kept = self._static(band, matched)
        sky.significance[start:stop] = np.nan_to_num(model * np.sqrt(kept))
        sky.seen[start:stop] = band.count[band.core]
        detected: list[Spans] = []
        for n in range(len(matched)):
            variance = self._variance(band, n, noise[n], kept)
            found = _differs(
                matched[n],
                model,
                variance,
                np.float32(self._options.detect_sigma),
                np.float32(self._options.match_share),
            )
            detected.append(Spans.from_mask(found, first_row=start))
        missing = np.isnan(band.cube[:, band.core])
        return _Seen(
            tuple(detected),
            tuple(Spans.from_mask(each > 0, first_row=start) for each in codes),
            tuple(Spans.from_mask(each == HIGH, first_row=start) for each in codes),
            tuple(Spans.from_mask(each, first_row=start) for each in missing),
        )

    # -- judgement --------------------------------------------------------------------------

    def _judge(self, seen: _Seen, sky: _Sky) -> Artefacts:
        numbers = range(len(self._inputs))
        candidates = [self._candidates(seen, n) for n in numbers]
        epochs = np.zeros(self._shape, dtype=np.int32)
        for each in candidates:
            epochs += each.spans.rows(0, *self._shape)
        bright = self._bright(sky)
        pixels: list[Spans] = []
        counts: list[int] = []
        for each in candidates:
            few = self._in_few_epochs(each, epochs, sky.seen)
            chosen = few & (each.count_in(bright) < each.areas())
            pixels.append(each.select(chosen))
            counts.append(int(chosen.sum()))
        return Artefacts(tuple(pixels), tuple(counts))

    def _candidates(self, seen: _Seen, n: int) -> Footprints:
        options, shape = self._options, self._shape
        self._between(shape[0], shape[0])
        found = Footprints.of(seen.detected[n])
        found = found.keep(found.areas() >= options.least_pixels)
        wide = grow(found.spans, options.grow_sigma * self._psf_sigma, shape)
        small = grow(with_peak(seen.low[n], seen.high[n], shape).spans, 1.0, shape)
        every = Footprints.of(union((wide, small)))
        missing = every.count_in(seen.absent[n].rows(0, *shape))
        return every.keep(missing < (1.0 - options.least_good) * every.areas())

    def _in_few_epochs(
        self, found: Footprints, epochs: NDArray[np.int32], seen: NDArray[np.int32]
    ) -> Bools:
        """Whether most pixels of each footprint are candidates in few epochs."""
        options, areas = self._options, found.areas()
        inputs = found.sum_in(seen) / np.maximum(areas, 1)
        most = np.minimum(
            options.epoch_share * inputs, options.epochs + options.epochs_per_input * inputs
        ).astype(np.int64)
        few = np.zeros(found.count, dtype=np.int64)
        for limit in np.unique(most):
            here = found.count_in(epochs <= limit)
            few = np.where(most == limit, here, few)
        chosen: Bools = few > options.spatial_share * areas
        return chosen

    def _bright(self, sky: _Sky) -> Bools:
        """Where sources are so bright that nothing wholly inside is taken for an artefact."""
        peaks = Spans.from_mask(sky.significance > self._options.bright_sigma)
        reach = self._options.bright_grow * self._psf_sigma
        return grow(peaks, reach, self._shape).rows(0, *self._shape)


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
def _blank(flux: Plane, smooth: Plane, out: Plane) -> None:
    """Smoothed values where the exposure has one of its own, NaN elsewhere."""
    for y in range(flux.shape[0]):
        for x in range(flux.shape[1]):
            out[y, x] = np.float32(np.nan) if np.isnan(flux[y, x]) else smooth[y, x]


@njit(cache=True, nogil=True)
def _differs(matched: Plane, model: Plane, variance: Plane, sigma: float, share: float) -> Bools:
    found = np.zeros(matched.shape, dtype=np.bool_)
    for y in range(matched.shape[0]):
        for x in range(matched.shape[1]):
            apart = abs(matched[y, x] - model[y, x]) - share * abs(model[y, x])
            found[y, x] = apart > 0.0 and apart * apart > sigma * sigma * variance[y, x]
    return found
