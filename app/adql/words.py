"""The reserved words of ADQL 2.1 (section 2.1.2) and what each is to the grammar."""

from __future__ import annotations

from typing import Final

from app.schema.reserved import RESERVED

_KEYWORDS = """
    ALL AND AS ASC BETWEEN BIGINT BY CASE CAST CHAR COUNT CROSS DESC DISTINCT DOUBLE ELSE END
    EXCEPT EXISTS FROM FULL GROUP HAVING ILIKE IN INNER INTEGER INTERSECT IS JOIN LEFT LIKE
    NATURAL NOT NULL OFFSET ON OR ORDER OUTER PRECISION REAL RIGHT SELECT SMALLINT THEN TIMESTAMP
    TOP UNION USING VARCHAR WHEN WHERE WITH
"""

_PLAIN_FUNCTIONS = """
    ABS ACOS ASIN ATAN ATAN2 CEILING COALESCE COS COT DEGREES EXP FLOOR IN_UNIT LOG LOG10 LOWER
    MOD PI POWER RADIANS RAND ROUND SIN SQRT TAN TRUNCATE UPPER
"""

KEYWORDS: Final = frozenset(_KEYWORDS.split())
"""Words with a place of their own in the grammar."""

AGGREGATES: Final = frozenset({"AVG", "MAX", "MIN", "SUM"})

SHAPES: Final = frozenset({"POINT", "CIRCLE", "POLYGON", "BOX", "REGION", "CENTROID"})
"""Functions whose value is a geometry."""

_MEASURES: Final = frozenset(
    {"AREA", "CONTAINS", "COORD1", "COORD2", "COORDSYS", "DISTANCE", "INTERSECTS"}
)

GEOMETRY: Final = SHAPES | _MEASURES
"""Functions of geometries."""

FUNCTIONS: Final = GEOMETRY | frozenset(_PLAIN_FUNCTIONS.split())

_TERMINALS: Final = {
    **dict.fromkeys(RESERVED, "RESERVED"),
    **dict.fromkeys(FUNCTIONS, "FUNCTION"),
    **dict.fromkeys(AGGREGATES, "AGGREGATE"),
    **{word: word for word in KEYWORDS},
}


def terminal_of(word: str) -> str:
    """Name of the grammar terminal that a word is: NAME unless it is reserved."""
    return _TERMINALS.get(word.upper(), "NAME")
