"""Footprints of sources on a score image: what stands out, of both signs, merged where it touches.

As in Rubin's SourceDetectionTask with both polarities: pixels beyond the threshold, grown by a
disc; footprints that then come within the gap of a merge are one, whatever their signs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.joined import root_of

Plane = NDArray[np.float32]
Signs = NDArray[np.uint8]
Places = NDArray[np.int64]

POSITIVE: Final = 1
NEGATIVE: Final = 2
BAND_ROWS: Final = 64
"""Rows that are looked at together, few enough for the cache."""
PROMINENCE: Final = 3.0
RELATIVE_PROMINENCE: Final = 0.05
"""A second peak of a sign rises by this, in sigma and in parts of the higher one, above the saddle
to it: less is what noise and a PSF that is a little wrong put on the flank of a source."""


@dataclass(frozen=True, slots=True)
class Peak:
    """A pixel where the score of one sign is highest; ``score`` is signed."""

    x: int
    y: int
    score: float


@dataclass(frozen=True, slots=True)
class Footprint:
    """``area`` (pixels after growing) and its peaks, those that stand out most first."""

    area: int
    peaks: tuple[Peak, ...]

    def strongest(self, sign: int) -> Peak | None:
        """The first peak of a sign (1 or -1)."""
        return next((each for each in self.peaks if each.score * sign > 0), None)


@dataclass(frozen=True, slots=True)
class Footprints:
    """``signs`` (ny, nx): bits POSITIVE and NEGATIVE of the pixels of grown footprints.

    ``found`` is in the order of first pixels, row by row.
    """

    signs: Signs
    found: tuple[Footprint, ...]


def find_footprints(values: Plane, threshold: float, grow_px: float, merge_px: int) -> Footprints:
    """Footprints of pixels whose score is beyond ±``threshold``.

    They are grown by a disc of ``grow_px`` and merged when no more than ``merge_px`` pixels lie
    between them. NaN is beyond nothing.
    """
    places = _beyond(values, threshold)
    signs = _grown(values, places, grow_px)
    labels = np.zeros(values.shape, np.int32)
    _mark(labels, places, _disc(grow_px + 0.5 * merge_px), np.full(places.size, -1))
    first, areas = _number(places, signs, labels)
    peaks: list[list[Peak]] = [[] for _ in areas]
    width = values.shape[1]
    for at in _prominent(values, places).tolist():
        peak = Peak(at % width, at // width, float(values.flat[at]))
        peaks[labels.flat[at] - 1].append(peak)
    order = np.argsort(first)
    found = (Footprint(int(areas[n]), tuple(peaks[n])) for n in order.tolist())
    return Footprints(signs, tuple(found))


def grown_signs(values: Plane, threshold: float, grow_px: float) -> Signs:
    """Those of :func:`find_footprints`."""
    return _grown(values, _beyond(values, threshold), grow_px)


def _beyond(values: Plane, threshold: float) -> Places:
    """Where the flattened plane is beyond ±``threshold``, in order."""
    ny, nx = values.shape
    return np.concatenate(
        [
            start * nx + np.flatnonzero(np.abs(values[start : start + BAND_ROWS]) >= threshold)
            for start in range(0, ny, BAND_ROWS)
        ]
    )


def _grown(values: Plane, places: Places, grow_px: float) -> Signs:
    """Discs with the sign of the pixel in their middle."""
    signs = np.zeros(values.shape, np.uint8)
    own = np.where(values.flat[places] > 0, POSITIVE, NEGATIVE)
    _mark(signs, places, _disc(grow_px), own)
    return signs


def _disc(radius_px: float) -> Places:
    """For each row -r … r of a disc, how far it reaches to both sides."""
    rows = np.arange(-int(radius_px), int(radius_px) + 1)
    reach: Places = np.sqrt(radius_px**2 - rows**2).astype(np.int64)
    return reach


def _prominent(values: Plane, places: Places) -> Places:
    """Those of the ``places`` that are peaks of their sign, high above the saddles to higher ones;
    the highest first."""
    highest = places[np.argsort(-np.abs(values.flat[places]), kind="stable")]
    rank = np.zeros(values.shape, np.int32)
    rank.flat[highest] = np.arange(1, places.size + 1)
    peaks: Places = highest[_join(values, highest, rank)]
    return peaks


@njit(cache=True, nogil=True)
def _mark(plane: NDArray[np.integer], places: Places, disc: Places, bits: Places) -> None:
    """Add the ``bits`` of each place to the pixels of a disc around it."""
    ny, nx = plane.shape
    reach = disc.size // 2
    for n in range(places.size):
        y, x = places[n] // nx, places[n] % nx
        for j in range(max(0, y - reach), min(ny, y + reach + 1)):
            side = disc[j - y + reach]
            for i in range(max(0, x - side), min(nx, x + side + 1)):
                plane[j, i] |= bits[n]


@njit(cache=True, nogil=True)
def _number(places: Places, signs: Signs, labels: NDArray[np.int32]) -> tuple[Places, Places]:
    """Number the connected parts of ``labels`` (-1), in each of which are some of the ``places``,
    from 1; the first pixel of each, and its pixels with a sign."""
    ny, nx = labels.shape
    firsts = [0 for _ in range(0)]
    areas = [0 for _ in range(0)]
    pending = [0 for _ in range(0)]
    for start in places:
        if labels[start // nx, start % nx] >= 0:
            continue
        number, first, area = len(areas) + 1, start, 0
        labels[start // nx, start % nx] = number
        pending.append(start)
        while pending:
            at = pending.pop()
            y, x = at // nx, at % nx
            first = min(first, at)
            area += signs[y, x] != 0
            for j in range(max(0, y - 1), min(ny, y + 2)):
                for i in range(max(0, x - 1), min(nx, x + 2)):
                    if labels[j, i] < 0:
                        labels[j, i] = number
                        pending.append(j * nx + i)
        firsts.append(first)
        areas.append(area)
    return np.array(firsts, dtype=np.int64), np.array(areas, dtype=np.int64)


@njit(cache=True, nogil=True)
def _join(values: Plane, places: Places, rank: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the ``places``, highest first, are prominent peaks; ``rank`` counts them from 1.

    Places join the parts of higher ones of their sign beside them; where two parts meet, the lower
    peak ends.
    """
    ny, nx = values.shape
    parent = np.arange(places.size).astype(np.int32)
    kept = np.zeros(places.size, np.bool_)
    for n in range(places.size):
        y, x = places[n] // nx, places[n] % nx
        kept[n] = True
        for j in range(max(0, y - 1), min(ny, y + 2)):
            for i in range(max(0, x - 1), min(nx, x + 2)):
                beside = rank[j, i] - 1
                if beside < 0 or beside >= n or (values[j, i] > 0) != (values[y, x] > 0):
                    continue
                one, other = root_of(parent, n), root_of(parent, beside)
                if one == other:
                    continue
                high, low = min(one, other), max(one, other)
                top = abs(values[places[high] // nx, places[high] % nx])
                rise = abs(values[places[low] // nx, places[low] % nx]) - abs(values[y, x])
                if rise < max(PROMINENCE, RELATIVE_PROMINENCE * top):
                    kept[low] = False
                parent[low] = high
    return kept
