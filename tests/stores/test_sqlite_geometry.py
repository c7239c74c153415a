"""SQLite's compiled geometry gives the answers of the Python functions."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.adql.sqlite_geometry import FUNCTIONS
from app.sky.vectors import add, cross, direction, normalized, scale, unit_vector
from app.stores.database import open_engine
from app.stores.sqlite_compiled import load_geometry

PYTHON = {name: function for name, _, function in FUNCTIONS}

LON = st.floats(-360, 720) | st.sampled_from([0.0, 90.0, 180.0, 360.0])
LAT = st.floats(-90, 90) | st.sampled_from([-90.0, 0.0, 90.0])


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[sa.Connection]:
    """A connection that has the compiled functions."""
    if not load_geometry():
        pytest.skip("this Python hides SQLite's C interface")
    path = tmp_path_factory.mktemp("machine") / "x.sqlite3"
    engine = open_engine(f"sqlite:///{path}")
    with engine.connect() as connection:
        yield connection
    engine.dispose()


@st.composite
def polygons(draw: st.DrawFn) -> str:
    """STC-S text of a star-shaped, mostly concave polygon somewhere."""
    lon, lat = draw(st.floats(0, 359)), draw(st.floats(-85, 85))
    size = draw(st.sampled_from([0.001, 0.2, 5.0, 40.0]))
    count = draw(st.integers(3, 9))
    numbers = []
    for step in range(count):
        turn = 2 * math.pi * step / count
        reach = size * draw(st.floats(0.2, 1.0))
        dec = max(-90.0, min(90.0, lat + reach * math.sin(turn)))
        ra = lon + reach * math.cos(turn) / max(0.05, math.cos(math.radians(lat)))
        numbers += [f"{ra % 360.0:.9f}", f"{dec:.9f}"]
    return f"POLYGON ICRS {' '.join(numbers)}"


CIRCLES = st.builds(
    lambda lon, lat, radius: f"circle {lon:.6f}, {lat:.6f}, {radius:.6f}",
    st.floats(0, 360),
    st.floats(-90, 90),
    st.floats(0, 180) | st.floats(0, 3),
)
BOXES = st.builds(
    lambda lon, lat, w, h: f"Box UNKNOWNFRAME {lon:.6f} {lat:.6f} {w:.6f} {h:.6f}",
    st.floats(0, 360),
    st.floats(-90, 90),
    st.floats(0.1, 100),
    st.floats(0.1, 100),
)
ODD = st.sampled_from(
    [
        None,
        "",
        "CIRCLE",
        "CIRCLE FK5 1 2 3",
        "CIRCLE ICRS 1 2 -3",
        "CIRCLE ICRS 1 95 3",
        "CIRCLE ICRS 1 2 3 4",
        "POLYGON ICRS 1 2 3",
        "POLYGON ICRS 1 2 3 4",
        "POLYGON 1 1 1 1 1 1 2 2",
        "POLYGON 0 0 120 0 240 0",
        "POLYGON ICRS 1 2 3 four 5 6",
        "POLYGON ICRS 1e0 2. .3E1 4 +5 6e-1",
        "LINE 1 2 3 4",
        "POLYGON ICRS nan 2 3 4 5 6",
    ]
)
REGIONS = polygons() | CIRCLES | BOXES | ODD


def same(machine: sa.Connection, name: str, *arguments: object) -> object:
    """The answer of both."""
    marks = ", ".join("?" * len(arguments))
    ours = machine.exec_driver_sql(f"SELECT {name}({marks})", arguments).scalar_one()
    theirs = PYTHON[name](*arguments)
    if isinstance(ours, bytes) and isinstance(theirs, bytes):
        count = len(ours) // 8
        assert len(ours) == len(theirs), (name, arguments)
        ours, theirs = (struct.unpack(f"<{count}d", x) for x in (ours, theirs))
        assert ours == pytest.approx(theirs, abs=1e-14), (name, arguments)
    elif isinstance(ours, float) and isinstance(theirs, float):
        assert ours == pytest.approx(theirs, rel=1e-7, abs=1e-7), (name, arguments)
    else:
        assert ours == theirs, (name, arguments)
    return ours


def test_every_function_has_a_compiled_namesake(machine: sa.Connection) -> None:
    from app.stores.sqlite_geometry import compiled_functions

    compiled = {(name, count) for name, count, _ in compiled_functions()}
    wanted = {(name, count) for name, count, _ in FUNCTIONS if name != "adql_box_text"}
    assert compiled == wanted


@settings(max_examples=300)
@given(a=REGIONS, b=REGIONS, lon=LON, lat=LAT)
def test_regions(machine: sa.Connection, a: object, b: object, lon: float, lat: float) -> None:
    outline = same(machine, "adql_outline", a)
    same(machine, "adql_contains_point", a, lon, lat)
    same(machine, "adql_contains", a, b)
    same(machine, "adql_intersects", a, b)
    same(machine, "adql_region_size", a)
    same(machine, "adql_region_distance", a, lon, lat)
    for place in range(6):
        same(machine, "adql_box_side", a, place)
    stored = machine.exec_driver_sql("SELECT adql_outline(?)", (a,)).scalar_one()
    assert (stored is None) == (outline is None)
    same(machine, "adql_contains_point", stored, lon, lat)


@settings(max_examples=200)
@given(a=polygons(), b=polygons() | CIRCLES, share=st.floats(0, 1))
def test_regions_that_are_near(machine: sa.Connection, a: str, b: str, share: float) -> None:
    """Points along the edges, a region with itself and with a circle about one of its corners."""
    numbers = [float(word) for word in a.split()[2:]]
    lon1, lat1, lon2, lat2 = numbers[:4]
    lon, lat = lon1 + share * 0.1 * (lon2 - lon1), lat1 + share * 0.1 * (lat2 - lat1)
    same(machine, "adql_contains_point", a, lon, lat)
    assert same(machine, "adql_contains_point", a, lon1, lat1) == 1
    assert same(machine, "adql_intersects", a, a) == 1
    assert same(machine, "adql_contains", a, a) == 1
    for radius in (0.0, 0.3, 3.0, 100.0):
        corner = f"CIRCLE ICRS {lon1 % 360} {lat1} {radius}"
        assert same(machine, "adql_intersects", a, corner) == 1
        same(machine, "adql_contains", corner, a)
        same(machine, "adql_contains", a, corner)


@settings(max_examples=100)
@given(region=polygons(), radius=st.floats(0.01, 3))
def test_both_sides_of_a_boundary(machine: sa.Connection, region: str, radius: float) -> None:
    """A microradian beside the middle of each edge, and of the rim of a circle."""
    numbers = [float(word) for word in region.split()[2:]]
    corners = [unit_vector(*pair) for pair in zip(numbers[0::2], numbers[1::2], strict=True)]
    for a, b in zip(corners, corners[1:] + corners[:1], strict=True):
        middle, normal = normalized(add(a, b)), normalized(cross(a, b))
        for side in (1e-6, -1e-6):
            point = direction(add(middle, scale(normal, side)))
            same(machine, "adql_contains_point", region, *point)
    lat = max(-80.0, min(80.0, numbers[1]))
    circle = f"CIRCLE ICRS {numbers[0]!r} {lat!r} {radius!r}"
    for factor, inside in ((1 - 1e-4, 1), (1 + 1e-4, 0)):
        rim = (numbers[0], lat + radius * factor)
        assert same(machine, "adql_contains_point", circle, *rim) == inside


@settings(max_examples=200)
@given(numbers=st.lists(st.floats(-100, 100) | st.none(), min_size=6, max_size=12))
@example(numbers=[0.0, 0.0, 2.0, 0.0, 2.0, 10.0, 2.0, 1.0])
@example(numbers=[-42.7, 10.0, -46.8, 19.7, -42.7, 0.0, -42.7, -42.7])
def test_shapes_from_numbers(machine: sa.Connection, numbers: list[float | None]) -> None:
    same(machine, "adql_point", *numbers[:2])
    same(machine, "adql_circle", *numbers[:3])
    same(machine, "adql_box", *numbers[:4])
    same(machine, "adql_distance", *numbers[:4])
    if len(numbers) % 2 == 0:
        same(machine, "adql_polygon", *numbers)


@pytest.mark.parametrize("lon", [2.0, 62.0, 359.5])
def test_a_polygon_whose_edge_runs_back_along_itself_is_none(
    machine: sa.Connection, lon: float
) -> None:
    """Whatever way the last digits are rounded."""
    spike = (lon - 2, 0.0, lon, 0.0, lon, 10.0, lon, 1.0)
    through = (lon, 10.0, lon - 4, 19.7, lon, 0.0, lon, -42.7)
    for corners in (spike, through):
        assert same(machine, "adql_polygon", *corners) is None


@settings(max_examples=100)
@given(region=polygons() | CIRCLES)
def test_centroids(machine: sa.Connection, region: str) -> None:
    ours = [
        machine.exec_driver_sql("SELECT adql_centroid(?, ?)", (region, place)).scalar_one()
        for place in (0, 1)
    ]
    theirs = [PYTHON["adql_centroid"](region, place) for place in (0, 1)]
    assert PYTHON["adql_distance"](*ours, *theirs) < 1e-7


@settings(max_examples=300)
@given(
    region=polygons(),
    beside=st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5)),
    sizes=st.tuples(st.floats(0, 3), st.floats(0, 3)) | st.just((3600.0, 0.1)),
)
def test_coordinate_ranges(
    machine: sa.Connection, region: str, beside: tuple[float, float], sizes: tuple[float, float]
) -> None:
    """Boxes in longitude and latitude from inside the polygon to beyond it."""
    numbers = [float(word) for word in region.split()[2:]]
    size = max(numbers[1::2]) - min(numbers[1::2])
    west = numbers[0] + size * beside[0]
    south = max(-90.0, min(90.0, numbers[1] + size * beside[1]))
    east, north = west + min(360.0, size * sizes[0]), min(90.0, south + size * sizes[1])
    same(machine, "adql_meets_range", region, west % 360.0, east % 360.0, south, north)
    assert same(machine, "adql_meets_range", region, *numbers[:1] * 2, *numbers[1:2] * 2) == 1
    assert same(machine, "adql_meets_range", "CIRCLE ICRS 1 2 3", 0.0, 2.0, 0.0, 2.0) is None
