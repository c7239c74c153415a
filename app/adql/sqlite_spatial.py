"""The geometry of SQLite's SQL, with the functions of :mod:`app.adql.sqlite_geometry`.

An index is asked in the form ``row_id IN (SELECT row_id FROM index WHERE box AND exact test)``:
SQLite walks the R*Tree, decides on the outline that lies in it, and fetches only the rows that
belong to the answer. The form holds in every condition, also of a join, where the box is worked
out from the other table's row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple

from app.adql import typed
from app.adql.spatial_index import (
    IndexUse,
    find_centre_index,
    find_index,
    is_range,
    region_text_column,
    rows_of,
)
from app.adql.sqlite_geometry import MAX_RADIUS_DEG
from app.adql.typed import Expression
from app.adql.writer import SqlWriter
from app.sky.boxes import Box, box_of
from app.sky.dali import format_shape
from app.sky.shapes import Circle, Point, Polygon


class SqliteSpatial(SqlWriter):
    """Writes geometries for SQLite."""

    def shape_text(self, numbers: Sequence[Expression]) -> str:
        return f"adql_degrees_text({', '.join(map(self.value, numbers))})"

    def box_text(self, box: typed.BoxOf) -> str:
        return self._call("adql_box_text", (box.lon, box.lat, box.width, box.height))

    def is_polygon(self, polygon: typed.PolygonOf) -> str:
        return f"{self._outline(polygon, {})} IS NOT NULL"

    def constant_text(self, constant: typed.Constant) -> str:
        return self.bind(format_shape(constant.shape))

    def spatial_value(self, spatial: typed.Spatial) -> str:
        return self._relation(spatial, {})

    def _relation(self, spatial: typed.Spatial, known: dict[typed.Geometry, str]) -> str:
        """1, 0 or NULL; ``known`` geometries have SQL of their own here."""
        if is_range(spatial.outer) or is_range(spatial.inner):
            return self._range_met(spatial, known)
        outer = self._outline(spatial.outer, known)
        if spatial.relation == "within" and spatial.inner.kind == "point":
            point = ", ".join(self._direction(spatial.inner))
            return f"adql_contains_point({outer}, {point})"
        name = "adql_contains" if spatial.relation == "within" else "adql_intersects"
        return f"{name}({outer}, {self._outline(spatial.inner, known)})"

    def _range_met(self, spatial: typed.Spatial, known: dict[typed.Geometry, str]) -> str:
        box, region = spatial.inner, spatial.outer
        if not is_range(box):
            box, region = region, box
        assert isinstance(box, typed.Constant)
        bounds = ", ".join(map(self.bind, astuple(box.shape)))
        return f"adql_meets_range({self._outline(region, known)}, {bounds})"

    def spatial_test(self, spatial: typed.Spatial, is_positive: bool) -> str:
        use = find_index(spatial.outer, spatial.inner) if is_positive else None
        if use is None:
            exact = f"{self.spatial_value(spatial)} = 1"
            return f"({self._centres(spatial)}{exact})" if is_positive else f"({exact})"
        if use.target.kind != "region":
            sieve = self._rows(use, self._sides(use.other))
            return f"({sieve} AND {self.spatial_value(spatial)} = 1)"
        exact = self._relation(spatial, {use.target: "outline"})
        return self._rows(use, f"{self._sides(use.other)} AND {exact}")

    def _centres(self, spatial: typed.Spatial) -> str:
        """What finds the circles around indexed positions that may hold a point."""
        use = find_centre_index(spatial.outer, spatial.inner)
        if use is None or not isinstance(spatial.outer, typed.CircleOf):
            return ""
        return f"{self._rows(use, self._reach(use.other, spatial.outer.radius))} AND "

    def cone(self, cone: typed.Cone, is_positive: bool) -> str:
        exact = f"({self.value(cone.separation)} {cone.operator} {self.compared(cone.radius)})"
        use = self._cone_index(cone) if is_positive else None
        if use is None:
            return exact
        return f"({self._rows(use, self._reach(use.other, cone.radius))} AND {exact})"

    def _reach(self, centre: typed.Geometry, radius: Expression) -> str:
        """The boxes of the index that touch a cone; beyond half a turn it is the whole sky."""
        number = radius.value if isinstance(radius, typed.Literal) else None
        match centre:
            case typed.Constant(Point(lon, lat)) if isinstance(number, int | float) and number >= 0:
                circle = Circle(lon, lat, min(float(number), MAX_RADIUS_DEG))
                return self._touching(box_of(circle))
        reach = f"min({self.value(radius)}, {MAX_RADIUS_DEG})"
        return self._around(f"adql_circle({', '.join((*self._direction(centre), reach))})")

    def _cone_index(self, cone: typed.Cone) -> IndexUse | None:
        separation = cone.separation
        if isinstance(separation, typed.RegionDistance):
            use = find_index(separation.region, separation.point)
        else:
            use = find_index(separation.start, separation.end)
        if use is None or use.target.row in rows_of(cone.radius):
            return None
        return use

    def _rows(self, use: IndexUse, tests: str) -> str:
        row = self.physical(use.target, "row_id")
        return f'{row} IN (SELECT row_id FROM "{use.name}" WHERE {tests})'

    def _sides(self, shape: typed.Geometry) -> str:
        """The boxes of the index that touch the box of a geometry."""
        if isinstance(shape, typed.Constant):
            return self._touching(box_of(shape.shape))
        return self._around(self._outline(shape, {}))

    def _touching(self, box: Box) -> str:
        return _overlap([self.bind(side) for side in astuple(box)])

    def _around(self, outline: str) -> str:
        return _overlap([f"adql_box_side({outline}, {place})" for place in range(6)])

    def separation(self, separation: typed.Separation) -> str:
        start, end = self._direction(separation.start), self._direction(separation.end)
        return f"adql_distance({', '.join((*start, *end))})"

    def region_distance(self, distance: typed.RegionDistance) -> str:
        point = ", ".join(self._direction(distance.point))
        return f"adql_region_distance({self._outline(distance.region, {})}, {point})"

    def region_size(self, size: typed.RegionSize) -> str:
        return f"adql_region_size({self._outline(size.region, {})})"

    def centroid_part(self, part: typed.CentroidPart) -> str:
        return f"adql_centroid({self._outline(part.region, {})}, {part.place})"

    def _direction(self, point: typed.Geometry) -> tuple[str, str]:
        if isinstance(point, typed.PointOf):
            return self.value(point.lon), self.value(point.lat)
        assert isinstance(point, typed.Constant) and isinstance(point.shape, Point)
        return self.bind(point.shape.lon_deg), self.bind(point.shape.lat_deg)

    def _outline(self, shape: typed.Geometry, known: dict[typed.Geometry, str]) -> str:
        """A geometry as the functions take it: an outline, or STC-S text."""
        if isinstance(shape, typed.Column):
            text = self.physical(shape, region_text_column(shape.field))
            return known.get(shape, text)
        if isinstance(shape, typed.Constant) and not isinstance(shape.shape, Point):
            assert isinstance(shape.shape, Circle | Polygon)
            return f"adql_outline({self.bind(_stcs(shape.shape))})"
        if isinstance(shape, typed.CircleOf):
            numbers = ", ".join(map(self.value, (shape.lon, shape.lat)))
            radius = self.value(shape.radius)
            return f"adql_circle({numbers}, CASE WHEN {radius} <= 90 THEN {radius} END)"
        if isinstance(shape, typed.BoxOf):
            return self._call("adql_box", (shape.lon, shape.lat, shape.width, shape.height))
        if isinstance(shape, typed.PolygonOf):
            return self._call("adql_polygon", shape.coordinates)
        return f"adql_point({', '.join(self._direction(shape))})"

    def _call(self, name: str, arguments: Sequence[Expression]) -> str:
        return f"{name}({', '.join(map(self.value, arguments))})"


def _overlap(sides: Sequence[str]) -> str:
    """``sides``: x_min, x_max … z_max."""
    return " AND ".join(
        f"{axis}_min <= {sides[2 * place + 1]} AND {axis}_max >= {sides[2 * place]}"
        for place, axis in enumerate("xyz")
    )


def _stcs(shape: Circle | Polygon) -> str:
    """STC-S text in full precision."""
    if isinstance(shape, Circle):
        return f"CIRCLE ICRS {shape.lon_deg!r} {shape.lat_deg!r} {shape.radius_deg!r}"
    return f"POLYGON ICRS {' '.join(repr(x) for vertex in shape.vertices for x in vertex)}"
