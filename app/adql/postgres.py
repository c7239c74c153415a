"""The SQL of PostgreSQL 15 with pgSphere 1.1.

PostgreSQL raises where SQLite gives NULL; every partial function is therefore written with its
domain around it. Whole numbers are reckoned as ``numeric`` and brought back to ``bigint`` at the
end, so that no step of a formula can overflow.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from app.adql import typed
from app.adql.geometry import region_polygon_column
from app.adql.region_distance import region_distance
from app.adql.sqlite_functions import MAX_RADIUS_DEG
from app.adql.typed import Expression
from app.adql.writer import SqlWriter
from app.sky.dali import format_shape
from app.sky.shapes import Circle, Point, Polygon

_WHOLE = "BETWEEN -9223372036854775807 AND 9223372036854775807"
_EXP_MAX = "709.782712893384"
_EXP_MIN = "-745.2"

_TYPES: Final = {int: "bigint", float: "double precision", str: "text"}

_DOMAINS: Final[dict[str, str]] = {
    "ACOS": "CASE WHEN {0} BETWEEN -1 AND 1 THEN acos({0}) END",
    "ASIN": "CASE WHEN {0} BETWEEN -1 AND 1 THEN asin({0}) END",
    "EXP": (
        f"CASE WHEN {{0}} > {_EXP_MAX} THEN NULL WHEN {{0}} < {_EXP_MIN} THEN 0 ELSE exp({{0}}) END"
    ),
    "LOG": "CASE WHEN {0} > 0 THEN ln({0}) END",
    "LOG10": "CASE WHEN {0} > 0 THEN log({0}) END",
    "POWER": (
        "CASE WHEN {0} = 0 THEN CASE WHEN {1} = 0 THEN 1 WHEN {1} > 0 THEN 0 END"
        " WHEN {0} < 0 AND {1} <> trunc({1}) THEN NULL"
        f" WHEN {{1}} * ln(abs({{0}})) > {_EXP_MAX} THEN NULL"
        f" WHEN {{1}} * ln(abs({{0}})) < {_EXP_MIN} THEN 0"
        " ELSE power({0}, {1}) END"
    ),
    "SQRT": "CASE WHEN {0} >= 0 THEN sqrt({0}) END",
}
"""Functions that raise outside their domain; their arguments are written more than once."""

_TOTAL: Final[dict[str, str]] = {
    "ATAN": "atan({0})",
    "ATAN2": "atan2({0}, {1})",
    "CEILING": "ceil({0})",
    "COS": "cos({0})",
    "COT": "(1 / NULLIF(tan({0}), 0))",
    "DEGREES": "degrees({0})",
    "FLOOR": "floor({0})",
    "RADIANS": "radians({0})",
    "SIN": "sin({0})",
    "TAN": "tan({0})",
}

_NUMERIC: Final[dict[str, str]] = {
    "MOD": "mod({0}, NULLIF({1}, 0))",
    "ROUND": "round({0}, {1})",
    "TRUNCATE": "trunc({0}, {1})",
}
"""Functions that PostgreSQL offers for numeric only."""


class PostgresWriter(SqlWriter):
    """Writes for PostgreSQL."""

    def shown(self, expression: Expression) -> str:
        sql = self.value(expression)
        if expression.kind == "null":
            return f"CAST({sql} AS text)"
        if expression.kind != "integer" or not _is_numeric(expression):
            return sql
        return self.bounded(f"CASE WHEN {sql} {_WHOLE} THEN CAST({sql} AS bigint) END")

    def ordered(self, expression: Expression) -> str:
        sql = self.compared(expression)
        # The text columns of the store carry the collation already, and their indexes with it.
        plain = isinstance(expression, typed.Column) or expression.kind not in ("text", "timestamp")
        return sql if plain else f'({sql}) COLLATE "C"'

    def literal(self, literal: typed.Literal) -> str:
        if literal.value is None:
            kinds = {"integer": "bigint", "real": "double precision", "text": "text"}
            return f"CAST(NULL AS {kinds[literal.kind]})" if literal.kind in kinds else "NULL"
        return f"CAST({self.bind(literal.value)} AS {_TYPES[type(literal.value)]})"

    def prefix(self, name: str) -> str:
        return f"CAST({super().prefix(name)} AS text)"

    def text(self, expression: Expression) -> str:
        return "CAST(NULL AS text)" if expression.kind == "null" else self.value(expression)

    def operand(self, expression: Expression) -> str:
        return self._numeric(expression) if expression.kind == "integer" else self.real(expression)

    def arithmetic(self, chain: typed.Arithmetic) -> str:
        whole = chain.first.kind == "integer"
        sql = self.operand(chain.first)
        for operator, operand in chain.rest:
            both = whole and operand.kind == "integer"
            if whole and not both:
                sql = f"CAST(({sql}) AS double precision)"
            right = self._numeric(operand) if both else self.real(operand)
            whole = both
            if operator != "/":
                sql += f" {operator} {right}"
            elif both:
                sql = f"div({sql}, NULLIF({right}, 0))"
            else:
                sql += f" / NULLIF({right}, 0)"
            sql = f"({sql})"
        return sql

    def real(self, expression: Expression) -> str:
        """A number as double precision."""
        if expression.kind == "null":
            return "CAST(NULL AS double precision)"
        sql = self.value(expression)
        return sql if expression.kind == "real" else f"CAST({sql} AS double precision)"

    def _numeric(self, expression: Expression) -> str:
        """A whole number as numeric."""
        sql = self.value(expression)
        return sql if _is_numeric(expression) else f"CAST({sql} AS numeric)"

    def function(self, function: typed.Function) -> str:
        name, arguments = function.name, function.arguments
        if name in _DOMAINS:
            return "(" + _DOMAINS[name].format(*map(self.real, arguments)) + ")"
        if name in _TOTAL:
            return _TOTAL[name].format(*map(self.real, arguments))
        if name in _NUMERIC:
            return self._numeric_function(function)
        writers: dict[str, Callable[[typed.Function], str]] = {
            "ABS": lambda f: f"abs({self.operand(f.arguments[0])})",
            "COALESCE": self._coalesce,
            "LOWER": lambda f: f'lower({self.text(f.arguments[0])} COLLATE "C")',
            "RAND": lambda f: "random()",
            "UPPER": lambda f: f'upper({self.text(f.arguments[0])} COLLATE "C")',
        }
        return writers[name](function)

    def _numeric_function(self, function: typed.Function) -> str:
        name, first = function.name, function.arguments[0]
        if name == "MOD" and function.kind == "integer":
            pair = map(self._numeric, function.arguments)
            return _NUMERIC[name].format(*pair)
        if name == "MOD":
            second = f"CAST({self.real(function.arguments[1])} AS numeric)"
        else:
            places = function.arguments[-1] if len(function.arguments) == 2 else None
            second = f"{places.value:d}" if isinstance(places, typed.Literal) else "0"
        inner = _NUMERIC[name].format(f"CAST({self.real(first)} AS numeric)", second)
        return f"CAST({inner} AS double precision)"

    def _coalesce(self, function: typed.Function) -> str:
        writers: dict[str, Callable[[Expression], str]] = {
            "integer": self._numeric if _is_numeric(function) else self.value,
            "real": self.real,
            "text": self.text,
        }
        write = writers.get(function.kind, self.value)
        return f"COALESCE({', '.join(map(write, function.arguments))})"

    def aggregate(self, aggregate: typed.Aggregate) -> str:
        argument = aggregate.argument
        if argument is None:
            return "count(*)"
        distinct = "DISTINCT " if aggregate.distinct else ""
        sql = distinct + (self.real(argument) if argument.kind == "null" else self.value(argument))
        if aggregate.name == "AVG" and argument.kind == "integer":
            return f"(CAST(sum({sql}) AS double precision) / NULLIF(count({sql}), 0))"
        if aggregate.name in ("MIN", "MAX") and argument.kind in ("text", "timestamp"):
            sql = distinct + self.ordered(argument)
        return f"{aggregate.name.lower()}({sql})"

    def like(self, like: typed.Like) -> str:
        operand, pattern = self.text(like.operand), self.text(like.pattern)
        if like.folded:
            operand, pattern = f'lower({operand} COLLATE "C")', f'lower({pattern} COLLATE "C")'
        return f"({operand} LIKE {pattern} ESCAPE '')"

    def shape_text(self, numbers: Sequence[Expression]) -> str:
        texts = [
            f"CAST(trim_scale(round(CAST({self.real(number)} AS numeric), 10)) AS text)"
            for number in numbers
        ]
        return "(" + " || ' ' || ".join(texts) + ")"

    def constant_text(self, constant: typed.Constant) -> str:
        return f"CAST({self.bind(format_shape(constant.shape))} AS text)"

    def spatial_value(self, spatial: typed.Spatial) -> str:
        test = self.spatial_test(spatial, False)
        return f"(CASE WHEN {test} THEN 1 WHEN NOT {test} THEN 0 END)"

    def spatial_test(self, spatial: typed.Spatial, is_positive: bool) -> str:
        operator = "<@" if spatial.relation == "within" else "&&"
        return f"({self._shape(spatial.inner)} {operator} {self._shape(spatial.outer)})"

    def separation(self, separation: typed.Separation) -> str:
        """The formula of :func:`app.sky.predicates.great_circle_deg`, sign for sign, since
        pgSphere's own loses digits at small distances. OFFSET 0 keeps the planner from merging
        the steps, which would write the arguments out many times over."""
        lon1, lat1 = self._direction(separation.start)
        lon2, lat2 = self._direction(separation.end)
        angles = (
            f"SELECT radians({lat1}) AS b1, radians({lat2}) AS b2,"
            f" radians({lon2}) - radians({lon1}) AS d OFFSET 0"
        )
        parts = (
            "SELECT cos(b2) * sin(d) AS e,"
            " cos(b1) * sin(b2) - sin(b1) * cos(b2) * cos(d) AS n,"
            " sin(b1) * sin(b2) + cos(b1) * cos(b2) * cos(d) AS u"
            f" FROM ({angles}) AS g OFFSET 0"
        )
        return f"(SELECT degrees(atan2(sqrt(e * e + n * n), u)) FROM ({parts}) AS h)"

    def region_distance(self, distance: typed.RegionDistance) -> str:
        lon, lat = self._direction(distance.point)
        inside = f"{self._shape(distance.point)} <@ {self._shape(distance.region)}"
        text = self.physical(distance.region)
        return region_distance(inside=inside, text=text, lon=lon, lat=lat)

    def cone(self, cone: typed.Cone, is_positive: bool) -> str:
        exact = f"{self.separation(cone.separation)} {cone.operator} {self.compared(cone.radius)}"
        radius = cone.radius.value if isinstance(cone.radius, typed.Literal) else None
        if not isinstance(radius, int | float) or not 0 <= radius <= MAX_RADIUS_DEG:
            return f"({exact})"
        centre, point = cone.separation.end, cone.separation.start
        if isinstance(point, typed.Constant):
            centre, point = point, centre
        circle = f"scircle({self._shape(centre)}, radians({self._double(float(radius))}))"
        return f"({self._shape(point)} <@ {circle} AND {exact})"

    def region_size(self, size: typed.RegionSize) -> str:
        return f"(area({self._shape(size.region)}) * {(180 / 3.141592653589793) ** 2!r})"

    def _double(self, value: float) -> str:
        return f"CAST({self.bind(value)} AS double precision)"

    def _direction(self, point: typed.Geometry) -> tuple[str, str]:
        if isinstance(point, typed.PointOf):
            return self.real(point.lon), self.real(point.lat)
        assert isinstance(point, typed.Constant) and isinstance(point.shape, Point)
        return self._double(point.shape.lon_deg), self._double(point.shape.lat_deg)

    def _shape(self, shape: typed.Geometry) -> str:
        """A geometry of pgSphere."""
        if isinstance(shape, typed.Column):
            return self.physical(shape, region_polygon_column(shape.field.name))
        if shape.kind == "point":
            return "spoint(radians({}), radians({}))".format(*self._direction(shape))
        if isinstance(shape, typed.CircleOf):
            centre = self._shape(typed.PointOf(shape.lon, shape.lat))
            radius = self.real(shape.radius)
            domain = f"CASE WHEN {radius} BETWEEN 0 AND 90 THEN radians({radius}) END"
            return f"scircle({centre}, {domain})"
        assert isinstance(shape, typed.Constant)
        if isinstance(shape.shape, Circle):
            centre = self._shape(typed.Constant(Point(shape.shape.lon_deg, shape.shape.lat_deg)))
            return f"scircle({centre}, radians({self._double(shape.shape.radius_deg)}))"
        assert isinstance(shape.shape, Polygon)
        return f"CAST({self.bind(spoly_text(shape.shape))} AS spoly)"


def spoly_text(polygon: Polygon) -> str:
    """pgSphere's text of a polygon."""
    vertices = ",".join(f"({lon:.14f}d,{lat:.14f}d)" for lon, lat in polygon.vertices)
    return f"{{{vertices}}}"


def _is_numeric(expression: Expression) -> bool:
    """Whether the SQL of a whole number has the type numeric rather than bigint."""
    if isinstance(expression, typed.Arithmetic | typed.Negative):
        return True
    if isinstance(expression, typed.Aggregate):
        if expression.name == "SUM":
            return True
        argument = expression.argument
        return expression.name != "COUNT" and argument is not None and _is_numeric(argument)
    if isinstance(expression, typed.Function):
        if expression.name == "COALESCE":
            return any(map(_is_numeric, expression.arguments))
        return expression.name in ("ABS", "MOD")
    return False
