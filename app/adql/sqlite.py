"""The SQL of SQLite, with the functions of :mod:`app.adql.sqlite_functions`."""

from __future__ import annotations

from collections.abc import Sequence

from app.adql import typed
from app.adql.geometry import region_index
from app.adql.sqlite_functions import MATHEMATICS, mathematics_name
from app.adql.typed import Expression
from app.adql.writer import SqlWriter
from app.sky.boxes import box_of
from app.sky.dali import format_shape
from app.sky.shapes import Circle, Point

_BAND_MARGIN_DEG = 1e-6

# 53 random bits: random() has 64, of which the sign takes one.
_RANDOM = "(((random() >> 11) + 4503599627370496) / 9007199254740992.0)"

_GLOB = (("[", "[[]"), ("*", "[*]"), ("?", "[?]"), ("%", "*"), ("_", "?"))
"""LIKE's pattern as GLOB's, which heeds case: first its own signs, then the wildcards."""


class SqliteWriter(SqlWriter):
    """Writes for SQLite 3.39 and later."""

    def shown(self, expression: Expression) -> str:
        sql = self.value(expression)
        arithmetic = isinstance(expression, typed.Arithmetic | typed.Negative)
        return f"adql_integer({sql})" if arithmetic and expression.kind == "integer" else sql

    def ordered(self, expression: Expression) -> str:
        return self.value(expression)

    def literal(self, literal: typed.Literal) -> str:
        return "NULL" if literal.value is None else self.bind(literal.value)

    def arithmetic(self, chain: typed.Arithmetic) -> str:
        sql = self.value(chain.first)
        for operator, operand in chain.rest:
            right = self.value(operand)
            sql += f" / NULLIF({right}, 0)" if operator == "/" else f" {operator} {right}"
        return f"({sql})"

    def function(self, function: typed.Function) -> str:
        name = function.name
        arguments = [self.value(argument) for argument in function.arguments]
        if name == "RAND":
            return _RANDOM
        if name == "MOD" and function.kind == "integer":
            return f"({arguments[0]} % NULLIF({arguments[1]}, 0))"
        if name == "COALESCE" and len(arguments) == 1:
            return arguments[0]
        if (name, len(arguments)) in MATHEMATICS:
            name = mathematics_name(name)
        return f"{name}({', '.join(arguments)})"

    def aggregate(self, aggregate: typed.Aggregate) -> str:
        if aggregate.argument is None:
            return "COUNT(*)"
        distinct = "DISTINCT " if aggregate.distinct else ""
        return f"{aggregate.name}({distinct}{self.value(aggregate.argument)})"

    def like(self, like: typed.Like) -> str:
        operand = self.value(like.operand)
        if isinstance(like.pattern, typed.Literal) and isinstance(like.pattern.value, str):
            pattern = self.bind(_glob(like.pattern.value))
        else:
            pattern = self.value(like.pattern)
            for sign, replacement in _GLOB:
                pattern = f"replace({pattern}, '{sign}', '{replacement}')"
        if like.folded:
            operand, pattern = f"lower({operand})", f"lower({pattern})"
        return f"({operand} GLOB {pattern})"

    def shape_text(self, numbers: Sequence[Expression]) -> str:
        return f"adql_degrees_text({', '.join(map(self.value, numbers))})"

    def constant_text(self, constant: typed.Constant) -> str:
        return self.bind(format_shape(constant.shape))

    def spatial_value(self, spatial: typed.Spatial) -> str:
        if spatial.relation == "overlap":
            pair = f"{self._region(spatial.inner)}, {self._region(spatial.outer)}"
            return f"adql_regions_overlap({pair})"
        if spatial.inner.kind == "region":
            pair = f"{self._region(spatial.inner)}, {self._region(spatial.outer)}"
            return f"adql_region_in_region({pair})"
        point = ", ".join(self._direction(spatial.inner))
        circle = self._circle(spatial.outer)
        if circle is not None:
            return f"adql_point_in_circle({point}, {', '.join(circle)})"
        return f"adql_point_in_region({point}, {self._region(spatial.outer)})"

    def spatial_test(self, spatial: typed.Spatial, is_positive: bool) -> str:
        exact = f"{self.spatial_value(spatial)} = 1"
        sieve = self._sieve(spatial) if is_positive else None
        return f"({exact})" if sieve is None else f"({sieve} AND {exact})"

    def _sieve(self, spatial: typed.Spatial) -> str | None:
        """A cheap test that every true row passes: the R*Tree, or a band of latitude."""
        inner, outer = spatial.inner, spatial.outer
        for region, other in ((outer, inner), (inner, outer)):
            if isinstance(region, typed.Column) and isinstance(other, typed.Constant):
                return self._box_test(region, other)
        if isinstance(outer, typed.Constant) and isinstance(outer.shape, Circle):
            return self._band(inner, outer.shape.lat_deg, outer.shape.radius_deg)
        return None

    def _box_test(self, column: typed.Column, constant: typed.Constant) -> str:
        box = box_of(constant.shape)
        tests = " AND ".join(
            f"{axis}_min <= {self.bind(high)} AND {axis}_max >= {self.bind(low)}"
            for axis, low, high in (
                ("x", box.x_min, box.x_max),
                ("y", box.y_min, box.y_max),
                ("z", box.z_min, box.z_max),
            )
        )
        index = region_index(column.table.physical)
        row = self.physical(column, "row_id")
        return f'{row} IN (SELECT row_id FROM "{index}" WHERE {tests})'

    def _band(self, point: typed.Geometry, lat_deg: float, radius_deg: float) -> str | None:
        if not (isinstance(point, typed.PointOf) and isinstance(point.lat, typed.Column)):
            return None
        low = self.bind(lat_deg - radius_deg - _BAND_MARGIN_DEG)
        high = self.bind(lat_deg + radius_deg + _BAND_MARGIN_DEG)
        return f"{self.value(point.lat)} BETWEEN {low} AND {high}"

    def separation(self, separation: typed.Separation) -> str:
        start, end = self._direction(separation.start), self._direction(separation.end)
        return f"adql_distance({', '.join((*start, *end))})"

    def region_distance(self, distance: typed.RegionDistance) -> str:
        point = ", ".join(self._direction(distance.point))
        return f"adql_region_distance({point}, {self._region(distance.region)})"

    def cone(self, cone: typed.Cone, is_positive: bool) -> str:
        exact = f"{self.separation(cone.separation)} {cone.operator} {self.value(cone.radius)}"
        sieve = self._cone_band(cone) if is_positive else None
        return f"({exact})" if sieve is None else f"({sieve} AND {exact})"

    def _cone_band(self, cone: typed.Cone) -> str | None:
        radius = cone.radius.value if isinstance(cone.radius, typed.Literal) else None
        if not isinstance(radius, int | float):
            return None
        pair = (cone.separation.start, cone.separation.end)
        for centre, point in (pair, pair[::-1]):
            if isinstance(centre, typed.Constant) and isinstance(centre.shape, Point):
                return self._band(point, centre.shape.lat_deg, float(radius))
        return None

    def region_size(self, size: typed.RegionSize) -> str:
        return f"adql_region_size({self._region(size.region)})"

    def _direction(self, point: typed.Geometry) -> tuple[str, str]:
        if isinstance(point, typed.PointOf):
            return self.value(point.lon), self.value(point.lat)
        assert isinstance(point, typed.Constant) and isinstance(point.shape, Point)
        return self.bind(point.shape.lon_deg), self.bind(point.shape.lat_deg)

    def _circle(self, region: typed.Geometry) -> tuple[str, str, str] | None:
        if isinstance(region, typed.CircleOf):
            return self.value(region.lon), self.value(region.lat), self.value(region.radius)
        if isinstance(region, typed.Constant) and isinstance(region.shape, Circle):
            shape = region.shape
            return self.bind(shape.lon_deg), self.bind(shape.lat_deg), self.bind(shape.radius_deg)
        return None

    def _region(self, region: typed.Geometry) -> str:
        """A region as STC-S text, in full precision."""
        if isinstance(region, typed.Column):
            return self.physical(region)
        if isinstance(region, typed.CircleOf):
            return f"adql_circle_text({', '.join(self._circle(region) or ())})"
        assert isinstance(region, typed.Constant) and not isinstance(region.shape, Point)
        if isinstance(region.shape, Circle):
            shape = region.shape
            return self.bind(
                f"CIRCLE ICRS {shape.lon_deg!r} {shape.lat_deg!r} {shape.radius_deg!r}"
            )
        numbers = " ".join(repr(x) for vertex in region.shape.vertices for x in vertex)
        return self.bind(f"POLYGON ICRS {numbers}")


def _glob(pattern: str) -> str:
    signs = dict(_GLOB)
    return "".join(signs.get(character, character) for character in pattern)
