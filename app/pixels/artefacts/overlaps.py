"""SafeClip's judgement: which footprints are artefacts of one input, or of two.

Footprints of the difference of the means are judged as wholes by how many of their pixels deviate
in each input. Those of single inputs are judged pixel by pixel: artefacts of several inputs may
touch, and one that outshines a source stands in the wings of it, where several inputs deviate.

Artefacts are grown for what of them is too faint to deviate. That reaches into a source only about
what outshines it: its pixels that agree with the median are light of the source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.artefacts.deviants import typical_fwhm_px
from app.pixels.artefacts.footprints import Bools, Footprints, grow, with_peak
from app.pixels.artefacts.found import Artefacts
from app.pixels.artefacts.streaks import find_streaks
from app.pixels.bands import Between, over_rows
from app.pixels.kernels import FWHM_TO_SIGMA
from app.pixels.spans import Spans, union
from app.pixels.warped import Warped

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]

GUESS_FWHM_PX: Final = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class SafeClipOptions:
    """Thresholds. Sigmas are of pixels, of PSF widths for ``grow_sigma``; shares of footprints."""

    clip_sigma: float = 1.5
    clip_iterations: int = 3
    detect_sigma: float = 2.0
    least_pixels: int = 4
    grow_sigma: float = 1.5
    low_sigma: float = 3.0
    high_sigma: float = 4.5
    single_share: float = 0.5
    share: float = 0.6
    double_share: float = 0.45
    double_rest: float = 0.15
    double_inputs: int = 3
    big_pixels: int = 100
    source_sigma: float = 3.0


@dataclass(frozen=True, slots=True)
class Seen:
    """What all bands show together: the median (ny, nx), pixels in which it shows a source,
    footprint pixels, and for each input four sets of pixels: those that deviate, at three levels,
    and those without a usable value."""

    centre: Plane
    sources: Spans
    detected: Spans
    low: tuple[Spans, ...]
    high: tuple[Spans, ...]
    far: tuple[Spans, ...]
    absent: tuple[Spans, ...]


def judge(
    inputs: Sequence[Warped], seen: Seen, options: SafeClipOptions, between: Between
) -> Artefacts:
    """The artefacts among all footprints; ``between`` is called before each input is looked at."""
    shape = inputs[0].shape
    whole = Footprints.of(seen.detected)
    whole = whole.keep(whole.areas() >= options.least_pixels)
    small = [with_peak(low, high, shape) for low, high in zip(seen.low, seen.high, strict=True)]
    verdicts = _verdicts(whole, seen, shape, options)
    alone, alone_far = (_in_one_or_two(each, seen, shape, options) for each in (seen.low, seen.far))
    sources = seen.sources.rows(0, *shape)
    psf_sigma = (typical_fwhm_px(inputs) or GUESS_FWHM_PX) * FWHM_TO_SIGMA
    pixels: list[Spans] = []
    counts: list[int] = []
    streaks: list[Spans] = []
    for n, each in enumerate(inputs):
        between(shape[0], shape[0])
        streaks.append(find_streaks(Footprints.of(seen.low[n]), each, seen.centre))
        deviating = seen.low[n].rows(0, *shape)
        inside = whole.select(verdicts[n]).rows(0, *shape) & deviating
        own = small[n].count_in(alone) > options.single_share * small[n].areas()
        far = Footprints.of(seen.far[n])
        outshines = far.count_in(alone_far) > options.single_share * far.areas()
        reach = options.grow_sigma * psf_sigma
        around = grow(far.select(outshines), reach, shape).rows(0, *shape) & deviating
        grown = union(
            (grow(Spans.from_mask(inside), reach, shape), grow(small[n].select(own), 1.0, shape))
        )
        kept = Spans.from_mask(grown.rows(0, *shape) & (deviating | ~sources))
        clipped = union((kept, grow(Spans.from_mask(around), 1.0, shape)))
        pixels.append(union((clipped, _big(small[n], clipped, shape, options))))
        counts.append(int(verdicts[n].sum() + own.sum()))
    return Artefacts.joined(pixels, counts, streaks)


def _verdicts(
    whole: Footprints, seen: Seen, shape: tuple[int, int], options: SafeClipOptions
) -> Bools:
    """(inputs, footprints): to be clipped or not."""
    numbers = np.zeros((2, len(seen.low), whole.count))

    def compare(first: int, last: int) -> None:
        for n in range(first, last):
            for row, spans in enumerate((seen.low[n], seen.absent[n])):
                numbers[row, n] = whole.count_in(spans.rows(0, *shape))

    over_rows(compare, len(seen.low), band_rows=1)
    areas = whole.areas().astype(np.float64)
    return overlap_rules(numbers[0], numbers[1], areas, options)


def _in_one_or_two(
    marked: Sequence[Spans], seen: Seen, shape: tuple[int, int], options: SafeClipOptions
) -> Bools:
    """(ny, nx): where one input is ``marked``, or two if enough inputs cover the place.

    Artefacts of several inputs may touch or cross: told pixel by pixel, each of them stands alone
    in most of its own pixels, which what the inputs see in common does not.
    """
    deviating, missing = np.zeros((2, *shape), dtype=np.uint16)
    for own, absent in zip(marked, seen.absent, strict=True):
        deviating += own.rows(0, *shape)
        missing += absent.rows(0, *shape)
    enough = len(seen.low) - missing.astype(np.int32) > options.double_inputs
    alone: Bools = deviating <= np.where(enough, 2, 1)
    return alone


def overlap_rules(
    deviating: Floats, missing: Floats, areas: Floats, options: SafeClipOptions
) -> Bools:
    """Which inputs a footprint is an artefact of: (inputs, footprints).

    ``deviating`` and ``missing`` count, for each input and footprint, pixels where the input
    deviates and where it has no usable value. An input with more missing than deviating pixels, or
    with half of the footprint missing, is left aside. One overlapping input is clipped above
    ``single_share``; of several the one above ``share`` if it is the only one, or the two above
    ``double_share`` if no other has more than ``double_rest`` and enough inputs cover the place.
    """
    present = areas - missing
    seen = (present > 0.5 * areas) & (deviating > 0) & (missing <= deviating)
    overlap = np.where(seen, deviating / np.maximum(present, 1.0), 0.0)
    several = (overlap > 0).sum(axis=0) > 1
    above = overlap > np.where(several, options.share, options.single_share)
    one = above.sum(axis=0) == 1
    pair = overlap > options.double_share
    rest = np.where(pair, 0.0, overlap).max(axis=0, initial=0.0)
    covering = (present > 0.5 * areas).sum(axis=0)
    two = (
        ~one
        & (pair.sum(axis=0) == 2)
        & (covering > options.double_inputs)
        & (rest <= options.double_rest)
    )
    verdict: Bools = (above & one) | (pair & two)
    return verdict


def _big(
    own: Footprints, clipped: Spans, shape: tuple[int, int], options: SafeClipOptions
) -> Spans:
    """Big footprints of an input of which a good part is clipped already."""
    touched = own.count_in(clipped.rows(0, *shape)) > options.big_pixels
    return own.select(touched & (own.areas() >= options.big_pixels))
