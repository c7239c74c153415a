"""The outline of an area of pixels as a simple polygon in pixel coordinates.

Corners are positions in the 0-based system in which pixel centres are whole numbers, so that the
outer edges of an image of ``nx`` columns lie at -0.5 and nx - 0.5.

What is followed: the border of the largest connected part (4 neighbours), to one pixel. What is
not: holes inside it, and notches of one or two pixels' width (bad columns that reach the border).
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from app.pixels.joined import root_of
from app.pixels.spans import Runs, Spans

Mask = NDArray[np.bool_]
Corners = NDArray[np.float64]
Places = NDArray[np.int32]

MAX_VERTICES = 100
TOLERANCE_PX = 1.0
CORNER_RUN_PX = 4
"""A border that runs straight this far on both sides of a corner has a corner there."""


def rectangle(x_min: float, x_max: float, y_min: float, y_max: float) -> Corners:
    """The four corners (x, y) of a box, starting at the lower left."""
    return np.array([(x_min, y_min), (x_max, y_min), (x_max, y_max), (x_min, y_max)])


def image_outline(shape: tuple[int, int]) -> Corners:
    """The outer pixel edges of a whole image."""
    ny, nx = shape
    return rectangle(-0.5, nx - 0.5, -0.5, ny - 0.5)


def trace_outline(valid: Mask) -> Corners | None:
    """The outline (n, 2) as (x, y) of the valid pixels, or None when there are none.

    A rectangle when the valid area is one; otherwise the traced border, thinned (Douglas & Peucker
    1973, 1 px) to at most 100 vertices. It never crosses itself.
    """
    box = _bounding_box(valid)
    if box is None:
        return None
    y0, y1, x0, x1 = box
    inner = valid[y0:y1, x0:x1]
    if _has_full_border(inner):
        return rectangle(x0 - 0.5, x1 - 0.5, y0 - 0.5, y1 - 0.5)
    component = _largest_component(_fill_notches(inner))
    if component is None:
        return None
    outline: Corners = thin(_smooth_stairs(_trace_border(component))) + np.array(
        [x0 - 0.5, y0 - 0.5]
    )
    return outline


@njit(cache=True, nogil=True)
def fill_gaps(valid: Mask) -> Mask:
    """``valid`` and the pixels between valid ones of their row or column.

    So that bad columns and rows do not cut an image in two before its outline is traced; a convex
    area stays convex.
    """
    ny, nx = valid.shape
    left, right = np.empty(ny, dtype=np.int32), np.empty(ny, dtype=np.int32)
    low, high = np.full(nx, ny, dtype=np.int32), np.full(nx, -1, dtype=np.int32)
    for y in range(ny):
        left[y], right[y] = _ends(valid[y])
        for x in range(nx):
            low[x] = min(low[x], np.int32(y)) if valid[y, x] else low[x]
            high[x] = np.int32(y) if valid[y, x] else high[x]
    filled: Mask = fill_between(left, right, low, high)
    return filled


@njit(cache=True, nogil=True)
def fill_between(left: Places, right: Places, low: Places, high: Places) -> Mask:
    """(ny, nx): the pixels between the first and last column of each row, ``left`` and ``right``
    (ny,), and those between the first and last row of each column, ``low`` and ``high`` (nx,)."""
    ny, nx = left.size, low.size
    filled = np.empty((ny, nx), dtype=np.bool_)
    for y in range(ny):
        target = filled[y]
        for x in range(nx):
            across = (left[y] <= x) & (x <= right[y])
            target[x] = across | ((low[x] <= y) & (y <= high[x]))
    return filled


@njit(cache=True, nogil=True)
def _ends(row: NDArray[np.bool_]) -> tuple[int, int]:
    """Places of the first and the last True value; (size, -1) without any."""
    first, last = 0, row.size - 1
    while first < row.size and not row[first]:
        first += 1
    while last >= first and not row[last]:
        last -= 1
    return first, last if first < row.size else -1


def _bounding_box(valid: Mask) -> tuple[int, int, int, int] | None:
    rows, columns = np.flatnonzero(valid.any(axis=1)), np.flatnonzero(valid.any(axis=0))
    if rows.size == 0:
        return None
    return int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1


def _has_full_border(valid: Mask) -> bool:
    """Whether no notch of three pixels' width or more opens at the border."""
    sides = (valid[0], valid[-1], valid[:, 0], valid[:, -1])
    corners = (valid[0, 0], valid[0, -1], valid[-1, 0], valid[-1, -1])
    return all(corners) and not any(_longest_gap(side) > 2 for side in sides)


def _longest_gap(side: Mask) -> int:
    stops = np.flatnonzero(np.concatenate(([True], side, [True])))
    return int(np.diff(stops).max()) - 1


def _fill_notches(valid: Mask) -> Mask:
    """Set invalid pixels that no 3×3 block of invalid pixels covers (outside counts as invalid)."""
    invalid = np.pad(~valid, 3, constant_values=True)
    opened = np.zeros_like(invalid)
    _open(invalid, opened)
    return ~opened[3:-3, 3:-3]


@njit(cache=True, nogil=True)
def _open(area: Mask, opened: Mask) -> None:
    """Set the pixels of all 3×3 blocks that lie in ``area``."""
    ny, nx = area.shape
    columns, blocks = np.empty(nx, dtype=np.bool_), np.zeros(nx, dtype=np.bool_)
    for y in range(ny - 2):
        low, middle, high = area[y], area[y + 1], area[y + 2]
        for x in range(nx):
            columns[x] = low[x] & middle[x] & high[x]
        for x in range(1, nx - 1):
            blocks[x] = columns[x - 1] & columns[x] & columns[x + 1]
        for line in (opened[y], opened[y + 1], opened[y + 2]):
            for x in range(1, nx - 1):
                line[x] |= blocks[x - 1] | blocks[x] | blocks[x + 1]


def _largest_component(valid: Mask) -> Mask | None:
    """The largest part of pixels that are joined by their edges."""
    runs = Spans.from_mask(valid)
    if len(runs) == 0:
        return None
    part = _parts(runs.y, runs.x_start, runs.x_stop)
    if not part.any():
        return valid
    largest = part == np.bincount(part, weights=runs.x_stop - runs.x_start).argmax()
    kept = Spans(runs.y[largest], runs.x_start[largest], runs.x_stop[largest])
    return kept.rows(0, *valid.shape)


@njit(cache=True, nogil=True)
def _parts(y: Runs, x_start: Runs, x_stop: Runs) -> Runs:
    """For each run the first of those that it is joined to through runs of rows beside it."""
    part = np.arange(y.size).astype(np.int32)
    before = 0
    for n in range(y.size):
        while y[before] < y[n] - 1 or (y[before] < y[n] and x_stop[before] <= x_start[n]):
            before += 1
        beside = before
        while y[beside] < y[n] and x_start[beside] < x_stop[n]:
            one, other = root_of(part, n), root_of(part, beside)
            part[max(one, other)] = min(one, other)
            beside += 1
    for n in range(y.size):
        part[n] = root_of(part, n)
    return part


def _trace_border(component: Mask) -> Corners:
    """Walk along the pixel edges of a 4-connected area; its corners in order (left hand inside).

    Corner (x, y) is the lower left corner of pixel [y, x]. At a corner where two pixels touch
    diagonally the walk turns so that it stays on the same pixel: it touches, but never crosses.
    """
    y, x = divmod(int(component.argmax()), component.shape[1])
    corners: Corners = _walk(np.pad(component, 1), x, y).astype(np.float64)
    return corners


@njit(cache=True, nogil=True)
def _walk(area: Mask, start_x: int, start_y: int) -> NDArray[np.int64]:
    """The corners (n, 2) of the border that leads right from a lower left corner; ``area`` has one
    ring of False around it."""
    corners = np.empty((256, 2), dtype=np.int64)
    x, y, dx, dy = start_x, start_y, 1, 0
    corners[0, 0], corners[0, 1], count = x, y, 1
    while True:
        x, y = x + dx, y + dy
        if x == start_x and y == start_y:
            return corners[:count]
        turned_x, turned_y = dx, dy
        if not _is_set(area, x, y, dx, dy, 1):
            turned_x, turned_y = -dy, dx
        elif _is_set(area, x, y, dx, dy, -1):
            turned_x, turned_y = dy, -dx
        if turned_x != dx:
            if count == len(corners):
                corners = np.concatenate((corners, np.empty_like(corners)))
            corners[count, 0], corners[count, 1] = x, y
            count += 1
        dx, dy = turned_x, turned_y


@njit(cache=True, nogil=True, inline="always")
def _is_set(area: Mask, x: int, y: int, dx: int, dy: int, side: int) -> bool:
    """Whether the pixel ahead of corner (x, y), to the left (1) or right (-1), is inside."""
    column = x + (dx - side * dy - 1) // 2
    row = y + (dy + side * dx - 1) // 2
    return bool(area[row + 1, column + 1])


def _smooth_stairs(corners: Corners) -> Corners:
    """The middles of the first and last pixel edge of each straight run, and the corners proper.

    A slanted border is a staircase whose corners stray by more than a pixel from it, but the
    middles of its pixel edges lie within half a pixel.
    """
    following = np.roll(corners, -1, axis=0)
    runs = following - corners
    lengths = np.abs(runs).sum(axis=1)
    half = 0.5 * runs / lengths[:, None]
    proper = (lengths >= CORNER_RUN_PX) & (np.roll(lengths, 1) >= CORNER_RUN_PX)
    points = np.stack([corners, corners + half, following - half], axis=1)
    keep = np.stack([proper, np.ones_like(proper), lengths > 1], axis=1)
    smooth: Corners = points[keep]
    return smooth


def thin(corners: Corners) -> Corners:
    """Fewer vertices with at most 1 px error; more error only as far as 100 vertices demand, or
    where the thinned line would cross itself."""
    tolerance_px = TOLERANCE_PX
    while True:
        kept = _douglas_peucker_ring(corners, tolerance_px)
        if len(kept) <= MAX_VERTICES and not crosses_itself(kept):
            return kept
        tolerance_px *= 1.5
        if len(kept) <= 4:
            x, y = corners.T
            return rectangle(x.min(), x.max(), y.min(), y.max())


def _douglas_peucker_ring(corners: Corners, tolerance_px: float) -> Corners:
    far = int(np.argmax(np.hypot(*(corners - corners[0]).T)))
    ring = np.vstack([corners, corners[:1]])
    keep = np.zeros(len(ring), dtype=np.bool_)
    keep[[0, far]] = True
    pending = [(0, far), (far, len(ring) - 1)]
    while pending:
        a, b = pending.pop()
        if b - a < 2:
            continue
        offsets = _distances(ring[a + 1 : b], ring[a], ring[b])
        worst = int(offsets.argmax())
        if offsets[worst] > tolerance_px:
            split = a + 1 + worst
            keep[split] = True
            pending += [(a, split), (split, b)]
    return _without_straight(ring[:-1][keep[:-1]], tolerance_px)


def _without_straight(corners: Corners, tolerance_px: float) -> Corners:
    """Drop the two starting vertices when they turned out to lie on a straight run."""
    kept = corners
    for vertex in (corners[0],):
        if len(kept) > 4:
            distance = _distances(vertex[None, :], kept[-1], kept[1])[0]
            kept = kept[1:] if distance < 0.25 * tolerance_px else kept
    return kept


def _distances(points: Corners, a: Corners, b: Corners) -> NDArray[np.float64]:
    """Distance of points to the segment a-b."""
    along = b - a
    length2 = float(along @ along)
    rel = points - a
    t = np.clip(rel @ along / length2, 0.0, 1.0) if length2 > 0 else np.zeros(len(points))
    result: NDArray[np.float64] = np.hypot(*(rel - t[:, None] * along).T)
    return result


def crosses_itself(corners: Corners) -> bool:
    """Whether two edges that are not neighbours meet."""
    n = len(corners)
    if n < 4:
        return n < 3
    a, b = corners, np.roll(corners, -1, axis=0)
    i, j = np.triu_indices(n, k=2)
    apart = ~((i == 0) & (j == n - 1))
    i, j = i[apart], j[apart]
    d1, d2 = _side(a[i], b[i], a[j]), _side(a[i], b[i], b[j])
    d3, d4 = _side(a[j], b[j], a[i]), _side(a[j], b[j], b[i])
    proper = (d1 * d2 <= 0) & (d3 * d4 <= 0)
    collinear = (d1 == 0) & (d2 == 0) & (d3 == 0) & (d4 == 0)
    overlap = _boxes_meet(a[i], b[i], a[j], b[j])
    return bool((proper & (~collinear | overlap)).any())


def _side(a: Corners, b: Corners, p: Corners) -> NDArray[np.float64]:
    cross: NDArray[np.float64] = (b[:, 0] - a[:, 0]) * (p[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (
        p[:, 0] - a[:, 0]
    )
    return np.sign(cross)


def _boxes_meet(a: Corners, b: Corners, c: Corners, d: Corners) -> Mask:
    low1, high1 = np.minimum(a, b), np.maximum(a, b)
    low2, high2 = np.minimum(c, d), np.maximum(c, d)
    meet: Mask = np.all((low1 <= high2) & (low2 <= high1), axis=1)
    return meet
