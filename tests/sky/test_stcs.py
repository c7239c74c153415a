"""s_region text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.errors import RegionError
from app.sky.predicates import area_deg2, contains_point
from app.sky.shapes import Circle, Point, Polygon, Range
from app.sky.stcs import format_region, parse_region


def test_polygon_and_circle() -> None:
    triangle = Polygon(((1.0, 2.0), (3.0, 4.0), (5.0, 0.5)))
    for text in (
        "POLYGON ICRS 1 2 3 4 5 0.5",
        "polygon 1 2 3 4 5 .5",
        "Polygon icrs 1 2 3 4 5 .5 1 2",
    ):
        assert parse_region(text) == triangle
    assert format_region(triangle) == "POLYGON ICRS 1 2 3 4 5 0.5"
    assert parse_region("CIRCLE ICRS GEOCENTER 10 -20 0.5") == Circle(10.0, -20.0, 0.5)
    assert format_region(Circle(10.0, -20.0, 0.5)) == "CIRCLE ICRS 10 -20 0.5"


def test_longitudes_are_brought_into_one_turn() -> None:
    assert parse_region("CIRCLE -10 20 1") == Circle(350.0, 20.0, 1.0)


def test_box_is_centred_and_keeps_its_width_near_a_pole() -> None:
    box = parse_region("BOX ICRS 10 85 2 1")
    assert area_deg2(box) == pytest.approx(2.0, rel=1e-3)
    assert contains_point(box, Point(10.0, 85.49))
    assert not contains_point(box, Point(10.0, 85.51))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("DONUT ICRS 1 2 3", "none of"),
        ("CIRCLE GALACTIC 1 2 3", "frame"),
        ("CIRCLE ICRS 1 2", "3 numbers"),
        ("POLYGON ICRS 1 2 3 4 5", "pairs"),
        ("POLYGON ICRS 1 2 3 4 five 6", "'five'"),
        ("POLYGON ICRS 1 2 3 4 nan 6", "finite"),
        ("POLYGON ICRS 1 2 3 4", "3 vertices"),
    ],
)
def test_faults_are_named(text: str, reason: str) -> None:
    with pytest.raises(RegionError, match=reason):
        parse_region(text)


def test_a_coordinate_range_has_no_stcs_text() -> None:
    with pytest.raises(RegionError):
        format_region(Range(0.0, 1.0, 0.0, 1.0))


@given(st.lists(st.tuples(st.floats(0, 359.9), st.floats(-30, 30)), min_size=3, max_size=3))
def test_text_keeps_a_tenth_of_a_nanodegree(vertices: list[tuple[float, float]]) -> None:
    polygon = Polygon(tuple((lon % 60, lat) for lon, lat in vertices))
    try:
        back = parse_region(format_region(polygon))
    except RegionError:
        return
    assert isinstance(back, Polygon)
    for (a, b), (c, d) in zip(polygon.vertices, back.vertices, strict=True):
        assert (a, b) == (pytest.approx(c, abs=1e-10), pytest.approx(d, abs=1e-10))
