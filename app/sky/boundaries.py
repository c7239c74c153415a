"""The boundaries of regions as many directions, for whatever does not follow great circles."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from app.sky.areas import CircleArea, prepare
from app.sky.shapes import Region
from app.sky.vectors import Arc, tangent_axes

Floats = NDArray[np.float64]

LEAST_STEPS: Final = 8
"""Of an arc."""
MOST_STEPS: Final = 4096


def sample_boundary(region: Region, tolerance_deg: float) -> tuple[tuple[Floats, Floats], ...]:
    """Longitude and latitude (deg) along each side of a region, its ends included.

    Chords between neighbours leave an arc by ``tolerance_deg`` at most, as far as
    :data:`MOST_STEPS` allow. A region of the whole sky has no sides.
    """
    area = prepare(region)
    tolerance_rad = math.radians(tolerance_deg)
    if isinstance(area, CircleArea):
        first, second = tangent_axes(area.centre)
        height, radius = math.cos(area.radius_rad), math.sin(area.radius_rad)
        frame = np.array([first, second, area.centre])
        return (_walk(frame, height, radius, 2.0 * math.pi, tolerance_rad),)
    return tuple(_walk_arc(arc, tolerance_rad) for arc in area.arcs)


def _walk_arc(arc: Arc, tolerance_rad: float) -> tuple[Floats, Floats]:
    frame = np.array([arc.first, arc.second, arc.axis])
    radius = math.sqrt(max(0.0, 1.0 - arc.height * arc.height))
    return _walk(frame, arc.height, radius, arc.span_rad, tolerance_rad)


def _walk(
    frame: Floats, height: float, radius: float, span_rad: float, tolerance_rad: float
) -> tuple[Floats, Floats]:
    """The circle of ``radius`` about the third row of ``frame``, from its first row on."""
    steps = span_rad * math.sqrt(radius / (8.0 * tolerance_rad))
    turns = np.linspace(0.0, span_rad, 1 + int(min(max(steps, LEAST_STEPS), MOST_STEPS)))
    across = radius * np.array([np.cos(turns), np.sin(turns)])
    x, y, z = frame[:2].T @ across + height * frame[2][:, None]
    return np.degrees(np.arctan2(y, x)) % 360.0, np.degrees(np.arctan2(z, np.hypot(x, y)))
