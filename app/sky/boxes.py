"""Boxes in the space of unit vectors: an index over them has no poles and no 0/360 seam."""

from __future__ import annotations

import math
from dataclasses import dataclass

from app.sky.areas import Area, CircleArea, PolygonArea, RangeArea, prepare
from app.sky.shapes import Point, Shape
from app.sky.vectors import FUZZ_RAD, RADIANS_PER_DEGREE, Arc, Vector, unit_vector

_MARGIN = 4.0 * FUZZ_RAD
"""Boxes are grown by this, so that what touches within the predicates' fuzz is still found."""


@dataclass(frozen=True, slots=True)
class Box:
    """Closed bounds on the components of unit vectors (towards lon 0, lon 90 and lat 90)."""

    x_min: float
    x_max: float
    y_min: float
    y_max: float
    z_min: float
    z_max: float

    def overlaps(self, other: Box) -> bool:
        """Whether the boxes have a point in common."""
        return (
            self.x_min <= other.x_max
            and other.x_min <= self.x_max
            and self.y_min <= other.y_max
            and other.y_min <= self.y_max
            and self.z_min <= other.z_max
            and other.z_min <= self.z_max
        )


def box_of(shape: Shape) -> Box:
    """The box that encloses the whole shape, the bulge of its edges and its interior included."""
    if isinstance(shape, Point):
        v = unit_vector(shape.lon_deg, shape.lat_deg)
        return _grown([(x, x) for x in v])
    area = prepare(shape)
    return _grown([_extent(area, index) for index in range(3)])


def _grown(bounds: list[tuple[float, float]]) -> Box:
    (x1, x2), (y1, y2), (z1, z2) = ((low - _MARGIN, high + _MARGIN) for low, high in bounds)
    return Box(x1, x2, y1, y2, z1, z2)


def _extent(area: Area, index: int) -> tuple[float, float]:
    """Least and greatest value of one component over the region."""
    if isinstance(area, CircleArea):
        return _cap_extent(area, index)
    if isinstance(area, RangeArea):
        return _range_extent(area, index)
    return _polygon_extent(area, index)


def _cap_extent(area: CircleArea, index: int) -> tuple[float, float]:
    off_axis = math.acos(max(-1.0, min(1.0, area.centre[index])))
    nearest = max(0.0, off_axis - area.radius_rad)
    farthest = min(math.pi, off_axis + area.radius_rad)
    return math.cos(farthest), math.cos(nearest)


def _range_extent(area: RangeArea, index: int) -> tuple[float, float]:
    low, high = area.lat_min_deg, area.lat_max_deg
    if index == 2:
        return math.sin(low * RADIANS_PER_DEGREE), math.sin(high * RADIANS_PER_DEGREE)
    cosines = [math.cos(x * RADIANS_PER_DEGREE) for x in (low, high)]
    widest = 1.0 if low <= 0.0 <= high else max(cosines)
    turn = _turn_extent(area.lon_min_deg - 90.0 * index, area.span_deg)
    products = [a * b for a in (min(cosines), widest) for b in turn]
    return min(products), max(products)


def _turn_extent(start_deg: float, span_deg: float) -> tuple[float, float]:
    """Least and greatest cosine of an angle that runs from ``start`` over ``span``."""
    ends = [math.cos(x * RADIANS_PER_DEGREE) for x in (start_deg, start_deg + span_deg)]
    highest = 1.0 if (-start_deg) % 360.0 <= span_deg else max(ends)
    lowest = -1.0 if (180.0 - start_deg) % 360.0 <= span_deg else min(ends)
    return lowest, highest


def _polygon_extent(area: PolygonArea, index: int) -> tuple[float, float]:
    values = [v[index] for v in area.vectors]
    for arc in area.arcs:
        values += _bulge(arc, index)
    axis: Vector = (float(index == 0), float(index == 1), float(index == 2))
    highest = 1.0 if area.contains(axis) else max(values)
    opposite = (-axis[0], -axis[1], -axis[2])
    lowest = -1.0 if area.contains(opposite) else min(values)
    return lowest, highest


def _bulge(arc: Arc, index: int) -> list[float]:
    """Values of the component where the great circle turns back, if that lies on the arc."""
    summit = math.atan2(arc.second[index], arc.first[index])
    turns = (summit % (2.0 * math.pi), (summit + math.pi) % (2.0 * math.pi))
    return [arc.point(turn)[index] for turn in turns if arc.spans(turn)]
