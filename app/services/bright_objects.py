"""Bright objects of a published table, whose surroundings are marked in templates."""

from __future__ import annotations

from typing import Final

from app.adql.compile import compile_query
from app.errors import LimitError, ParameterError
from app.pixels.bright_objects import Disc
from app.schema.catalog import CatalogSource
from app.schema.fields import Table
from app.sky.predicates import bounding_circle
from app.sky.shapes import Region
from app.stores.tables.base import TableStore

PARAMETER: Final = "BRIGHT_OBJECTS"
COLUMNS: Final = ("ra", "dec", "radius")
MAX_OBJECTS: Final = 10_000
LARGEST_DEG: Final = 2.0
"""Objects farther outside than this are not looked for."""
QUERY_TIME_LIMIT_S: Final = 30.0
_DEGREES: Final = {"deg": 1.0, "arcmin": 1 / 60, "arcsec": 1 / 3600}


class BrightObjectFinder:
    """Looks up discs: tables have the columns ``ra``, ``dec`` (ICRS, deg) and ``radius``, whose
    unit is deg, arcmin or arcsec (deg where none is told)."""

    def __init__(self, *, tables: TableStore, catalogs: CatalogSource) -> None:
        self._tables = tables
        self._catalogs = catalogs

    def find(self, name: str, region: Region) -> tuple[Disc, ...]:
        """The discs of table ``name`` near ``region``, sorted.

        Raises ParameterError when there is no such table or it lacks a column, LimitError when
        there are too many.
        """
        catalog = self._catalogs.current()
        table = catalog.by_name().get(name.strip().lower())
        if table is None:
            raise ParameterError(PARAMETER, f"there is no table {name!r}")
        degrees = _degrees_of(table)
        circle = bounding_circle(region)
        query = compile_query(
            f"SELECT ra, dec, radius FROM {table.name} WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), "
            f"CIRCLE('ICRS', {circle.lon_deg!r}, {circle.lat_deg!r}, "
            f"{min(180.0, circle.radius_deg + LARGEST_DEG)!r})) AND radius > 0",
            catalog=catalog,
            target=self._tables.target,
            maxrec=MAX_OBJECTS,
        )
        found: list[Disc] = []
        for batch in self._tables.stream(query, time_limit_s=QUERY_TIME_LIMIT_S):
            lon, lat, radius = (column.to_pylist() for column in batch.columns)
            found += [(x, y, r * degrees) for x, y, r in zip(lon, lat, radius, strict=True)]
        if len(found) > MAX_OBJECTS:
            raise LimitError(f"bright objects of {table.name}", len(found), MAX_OBJECTS)
        return tuple(sorted(found))


def _degrees_of(table: Table) -> float:
    """What radii are multiplied by."""
    fields = {name: table.find_field(name) for name in COLUMNS}
    absent = [name for name, field in fields.items() if field is None or field.kind != "real"]
    if absent:
        raise ParameterError(
            PARAMETER, f"{table.name} has no column of real numbers {', '.join(absent)}"
        )
    radius = fields["radius"]
    unit = (radius.unit if radius else None) or "deg"
    if unit not in _DEGREES:
        raise ParameterError(
            PARAMETER, f"the radius of {table.name} is in {unit!r}, not in {', '.join(_DEGREES)}"
        )
    return _DEGREES[unit]
