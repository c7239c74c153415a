"""Stored regions of every kind, at the poles, across longitude 0 and near a hemisphere, against
shapes of every kind: one answer on both engines."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest

from app.adql.phrases import meets, select, table
from app.adql.tree import Query
from app.errors import RegionError
from app.schema.rows import DatasetRow
from app.sky.areas import PolygonArea, is_simple
from app.sky.bulk_regions import enclosing_polygon
from app.sky.predicates import intersects
from app.sky.shapes import Circle, Polygon, Range
from app.sky.stcs import format_region, parse_region
from app.sky.vectors import add, direction, scale, tangent_axes, unit_vector
from app.stores.metadata import MetadataStores, open_stores
from tests.adql.conftest import Ask, ask, make_row
from tests.databases import database_at
from tests.postgres import PostgresServer

T = "ivoa.ObsCore"

CENTRES = [(0.0, 90.0), (200.0, -89.7), (0.0, 0.0), (359.95, 45.0), (62.0, -37.0), (180.0, 89.0)]
SIZES = [1e-5, 1e-3, 0.3, 2.0, 25.0, 70.0]


def star(lon: float, lat: float, radii: list[float]) -> Polygon:
    """A polygon with corners at these distances (deg) from a centre, all around it."""
    centre = unit_vector(lon, lat)
    east, north = tangent_axes(centre)
    vertices = []
    for step, radius in enumerate(radii):
        turn, reach = 2 * math.pi * step / len(radii) + 0.3, math.radians(radius)
        aside = add(scale(east, math.cos(turn)), scale(north, math.sin(turn)))
        middle = scale(centre, math.cos(reach))
        vertices.append(direction(add(middle, scale(aside, math.sin(reach)))))
    return Polygon(tuple(vertices))


def regions(rng: random.Random) -> Iterator[Polygon]:
    """Squares, stars and circles of all sizes everywhere, and a square with middles of edges."""
    for lon, lat in CENTRES:
        for size in SIZES:
            yield star(lon, lat, [size] * 4)
            yield star(lon, lat, [size * rng.uniform(0.2, 1.0) for _ in range(7)])
            away = size * rng.uniform(-1, 1)
            place = max(-89.99, min(89.99, lat + away))
            yield star((lon + 1.3 * away) % 360.0, place, [size, size * 0.3] * 3)
        yield enclosing_polygon(Circle(lon, lat, 0.7))
        square = star(lon, lat, [1.0, math.sqrt(0.5)] * 4)
        yield square


@pytest.fixture(scope="module")
def both(
    postgres_server: PostgresServer,
    postgres_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Ask]:
    """Asks both engines, which must agree."""
    rng = random.Random(11)
    rows = []
    for number, region in enumerate(regions(rng)):
        if not _is_storable(region):
            continue
        row = make_row(number, rng)
        columns = {**row.columns, "s_region": format_region(region)}
        columns["s_ra"], columns["s_dec"] = region.vertices[0]
        rows.append(_with(row, columns))
    path = tmp_path_factory.mktemp("regions") / "skyloom.sqlite3"
    url = postgres_server.create(template=postgres_template)
    stores = [open_stores(each) for each in (database_at(path), url)]
    for each in stores:
        each.datasets.upsert(rows)

    def run(asked: str | Query) -> list[tuple[object, ...]]:
        here, there = (sorted(ask(each, asked, maxrec=100_000)) for each in stores)
        assert here == there, asked
        return here

    yield run
    _close(stores)
    postgres_server.drop(url)


def _is_storable(region: Polygon) -> bool:
    try:
        return is_simple(PolygonArea(region))
    except RegionError:
        return False


def _with(row: DatasetRow, columns: dict[str, object]) -> DatasetRow:
    return replace(row, columns=columns)


def _close(stores: list[MetadataStores]) -> None:
    for each in stores:
        each.close()


def shapes(rng: random.Random) -> Iterator[str]:
    """Constant regions about and beside the centres."""
    for lon, lat in CENTRES:
        for size in (1e-5, 0.2, 3.0, 40.0, 120.0):
            away = rng.uniform(-1.5, 1.5) * min(size, 30.0)
            place = max(-90.0, min(90.0, lat + away))
            yield f"CIRCLE({lon + away:.9f}, {place:.9f}, {size})"
            if size < 80:
                corners = star(
                    lon, max(-89.9, min(89.9, place)), [size, size * 0.6, size * 0.9] * 2
                )
                yield "POLYGON(" + ", ".join(f"{x:.9f}" for v in corners.vertices for x in v) + ")"


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("value", [1, 0])
def test_constant_shapes(both: Ask, value: int) -> None:
    found = 0
    for shape in shapes(random.Random(3)):
        for condition in (
            f"INTERSECTS({shape}, s_region)",
            f"INTERSECTS(s_region, {shape})",
            f"CONTAINS(s_region, {shape})",
            f"CONTAINS({shape}, s_region)",
        ):
            query = f"SELECT obs_id FROM {T} WHERE {condition} = {value} ORDER BY obs_id"
            found += len(both(query))
    assert found > 1000


def ranges(rng: random.Random, rows: Iterable[Polygon]) -> Iterator[Range]:
    """Boxes about points of edges, most of them much smaller or larger than the polygon, whole
    bands, caps, wedges, and some across longitude 0 or of no width."""
    for polygon in rows:
        edge = rng.choice(PolygonArea(polygon).arcs)
        size = math.degrees(edge.span_rad)
        if size < 1e-3:
            continue  # a few times the fuzz, within which the engines may differ
        for _ in range(4):
            lon, lat = direction(edge.point(rng.uniform(-0.2, 1.2) * edge.span_rad))
            width, height = (size * 10 ** rng.uniform(-4, 1) for _ in "xy")
            south = max(-90.0, lat - height * rng.random())
            west = lon - min(width, 300.0) * rng.random()
            east = west + rng.choice((0.0, 1.0, 1.0, 1.0)) * min(width, 300.0)
            yield Range(west % 360.0, east % 360.0, south, min(90.0, south + height))
        yield Range(0.0, 360.0, *sorted((lat, max(-90.0, min(90.0, lat + size)))))
        yield Range((lon - size) % 360.0, (lon + size) % 360.0, min(lat, 89.0), 90.0)


@pytest.mark.needs("postgresql")
def test_coordinate_ranges(both: Ask) -> None:
    """Both engines give what :func:`app.sky.predicates.intersects` says of each row."""
    texts = dict(both(f"SELECT obs_id, s_region FROM {T}"))
    polygons = {name: parse_region(str(text)) for name, text in texts.items()}
    found = 0
    rng = random.Random(17)
    for box in (
        *ranges(rng, [p for p in list(polygons.values())[::2] if isinstance(p, Polygon)]),
        Range(0.0, 360.0, -90.0, 90.0),
        Range(300.0, 60.0, -10.0, 10.0),
        Range(-10.0, 10.0, 80.0, 90.0),
    ):
        query = select(table(T), column_name="obs_id", where=meets("s_region", box))
        expected = sorted(name for name, polygon in polygons.items() if intersects(polygon, box))
        assert [name for (name,) in both(query)] == expected, box
        found += len(expected)
    assert found > 1000


@pytest.mark.needs("postgresql")
def test_points(both: Ask) -> None:
    rng = random.Random(4)
    found = 0
    for lon, lat in CENTRES:
        for size in (0.0, 1e-7, 1e-4, 0.2, 3.0, 40.0):
            for _ in range(4):
                place = max(-90.0, min(90.0, lat + size * rng.uniform(-1, 1)))
                point = f"POINT({lon + size * rng.uniform(-1, 1):.10f}, {place:.10f})"
                query = f"SELECT obs_id FROM {T} WHERE CONTAINS({point}, s_region) = 1 ORDER BY 1"
                found += len(both(query))
    assert found > 1000


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "condition",
    [
        "CONTAINS(POINT(a.s_ra, a.s_dec), b.s_region) = 1",
        "CONTAINS(POINT(a.s_ra, a.s_dec), b.s_region) = 0",
        "INTERSECTS(CIRCLE(a.s_ra, a.s_dec, 0.3), b.s_region) = 1",
        "CONTAINS(CIRCLE(a.s_ra, a.s_dec, 1e-4), b.s_region) = 1",
        "CONTAINS(a.s_region, CIRCLE(b.s_ra, b.s_dec, 20)) = 1",
        "INTERSECTS(a.s_region, b.s_region) = 1",
        "CONTAINS(a.s_region, b.s_region) = 1",
        "CONTAINS(a.s_region, b.s_region) = 0",
    ],
)
def test_rows_against_rows(both: Ask, condition: str) -> None:
    query = f"SELECT a.obs_id, b.obs_id FROM {T} a JOIN {T} b ON {condition} ORDER BY 1, 2"
    assert len(both(query)) > 100
