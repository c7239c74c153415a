"""Boxes enclose their shapes, and not much more."""

from __future__ import annotations

import math
import random
from itertools import pairwise

import pytest

from app.sky.boxes import Box, box_of
from app.sky.predicates import bounding_circle, contains_point
from app.sky.shapes import Circle, Point, Polygon, Range, Region
from app.sky.vectors import Vector, add, direction, normalized, scale, unit_vector


def holds(box: Box, v: Vector) -> bool:
    return (
        box.x_min <= v[0] <= box.x_max
        and box.y_min <= v[1] <= box.y_max
        and box.z_min <= v[2] <= box.z_max
    )


REGIONS: list[Region] = [
    Polygon(((0.0, 40.0), (90.0, 40.0), (45.0, 10.0))),
    Polygon(((0.0, 80.0), (120.0, 80.0), (240.0, 80.0))),
    Polygon(((350.0, -20.0), (10.0, -20.0), (10.0, 20.0), (0.0, 0.0), (350.0, 20.0))),
    Circle(0.0, 89.0, 3.0),
    Circle(359.0, 0.5, 20.0),
    Circle(90.0, -30.0, 120.0),
    Range(350.0, 20.0, -30.0, 50.0),
    Range(100.0, 280.0, 60.0, 90.0),
    Range(0.0, 360.0, -10.0, 5.0),
]


def samples(region: Region) -> list[Vector]:
    """Directions of the region: inside, and along the edges of a polygon."""
    rng = random.Random(1)
    found: list[Vector] = []
    if isinstance(region, Polygon):
        ring = [unit_vector(*vertex) for vertex in (*region.vertices, region.vertices[0])]
        for a, b in pairwise(ring):
            found += [normalized(add(scale(a, i / 50), scale(b, 1 - i / 50))) for i in range(51)]
    circle = bounding_circle(region)
    for _ in range(20_000):
        v = unit_vector(rng.uniform(0, 360), math.degrees(math.asin(rng.uniform(-1, 1))))
        centre = scale(unit_vector(circle.lon_deg, circle.lat_deg), 1 / math.radians(20))
        v = v if circle.radius_deg > 12 else normalized(add(centre, v))
        if contains_point(region, Point(*direction(v))):
            found.append(v)
    return found


@pytest.mark.parametrize("region", REGIONS, ids=str)
def test_box_encloses_and_is_tight(region: Region) -> None:
    box, inside = box_of(region), samples(region)
    assert len(inside) > 200
    assert all(holds(box, v) for v in inside)
    sides = [(box.x_min, box.x_max), (box.y_min, box.y_max), (box.z_min, box.z_max)]
    for axis, (low, high) in enumerate(sides):
        assert low == pytest.approx(min(v[axis] for v in inside), abs=0.06)
        assert high == pytest.approx(max(v[axis] for v in inside), abs=0.06)


def test_the_bulge_of_an_edge_is_inside() -> None:
    """The arc between two points at 40 deg rises to 49.9 deg between them."""
    box = box_of(Polygon(((0.0, 40.0), (90.0, 40.0), (45.0, 10.0))))
    top = math.atan(math.tan(math.radians(40.0)) / math.cos(math.radians(45.0)))
    assert box.z_max == pytest.approx(math.sin(top), abs=1e-8)


def test_points_have_a_box_that_meets_their_regions() -> None:
    region = Polygon(((10.0, 10.0), (11.0, 10.0), (11.0, 11.0), (10.0, 11.0)))
    ring = (*region.vertices, region.vertices[0])
    for (lon, lat), _ in pairwise(ring):
        assert box_of(Point(lon, lat)).overlaps(box_of(region))
    assert not box_of(Point(12.0, 10.5)).overlaps(box_of(region))
