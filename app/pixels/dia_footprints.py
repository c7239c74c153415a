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

Plane = NDArray[np.float32]
Signs = NDArray[np.uint8]
Places = NDArray[np.int64]

POSITIVE: Final = 1
NEGATIVE: Final = 2
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
    signs = np.zeros(values.shape, np.uint8)
    labels = np.zeros(values.shape, np.int32)
    _grow(values, threshold, _disc(grow_px), _disc(grow_px + 0.5 * merge_px), signs, labels)
    areas = _number(signs, labels)
    peaks: list[list[Peak]] = [[] for _ in areas]
    width = values.shape[1]
    for plane in (values, -values):
        for at in _prominent(plane, threshold).tolist():
            peak = Peak(at % width, at // width, float(values.flat[at]))
            peaks[labels.flat[at] - 1].append(peak)
    found = (
        Footprint(area, tuple(sorted(group, key=lambda each: -abs(each.score))))
        for area, group in zip(areas.tolist(), peaks, strict=True)
    )
    return Footprints(signs, tuple(found))


def _disc(radius_px: float) -> Places:
    """For each row -r … r of a disc, how far it reaches to both sides."""
    rows = np.arange(-int(radius_px), int(radius_px) + 1)
    reach: Places = np.sqrt(radius_px**2 - rows**2).astype(np.int64)
    return reach


def _prominent(values: Plane, threshold: float) -> Places:
    """Places of the peaks above the threshold that are high above the saddles to higher ones."""
    above = np.flatnonzero(values >= threshold)
    order = np.argsort(-values.flat[above], kind="stable")
    rank = np.full(values.size, -1, np.int32)
    rank[above[order]] = np.arange(above.size, dtype=np.int32)
    kept = _join(values, above[order], rank.reshape(values.shape))
    peaks: Places = above[order][kept]
    return peaks


@njit(cache=True, nogil=True)
def _grow(
    values: Plane,
    threshold: float,
    disc: Places,
    wide: Places,
    signs: Signs,
    labels: NDArray[np.int32],
) -> None:
    """Stamp discs around each pixel beyond the threshold; -1 into ``labels``."""
    for y in range(values.shape[0]):
        for x in range(values.shape[1]):
            if abs(values[y, x]) >= threshold:
                bit = POSITIVE if values[y, x] > 0 else NEGATIVE
                _stamp(signs, y, x, disc, bit)
                _stamp(labels, y, x, wide, -1)


@njit(cache=True, nogil=True)
def _stamp(plane: Signs, y: int, x: int, disc: Places, bit: int) -> None:
    ny, nx = plane.shape
    reach = disc.size // 2
    for j in range(max(0, y - reach), min(ny, y + reach + 1)):
        side = disc[j - y + reach]
        for i in range(max(0, x - side), min(nx, x + side + 1)):
            plane[j, i] |= bit


@njit(cache=True, nogil=True)
def _number(signs: Signs, labels: NDArray[np.int32]) -> Places:
    """Number the connected parts of ``labels`` (-1) from 1; pixels with a sign in each."""
    ny, nx = labels.shape
    areas = [0 for _ in range(0)]
    pending = [0 for _ in range(0)]
    for first in range(ny * nx):
        if labels[first // nx, first % nx] >= 0:
            continue
        number, area = len(areas) + 1, 0
        labels[first // nx, first % nx] = number
        pending.append(first)
        while pending:
            at = pending.pop()
            y, x = at // nx, at % nx
            area += signs[y, x] != 0
            for j in range(max(0, y - 1), min(ny, y + 2)):
                for i in range(max(0, x - 1), min(nx, x + 2)):
                    if labels[j, i] < 0:
                        labels[j, i] = number
                        pending.append(j * nx + i)
        areas.append(area)
    return np.array(areas, dtype=np.int64)


@njit(cache=True, nogil=True)
def _root(parent: NDArray[np.int32], n: int) -> int:
    while parent[n] != n:
        parent[n] = parent[parent[n]]
        n = parent[n]
    return n


@njit(cache=True, nogil=True)
def _join(values: Plane, places: Places, rank: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Which of the ``places``, highest first, are prominent peaks.

    Places join the parts of higher ones beside them; where two parts meet, the lower peak ends.
    """
    ny, nx = values.shape
    parent = np.arange(places.size).astype(np.int32)
    kept = np.zeros(places.size, np.bool_)
    for n in range(places.size):
        y, x = places[n] // nx, places[n] % nx
        kept[n] = True
        for j in range(max(0, y - 1), min(ny, y + 2)):
            for i in range(max(0, x - 1), min(nx, x + 2)):
                if rank[j, i] < 0 or rank[j, i] >= n:
                    continue
                one, other = _root(parent, n), _root(parent, rank[j, i])
                if one == other:
                    continue
                high, low = min(one, other), max(one, other)
                top = values[places[high] // nx, places[high] % nx]
                rise = values[places[low] // nx, places[low] % nx] - values[y, x]
                if rise < max(PROMINENCE, RELATIVE_PROMINENCE * top):
                    kept[low] = False
                parent[low] = high
    return kept
