"""The geometry of ADQL 2.1 with columns, literals and expressions: one answer on both engines."""

from __future__ import annotations

import math
import random

import pytest

from app.adql.compile import compile_query
from app.errors import AdqlTypeError
from app.schema.catalog import CATALOG
from app.stores.metadata import MetadataStores
from tests.adql.conftest import Ask, ask

T = "ivoa.ObsCore"

CONDITIONS = [
    "CONTAINS(POINT(s_ra, s_dec), BOX(s_ra + 0.1, s_dec, 1, s_fov)) = 1",
    "CONTAINS(POINT(0, 0), BOX(s_ra, s_dec, 2, 2)) = 1",
    "CONTAINS(POINT('ICRS', s_ra, s_dec), BOX('ICRS', s_ra, s_dec, 0.2, 0.2)) = 1",
    "INTERSECTS(s_region, BOX(POINT(s_ra, s_dec), 0.1, 0.1)) = 1",
    "CONTAINS(POINT(s_ra, s_dec), POLYGON(s_ra - 1, s_dec - 1, s_ra + 1, s_dec - 1, s_ra,"
    " s_dec + 1)) = 1",
    "INTERSECTS(s_region, POLYGON(s_ra, s_dec, s_ra + 0.1, s_dec, s_ra, s_dec + 0.1)) = 1",
    "CONTAINS(POLYGON(POINT(s_ra, s_dec), POINT(s_ra + 1, s_dec), POINT(s_ra, s_dec + 1)),"
    " s_region) = 0",
    "CONTAINS(POLYGON(POINT(s_ra, s_dec), POINT(s_ra + 0.01, s_dec), POINT(s_ra, s_dec + 0.01)),"
    " CIRCLE(s_ra, s_dec, 0.1)) = 1",
    "CONTAINS(POINT(s_ra, s_dec), POINT(s_ra, s_dec)) = 1",
    "CONTAINS(POINT(s_ra, s_dec), POINT(0, 0)) = 0",
    "INTERSECTS(POINT(s_ra, s_dec), POINT(s_ra, s_dec + 1)) = 1",
    "INTERSECTS(CIRCLE(s_ra, s_dec, 1), CIRCLE(0, 0, 1)) = 1",
    "CONTAINS(CIRCLE(s_ra, s_dec, 0.1), CIRCLE(0, 0, 1)) = 1",
    "CONTAINS(CIRCLE(POINT(s_ra, s_dec), ABS(s_fov) + 0.1), s_region) = 1",
    "CONTAINS(POINT(s_ra, s_dec), CIRCLE(0, 0, 100)) = 1",
    "CONTAINS(POINT(s_ra, s_dec), CIRCLE(0, 0, 180)) = 1",
    "CONTAINS(s_region, CIRCLE(180, 0, 150)) = 1",
    "CONTAINS(s_region, CIRCLE(62, -37, 120)) = 0",
    "INTERSECTS(CIRCLE(242, 37, 179), s_region) = 1",
    "INTERSECTS(s_region, CIRCLE(242, 37, 178.5)) = 0",
    "CONTAINS(CIRCLE(0, 0, 100), s_region) = 0",
    "CONTAINS(POINT(s_ra, s_dec), CIRCLE(s_ra, s_dec, s_fov)) = 1",
    "CONTAINS(POINT(s_ra, s_dec), CIRCLE(s_ra, s_dec, s_fov)) = 0",
    "CONTAINS(POINT(s_ra, s_dec + 100), CIRCLE(0, 0, 90)) = 0",
    "INTERSECTS(s_region, CIRCLE(s_ra, s_dec + 170, 1)) = 0",
    "DISTANCE(s_ra, s_dec + 100, 0, 0) > 0",
    "DISTANCE(CENTROID(s_region), POINT(s_ra, s_dec)) < 0.000001",
    "CONTAINS(CENTROID(s_region), s_region) = 1",
    "CONTAINS(CENTROID(CIRCLE(s_ra, s_dec, 1)), s_region) = 1",
    "AREA(s_region) > 0.5",
    "AREA(BOX(s_ra, s_dec, 2, 2)) > 3.9",
    "COORD1(CENTROID(s_region)) > 200",
    "COORDSYS(s_region) = 'ICRS' AND COORD2(POINT(s_ra, s_dec)) < 0",
    "DISTANCE(s_region, POINT(s_ra, s_dec)) = 0",
    "DISTANCE(s_region, POINT(62, -37)) < 0.3",
    "DISTANCE(s_region, POINT(62, -37)) BETWEEN 0.0001 AND 0.5",
    "DISTANCE(s_ra, s_dec, 62, -37) BETWEEN 0.2 AND 0.7",
    "NOT DISTANCE(s_ra, s_dec, 62, -37) BETWEEN 0.2 AND 0.7",
    "DISTANCE(s_ra, s_dec, 62, -37) NOT BETWEEN 0.2 AND 150",
    "DISTANCE(s_ra, s_dec, 62, -37) < s_xel1",
    "DISTANCE(s_ra, s_dec, 62, -37) < 1 + s_fov",
    "DISTANCE(s_ra, s_dec, 62, -37) < 170 + s_fov",
    "INTERSECTS(REGION('BOX 62 -37 1 1'), s_region) = 1",
    "CONTAINS(POINT(s_ra, s_dec), REGION('POLYGON ICRS 61 -38 63 -38 62 -36')) = 1",
]

SHAPES = [
    ("POINT(s_ra, s_dec + 100)", "point"),
    ("CIRCLE(s_ra, s_dec, s_fov)", "circle"),
    ("CIRCLE(POINT(1, 2), s_fov)", "circle"),
    ("BOX(s_ra, 60, 2, 0.25 + s_fov)", "polygon"),
    ("POLYGON(s_ra, 10, s_ra + 1, 10, s_ra, 11 + s_fov)", "polygon"),
    ("POLYGON(s_ra, 10, s_ra + 1, 11, s_ra + 1, 10, s_ra, 11)", "polygon"),
    ("BOX(10, 0, 2, 2)", "polygon"),
    ("CIRCLE(1, 2, 120)", "circle"),
]


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize("condition", CONDITIONS)
def test_condition(ask_both: Ask, condition: str) -> None:
    ask_both(f"SELECT obs_id FROM {T} WHERE {condition} ORDER BY obs_id")


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(("shape", "xtype"), SHAPES)
def test_a_shape_is_a_column_with_its_xtype(ask_both: Ask, shape: str, xtype: str) -> None:
    text = f"SELECT obs_id, {shape} AS x FROM {T} ORDER BY obs_id"
    rows = ask_both(text)
    numbers = [[float(word) for word in str(x).split()] for _, x in rows if x is not None]
    sizes = {"point": {2}, "circle": {3}, "polygon": {6, 8}}[xtype]
    assert {len(each) for each in numbers} <= sizes
    field = compile_query(text, catalog=CATALOG, target="sqlite", maxrec=9).fields[1]
    assert (field.xtype, field.datatype) == (xtype, "double")


@pytest.mark.parametrize(
    "value",
    [
        "CIRCLE(s_ra, s_dec, -1 - s_calib)",
        "CIRCLE(s_ra, s_dec, 91 * s_calib)",
        "POINT(s_ra, 91 + s_calib)",
        "BOX(s_ra, s_dec, 0 * s_calib, 1)",
        "POLYGON(s_ra, 0, s_ra + 1, 1, s_ra + 1, 0, s_ra, 1)",
        "POLYGON(s_ra, 0, s_ra, 0, s_ra, 0)",
        "AREA(CIRCLE(s_ra, s_dec, -s_calib))",
        "AREA(POLYGON(s_ra, 0, s_ra + 1, 1, s_ra + 1, 0, s_ra, 1))",
        "AREA(BOX(s_ra, 95, s_calib, 1))",
        "DISTANCE(s_ra, 90 + s_calib, 0, 0)",
        "CONTAINS(POINT(s_ra, 90 + s_calib), s_region)",
        "CONTAINS(POINT(0, 0), CIRCLE(s_ra, s_dec, -s_calib))",
        "INTERSECTS(s_region, POLYGON(s_ra, 0, s_ra + 1, 1, s_ra + 1, 0, s_ra, 1))",
        "INTERSECTS(s_region, CIRCLE(s_ra, 90 + s_calib, 1))",
        "CENTROID(POLYGON(s_ra, s_dec, NULL, s_dec, s_ra, s_dec))",
    ],
)
@pytest.mark.needs("postgresql")
def test_what_is_no_geometry_has_no_value(ask_both: Ask, value: str) -> None:
    value = value.replace("s_calib", "calib_level")
    rows = ask_both(f"SELECT {value} AS x FROM {T}")
    assert {row[0] for row in rows} == {None}


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("CIRCLE(1, 2, -3)", "radius"),
        ("CIRCLE(1, 2, 181)", "between 0 and 180"),
        ("POINT(1, 91)", "latitude 91"),
        ("BOX(1, 2, 0, 1)", "between 0 and 180"),
        ("POLYGON(0,0, 1,1, 1,0, 0,1)", "cross"),
        ("POLYGON(0,0, 0,0, 0,0)", "three different"),
        ("POLYGON(0,0, 120,0, 240,0)", "hemisphere"),
    ],
)
def test_a_literal_that_is_no_geometry_is_pointed_at(shape: str, words: str) -> None:
    with pytest.raises(AdqlTypeError, match=words) as caught:
        compile_query(f"SELECT {shape} FROM {T}", catalog=CATALOG, target="sqlite", maxrec=9)
    assert (caught.value.line, caught.value.column) == (1, 8)


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "value",
    [
        "AREA(s_region)",
        "AREA(CIRCLE(s_ra, s_dec, ABS(s_fov)))",
        "AREA(BOX(s_ra, s_dec, 2, 3))",
        "AREA(POLYGON(s_ra, s_dec, s_ra + 1, s_dec, s_ra, s_dec + 1))",
        "COORD1(CENTROID(s_region))",
        "COORD2(CENTROID(s_region))",
        "COORD1(CENTROID(BOX(s_ra, s_dec, 4, 2)))",
        "COORD2(CENTROID(POLYGON(s_ra, s_dec, s_ra + 30, s_dec, s_ra, s_dec / 2)))",
        "DISTANCE(CENTROID(s_region), POINT(62, -37))",
    ],
)
def test_measures_agree_to_rounding(
    sqlite_stores: MetadataStores, postgres_stores: MetadataStores, value: str
) -> None:
    text = f"SELECT {value} AS x FROM {T} ORDER BY obs_id"
    here, there = ([row[0] for row in ask(s, text)] for s in (sqlite_stores, postgres_stores))
    assert any(x is not None for x in here)
    for ours, theirs in zip(here, there, strict=True):
        assert (ours is None) == (theirs is None)
        if isinstance(ours, float) and isinstance(theirs, float):
            assert math.isclose(ours, theirs, rel_tol=1e-7, abs_tol=1e-8)


def random_search(rng: random.Random) -> str:
    """A search for positions near the rows of the table: at the seam, at the pole and elsewhere."""
    lon, lat = rng.choice(((0.0, 0.0), (359.9, 45.0), (62.0, -37.0), (120.0, 80.0), (0.0, 90.0)))
    lon, lat = lon + rng.uniform(-2, 2), max(-90.0, min(90.0, lat + rng.uniform(-2, 2)))
    lon += rng.choice((-720.0, -360.0, 0.0, 360.0))
    size = 10 ** rng.uniform(-2, 2)
    half, middle = min(size, 10.0), min(lat, 75.0)
    corners = [
        (lon + a * half / math.cos(math.radians(middle)), middle + b * half)
        for a, b in ((-1, -1), (1, -1), (0.2, 0.1), (0, 1))
    ]
    area = ", ".join(f"{x:.6f}, {y:.6f}" for x, y in corners)
    return rng.choice(
        (
            f"DISTANCE(s_ra, s_dec, {lon:.6f}, {lat:.6f}) < {size:.6f}",
            f"CONTAINS(POINT(s_ra, s_dec), CIRCLE({lon:.6f}, {lat:.6f}, {size:.6f})) = 1",
            f"CONTAINS(POINT(s_ra, s_dec), BOX({lon % 360:.6f}, {lat:.6f}, {size:.6f}, 3)) = 1",
            f"CONTAINS(POINT(s_ra, s_dec), POLYGON({area})) = 1",
            f"DISTANCE(POINT({lon:.6f}, {lat:.6f}), POINT(s_ra, s_dec)) <= {size:.6f} + s_xel1 * 0",
        )
    )


@pytest.mark.needs("postgresql")
def test_positions_are_found_across_the_seam_and_the_pole(
    sqlite_stores: MetadataStores, postgres_stores: MetadataStores
) -> None:
    rng = random.Random(11)
    found = 0
    for _ in range(400):
        text = f"SELECT obs_id FROM {T} WHERE {random_search(rng)}"
        here, there = (sorted(ask(s, text)) for s in (sqlite_stores, postgres_stores))
        assert here == there, text
        found += 0 < len(here) < 120
    assert found > 100


@pytest.mark.needs("postgresql")
@pytest.mark.parametrize(
    "condition",
    [
        "DISTANCE(a.s_ra, a.s_dec, b.s_ra, b.s_dec) < 0.7",
        "DISTANCE(a.s_ra, a.s_dec, b.s_ra, b.s_dec) < a.s_fov + 11",
        "CONTAINS(POINT(b.s_ra, b.s_dec), CIRCLE(a.s_ra, a.s_dec, 0.5)) = 1",
        "CONTAINS(POINT(b.s_ra, b.s_dec), BOX(a.s_ra, a.s_dec, 1, 1)) = 1",
        "CONTAINS(POINT(b.s_ra, b.s_dec), a.s_region) = 1",
    ],
)
def test_positions_are_joined_across_the_seam_and_the_pole(
    sqlite_stores: MetadataStores, postgres_stores: MetadataStores, condition: str
) -> None:
    text = f"SELECT a.obs_id, b.obs_id FROM {T} a JOIN {T} b ON {condition}"
    here, there = (sorted(ask(s, text, 20_000)) for s in (sqlite_stores, postgres_stores))
    assert len(here) > 120
    assert here == there
