"""What a person would write for the queries of the TAP benchmark: pgSphere's polygons under GiST
on PostgreSQL; on SQLite a join with the R*Tree, and the exact test on what lies in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import psycopg
import sqlalchemy as sa

from app.sky.boxes import box_of
from app.sky.shapes import Circle, Point
from benchmarks.rows import by_hand_on_postgres
from benchmarks.tap_databases import generated

LON: Final = 62.0
LAT: Final = -37.0
RADII: Final = (0.1, 0.5)
GROUPS: Final = "SELECT dataproduct_subtype, count(*) FROM {} GROUP BY dataproduct_subtype"
DATABASE: Final = "by_hand"
_HALF_MADE: Final = f"{DATABASE}_half_made"


def postgres_by_hand(url: str) -> str:
    """URL of a database beside that of ``url`` with the rows in a table ``obs``, made once."""
    with psycopg.connect(url, autocommit=True) as connection:
        query = "SELECT 1 FROM pg_database WHERE datname = %s"
        if connection.execute(query, (DATABASE,)).fetchone() is not None:
            return _beside(url, DATABASE)
        connection.execute(f"DROP DATABASE IF EXISTS {_HALF_MADE}".encode())
        connection.execute(f"CREATE DATABASE {_HALF_MADE}".encode())
        new = _beside(url, _HALF_MADE)
        with psycopg.connect(new, autocommit=True) as inner:
            inner.execute(b"CREATE EXTENSION pg_sphere")
        by_hand_on_postgres(new, generated().with_suffix(".parquet"))
        with psycopg.connect(new, autocommit=True) as inner:
            inner.execute(b"DROP TABLE stage")
            inner.execute(b"VACUUM ANALYZE obs")
        connection.execute(f"ALTER DATABASE {_HALF_MADE} RENAME TO {DATABASE}".encode())
    return _beside(url, DATABASE)


def _beside(url: str, database: str) -> str:
    return sa.make_url(url).set(database=database).render_as_string(hide_password=False)


def postgres_statements(columns: str) -> dict[str, str]:
    """SQL by the names of :func:`benchmarks.tap.queries`."""
    place = f"spoint(radians({LON}), radians({LAT}))"
    tests = {"contains": f"{place} <@ s_poly"}
    for radius in RADII:
        tests[f"circle_{radius}"] = f"s_poly && scircle({place}, radians({radius}))"
    return _statements("obs", tests, columns)


def sqlite_statements(columns: str) -> dict[str, str]:
    """The same on our own table and R*Tree: SQLite has no other."""
    tests = {"contains": _in_tree(Point(LON, LAT), f"adql_contains_point(outline, {LON}, {LAT})")}
    for radius in RADII:
        circle = f"adql_outline('CIRCLE ICRS {LON} {LAT} {radius}')"
        exact = f"adql_intersects(outline, {circle})"
        tests[f"circle_{radius}"] = _in_tree(Circle(LON, LAT, radius), exact)
    source = "obscore_s_region_outline AS tree CROSS JOIN obscore USING (row_id)"
    return _statements(source, tests, columns) | {"groupby_subtype": GROUPS.format("obscore")}


def _in_tree(shape: Point | Circle, exact: str) -> str:
    box = box_of(shape)
    sides = " AND ".join(
        f"{axis}_min <= {getattr(box, f'{axis}_max')!r} "
        f"AND {axis}_max >= {getattr(box, f'{axis}_min')!r}"
        for axis in "xyz"
    )
    return f"{sides} AND {exact}"


def _statements(source: str, tests: Mapping[str, str], columns: str) -> dict[str, str]:
    """All rows and the number of rows of each test, and the groups."""
    statements = {"groupby_subtype": GROUPS.format(source)}
    for name, test in tests.items():
        every = "contains_all" if name == "contains" else name
        statements[every] = f"SELECT {columns} FROM {source} WHERE {test}"
        statements[f"{name}_count"] = f"SELECT count(*) FROM {source} WHERE {test}"
    return statements
