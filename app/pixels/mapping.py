"""Where the pixels of one grid lie on another: a coarse table of positions, refined to 0.001 px.

World coordinates cost about a microsecond a point, so they are evaluated on a grid of nodes and
interpolated linearly between them; the spacing is halved until that costs less than
:data:`TOLERANCE_PX` anywhere it was tried.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

TOLERANCE_PX: Final = 1e-3
FIRST_STEP_PX: Final = 64
EDGE_SAMPLES: Final = 33


class PixelGrid(Protocol):
    """What a map needs of a grid; :class:`app.pixels.grid.Grid` is one."""

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""

    def pixel_to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """ICRS longitude and latitude in degrees of 0-based pixel positions."""

    def sky_to_pixel(self, lon_deg: Floats, lat_deg: Floats) -> tuple[Floats, Floats]:
        """0-based pixel positions of ICRS positions; NaN where there is none."""


@dataclass(frozen=True, slots=True)
class PartGrid:
    """The pixels ``bounds`` (half-open y0, y1, x0, x1) of another grid."""

    whole: PixelGrid
    bounds: tuple[int, int, int, int]

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx)."""
        return self.bounds[1] - self.bounds[0], self.bounds[3] - self.bounds[2]

    def pixel_to_sky(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """See :class:`PixelGrid`."""
        return self.whole.pixel_to_sky(x + self.bounds[2], y + self.bounds[0])

    def sky_to_pixel(self, lon_deg: Floats, lat_deg: Floats) -> tuple[Floats, Floats]:
        """See :class:`PixelGrid`."""
        x, y = self.whole.sky_to_pixel(lon_deg, lat_deg)
        return x - self.bounds[2], y - self.bounds[0]


@dataclass(frozen=True, slots=True)
class PixelMap:
    """Positions on the source grid of target pixels, at nodes ``step_px`` apart.

    Node (j, i) is the target pixel ``(y_start + j step, x_start + i step)``; ``x`` and ``y`` are
    its source position (0-based), NaN where the source grid has none. The map holds for target
    pixels ``y_start <= y < y_stop``, ``x_start <= x < x_stop``; no other target pixel sees the
    source.
    """

    y_start: int
    y_stop: int
    x_start: int
    x_stop: int
    step_px: int
    x: Floats
    y: Floats
    error_px: float
    """Largest error of the interpolated positions, measured midway between the nodes."""

    @property
    def bounds(self) -> tuple[int, int, int, int]:
        """(y_start, y_stop, x_start, x_stop)."""
        return self.y_start, self.y_stop, self.x_start, self.x_stop

    @property
    def shape(self) -> tuple[int, int]:
        """(ny, nx) of the target pixels within the bounds."""
        return self.y_stop - self.y_start, self.x_stop - self.x_start

    def shift_px(self) -> tuple[int, int] | None:
        """(dy, dx) when the map is one whole-pixel shift to within TOLERANCE_PX, else None."""
        rows, columns = self.x.shape
        node_y = self.y_start + self.step_px * np.arange(rows)[:, None]
        node_x = self.x_start + self.step_px * np.arange(columns)[None, :]
        dy, dx = self.y - node_y, self.x - node_x
        if not (np.isfinite(dx).all() and np.isfinite(dy).all()):
            return None
        whole_y, whole_x = round(float(dy[0, 0])), round(float(dx[0, 0]))
        worst = max(np.abs(dy - whole_y).max(), np.abs(dx - whole_x).max())
        return (whole_y, whole_x) if worst < TOLERANCE_PX else None

    def area_ratio(self) -> float:
        """Source pixels per target pixel at the median of the map (positive); NaN if unknown."""
        if min(self.x.shape) < 2:
            return float("nan")
        x_right, x_up = np.diff(self.x, axis=1)[:-1], np.diff(self.x, axis=0)[:, :-1]
        y_right, y_up = np.diff(self.y, axis=1)[:-1], np.diff(self.y, axis=0)[:, :-1]
        area = np.abs(x_right * y_up - x_up * y_right) / self.step_px**2
        finite = area[np.isfinite(area)]
        return float(np.median(finite)) if finite.size else float("nan")


def map_pixels(source: PixelGrid, target: PixelGrid) -> PixelMap | None:
    """The map from target pixels to source pixels, or None when the two do not overlap.

    The interpolation error of the returned table is measured, and below TOLERANCE_PX.
    """
    bounds = overlap_bounds(source, target)
    if bounds is None:
        return None
    step, nodes = FIRST_STEP_PX, _positions(source, target, bounds, FIRST_STEP_PX)
    while step > 1:
        fine = _positions(source, target, bounds, step // 2)
        error = max(_worst_error(c, f) for c, f in zip(nodes, fine, strict=True))
        if error < 0.5 * TOLERANCE_PX:
            return PixelMap(*bounds, step, *nodes, error)
        nodes, step = fine, step // 2
    return PixelMap(*bounds, step, *nodes, 0.0)


def _positions(
    source: PixelGrid, target: PixelGrid, bounds: tuple[int, int, int, int], step: int
) -> tuple[Floats, Floats]:
    """Source x and y at nodes ``step`` apart; one node more than needed on the far sides.

    Twice the finer spacing keeps the coarser nodes on the finer grid.
    """
    y_start, y_stop, x_start, x_stop = bounds
    cells = FIRST_STEP_PX // step
    rows = cells * (-(-(y_stop - y_start) // FIRST_STEP_PX)) + 1
    columns = cells * (-(-(x_stop - x_start) // FIRST_STEP_PX)) + 1
    node_y = y_start + step * np.arange(rows, dtype=np.float64)
    node_x = x_start + step * np.arange(columns, dtype=np.float64)
    grid_x, grid_y = np.meshgrid(node_x, node_y)
    lon, lat = target.pixel_to_sky(grid_x.ravel(), grid_y.ravel())
    x, y = source.sky_to_pixel(lon, lat)
    shape = (rows, columns)
    return (
        np.asarray(x, dtype=np.float64).reshape(shape),
        np.asarray(y, dtype=np.float64).reshape(shape),
    )


def _worst_error(coarse: Floats, fine: Floats) -> float:
    """Largest |interpolated coarse - fine| at the fine nodes; unknown positions are left out."""
    along = np.empty((coarse.shape[0], fine.shape[1]))
    along[:, ::2] = coarse
    along[:, 1::2] = 0.5 * (coarse[:, :-1] + coarse[:, 1:])
    error_x = np.abs(along - fine[::2])
    error_y = np.abs(0.5 * (along[:-1] + along[1:]) - fine[1::2])
    both = np.concatenate([error_x.ravel(), error_y.ravel()])
    finite = both[np.isfinite(both)]
    return float(finite.max()) if finite.size else 0.0


def overlap_bounds(source: PixelGrid, target: PixelGrid) -> tuple[int, int, int, int] | None:
    """(y_start, y_stop, x_start, x_stop) of the target pixels that can see the source, or None."""
    source_sky = _sample_sky(source)
    if _apart(_unit_vectors(*source_sky), _unit_vectors(*_sample_sky(target))):
        return None
    ny, nx = target.shape
    x, y = (np.asarray(v, dtype=np.float64) for v in target.sky_to_pixel(*source_sky))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return 0, ny, 0, nx
    x_start, x_stop = _padded(x, nx)
    y_start, y_stop = _padded(y, ny)
    if x_stop <= x_start or y_stop <= y_start:
        return None
    return y_start, y_stop, x_start, x_stop


def _padded(position: Floats, size: int) -> tuple[int, int]:
    """Pixel range around the sampled positions, with room for curved edges between samples."""
    low, high = float(position.min()), float(position.max())
    margin = 2.0 + 0.02 * (high - low)
    return max(0, int(max(low - margin, 0.0))), min(size, int(min(high + margin, size)) + 1)


def _sample_sky(grid: PixelGrid) -> tuple[Floats, Floats]:
    """Finite sky positions of a lattice over the grid, its outer pixel edges included."""
    ny, nx = grid.shape
    x, y = np.meshgrid(
        np.linspace(-0.5, nx - 0.5, EDGE_SAMPLES), np.linspace(-0.5, ny - 0.5, EDGE_SAMPLES)
    )
    lon, lat = grid.pixel_to_sky(x.ravel(), y.ravel())
    lon, lat = np.asarray(lon, dtype=np.float64), np.asarray(lat, dtype=np.float64)
    known = np.isfinite(lon) & np.isfinite(lat)
    return lon[known], lat[known]


def _unit_vectors(lon_deg: Floats, lat_deg: Floats) -> Floats:
    lon, lat = np.radians(lon_deg), np.radians(lat_deg)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _apart(first: Floats, second: Floats) -> bool:
    """True when circles around the two sets of directions do not touch (or one set is empty)."""
    if not (len(first) and len(second)):
        return True
    (centre_a, radius_a), (centre_b, radius_b) = _circle(first), _circle(second)
    gap = np.arctan2(np.linalg.norm(np.cross(centre_a, centre_b)), centre_a @ centre_b)
    return bool(gap > 1.1 * (radius_a + radius_b))


def _circle(vectors: Floats) -> tuple[Floats, float]:
    """Centre direction and radius (radians) of a circle that holds all the directions."""
    mean = vectors.mean(axis=0)
    norm = float(np.linalg.norm(mean))
    if norm < 1e-6:
        return np.array([0.0, 0.0, 1.0]), float(np.pi)
    centre: Floats = mean / norm
    chord = np.linalg.norm(vectors - centre, axis=1).max()
    return centre, 2.0 * float(np.arcsin(min(1.0, chord / 2.0)))
