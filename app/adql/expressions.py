"""Values and conditions of the syntax tree, typed in a scope."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import cast

from app.adql import tree, typed
from app.adql.casts import make_cast
from app.adql.conditions import MIRRORED, between, cone, negated, spatial_test
from app.adql.degrees import degrees_hint
from app.adql.dispatch import Dispatch
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
from app.adql.instant_tests import compare_instants, instant_among, instant_between
from app.adql.kinds import (
    ValueKind,
    are_comparable,
    common_kind,
    is_number,
    is_text,
)
from app.adql.relations import Output, Query
from app.adql.scope import Scope
from app.adql.seeded import seeded_random
from app.adql.user_functions import as_condition, is_aggregate, make_user_function
from app.adql.walk import children, columns_in, has_aggregate, has_random
from app.adql.wording import describe_value
from app.adql.words import GEOMETRY
from app.errors import AdqlTypeError, AdqlUnsupportedError, LimitError

_MAX_TERMS = 500
_DATE = re.compile(r"\d{4}-\d\d-\d\d(?:[T ][\d:.]+Z?)?\Z", re.ASCII)
"""SQLite refuses expressions deeper than 1000, and a chain is as deep as it is long."""

_NULL = typed.Literal(None, "null")

_CASE_VALUES = "the values of CASE are all numbers or all strings"


_VALUES = Dispatch()
_CONDITIONS = Dispatch()


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

    def value(self, value: tree.Value) -> typed.Expression:
        """The typed expression. Raises AdqlError with the position of the fault."""
        found: typed.Expression = _VALUES.methods[type(value)](self, value)
        return found

    @_VALUES.register
    def _(self, value: tree.ColumnRef) -> typed.Expression:
        found = self._scope.find_own(value.parts)
        if found is None and len(value.parts) == 1:
            found = self._aliases.get(value.parts[0].text.lower())
        return found if found is not None else self._scope.get_column(value.parts)

    @_VALUES.register
    def _(self, value: tree.Number) -> typed.Expression:
        kind: ValueKind = "integer" if isinstance(value.value, int) else "real"
        return typed.Literal(value.value, kind)

    @_VALUES.register
    def _(self, value: tree.String) -> typed.Expression:
        if "\x00" in value.value:
            raise AdqlTypeError("a string cannot hold the character NUL", *value.at)
        return typed.Literal(value.value, "text")

    @_VALUES.register
    def _(self, value: tree.Null) -> typed.Expression:
        return typed.Literal(None, "null")

    @_VALUES.register
    def _(self, value: tree.KnownRegion) -> typed.Expression:
        return typed.Constant(value.shape)

    @_VALUES.register
    def _(self, value: tree.Signed) -> typed.Expression:
        return fold(typed.Negative(self._number(value.operand)))

    @_VALUES.register
    def _(self, value: tree.Chain) -> typed.Expression:
        _check_length(len(value.rest) + 1)
        first = self._number(value.first)
        rest = tuple((operator, self._number(operand)) for operator, operand in value.rest)
        kinds: list[ValueKind] = [first.kind, *(operand.kind for _, operand in rest)]
        return fold(typed.Arithmetic(first, rest, common_kind(kinds)))

    @_VALUES.register
    def _(self, value: tree.Concatenation) -> typed.Expression:
        _check_length(len(value.parts))
        return typed.Concatenation(tuple(self._text(part) for part in value.parts))

    @_VALUES.register
    def _(self, value: tree.Aggregate) -> typed.Expression:
        if self._no_aggregates:
            raise AdqlTypeError(f"{value.name} {self._no_aggregates}", *value.at)
        if value.argument is None:
            return typed.Aggregate("COUNT", False, None, "integer")
        inner = Resolver(self._scope, no_aggregates="may not stand inside another aggregate")
        argument = inner.value(value.argument)
        self._check_own(value.name, argument, value.at)
        kind: ValueKind = "integer"
        if value.name != "COUNT":
            self._require(argument.kind != "null", f"{value.name} of NULL", value.argument)
        if value.name in ("SUM", "AVG"):
            reason = f"{value.name} takes a number, not {describe_value(argument)}"
            self._require(is_number(argument.kind), reason, value.argument)
            kind = "real" if value.name == "AVG" else argument.kind
        elif value.name in ("MIN", "MAX"):
            plain = not is_geometry(argument)
            self._require(plain, f"{value.name} takes no geometry", value.argument)
            kind = argument.kind
        return typed.Aggregate(value.name, value.distinct, argument, kind)

    @_VALUES.register
    def _(self, value: tree.Subquery) -> typed.Expression:
        query = self._one_column(value.query, "as a value", value.at)
        kind = query.outputs[0].expression.kind
        return _NULL if kind == "null" else typed.ScalarQuery(query, kind)

    @_VALUES.register
    def _(self, value: tree.Case) -> typed.Expression:
        tests = [self.condition(test) for test, _ in value.branches]
        values, default, kind = self._results(value)
        if kind == "null":
            return _NULL
        return typed.Case(tuple(zip(tests, values, strict=True)), default, kind)

    @_VALUES.register
    def _(self, value: tree.Switch) -> typed.Expression:
        operand = self.value(value.operand)
        tests = [self.value(test) for test, _ in value.branches]
        for test, (written, _) in zip(tests, value.branches, strict=True):
            self._check_comparable(operand, test, written)
        values, default, kind = self._results(value)
        if kind == "null":
            return _NULL
        return typed.Switch(operand, tuple(zip(tests, values, strict=True)), default, kind)

    def _results(
        self, case: tree.Case | tree.Switch
    ) -> tuple[list[typed.Expression], typed.Expression | None, ValueKind]:
        """The values of the branches, the default, and the kind of them all."""
        written = [then for _, then in case.branches]
        written += [] if case.default is None else [case.default]
        values = [self.value(then) for then in written]
        first: ValueKind = next((v.kind for v in values if v.kind != "null"), "null")
        for expression, place in zip(values, written, strict=True):
            fits = are_comparable(expression.kind, first)
            self._require(fits and not is_geometry(expression), _CASE_VALUES, place)
        kind = common_kind([v.kind for v in values])
        count = len(case.branches)
        return values[:count], (values[count] if case.default is not None else None), kind

    def _one_column(self, query: tree.Query, what: str, at: tree.At) -> Query:
        """A subquery of one column that is no geometry."""
        found = self._scope.resolve_subquery(query)
        if len(found.outputs) != 1:
            reason = f"a subquery {what} has one column, not {len(found.outputs)}"
            raise AdqlTypeError(reason, *at)
        if is_geometry(found.outputs[0].expression):
            raise AdqlTypeError(f"a subquery {what} gives no geometry", *at)
        return found

    @_VALUES.register
    def _(self, value: tree.Cast) -> typed.Expression:
        return make_cast(value, self.value(value.operand))

    @_VALUES.register
    def _(self, value: tree.Call) -> typed.Expression:
        if not value.reserved:
            return self._user_function(value)
        if value.name in GEOMETRY:
            return self._geometry(value)
        if value.name == "RAND" and value.arguments:
            seed = cast(int, cast(tree.Number, value.arguments[0]).value)
            return seeded_random(seed, self._scope.columns)
        arguments = tuple(self.value(argument) for argument in value.arguments)
        return fold(make_function(value, arguments))

    def _user_function(self, call: tree.Call) -> typed.Expression:
        if not is_aggregate(call.name):
            return make_user_function(call, tuple(map(self.value, call.arguments)))
        if self._no_aggregates:
            raise AdqlTypeError(f"{call.name} {self._no_aggregates}", *call.at)
        inner = Resolver(self._scope, no_aggregates="may not stand inside another aggregate")
        arguments = tuple(map(inner.value, call.arguments))
        for argument in arguments:
            self._check_own(call.name, argument, call.at)
        return make_user_function(call, arguments)

    def _check_own(self, name: str, argument: typed.Expression, at: tree.At) -> None:
        columns = list(columns_in(argument))
        if columns and not any(map(self._scope.owns, columns)):
            raise AdqlUnsupportedError(f"{name} of columns of the query around this one", *at)

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
            reason = f"{call.name} takes {what} here, not {describe_value(argument)}"
            if what == "a number" and isinstance(argument, typed.Literal):
                reason += degrees_hint(str(argument.value))
            self._require(wanted, reason, call.arguments[position])
        if call.name == "POLYGON" and arguments[0].kind != "point" and len(arguments) % 2:
            raise AdqlTypeError("POLYGON takes pairs of coordinates", *call.at)

    def _number(self, value: tree.Value) -> typed.Expression:
        expression = self.value(value)
        reason = f"arithmetic takes numbers, not {describe_value(expression)}"
        self._require(is_number(expression.kind), reason, value)
        return expression

    def _text(self, value: tree.Value) -> typed.Expression:
        expression = self.value(value)
        reason = f"|| and LIKE take strings, not {describe_value(expression)}"
        self._require(is_text(expression.kind), reason, value)
        return expression

    def _require(self, holds: bool, reason: str, value: tree.Value) -> None:
        if not holds:
            raise AdqlTypeError(reason, *value.at)

    def condition(self, condition: tree.Condition) -> typed.Condition:
        """The typed condition. Raises AdqlError with the position of the fault."""
        found: typed.Condition = _CONDITIONS.methods[type(condition)](self, condition)
        return found

    @_CONDITIONS.register
    def _(self, condition: tree.Junction) -> typed.Condition:
        return typed.Junction(condition.word, tuple(map(self.condition, condition.terms)))

    @_CONDITIONS.register
    def _(self, condition: tree.Not) -> typed.Condition:
        return typed.Not(self.condition(condition.term))

    @_CONDITIONS.register
    def _(self, condition: tree.Comparison) -> typed.Condition:
        left, right = self.value(condition.left), self.value(condition.right)
        self._check_comparable(left, right, condition.right)
        for a, operator, b in (
            (left, condition.operator, right),
            (right, MIRRORED[condition.operator], left),
        ):
            test = spatial_test(a, operator, b) or cone(a, operator, b)
            test = test or compare_instants(a, operator, b) or as_condition(a, operator, b)
            if test is not None:
                return test
        return typed.Comparison(condition.operator, left, right)

    @_CONDITIONS.register
    def _(self, condition: tree.Between) -> typed.Condition:
        operand = self.value(condition.operand)
        low, high = self.value(condition.low), self.value(condition.high)
        self._check_comparable(operand, low, condition.low)
        self._check_comparable(operand, high, condition.high)
        test = instant_between(operand, low, high) or between(operand, low, high)
        return negated(test, condition.negated)

    @_CONDITIONS.register
    def _(self, condition: tree.InList) -> typed.Condition:
        operand = self.value(condition.operand)
        items = tuple(self.value(item) for item in condition.items)
        for item, written in zip(items, condition.items, strict=True):
            self._check_comparable(operand, item, written)
        test = instant_among(operand, items) or typed.InList(operand, items)
        return negated(test, condition.negated)

    @_CONDITIONS.register
    def _(self, condition: tree.Like) -> typed.Condition:
        operand, pattern = self._text(condition.operand), self._text(condition.pattern)
        return negated(typed.Like(operand, pattern, condition.folded), condition.negated)

    @_CONDITIONS.register
    def _(self, condition: tree.IsNull) -> typed.Condition:
        return negated(typed.IsNull(self.value(condition.operand)), condition.negated)

    @_CONDITIONS.register
    def _(self, condition: tree.InQuery) -> typed.Condition:
        operand = self.value(condition.operand)
        query = self._one_column(condition.query, "after IN", condition.query.at)
        output = query.outputs[0]
        self._check_comparable(operand, output.expression, condition.operand)
        if output.expression.kind == "null" != operand.kind:
            same = typed.Converted(output.expression, operand.kind)
            query = replace(query, outputs=(Output(same, output.field),))
        return negated(typed.InQuery(operand, query), condition.negated)

    @_CONDITIONS.register
    def _(self, condition: tree.Exists) -> typed.Condition:
        return typed.Exists(self._scope.resolve_subquery(condition.query))

    def _check_comparable(
        self, a: typed.Expression, b: typed.Expression, written: tree.Value
    ) -> None:
        if are_comparable(a.kind, b.kind):
            return
        if is_geometry(a) or is_geometry(b):
            reason = "geometries are compared by CONTAINS, INTERSECTS and DISTANCE"
        else:
            reason = f"{describe_value(a)} cannot be compared with {describe_value(b)}"
            reason += _days(a) or _days(b)
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


def _days(value: typed.Expression) -> str:
    """How the instant that a string holds is written as a number."""
    if not isinstance(value, typed.Literal) or not _DATE.match(str(value.value)):
        return ""
    return f"; the Modified Julian Date of an instant is ivo_to_mjd('{value.value}')"


def _check_length(terms: int) -> None:
    if terms > _MAX_TERMS:
        raise LimitError("terms of one sum, product or ||", terms, _MAX_TERMS)


def _single_valued(call: tree.Call, expression: typed.Expression) -> typed.Expression:
    """The expression; AdqlUnsupportedError for aggregates, which a subquery would take as its own,
    and for RAND(), which would be drawn anew wherever the argument is written."""
    for argument in children(expression):
        if has_aggregate(argument) or has_random(argument):
            raise AdqlUnsupportedError(f"aggregates or RAND() inside {call.name}", *call.at)
    return expression
