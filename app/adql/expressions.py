"""Values and conditions of the syntax tree, typed in a scope."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import singledispatchmethod
from typing import Literal as Word
from typing import cast

from app.adql import tree, typed
from app.adql.folding import fold
from app.adql.functions import make_function
from app.adql.geometry import (
    as_geometry,
    coordinate,
    is_geometry,
    make_area,
    make_centroid,
    make_region,
    make_separation,
    make_shape,
    make_spatial,
)
from app.adql.kinds import (
    ValueKind,
    are_comparable,
    common_kind,
    describe,
    is_number,
    is_text,
)
from app.adql.scope import Scope
from app.adql.words import GEOMETRY
from app.errors import AdqlTypeError, AdqlUnsupportedError, LimitError, UnknownNameError

_MAX_TERMS = 500
"""SQLite refuses expressions deeper than 1000, and a chain is as deep as it is long."""

_MIRRORED: dict[str, str] = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}


class Resolver:
    """Types expressions and conditions.

    ``aliases`` are names of output columns, lower-case, that may be used where no column has
    them. ``aggregates`` says why an aggregate may not stand here; empty where it may.
    """

    def __init__(
        self,
        scope: Scope,
        *,
        aliases: Mapping[str, typed.Expression] | None = None,
        no_aggregates: str = "",
    ) -> None:
        self._scope = scope
        self._aliases = aliases or {}
        self._no_aggregates = no_aggregates

    @singledispatchmethod
    def value(self, value: tree.Value) -> typed.Expression:
        """The typed expression. Raises AdqlError with the position of the fault."""
        raise AssertionError(f"no rule for {type(value).__name__}")

    @value.register
    def _(self, value: tree.ColumnRef) -> typed.Expression:
        found = self._scope.find_column(value.parts)
        if found is None and len(value.parts) == 1:
            found = self._aliases.get(value.parts[0].text.lower())
        return found if found is not None else self._scope.get_column(value.parts)

    @value.register
    def _(self, value: tree.Number) -> typed.Expression:
        kind: ValueKind = "integer" if isinstance(value.value, int) else "real"
        return typed.Literal(value.value, kind)

    @value.register
    def _(self, value: tree.String) -> typed.Expression:
        if "\x00" in value.value:
            raise AdqlTypeError("a string cannot hold the character NUL", *value.at)
        return typed.Literal(value.value, "text")

    @value.register
    def _(self, value: tree.Null) -> typed.Expression:
        return typed.Literal(None, "null")

    @value.register
    def _(self, value: tree.Signed) -> typed.Expression:
        return fold(typed.Negative(self._number(value.operand)))

    @value.register
    def _(self, value: tree.Chain) -> typed.Expression:
        _check_length(len(value.rest) + 1)
        first = self._number(value.first)
        rest = tuple((operator, self._number(operand)) for operator, operand in value.rest)
        kinds: list[ValueKind] = [first.kind, *(operand.kind for _, operand in rest)]
        return fold(typed.Arithmetic(first, rest, common_kind(kinds)))

    @value.register
    def _(self, value: tree.Concatenation) -> typed.Expression:
        _check_length(len(value.parts))
        return typed.Concatenation(tuple(self._text(part) for part in value.parts))

    @value.register
    def _(self, value: tree.Aggregate) -> typed.Expression:
        if self._no_aggregates:
            raise AdqlTypeError(f"{value.name} {self._no_aggregates}", *value.at)
        if value.argument is None:
            return typed.Aggregate("COUNT", False, None, "integer")
        inner = Resolver(self._scope, no_aggregates="may not stand inside another aggregate")
        argument = inner.value(value.argument)
        kind: ValueKind = "integer"
        if value.name in ("SUM", "AVG"):
            self._require(is_number(argument.kind), f"{value.name} takes a number", value.argument)
            kind = "real" if value.name == "AVG" else argument.kind
        elif value.name in ("MIN", "MAX"):
            plain = not is_geometry(argument)
            self._require(plain, f"{value.name} takes no geometry", value.argument)
            kind = argument.kind
        return typed.Aggregate(value.name, value.distinct, argument, kind)

    @value.register
    def _(self, value: tree.Cast) -> typed.Expression:
        raise AdqlUnsupportedError("CAST is not offered yet", *value.at)

    @value.register
    def _(self, value: tree.Call) -> typed.Expression:
        if not value.reserved:
            raise UnknownNameError(f"no function {value.name}", *value.at)
        if value.name in GEOMETRY:
            return self._geometry(value)
        arguments = tuple(self.value(argument) for argument in value.arguments)
        return fold(make_function(value, arguments))

    def _geometry(self, call: tree.Call) -> typed.Expression:
        if call.name == "REGION":
            return make_region(cast(tree.String, call.arguments[0]).value, call.at)
        arguments = [self.value(argument) for argument in call.arguments]
        if call.name in ("POINT", "CIRCLE", "BOX", "POLYGON"):
            self._check_shape(call, arguments)
            return make_shape(call, arguments)
        if call.name == "DISTANCE" and len(arguments) == 4:
            return self._distance_of_coordinates(call, arguments)
        shapes = [as_geometry(a, call.name, call.at) for a in arguments]
        return _single_valued(call, _MEASURES[call.name](shapes, call))

    def _distance_of_coordinates(
        self, call: tree.Call, arguments: list[typed.Expression]
    ) -> typed.Expression:
        points = []
        for start in (0, 2):
            pair = call.arguments[start : start + 2]
            point = tree.Call("POINT", pair, True, "", pair[0].at)
            self._check_shape(point, arguments[start : start + 2])
            points.append(make_shape(point, arguments[start : start + 2]))
        return _single_valued(call, make_separation(points[0], points[1], call.at))

    def _check_shape(self, call: tree.Call, arguments: list[typed.Expression]) -> None:
        """Numbers everywhere but where the form of the call has points."""
        sizes = {"CIRCLE": 2, "BOX": 3}
        for position, argument in enumerate(arguments):
            first = position == 0 and len(arguments) == sizes.get(call.name)
            points = call.name == "POLYGON" and arguments[0].kind == "point"
            wanted = argument.kind == "point" if first or points else is_number(argument.kind)
            what = "a point" if first or points else "a number"
            reason = f"{call.name} takes {what} here, not {describe(argument.kind)}"
            self._require(wanted, reason, call.arguments[position])
        if call.name == "POLYGON" and arguments[0].kind != "point" and len(arguments) % 2:
            raise AdqlTypeError("POLYGON takes pairs of coordinates", *call.at)

    def _number(self, value: tree.Value) -> typed.Expression:
        expression = self.value(value)
        reason = f"arithmetic takes numbers, not {describe(expression.kind)}"
        self._require(is_number(expression.kind), reason, value)
        return expression

    def _text(self, value: tree.Value) -> typed.Expression:
        expression = self.value(value)
        reason = f"|| and LIKE take strings, not {describe(expression.kind)}"
        self._require(is_text(expression.kind), reason, value)
        return expression

    def _require(self, holds: bool, reason: str, value: tree.Value) -> None:
        if not holds:
            raise AdqlTypeError(reason, *value.at)

    @singledispatchmethod
    def condition(self, condition: tree.Condition) -> typed.Condition:
        """The typed condition. Raises AdqlError with the position of the fault."""
        raise AssertionError(f"no rule for {type(condition).__name__}")

    @condition.register
    def _(self, condition: tree.Junction) -> typed.Condition:
        return typed.Junction(condition.word, tuple(map(self.condition, condition.terms)))

    @condition.register
    def _(self, condition: tree.Not) -> typed.Condition:
        return typed.Not(self.condition(condition.term))

    @condition.register
    def _(self, condition: tree.Comparison) -> typed.Condition:
        left, right = self.value(condition.left), self.value(condition.right)
        self._check_comparable(left, right, condition.right)
        for a, operator, b in (
            (left, condition.operator, right),
            (right, _MIRRORED[condition.operator], left),
        ):
            test = _spatial_test(a, operator, b) or _cone(a, operator, b)
            if test is not None:
                return test
        return typed.Comparison(condition.operator, left, right)

    @condition.register
    def _(self, condition: tree.Between) -> typed.Condition:
        operand = self.value(condition.operand)
        low, high = self.value(condition.low), self.value(condition.high)
        self._check_comparable(operand, low, condition.low)
        self._check_comparable(operand, high, condition.high)
        return _negated(typed.Between(operand, low, high), condition.negated)

    @condition.register
    def _(self, condition: tree.InList) -> typed.Condition:
        operand = self.value(condition.operand)
        items = tuple(self.value(item) for item in condition.items)
        for item, written in zip(items, condition.items, strict=True):
            self._check_comparable(operand, item, written)
        return _negated(typed.InList(operand, items), condition.negated)

    @condition.register
    def _(self, condition: tree.Like) -> typed.Condition:
        operand, pattern = self._text(condition.operand), self._text(condition.pattern)
        return _negated(typed.Like(operand, pattern, condition.folded), condition.negated)

    @condition.register
    def _(self, condition: tree.IsNull) -> typed.Condition:
        return _negated(typed.IsNull(self.value(condition.operand)), condition.negated)

    @condition.register
    def _(self, condition: tree.InQuery) -> typed.Condition:
        raise AdqlUnsupportedError("IN with a subquery is not offered yet", *condition.at)

    @condition.register
    def _(self, condition: tree.Exists) -> typed.Condition:
        raise AdqlUnsupportedError("EXISTS is not offered yet", *condition.at)

    def _check_comparable(
        self, a: typed.Expression, b: typed.Expression, written: tree.Value
    ) -> None:
        if are_comparable(a.kind, b.kind):
            return
        if is_geometry(a) or is_geometry(b):
            reason = "geometries are compared by CONTAINS, INTERSECTS and DISTANCE"
        else:
            reason = f"{describe(a.kind)} cannot be compared with {describe(b.kind)}"
        raise AdqlTypeError(reason, *written.at)


_MEASURES: dict[str, Callable[[list[typed.Geometry], tree.Call], typed.Expression]] = {
    "AREA": lambda shapes, call: make_area(shapes[0], call.at),
    "CENTROID": lambda shapes, call: make_centroid(shapes[0], call.at),
    "CONTAINS": lambda shapes, call: make_spatial("CONTAINS", shapes[0], shapes[1], call.at),
    "COORD1": lambda shapes, call: coordinate(shapes[0], 0, call.at),
    "COORD2": lambda shapes, call: coordinate(shapes[0], 1, call.at),
    "COORDSYS": lambda shapes, call: typed.Literal("ICRS", "text"),
    "DISTANCE": lambda shapes, call: make_separation(shapes[0], shapes[1], call.at),
    "INTERSECTS": lambda shapes, call: make_spatial("INTERSECTS", shapes[0], shapes[1], call.at),
}


def _check_length(terms: int) -> None:
    if terms > _MAX_TERMS:
        raise LimitError("terms of one sum, product or ||", terms, _MAX_TERMS)


def _single_valued(call: tree.Call, expression: typed.Expression) -> typed.Expression:
    """The expression; AdqlUnsupportedError for aggregates, which a subquery would take as its own,
    and for RAND(), which would be drawn anew wherever the argument is written."""
    for argument in typed.children(expression):
        if typed.has_aggregate(argument) or typed.has_random(argument):
            raise AdqlUnsupportedError(f"aggregates or RAND() inside {call.name}", *call.at)
    return expression


def _negated(condition: typed.Condition, negated: bool) -> typed.Condition:
    return typed.Not(condition) if negated else condition


def _spatial_test(
    a: typed.Expression, operator: str, b: typed.Expression
) -> typed.Condition | None:
    """``CONTAINS(…) = 1`` and its like as a condition that an index can serve."""
    if not (isinstance(a, typed.Spatial) and isinstance(b, typed.Literal)):
        return None
    if operator not in ("=", "<>") or b.value not in (0, 1):
        return None
    return _negated(typed.SpatialTest(a), (b.value == 1) != (operator == "="))


def _cone(a: typed.Expression, operator: str, b: typed.Expression) -> typed.Condition | None:
    if isinstance(a, typed.Separation) and operator in ("<", "<="):
        return typed.Cone(a, cast(Word["<", "<="], operator), b)
    return None
