"""A query with every name and kind known: what the dialects write as SQL.

No text of the user's is left here but literal values, which become binds: tables and columns are
those of the catalog.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Literal as Word

from app.adql.kinds import ValueKind
from app.adql.tree import Operator
from app.schema.fields import Field, Table
from app.sky.shapes import Point, Shape

if TYPE_CHECKING:
    from app.adql.relations import Query


@dataclass(frozen=True, slots=True)
class Column:
    """Column ``field`` of the table that stands in FROM under number ``source``.

    Of a subquery or WITH query, ``via`` is the column's SQL name there. If it is a column of a
    table unchanged, ``table`` and ``field.physical`` still name that one, ``base`` is its name in
    the database and ``origin`` the number of its own scan: the other columns of its row can be
    fetched (:meth:`is_stored`), and two columns share a row if ``source`` and ``origin`` agree.
    """

    source: int
    table: Table
    field: Field
    via: str = ""
    base: str = ""
    origin: int = 0

    @property
    def kind(self) -> ValueKind:
        """The field's kind."""
        return self.field.kind

    @property
    def is_stored(self) -> bool:
        """Whether it is a table's own column, whose row (keys, indexes) can be reached."""
        return not self.via or bool(self.origin)

    @property
    def row(self) -> tuple[int, int]:
        """Equal for columns of one row of one table."""
        return self.source, self.origin


@dataclass(frozen=True, slots=True)
class Literal:
    """A constant."""

    value: int | float | str | None
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """``first`` and then operators from the left; a leading minus is ``0 - x``'s like."""

    first: Expression
    rest: tuple[tuple[Operator, Expression], ...]
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Negative:
    """``-operand``."""

    operand: Expression

    @property
    def kind(self) -> ValueKind:
        """The operand's kind."""
        return self.operand.kind


@dataclass(frozen=True, slots=True)
class Concatenation:
    """Strings joined."""

    parts: tuple[Expression, ...]
    kind: ValueKind = "text"


@dataclass(frozen=True, slots=True)
class Function:
    """A function of the language, by its upper-case name."""

    name: str
    arguments: tuple[Expression, ...]
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Cast:
    """``operand`` as another type of the standard; ``length`` of CHAR and VARCHAR."""

    operand: Expression
    target: str
    length: int | None
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class InUnit:
    """A number that is already converted to ``unit``."""

    converted: Expression
    unit: str
    kind: ValueKind = "real"


@dataclass(frozen=True, slots=True)
class Aggregate:
    """COUNT (without an argument: of rows), SUM, AVG, MIN, MAX; STRING_AGG has a separator."""

    name: str
    distinct: bool
    argument: Expression | None
    kind: ValueKind
    separator: str = ""


@dataclass(frozen=True, slots=True)
class PointOf:
    """A direction from two numbers (deg)."""

    lon: Expression
    lat: Expression
    kind: ValueKind = "point"


@dataclass(frozen=True, slots=True)
class CircleOf:
    """A circle from three numbers (deg)."""

    lon: Expression
    lat: Expression
    radius: Expression
    kind: ValueKind = "region"


@dataclass(frozen=True, slots=True)
class PolygonOf:
    """A polygon from numbers (deg): lon, lat, lon, lat …"""

    coordinates: tuple[Expression, ...]
    kind: ValueKind = "region"


@dataclass(frozen=True, slots=True)
class BoxOf:
    """A box from four numbers (deg): centre, width and height."""

    lon: Expression
    lat: Expression
    width: Expression
    height: Expression
    kind: ValueKind = "region"


@dataclass(frozen=True, slots=True)
class Constant:
    """A geometry known when the query is compiled. A coordinate range meets regions (the relation
    ``overlap``) and stands nowhere else."""

    shape: Shape

    @property
    def kind(self) -> ValueKind:
        """Point or region."""
        return "point" if isinstance(self.shape, Point) else "region"


Geometry = Column | PointOf | CircleOf | PolygonOf | BoxOf | Constant


@dataclass(frozen=True, slots=True)
class Spatial:
    """1, 0 or NULL: whether ``inner`` lies within ``outer``, or whether both overlap."""

    relation: Word["within", "overlap"]
    inner: Geometry
    outer: Geometry
    kind: ValueKind = "integer"


@dataclass(frozen=True, slots=True)
class Separation:
    """Great-circle distance (deg) of two directions."""

    start: PointOf | Constant
    end: PointOf | Constant
    kind: ValueKind = "real"


@dataclass(frozen=True, slots=True)
class RegionSize:
    """Surface (deg2) of a region."""

    region: Geometry
    kind: ValueKind = "real"


@dataclass(frozen=True, slots=True)
class RegionDistance:
    """Distance (deg) from a direction to the nearest point of a polygon; 0 inside."""

    region: Column
    point: PointOf | Constant
    kind: ValueKind = "real"


@dataclass(frozen=True, slots=True)
class Converted:
    """A value as one of another kind that holds it: a whole number as a real one, or NULL."""

    operand: Expression
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class ScalarQuery:
    """The value of a query of one column and at most one row; NULL without a row."""

    query: Query
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class Case:
    """The value of the first branch whose condition is true, or the default, or NULL."""

    branches: tuple[tuple[Condition, Expression], ...]
    default: Expression | None
    kind: ValueKind


@dataclass(frozen=True, slots=True)
class CentroidPart:
    """Longitude (0) or latitude (1) of the centre of mass of a region's surface (deg)."""

    region: Geometry
    place: Word[0, 1]
    kind: ValueKind = "real"


@dataclass(frozen=True, slots=True)
class Switch:
    """The value of the first branch whose test equals the operand, or the default, or NULL."""

    operand: Expression
    branches: tuple[tuple[Expression, Expression], ...]
    default: Expression | None
    kind: ValueKind


Expression = (
    Column
    | Literal
    | Arithmetic
    | Negative
    | Concatenation
    | Function
    | Cast
    | InUnit
    | Aggregate
    | PointOf
    | CircleOf
    | PolygonOf
    | BoxOf
    | Constant
    | Spatial
    | Separation
    | RegionSize
    | RegionDistance
    | Converted
    | ScalarQuery
    | Case
    | Switch
    | CentroidPart
)


@dataclass(frozen=True, slots=True)
class Junction:
    """Terms joined by AND or OR."""

    word: Word["AND", "OR"]
    terms: tuple[Condition, ...]


@dataclass(frozen=True, slots=True)
class Not:
    """Negation."""

    term: Condition


@dataclass(frozen=True, slots=True)
class Comparison:
    """One of = <> < <= > >=."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True, slots=True)
class Between:
    """Both ends belong to it."""

    operand: Expression
    low: Expression
    high: Expression


@dataclass(frozen=True, slots=True)
class InList:
    """Equal to one of the items."""

    operand: Expression
    items: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class InQuery:
    """Equal to the one column of a row of the query."""

    operand: Expression
    query: Query


@dataclass(frozen=True, slots=True)
class Exists:
    """Whether the query has a row."""

    query: Query


@dataclass(frozen=True, slots=True)
class Like:
    """% and _ stand for any text and any character; nothing escapes them."""

    operand: Expression
    pattern: Expression
    folded: bool


@dataclass(frozen=True, slots=True)
class IsNull:
    """NULL or not."""

    operand: Expression


@dataclass(frozen=True, slots=True)
class SpatialTest:
    """A spatial relation used as a condition."""

    spatial: Spatial


@dataclass(frozen=True, slots=True)
class Cone:
    """``separation < radius`` (or <=), the preferred form of a cone search (ADQL 2.1, 4.2.14)."""

    separation: Separation | RegionDistance
    operator: Word["<", "<="]
    radius: Expression


Condition = (
    Junction
    | Not
    | Comparison
    | Between
    | InList
    | InQuery
    | Exists
    | Like
    | IsNull
    | SpatialTest
    | Cone
)
