"""Compare-warp's judgement: of what differs from the static sky, which shows in few epochs only.

What differs after matching and what deviates by itself are judged apart, each by the epochs that
show it in the same way: what kernels leave around bright stars in many exposures else stands up
for a cosmic ray beside them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from app.pixels.artefacts.footprints import Bools, Footprints, grow, with_peak
from app.pixels.bands import Between
from app.pixels.spans import Spans, union

Plane = NDArray[np.float32]
Ints = NDArray[np.int32]
Found = tuple[list[Spans], list[int]]
"""For each input the pixels of artefacts and how many footprints they are."""


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
class Sky:
    """Target-sized planes of the static sky: its flux over its noise, the median of the inputs
    as they are, and inputs seen."""

    significance: Plane
    centre: Plane
    seen: NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Seen:
    """For each input the pixels that differ after matching, those that do by themselves (low and
    high), those that do either by more than any PSF explains, and those without a usable value."""

    detected: tuple[Spans, ...]
    low: tuple[Spans, ...]
    high: tuple[Spans, ...]
    far: tuple[Spans, ...]
    absent: tuple[Spans, ...]


def judge(
    seen: Seen, sky: Sky, psf_sigma_px: float, options: CompareWarpOptions, between: Between
) -> Found:
    """The artefacts among all candidates; ``between`` is called before each input is looked at."""
    shape = sky.seen.shape
    wide: list[Footprints] = []
    small: list[Footprints] = []
    for n, absent in enumerate(seen.absent):
        between(shape[0], shape[0])
        found = Footprints.of(seen.detected[n])
        found = found.keep(found.areas() >= options.least_pixels)
        missing = absent.rows(0, *shape)
        grown = grow(found.spans, options.grow_sigma * psf_sigma_px, shape)
        wide.append(_good(grown, missing, options))
        grown = grow(with_peak(seen.low[n], seen.high[n], shape).spans, 1.0, shape)
        small.append(_good(grown, missing, options))
    bright = _bright(sky, psf_sigma_px, options)
    chosen = [_artefacts(each, seen, sky, bright, options) for each in (wide, small)]
    return (
        [union(parts) for parts in zip(*(pixels for pixels, _ in chosen), strict=True)],
        [sum(counts) for counts in zip(*(counts for _, counts in chosen), strict=True)],
    )


def _good(spans: Spans, missing: Bools, options: CompareWarpOptions) -> Footprints:
    """The connected parts of which enough has a usable value."""
    every = Footprints.of(spans)
    return every.keep(every.count_in(missing) < (1.0 - options.least_good) * every.areas())


def _artefacts(
    candidates: Sequence[Footprints],
    seen: Seen,
    sky: Sky,
    bright: Bools,
    options: CompareWarpOptions,
) -> Found:
    """Candidates of one kind, of each input, that show in few epochs and that no bright source
    explains."""
    shape = sky.seen.shape
    epochs = np.zeros(shape, dtype=np.int32)
    for each in candidates:
        epochs += each.spans.rows(0, *shape)
    pixels: list[Spans] = []
    counts: list[int] = []
    for each, far in zip(candidates, seen.far, strict=True):
        sheltered = each.count_in(bright & ~far.rows(0, *shape)) == each.areas()
        chosen = _in_few_epochs(each, epochs, sky.seen, options) & ~sheltered
        pixels.append(each.select(chosen))
        counts.append(int(chosen.sum()))
    return pixels, counts


def _in_few_epochs(
    found: Footprints, epochs: Ints, seen: Ints, options: CompareWarpOptions
) -> Bools:
    """Whether most pixels of each footprint are candidates in few epochs."""
    areas = found.areas()
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


def _bright(sky: Sky, psf_sigma_px: float, options: CompareWarpOptions) -> Bools:
    """Where sources are so bright that what kernels leave of them is taken for no artefact."""
    peaks = Spans.from_mask(sky.significance > options.bright_sigma)
    return grow(peaks, options.bright_grow * psf_sigma_px, sky.seen.shape).rows(0, *sky.seen.shape)
