"""Predicates against lsst.sphgeom where that is exact, and against sampling where it is not."""

from __future__ import annotations

import math
import random
from collections import Counter

import lsst.sphgeom as sg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.errors import RegionError
from app.sky.predicates import (
    area_deg2,
    bounding_circle,
    centroid,
    contains_point,
    contains_region,
    distance_deg,
    intersects,
)
from app.sky.shapes import Circle, Point, Polygon, Range, Region
from app.sky.vectors import add, direction, normalized, scale, tangent_axes, unit_vector

CENTRES = [(0.0, 0.0), (0.0, 90.0), (0.0, -90.0), (359.99, 45.0), (120.0, -89.9), (200.0, 10.0)]


def offset(lon: float, lat: float, distance_rad: float, turn_rad: float) -> tuple[float, float]:
    """The direction at a distance and position angle from another."""
    centre = unit_vector(lon, lat)
    first, second = tangent_axes(centre)
    aside = add(scale(first, math.cos(turn_rad)), scale(second, math.sin(turn_rad)))
    return direction(
        add(scale(centre, math.cos(distance_rad)), scale(aside, math.sin(distance_rad)))
    )


def convex(lon: float, lat: float, radius_rad: float, count: int, rng: random.Random) -> Polygon:
    """A convex polygon: points on a small circle."""
    turns = sorted(rng.uniform(0, 2 * math.pi) for _ in range(count))
    return Polygon(tuple(offset(lon, lat, radius_rad, turn) for turn in turns))


def star(lon: float, lat: float, radius_rad: float, count: int, rng: random.Random) -> Polygon:
    """A concave polygon, star-shaped about its centre."""
    turns = [2 * math.pi * (i + 0.4 * rng.random()) / count for i in range(count)]
    return Polygon(
        tuple(offset(lon, lat, radius_rad * rng.uniform(0.2, 1.0), turn) for turn in turns)
    )


def vector(lon: float, lat: float) -> sg.UnitVector3d:
    return sg.UnitVector3d(sg.LonLat.fromDegrees(lon, lat))


def peer_polygon(polygon: Polygon) -> sg.ConvexPolygon:
    return sg.ConvexPolygon([vector(*vertex) for vertex in polygon.vertices])


@pytest.mark.parametrize("centre", CENTRES)
def test_convex_polygons_agree_with_sphgeom(centre: tuple[float, float]) -> None:
    rng = random.Random(str(centre))
    seen: Counter[tuple[str, bool]] = Counter()
    for _ in range(300):
        size = 10 ** rng.uniform(-4, 0.1)
        a = convex(*centre, size, rng.randint(3, 9), rng)
        other = offset(*centre, rng.uniform(0, 2) * size, rng.uniform(0, 7))
        b = convex(*other, size * rng.uniform(0.1, 1.0), rng.randint(3, 7), rng)
        radius = rng.uniform(0.1, 2) * size
        circle = Circle(*other, math.degrees(radius))
        pa, pb = peer_polygon(a), peer_polygon(b)
        disc = sg.Circle(vector(*other), sg.Angle(radius))
        pairs = {
            "point": (contains_point(a, Point(*other)), pa.contains(vector(*other))),
            "overlap": (intersects(a, b), not pa.relate(pb) & sg.DISJOINT),
            "contains": (contains_region(a, b), bool(pa.relate(pb) & sg.CONTAINS)),
            "circle": (intersects(circle, a), not pa.relate(disc) & sg.DISJOINT),
            "holds circle": (contains_region(a, circle), bool(pa.relate(disc) & sg.CONTAINS)),
            "in circle": (contains_region(circle, a), bool(pa.relate(disc) & sg.WITHIN)),
        }
        for name, (ours, theirs) in pairs.items():
            assert ours == theirs, (name, a, b, circle)
            seen[name, ours] += 1
    assert min(seen.values()) >= 3
    assert len(seen) == 12


@pytest.mark.parametrize("centre", CENTRES)
def test_concave_polygons_agree_with_their_triangles(centre: tuple[float, float]) -> None:
    """A star is the union of the triangles about its centre, each of which is convex."""
    rng = random.Random(str(centre))
    seen: Counter[tuple[str, bool]] = Counter()
    for _ in range(60):
        size = 10 ** rng.uniform(-3, -0.2)
        polygon = star(*centre, size, rng.randint(5, 12), rng)
        ring = (*polygon.vertices, polygon.vertices[0])
        triangles = [Polygon((centre, ring[i], ring[i + 1])) for i in range(len(polygon.vertices))]
        peers = [peer_polygon(triangle) for triangle in triangles]
        for _ in range(20):
            where = offset(*centre, size * rng.uniform(0, 1.2), rng.uniform(0, 7))
            disc = sg.Circle(vector(*where), sg.Angle(size * 0.05))
            inside = any(peer.contains(vector(*where)) for peer in peers)
            touched = any(not peer.relate(disc) & sg.DISJOINT for peer in peers)
            circle = Circle(*where, math.degrees(size * 0.05))
            assert contains_point(polygon, Point(*where)) == inside
            assert intersects(polygon, circle) == touched
            seen["point", inside] += 1
            seen["circle", touched] += 1
        total = sum(area_deg2(triangle) for triangle in triangles)
        assert area_deg2(polygon) == pytest.approx(total, rel=1e-9)
    assert all(count > 50 for count in seen.values())
    assert len(seen) == 4


def _samples(region: Region, count: int, rng: random.Random) -> list[Point]:
    """Directions inside a region, by rejection from its bounding circle."""
    circle = bounding_circle(region)
    inside: list[Point] = []
    while len(inside) < count:
        reach = math.radians(circle.radius_deg) * math.sqrt(rng.random())
        point = Point(*offset(circle.lon_deg, circle.lat_deg, reach, rng.uniform(0, 7)))
        if contains_point(region, point):
            inside.append(point)
    return inside


def _any_region(rng: random.Random) -> Region:
    lon, lat = rng.choice(((359.0, 0.0), (10.0, 85.0), (180.0, -85.0), (1.0, 40.0)))
    kind = rng.choice(("star", "circle", "range"))
    if kind == "star":
        return star(lon, lat, math.radians(rng.uniform(2, 12)), rng.randint(4, 9), rng)
    if kind == "circle":
        return Circle(lon, lat, rng.uniform(1, 10))
    width, height = rng.choice((5.0, 40.0, 360.0)), rng.uniform(1, 12)
    low, high = max(-90.0, lat - height), min(90.0, lat + height)
    lon_max = lon + width if width == 360.0 else (lon + width) % 360.0
    return Range(0.0 if width == 360.0 else lon, 360.0 if width == 360.0 else lon_max, low, high)


def test_relations_of_regions_agree_with_samples() -> None:
    """Overlap and containment of stars, circles and coordinate boxes against dense sampling."""
    rng = random.Random(2)
    seen: Counter[tuple[str, bool]] = Counter()
    for _ in range(500):
        a, b = _any_region(rng), _any_region(rng)
        hits = [contains_point(a, point) for point in _samples(b, 60, rng)]
        overlap, inside = intersects(a, b), contains_region(a, b)
        assert overlap == intersects(b, a)
        assert overlap or not any(hits), (a, b)
        assert not inside or all(hits), (a, b)
        if 0.1 < sum(hits) / len(hits) < 0.9:
            assert overlap
            assert not inside
        if not overlap:
            middle = centroid(b)
            assert not (contains_point(a, middle) and contains_point(b, middle))
        seen["overlap", overlap] += 1
        seen["inside", inside] += 1
    assert min(seen.values()) > 20


@given(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 360), st.floats(-90, 90))
@settings(max_examples=300)
def test_distance_agrees_with_sphgeom(a: float, b: float, c: float, d: float) -> None:
    theirs = vector(a, b).dot(vector(c, d)), vector(a, b).cross(vector(c, d)).getNorm()
    expected = math.degrees(math.atan2(theirs[1], theirs[0]))
    assert distance_deg(Point(a, b), Point(c, d)) == pytest.approx(expected, abs=1e-12)


@given(st.floats(0, 360), st.floats(-89, 89), st.floats(1e-4, 60), st.integers(0, 2**32))
@settings(max_examples=200)
def test_vertices_edges_and_centroid_belong(lon: float, lat: float, r: float, seed: int) -> None:
    rng = random.Random(seed)
    polygon = Polygon(
        tuple(offset(lon, lat, math.radians(r), 2 * math.pi * i / 5 + 0.3) for i in range(5))
    )
    ring = (*polygon.vertices, polygon.vertices[0])
    for i in range(5):
        a, b = unit_vector(*ring[i]), unit_vector(*ring[i + 1])
        share = rng.random()
        between = normalized(add(scale(a, share), scale(b, 1 - share)))
        assert contains_point(polygon, Point(*ring[i]))
        assert contains_point(polygon, Point(*direction(between)))
    assert contains_point(polygon, centroid(polygon))
    assert contains_region(bounding_circle(polygon), polygon)
    assert distance_deg(centroid(polygon), Point(lon, lat)) < 1e-7


def test_winding_does_not_matter() -> None:
    corners = ((350.0, -5.0), (10.0, -5.0), (10.0, 5.0), (350.0, 5.0))
    for polygon in (Polygon(corners), Polygon(corners[::-1])):
        assert contains_point(polygon, Point(0.0, 0.0))
        assert not contains_point(polygon, Point(180.0, 0.0))
        assert area_deg2(polygon) == pytest.approx(20 * 10, rel=0.02)


def test_edges_are_great_circles() -> None:
    """Between two points on a parallel the great circle runs poleward of it."""
    polygon = Polygon(((0.0, 0.0), (60.0, 0.0), (60.0, 60.0), (0.0, 60.0)))
    assert contains_point(polygon, Point(30.0, 62.0))
    assert not contains_point(Range(0.0, 60.0, 0.0, 60.0), Point(30.0, 62.0))


def test_polygons_at_the_poles() -> None:
    cap = Polygon(((0.0, -80.0), (90.0, -80.0), (180.0, -80.0), (270.0, -80.0)))
    assert contains_point(cap, Point(17.0, -90.0))
    assert not contains_point(cap, Point(0.0, 90.0))
    assert not contains_point(cap, Point(45.0, -80.0))


@pytest.mark.parametrize("lat", [-10.0, 0.0])
def test_polygons_beyond_a_hemisphere_are_refused(lat: float) -> None:
    """Round the equator there is no smaller side; at -10 deg the cap below it is meant."""
    ring = Polygon(((0.0, lat), (120.0, lat), (240.0, lat)))
    if lat:
        assert contains_point(ring, Point(0.0, -90.0))
        return
    with pytest.raises(RegionError, match="smaller than a hemisphere"):
        contains_point(ring, Point(0.0, 0.0))


def test_flat_polygons_are_refused() -> None:
    with pytest.raises(RegionError, match="three different vertices"):
        contains_point(Polygon(((0.0, 0.0), (1.0, 0.0), (1.0, 0.0))), Point(0.0, 0.0))


def test_areas_of_known_shapes() -> None:
    sphere_deg2 = 4 * math.pi * math.degrees(1) ** 2
    assert area_deg2(Circle(0.0, 0.0, 180.0)) == pytest.approx(sphere_deg2)
    assert area_deg2(Range(0.0, 360.0, -90.0, 90.0)) == pytest.approx(sphere_deg2)
    octant = Polygon(((0.0, 0.0), (90.0, 0.0), (0.0, 90.0)))
    assert area_deg2(octant) == pytest.approx(sphere_deg2 / 8)
    tiny = Polygon(((10.0, 60.0), (10.0 + 2e-5, 60.0), (10.0 + 2e-5, 60.00001), (10.0, 60.00001)))
    assert area_deg2(tiny) == pytest.approx(1e-10, rel=1e-4)
    assert area_deg2(Polygon(((0.0, 0.0), (1.0, 1.0), (2.0, 0.0)))) == pytest.approx(1.0, rel=1e-3)
    assert area_deg2(Polygon(((180.0, 0.0), (181.0, 1.0), (181.0, 0.0)))) == pytest.approx(
        0.5, rel=1e-3
    )


@pytest.mark.parametrize(
    "far",
    [
        Range(1.0, 359.0, 80.0, 90.0),
        Range(200.0, 210.0, -90.0, -89.5),
        Range(0.0, 0.0, -90.0, -90.0),
        Range(10.0, 10.0, 20.0, 30.0),
    ],
)
def test_edges_along_the_equator_and_a_meridian_cross_no_parallel_side(far: Range) -> None:
    square = Polygon(((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0)))
    assert not intersects(square, far)
    assert intersects(square, Range(10.0, 20.0, -5.0, 0.0))


def test_ranges() -> None:
    wrap = Range(350.0, 10.0, -5.0, 5.0)
    assert contains_point(wrap, Point(359.0, 0.0))
    assert contains_point(wrap, Point(10.0, 5.0))
    assert not contains_point(wrap, Point(11.0, 0.0))
    cap = Range(250.0, 260.0, 89.0, 90.0)
    assert contains_point(cap, Point(3.0, 90.0))
    assert intersects(cap, Circle(75.0, 89.5, 0.6))
    assert not intersects(cap, Circle(75.0, 89.5, 0.4))
    band = Range(0.0, 360.0, 60.0, 70.0)
    assert not contains_region(band, Circle(0.0, 90.0, 25.0))
    assert contains_region(Circle(0.0, 90.0, 31.0), band)
    assert not contains_region(Circle(0.0, 90.0, 29.0), band)
    assert centroid(band).lat_deg == pytest.approx(90.0)
