"""Trails of satellites and aircraft: masked along their whole length, bright parts and faint ones.

As Rubin's streak filter (Saunders 2021, DMTN-197) does, lines are found by the parts of a trail
that stand out and are then followed in the pixels themselves: what an exposure shows beyond the
median of all, averaged along the line, tells how broad the trail is and how far it goes. Only
blank sky bears witness: what seeing leaves of stars in a row is no trail.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.artefacts.footprints import Footprints
from app.pixels.artefacts.segments import Line, Segments
from app.pixels.image import UNUSABLE
from app.pixels.spans import Spans, union
from app.pixels.warped import Warped

Plane = NDArray[np.float32]
Floats = NDArray[np.float64]

STEP_PX: Final = 16
"""Along a line medians are taken over this length."""
REACH_PX: Final = 24
"""Across; no trail is taken to be broader."""
ACROSS_PX: Final = np.arange(-REACH_PX, REACH_PX + 1).astype(np.float64)
CORE_PX: Final = 6
MEDIAN_ERROR: Final = 1.2533 / STEP_PX**0.5
"""Of the median of a step's pixels, in units of their noise."""
EDGE_SIGMA: Final = 0.3
"""Where a trail adds less than this to a pixel it ends."""
BLANK_SIGMA: Final = 3.0
"""No source is where the median is less than this, in units of a pixel's noise."""
LEAST_STEPS: Final = 5
LEAST_SHARE: Final = 0.6
LEAST_LENGTH: Final = 10.0
"""In half widths: the wings of a saturated star are broad and short."""
SEEN_SIGMA: Final = 3.0
GAP_SIGMA: Final = 1.5
"""Steps fainter than this shorten a trail, brighter ones, up to SEEN_SIGMA, lengthen it."""
READ_ROWS: Final = 128
ROUNDS: Final = 4
"""In which a line is moved to where its trail is."""


def find_streaks(candidates: Footprints, image: Warped, centre: Plane) -> Spans:
    """The trails of ``image``, of which ``candidates`` hold some straight pieces.

    ``centre`` (ny, nx) is what the exposures agree on.
    """
    parts: list[Spans] = []
    segments = Segments(candidates)
    while (line := segments.next_line()) is not None:
        seen = _followed(line, image, centre)
        if seen is not None:
            parts.append(seen.spans(image.shape))
            segments.leave_out(seen.line, 2.0 * seen.half_width)
    return union(parts)


@dataclass(frozen=True, slots=True)
class Streak:
    """A part of a line, ``start`` to ``stop`` px along it, and ``half_width`` px to both sides."""

    line: Line
    start: float
    stop: float
    half_width: float

    def spans(self, shape: tuple[int, int]) -> Spans:
        """Its pixels: those whose middle lies in the rectangle."""
        y = np.arange(shape[0], dtype=np.float64)
        line = self.line
        first = np.full(len(y), -np.inf)
        last = np.full(len(y), np.inf)
        for slope, offset, low, high in (
            (line.along_x, (y - line.y) * line.along_y, self.start, self.stop),
            (-line.along_y, (y - line.y) * line.along_x, -self.half_width, self.half_width),
        ):
            if abs(slope) < 1e-9:
                outside = (offset < low) | (offset > high)
                first[outside] = np.inf
                continue
            ends = np.sort(np.stack([low - offset, high - offset]) / slope, axis=0) + line.x
            first, last = np.maximum(first, ends[0]), np.minimum(last, ends[1])
        start = np.clip(np.ceil(first), 0, shape[1]).astype(np.int32)
        stop = np.clip(np.floor(last) + 1.0, 0, shape[1]).astype(np.int32)
        held = start < stop
        return Spans.from_runs(np.flatnonzero(held), start[held], stop[held])


def _followed(line: Line, image: Warped, centre: Plane) -> Streak | None:
    """The trail along ``line``, the line set right by it; None when there is none."""
    for _ in range(ROUNDS):
        profiles, along = _profiles(line, image, centre)
        middle, across = _off_line(profiles)
        if middle.sum() < LEAST_STEPS:
            return None
        slope, offset = np.polyfit(along[middle], across[middle], 1)
        line = line.shifted(float(offset), float(slope))
    profiles, along = _profiles(line, image, centre)
    middle, _ = _off_line(profiles)
    if middle.sum() < LEAST_STEPS:
        return None
    typical = np.nanmedian(profiles[middle], axis=0)
    half = _half_width(typical, int(middle.sum()))
    core = slice(REACH_PX - half, REACH_PX + half + 1)
    sigmas = _significance(profiles[:, core], typical[core])
    first, last = _longest(sigmas)
    told = sigmas[first:last]
    seen = np.nan_to_num(told) > SEEN_SIGMA
    if seen.sum() < max(LEAST_STEPS, LEAST_SHARE * np.isfinite(told).sum()):
        return None
    start, stop = along[first] - 0.5 * STEP_PX, along[last - 1] + 0.5 * STEP_PX
    if stop - start < LEAST_LENGTH * half:
        return None
    start = -np.inf if first == 0 else start
    stop = np.inf if last == len(along) else stop
    return Streak(line, float(start), float(stop), float(half))


def _profiles(line: Line, image: Warped, centre: Plane) -> tuple[Floats, Floats]:
    """(steps, across): what the exposure shows beyond the median, in units of its noise, as
    medians over the steps along the line; NaN without data. And where the steps lie along it."""
    ny, nx = image.shape
    corners = np.array([(0, 0), (nx - 1, 0), (0, ny - 1), (nx - 1, ny - 1)], dtype=np.float64)
    ends, _ = line.turned(corners[:, 0], corners[:, 1])
    steps = np.arange(np.floor(ends.min() / STEP_PX), np.ceil(ends.max() / STEP_PX))
    along = (steps[:, None] * STEP_PX + np.arange(STEP_PX) + 0.5).ravel()
    x, y = line.at(along[:, None], ACROSS_PX)
    pulls = _pulls(np.rint(x).astype(np.int64), np.rint(y).astype(np.int64), image, centre)
    inside = np.isfinite(pulls[:, REACH_PX - 1 : REACH_PX + 2]).any(axis=1)
    kept = inside.reshape(-1, STEP_PX).sum(axis=1) > STEP_PX // 2
    cut = pulls.reshape(len(steps), STEP_PX, -1)[kept]
    filled = np.isfinite(cut).sum(axis=1) > STEP_PX // 4
    medians = np.nanmedian(np.where(filled[:, None], cut, 0.0), axis=1)
    return np.where(filled, medians, np.nan), (steps[kept] + 0.5) * STEP_PX


def _pulls(x: NDArray[np.int64], y: NDArray[np.int64], image: Warped, centre: Plane) -> Floats:
    """Deviation of pixels in units of their noise, NaN where there is none or on a source."""
    pulls = np.full(x.shape, np.nan)
    first, last = max(int(y.min()), 0), min(int(y.max()) + 1, image.shape[0])
    for start in range(first, last, READ_ROWS):
        rows = image.rows(start, min(start + READ_ROWS, last))
        _pulls_in(x, y, start, rows.flux, rows.variance, rows.mask, UNUSABLE, centre, pulls)
    return pulls


@njit(cache=True, nogil=True)
def _pulls_in(
    x: NDArray[np.int64],
    y: NDArray[np.int64],
    start: int,
    flux: Plane,
    variance: Plane,
    mask: NDArray[np.int32],
    reject: int,
    centre: Plane,
    pulls: Floats,
) -> None:
    """:func:`_pulls` of the places in rows that begin at ``start``."""
    ny, nx = flux.shape
    limit = np.float32(np.inf)
    for n in range(x.shape[0]):
        for m in range(x.shape[1]):
            row, i = y[n, m] - start, x[n, m]
            if not (0 <= row < ny and 0 <= i < nx):
                continue
            value, noise, sky = flux[row, i], variance[row, i], centre[y[n, m], i]
            good = (mask[row, i] & reject) == 0 and noise > 0 and noise < limit
            if good and abs(value) < limit and abs(sky) < BLANK_SIGMA * np.sqrt(noise):
                pulls[n, m] = np.float64(value - sky) / np.sqrt(noise)


def _off_line(profiles: Floats) -> tuple[NDArray[np.bool_], Floats]:
    """Which steps show a trail near the line, and how far across from it."""
    core = slice(REACH_PX - CORE_PX, REACH_PX + CORE_PX + 1)
    light = np.nan_to_num(profiles[:, core])
    sigmas = light.sum(axis=1) / (MEDIAN_ERROR * np.sqrt(2 * CORE_PX + 1.0))
    positive = np.maximum(light - MEDIAN_ERROR, 0.0)
    total = positive.sum(axis=1)
    across = positive @ np.arange(-CORE_PX, CORE_PX + 1.0) / np.maximum(total, 1e-9)
    return (sigmas > SEEN_SIGMA) & (total > 0), across


def _half_width(typical: Floats, steps: int) -> int:
    """How far (px) from the line a trail of this profile is seen."""
    least = max(EDGE_SIGMA, 3.0 * MEDIAN_ERROR / steps**0.5)
    faint = np.nan_to_num(typical) < least
    ends = [np.argmax(side) for side in (faint[REACH_PX:], faint[REACH_PX::-1]) if side.any()]
    return max(2, *(int(end) for end in ends)) if ends else REACH_PX


def _significance(profiles: Floats, typical: Floats) -> Floats:
    """Light of each step in the shape of the typical profile, in units of its noise."""
    weight = np.where(np.isfinite(profiles), np.nan_to_num(typical), 0.0)
    total = np.sqrt((weight**2).sum(axis=1))
    with np.errstate(invalid="ignore", divide="ignore"):
        sigmas: Floats = (weight * np.nan_to_num(profiles)).sum(axis=1) / (MEDIAN_ERROR * total)
    return sigmas


def _longest(sigmas: Floats) -> tuple[int, int]:
    """The part (first, last + 1) that gains most from steps above, and loses least from those
    below, :data:`GAP_SIGMA`."""
    gains = np.where(np.isfinite(sigmas), np.clip(sigmas, -SEEN_SIGMA, SEEN_SIGMA) - GAP_SIGMA, 0.0)
    sums = np.concatenate([[0.0], np.cumsum(gains)])
    lowest = np.minimum.accumulate(sums)
    last = int(np.argmax(sums - lowest))
    return int(np.argmin(sums[: last + 1])), last
