"""SafeClip: artefacts as footprints where the mean and the clipped mean of all inputs differ.

After lsst.pipe.tasks SafeClipAssembleCoadd (its thresholds are the defaults here). The difference
of a plain and of a hard-clipped mean, smoothed with the PSF, shows what few inputs have. A
footprint in it is an artefact of one input, or of two, when it is mostly covered by pixels in which
that input, or those two, deviate; star cores, where seeing makes many inputs deviate, stay. The
final coadd is a plain mean without the artefacts, so that its PSF is exact.

Smoothing hides what is smaller than the PSF: a pixel must stand out by 9 sqrt(N) sigma to be seen
in it. So the connected pixels in which an input deviates (:mod:`app.pixels.artefacts.deviants`)
are footprints to be judged, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.artefacts.band import Band, band_rows, read_band
from app.pixels.artefacts.deviants import (
    FAR,
    HIGH,
    Shelter,
    brightness_share,
    deviating,
    typical_at,
    typical_fwhm_px,
)
from app.pixels.artefacts.footprints import Bools
from app.pixels.artefacts.found import Artefacts
from app.pixels.artefacts.ordering import add_rows, clipped_rows
from app.pixels.artefacts.overlaps import GUESS_FWHM_PX, SafeClipOptions, Seen, judge
from app.pixels.bands import Between, over_rows
from app.pixels.separable import SeparableKernel, convolve_rows, gaussian_kernel
from app.pixels.spans import Spans, union
from app.pixels.warped import Warped

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]

MEMORY_BYTES: Final = 1 << 27
BOX_PX: Final = 5


def safe_clip(
    inputs: Sequence[Warped],
    *,
    options: SafeClipOptions | None = None,
    memory_bytes: int = MEMORY_BYTES,
    between_bands: Between = lambda *_: None,
) -> Artefacts:
    """The artefacts of ``inputs`` (of one grid and flux scale, sky taken off).

    Reads every input once, by bands of rows that take up to ``memory_bytes`` together. Inputs of
    weight 0 have none. ``between_bands`` is called before each band, and before each input is
    judged.
    """
    chosen = options or SafeClipOptions()
    used = [n for n, each in enumerate(inputs) if each.weight > 0]
    if len(used) < 2:
        return Artefacts((), (), ()).placed((), len(inputs))
    kept = [inputs[n] for n in used]
    seen = _survey(kept, chosen, memory_bytes, between_bands)
    return judge(kept, seen, chosen, between_bands).placed(used, len(inputs))


def _survey(
    inputs: Sequence[Warped], options: SafeClipOptions, memory_bytes: int, between: Between
) -> Seen:
    typical = typical_fwhm_px(inputs)
    shelter = Shelter.of(inputs)
    kernel = gaussian_kernel(typical or GUESS_FWHM_PX)
    reach = max(kernel.half_px, BOX_PX // 2, shelter.reach)
    ny, nx = inputs[0].shape
    centre = np.empty((ny, nx), dtype=np.float32)
    parts: dict[int, Seen] = {}

    def rows(start: int, stop: int) -> None:
        band = read_band(inputs, start, stop, reach)
        centre[start:stop] = band.centre[band.core]
        parts[start] = _look(band, kernel, shelter, options)

    size = band_rows(len(inputs), nx, reach, memory_bytes)
    over_rows(rows, ny, band_rows=size, between=between)
    ordered = [parts[start] for start in sorted(parts)]
    numbers = range(len(inputs))
    return Seen(
        centre,
        union(part.sources for part in ordered),
        union(part.detected for part in ordered),
        tuple(union(part.low[n] for part in ordered) for n in numbers),
        tuple(union(part.high[n] for part in ordered) for n in numbers),
        tuple(union(part.far[n] for part in ordered) for n in numbers),
        tuple(union(part.absent[n] for part in ordered) for n in numbers),
    )


def _look(band: Band, kernel: SeparableKernel, shelter: Shelter, options: SafeClipOptions) -> Seen:
    """The footprint pixels and the deviating pixels of one band."""
    detected = _detected(band, kernel, options)
    low: list[Spans] = []
    high: list[Spans] = []
    far: list[Spans] = []
    absent: list[Spans] = []
    for n in range(len(band.cube)):
        codes = deviating(band, n, shelter, options.low_sigma, options.high_sigma, band.core)
        high.append(Spans.from_mask(codes >= HIGH, first_row=band.start))
        far.append(Spans.from_mask(codes == FAR, first_row=band.start))
        _mark_extended(
            band.cube,
            n,
            band.variance[n],
            band.centre,
            band.centre_variance,
            band.count,
            band.core.start,
            shelter.fwhm_px,
            detected,
            np.float32(options.low_sigma),
            codes,
        )
        low.append(Spans.from_mask(codes > 0, first_row=band.start))
        absent.append(Spans.from_mask(np.isnan(band.cube[n, band.core]), first_row=band.start))
    centre, error = band.centre[band.core], np.sqrt(band.centre_variance[band.core])
    return Seen(
        centre,
        Spans.from_mask(centre > options.source_sigma * error, first_row=band.start),
        Spans.from_mask(detected, first_row=band.start),
        tuple(low),
        tuple(high),
        tuple(far),
        tuple(absent),
    )


def _detected(band: Band, kernel: SeparableKernel, options: SafeClipOptions) -> Bools:
    """Where the smoothed difference of the two means is significant."""
    sums = np.zeros((4, *band.centre.shape), dtype=np.float32)
    for n, weight in enumerate(band.weights):
        add_rows(band.cube[n], band.variance[n], weight, band.centre, sums)
    total, offset, units, largest = sums
    others = np.maximum(band.count - 1, 1).astype(np.float32)
    unit = np.where(band.count > 1, units - largest, units) / others
    clipped, scatter, kept = band.centre.copy(), band.scatter.copy(), np.empty_like(total)
    clipped_rows(
        band.cube,
        band.weights,
        np.sqrt(unit),
        options.clip_sigma,
        options.clip_iterations,
        clipped,
        scatter,
        kept,
    )
    held = (band.count > 1) & (kept > 0)
    total, kept = np.where(held, total, 1), np.where(held, kept, 1)
    apart = np.where(held, band.centre + offset / total - clipped, 0).astype(np.float32)
    smooth = convolve_rows(band.padded(apart, kernel.half_px), kernel)
    variance = np.where(held, unit * (1 / total + 1 / kept), np.inf)[band.core]
    limit = np.float32(options.detect_sigma**2 * kernel.power)
    return smooth * smooth > limit * variance


@njit(cache=True, nogil=True)
def _mark_extended(
    cube: NDArray[np.float32],
    n: int,
    variance: Plane,
    centre: Plane,
    centre_variance: Plane,
    seen: NDArray[np.int32],
    first: int,
    fwhm_px: Plane,
    detected: Bools,
    sigma: float,
    codes: NDArray[np.uint8],
) -> None:
    """Mark detected pixels around which the mean of a small box deviates from the median."""
    half, flux, common = BOX_PX // 2, cube[n], np.median(fwhm_px)
    for row in range(detected.shape[0]):
        for x in range(detected.shape[1]):
            if codes[row, x] or not detected[row, x]:
                continue
            y = row + first
            total, noise, count, bright = 0.0, 0.0, 0, 0.0
            for j in range(max(0, y - half), min(flux.shape[0], y + half + 1)):
                for i in range(max(0, x - half), min(flux.shape[1], x + half + 1)):
                    value = flux[j, i]
                    if not np.isnan(value):
                        total += value - centre[j, i]
                        noise += variance[j, i]
                        count += 1
                        bright = max(bright, abs(centre[j, i]))
            if abs(total) <= sigma * np.sqrt(noise):
                continue
            bright = max(0.0, bright - 3.0 * np.sqrt(centre_variance[y, x]))
            beyond = abs(total)
            if bright > 0.0:
                whole = seen[y, x] == len(cube) and len(cube) > 2
                typical = common if whole else typical_at(cube, y, x, fwhm_px)
                beyond -= count * brightness_share(fwhm_px[n], typical) * bright
            codes[row, x] = beyond > sigma * np.sqrt(noise)
