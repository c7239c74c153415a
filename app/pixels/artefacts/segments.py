"""Straight pieces of footprints, and the lines they lie on.

After the kernel-based Hough transform (Fernandes & Oliveira 2008, Pattern Recognition 41, 299),
which Rubin's streak filter uses: not pixels but straight segments vote for lines, each as exactly
as its own second moments tell. Here segments that agree with the longest one are fitted together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.pixels.artefacts.footprints import Footprints

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

TILE_PX: Final = 64
"""Footprints are cut at this lattice: what touches a trail in one place does not bend the rest."""
LEAST_RATIO: Final = 3.0
"""Of a segment's length to its width."""
LEAST_SEGMENT_PX: Final = 12.0
LEAST_SEED_PX: Final = 24.0
LEAST_TOTAL_PX: Final = 48.0
OFF_LINE_PX: Final = 3.0
ANGLES: Final = (0.03, 0.015)
"""By how much (radians) directions, and places by their distance, may be off, round by round."""


@dataclass(frozen=True, slots=True)
class Line:
    """A point (x, y) on it, in pixels, and its direction as a unit vector."""

    x: float
    y: float
    along_x: float
    along_y: float

    def turned(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Places as seen from the point: (along the line, across it)."""
        dx, dy = x - self.x, y - self.y
        along = dx * self.along_x + dy * self.along_y
        return along, dy * self.along_x - dx * self.along_y

    def at(
        self, along: NDArray[np.floating], across: Floats
    ) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Pixel positions (x, y) of such places."""
        x = self.x + along * self.along_x - across * self.along_y
        return x, self.y + along * self.along_y + across * self.along_x

    def shifted(self, across: float, slope: float) -> Line:
        """Moved across by so much, and turned so that it moves ``slope`` px per px along."""
        norm = float(np.hypot(1.0, slope))
        return Line(
            self.x - across * self.along_y,
            self.y + across * self.along_x,
            (self.along_x - slope * self.along_y) / norm,
            (self.along_y + slope * self.along_x) / norm,
        )


class Segments:
    """The straight pieces of ``footprints``; lines are asked for until there are no more."""

    def __init__(self, footprints: Footprints) -> None:
        self._moments = _moments(footprints)
        self._shapes = shapes = _Shapes.of(self._moments)
        straight = shapes.length >= LEAST_RATIO * shapes.width
        self._free = straight & (shapes.length >= LEAST_SEGMENT_PX)

    def next_line(self) -> Line | None:
        """The line of the longest piece and all that agree with it, which are used up."""
        shapes = self._shapes
        while (seeds := np.flatnonzero(self._free & (shapes.length >= LEAST_SEED_PX))).size:
            seed = int(seeds[np.argmax(shapes.length[seeds])])
            members = np.arange(len(self._free)) == seed
            first = 0.5 * float(shapes.width[seed] / shapes.length[seed])
            for angle in (first + ANGLES[0], *ANGLES):
                line = _fit(self._moments[:, members].sum(axis=1))
                members = self._free & shapes.agree(line, angle)
                members[seed] = True
            self._free &= ~members
            if shapes.length[members].sum() >= LEAST_TOTAL_PX:
                return _fit(self._moments[:, members].sum(axis=1))
        return None

    def leave_out(self, line: Line, half_width: float) -> None:
        """Use up the pieces whose middle is that near to a line."""
        _, across = line.turned(self._shapes.x, self._shapes.y)
        self._free &= np.abs(across) > half_width


@dataclass(frozen=True, slots=True)
class _Shapes:
    """Centres, directions, lengths and widths (px) of pieces."""

    x: Floats
    y: Floats
    along_x: Floats
    along_y: Floats
    length: Floats
    width: Floats

    @classmethod
    def of(cls, moments: Floats) -> _Shapes:
        area, mean_x, mean_y, xx, yy, xy = _central(moments)
        half, angle = 0.5 * (xx + yy), 0.5 * np.arctan2(2.0 * xy, xx - yy)
        spread = np.hypot(0.5 * (xx - yy), xy)
        return cls(
            mean_x,
            mean_y,
            np.cos(angle),
            np.sin(angle),
            np.where(area > 1, np.sqrt(12.0 * (half + spread)), 0.0),
            np.sqrt(12.0 * np.maximum(half - spread, 1.0 / 12.0)),
        )

    def agree(self, line: Line, angle: float) -> Bools:
        """Which pieces lie on the line, as well as ``angle`` (radians) tells."""
        along, across = line.turned(self.x, self.y)
        turn = np.abs(self.along_x * line.along_y - self.along_y * line.along_x)
        own = OFF_LINE_PX / np.maximum(self.length, 1.0)
        close: Bools = (np.abs(across) <= OFF_LINE_PX + angle * np.abs(along)) & (
            turn <= angle + own
        )
        return close


def _fit(moments: Floats) -> Line:
    """The line through all pixels of summed moments (least squares of distances)."""
    shape = _Shapes.of(moments[:, None])
    return Line(*(float(v[0]) for v in (shape.x, shape.y, shape.along_x, shape.along_y)))


def _central(moments: Floats) -> tuple[Floats, ...]:
    """Area, mean x and y, variances and covariance."""
    area = moments[0]
    mean_x, mean_y = moments[1] / area, moments[2] / area
    return (
        area,
        mean_x,
        mean_y,
        moments[3] / area - mean_x**2,
        moments[4] / area - mean_y**2,
        moments[5] / area - mean_x * mean_y,
    )


def _moments(footprints: Footprints) -> Floats:
    """(6, pieces): sums of 1, x, y, x², y², x y over each footprint's part of a tile."""
    spans = footprints.spans
    first, last = spans.x_start // TILE_PX, (spans.x_stop - 1) // TILE_PX
    run = np.repeat(np.arange(len(spans)), last - first + 1)
    tile = np.arange(len(run)) - np.searchsorted(run, run) + first[run]
    start = np.maximum(spans.x_start[run], tile * TILE_PX).astype(np.float64)
    stop = np.minimum(spans.x_stop[run], (tile + 1) * TILE_PX).astype(np.float64)
    y = spans.y[run].astype(np.float64)
    names = np.stack([footprints.labels[run], spans.y[run] // TILE_PX, tile])
    _, piece = np.unique(names, axis=1, return_inverse=True)
    size = stop - start
    total_x = 0.5 * size * (start + stop - 1.0)
    squares = [v * (v - 1.0) * (2.0 * v - 1.0) / 6.0 for v in (start, stop)]
    sums = (size, total_x, size * y, squares[1] - squares[0], size * y * y, total_x * y)
    return np.stack([np.bincount(piece.reshape(-1), values) for values in sums])
