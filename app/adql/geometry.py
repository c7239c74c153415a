"""Geometries of a query: typed, and constants worked out at once."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from app.adql.spatial_index import point_columns
from app.adql.sqlite_geometry import MAX_RADIUS_DEG
from app.adql.tree import At, Call
from app.adql.typed import (
    BoxOf,
    CentroidPart,
    CircleOf,
    Column,
    Constant,
    Expression,
    Geometry,
    Literal,
    PointOf,
    PolygonOf,
    RegionDistance,
    RegionSize,
    Separation,
    Spatial,
)
from app.errors import AdqlTypeError, AdqlUnsupportedError, LimitError, RegionError, quoted
from app.schema.fields import Field
from app.sky.frames import ICRS_NAMES, find_icrs
from app.sky.predicates import (
    area_deg2,
    centroid,
    distance_deg,
    shape_contains,
    shapes_intersect,
)
from app.sky.shapes import Circle, Point, Polygon
from app.sky.stcs import box_from, check_direction, parse_region, simple_polygon_from

_MAX_COMPUTED_VERTICES = 50
"""SQLite takes at most 127 arguments of a function."""


def make_shape(call: Call, arguments: list[Expression]) -> Geometry:
    """POINT, CIRCLE, BOX or POLYGON of typed arguments; points among them stand first."""
    numbers = _coordinates(arguments)
    values = _constants(numbers)
    if values is not None:
        return Constant(_constant_shape(call, values))
    if call.frame not in ICRS_NAMES:
        raise AdqlUnsupportedError(
            f"coordinates in {call.frame} that are not constant; columns are in ICRS", *call.at
        )
    if call.name == "POINT":
        return PointOf(numbers[0], numbers[1])
    if call.name == "CIRCLE":
        return CircleOf(numbers[0], numbers[1], numbers[2])
    if call.name == "BOX":
        return BoxOf(numbers[0], numbers[1], numbers[2], numbers[3])
    if len(numbers) > 2 * _MAX_COMPUTED_VERTICES:
        raise LimitError(
            "vertices of a POLYGON that is not constant", len(numbers) // 2, _MAX_COMPUTED_VERTICES
        )
    return PolygonOf(tuple(numbers))


def _coordinates(arguments: list[Expression]) -> list[Expression]:
    """The numbers of the arguments, points taken apart."""
    numbers: list[Expression] = []
    for given in arguments:
        argument = given
        if isinstance(given, Column) and given.kind == "point":
            argument = _point_of(given)
        if isinstance(argument, PointOf):
            numbers += [argument.lon, argument.lat]
        elif isinstance(argument, Constant) and isinstance(argument.shape, Point):
            shape = argument.shape
            numbers += [Literal(shape.lon_deg, "real"), Literal(shape.lat_deg, "real")]
        else:
            numbers.append(argument)
    return numbers


def _constants(numbers: list[Expression]) -> list[float] | None:
    values = [n.value for n in numbers if isinstance(n, Literal)]
    floats = [float(v) for v in values if isinstance(v, int | float)]
    return floats if len(floats) == len(numbers) else None


def _constant_shape(call: Call, values: list[float]) -> Point | Circle | Polygon:
    text = f"{call.name}({', '.join(f'{value:g}' for value in values[:8])})"
    try:
        if call.name == "CIRCLE":
            lon, lat = _to_icrs(call, text, values[0], values[1])
            return _circle(text, lon, lat, values[2])
        if call.name == "BOX":
            box = box_from(text, [values[0] % 360.0, *values[1:]])
            return _polygon(call, text, [x for vertex in box.vertices for x in vertex])
        if call.name == "POLYGON":
            return _polygon(call, text, values)
        return Point(*_to_icrs(call, text, values[0], values[1]))
    except RegionError as error:
        raise AdqlTypeError(f"{error.args[0]}: {error.args[1]}", *call.at) from None


def _to_icrs(call: Call, text: str, lon: float, lat: float) -> tuple[float, float]:
    check_direction(text, lon % 360.0, lat)
    found = find_icrs(call.frame, lon, lat)
    if found is None:
        raise AdqlUnsupportedError(f"coordinates in {call.frame}; use ICRS", *call.at)
    return found


def _circle(text: str, lon: float, lat: float, radius: float) -> Circle:
    if not 0.0 <= radius <= MAX_RADIUS_DEG:
        raise RegionError(text, f"the radius {radius:g} must lie between 0 and 180 deg")
    return Circle(lon, lat, radius)


def _polygon(call: Call, text: str, values: list[float]) -> Polygon:
    pairs = zip(values[0::2], values[1::2], strict=True)
    numbers = [x for lon, lat in pairs for x in _to_icrs(call, text, lon, lat)]
    return simple_polygon_from(text, numbers)


def make_region(text: str, at: At) -> Constant:
    """REGION('…'): STC-S text."""
    try:
        region = parse_region(text)
        if isinstance(region, Circle):
            shape = _circle(text, region.lon_deg, region.lat_deg, region.radius_deg)
            return Constant(shape)
        if isinstance(region, Polygon):
            return Constant(simple_polygon_from(text, [x for v in region.vertices for x in v]))
    except RegionError as error:
        raise AdqlTypeError(f"REGION {quoted(error.args[0])}: {error.args[1]}", *at) from None
    raise AdqlUnsupportedError("this kind of REGION", *at)


def make_spatial(name: str, a: Geometry, b: Geometry, at: At) -> Spatial | Literal:
    """CONTAINS(a, b) or INTERSECTS(a, b)."""
    if name == "INTERSECTS" and b.kind == "point":
        a, b = b, a
    if b.kind == "point" and a.kind == "region":
        raise AdqlTypeError(
            "CONTAINS(a, b) asks whether a lies in b, and no region lies in a point: "
            "write CONTAINS(POINT(...), region)",
            *at,
        )
    if isinstance(a, Constant) and isinstance(b, Constant):
        test = shape_contains(b.shape, a.shape)
        if name == "INTERSECTS":
            test = shapes_intersect(a.shape, b.shape)
        return Literal(int(test), "integer")
    within = name == "CONTAINS" or a.kind == "point"
    return Spatial("within" if within else "overlap", a, b)


def make_separation(a: Geometry, b: Geometry, at: At) -> Separation | RegionDistance | Literal:
    """DISTANCE of two points (deg); beyond the standard also of a region column and a point."""
    if isinstance(b, Column) and b.kind == "region":
        a, b = b, a
    is_region = isinstance(a, Column) and a.kind == "region"
    if is_region and isinstance(b, PointOf | Constant) and b.kind == "point":
        return RegionDistance(cast(Column, a), b)
    if not isinstance(a, PointOf | Constant) or not isinstance(b, PointOf | Constant):
        raise AdqlTypeError("DISTANCE measures between points, or from a region column", *at)
    if a.kind == "region" or b.kind == "region":
        raise AdqlTypeError("DISTANCE measures between points, or from a region column", *at)
    shapes = [p.shape for p in (a, b) if isinstance(p, Constant)]
    points = [shape for shape in shapes if isinstance(shape, Point)]
    return Literal(distance_deg(*points), "real") if len(points) == 2 else Separation(a, b)


def make_area(region: Geometry, at: At) -> RegionSize | Literal:
    """AREA of a region (deg2)."""
    if isinstance(region, Constant) and not isinstance(region.shape, Point):
        return Literal(area_deg2(region.shape), "real")
    return Literal(0.0, "real") if region.kind == "point" else RegionSize(region)


def make_centroid(region: Geometry, at: At) -> Geometry:
    """CENTROID of a geometry."""
    if isinstance(region, Constant) and not isinstance(region.shape, Point):
        return Constant(centroid(region.shape))
    if isinstance(region, CircleOf):
        return PointOf(region.lon, region.lat)
    if region.kind == "point":
        return region
    return PointOf(CentroidPart(region, 0), CentroidPart(region, 1))


def coordinate(point: Geometry, index: int, at: At) -> Expression:
    """COORD1 (index 0) or COORD2 (1) of a point."""
    if isinstance(point, PointOf):
        return (point.lon, point.lat)[index]
    if isinstance(point, Constant) and isinstance(point.shape, Point):
        return Literal((point.shape.lon_deg, point.shape.lat_deg)[index], "real")
    raise AdqlTypeError(f"COORD{index + 1} takes a point", *at)


def is_geometry(expression: Expression) -> bool:
    """Whether the value is a point or a region."""
    return expression.kind in ("point", "region")


def as_geometry(expression: Expression, what: str, at: At) -> Geometry:
    """The expression as a geometry; AdqlTypeError if it is none."""
    if isinstance(expression, Column) and expression.kind == "point":
        return _point_of(expression)
    if isinstance(expression, Column) and is_geometry(expression):
        if not expression.is_stored and expression.field.datatype == "double":
            way = "DISTINCT, GROUP BY or a set operator"
            raise AdqlUnsupportedError(f"{what} of a region that has passed {way}", *at)
        return expression
    if isinstance(expression, PointOf | CircleOf | PolygonOf | BoxOf | Constant):
        return expression
    raise AdqlTypeError(f"{what} takes geometries", *at)


def _point_of(point: Column) -> PointOf:
    lon, lat = (
        replace(point, field=Field(name=name, kind="real", datatype="double"))
        for name in point_columns(point.field.physical)
    )
    return PointOf(lon, lat)
