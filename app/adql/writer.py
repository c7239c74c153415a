"""What the SQL of both engines has in common.

Statements hold our own words, numbered aliases (``t1``), quoted names of the catalog and binds;
nothing of the user's text gets in.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence

from app.adql import typed
from app.adql.casts import cast_sql
from app.adql.dispatch import Dispatch
from app.adql.kinds import ValueKind
from app.adql.statements import StatementWriter
from app.adql.typed import Expression
from app.errors import LimitError

Bound = str | int | float

_MAX_BINDS = 30_000
_BALANCED = 32

_VALUES = Dispatch()
_CONDITIONS = Dispatch()


class SqlWriter(StatementWriter):
    """Writes one typed query. A dialect says how its values and tests look."""

    def __init__(self, prefixes: Mapping[str, str]) -> None:
        super().__init__()
        self.binds: dict[str, Bound] = {}
        self._names: dict[tuple[type, Bound], str] = {}
        self._prefixes = prefixes

    def bind(self, value: Bound) -> str:
        """The placeholder of a value; equal values share one."""
        key = (type(value), value)
        if key not in self._names:
            if len(self.binds) >= _MAX_BINDS:
                raise LimitError("constants in a query", f"more than {_MAX_BINDS}", _MAX_BINDS)
            name = f"p{len(self._names) + 1}"
            self._names[key] = name
            self.binds[name] = value
        return f":{self._names[key]}"

    def prefix(self, name: str) -> str:
        """The placeholder of a prefix that the caller supplies."""
        self.binds[name] = self._prefixes.get(name, "")
        return f":{name}"

    def value(self, expression: Expression) -> str:
        """SQL of a value."""
        sql: str = _VALUES.methods[type(expression)](self, expression)
        return sql

    @_VALUES.register
    def _(self, expression: typed.Column) -> str:
        return self.column(expression)

    @_VALUES.register
    def _(self, expression: typed.Literal) -> str:
        return self.literal(expression)

    @_VALUES.register
    def _(self, expression: typed.Negative) -> str:
        return f"(- {self.operand(expression.operand)})"

    @_VALUES.register
    def _(self, expression: typed.Arithmetic) -> str:
        return self.arithmetic(expression)

    @_VALUES.register
    def _(self, expression: typed.Concatenation) -> str:
        return "(" + " || ".join(map(self.text, expression.parts)) + ")"

    @_VALUES.register
    def _(self, expression: typed.Function) -> str:
        return self.bounded(self.function(expression))

    @_VALUES.register
    def _(self, expression: typed.Cast) -> str:
        return self.bounded(cast_sql(expression, self.shown(expression.operand)))

    @_VALUES.register
    def _(self, expression: typed.InUnit) -> str:
        return self.value(expression.converted)

    @_VALUES.register
    def _(self, expression: typed.Aggregate) -> str:
        return self.aggregate(expression)

    @_VALUES.register
    def _(self, expression: typed.PointOf) -> str:
        return self._shape_text((expression.lon, expression.lat))

    @_VALUES.register
    def _(self, expression: typed.CircleOf) -> str:
        valid = f"{self.real(expression.radius)} BETWEEN 0 AND 90"
        return self._shape_text((expression.lon, expression.lat, expression.radius), valid)

    @_VALUES.register
    def _(self, expression: typed.PolygonOf) -> str:
        return self._shape_text(expression.coordinates, self.is_polygon(expression))

    @_VALUES.register
    def _(self, expression: typed.BoxOf) -> str:
        return self.bounded(self.box_text(expression))

    def _shape_text(self, numbers: Sequence[Expression], *tests: str) -> str:
        """DALI text; NULL where the second number is no latitude or a test fails."""
        tests = (f"{self.real(numbers[1])} BETWEEN -90 AND 90", *tests)
        text = self.shape_text(numbers)
        return self.bounded(f"(CASE WHEN {' AND '.join(tests)} THEN {text} END)")

    @_VALUES.register
    def _(self, expression: typed.Constant) -> str:
        return self.constant_text(expression)

    @_VALUES.register
    def _(self, expression: typed.Spatial) -> str:
        return self.bounded(self.spatial_value(expression))

    @_VALUES.register
    def _(self, expression: typed.Separation) -> str:
        return self.separation(expression)

    @_VALUES.register
    def _(self, expression: typed.RegionSize) -> str:
        return self.region_size(expression)

    @_VALUES.register
    def _(self, expression: typed.RegionDistance) -> str:
        return self.region_distance(expression)

    @_VALUES.register
    def _(self, expression: typed.CentroidPart) -> str:
        return self.bounded(self.centroid_part(expression))

    @_VALUES.register
    def _(self, expression: typed.ScalarQuery) -> str:
        return self.scalar(expression.query)

    @_VALUES.register
    def _(self, expression: typed.Converted) -> str:
        return self.as_kind(expression.operand, expression.kind)

    @_VALUES.register
    def _(self, expression: typed.Case) -> str:
        return self._case(expression, "", [self.condition(t, True) for t, _ in expression.branches])

    @_VALUES.register
    def _(self, expression: typed.CentroidPart) -> str:
        return self.bounded(self.centroid_part(expression))

    @_VALUES.register
    def _(self, expression: typed.Switch) -> str:
        operand = f"{self.compared(expression.operand)} "
        return self._case(expression, operand, [self.compared(t) for t, _ in expression.branches])

    def _case(self, case: typed.Case | typed.Switch, operand: str, tests: list[str]) -> str:
        values = [self.as_kind(value, case.kind) for _, value in case.branches]
        pairs = zip(tests, values, strict=True)
        branches = " ".join(f"WHEN {test} THEN {value}" for test, value in pairs)
        if case.default is not None:
            branches += f" ELSE {self.as_kind(case.default, case.kind)}"
        return self.bounded(f"(CASE {operand}{branches} END)")

    def condition(self, condition: typed.Condition, is_positive: bool) -> str:
        """SQL of a condition. ``is_positive``: no NOT stands above, so that only the rows for
        which it is true matter, and whether others give false or NULL does not."""
        sql: str = _CONDITIONS.methods[type(condition)](self, condition, is_positive)
        return sql

    @_CONDITIONS.register
    def _(self, condition: typed.Junction, is_positive: bool) -> str:
        terms = [self.condition(term, is_positive) for term in condition.terms]
        return _balanced(terms, condition.word)

    @_CONDITIONS.register
    def _(self, condition: typed.Not, is_positive: bool) -> str:
        inner = condition.term
        if isinstance(inner, typed.IsNull):
            return f"({self.value(inner.operand)} IS NOT NULL)"
        return f"(NOT {self.condition(inner, False)})"

    @_CONDITIONS.register
    def _(self, condition: typed.Comparison, is_positive: bool) -> str:
        left, right = self.compared(condition.left), self.compared(condition.right)
        if condition.operator not in ("=", "<>"):
            left = self.ordered(condition.left)
        return f"({left} {condition.operator} {right})"

    @_CONDITIONS.register
    def _(self, condition: typed.Between, is_positive: bool) -> str:
        operand = self.ordered(condition.operand)
        low, high = self.compared(condition.low), self.compared(condition.high)
        return f"({operand} BETWEEN {low} AND {high})"

    @_CONDITIONS.register
    def _(self, condition: typed.InList, is_positive: bool) -> str:
        items = ", ".join(map(self.compared, condition.items))
        return f"({self.compared(condition.operand)} IN ({items}))"

    @_CONDITIONS.register
    def _(self, condition: typed.InQuery, is_positive: bool) -> str:
        return f"({self.compared(condition.operand)} IN ({self.subquery(condition.query)}))"

    @_CONDITIONS.register
    def _(self, condition: typed.Exists, is_positive: bool) -> str:
        return f"EXISTS ({self.subquery(condition.query)})"

    @_CONDITIONS.register
    def _(self, condition: typed.IsNull, is_positive: bool) -> str:
        return f"({self.value(condition.operand)} IS NULL)"

    @_CONDITIONS.register
    def _(self, condition: typed.Like, is_positive: bool) -> str:
        return self.like(condition)

    @_CONDITIONS.register
    def _(self, condition: typed.SpatialTest, is_positive: bool) -> str:
        return self.spatial_test(condition.spatial, is_positive)

    @_CONDITIONS.register
    def _(self, condition: typed.Cone, is_positive: bool) -> str:
        return self.cone(condition, is_positive)

    def text(self, expression: Expression) -> str:
        """A value where a string must stand."""
        return self.value(expression)

    def compared(self, expression: Expression) -> str:
        """A value beside a comparison."""
        return self.value(expression)

    def real(self, expression: Expression) -> str:
        """A number as double precision."""
        return self.value(expression)

    def operand(self, expression: Expression) -> str:
        """A value beside a sign of arithmetic."""
        return self.value(expression)

    def column(self, column: typed.Column) -> str:
        """A column; values that begin with a slash leave with their prefix."""
        if column.field.prefix_bind is None:
            return self.physical(column)
        stored = self.physical(column)
        whole = f"{self.prefix(column.field.prefix_bind)} || {stored}"
        return f"(CASE WHEN substr({stored}, 1, 1) = '/' THEN {whole} ELSE {stored} END)"

    def as_kind(self, expression: Expression, kind: ValueKind) -> str:
        """A value that shares a column with others of a kind."""
        if kind == "real":
            return self.real(expression)
        return self.text(expression) if kind in ("text", "timestamp") else self.shown(expression)

    @abstractmethod
    def literal(self, literal: typed.Literal) -> str:
        """A constant."""

    @abstractmethod
    def arithmetic(self, chain: typed.Arithmetic) -> str:
        """A chain of + - * /."""

    @abstractmethod
    def function(self, function: typed.Function) -> str:
        """A function; NULL outside its domain."""

    @abstractmethod
    def aggregate(self, aggregate: typed.Aggregate) -> str:
        """An aggregate."""

    @abstractmethod
    def like(self, like: typed.Like) -> str:
        """LIKE, which heeds case, or ILIKE, which folds a to z."""

    @abstractmethod
    def shape_text(self, numbers: Sequence[Expression]) -> str:
        """DALI text of a geometry."""

    @abstractmethod
    def box_text(self, box: typed.BoxOf) -> str:
        """DALI text of a box as a polygon; NULL for none."""

    @abstractmethod
    def is_polygon(self, polygon: typed.PolygonOf) -> str:
        """Whether the numbers make a polygon."""

    @abstractmethod
    def constant_text(self, constant: typed.Constant) -> str:
        """DALI text of a constant geometry."""

    @abstractmethod
    def spatial_value(self, spatial: typed.Spatial) -> str:
        """1, 0 or NULL."""

    @abstractmethod
    def spatial_test(self, spatial: typed.Spatial, is_positive: bool) -> str:
        """A spatial relation as a condition."""

    @abstractmethod
    def separation(self, separation: typed.Separation) -> str:
        """A distance in degrees."""

    @abstractmethod
    def region_distance(self, distance: typed.RegionDistance) -> str:
        """A distance in degrees from a region column."""

    @abstractmethod
    def cone(self, cone: typed.Cone, is_positive: bool) -> str:
        """``distance < radius`` as a condition."""

    @abstractmethod
    def centroid_part(self, part: typed.CentroidPart) -> str:
        """A coordinate (deg) of the centre of mass of a region's surface."""

    @abstractmethod
    def region_size(self, size: typed.RegionSize) -> str:
        """A surface in square degrees."""


def _balanced(terms: Sequence[str], word: str) -> str:
    """The terms joined; long lists as a tree, since SQLite bounds the depth of expressions."""
    if len(terms) <= _BALANCED:
        return "(" + f" {word} ".join(terms) + ")"
    middle = len(terms) // 2
    return f"({_balanced(terms[:middle], word)} {word} {_balanced(terms[middle:], word)})"
