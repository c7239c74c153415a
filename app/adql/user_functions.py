"""User-defined functions, by the names and signatures of the IVOA catalogue of them (Endorsed Note
"Catalogue of ADQL User Defined Functions" 1.0), and what each is on either engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from app.adql.geometry import as_geometry, coordinate
from app.adql.hints import FOREIGN_FUNCTIONS
from app.adql.kinds import ValueKind, is_number, is_text
from app.adql.scope import suggestion
from app.adql.tree import At, Call
from app.adql.typed import (
    Aggregate,
    Comparison,
    Condition,
    Expression,
    Function,
    Junction,
    Like,
    Literal,
)
from app.adql.walk import has_aggregate
from app.adql.wording import describe_value
from app.adql.words import AGGREGATES, FUNCTIONS
from app.errors import AdqlTypeError, UnknownNameError, shortened


@dataclass(frozen=True, slots=True, kw_only=True)
class UserFunction:
    """One signature. ``parameters`` are (name, type) as the declaration says them; ``sqlite`` and
    ``postgres`` are templates of the SQL over the arguments, empty for what a writer does itself.
    """

    name: str
    parameters: tuple[tuple[str, str], ...]
    returns: str
    kind: ValueKind
    description: str
    sqlite: str = ""
    postgres: str = ""

    @property
    def form(self) -> str:
        """The signature as TAPRegExt 1.0 wants it: ``f(a T, b T) -> T``."""
        shown = ", ".join(f"{name} {kind}" for name, kind in self.parameters)
        return f"{self.name}({shown}) -> {self.returns}"

    def takes(self, position: int, kind: ValueKind) -> bool:
        """Whether an argument of a kind may stand at a position."""
        wanted = self.parameters[position][1]
        if wanted == "POINT":
            return kind == "point"
        return is_text(kind) if wanted in _TEXTUAL else is_number(kind)


_TEXTUAL: Final = frozenset({"VARCHAR(*)", "TIMESTAMP", "INTERVAL"})

_HEALPIX = "Number of the HEALPix cell, in the nested scheme, of order {}, that holds a position"

USER_FUNCTIONS: Final[tuple[UserFunction, ...]] = (
    UserFunction(
        name="ivo_healpix_index",
        parameters=(
            ("hpxOrder", "INTEGER"),
            ("ra", "DOUBLE PRECISION"),
            ("dec", "DOUBLE PRECISION"),
        ),
        returns="BIGINT",
        kind="integer",
        description=_HEALPIX.format("hpxOrder (0 to 29)") + " (degrees).",
        sqlite="adql_healpix({0}, {1}, {2})",
        postgres="adql_healpix("
        "CAST({0} AS float8), CAST({1} AS float8), CAST({2} AS float8))",  # of a bare NULL too
    ),
    UserFunction(
        name="ivo_healpix_index",
        parameters=(("hpxOrder", "INTEGER"), ("p", "POINT")),
        returns="BIGINT",
        kind="integer",
        description=_HEALPIX.format("hpxOrder (0 to 29)") + ".",
    ),
    UserFunction(
        name="ivo_hasword",
        parameters=(("haystack", "VARCHAR(*)"), ("needle", "VARCHAR(*)")),
        returns="INTEGER",
        kind="integer",
        description="1 if needle stands in haystack as a word or as words in a row, 0 otherwise. "
        "Case and whatever separates words are left aside.",
        sqlite="adql_hasword({0}, {1})",
        postgres="adql_hasword({0}, {1})",
    ),
    UserFunction(
        name="ivo_nocasematch",
        parameters=(("value", "VARCHAR(*)"), ("pat", "VARCHAR(*)")),
        returns="INTEGER",
        kind="integer",
        description="1 if value matches pat as LIKE does, but without regard to case, 0 otherwise.",
    ),
    UserFunction(
        name="ivo_hashlist_has",
        parameters=(("hashlist", "VARCHAR(*)"), ("item", "VARCHAR(*)")),
        returns="INTEGER",
        kind="integer",
        description="1 if item is, case apart, one of the words that hash signs (#) separate in "
        "hashlist, 0 otherwise.",
        sqlite="(instr('#' || lower({0}) || '#', '#' || lower({1}) || '#') > 0)",
        postgres="CAST(position('#' || lower({1} COLLATE \"C\") || '#' IN"
        " '#' || lower({0} COLLATE \"C\") || '#') > 0 AS integer)",
    ),
    UserFunction(
        name="ivo_interval_overlaps",
        parameters=(("l1", "NUMERIC"), ("h1", "NUMERIC"), ("l2", "NUMERIC"), ("h2", "NUMERIC")),
        returns="INTEGER",
        kind="integer",
        description="1 if the interval from l1 to h1 and that from l2 to h2 have a point in "
        "common, their ends included, 0 otherwise.",
        sqlite="({0} <= {3} AND {2} <= {1})",
        postgres="CAST({0} <= {3} AND {2} <= {1} AS integer)",
    ),
    UserFunction(
        name="ivo_interval_has",
        parameters=(("val", "NUMERIC"), ("iv", "INTERVAL")),
        returns="INTEGER",
        kind="integer",
        description="1 if val lies in the interval iv, its ends included, 0 otherwise. An interval "
        "is text in DALI form: two numbers separated by a blank, -Inf and +Inf for open ends.",
        sqlite="adql_interval_has({0}, {1})",
        postgres="adql_interval_has({0}, {1})",
    ),
    UserFunction(
        name="ivo_to_jd",
        parameters=(("d", "TIMESTAMP"),),
        returns="DOUBLE PRECISION",
        kind="real",
        description="Julian date of a timestamp, in the time scale of the timestamp.",
        sqlite="(adql_mjd({0}) + 2400000.5)",
        postgres="(adql_mjd({0}) + CAST(2400000.5 AS double precision))",
    ),
    UserFunction(
        name="ivo_to_mjd",
        parameters=(("d", "TIMESTAMP"),),
        returns="DOUBLE PRECISION",
        kind="real",
        description="Modified Julian date of a timestamp, in the time scale of the timestamp.",
        sqlite="adql_mjd({0})",
        postgres="adql_mjd({0})",
    ),
    UserFunction(
        name="ivo_string_agg",
        parameters=(("expr", "VARCHAR(*)"), ("deli", "VARCHAR(*)")),
        returns="VARCHAR(*)",
        kind="text",
        description="An aggregate function: the texts of a group, sorted by code point and joined "
        "with deli between them; NULL is left out.",
    ),
)
"""All signatures; a name may have several."""

_RANDOM_OF: Final = UserFunction(
    name="RAND_OF",
    parameters=(("seed", "VARCHAR(*)"),),
    returns="DOUBLE PRECISION",
    kind="real",
    description="A number from 0 to 1 that a text determines.",
    sqlite="adql_random_of({0})",
    postgres="adql_random_of({0})",
)

USER_SQL: Final = {
    **{(each.name, len(each.parameters)): each for each in USER_FUNCTIONS if each.sqlite},
    ("RAND_OF", 1): _RANDOM_OF,
}
"""Those that are a template, by name and number of arguments; one serves RAND with a seed."""

_AGGREGATE: Final = "ivo_string_agg"


def is_aggregate(name: str) -> bool:
    """Whether a user function puts the rows of a group together."""
    return name.lower() == _AGGREGATE


def make_user_function(call: Call, arguments: Sequence[Expression]) -> Expression:
    """The typed function; UnknownNameError with the nearest name, AdqlTypeError for arguments that
    fit no signature."""
    name = call.name.lower()
    signatures = [each for each in USER_FUNCTIONS if each.name == name]
    if not signatures:
        raise UnknownNameError(f"no function {shortened(call.name)}{_hint(call.name)}", *call.at)
    fitting = [each for each in signatures if len(each.parameters) == len(arguments)]
    if not fitting:
        forms = " or ".join(each.form for each in signatures)
        raise AdqlTypeError(f"{name} has {len(arguments)} arguments; it is {forms}", *call.at)
    function = fitting[0]
    for position, argument in enumerate(arguments):
        if not function.takes(position, argument.kind):
            parameter, wanted = function.parameters[position]
            reason = f"{name} takes {wanted} as {parameter}, not {describe_value(argument)}"
            raise AdqlTypeError(reason, *call.arguments[position].at)
    if name == _AGGREGATE:
        return _string_aggregate(call, arguments)
    return Function(name, _flat(arguments, call.at), function.kind)


def as_condition(a: Expression, operator: str, b: Expression) -> Condition | None:
    """``f(…) = 1`` as plain comparisons, which an index can serve; None for other functions."""
    is_asked = operator == "=" and isinstance(b, Literal) and b.value == 1
    if not (is_asked and isinstance(a, Function)):
        return None
    if a.name == "ivo_interval_overlaps":
        low, high, other_low, other_high = a.arguments
        tests = (Comparison("<=", low, other_high), Comparison("<=", other_low, high))
        return Junction("AND", tests)
    if a.name == "ivo_nocasematch":
        return Like(a.arguments[0], a.arguments[1], True)
    return None


def _flat(arguments: Sequence[Expression], at: At) -> tuple[Expression, ...]:
    """The arguments with each point as its two coordinates."""
    flat: list[Expression] = []
    for argument in arguments:
        if argument.kind == "point":
            point = as_geometry(argument, "ivo_healpix_index", at)
            flat += [coordinate(point, 0, at), coordinate(point, 1, at)]
        else:
            flat.append(argument)
    return tuple(flat)


def _string_aggregate(call: Call, arguments: Sequence[Expression]) -> Aggregate:
    text, separator = arguments
    if not (isinstance(separator, Literal) and isinstance(separator.value, str)):
        reason = f"{_AGGREGATE} takes a string literal as deli"
        raise AdqlTypeError(reason, *call.arguments[1].at)
    if has_aggregate(text):
        raise AdqlTypeError(f"an aggregate inside {_AGGREGATE}", *call.at)
    return Aggregate("STRING_AGG", False, text, "text", separator.value)


def _hint(name: str) -> str:
    known = FOREIGN_FUNCTIONS.get(name.lower())
    if known is not None:
        return f"; {known}"
    own = list(dict.fromkeys(each.name for each in USER_FUNCTIONS))
    near = suggestion(name, [*own, *sorted(FUNCTIONS | AGGREGATES | {"COUNT"})])
    return near or f"; the functions beyond the language are {', '.join(own)}"
