"""Bright objects of a published table, whose surroundings are marked in templates.

A row is a box where it has a width and a height, else a disc of its radius, else one whose radius
follows from its magnitude.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple
from typing import Final

from app.adql.compile import compile_query
from app.errors import LimitError, ParameterError, quoted
from app.pixels.bright_shapes import Box, BrightObject, Disc
from app.recipes.bright_regions import LARGEST_DEG, MAX_OBJECTS
from app.schema.catalog import CatalogSource
from app.schema.fields import Field, Table
from app.sky.predicates import bounding_circle
from app.sky.shapes import Region
from app.stores.tables.base import TableStore

PARAMETER: Final = "BRIGHT_OBJECTS"
POSITION: Final = ("ra", "dec")
SIZES: Final = ("radius", "width", "height")
ANGLE: Final = "angle"
MAGNITUDES: Final = ("mag", "phot_g_mean_mag")
"""The first one that a table has."""
FAINTEST_MAG: Final = 16.0
"""Fainter stars are not marked by their magnitude (MEDIUM of the Legacy Surveys' mask bits)."""
QUERY_TIME_LIMIT_S: Final = 30.0
_DEGREES: Final = {"deg": 1.0, "arcmin": 1 / 60, "arcsec": 1 / 3600}
Row = Mapping[str, float | None]


def magnitude_radius_deg(magnitude: float) -> float:
    """1630 arcsec times 1.396^-G: the radius at which the Legacy Surveys mask Gaia stars
    (legacypipe, mask_radius_for_mag; Dey et al. 2019, AJ 157, 168)."""
    return float(min(1630.0 / 3600.0 * 1.396**-magnitude, LARGEST_DEG))


class BrightObjectFinder:
    """Looks up discs and boxes in tables that have the columns ``ra`` and ``dec`` (ICRS, deg) and

    - ``radius``, or ``width`` and ``height`` (deg, arcmin or arcsec by their unit, deg where none
      is told) and, if boxes are turned, ``angle`` (deg; :class:`app.pixels.bright_objects.Box`),
    - or ``mag`` or Gaia's ``phot_g_mean_mag``.
    """

    def __init__(self, *, tables: TableStore, catalogs: CatalogSource) -> None:
        self._tables = tables
        self._catalogs = catalogs

    def find(self, name: str, region: Region) -> tuple[BrightObject, ...]:
        """The objects of table ``name`` near ``region``, sorted; rows without a size are left out.

        Raises ParameterError when there is no such table, it lacks columns or a row's size is none,
        LimitError when there are too many.
        """
        catalog = self._catalogs.current()
        table = catalog.by_name().get(name.strip().lower())
        if table is None:
            raise ParameterError(PARAMETER, f"there is no table {quoted(name)}")
        columns = _columns(table)
        circle = bounding_circle(region)
        sized = [
            f"{name} < {FAINTEST_MAG}" if name in MAGNITUDES else f"{name} IS NOT NULL"
            for name in columns
        ]
        query = compile_query(
            f"SELECT {', '.join((*POSITION, *columns))} FROM {table.name} "
            "WHERE 1 = CONTAINS(POINT('ICRS', ra, dec), "
            f"CIRCLE('ICRS', {circle.lon_deg!r}, {circle.lat_deg!r}, "
            f"{min(180.0, circle.radius_deg + LARGEST_DEG)!r})) AND ({' OR '.join(sized)})",
            catalog=catalog,
            target=self._tables.target,
            maxrec=MAX_OBJECTS,
        )
        found: list[BrightObject] = []
        for batch in self._tables.stream(query, time_limit_s=QUERY_TIME_LIMIT_S):
            values = [column.to_pylist() for column in batch.columns]
            for row in zip(*values, strict=True):
                told = dict(zip((*POSITION, *columns), row, strict=True))
                found += _objects(table, told, columns)
        if len(found) > MAX_OBJECTS:
            raise LimitError(f"bright objects of {table.name}", len(found), MAX_OBJECTS)
        return tuple(sorted(found, key=astuple))


def _columns(table: Table) -> dict[str, float]:
    """The columns that tell a size, and what their values are multiplied by."""
    missing = [name for name in POSITION if _real(table, name) is None]
    sizes = {name: field for name in SIZES if (field := _real(table, name))}
    magnitude = next((name for name in MAGNITUDES if _real(table, name)), None)
    if missing or not ("radius" in sizes or {"width", "height"} <= sizes.keys() or magnitude):
        raise ParameterError(
            PARAMETER,
            f"{table.name} needs columns of real numbers ra, dec and radius, or width and height, "
            f"or one of {', '.join(MAGNITUDES)}",
        )
    if len({"width", "height"} & sizes.keys()) == 1:
        raise ParameterError(PARAMETER, f"{table.name} has one of width and height, not both")
    columns = {name: _unit(table, field, _DEGREES) for name, field in sizes.items()}
    angle = _real(table, ANGLE)
    if angle is not None and "width" in sizes:
        columns[ANGLE] = _unit(table, angle, {"deg": 1.0})
    if magnitude is not None:
        columns[magnitude] = 1.0
    return columns


def _real(table: Table, name: str) -> Field | None:
    field = table.find_field(name)
    return field if field is not None and field.kind == "real" else None


def _unit(table: Table, field: Field, allowed: Mapping[str, float]) -> float:
    unit = field.unit or "deg"
    if unit not in allowed:
        raise ParameterError(
            PARAMETER,
            f"the {field.name} of {table.name} is in {unit!r}, not in {', '.join(allowed)}",
        )
    return allowed[unit]


def _objects(table: Table, row: Row, columns: Mapping[str, float]) -> Iterator[BrightObject]:
    """What a row tells to mark: one object, or none."""
    known = {
        name: value * factor for name, factor in columns.items() if (value := row[name]) is not None
    }
    lon, lat = (float(row[name] or 0.0) for name in POSITION)
    made: BrightObject | None = None
    if "width" in known and "height" in known:
        made = Box(lon, lat, known["width"], known["height"], known.get(ANGLE, 0.0))
    elif "radius" in known:
        made = Disc(lon, lat, known["radius"])
    elif any(name in known for name in MAGNITUDES):
        magnitude = next(known[name] for name in MAGNITUDES if name in known)
        made = Disc(lon, lat, magnitude_radius_deg(magnitude))
    if made is None:
        return
    sizes = [known[name] for name in SIZES if name in known]
    if not (all(size > 0.0 for size in sizes) and made.reach_deg <= LARGEST_DEG):
        told = ", ".join(f"{name} {row[name]}" for name in SIZES if name in known)
        raise ParameterError(
            PARAMETER,
            f"{table.name} has an object at {lon} {lat} of {told}; sizes are above 0 and objects "
            f"reach {LARGEST_DEG:g} deg from their middle at most",
        )
    yield made
